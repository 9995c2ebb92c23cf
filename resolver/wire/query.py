"""The verdict on a datagram, and what the pipeline needs to know of a query; raw bytes, no message object.

Accept, answer with an error or keep silent is decided here from the header and one bounded walk (RFC 1035 4.1). What
passes has exactly one question with a well-formed, uncompressed name, and sections that end within the message.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable
from typing import NamedTuple

from resolver import compiled
from resolver.errors import WireError
from resolver.wire.constants import (
    DO,
    HEADER_SIZE,
    MAX_LABEL_SIZE,
    MAX_MESSAGE_SIZE,
    MAX_NAME_SIZE,
    MAX_UDP_PAYLOAD,
    MIN_UDP_SIZE,
    OPCODE_MASK,
    OPT,
    QR,
)
from resolver.wire.name import WireName, fold
from resolver.wire.records import walk

_ScanPlain = Callable[["type[Query]", bytes], "Query | None"]
_scan_plain: _ScanPlain | None = None if compiled.ask is None else compiled.ask.scan
_HEADER = struct.Struct("!HHHHHH")
_TYPE_CLASS = struct.Struct("!HH")


class Verdict(enum.Enum):
    """What is done with bytes that are not a query we can answer."""

    SILENCE = "silence"
    FORMERR = "formerr"
    NOTIMP = "notimp"


class Edns(NamedTuple):
    """The client's OPT record (RFC 6891 6.1.2)."""

    payload: int
    """The UDP size that the client takes, in octets, as it says it."""
    version: int
    do: bool
    offset: int
    """Where the OPT record begins in the query."""
    has_options: bool


class Query(NamedTuple):
    """One question that was asked of us."""

    wire: bytes
    qname: WireName
    """The name as asked, letter case kept."""
    key: WireName
    """The name folded: what tables are keyed by."""
    qtype: int
    qclass: int
    question_end: int
    """Offset of the first octet after the question."""
    edns: Edns | None

    @property
    def flags(self) -> int:
        """The 16 flag bits of the header."""
        return int.from_bytes(self.wire[2:4], "big")

    def udp_limit(self) -> int:
        """The largest reply in octets that the client takes over UDP (RFC 6891 6.2.3: less than 512 means 512)."""
        if self.edns is None:
            return MIN_UDP_SIZE
        return min(max(self.edns.payload, MIN_UDP_SIZE), MAX_UDP_PAYLOAD)


def scan(wire: bytes) -> Query | Verdict:
    """Read a message that a client sent: a query, or the verdict on what is none. Never raises, for any bytes."""
    plain = None if _scan_plain is None else _scan_plain(Query, wire)
    return scan_any(wire) if plain is None else plain


def scan_any(wire: bytes) -> Query | Verdict:
    """The same in Python, for messages that are more than a question, or where nothing was compiled."""
    if not HEADER_SIZE <= len(wire) <= MAX_MESSAGE_SIZE:
        return Verdict.SILENCE
    _, flags, questions, answers, authorities, additionals = _HEADER.unpack_from(wire)
    if flags & QR:
        return Verdict.SILENCE
    if flags & OPCODE_MASK:
        return Verdict.NOTIMP
    if questions != 1:
        return Verdict.FORMERR
    position = HEADER_SIZE
    try:
        while size := wire[position]:
            if size > MAX_LABEL_SIZE:
                return Verdict.FORMERR
            position += 1 + size
        position += 1
        if position - HEADER_SIZE > MAX_NAME_SIZE:
            return Verdict.FORMERR
        qtype, qclass = _TYPE_CLASS.unpack_from(wire, position)
    except (IndexError, struct.error):
        return Verdict.FORMERR
    qname = WireName(wire[HEADER_SIZE:position])
    position += 4
    edns = None
    if answers or authorities or additionals:
        try:
            edns = _find_edns(wire, position, answers + authorities, additionals)
        except WireError:
            return Verdict.FORMERR
    return Query(wire, qname, fold(qname), qtype, qclass, position, edns)


def _find_edns(wire: bytes, position: int, before: int, additionals: int) -> Edns | None:
    """The one OPT record; raises WireError for two, one not at the root, or records that do not parse."""
    found = None
    for index, record in enumerate(walk(wire, position, before + additionals)):
        if record.rtype != OPT:
            continue
        if found is not None or wire[record.offset] != 0 or index < before:
            raise WireError("a query may have one OPT record, at the root, in the additional section")
        _check_options(wire, record.rdata_offset, record.end)
        found = Edns(
            payload=record.rclass,
            version=record.ttl >> 16 & 0xFF,
            do=bool(record.ttl & DO),
            offset=record.offset,
            has_options=record.end > record.rdata_offset,
        )
    return found


def _check_options(wire: bytes, position: int, end: int) -> None:
    """Raise WireError unless the OPT rdata is a run of whole options (RFC 6891 6.1.2)."""
    while position < end:
        if position + 4 > end:
            raise WireError("an EDNS option is cut short")
        position += 4 + int.from_bytes(wire[position + 2 : position + 4], "big")
    if position != end:
        raise WireError("an EDNS option is longer than its record")
