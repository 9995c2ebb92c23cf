"""Ready replies: the finished bytes of an answer, found by the bytes of its question.

The key is the whole query after its two octets of id, so letter case, flags and EDNS are part of it and come back right
without being looked at. The table is bounded: when it is full the oldest entry goes, and no key is longer than a plain
question with a bare OPT.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import cycle, repeat

from resolver.wire.constants import HEADER_SIZE, MAX_NAME_SIZE

MAX_ENTRIES = 8192
MAX_KEY_SIZE = HEADER_SIZE - 2 + MAX_NAME_SIZE + 4 + 11
"""Octets; without it 8,192 queries with 64 KiB of anything behind their question would stay for ever."""


class Ready:
    """One ready reply: its bytes after the id, in turn through the orders of its records."""

    __slots__ = ("hits", "label", "next_reply")

    def __init__(self, variants: tuple[bytes, ...], label: tuple[int, int, str]) -> None:
        turns = repeat(variants[0]) if len(variants) == 1 else cycle(variants)
        self.next_reply: Callable[[], bytes] = turns.__next__
        self.hits = 0
        """How often it was sent since somebody last took the count."""
        self.label = label
        """(type, rcode, stage): what the hits are counted under."""


class ReadyTable(dict[bytes, Ready]):
    """Ready replies of one view over one transport and address family."""

    __slots__ = ("retired",)

    def __init__(self) -> None:
        super().__init__()
        self.retired: list[Ready] = []
        """Entries that made room for newer ones and whose hits nobody has counted yet."""

    def add(self, key: bytes, entry: Ready) -> None:
        """Keep an entry, unless its key is too long; the oldest one goes when there are `MAX_ENTRIES`."""
        if len(key) > MAX_KEY_SIZE:
            return
        if len(self) >= MAX_ENTRIES:
            oldest = self.pop(next(iter(self)))
            if oldest.hits:
                self.retired.append(oldest)
        self[key] = entry

    def take_hits(self) -> Iterable[tuple[tuple[int, int, str], int]]:
        """(label, hits) of every entry since the last call, and start counting anew."""
        retired, self.retired = self.retired, []
        for entry in [*retired, *self.values()]:
            if hits := entry.hits:
                entry.hits -= hits
                yield entry.label, hits
