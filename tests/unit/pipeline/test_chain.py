"""The order of the stages, and that every question has a verdict."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.pipeline.chain import MAX_CHASE, Chain
from resolver.pipeline.outcome import Forward, Question, Reply
from resolver.pipeline.stages import ForwardPolicy, InternalNames
from resolver.views import View
from resolver.wire.constants import CNAME, NOERROR
from resolver.wire.name import fold, from_labels, from_text, to_text
from resolver.wire.reply import Answer
from resolver.wire.rrset import RRset
from tests.unit.asking import CHAIN, ask, query, views_of, zone_of
from tests.unit.pipeline.worlds import HOSTS, WORLD, mynet


@dataclass(frozen=True)
class Aliases:
    """A stage for which every name ``n0`` to ``n<count>`` is an alias of the next one."""

    count: int
    name: str = "aliases"

    def resolve(self, question: Question, view: View) -> Reply | None:
        del view
        number = int(to_text(question.key)[1:-1])
        if number == self.count:
            return None
        target = from_text(f"n{number + 1}")
        alias = RRset(question.qname, CNAME, 1, (bytes(target),))
        return Reply(Answer(NOERROR, (alias,)), cname_target=target)


def test_the_stages_are_in_the_order_of_the_contract() -> None:
    names = [stage.name for stage in Chain.of(InternalNames(), ForwardPolicy()).stages]

    assert ["extra_hosts", "internal", "registry", "reverse", "zone", "forward"] == names


def test_the_first_stage_with_a_verdict_answers() -> None:
    """A container, a zone and a network's suffix of one name."""
    views = views_of(WORLD, hosts_text=HOSTS, zones=[zone_of("example.org", "printer A 192.0.2.99\nx A 192.0.2.98\n")])

    assert ["printer.example.org. 600 A 192.0.2.80"] == ask(views.host, "printer.example.org").answer
    assert ["x.example.org. 3600 A 192.0.2.98"] == ask(views.host, "x.example.org").answer
    assert "forward" == ask(views.host, "x.example.net").stage


def test_without_any_verdict_it_is_servfail_with_its_reason() -> None:
    """No path ends without an answer (design.md 2)."""
    told = ask(mynet(), "db", chain=Chain(()))

    assert ("SERVFAIL", (0, "no stage has a verdict on this question")) == (told.rcode, told.ede)


@pytest.mark.parametrize("count", [1, 2, MAX_CHASE])
def test_a_chain_is_followed_to_its_end(count: int) -> None:
    told = ask(mynet(), "n0", chain=Chain((Aliases(count), ForwardPolicy(forward_single_labels=True))))

    assert from_text(f"n{count}") == told.forwarded.question.qname
    assert count == len(told.forwarded.chased)


def test_a_chain_without_end_is_servfail_with_its_reason() -> None:
    told = ask(mynet(), "n0", chain=Chain((Aliases(10**9),)))

    assert ("SERVFAIL", "aliases") == (told.rcode, told.stage)
    assert (0, "a chain of CNAME records does not end") == told.ede


LABELS = st.sampled_from(
    b"db DB web mynet backend corp net _5432 _tcp docker internal host in-addr ip6 arpa 172 18 0 2 lab example".split()
) | st.sampled_from([b"*", b"\xff", b"a.b", b"\0", b"x" * 40])
VIEWS = views_of(WORLD, hosts_text=HOSTS, zones=[zone_of("lab.example", "* CNAME db.mynet.\nsub NS ns.sub\n")])


@given(
    st.lists(LABELS, max_size=6),
    st.integers(0, 65535) | st.sampled_from([1, 28, 33, 12, 6, 255]),
    st.sampled_from([("mynet",), ("backend",), ("backend", "mynet"), ("corp.net",), ("nowhere",), ()]),
    st.sampled_from([None, "web", "own", "nobody", "a b"]),
)
def test_any_question_has_a_verdict(
    labels: list[bytes], rtype: int, networks: tuple[str, ...], endpoint: str | None
) -> None:
    """And a negative one has a SOA at or above the name that was asked for."""
    name = from_labels(labels)
    told = ask(VIEWS.pinned(networks, endpoint), name, rtype)
    if told.reply is None:
        assert isinstance(told.decision.outcome, Forward)
        return

    assert told.rcode in ("NOERROR", "NXDOMAIN", "SERVFAIL", "REFUSED")
    for rrset in told.message.authority:
        if rrset.rdtype == 6 and not told.message.answer:
            assert told.message.question[0].name.is_subdomain(rrset.name)
    if told.rcode in ("NOERROR", "NXDOMAIN") and not told.message.answer:
        assert told.message.authority


@given(st.lists(LABELS, max_size=6), st.sampled_from([1, 28, 33, 12, 16, 255]), st.data())
def test_letter_case_decides_nothing(labels: list[bytes], rtype: int, data: st.DataObject) -> None:
    """RFC 4343."""
    name = from_labels(labels)
    other = from_labels([data.draw(st.sampled_from([label, label.upper(), label.lower()])) for label in labels])
    view = VIEWS.pinned(("mynet",), "web")
    one, two = (CHAIN.resolve(query(spelled, rtype), view) for spelled in (name, other))

    assert (one.stage, type(one.outcome)) == (two.stage, type(two.outcome))
    if isinstance(one.outcome, Reply) and isinstance(two.outcome, Reply):
        assert one.outcome.answer.rcode == two.outcome.answer.rcode
        assert [folded(rrset) for rrset in one.outcome.answer.answer] == [
            folded(rrset) for rrset in two.outcome.answer.answer
        ]


def folded(rrset: RRset) -> tuple[bytes, int, int, tuple[bytes, ...]]:
    return fold(rrset.owner), rrset.rtype, rrset.ttl, rrset.rdatas
