"""Upstreams that fail as they do in the world: packets are lost, refused, or never answered, by rules of nft."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.forwarding.client import at_once, by_udp, codes, status
from tests.forwarding.lab import FIRST, OF_FIRST, OF_SECOND, SECOND, Lab
from tests.scenarios.live import Live, answers, is_clean, reason, until

pytestmark = pytest.mark.root

QUERIES = 300
WITHIN_S = 4.5
NOISE_S = 1.5
"""What a loaded machine may add."""
_numbers = itertools.count()


class Told(NamedTuple):
    """How a query ended."""

    rcode: str
    rdata: tuple[str, ...]
    took_s: float


def asked(live: Live, name: str = "") -> Told:
    """One question, of a name that nobody has asked for yet; to be called in the near namespace."""
    began = time.monotonic()
    reply = by_udp(live.at, name or f"n{next(_numbers)}.example.")
    return Told(status(reply), tuple(answers(reply)), time.monotonic() - began)


def ask_many(lab: Lab, live: Live, count: int, workers: int = 16) -> list[Told]:
    return at_once(lambda _: lab.inside(lambda: asked(live)), range(count), workers)


def is_down(lab: Lab, live: Live, upstream: str) -> bool:
    """What `pydns upstreams` says of it."""
    lines = [line.split() for line in lab.pydns(live, "upstreams").splitlines()]
    found = {words[0]: words[1] for words in lines}
    return found[f"{upstream}:53"] == "down"


@pytest.fixture
def two(lab: Lab, tmp_path: Path) -> Iterator[Live]:
    """A pydns that knows both, the first one first, and has had an answer of it."""
    live = lab.serve(tmp_path, upstreams=[FIRST, SECOND])
    assert lab.inside(lambda: asked(live)).rdata == (OF_FIRST,)
    yield live
    assert is_clean(live.stderr), live.stderr
    live.kill()


def test_an_outage_of_a_second_is_outlived(lab: Lab, tmp_path: Path) -> None:
    """By a single upstream that is known to take a millisecond: it is asked until the budget is over."""
    live = lab.serve(tmp_path, upstreams=[FIRST])
    ask_many(lab, live, 20)
    with ThreadPoolExecutor(1) as pool:
        with lab.rule("udp dport 53 counter drop"):
            told = pool.submit(ask_many, lab, live, 20, 20)
            until(lambda: lab.dropped() >= 20 * 4)
            time.sleep(0.5)  # longer than four tries with twice the patience each take
        assert {(one.rcode, one.rdata) for one in told.result()} == {("NOERROR", (OF_FIRST,))}


@pytest.mark.parametrize(("percent", "most_failed"), [(1, 0), (5, 0), (20, 1)])
def test_lost_packets_cost_little(lab: Lab, tmp_path: Path, percent: int, most_failed: int) -> None:
    """One upstream only. A look-up fails when all of its seven queries are lost, at 20 % one in a hundred thousand."""
    live = lab.serve(tmp_path, upstreams=[FIRST])
    # One in a hundred is not left to chance: of so few queries it may well take none.
    which = "inc" if percent == 1 else "random"
    drop = f"udp dport 53 numgen {which} mod 100 < {percent} counter drop"
    with lab.rule(drop):
        told = ask_many(lab, live, QUERIES)
        assert lab.dropped() > 0
    failed = [one for one in told if (one.rcode, one.rdata) != ("NOERROR", (OF_FIRST,))]
    times = sorted(one.took_s for one in told)

    assert len(told) == QUERIES
    assert len(failed) <= most_failed, failed
    assert {one.rcode for one in failed} <= {"SERVFAIL"}
    assert times[-1] < WITHIN_S + NOISE_S
    assert times[len(times) // 2] < 1, "most are not lost"
    assert times[int(len(times) * 0.99) - 1] < (2 if percent <= 5 else WITHIN_S)
    assert is_clean(live.stderr), live.stderr


def test_a_first_upstream_that_falls_silent(lab: Lab, two: Live) -> None:
    """The first query waits for it, later ones do not; when it is back a probe finds it, and it is first again."""
    with lab.rule(f"ip daddr {FIRST} udp dport 53 counter drop"):
        first = lab.inside(lambda: asked(two))
        later = [lab.inside(lambda: asked(two)) for _ in range(50)]
        assert [one for one in (first, *later) if (one.rcode, one.rdata) != ("NOERROR", (OF_SECOND,))] == []
        assert first.took_s < 1 + NOISE_S
        # a loaded machine may be slow; the memory may take two or three queries to be sure
        assert sorted(one.took_s for one in later)[len(later) // 2] < 0.2
        assert is_down(lab, two, FIRST)
        assert not is_down(lab, two, SECOND)
        before = lab.dropped()
        ask_many(lab, two, 100)
        assert lab.dropped() - before < 40, "it is asked by probes, and when the second one seems to be slow"

    until(lambda: lab.inside(lambda: asked(two)).rdata == (OF_FIRST,), 40, 0.1)
    assert not is_down(lab, two, FIRST)


@pytest.mark.parametrize("how", ["port-unreachable", "host-unreachable", "admin-prohibited"])
def test_a_first_upstream_that_refuses(lab: Lab, two: Live, how: str) -> None:
    """An ICMP error is heard at once."""
    with lab.rule(f"ip daddr {FIRST} udp dport 53 counter reject with icmp type {how}"):
        told = ask_many(lab, two, 30)
        assert {(one.rcode, one.rdata) for one in told} == {("NOERROR", (OF_SECOND,))}
        assert sorted(one.took_s for one in told)[len(told) // 2] < 0.4
        assert is_down(lab, two, FIRST)
    until(lambda: lab.inside(lambda: asked(two)).rdata == (OF_FIRST,), 40, 0.1)


@pytest.mark.parametrize("way", ["drop", "reject with icmp type host-unreachable"])
def test_when_both_fail_there_is_an_error_in_time_that_says_why(lab: Lab, two: Live, way: str) -> None:
    def ask_with_edns() -> tuple[str, list[int], str, float]:
        began = time.monotonic()
        reply = by_udp(two.at, "nobody.example.", use_edns=0)
        return status(reply), codes(reply), reason(reply), time.monotonic() - began

    with lab.rule(f"udp dport 53 counter {way}", "tcp dport 53 counter drop"):
        rcode, errors, why, took = lab.inside(ask_with_edns)
        assert (rcode, errors) == ("SERVFAIL", [22 if way == "drop" else 23])
        assert FIRST in why
        assert SECOND in why
        assert took < WITHIN_S + NOISE_S
    until(lambda: lab.inside(lambda: asked(two)).rcode == "NOERROR", 10, 0.05)


@pytest.mark.parametrize("upstream", ["fd53::b", "fe80::b%eth0", "[fd53::b]:53"])
def test_an_upstream_may_have_an_ipv6_address(lab: Lab, tmp_path: Path, upstream: str) -> None:
    """Also one that is good on one link only; written as resolv.conf(5) and the configuration have it."""
    live = lab.serve(tmp_path / "configured", upstreams=[upstream])
    followed = lab.serve(tmp_path / "followed")
    if not upstream.startswith("["):
        followed.resolv_conf.write_text(f"nameserver {upstream}\n")
    else:
        followed.resolv_conf.write_text("nameserver fd53::b\n")
    until(lambda: lab.inside(lambda: asked(followed)).rcode == "NOERROR", 10, 0.05)
    for one in (live, followed):
        assert lab.inside(lambda one=one: asked(one)).rdata == (OF_FIRST,)  # type: ignore[misc]
        assert is_clean(one.stderr), one.stderr
        one.kill()
