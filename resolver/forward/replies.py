"""The bytes on both sides of a forwarded look-up: our query to the upstream, its reply verified, its reply made ours.

Pure functions; no message is ever parsed into objects. Whatever an upstream sends is accepted, ignored or a failure,
and never an exception.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Set
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from resolver import compiled
from resolver.errors import WireError
from resolver.forward.datagrams import Facts
from resolver.wire.constants import (
    AA,
    AD,
    CD,
    DO,
    EDNS_UDP_SIZE,
    HEADER_SIZE,
    NOERROR,
    NS,
    OPCODE_MASK,
    OPT,
    QR,
    RA,
    RCODE_MASK,
    RD,
    SERVFAIL,
    SOA,
    TC,
)
from resolver.wire.query import Query, scan
from resolver.wire.ready import OPT_SIZE
from resolver.wire.records import Record, records_of, walk
from resolver.wire.reply import ede_option, opt_record

if compiled.ask is not None:  # else nobody knows any facts
    _fit_plain: Callable[[bytes, int, int, bytes, int], bytes] = compiled.ask.fit

_HEADER = struct.Struct("!HHHHHH")
_FLAGS_AND_COUNTS = struct.Struct("!HHHHH")
_SECTIONS = struct.Struct("!HHH")
_NUMBER = struct.Struct("!H")
_OPT = struct.Struct("!BHHIH")
_EMPTY_OPT = _OPT.pack(0, OPT, EDNS_UDP_SIZE, 0, 0)
HOP_OPTIONS = frozenset((10, 11, 12))
"""COOKIE, edns-tcp-keepalive, Padding: between two neighbours, and no matter of the answer."""
CLIENT_SUBNET = 8
"""Where the client is (RFC 7871)."""
_NOT_ASKED_FOR = HOP_OPTIONS | {CLIENT_SUBNET}
_ONLY_CLIENT_SUBNET = frozenset((CLIENT_SUBNET,))
_OPTION = struct.Struct("!HH")
_TTL = struct.Struct("!I")
_TTL_BEFORE_RDATA = 6  # TTL and length stand before the rdata
_OPT_SIZE_OFFSET = 3  # in an OPT record: the UDP size, where other records have their class
_POINTER = 0xC0
_ONLY_A_QUESTION = b"\0\1\0\0\0\0\0\0"
_ONLY_ONE_ADDITIONAL = b"\0\1\0\0\0\0\0\1"
_EDNS_SIZE = _NUMBER.pack(EDNS_UDP_SIZE)

# Types whose rdata may hold compressed names (RFC 3597 4; SRV in practice): these cannot be moved within a message.
_WITH_NAMES = frozenset((2, 3, 4, 5, 6, 7, 8, 9, 12, 14, 15, 17, 18, 21, 24, 26, 30, 33, 35, 36, 39))


class Accept(NamedTuple):
    """The reply is whole and answers our question."""

    rcode: int
    """With the upper bits of the OPT record (RFC 6891 6.1.3)."""
    truncated: bool


class Ignore(NamedTuple):
    """The message is not of our server's making, as far as one can tell: go on listening (RFC 5452 9.1)."""

    reason: str


class Fail(NamedTuple):
    """The server answered, with something of no use."""

    reason: str


class Layout(NamedTuple):
    """Where the parts of a reply lie."""

    opt: Record | None
    records_behind: int
    """How many records stand behind the OPT."""
    end: int
    """Offset of the first octet after the last record."""


def upstream_query(query: Query, query_id: int, edns0: bool) -> bytes:
    """The client's message as it goes upstream: with an id of its own, without what trails behind the last record.

    The UDP size in its OPT becomes ours, so that no answer comes in fragments; options that are between the client and
    us go no further (RFC 7873 cookies, RFC 7828 keep-alive, RFC 7830 padding); the option ``edns0`` adds an OPT where
    there is none. A message with further records (a TSIG must stay last, RFC 8945 5.1) is sent as it came.
    """
    wire = query.wire
    edns = query.edns
    counts = wire[4:HEADER_SIZE]
    own_id = _NUMBER.pack(query_id)
    end = query.question_end
    if counts == _ONLY_A_QUESTION:
        if edns0:
            return own_id + wire[2:4] + _ONLY_ONE_ADDITIONAL + wire[HEADER_SIZE:end] + _EMPTY_OPT
        return own_id + wire[2:end]
    for record in walk(wire, end, sum(_SECTIONS.unpack_from(wire, 6))):
        end = record.end
    if edns is not None and counts == _ONLY_ONE_ADDITIONAL:
        size = edns.offset + _OPT_SIZE_OFFSET
        if not edns.has_options:
            return own_id + wire[2:size] + _EDNS_SIZE + wire[size + 2 : end]
        fixed_end = edns.offset + _OPT.size
        options = without_hop_options(wire[fixed_end:end])
        return (
            own_id + wire[2:size] + _EDNS_SIZE + wire[size + 2 : fixed_end - 2] + _NUMBER.pack(len(options)) + options
        )
    return own_id + wire[2:end]


