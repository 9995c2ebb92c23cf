"""A long sequence of which a changed copy shares all but a small piece with the original."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain
from typing import Generic, TypeVar, overload

T = TypeVar("T")

PIECE = 512
"""Items of a piece at first; one that has grown to twice as many is cut."""


class Roll(Sequence[T], Generic[T]):
    """A frozen sequence, for networks of so many endpoints that a tuple of them is too much to copy for each change."""

    __slots__ = ("_starts", "pieces")

    def __init__(self, items: Iterable[T] = (), *, pieces: Iterable[tuple[T, ...]] | None = None) -> None:
        """``pieces`` in place of items are taken as they are; none of them is empty."""
        if pieces is None:
            whole = tuple(items)
            pieces = (whole[first : first + PIECE] for first in range(0, len(whole), PIECE))
        self.pieces = tuple(pieces)
        """What two rolls may have in common, by identity."""
        self._starts = list(accumulate(map(len, self.pieces), initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    def __iter__(self) -> Iterator[T]:
        return chain.from_iterable(self.pieces)

    def __reversed__(self) -> Iterator[T]:
        return chain.from_iterable(map(reversed, reversed(self.pieces)))

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[T, ...]: ...

    def __getitem__(self, index: int | slice) -> T | tuple[T, ...]:
        if isinstance(index, slice):
            return tuple(self)[index]
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(index)
        at = bisect_right(self._starts, place) - 1
        return self.pieces[at][place - self._starts[at]]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Roll) and self.pieces == other.pieces:
            return True
        return isinstance(other, Roll | tuple) and len(self) == len(other) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def splice(self, start: int, stop: int, items: Sequence[T]) -> Roll[T]:
        """Another roll with these items in place of those from ``start`` to before ``stop``."""
        if not self.pieces:
            return Roll(items)
        last = len(self.pieces) - 1
        first = min(bisect_right(self._starts, start) - 1, last)
        final = max(first, min(bisect_right(self._starts, stop - 1) - 1, last))
        head = self.pieces[first][: start - self._starts[first]]
        tail = self.pieces[final][stop - self._starts[final] :]
        middle = (*head, *items, *tail)
        cut = PIECE if len(middle) > 2 * PIECE else max(len(middle), 1)
        fresh = (middle[at : at + cut] for at in range(0, len(middle), cut))
        return Roll(pieces=(*self.pieces[:first], *fresh, *self.pieces[final + 1 :]))
