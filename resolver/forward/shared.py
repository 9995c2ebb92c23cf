"""What of a look-up may be shared between clients: which questions are the same, and a reply as everybody may have it.

Pure functions. The OPT record is between two neighbours (RFC 6891 6.1.1): of the upstream's options only the extended
errors are anything to others than the client whose query brought them.
"""

from __future__ import annotations

import struct
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from resolver.forward.replies import layout_of, without_hop_options
from resolver.forward.upstreams import Upstream
from resolver.wire.constants import AD, CD, HEADER_SIZE, OPTION_EDE, RD
from resolver.wire.query import Query

if TYPE_CHECKING:
    from resolver.forward.transports import SocketFactory

_FIXED_SIZE = 11  # of an OPT record before its options: root, type, size, flags, length
_SHARED_FLAGS = RD | CD | AD
_NUMBER = struct.Struct("!H")
_OPTION = struct.Struct("!HH")
_PLAIN_COUNTS = (b"\0\1\0\0\0\0\0\0", b"\0\1\0\0\0\0\0\1")


def key_of(query: Query, upstreams: Sequence[Upstream], in_namespace: SocketFactory) -> Hashable | None:
    """What is the same for all queries that one look-up can answer; None for one that has to be asked for itself.

    RD, CD, AD, DO and the presence of EDNS go into the reply, and so do the upstreams; those inside a namespace are
    others in each. A query with options that may change the answer (client subnet, NSID), with a TSIG or with anything
    unknown is nobody else's.
    """
    edns = query.edns
    if query.wire[4:HEADER_SIZE] != _PLAIN_COUNTS[edns is not None]:
        return None
    if edns is not None and edns.has_options and not _are_hop_options(query):
        return None
    where = None
    for upstream in upstreams:
        if upstream.in_namespace:
            where = in_namespace
    return (
        query.key,
        query.wire[query.question_end - 4 : query.question_end],
        query.flags & _SHARED_FLAGS,
        None if edns is None else edns.do,
        tuple(upstreams),
        where,
    )


def asked_with(key: Hashable) -> tuple[tuple[str, ...], tuple[Upstream, ...]]:
    """What tells a question of `key_of` from others for the same name and type, in words, and who was asked."""
    if not isinstance(key, tuple):
        return (), ()
    if len(key) == 2:  # as it is for look-ups whose answers are looked at
        words, upstreams = asked_with(key[0])
        return (*words, str(key[1])), upstreams
    _, _, flags, do, upstreams, where = key
    said = {"without RD": not flags & RD, "CD": flags & CD, "AD": flags & AD, "without EDNS": do is None, "DO": do}
    return (*(word for word, holds in said.items() if holds), *(("in a namespace",) if where else ())), upstreams


def _are_hop_options(query: Query) -> bool:
    assert query.edns is not None
    position = query.edns.offset + _FIXED_SIZE
    end = position + _NUMBER.unpack_from(query.wire, position - 2)[0]
    return not without_hop_options(query.wire[position:end])


def shareable(query: Query, reply: bytes) -> bytes | None:
    """A reply that `replies.verify` accepted, with nothing in it that is meant for one client; None if that cannot be.

    Octets behind the last record are cut off.
    """
    opt, records_behind, end = layout_of(reply, query.question_end)
    if opt is None or opt.rdata_offset == opt.end:
        return reply[:end]
    if records_behind:  # they may be compressed against what stands before: it cannot change its size
        return None
    options = _extended_errors(reply[opt.rdata_offset : opt.end])
    return reply[: opt.rdata_offset - 2] + _NUMBER.pack(len(options)) + options


def _extended_errors(options: bytes) -> bytes:
    kept = []
    position = 0
    while position < len(options):
        code, size = _OPTION.unpack_from(options, position)
        end = position + _OPTION.size + size
        if code == OPTION_EDE:
            kept.append(options[position:end])
        position = end
    return b"".join(kept)
