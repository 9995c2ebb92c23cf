"""One message in, at most one message out: joins the pipeline, the forwarder and the ready replies.

The listeners bring bytes and a way to send; everything that a change of the registry or the configuration replaces is
one `State`, swapped by assignment.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable
from functools import partial
from typing import TYPE_CHECKING

from resolver import compiled
from resolver.counters import TCP4, ServerStats
from resolver.forward.loops import Loops
from resolver.forward.outcomes import Outcome
from resolver.forward.replies import fit, without_client_subnet
from resolver.pipeline.closed import closed_below
from resolver.pipeline.outcome import Forward, Reply
from resolver.pipeline.plain import plain_in
from resolver.server import chase
from resolver.server.state import State
from resolver.server.waiting import Resolver, Waiting, in_turns
from resolver.views import View
from resolver.wire.constants import (
    EDE_OTHER,
    FORMERR,
    MAX_MESSAGE_SIZE,
    NOTIMP,
    NXDOMAIN,
    OPCODE_MASK,
    RCODE_MASK,
    REFUSED,
    SERVFAIL,
)
from resolver.wire.name import WireName, parent_of
from resolver.wire.query import Query, Verdict, scan
from resolver.wire.ready import OPT_SIZE
from resolver.wire.reply import Answer, compose, error_reply, pack

if TYPE_CHECKING:
    from resolver.server.passing import Passing
    from resolver.wire.lane import LaneTable

log = logging.getLogger(__name__)

CACHE = "cache"
"""The stage of what was answered from the cache, by whomever."""

Send = Callable[[bytes], None]

MAX_VARIANTS = 16
"""How many orders of an answer's records are kept ready."""
_MAX_TURNS = 8192
_MAX_LED = 1024
_OPCODE_OCTET = OPCODE_MASK >> 8


