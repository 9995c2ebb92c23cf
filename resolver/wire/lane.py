"""Ready replies in the compiled lane: one entry for a question, however it is asked."""

from __future__ import annotations

import struct
from collections.abc import Hashable
from typing import Any

from resolver._lane import Table
from resolver.wire.constants import AD, CD, CLASS_IN, HEADER_SIZE, NOERROR, OPT, QR, RA, RD, SOA, TC
from resolver.wire.known import RECORD, RECORDS, REVERSE, Known, Label, Names, soa_record
from resolver.wire.making import Maker
from resolver.wire.name import ROOT, WireName
from resolver.wire.query import Query
from resolver.wire.ready import OPT_SIZE, turned
from resolver.wire.records import walk
from resolver.wire.reply import Answer, Packed
from resolver.wire.rrset import soa_rrset

_COUNTS = struct.Struct("!HHH")
_TTL_BEFORE_RDATA = 6
_TC_OCTET = TC >> 8
# What a reply depends on beside the question, as _lane.c has it: one of our own on nothing.
_OWN = 0
_EXACT, _WITH_RD, _WITH_CD, _WITH_AD, _WITH_EDNS, _WITH_DO = (1 << bit for bit in range(6))


class LaneTable(Table):
    """A `ReadyTable` of the compiled lane."""

    __slots__ = ("__weakref__", "_denied", "_is_told", "_maker", "_room")

    def __init__(self, room: int) -> None:
        """``room`` is what the transport carries in octets; 0 for UDP, where each query tells."""
        self._room = room
        self._denied: set[tuple[WireName, int]] = set()
        self._is_told = False
        self._maker = Maker()

    def add(self, query: Query, packed: Packed, turn: int, label: Label) -> None:
        """As `ReadyTable.add`. A reply that leaves something out is not what a client with more room gets."""
        if query.qclass != CLASS_IN or not packed.is_whole:
            return
        first = packed.variants[0]  # flags, four counts, the question, then what the lane wants
        with_opt = query.edns is not None
        body = slice(query.question_end - 2, -OPT_SIZE if with_opt else None)
        additionals = int.from_bytes(first[8:10], "big") - with_opt
        self.put(
            query.key,
            query.qtype,
            _OWN,
            (int.from_bytes(first[:2], "big") & ~(RD | CD)).to_bytes(2, "big"),
            first[4:8] + additionals.to_bytes(2, "big"),
            turned(tuple(variant[body] for variant in packed.variants), turn),
            label,
            (),
            0,
            0,
        )

    def pass_on(self, query: Query, reply: bytes, as_of_s: float, until_s: float, label: Hashable) -> None:
        """Keep an upstream's reply, as it was made for ``query``, until a time; its TTLs are counted down.

        Times are of the monotonic clock; at ``as_of_s`` the TTLs were as they are. It is for queries that agree in RD,
        AD, CD, DO and the presence of EDNS, and that have no options but those that end here.
        """
        if query.qclass != CLASS_IN or reply[2] & _TC_OCTET:
            return
        begin = query.question_end
        asks = _EXACT
        for flag, bit in ((RD, _WITH_RD), (CD, _WITH_CD), (AD, _WITH_AD)):
            asks |= bit if query.flags & flag else 0
        if query.edns is not None:
            asks |= _WITH_EDNS | (_WITH_DO if query.edns.do else 0)
        records = walk(reply, begin, sum(_COUNTS.unpack_from(reply, 6)))
        self.put(
            query.key,
            query.qtype,
            asks,
            (int.from_bytes(reply[2:4], "big") & ~(RD | CD)).to_bytes(2, "big"),
            reply[6:12],
            (reply[begin:],),
            label,
            tuple(record.rdata_offset - _TTL_BEFORE_RDATA - begin for record in records if record.rtype != OPT),
            int(as_of_s * 1e9),
            int(until_s * 1e9),
        )

    def wants_denial(self, suffix: WireName, qtype: int) -> bool:
        """As `ReadyTable.wants_denial`: for a few types."""
        if qtype not in RECORDS or (suffix, qtype) in self._denied:
            return False
        self._denied.add((suffix, qtype))
        return True

    def deny(self, suffix: WireName, label: Label, answer: Answer, whole: Names, below: dict[Any, Any]) -> None:
        """As `ReadyTable.deny`."""
        self.put_denial(
            suffix,
            label[0],
            (QR | RA | answer.rcode).to_bytes(2, "big"),
            b"\0\0\0\1\0\0",
            (soa_record(answer),),
            label,
            whole,
            below,
        )

    def wants_known(self) -> bool:
        """As `ReadyTable.wants_known`."""
        wanted, self._is_told = not self._is_told, True
        return wanted

    def know(self, known: Known) -> None:
        """As `ReadyTable.know`."""
        self._maker.know(known)
        soa = soa_rrset(ROOT, known.serial, known.negative_ttl)
        self.put_known(
            tuple((qtype, *RECORDS[qtype], (qtype, NOERROR, known.stage)) for qtype in RECORDS),
            (QR | RA).to_bytes(2, "big"),
            RECORD.pack(SOA, CLASS_IN, known.negative_ttl, 0)[:-2],
            soa.rdatas[0][len(ROOT) :],
            known.joins,
            known.steps,
        )

    def look_up(self, wire: bytes) -> bytes | None:
        """As `ReadyTable.look_up`."""
        reply = self.find(wire, self._room)
        return self.make(wire) if reply is None and REVERSE in wire else reply

    def make(self, wire: bytes) -> bytes | None:
        """As `ReadyTable.make`; it is for reverse names, whose dictionary's keys have a hash in Python."""
        reply = self._maker.reply(wire)
        if reply is not None:
            name, label = self._maker.last
            with_opt = reply[11]
            body = reply[HEADER_SIZE + len(name) + 4 : -OPT_SIZE if with_opt else None]
            flags = (int.from_bytes(reply[2:4], "big") & ~(RD | CD)).to_bytes(2, "big")
            self.put(name, label[0], _OWN, flags, reply[6:10] + b"\0\0", (body,), label, (), 0, 0)
        return reply

    def take_hits(self) -> list[tuple[Any, int]]:
        """As `ReadyTable.take_hits`."""
        return [*super().take_hits(), *self._maker.take_hits()]
