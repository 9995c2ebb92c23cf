"""A bounded walk over the resource records of a message, without building any object for what they hold.

Used where an OPT must be found, a reply cut to size, or an upstream's bytes be believed before they are passed on
(RFC 1035 4.1.3).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from resolver.errors import WireError
from resolver.wire.constants import MAX_LABEL_SIZE, MAX_NAME_SIZE

_FIXED = struct.Struct("!HHIH")
_MAX_POINTERS = 127
"""Of one name: so many labels fit into it."""


class Record(NamedTuple):
    """Where one resource record lies in its message."""

    offset: int
    rtype: int
    rclass: int
    ttl: int
    rdata_offset: int
    end: int


def skip_name(wire: bytes, position: int) -> int:
    """The offset after the name at ``position``; a pointer must point backwards (RFC 1035 4.1.4).

    Raises WireError for a name that leaves the message, is over 255 octets, or uses a reserved label type.
    """
    start = position
    try:
        while size := wire[position]:
            if size >= 0xC0:
                if ((size & 0x3F) << 8 | wire[position + 1]) >= start:
                    raise WireError("a compression pointer does not point backwards")
                return position + 2
            if size > MAX_LABEL_SIZE:
                raise WireError("a label has a reserved type")
            position += 1 + size
            if position - start >= MAX_NAME_SIZE:  # the root's octet is still to come
                raise WireError("a name is longer than 255 octets")
    except IndexError:
        raise WireError("a name leaves the message") from None
    return position + 1


def name_at(wire: bytes, position: int) -> bytes:
    """The name at ``position`` without compression, letter case folded; raises WireError as `skip_name` does.

    Pointers point backwards, each before the last, and there are no more of them than a name has labels: each record of
    a message might lead through all pointers in it.
    """
    labels: list[bytes] = []
    total = 1
    limit = position + 1
    pointers = 0
    while size := wire[position]:
        if size >= 0xC0:
            pointers += 1
            if pointers > _MAX_POINTERS:
                raise WireError("a name has more compression pointers than labels")
            target = (size & 0x3F) << 8 | wire[position + 1]
            if target >= limit:
                raise WireError("a compression pointer does not point backwards")
            position = limit = target
            continue
        if size > MAX_LABEL_SIZE or position + 1 + size >= len(wire):
            raise WireError("a label has a reserved type, or leaves the message")
        total += 1 + size
        if total > MAX_NAME_SIZE:
            raise WireError("a name is longer than 255 octets")
        labels.append(wire[position : position + 1 + size])
        position += 1 + size
    return b"".join(labels).lower() + b"\0"


def walk(wire: bytes, position: int, count: int) -> Iterator[Record]:
    """Each of ``count`` records from ``position`` on; raises WireError when one does not end within the message."""
    for _ in range(count):
        offset = position
        position = skip_name(wire, position)
        try:
            rtype, rclass, ttl, size = _FIXED.unpack_from(wire, position)
        except struct.error:
            raise WireError("a record is cut short") from None
        position += _FIXED.size
        if position + size > len(wire):
            raise WireError("a record's data leave the message")
        yield Record(offset, rtype, rclass, ttl, position, position + size)
        position += size


@lru_cache(maxsize=2)
def records_of(wire: bytes, position: int, count: int) -> tuple[Record, ...]:
    """What `walk` yields, remembered for a moment: a reply is verified, kept and passed on in one go."""
    return tuple(walk(wire, position, count))