def without_client_subnet(query: Query) -> Query:
    """The query as it would be had the client not said where it is.

    Its question is then as anybody's, and may share their answer. The client hears nothing of it: a reply without the
    option is that of a resolver that does not speak it (RFC 7871 7.2.2). Further records may be a signature over the
    whole: such a message stays as it is.
    """
    edns = query.edns
    if edns is None or not edns.has_options or query.wire[4:HEADER_SIZE] != _ONLY_ONE_ADDITIONAL:
        return query
    start = edns.offset + _OPT.size
    end = start + _NUMBER.unpack_from(query.wire, start - 2)[0]
    options = _without(query.wire[start:end], _ONLY_CLIENT_SUBNET)
    if len(options) == end - start:
        return query
    stripped = scan(query.wire[: start - 2] + _NUMBER.pack(len(options)) + options)
    return stripped if isinstance(stripped, Query) else query


def _has_client_subnet(query: Query) -> bool:
    edns = query.edns
    if edns is None or not edns.has_options:
        return False
    start = edns.offset + _OPT.size
    options = query.wire[start : start + _NUMBER.unpack_from(query.wire, start - 2)[0]]
    return len(_without(options, _ONLY_CLIENT_SUBNET)) < len(options)


def without_hop_options(options: bytes) -> bytes:
    """EDNS options without those that are between two neighbours; ``options`` are whole, as the scan has made sure."""
    return _without(options, HOP_OPTIONS)


def _without(options: bytes, codes: Set[int]) -> bytes:
    kept = []
    position = 0
    while position < len(options):
        code, size = _OPTION.unpack_from(options, position)
        if code not in codes:
            kept.append(options[position : position + 4 + size])
        position += 4 + size
    return b"".join(kept)


def verify(query: Query, query_id: int, reply: bytes) -> Accept | Ignore | Fail:
    """What a message is that came from the upstream's address to our port. Never raises, for any bytes.

    Accepted is what has our id, our question (letter case aside) and sections that end within the message; octets
    behind them are tolerated. An error without a question is a failure of the server; anything else about another
    question may be forged, and is ignored (RFC 5452 9.1).
    """
    if len(reply) < HEADER_SIZE:
        is_ours = len(reply) >= 2 and int.from_bytes(reply[:2], "big") == query_id
        return Fail("shorter than a header") if is_ours else Ignore("shorter than a header")
    reply_id, flags, questions, _, _, _ = _HEADER.unpack_from(reply)
    if reply_id != query_id:
        return Ignore("another id")
    if not flags & QR:
        return Ignore("a query")
    if flags & OPCODE_MASK:
        return Fail("another opcode")
    if questions != 1:
        if questions:
            return Fail("more than one question")
        return Fail("an error without a question") if flags & RCODE_MASK else Ignore("no question")
    end = query.question_end
    if reply[HEADER_SIZE : end - 4].lower() != query.key or reply[end - 4 : end] != query.wire[end - 4 : end]:
        return Ignore("another question")
    try:
        opt = layout_of(reply, end).opt
    except WireError as error:
        return Fail(str(error))
    rcode = flags & RCODE_MASK
    if opt is not None:
        rcode |= opt.ttl >> 24 << 4
    return Accept(rcode, bool(flags & TC))


def fit(
    query: Query, reply: bytes, limit: int, ede: tuple[int, str] | None = None, facts: Facts | None = None
) -> bytes:
    """The upstream's reply as ours to ``query``, in at most ``limit`` octets (512 or more).

    ``ede`` is an extended error of our own beside the upstream's, for a client with EDNS (RFC 8914 3). ``facts`` are
    what is known of the reply.

    TC is set when answers had to be left out. Id, question, RD and CD are the client's, RA is set; AD stays for a
    client that asked for it (RFC 6840 5.8). An OPT is hop by hop (RFC 6891 6.1.1): a client that sent one gets one,
    last, with our UDP size, its own DO and the upstream's options but those between two neighbours, and a client subnet
    only when it sent one; no other client does. Never raises for a reply that
    `verify` accepted.
    """
    start = query.question_end
    if facts is not None and ede is None and facts[2] + OPT_SIZE <= limit:
        edns = query.edns
        return _fit_plain(query.wire, start, 0 if edns is None else 1 + edns.do, reply, facts[2])
    opt, records_behind, end = layout_of(reply, start)
    _, flags, _, answers, authorities, additionals = _HEADER.unpack_from(reply)
    asked = query.flags
    edns = query.edns
    flags = flags & ~(RD | CD) | asked & (RD | CD) | QR | RA
    if flags & AD and not (asked & AD or (edns is not None and edns.do)):
        flags &= ~AD
    tail = b""
    if opt is None:
        body = reply[start:end]
        if edns is not None:
            tail = opt_record(edns, NOERROR, ede)
    else:
        body = reply[start : opt.offset]
        additionals -= 1
        if records_behind:
            moved = _movable(reply, opt, records_behind)
            body += b"".join(moved)
            additionals += len(moved) - records_behind
        if edns is not None:
            ttl = opt.ttl & ~DO | (DO if edns.do else 0)
            options = reply[opt.rdata_offset : opt.end]
            if options:
                options = _without(options, HOP_OPTIONS if _has_client_subnet(query) else _NOT_ASKED_FOR)
            if ede is not None:
                options += ede_option(ede)
            tail = _OPT.pack(0, OPT, EDNS_UDP_SIZE, ttl, len(options)) + options
        elif opt.ttl >> 24:  # the rcode's upper bits go with the OPT, and what is left would be another rcode
            flags = flags & ~RCODE_MASK | SERVFAIL
    counts = (answers, authorities, additionals)
    if start + len(body) + len(tail) > limit:
        if edns is not None and start + len(tail) > limit:
            # Options alone leave no room for anything: they go first.
            tail = opt_record(edns, NOERROR if opt is None else opt.ttl >> 24 << 4, None)
        size, counts = _whole_records(reply[:start] + body, start, counts, limit - len(tail))
        body = body[: size - start]
        if counts[:2] != (answers, authorities) or not answers:
            flags |= TC
    head = _FLAGS_AND_COUNTS.pack(flags, 1, counts[0], counts[1], counts[2] + (1 if tail else 0))
    return query.wire[:2] + head + query.wire[HEADER_SIZE:start] + body + tail


