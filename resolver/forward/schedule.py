"""Whom one look-up asks next, and how soon. No I/O and no clock.

The list of upstreams is gone through ``rounds`` times. Who has failed in this look-up is passed over; when the list is
through, who gave no usable bytes is asked again, with growing pauses: a server that starts anew refuses for some 0.3 s,
and is there a moment later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from resolver.forward.failures import FINAL, Failure
from resolver.forward.memory import TICK_S, Memory
from resolver.forward.upstreams import Upstream

PAUSE_S = 0.05
"""From a try that failed at once to the next of the same server; twice as long each time."""
RESTART_S = 1.0
"""For so long a look-up goes on so: a server that starts anew costs no query, one that is gone costs it a second."""
PERSISTENT_S = 10.0
"""Who has been down for so long does not start anew: it is not waited for."""


class Schedule:
    """The servers of one look-up, in the order in which they are asked."""

    __slots__ = ("_again", "_began_at", "_memory", "_passed", "_retries", "_sent_at", "_slots", "order")

    def __init__(self, order: Sequence[Upstream], rounds: int, memory: Memory, now: float) -> None:
        self.order = order
        self._slots = len(order) * rounds
        self._passed = 0
        self._again: list[Upstream] = []
        self._memory = memory
        self._began_at = now
        self._sent_at: dict[Upstream, float] = {}
        self._retries: Counter[Upstream] | None = None  # most look-ups need none

    @property
    def has_more(self) -> bool:
        """Whether somebody is left."""
        return self._passed < self._slots or bool(self._again)

    @property
    def round(self) -> int:
        """How often the list has been gone through whole."""
        return max(self._passed - 1, 0) // len(self.order)

    def sent(self, upstream: Upstream, now: float) -> None:
        """It is asked now."""
        self._sent_at[upstream] = now

    def next(self, tried: Mapping[Upstream, Failure | None], now: float) -> tuple[Upstream, float] | None:
        """Who is asked next, and when, which may be now; None when nobody is left.

        ``tried`` is who was asked, with why that failed, None where nothing was heard so far.
        """
        while self._passed < self._slots:
            upstream = self.order[self._passed % len(self.order)]
            self._passed += 1
            failure = tried.get(upstream)
            if failure is None:
                if upstream.is_datagram or upstream not in tried:
                    return upstream, now
            elif failure not in FINAL:
                self._again.append(upstream)
        while self._again:
            upstream = self._again.pop(0)
            at = self._retry_at(upstream, now)
            if at is not None:
                return upstream, at
        return None

    def _retry_at(self, upstream: Upstream, now: float) -> float | None:
        """When a server that failed is asked again; None for not at all."""
        if self._retries is None:
            self._retries = Counter()
        count = self._retries[upstream]
        until = self._began_at + RESTART_S
        if self._memory.is_down_since(upstream, now - PERSISTENT_S) or (count and now >= until - TICK_S):
            return None
        self._retries[upstream] = count + 1
        at = self._sent_at.get(upstream, now) + PAUSE_S * float(1 << count)
        return max(min(at, until), now)


def turned(upstreams: Sequence[Upstream], turn: int) -> Sequence[Upstream]:
    """The upstreams beginning with the one whose turn it is; ``turn`` counts look-ups."""
    if not upstreams:
        return upstreams
    first = turn % len(upstreams)
    return (*upstreams[first:], *upstreams[:first])
