"""One message in, at most one message out: joins the pipeline, the forwarder and the ready replies.

The listeners bring bytes and a way to send; everything that a change of the registry or the configuration replaces is
one `State`, swapped by assignment.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from resolver.counters import OTHER_TYPE, TCP4, ServerStats
from resolver.forward.forwarder import Done, Outcome, no_namespace
from resolver.forward.policy import ForwardOptions
from resolver.forward.replies import fit
from resolver.forward.transports import SocketFactory
from resolver.forward.upstreams import Upstream
from resolver.pipeline.chain import Chain
from resolver.pipeline.outcome import Forward, Reply
from resolver.server import chase
from resolver.views import View, Views
from resolver.wire.constants import (
    EDE_OTHER,
    FORMERR,
    MAX_MESSAGE_SIZE,
    NOTIMP,
    OPCODE_MASK,
    RCODE_MASK,
    REFUSED,
    SERVFAIL,
    TYPE_NAMES,
)
from resolver.wire.query import Query, Verdict, scan
from resolver.wire.ready import Ready
from resolver.wire.reply import Answer, compose, error_reply, pack

log = logging.getLogger(__name__)

Send = Callable[[bytes], None]

MAX_VARIANTS = 16
"""How many orders of an answer's records are kept ready."""
_MAX_TURNS = 8192
_OPCODE_OCTET = OPCODE_MASK >> 8


@dataclass(frozen=True, slots=True)
class Pin:
    """The one view that every client of a server has, whatever its address."""

    networks: tuple[str, ...]
    endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class State:
    """What answers are made from."""

    views: Views
    chain: Chain
    upstreams: tuple[Upstream, ...]
    """Everybody's upstreams."""
    own_upstreams: Callable[[tuple[str, ...]], tuple[Upstream, ...]]
    """From an asker's own servers, as the registry has them, to upstreams."""
    options: ForwardOptions = field(default_factory=ForwardOptions)
    """How upstreams are asked."""
    pin: Pin | None = None
    in_namespace: SocketFactory = no_namespace
    """Makes the sockets for upstreams that are asked from inside the asker's namespace."""

    def upstreams_for(self, forward: Forward) -> tuple[Upstream, ...]:
        """Who is asked: the route's upstreams, the asker's own, or everybody's."""
        return forward.upstreams or (self.own_upstreams(forward.servers) if forward.servers else self.upstreams)

    def view_of(self, host: str) -> View:
        """The view of a client by its address."""
        if self.pin is not None:
            return self.views.pinned(self.pin.networks, self.pin.endpoint)
        return self.views.of_client(host)


class Resolver(Protocol):
    """Who looks up what is forwarded: a `Forwarder`, or `Lookups` with a cache in front of one."""

    def resolve(
        self,
        query: Query,
        upstreams: Sequence[Upstream],
        over_tcp: bool,
        done: Done,
        options: ForwardOptions,
        in_namespace: SocketFactory,
    ) -> None:
        """As `Forwarder.resolve`."""


