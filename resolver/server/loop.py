"""The event loop of a server on the compiled lane: whoever waits there for something to happen answers meanwhile.

A turn of asyncio's loop costs three times what the answer to a query does. So the lane waits for events itself, answers
what it can, and has the loop take its turn when there is something for it: a query that the lane does not know, a
connection, a timer, a signal.
"""

from __future__ import annotations

import asyncio
import select
import selectors
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from resolver import compiled

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

    from resolver._lane import Loop

_T = TypeVar("_T")


class LaneSelector(selectors.EpollSelector):
    """An `EpollSelector` that waits in the compiled lane."""

    def __init__(self) -> None:
        super().__init__()
        assert compiled.lane is not None
        self.waiter = compiled.lane.Waiter(self.fileno())
        self._keys: dict[int, selectors.SelectorKey] = {}

    def register(self, fileobj: FileDescriptorLike, events: int, data: Any = None) -> selectors.SelectorKey:
        """As `selectors.BaseSelector.register`."""
        key = super().register(fileobj, events, data)
        self._keys[key.fd] = key
        return key

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        """As `selectors.BaseSelector.unregister`."""
        key = super().unregister(fileobj)
        del self._keys[key.fd]
        return key

    def modify(self, fileobj: FileDescriptorLike, events: int, data: Any = None) -> selectors.SelectorKey:
        """As `selectors.BaseSelector.modify`."""
        key = super().modify(fileobj, events, data)
        self._keys[key.fd] = key
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As `selectors.BaseSelector.select`; what seated lanes can answer by themselves is answered meanwhile."""
        ready = []
        for fd, event in self.waiter.wait(timeout):
            key = self._keys.get(fd)
            if key is not None:
                # What is neither, as an error or an end, concerns whoever waits for either.
                events = (event & ~select.EPOLLIN and selectors.EVENT_WRITE) | (
                    event & ~select.EPOLLOUT and selectors.EVENT_READ
                )
                ready.append((key, events & key.events))
        return ready


class LaneLoop(asyncio.SelectorEventLoop):
    """asyncio's loop, with seats for lanes."""

    def __init__(self) -> None:
        selector = LaneSelector()
        super().__init__(selector)
        self._waiter = selector.waiter

    def seat(self, lane: Loop, refresh: Callable[[], None]) -> None:
        """Let a lane answer while the loop waits. Its socket has to be among the loop's readers.

        ``refresh`` is called before the lane answers for the first time in a turn: whatever has changed since the last
        one is to be told to it then.
        """
        self._waiter.seat(lane, refresh)

    def unseat(self, fd: int) -> None:
        """The lane of that socket answers no more by itself."""
        self._waiter.unseat(fd)


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """As `asyncio.run`, on a loop that has seats for lanes where they are compiled."""
    if compiled.lane is None:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=LaneLoop) as runner:
        return runner.run(main)
