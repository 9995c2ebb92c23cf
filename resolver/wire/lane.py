"""Ready replies in the compiled lane: one entry for a question, however it is asked."""

from __future__ import annotations

from resolver._lane import Table
from resolver.wire.constants import CD, CLASS_IN, RD
from resolver.wire.query import Query
from resolver.wire.ready import OPT_SIZE, Label, turned
from resolver.wire.reply import Packed

_OWN = 0
"""What a reply of our own depends on beside the question: nothing."""


class LaneTable(Table):
    """A `ReadyTable` of the compiled lane."""

    __slots__ = ("_room",)

    def __init__(self, room: int) -> None:
        """``room`` is what the transport carries in octets; 0 for UDP, where each query tells."""
        self._room = room

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

    def look_up(self, wire: bytes) -> bytes | None:
        """As `ReadyTable.look_up`."""
        return self.find(wire, self._room)
