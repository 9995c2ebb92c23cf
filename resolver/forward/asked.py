"""One try of a look-up on its way: the query that leaves, what comes back, and what the memory learns of it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from resolver.forward.failures import Failure, failure_of_rcode
from resolver.forward.letter_case import Spelling, restore, spell
from resolver.forward.memory import FIRST_PATIENCE_S, TICK_S, Memory
from resolver.forward.replies import Accept, Ignore, is_referral, upstream_query, verify
from resolver.forward.stats import UpstreamStats
from resolver.forward.steps import Try
from resolver.forward.transports import ENDED, Ended, Exchange, SocketFactory, failure_of
from resolver.forward.upstreams import Upstream
from resolver.wire.constants import NOERROR, NXDOMAIN
from resolver.wire.query import Query

if TYPE_CHECKING:
    from resolver.forward.forwarder import Forwarder


class Running(Protocol):
    """The look-up that a try is of."""

    query: Query
    client: Hashable | None
    in_namespace: SocketFactory
    memory: Memory
    is_over: bool
    is_counted: bool

    def replied(self, attempt: Try, verdict: Accept, reply: bytes, now: float) -> None:
        """A try of it has brought a reply."""

    def failed(self, attempt: Try, failure: Failure, reason: str) -> None:
        """A try of it has come to nothing."""


class Sent(NamedTuple):
    """A query that is on its way to a datagram server already."""

    query_id: int
    descriptor: int
    """Of its connected socket."""


class Asked:
    """One try: the listener of its exchange."""

    __slots__ = (
        "_attempt",
        "_exchange",
        "_forwarder",
        "_memory",
        "_query_id",
        "_running",
        "_sent_at",
        "_spelling",
        "_stats",
    )

    def __init__(
        self, forwarder: Forwarder, running: Running, attempt: Try, now: float, sent: Sent | None = None
    ) -> None:
        """``sent`` tells of the query, and that it is counted, where it has left."""
        self._attempt = attempt
        self._running = running
        self._forwarder = forwarder
        self._sent_at = now
        self._memory = running.memory
        upstream = attempt.upstream
        self._stats = forwarder.stats_of(upstream) if running.is_counted else UpstreamStats()
        self._spelling: Spelling | None = None
        self._exchange: Exchange | Ended
        if sent is not None:
            self._query_id = sent.query_id
            self._exchange = forwarder.exchanges.go_on(upstream, sent.descriptor, self)
            return
        self._query_id = forwarder.new_id()
        self._stats.ask(now)
        query = upstream_query(running.query, self._query_id, attempt.edns0)
        is_forgeable = upstream.is_datagram and not attempt.over_tcp
        if forwarder.case_randomization and is_forgeable and self._memory.repeats_case(upstream, now):
            query, self._spelling = spell(query, running.query.question_end)
        factory = running.in_namespace if upstream.in_namespace else forwarder._sockets
        connections = self._stats.connections
        self._exchange = forwarder.exchanges.open(
            upstream, query, self, factory, attempt.over_tcp, self._stats, running.client
        )
        if self._stats.connections != connections and not upstream.is_datagram:
            self._memory.opened(upstream, now)

    def received(self, message: bytes) -> None:
        """A message came from the upstream's address; what it is worth is for `replies.verify` to say."""
        verdict = verify(self._running.query, self._query_id, message)
        if isinstance(verdict, Accept):
            now = self._forwarder._loop.time()
            if self._spelling is not None:
                restored = restore(message, self._spelling)
                self._memory.repeated_case(self._attempt.upstream, now, did=restored is not None)
                if restored is None:
                    self._stats.other_case += 1
                    self._stats.ignored += 1
                    return
                message = restored
            self._forwarder.certificates.good(self._attempt.upstream)
            self._stats.latency.observe(now - self._sent_at)
            failure = None if verdict.rcode in (NOERROR, NXDOMAIN) else failure_of_rcode(verdict.rcode)
            if failure is None and is_referral(self._running.query, message):
                failure = Failure.LAME
            if failure is not None:
                self._stats.failures[failure] += 1
            self._close()
            if self._running.is_over:
                self._forwarder.overtaken.forget(self)
                self._memory.replied(self._attempt.upstream, now - self._sent_at, failure, now)
            elif failure is Failure.LAME:
                self._running.failed(self._attempt, failure, "")
            else:
                self._running.replied(self._attempt, verdict, message, now)
        elif isinstance(verdict, Ignore) and self._attempt.upstream.is_datagram and not self._attempt.over_tcp:
            self._stats.ignored += 1
        else:
            self._close()
            self.broke(Failure.MALFORMED)

    def failed_with(self, number: int) -> None:
        """The kernel has said why nothing will come: an errno."""
        self._exchange.close()
        self.broke(failure_of(number))

    def broke(self, failure: Failure, reason: str = "") -> None:
        """The exchange came to nothing."""
        self._exchange = ENDED
        is_over = self._running.is_over
        if is_over and not self._forwarder.overtaken.forget(self):
            return
        if failure is Failure.BUSY:
            self._stats.spare()
        else:
            self._stats.failures[failure] += 1
        self._forwarder.note(self._attempt.upstream, failure, reason)
        if is_over:
            self._memory.failed(self._attempt.upstream, failure, self._forwarder._loop.time())
        else:
            self._running.failed(self._attempt, failure, reason)

    def end(self, winner: Upstream | None, now: float) -> None:
        """The look-up is over; ``winner`` is whose reply has ended it."""
        if self._exchange.is_closed:
            return
        attempt = self._attempt
        if winner == attempt.upstream:  # a packet was lost, and a later one came through
            self._close()
            self._stats.failures[Failure.TIMEOUT] += now - self._sent_at >= FIRST_PATIENCE_S
            return
        until = self._sent_at + FIRST_PATIENCE_S
        is_early = winner is not None and now < until and not attempt.over_tcp
        if not is_early or not self._forwarder.overtaken.listen_to(self, until):
            self._let_go(now, overtaken=winner is not None)

    def give_up(self) -> None:
        """It was overtaken, and has been silent since."""
        self._let_go(self._forwarder._loop.time(), overtaken=True)

    def _close(self) -> None:
        self._exchange.close()
        self._exchange = ENDED  # that one knows us as its listener: nothing is to be left to the garbage collector

    def _let_go(self, now: float, *, overtaken: bool) -> None:
        self._close()
        attempt, silence_s = self._attempt, now - self._sent_at
        over_tcp = attempt.over_tcp
        self._memory.silent(attempt.upstream, silence_s, overtaken=overtaken, now=now, over_tcp=over_tcp)
        if silence_s >= FIRST_PATIENCE_S - TICK_S:
            self._stats.failures[Failure.TIMEOUT] += 1
