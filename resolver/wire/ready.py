"""Ready replies: the finished bytes of an answer, found by its question (docs/adr/0001, 0020).

There are two kinds of table with the same use. The compiled one (resolver/_lane.c) has one entry for a question
however it is asked. `PlainTable` has one for each way to ask: its key is the whole query after its two octets of id, so
that letter case, flags and EDNS are part of it and come back right without being looked at; of a cookie, which differs
in each query, only the eight octets are left out. Both are bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import cycle, repeat
from typing import TYPE_CHECKING, Any, Protocol

from resolver import compiled
from resolver.wire.constants import HEADER_SIZE, MAX_MESSAGE_SIZE, MAX_NAME_SIZE, NOERROR
from resolver.wire.known import RECORDS, Known, Label, Names, soa_record
from resolver.wire.making import COOKIE_HEAD, COOKIE_SIZE, Maker
from resolver.wire.name import WireName
from resolver.wire.query import Query

if TYPE_CHECKING:
    from resolver.wire.reply import Answer, Packed

MAX_ENTRIES = 8192
MAX_KEY_SIZE = HEADER_SIZE - 2 + MAX_NAME_SIZE + 4 + 11 + 4
"""Octets; without it 8,192 queries with 64 KiB of anything behind their question would stay for ever."""
OPT_SIZE = 11
"""Octets of an OPT without options, as the replies here have it."""
KEPT_OF = 4
"""So many replies are made at the octets of their queries for one of them to be kept: what is asked often soon is."""


class ReadyTable(Protocol):
    """The ready replies of one view over one transport and address family."""

    def add(self, query: Query, packed: Packed, turn: int, label: Label) -> None:
        """Keep the reply that was packed for ``query``; next time it is the variant number ``turn``."""

    def look_up(self, wire: bytes) -> bytes | None:
        """The whole reply to a message, if there is one; counts a hit."""

    def make(self, wire: bytes) -> bytes | None:
        """The whole reply to a message of which no reply is kept, where it is about a plain name; counts a hit."""

    def wants_denial(self, suffix: WireName, qtype: int) -> bool:
        """Whether it can use a `deny` of this suffix for a type; says so once."""

    def deny(self, suffix: WireName, label: Label, answer: Answer, whole: Names, below: dict[Any, Any]) -> None:
        """Keep the answer about all names below a folded suffix.

        It is not for names that are in ``whole``, nor for those that without the suffix are in ``below``.
        """

    def wants_known(self) -> bool:
        """Whether it can use a `know`; says so once."""

    def know(self, known: Known) -> None:
        """Make the replies about plain names from now on."""

    def drop(self, name: WireName, /) -> None:
        """Forget every reply about a folded name."""

    def take_hits(self) -> Iterable[tuple[Label, int]]:
        """(label, hits) since the last call, and start counting anew."""

    def __len__(self) -> int: ...


class Ready:
    """One ready reply: its bytes after the id, in turn through the orders of its records."""

    __slots__ = ("hits", "label", "name", "next_reply")

    def __init__(self, variants: tuple[bytes, ...], label: Label, name: WireName) -> None:
        turns = repeat(variants[0]) if len(variants) == 1 else cycle(variants)
        self.next_reply: Callable[[], bytes] = turns.__next__
        self.hits = 0
        """How often it was sent since somebody last took the count."""
        self.label = label
        self.name = name


class PlainTable(dict[bytes, Ready]):
    """A `ReadyTable` in Python. The UDP listener looks into it by itself, and into `with_cookie` after that."""

    __slots__ = ("_denied", "_is_told", "_keys", "_maker", "_turn", "retired", "with_cookie")

    def __init__(self) -> None:
        super().__init__()
        self.with_cookie: dict[bytes, Ready] = {}
        """Those of queries that end with a client cookie, by their bytes without it."""
        self.retired: list[Ready] = []
        """Entries that are gone and whose hits nobody has counted yet."""
        self._keys: dict[WireName, set[bytes]] = {}
        """Where the replies about a folded name are, in either table."""
        self._maker = Maker()
        self._is_told = False
        self._denied: set[tuple[WireName, int]] = set()
        self._turn = 0

    def add(self, query: Query, packed: Packed, turn: int, label: Label) -> None:
        """As `ReadyTable.add`; the oldest entry goes when there are `MAX_ENTRIES`."""
        table: dict[bytes, Ready] = self
        key = query.wire[2:]
        if query.edns is not None and query.edns.has_options:
            if not _ends_with_cookie(query):
                return
            table, key = self.with_cookie, key[:-COOKIE_SIZE]
        if len(key) > MAX_KEY_SIZE:
            return
        self._keep(table, key, query.key, turned(packed.variants, turn), label)

    def drop(self, name: WireName, /) -> None:
        """As `ReadyTable.drop`."""
        for key in tuple(self._keys.get(name, ())):
            for table in (self, self.with_cookie):
                if key in table:
                    self._retire(table, key)

    def _retire(self, table: dict[bytes, Ready], key: bytes) -> None:
        entry = table.pop(key)
        keys = self._keys.get(entry.name, set())
        keys.discard(key)
        if not keys:
            self._keys.pop(entry.name, None)
        if entry.hits:
            self.retired.append(entry)

    def look_up(self, wire: bytes) -> bytes | None:
        """As `ReadyTable.look_up`."""
        entry = self.get(wire[2:])
        if entry is None and wire[-COOKIE_SIZE - 4 : -COOKIE_SIZE] == COOKIE_HEAD:
            entry = self.with_cookie.get(wire[2:-COOKIE_SIZE])
        if entry is None:
            return self.make(wire)
        entry.hits += 1
        return wire[:2] + entry.next_reply()

    def make(self, wire: bytes) -> bytes | None:
        """As `ReadyTable.make`."""
        reply = self._maker.reply(wire)
        if reply is not None:
            self._turn += 1
            if self._turn % KEPT_OF == 0:
                self._keep_made(wire, reply)
        return reply

    def _keep_made(self, wire: bytes, reply: bytes) -> None:
        name, label = self._maker.last
        if label[1] != NOERROR:  # there is no end of such names
            return
        if wire[-COOKIE_SIZE - 4 : -COOKIE_SIZE] == COOKIE_HEAD:
            self._keep(self.with_cookie, wire[2:-COOKIE_SIZE], name, (reply[2:],), label)
        else:
            self._keep(self, wire[2:], name, (reply[2:],), label)

    def _keep(
        self, table: dict[bytes, Ready], key: bytes, name: WireName, variants: tuple[bytes, ...], label: Label
    ) -> None:
        if len(table) >= MAX_ENTRIES:
            self._retire(table, next(iter(table)))
        self._keys.setdefault(name, set()).add(key)
        table[key] = Ready(variants, label, name)

    def wants_denial(self, suffix: WireName, qtype: int) -> bool:
        """As `ReadyTable.wants_denial`: for a few types."""
        if qtype not in RECORDS or (suffix, qtype) in self._denied:
            return False
        self._denied.add((suffix, qtype))
        return True

    def deny(self, suffix: WireName, label: Label, answer: Answer, whole: Names, below: dict[Any, Any]) -> None:
        """As `ReadyTable.deny`."""
        self._maker.deny(suffix, label, soa_record(answer), whole, below)

    def wants_known(self) -> bool:
        """As `ReadyTable.wants_known`."""
        wanted, self._is_told = not self._is_told, True
        return wanted

    def know(self, known: Known) -> None:
        """As `ReadyTable.know`."""
        self._maker.know(known)

    def take_hits(self) -> Iterable[tuple[Label, int]]:
        """As `ReadyTable.take_hits`."""
        retired, self.retired = self.retired, []
        for entry in [*retired, *self.values(), *self.with_cookie.values()]:
            if hits := entry.hits:
                entry.hits -= hits
                yield entry.label, hits
        yield from self._maker.take_hits()


def _ends_with_cookie(query: Query) -> bool:
    """Whether the message ends with its OPT, and that has a client cookie and nothing else."""
    assert query.edns is not None
    begin = query.edns.offset + OPT_SIZE
    return len(query.wire) == begin + 4 + COOKIE_SIZE and query.wire[begin : begin + 4] == COOKIE_HEAD


def turned(variants: tuple[bytes, ...], turn: int) -> tuple[bytes, ...]:
    """The variants beginning with the one whose turn it is."""
    first = turn % len(variants)
    return variants[first:] + variants[:first]


TCP_ROOM = MAX_MESSAGE_SIZE


def new_table(room: int | None) -> ReadyTable:
    """A table for a transport that carries so many octets; None for UDP, where each query tells."""
    if compiled.lane is None:
        return PlainTable()
    from resolver.wire.lane import LaneTable

    return LaneTable(room or 0)