class Responder:
    """Answers messages from the current state."""

    def __init__(self, state: State, forwarder: Resolver, stats: ServerStats | None = None) -> None:
        """``stats`` are given where several responders count together."""
        self.stats = stats or ServerStats()
        self.in_flight = 0
        """Queries that wait for an upstream."""
        self.generation = 0
        """Grows when the state is swapped: ready tables found before are no longer good."""
        self._state = state
        self._forwarder = forwarder

    @property
    def state(self) -> State:
        """What answers are made from now."""
        return self._state

    def swap(self, state: State) -> None:
        """Answer from another state; queries in flight keep the one that they began with.

        `count_ready_hits` before: the hits of the former views go with them.
        """
        self._state = state
        self.generation += 1

    def count_ready_hits(self) -> None:
        """Take the hits of the ready replies into the counters."""
        for view in self._state.views.all_made():
            for transport, table in enumerate(view.ready):
                for (qtype, rcode, stage), hits in table.take_hits():
                    self.stats.requests[transport, qtype if qtype in TYPE_NAMES else OTHER_TYPE] += hits
                    self.stats.responses[rcode, stage] += hits

    def ready(self, wire: bytes, host: str, transport: int) -> bytes | None:
        """The ready reply to a message, if there is one; the UDP listener looks it up by itself."""
        entry = self._state.view_of(host).ready[transport].get(wire[2:])
        if entry is None:
            return None
        entry.hits += 1
        return wire[:2] + entry.next_reply()

    def handle(self, wire: bytes, host: str, transport: int, send: Send) -> bool:
        """Answer one message from a client at address ``host``.

        ``send`` is called once with the reply, before this returns or later. Returns False when it never will be.
        """
        started = time.perf_counter()
        query = scan(wire)
        if isinstance(query, Verdict):
            return self._reject(wire, query, transport, send, started)
        self.stats.count_request(transport, query.qtype)
        try:
            self._answer(query, host, transport, send, started)
        except Exception:
            self._fail(query, transport, send, started)
        return True

    def _reject(self, wire: bytes, verdict: Verdict, transport: int, send: Send, started: float) -> bool:
        if verdict is Verdict.SILENCE:
            self.stats.dropped += 1
            return False
        rcode = NOTIMP if verdict is Verdict.NOTIMP else FORMERR
        self.stats.count_request(transport, 0)
        reply = self._not_implemented(wire, transport) if rcode == NOTIMP else error_reply(wire, rcode)
        self._finish(reply, rcode, "sanity", send, started)
        return True

    def _fail(self, query: Query, transport: int, send: Send, started: float) -> None:
        """The last line of defence: whatever a query meets, its client hears of it (design.md 2)."""
        log.exception("a query could not be answered: %s", query.wire.hex())
        self.stats.failures += 1
        answer = Answer(SERVFAIL, ede=(EDE_OTHER, "internal error"))
        self._finish(compose(query, answer, _limit(query, transport)), SERVFAIL, "error", send, started)

    def _not_implemented(self, wire: bytes, transport: int) -> bytes:
        """NOTIMP, with question and OPT when the message reads like a query (RFC 6891 6.1.1), else a bare header."""
        opcode = wire[2] & _OPCODE_OCTET
        query = scan(wire[:2] + bytes((wire[2] ^ opcode,)) + wire[3:])
        if isinstance(query, Verdict):
            return error_reply(wire, NOTIMP)
        reply = compose(query, Answer(NOTIMP), _limit(query, transport))
        return reply[:2] + bytes((reply[2] | opcode,)) + reply[3:]

    def _answer(self, query: Query, host: str, transport: int, send: Send, started: float) -> None:
        state = self._state
        view = state.view_of(host)
        decision = state.chain.resolve(query, view)
        outcome = decision.outcome
        if isinstance(outcome, Forward):
            self._forward(query, outcome, state, transport, send, started)
            return
        self._finish(
            self._reply(query, outcome, decision.stage, view, transport),
            outcome.answer.rcode,
            decision.stage,
            send,
            started,
        )

    def _reply(self, query: Query, outcome: Reply, stage: str, view: View, transport: int) -> bytes:
        limit = _limit(query, transport)
        if not outcome.keep:
            return compose(query, outcome.answer, limit)
        packed = pack(query, outcome.answer, limit, MAX_VARIANTS)
        turn = 0
        if len(packed.variants) > 1:
            if len(view.turns) >= _MAX_TURNS:
                view.turns.clear()
            turn = view.turns.get((query.key, query.qtype), -1) + 1
            view.turns[query.key, query.qtype] = turn
        if query.edns is None or not query.edns.has_options:
            start = (turn + 1) % len(packed.variants)
            variants = packed.variants[start:] + packed.variants[:start]
            label = (query.qtype, outcome.answer.rcode, stage)
            view.ready[transport].add(query.wire[2:], Ready(variants, label))
        return query.wire[:2] + packed.variants[turn % len(packed.variants)]

    def _forward(
        self, query: Query, forward: Forward, state: State, transport: int, send: Send, started: float
    ) -> None:
        asked = chase.query_for(query, forward) if forward.chased else query
        upstreams = state.upstreams_for(forward)
        limit = _limit(query, transport)

        def done(outcome: Outcome) -> None:
            self.in_flight -= 1
            try:
                if outcome.reply is None:
                    rcode = REFUSED if outcome.refused else SERVFAIL
                    reply = compose(query, Answer(rcode, forward.chased, ede=outcome.ede), limit)
                elif forward.chased:
                    reply = chase.join(query, forward.chased, outcome.reply, limit)
                else:
                    reply = fit(query, outcome.reply, limit, outcome.ede)
            except Exception:
                self._fail(query, transport, send, started)
                return
            stage = "cache" if outcome.is_cached else "forward"
            self._finish(reply, reply[3] & RCODE_MASK, stage, send, started)

        self.in_flight += 1
        self._forwarder.resolve(asked, upstreams, transport >= TCP4, done, state.options, state.in_namespace)

    def _finish(self, reply: bytes, rcode: int, stage: str, send: Send, started: float) -> None:
        self.stats.responses[rcode, stage] += 1
        self.stats.duration.observe(time.perf_counter() - started)
        send(reply)


def _limit(query: Query, transport: int) -> int:
    """The largest reply in octets that the client takes over this transport."""
    return MAX_MESSAGE_SIZE if transport >= TCP4 else query.udp_limit()
