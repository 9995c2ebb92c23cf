"""A probe: how an upstream that is down comes up again, and how a time that is long ago is measured anew (`memory`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resolver.forward.failures import Failure, failure_of_rcode
from resolver.forward.memory import LONG_S, Memory
from resolver.forward.replies import Accept, is_referral, upstream_query, verify
from resolver.forward.transports import Exchange, SocketFactory
from resolver.forward.upstreams import Upstream
from resolver.wire.constants import NOERROR, NXDOMAIN
from resolver.wire.query import Query

if TYPE_CHECKING:
    from resolver.forward.forwarder import Forwarder


class Probe:
    """A copy of somebody's question to an upstream that is down, or whose time is to be measured again."""

    __slots__ = ("_exchange", "_forwarder", "_memory", "_query", "_query_id", "_sent_at", "_timer", "_upstream")

    def __init__(
        self,
        forwarder: Forwarder,
        memory: Memory,
        query: Query,
        upstream: Upstream,
        in_namespace: SocketFactory,
        now: float,
    ) -> None:
        self._forwarder = forwarder
        self._memory = memory
        self._query = query
        self._upstream = upstream
        self._sent_at = now
        self._query_id = forwarder.new_id()
        self._timer = forwarder._loop.call_later(LONG_S, self._woke)
        stats = forwarder.stats_of(upstream)
        stats.ask(now)
        sent = upstream_query(query, self._query_id, False)
        factory = in_namespace if upstream.in_namespace else forwarder._sockets
        self._exchange: Exchange = forwarder.exchanges.open(upstream, sent, self, factory, False, stats)

    def received(self, message: bytes) -> None:
        """Whatever it answers, it is there; whether it is lame its rcode says."""
        verdict = verify(self._query, self._query_id, message)
        if isinstance(verdict, Accept):
            now = self._forwarder._loop.time()
            failure = None if verdict.rcode in (NOERROR, NXDOMAIN) else failure_of_rcode(verdict.rcode)
            if is_referral(self._query, message):
                failure = Failure.LAME
            self._forwarder.certificates.good(self._upstream)
            self._memory.replied(self._upstream, now - self._sent_at, failure, now)
            self.end()

    def broke(self, failure: Failure, reason: str = "") -> None:
        """It is still down, at no cost to anybody."""
        if failure is Failure.BUSY:
            self._forwarder.stats_of(self._upstream).spare()
        self._forwarder.note(self._upstream, failure, reason)
        self._memory.failed(self._upstream, failure, self._forwarder._loop.time())
        self.end()

    def end(self) -> None:
        """Wait no longer."""
        self._timer.cancel()
        self._exchange.close()
        self._forwarder._probes.discard(self)

    def _woke(self) -> None:
        now = self._forwarder._loop.time()
        if self._memory.is_down(self._upstream):
            self._memory.silent(self._upstream, now - self._sent_at, overtaken=False, now=now)
        else:  # its time was to be measured again: one lost packet does not put it down
            self._memory.failed(self._upstream, Failure.TIMEOUT, now)
        self.end()
