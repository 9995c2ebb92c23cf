"""Every recorded answer of a real Docker daemon against pydns with the same topology.

A case is *same*, or *better* as `differences.toml` lists it with the answer and the reason, or *not ours* as
`not_ours.toml` lists it. What is compared, what is not and why: `transcript`. All questions of a run are put at once,
so whoever waits for a dead server waits beside the others.
"""

from __future__ import annotations

import asyncio
from typing import Any

import dns.edns
import dns.message
import pytest

from resolver.pipeline.chain import Chain
from resolver.pipeline.stages import ForwardPolicy, InternalNames
from tests.golden import asking, tables, transcript
from tests.golden.recorded import Case, cases
from tests.golden.states import ODD_ALIASES, STEPS, world_after
from tests.golden.upstream import Upstreams


@pytest.fixture(scope="session")
def answers(request: pytest.FixtureRequest) -> dict[str, asking.Outcome]:
    """What pydns says in each case of this run."""
    chosen: list[Any] = [item for item in request.session.items if isinstance(item, pytest.Function)]
    ids = {item.callspec.params["case"] for item in chosen if item.originalname == "test_docker_answers"}
    return asking.ask_all([case for case in cases().values() if case.id in ids])


@pytest.mark.parametrize("case", [case for case in cases() if case not in tables.not_ours()])
def test_docker_answers(case: str, answers: dict[str, asking.Outcome]) -> None:
    verdict = tables.judge(cases()[case], answers[case])
    assert verdict in tables.FINE, verdict


@pytest.mark.parametrize("case", sorted(tables.not_ours()))
def test_what_is_no_question_has_a_reason(case: str) -> None:
    assert case in cases()
    assert case not in tables.differences()
    assert len(tables.not_ours()[case]) > 40


def test_all_of_the_recording_is_there() -> None:
    assert len(cases()) == 1116
    assert all(isinstance(case, Case) for case in cases().values())


def test_only_cases_that_exist_are_listed() -> None:
    assert tables.differences().keys() <= cases().keys()
    assert {difference.reason for difference in tables.differences().values()} == tables.reasons().keys()


def test_every_reason_is_a_sentence() -> None:
    assert all(len(reason) > 40 for reason in tables.reasons().values())


def test_single_labels_are_dockers_when_the_configuration_says_so() -> None:
    """What Docker forwards is forwarded then; what it keeps to itself on account of ndots is not looked at here."""
    single = [cases()[case] for case, listed in tables.differences().items() if listed.reason == "single-label"]
    leaked = [case for case in single if tables.recorded(case)[-1].asked]
    answers = asking.ask_all(leaked, Chain.of(InternalNames(), ForwardPolicy(forward_single_labels=True)))
    assert len(leaked) > 80
    assert {case.id for case in leaked if not tables.is_same(case, said(answers[case.id]))} == {
        "names/intcli/nosuch./A",  # on internal networks alone nothing leaves
        "names/intcli/web./A",
        "upstream/sfref/nosuch./A",  # a SERVFAIL comes before a REFUSED
    }


def said(outcome: asking.Outcome) -> tuple[transcript.Told, ...]:
    assert not isinstance(outcome, Exception), outcome
    return outcome


def test_an_alias_that_no_question_can_hold_is_left_out_with_a_line() -> None:
    at = next(index for index, (name, _) in enumerate(STEPS, 1) if name.startswith("containers odd0"))
    world = world_after(at)
    views = world.views()
    mynet = views.snapshot.networks["mynet"]
    served = {alias for endpoint in mynet.endpoints if endpoint.name.startswith("odd") for alias in endpoint.aliases}
    assert served == {"-x", "x"}
    assert len(world.complaints) >= len(ODD_ALIASES) - len(served)


def test_a_datagram_of_more_than_512_octets_is_read_to_its_end() -> None:
    padding = dns.edns.GenericOption(dns.edns.OptionType.PADDING, bytes(1200))
    query = dns.message.make_query("db.", "A", use_edns=0, payload=4096, options=[padding])

    async def ask() -> str:
        async with Upstreams() as upstreams, asking.Questions(upstreams).serving(("base topology",), "web") as served:
            return transcript.in_words(await asking.over_udp(served, [query.to_wire()]))

    assert asyncio.run(ask()) == "NOERROR qr rd ra; answer: db. 600 IN A 172.18.0.3; opt: 1232"
