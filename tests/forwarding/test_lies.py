"""Whatever an upstream sends: the right answer or an error in time, no harm to anybody else, and nothing that lasts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

import dns.flags
import pytest

from tests.forwarding import liar
from tests.forwarding.client import at_once, by_udp, status
from tests.forwarding.conftest import Serve
from tests.forwarding.liar import RIGHT, VICTIM, WRONG, Liar
from tests.scenarios.live import Live, answers, ask, has_flag, is_clean, udp_bytes

WITHIN_S = 4.5
NOISE_S = 1.5
"""What a loaded machine may add."""
ALONE = [*liar.IGNORED, *liar.UNUSABLE, *liar.OVER_TCP, *liar.ELSEWHERE]
FOLLOWED = [f"then-{lie}" for lie in liar.IGNORED]
USELESS = [*liar.USELESS]
ALL = [*ALONE, *FOLLOWED, *liar.RELAYED, *USELESS]
MUTANTS = 200


class Said(NamedTuple):
    """How a question ended."""

    rcode: str
    rdata: list[str]
    took_s: float


class Told(NamedTuple):
    """A pydns that was lied to in every way at once, and what it said then."""

    live: Live
    server: Liar
    said: dict[str, Said]
    mutants: list[float]
    """After how many seconds there was an answer to those whose reply was spoilt."""


@pytest.fixture(scope="module")
def told(serve: Serve) -> Iterator[Told]:
    said: dict[str, Said] = {}
    mutants: list[float] = []

    def ask_for(name: str) -> None:
        began = time.monotonic()
        if name.startswith("mutant"):
            octets = udp_bytes(live.at, ask(f"{name}.example."), within_s=WITHIN_S + NOISE_S)
            assert octets[2] & 0x80
            mutants.append(time.monotonic() - began)
        else:
            reply = by_udp(live.at, f"{name}.example.", use_edns=0)
            said[name] = Said(status(reply), answers(reply), time.monotonic() - began)

    with Liar() as server:
        live = serve(upstreams=[str(server)], settings={"cache": {"servfail_ttl": 0}})
        names = [*ALL, *(f"mutant{number}" for number in range(MUTANTS))]
        at_once(ask_for, names, len(names))
        yield Told(live, server, said, mutants)


def test_every_question_has_its_answer_in_time(told: Told) -> None:
    assert {lie: said for lie, said in told.said.items() if said.took_s > WITHIN_S + NOISE_S} == {}
    assert is_clean(told.live.stderr), told.live.stderr


@pytest.mark.parametrize("lie", ALONE)
def test_a_lie_is_never_passed_on(told: Told, lie: str) -> None:
    """The right answer, or an error; what is the right one over TCP only may be cut."""
    rcode, said, _ = told.said[lie]

    assert WRONG not in said
    assert (rcode, said) in (("NOERROR", [RIGHT]), ("SERVFAIL", []))


@pytest.mark.parametrize("lie", [*FOLLOWED, *liar.RELAYED, "tcp-huge"])
def test_the_right_answer_is_found_among_lies(told: Told, lie: str) -> None:
    rcode, said, _ = told.said[lie]

    assert (rcode, said[0]) == ("NOERROR", RIGHT)


@pytest.mark.parametrize("lie", USELESS)
def test_what_is_useless_is_at_most_relayed(told: Told, lie: str) -> None:
    rcode, said, took = told.said[lie]

    assert rcode in ("NOERROR", "SERVFAIL")
    assert RIGHT not in said
    assert took < WITHIN_S + NOISE_S


def test_replies_with_spoilt_octets(told: Told) -> None:
    """Whatever they turn out to say, there is an answer in time; what was kept of them is given out again."""
    assert len(told.mutants) == MUTANTS
    assert max(told.mutants) < WITHIN_S + NOISE_S
    assert told.live.page("/cache").json
    for number in range(0, MUTANTS, 2):
        if told.live.page(f"/cache?name=mutant{number}.example.").json["entries"]:
            assert udp_bytes(told.live.at, ask(f"mutant{number}.example."))[2] & 0x80
    assert is_clean(told.live.stderr), told.live.stderr


def test_nothing_of_it_lasts(told: Told) -> None:
    """The server is honest now, and that is what everybody hears; the name that the lies were about is unharmed."""
    told.server.is_honest = True

    def asked(lie: str) -> str:
        name = VICTIM if lie == "victim" else f"{lie}.example."
        reply = by_udp(told.live.at, name, use_edns=0)
        said = answers(reply)
        beside = 3 if lie == "poison" else 1  # a cached answer has what came with it, for its own name
        is_right = status(reply) == "NOERROR" and said[:1] == [RIGHT] and len(said) <= beside
        return "" if is_right and not has_flag(reply, dns.flags.TC) else f"{lie}: {told.said.get(lie)}, now {reply}"

    assert [text for text in at_once(asked, ["victim", *ALL]) if text] == []
    assert is_clean(told.live.stderr), told.live.stderr


def test_a_connection_on_which_was_lied_serves_nobody_else(told: Told) -> None:
    """Clients over TCP, too, get what is right."""
    told.server.is_honest = False
    with told.live.tcp() as stream:
        for lie in ("tcp-wrong-id", "tcp-half", "tcp-zeros", "tcp-closed"):
            reply = stream.ask(f"{lie}.again.example.")
            assert (status(reply), answers(reply)) in (("NOERROR", [RIGHT]), ("SERVFAIL", [])), lie
            assert answers(stream.ask(f"fine-{lie}.example.")) == [RIGHT]
    told.server.is_honest = True
