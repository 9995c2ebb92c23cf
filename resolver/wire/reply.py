"""Replies: from an `Answer` to bytes, cut to what the client takes.

dnslib packs the records (it knows name compression); the header, the echoed question and the OPT are laid around them
here, so that the client's letter case and any octets in its name come back as they were asked.
"""

from __future__ import annotations

import struct

from dnslib import RD, RR, DNSBuffer, DNSLabel
from msgspec import Struct

from resolver.wire.constants import (
    AA,
    CD,
    CLASS_IN,
    DO,
    EDNS_UDP_SIZE,
    HEADER_SIZE,
    MAX_MESSAGE_SIZE,
    OPCODE_MASK,
    OPT,
    OPTION_EDE,
    QR,
    RA,
    TC,
)
from resolver.wire.constants import (
    RD as RD_FLAG,
)
from resolver.wire.name import labels_of
from resolver.wire.query import Edns, Query
from resolver.wire.rrset import RRset

Unit = tuple[bytes, int]
"""Records that are sent together or not at all, and how many they are."""

_FLAGS_AND_COUNTS = struct.Struct("!HHHHH")
_OPT_FIXED = struct.Struct("!BHHIH")
_MAX_POINTER = 0x3FFF
_ECHOED = OPCODE_MASK | RD_FLAG | CD


class Answer(Struct, frozen=True):
    """What is to be said to a query, before it is bytes."""

    rcode: int
    answer: tuple[RRset, ...] = ()
    authority: tuple[RRset, ...] = ()
    additional: tuple[RRset, ...] = ()
    authoritative: bool = False
    ede: tuple[int, str] | None = None
    """Extended error (RFC 8914): INFO-CODE and EXTRA-TEXT; sent to clients that speak EDNS."""


class Packed(Struct, frozen=True):
    """A reply without its two octets of id, in one or more orders of its records."""

    variants: tuple[bytes, ...]
    truncated: bool
    is_whole: bool = True
    """False when records were left out, truncated or not."""


def opt_record(edns: Edns, rcode: int, ede: tuple[int, str] | None) -> bytes:
    """The OPT record of a reply: our UDP size, the client's DO, the upper bits of the rcode, an EDE if there is one."""
    options = b"" if ede is None else ede_option(ede)
    ttl = rcode >> 4 << 24 | (DO if edns.do else 0)
    return _OPT_FIXED.pack(0, OPT, EDNS_UDP_SIZE, ttl, len(options)) + options


def ede_option(ede: tuple[int, str]) -> bytes:
    """An extended error, INFO-CODE and EXTRA-TEXT, as an option of the OPT record (RFC 8914 2)."""
    code, text = ede
    payload = code.to_bytes(2, "big") + text.encode()
    return struct.pack("!HH", OPTION_EDE, len(payload)) + payload


def error_reply(wire: bytes, rcode: int) -> bytes:
    """A bare header for a message whose question cannot be echoed; ``wire`` has at least 12 octets."""
    flags = int.from_bytes(wire[2:4], "big") & _ECHOED
    return wire[:2] + _FLAGS_AND_COUNTS.pack(QR | RA | flags | rcode & 0xF, 0, 0, 0, 0)


def compose(query: Query, answer: Answer, limit: int) -> bytes:
    """The whole reply, id included, in at most ``limit`` octets; TC is set when records had to be left out."""
    return query.wire[:2] + pack(query, answer, limit, max_variants=1).variants[0]


def pack(query: Query, answer: Answer, limit: int, max_variants: int) -> Packed:
    """The reply without its id; with several records of one RRset, up to ``max_variants`` rotations of them.

    Never larger than ``limit`` octets with the id (RFC 1035 4.1.1 TC). An additional RRset goes whole or not at
    all, which is no truncation (RFC 2181 9). The OPT of a reply to an EDNS query always stays.
    """
    question = query.wire[HEADER_SIZE : query.question_end]
    opt = b"" if query.edns is None else opt_record(query.edns, answer.rcode, answer.ede)
    buffer = _buffer_after(question)
    answers = [unit for rrset in answer.answer for unit in _records(buffer, rrset)]
    authority = [unit for rrset in answer.authority for unit in _records(buffer, rrset)]
    additional = [_joined(_records(buffer, rrset)) for rrset in answer.additional]
    room = limit - HEADER_SIZE - len(question) - len(opt)
    flags = QR | RA | query.flags & (RD_FLAG | CD) | answer.rcode & 0xF | (AA if answer.authoritative else 0)

    # Only records that all point to the question's name can change places: elsewhere the first has the name itself.
    is_of_qname = len(answer.answer) == 1 and answer.answer[0].owner == query.qname
    turns = len(answers) if is_of_qname else 1
    step = max(1, -(-turns // max_variants))
    variants = []
    truncated = False
    for turn in range(0, max(turns, 1), step):
        truncated, body, counts = _fit((answers[turn:] + answers[:turn], authority, additional), room)
        counts[2] += 1 if opt else 0
        head = _FLAGS_AND_COUNTS.pack(flags | (TC if truncated else 0), 1, *counts)
        variants.append(head + question + body + opt)
    whole = len(answers) + len(authority) + sum(count for _, count in additional) + (1 if opt else 0)
    return Packed(tuple(variants), truncated, sum(counts) == whole)


def _fit(sections: tuple[list[Unit], ...], room: int) -> tuple[bool, bytes, list[int]]:
    """Whether ``room`` octets leave the reply truncated, as many units as fit, in order, and the count by section."""
    kept: list[bytes] = []
    counts = [0] * len(sections)
    for index, section in enumerate(sections):
        for records, count in section:
            room -= len(records)
            if room < 0:
                return index < 2, b"".join(kept), counts
            kept.append(records)
            counts[index] += count
    return False, b"".join(kept), counts


def _buffer_after(question: bytes) -> DNSBuffer:
    """A dnslib buffer that stands behind header and question and may point into the question's name."""
    buffer = DNSBuffer(bytes(HEADER_SIZE) + question)
    labels = tuple(labels_of(question))
    offset = HEADER_SIZE
    for index, label in enumerate(labels):
        buffer.names[labels[index:]] = offset
        offset += 1 + len(label)
    buffer.offset = HEADER_SIZE + len(question)
    return buffer


def _records(buffer: DNSBuffer, rrset: RRset) -> list[Unit]:
    """Each record of an RRset, but none that begins behind the end of any message: what is before it is too much."""
    owner = DNSLabel(list(labels_of(rrset.owner)))
    records = []
    for rdata in rrset.rdatas:
        start = buffer.offset
        if start > MAX_MESSAGE_SIZE:
            break
        known = len(buffer.names)
        RR(owner, rrset.rtype, CLASS_IN, rrset.ttl, RD(rdata)).pack(buffer)
        if start + len(rrset.owner) > _MAX_POINTER and len(buffer.names) > known:
            # A pointer has 14 bits (RFC 1035 4.1.4); dnslib would overflow it.
            buffer.names = {name: offset for name, offset in buffer.names.items() if offset <= _MAX_POINTER}
        records.append((bytes(buffer.data[start : buffer.offset]), 1))
    return records


def _joined(records: list[Unit]) -> Unit:
    return b"".join(record for record, _ in records), len(records)