class Responder:
    """Answers messages from the current state."""

    def __init__(
        self, state: State, forwarder: Resolver, stats: ServerStats | None = None, loops: Loops | None = None
    ) -> None:
        """``stats`` are given where several responders count together; ``loops`` waits for what leads back to us."""
        self.stats = stats or ServerStats()
        self.in_flight = 0
        """Queries that wait for an upstream."""
        self._waiting: set[Waiting] = set()
        self._swaps = 0
        self._passing = _new_passing()
        self._passing_since = 0
        """The resolver's generation when that was made."""
        self._state = state
        self._forwarder = forwarder
        self._loops = loops

    @property
    def generation(self) -> Hashable:
        """Another one when ready tables that were found before are no longer good."""
        return self._swaps, self._forwarder.generation

    @property
    def state(self) -> State:
        """What answers are made from now."""
        return self._state

    def swap(self, state: State) -> None:
        """Answer from another state; queries in flight are asked anew where other upstreams count for them (`waiting`).

        `count_ready_hits` before: the hits of the former views go with them.
        """
        self.count_passing_hits()
        self._state = state
        self._passing = _new_passing()
        self._swaps += 1
        if self._waiting:
            in_turns(list(self._waiting), self._ask_anew)

    def count_ready_hits(self) -> None:
        """Take the hits of the ready replies into the counters."""
        self.stats.collect()
        for view in self._state.views.all_made():
            for transport, table in enumerate(view.ready):
                for (qtype, rcode, stage), hits in table.take_hits():
                    self.stats.count_ready(transport, qtype, rcode, stage, hits)
        self.count_passing_hits()

    def count_passing_hits(self) -> None:
        """The same of upstreams' replies that were given out again."""
        if self._passing is not None:
            for transport, qtype, rcode, hits in self._passing.take_hits():
                self.stats.count_ready(transport, qtype, rcode, CACHE, hits)

    def passing_table(self, view: View, transport: int) -> LaneTable | None:
        """The upstreams' replies that are given out again without asking the cache; None where they never are."""
        if self._passing_since != self._forwarder.generation:  # something was flushed
            self.count_passing_hits()
            self._passing = _new_passing()
            self._passing_since = self._forwarder.generation
        if self._passing is None or self._state.passes_client_subnet:  # a subnet may have a say in the answer
            return None
        return self._passing.table_of(view, transport)

    def ready(self, wire: bytes, host: str, transport: int) -> bytes | None:
        """The ready reply to a message, if there is one; the UDP listener looks it up by itself."""
        view = self._state.view_of(host)
        reply = view.ready[transport].look_up(wire)
        if reply is None and (passing := self.passing_table(view, transport)) is not None:
            reply = passing.look_up(wire)
        return reply

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
        loops = self._loops
        state = self._state
        view = state.view_of(host)
        decision = state.decide(query, view)
        outcome = decision.outcome
        if loops is not None and query.key in loops.awaited:
            to = state.upstreams_for(outcome) if isinstance(outcome, Forward) else ()
            loops.came_back(query.key, to, state.in_namespace)
            self._finish(compose(query, Answer(NXDOMAIN), _limit(query, transport)), NXDOMAIN, "loop", send, started)
            return
        if isinstance(outcome, Forward):
            self._forward(query, outcome, state, host, transport, send, started)
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
        if view.ready[transport].wants_known() and (known := plain_in(self._state.chain, view)) is not None:
            view.ready[transport].know(known)
        if not outcome.keep:
            if outcome.below is not None and view.ready[transport].wants_denial(outcome.below, query.qtype):
                self._deny(query, outcome.answer, outcome.below, stage, view, transport)
            return compose(query, outcome.answer, limit)
        packed = pack(query, outcome.answer, limit, MAX_VARIANTS)
        turn = 0
        if len(packed.variants) > 1:
            if len(view.turns) >= _MAX_TURNS:
                view.turns.clear()
            turn = view.turns.get((query.key, query.qtype), -1) + 1
            view.turns[query.key, query.qtype] = turn
        if outcome.answer.ede is None and _may_stay(query, outcome, view):
            view.ready[transport].add(query, packed, turn + 1, (query.qtype, outcome.answer.rcode, stage))
        return query.wire[:2] + packed.variants[turn % len(packed.variants)]

    def _deny(self, query: Query, answer: Answer, suffix: WireName, stage: str, view: View, transport: int) -> None:
        """Keep the same answer for every name below the suffix, if nothing else there has a say."""
        closed = closed_below(self._state.chain, view, suffix)
        if closed is not None:
            label = (query.qtype, answer.rcode, stage)
            view.ready[transport].deny(suffix, label, answer, closed.whole, closed.below)

    def _forward(
        self, query: Query, forward: Forward, state: State, host: str, transport: int, send: Send, started: float
    ) -> None:
        if query.edns is not None and not state.passes_client_subnet:
            query = without_client_subnet(query)
        self.in_flight += 1
        upstreams = state.upstreams_for(forward)
        waiting = Waiting(query, host, transport, forward, upstreams, started, partial(self._answered, state, send))
        self._ask(waiting, state)
        if not waiting.is_over:
            self._waiting.add(waiting)

    def _answered(self, state: State, send: Send, waiting: Waiting, outcome: Outcome) -> None:
        self.in_flight -= 1
        self._waiting.discard(waiting)
        query, forward, transport = waiting.query, waiting.forward, waiting.transport
        limit = _limit(query, transport)
        try:
            if outcome.reply is None:
                rcode = REFUSED if outcome.refused else SERVFAIL
                reply = compose(query, Answer(rcode, forward.chased, ede=outcome.ede), limit)
            elif forward.chased:
                reply = chase.join(query, forward.chased, outcome.reply, limit, outcome.ede)
            else:
                reply = fit(query, outcome.reply, limit, outcome.ede, outcome.facts)
        except Exception:
            self._fail(query, transport, send, waiting.started)
            return
        stage = CACHE if outcome.is_cached else "forward"
        if outcome.lasting is not None and state is self._state and not forward.chased:
            self._pass_on(query, outcome, reply, waiting.host, transport)
        self._finish(reply, reply[3] & RCODE_MASK, stage, send, waiting.started)

    def _ask(self, waiting: Waiting, state: State) -> None:
        forward = waiting.forward
        query = chase.query_for(waiting.query, forward) if forward.chased else waiting.query
        over_tcp, options, client = waiting.transport >= TCP4, state.options_for(forward), (self, waiting.host)
        self._forwarder.resolve(query, waiting.upstreams, over_tcp, waiting.heard, options, state.in_namespace, client)

    def _ask_anew(self, waiting: Waiting) -> None:
        state = self._state
        forward = state.decide(waiting.query, state.view_of(waiting.host)).outcome
        if isinstance(forward, Forward) and waiting.goes_over_to(forward, state.upstreams_for(forward)):
            self._ask(waiting, state)

    def _pass_on(self, query: Query, outcome: Outcome, reply: bytes, host: str, transport: int) -> None:
        """Have the lane give the reply to the next ones who ask, if it is whole."""
        assert outcome.reply is not None
        assert outcome.lasting is not None
        view = self._state.view_of(host)
        is_whole = _limit(query, transport) >= len(outcome.reply) + OPT_SIZE
        if is_whole and self.passing_table(view, transport) is not None and self._passing is not None:
            self._passing.keep(query, reply, outcome.lasting, view, transport)

    def _finish(self, reply: bytes, rcode: int, stage: str, send: Send, started: float) -> None:
        self.stats.responses[rcode, stage] += 1
        self.stats.duration.observe(time.perf_counter() - started)
        send(reply)


def _new_passing() -> Passing | None:
    if compiled.lane is None:
        return None
    from resolver.server.passing import Passing

    return Passing()


def _may_stay(query: Query, outcome: Reply, view: View) -> bool:
    """Note a reply that is about another name as well; one more than can be noted is made anew each time."""
    if outcome.is_led_to:
        if len(view.led) >= _MAX_LED and query.key not in view.led:
            return False
        view.led.add(query.key)
    if query.key[1:2] == b"_":
        below = parent_of(parent_of(query.key))
        if len(view.services) >= _MAX_TURNS and below not in view.services:
            return False
        view.services.setdefault(below, set()).add(query.key)
    return True


def _limit(query: Query, transport: int) -> int:
    """The largest reply in octets that the client takes over this transport."""
    return MAX_MESSAGE_SIZE if transport >= TCP4 else query.udp_limit()
