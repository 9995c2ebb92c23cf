"""Look-ups in their usual course: the first upstream is up, is asked by one datagram, and answers in time.

A look-up so begun is one object here, without a policy, a schedule and a timer of its own. It goes on in full
(`running`) as if it had always been there, its query being on its way, as soon as anything else happens:

| what happens                                      | what is done                                                   |
|---------------------------------------------------|----------------------------------------------------------------|
| NOERROR or NXDOMAIN, whole, to the question       | the end                                                        |
| another id or question, what is no reply at all   | it is counted, and listened on                                 |
| truncated, a referral, another rcode, malformed,  | in full                                                        |
| an ICMP error                                     |                                                                |
| the time until the next try is over               | in full                                                        |
| one of them is down, `fastest`, TCP, a stream, a  | it is begun in full                                            |
| namespace, letter case, no socket to be had       |                                                                |
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from resolver.forward.asked import Sent
from resolver.forward.datagrams import Facts, new_datagrams, place_of
from resolver.forward.memory import TICK_S, Health
from resolver.forward.outcomes import STOPPING, Done, Outcome
from resolver.forward.policy import BUDGET_S, ForwardOptions
from resolver.forward.replies import Accept, Ignore, is_referral, upstream_query, verify
from resolver.forward.running import Running
from resolver.forward.schedule import turned
from resolver.forward.stats import UpstreamStats
from resolver.forward.transports import SocketFactory
from resolver.forward.upstreams import Upstream
from resolver.wire.constants import NOERROR, NXDOMAIN
from resolver.wire.query import Query

if TYPE_CHECKING:
    import asyncio

    from resolver.forward.forwarder import Forwarder


class _Way(NamedTuple):
    """To an upstream, and what is known of it: that of the last question is nearly always that of the next."""

    upstream: Upstream
    place: bytes | None
    health: Health
    stats: UpstreamStats


class _UnderWay:
    """A look-up whose only query is on its way."""

    __slots__ = (
        "client",
        "done",
        "health",
        "in_namespace",
        "number",
        "options",
        "order",
        "query",
        "query_id",
        "sent_at",
        "stats",
        "wake_at",
    )

    def __init__(
        self,
        query: Query,
        query_id: int,
        order: Sequence[Upstream],
        done: Done,
        options: ForwardOptions,
        in_namespace: SocketFactory,
        client: Hashable | None,
        sent_at: float,
        wake_at: float,
        health: Health,
        stats: UpstreamStats,
    ) -> None:
        self.query = query
        self.query_id = query_id
        self.order = order
        """The first one has been asked."""
        self.done = done
        self.options = options
        self.in_namespace = in_namespace
        self.client = client
        self.sent_at = sent_at
        self.wake_at = wake_at
        """When the next upstream is to be asked, or this one again."""
        self.health = health
        """What is remembered of the one that was asked."""
        self.stats = stats
        self.number = -1
        """Of its datagram; negative when it is over here."""


class Usual:
    """The look-ups of a forwarder that are in their usual course. Made and used on one running loop."""

    def __init__(self, forwarder: Forwarder, loop: asyncio.AbstractEventLoop) -> None:
        self._forwarder = forwarder
        self._loop = loop
        self._datagrams = new_datagrams()
        self._under_way: set[_UnderWay] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = 0.0
        self._last: _Way | None = None
        loop.add_reader(self._datagrams.fileno(), self._on_ready)

    def __len__(self) -> int:
        return len(self._under_way)

    def begin(
        self,
        query: Query,
        upstreams: Sequence[Upstream],
        done: Done,
        options: ForwardOptions,
        in_namespace: SocketFactory,
        client: Hashable | None,
        now: float,
    ) -> bool:
        """Ask the first upstream; False, with nothing done, when that is not the usual course.

        A place of the look-ups has been taken for ``client``.
        """
        forwarder = self._forwarder
        memory = forwarder.memory
        if options.over_tcp or options.order == "fastest" or forwarder.case_randomization:
            return False
        if memory.has_down and any(map(memory.is_down, upstreams)):
            return False
        order = turned(upstreams, forwarder.lookups) if options.order == "rotate" else upstreams
        upstream = order[0]
        last = self._last
        if last is None or last.upstream is not upstream or memory.forgotten or forwarder.forgotten:
            last = self._last = _Way(upstream, place_of(upstream), memory.of(upstream), forwarder.stats_of(upstream))
        if last.place is None:
            return False
        health, stats = last.health, last.stats
        wait_s = BUDGET_S
        if len(order) > 1 or options.attempts > 1:
            wait_s = health.patience_s
            if wait_s > options.timeout_s:
                wait_s = options.timeout_s
            if wait_s > BUDGET_S:
                wait_s = BUDGET_S
        wake_at = now + wait_s
        query_id = forwarder.new_id()
        sent = upstream_query(query, query_id, options.edns0 and query.edns is None)
        this = _UnderWay(query, query_id, order, done, options, in_namespace, client, now, wake_at, health, stats)
        try:
            this.number = self._datagrams.ask(last.place, sent, this)
        except OSError:
            return False
        self._under_way.add(this)
        stats.ask(now)
        memory.began()
        if self._timer is None:
            self._wake_at(wake_at)
        elif wake_at < self._wakes_at:
            self._timer.cancel()
            self._wake_at(wake_at)
        return True

    def close(self) -> None:
        """End every one of them, with an outcome that says so."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for this in list(self._under_way):
            self._datagrams.end(self._over(this))
            self._forwarder.ended(this.client, this.done, STOPPING)
        self._loop.remove_reader(self._datagrams.fileno())
        self._datagrams.close()

    def _wake_at(self, when: float) -> None:
        self._wakes_at = when
        self._timer = self._loop.call_at(when, self._woke)

    def _woke(self) -> None:
        """Hand over those whose time has come; asyncio may be early by the clock's resolution."""
        self._timer = None
        now = self._loop.time()
        late = [this for this in self._under_way if this.wake_at <= now + TICK_S]
        for this in late:
            try:
                if this.number >= 0:
                    self._in_full(this).woke()
            except Exception as error:  # of who is told: nobody else has a timer of his own
                self._tell(error)
        if self._under_way and self._timer is None:
            self._wake_at(min(this.wake_at for this in self._under_way))

    def _on_ready(self) -> None:
        now = self._loop.time()
        for this, message, facts in self._datagrams.take():
            if this.number < 0:
                continue  # one of those before has ended it
            try:
                if isinstance(message, int):
                    self._in_full(this).first.failed_with(message)
                elif facts is not None:
                    self._replied(this, message, facts, now)
                else:
                    self._look_at(this, message, now)
            except Exception as error:  # of who is told: the others' messages have been read already
                self._tell(error)
        if self._timer is not None and not self._under_way:
            self._timer.cancel()
            self._timer = None

    def _tell(self, error: Exception) -> None:
        """As asyncio does it of a callback that raises."""
        self._loop.call_exception_handler({"message": "who waited for a look-up has failed", "exception": error})

    def _look_at(self, this: _UnderWay, message: bytes, now: float) -> None:
        verdict = verify(this.query, this.query_id, message)
        if isinstance(verdict, Ignore):
            this.stats.ignored += 1
        elif (
            isinstance(verdict, Accept)
            and verdict.rcode in (NOERROR, NXDOMAIN)
            and not verdict.truncated
            and not is_referral(this.query, message)
        ):
            self._replied(this, message, None, now)
        else:
            self._in_full(this).first.received(message)

    def _replied(self, this: _UnderWay, reply: bytes, facts: Facts | None, now: float) -> None:
        self._under_way.discard(this)
        self._datagrams.end(this.number)
        this.number = -1
        took_s = now - this.sent_at
        forwarder = self._forwarder
        forwarder.memory.answered(this.health, took_s, now)
        this.stats.latency.observe(took_s)
        forwarder.ended(this.client, this.done, Outcome(reply, this.order[0], None, facts=facts))

    def _over(self, this: _UnderWay) -> int:
        self._under_way.discard(this)
        number, this.number = this.number, -1
        return number

    def _in_full(self, this: _UnderWay) -> Running:
        sent = Sent(this.query_id, self._datagrams.hand_over(self._over(this)))
        forwarder = self._forwarder
        return Running(
            forwarder,
            forwarder.memory,
            this.query,
            this.order,
            False,
            partial(forwarder.ended, this.client, this.done),
            this.options,
            this.in_namespace,
            this.sent_at,
            this.client,
            going_on=sent,
        )