def nothing_for(query: Query) -> bytes:
    """A reply that says NODATA without a word on for how long, for `fit`."""
    return query.wire[:2] + _NUMBER.pack(QR | RA) + _ONLY_A_QUESTION + query.wire[HEADER_SIZE : query.question_end]


def is_referral(query: Query, reply: bytes) -> bool:
    """Whether a reply that `verify` accepted sends us elsewhere, where recursion was asked for and is not to be had.

    So says a server that is lame: it neither answers nor says that there is nothing (RFC 2308 2.1, 2.2).
    """
    if reply[3] & (RA | RCODE_MASK):
        return False
    _, flags, _, answers, authorities, _ = _HEADER.unpack_from(reply)
    if answers or not authorities or flags & (AA | TC) or not query.wire[2] & RD >> 8:
        return False
    types = [record.rtype for record in islice(walk(reply, query.question_end, authorities), authorities)]
    return NS in types and SOA not in types


def with_ttl_at_most(query: Query, reply: bytes, seconds: int) -> bytes:
    """A reply that `verify` accepted, to be gone by for so many seconds at most."""
    held = bytearray(reply)
    for record in walk(reply, query.question_end, sum(_SECTIONS.unpack_from(reply, 6))):
        if record.rtype != OPT and record.ttl > seconds:
            _TTL.pack_into(held, record.rdata_offset - _TTL_BEFORE_RDATA, seconds)
    return bytes(held)


@lru_cache(maxsize=2)
def layout_of(reply: bytes, position: int) -> Layout:
    """Where the parts of a reply lie whose records begin at ``position``; remembered for a moment, as `records_of` is.

    Raises WireError when they do not end within the message, for two OPT records, and for one that is not at the root,
    in the additional section, with whole options (RFC 6891 6.1).
    """
    answers, authorities, additionals = _SECTIONS.unpack_from(reply, 6)
    count = answers + authorities + additionals
    opt = None
    opt_index = 0
    for index, record in enumerate(records_of(reply, position, count)):
        if record.rtype == OPT:
            if opt is not None or index < answers + authorities or reply[record.offset]:
                raise WireError("an OPT record is not where it belongs")
            _check_options(reply, record.rdata_offset, record.end)
            opt, opt_index = record, index
        position = record.end
    return Layout(opt, count - 1 - opt_index if opt is not None else 0, position)


def _check_options(reply: bytes, position: int, end: int) -> None:
    while position < end:
        if position + 4 > end:
            raise WireError("an EDNS option is cut short")
        position += 4 + int.from_bytes(reply[position + 2 : position + 4], "big")
    if position != end:
        raise WireError("an EDNS option is longer than its record")


def _movable(reply: bytes, opt: Record, count: int) -> list[bytes]:
    """Those of the ``count`` records behind the OPT that say the same when they stand elsewhere in the message.

    The others are left out: they are additional, so nobody relies on them (RFC 2181 9).
    """
    return [
        reply[record.offset : record.end]
        for record in walk(reply, opt.end, count)
        if record.rtype not in _WITH_NAMES and _pointer_of(reply, record.offset) < opt.offset
    ]


def _pointer_of(reply: bytes, position: int) -> int:
    """The offset to which the name at ``position`` points; 0 for a name that is not compressed."""
    while size := reply[position]:
        if size >= _POINTER:
            return (size & 0x3F) << 8 | reply[position + 1]
        position += 1 + size
    return 0


def _whole_records(
    message: bytes, start: int, counts: tuple[int, int, int], limit: int
) -> tuple[int, tuple[int, int, int]]:
    """How many octets of ``message`` hold the records that end within ``limit``, and how many those are by section."""
    end = start
    kept = 0
    for record in walk(message, start, sum(counts)):
        if record.end > limit:
            break
        end = record.end
        kept += 1
    answers = min(counts[0], kept)
    authorities = min(counts[1], kept - answers)
    return end, (answers, authorities, kept - answers - authorities)
