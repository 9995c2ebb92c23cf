"""The order of the answer contract as one visible list, and the walk through it (design.md 2).

`Chain.resolve` is a plain function: a query and a view in, a decision out. Only a `Forward` costs anything later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from resolver.forward.routes import Routes
from resolver.pipeline.outcome import Decision, Forward, Question, Reply
from resolver.pipeline.stages import ExtraHosts, ForwardPolicy, InternalNames, RegistryNames, ReverseNames, StaticZones
from resolver.registry.model import Origin
from resolver.views import View
from resolver.wire.constants import AXFR, BADVERS, CLASS_IN, EDE_NOT_SUPPORTED, EDE_OTHER, IXFR, REFUSED, SERVFAIL
from resolver.wire.name import fold
from resolver.wire.query import Query
from resolver.wire.reply import Answer
from resolver.wire.rrset import RRset

MAX_CHASE = 8
"""How many CNAME records are followed from one zone to another before the look-up is given up."""

SANITY = "sanity"


class Stage(Protocol):
    """One step: the outcome for a question, or None to pass it on."""

    @property
    def name(self) -> str:
        """What the step is called in metrics and by ``pydns explain``."""

    def resolve(self, question: Question, view: View) -> Reply | Forward | None:
        """The verdict on a question; no I/O, no clock, no exception for any question."""


class Chain(Struct, frozen=True):
    """The stages in their order; the last one has a verdict on everything."""

    stages: Sequence[Stage]

    @classmethod
    def of(cls, internal: InternalNames, forward: ForwardPolicy) -> Chain:
        """The answer contract, with the two stages that have settings."""
        return cls((ExtraHosts(), internal, RegistryNames(), ReverseNames(), StaticZones(), forward))

    @property
    def routes(self) -> Routes:
        """Who is asked for which names."""
        return next((stage.routes for stage in self.stages if isinstance(stage, ForwardPolicy)), Routes())

    def resolve(self, query: Query, view: View) -> Decision:
        """Who answers a query, and what; never raises."""
        if (refused := _sanity(query)) is not None:
            return Decision(refused, SANITY)
        question = Question(query.qname, query.key, query.qtype)
        chased: tuple[RRset, ...] = ()
        origins: tuple[Origin, ...] = ()
        decision = self._ask(question, view)
        first = decision.stage
        for _ in range(MAX_CHASE + 1):
            outcome = decision.outcome
            if isinstance(outcome, Forward):
                return Decision(outcome._replace(chased=chased), decision.stage) if chased else decision
            if outcome.cname_target is None:
                return decision if not chased else Decision(_joined(chased, outcome, origins), first)
            chased += outcome.answer.answer
            origins += outcome.origins
            target = outcome.cname_target
            decision = self._ask(Question(target, fold(target), query.qtype), view)
        endless = Answer(SERVFAIL, chased, ede=(EDE_OTHER, "a chain of CNAME records does not end"))
        return Decision(Reply(endless, origins=origins), first)

    def _ask(self, question: Question, view: View) -> Decision:
        for stage in self.stages:
            if (outcome := stage.resolve(question, view)) is not None:
                return Decision(outcome, stage.name)
        return Decision(Reply(Answer(SERVFAIL, ede=(EDE_OTHER, "no stage has a verdict on this question"))), SANITY)


def _joined(chased: tuple[RRset, ...], last: Reply, origins: tuple[Origin, ...]) -> Reply:
    """The CNAME records that led here in front of the last answer; AA is about the first name (RFC 1035 4.1.1)."""
    return Reply(
        Answer(
            last.answer.rcode,
            chased + last.answer.answer,
            last.answer.authority,
            last.answer.additional,
            authoritative=True,
            ede=last.answer.ede,
        ),
        keep=last.keep,
        origins=origins + last.origins,
        is_led_to=True,
        why=last.why,
    )


def _sanity(query: Query) -> Reply | None:
    """What is refused whatever its name (RFC 6891 6.1.3; zone transfers are for authoritative servers' secondaries)."""
    if query.edns is not None and query.edns.version > 0:
        return Reply(Answer(BADVERS), why="only EDNS version 0 is spoken")
    if query.qclass != CLASS_IN:
        return Reply(Answer(REFUSED, ede=(EDE_NOT_SUPPORTED, "only class IN is served")))
    if query.qtype in (AXFR, IXFR):
        return Reply(Answer(REFUSED, ede=(EDE_NOT_SUPPORTED, "zone transfer is not offered")))
    return None
