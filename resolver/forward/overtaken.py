"""Tries that another upstream has overtaken: they are listened to for a while, for the memory alone.

Who is overtaken is not dead: a name it has to look up first takes longer. Only its silence until 0.4 s after it was
asked says so. Nobody waits for these tries, and they take no place of a look-up.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

LISTENED_TO = 256
"""So many at once; of further ones nothing is learned."""


class Late(Protocol):
    """A try whose look-up is over."""

    def give_up(self) -> None:
        """Nothing has come of it in its time."""


class Overtaken:
    """The tries that are listened to. Made and used on one running loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timers: dict[Late, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._timers)

    def listen_to(self, late: Late, until: float) -> bool:
        """Keep it until then, unless too many are kept already; whether that is so."""
        if len(self._timers) >= LISTENED_TO:
            return False
        self._timers[late] = self._loop.call_at(until, self._woke, late)
        return True

    def forget(self, late: Late) -> bool:
        """Something has come of it; whether it was listened to."""
        timer = self._timers.pop(late, None)
        if timer is not None:
            timer.cancel()
        return timer is not None

    def close(self) -> None:
        """Give all of them up."""
        for late in list(self._timers):
            if self.forget(late):
                late.give_up()

    def _woke(self, late: Late) -> None:
        del self._timers[late]
        late.give_up()
