"""Upstreams' replies that the compiled lane gives out again by itself, until the cache is to be asked."""

from __future__ import annotations

from collections.abc import Iterator

from resolver.forward.cache import Lasting
from resolver.views import ROOMS, View
from resolver.wire.constants import RCODE_MASK
from resolver.wire.lane import LaneTable
from resolver.wire.query import Query

_MIN_S = 1.0
"""What is over sooner is not worth a place."""
_LONGEST = 4096
"""Octets; whoever gets a larger reply asks the cache each time."""


class Passing:
    """The replies of one responder, by view and transport: whom it asks for a name follows from its state and the view.

    Our own replies, in contrast, belong to the view, whoever answers from it.
    """

    def __init__(self) -> None:
        self._tables: dict[View, tuple[LaneTable, ...]] = {}

    def table_of(self, view: View, transport: int) -> LaneTable:
        """The replies for those who have a view; to be looked into after the view's own."""
        tables = self._tables.get(view)
        if tables is None:
            tables = self._tables[view] = tuple(LaneTable(room or 0) for room in ROOMS)
            view.passing.update(tables)
        return tables[transport]

    def keep(self, query: Query, reply: bytes, lasting: Lasting, view: View, transport: int) -> None:
        """Keep a reply of the cache, as it was made for ``query``, with nothing left out."""
        if len(reply) <= _LONGEST and lasting.until - lasting.as_of > _MIN_S:
            lasting.hold()
            label = (query.qtype, reply[3] & RCODE_MASK, lasting)
            self.table_of(view, transport).pass_on(query, reply, lasting.as_of, lasting.until, label)

    def take_hits(self) -> Iterator[tuple[int, int, int, int]]:
        """(transport, type, rcode, hits) since the last call; the cache is told of them, too."""
        for tables in self._tables.values():
            for transport, table in enumerate(tables):
                for (qtype, rcode, lasting), hits in table.take_hits():
                    lasting.count(hits)
                    yield transport, qtype, rcode, hits
