"""A look-up under way in full: its policy, its tries and its timer on the running loop."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from resolver.forward.asked import Asked, Sent
from resolver.forward.failures import Failure
from resolver.forward.memory import Memory
from resolver.forward.outcomes import Done, Outcome, outcome_of
from resolver.forward.policy import ForwardOptions, Lookup
from resolver.forward.replies import Accept
from resolver.forward.steps import Finish, Send, Step, Try
from resolver.forward.transports import SocketFactory
from resolver.forward.upstreams import Upstream
from resolver.wire.query import Query

if TYPE_CHECKING:
    from resolver.forward.forwarder import Forwarder


class Running:
    """A look-up under way: its policy, its tries, its timer."""

    __slots__ = (
        "_asked",
        "_done",
        "_forwarder",
        "_policy",
        "_timer",
        "client",
        "in_namespace",
        "is_counted",
        "is_over",
        "memory",
        "query",
    )

    def __init__(
        self,
        forwarder: Forwarder,
        memory: Memory,
        query: Query,
        upstreams: Sequence[Upstream],
        over_tcp: bool,
        done: Done,
        options: ForwardOptions,
        in_namespace: SocketFactory,
        now: float,
        client: Hashable | None = None,
        *,
        is_counted: bool = True,
        going_on: Sent | None = None,
    ) -> None:
        """``going_on`` tells of the first try, where it has been made; ``upstreams`` are then in the order for it."""
        self.query = query
        self.client = client
        self.is_counted = is_counted
        self.in_namespace = in_namespace
        self.memory = memory
        self.is_over = False
        self._forwarder = forwarder
        self._done = done
        self._asked: list[Asked] = []
        self._timer: asyncio.TimerHandle | None = None
        if options.edns0 and query.edns is not None:
            options = replace(options, edns0=False)  # the OPT is the client's, and so is what becomes of it
        forwarder._under_way.add(self)
        if going_on is None:
            self._policy = Lookup(upstreams, options, over_tcp, now, memory, forwarder.lookups)
            self._take(self._policy.start(now), now)
        else:
            self._policy = Lookup(upstreams, options, over_tcp, now, memory, is_ordered=True)
            self._take(self._policy.go_on(now), now, going_on)

    @property
    def first(self) -> Asked:
        """Its first try."""
        return self._asked[0]

    def replied(self, attempt: Try, verdict: Accept, reply: bytes, now: float) -> None:
        """A try of it has brought a reply."""
        self._take(self._policy.replied(attempt, reply, verdict.rcode, verdict.truncated, now), now)

    def failed(self, attempt: Try, failure: Failure, reason: str) -> None:
        """A try of it has come to nothing."""
        now = self._forwarder._loop.time()
        self._take(self._policy.failed(attempt, failure, now, reason), now)

    def finish(self, outcome: Outcome) -> None:
        """Let go of everything, then tell the server."""
        self.is_over = True
        if self._timer is not None:
            self._timer.cancel()
        now = self._forwarder._loop.time()
        for asked in self._asked:
            asked.end(outcome.upstream, now)
        self._asked.clear()  # they know us
        self._timer = None
        self._forwarder._under_way.discard(self)
        self._done(outcome)

    def woke(self) -> None:
        """The time of the last step has come."""
        if self._timer is not None:
            self._timer.cancel()  # somebody else has told
        self._timer = None  # asyncio may be early by the clock's resolution: then the same time is set once more
        now = self._forwarder._loop.time()
        self._take(self._policy.woke(now), now)

    def _take(self, step: Step, now: float, sent: Sent | None = None) -> None:
        if isinstance(step, Finish):
            self.finish(outcome_of(self.query, step))
            return
        timer = self._timer
        if timer is None or timer.when() != step.wake_at:
            if timer is not None:
                timer.cancel()
            self._timer = self._forwarder._loop.call_at(step.wake_at, self.woke)
        if isinstance(step, Send):
            self._asked.append(Asked(self._forwarder, self, step.attempt, now, sent))
