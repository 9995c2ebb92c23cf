"""Queries that wait for an upstream, and what becomes of them when other upstreams are to be asked.

A network is left, a VPN comes up: who was asked may never answer, and the client would hear SERVFAIL from servers that
nobody asks any more. So every query whose list is gone is asked anew at the list that counts now:

| what happens                                       | what the client gets                                           |
|----------------------------------------------------|----------------------------------------------------------------|
| NOERROR or NXDOMAIN, of whichever list             | that reply                                                     |
| a failure, and another list has not answered yet   | nothing yet                                                    |
| a failure, and nobody is left                      | that failure                                                   |
| 4.4 s after it came a list has failed              | that failure                                                   |
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Protocol

from resolver.forward.outcomes import Done, Outcome
from resolver.forward.policy import BUDGET_S, ForwardOptions
from resolver.forward.transports import SocketFactory
from resolver.forward.upstreams import Upstream
from resolver.pipeline.outcome import Forward
from resolver.wire.constants import NOERROR, NXDOMAIN, RCODE_MASK
from resolver.wire.query import Query

_AT_A_TIME = 256
"""So many are asked anew at once; then the listeners have their turn."""


class Resolver(Protocol):
    """Who looks up what is forwarded: a `Forwarder`, or `Lookups` with a cache in front of one."""

    @property
    def generation(self) -> int:
        """Grows when replies that were given out before are no longer good."""

    def resolve(
        self,
        query: Query,
        upstreams: Sequence[Upstream],
        over_tcp: bool,
        done: Done,
        options: ForwardOptions,
        in_namespace: SocketFactory,
        client: Hashable | None,
    ) -> None:
        """As `Forwarder.resolve`."""


class Waiting:
    """One query, as its client sent it, and how it was asked last."""

    __slots__ = (
        "_done",
        "_failed",
        "_timer",
        "_under_way",
        "forward",
        "host",
        "query",
        "started",
        "transport",
        "upstreams",
    )

    def __init__(
        self,
        query: Query,
        host: str,
        transport: int,
        forward: Forward,
        upstreams: tuple[Upstream, ...],
        started: float,
        done: Callable[[Waiting, Outcome], None],
    ) -> None:
        """``started`` is by `time.perf_counter`; ``done`` is called once."""
        self.query = query
        self.host = host
        self.transport = transport
        self.forward = forward
        self.upstreams = upstreams
        self.started = started
        self._done: Callable[[Waiting, Outcome], None] | None = done
        self._under_way = 1
        self._failed: Outcome | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_over(self) -> bool:
        """The client has its reply."""
        return self._done is None

    def goes_over_to(self, forward: Forward, upstreams: tuple[Upstream, ...]) -> bool:
        """Whether it is to be asked of these as well, who count for it now; then it counts as asked."""
        if not upstreams or upstreams == self.upstreams or forward.chased != self.forward.chased:
            return False
        self.forward, self.upstreams = forward, upstreams
        self._under_way += 1
        return True

    def heard(self, outcome: Outcome) -> None:
        """One of the lists has come to an end."""
        self._under_way -= 1
        if self._done is None:
            return
        if not self._under_way or _is_good(outcome):
            self._end(outcome)
            return
        self._failed = outcome
        if self._timer is None:
            left_s = BUDGET_S - (time.perf_counter() - self.started)
            self._timer = asyncio.get_running_loop().call_later(max(left_s, 0.0), self._give_up)

    def _give_up(self) -> None:
        assert self._failed is not None
        self._end(self._failed)

    def _end(self, outcome: Outcome) -> None:
        if self._timer is not None:
            self._timer.cancel()
        done, self._done = self._done, None
        if done is not None:
            done(self, outcome)


def in_turns(waiting: list[Waiting], ask: Callable[[Waiting], None]) -> None:
    """Have each of these asked anew that still waits, some at a time; the first ones before this returns."""
    for one in waiting[:_AT_A_TIME]:
        if not one.is_over:
            ask(one)
    if rest := waiting[_AT_A_TIME:]:
        asyncio.get_running_loop().call_soon(in_turns, rest, ask)


def _is_good(outcome: Outcome) -> bool:
    return outcome.reply is not None and outcome.reply[3] & RCODE_MASK in (NOERROR, NXDOMAIN)
