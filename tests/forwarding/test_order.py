"""Which of two real servers is asked when one of them takes longer."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.forwarding import programs
from tests.forwarding.client import at_once, by_udp
from tests.forwarding.conftest import Serve
from tests.forwarding.relay import Relay
from tests.scenarios.live import At, Live, answers, is_clean, until

OF_FIRST, OF_SECOND = "192.0.2.11", "192.0.2.12"
"""What the two servers say of every name."""
FAST_S, SLOW_S, STUCK_S = 0.002, 0.08, 1.0
_numbers = itertools.count()


class Pair(NamedTuple):
    """Two servers."""

    first: At
    second: At


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two dnsmasq, each with an answer of its own to everything."""
    ats = []
    with contextlib.ExitStack() as stack:
        for said in (OF_FIRST, OF_SECOND):
            folder, at = tmp_path_factory.mktemp("dnsmasq"), programs.lonely()
            command = programs.dnsmasq(at, f"--address=/#/{said}", "--local-ttl=60")
            ats.append(stack.enter_context(programs.started(command, folder, at, "fence.example.", "A")))
        yield Pair(*ats)


def asked(live: Live) -> tuple[str, float]:
    """Whose answer a fresh question has, and after how long."""
    began = time.monotonic()
    reply = by_udp(live.at, f"n{next(_numbers)}.example.")
    assert answers(reply), str(reply)
    return answers(reply)[0], time.monotonic() - began


def ask_many(live: Live, count: int) -> Counter[str]:
    """Who has answered so many questions, asked one after another."""
    return Counter(asked(live)[0] for _ in range(count))


def test_a_first_upstream_that_becomes_slow_is_overtaken(pair: Pair, serve: Serve) -> None:
    """It is known to take a few milliseconds; when it takes a second nobody waits for it."""
    with Relay(pair.first, FAST_S) as first:
        live = serve(upstreams=[str(first), f"{pair.second.host}:{pair.second.port}"])
        assert ask_many(live, 30)[OF_FIRST] >= 20
        first.delay_s = STUCK_S
        told = [asked(live) for _ in range(40)]
        assert Counter(who for who, _ in told)[OF_SECOND] >= 35
        assert sorted(took for _, took in told)[20] < 0.3
        assert max(took for _, took in told) < 1 + STUCK_S
        first.delay_s = FAST_S
        until(lambda: ask_many(live, 5)[OF_FIRST] == 5, 40, 0.1)
        assert is_clean(live.stderr), live.stderr


def test_the_fastest_is_asked_whatever_the_order(pair: Pair, serve: Serve) -> None:
    """And when it has become the slower one, the other."""
    with Relay(pair.first, SLOW_S) as first, Relay(pair.second, FAST_S) as second:
        live = serve(upstreams=[str(first), str(second)], settings={"forward": {"order": "fastest"}})
        until(lambda: ask_many(live, 20)[OF_SECOND] >= 18)
        first.delay_s, second.delay_s = FAST_S, 2 * SLOW_S
        until(lambda: ask_many(live, 20)[OF_FIRST] >= 18)
        before = second.passed
        at_once(lambda _: asked(live), range(60), 4)
        assert second.passed - before < 30


def test_each_has_its_turn(pair: Pair, serve: Serve) -> None:
    with Relay(pair.first, FAST_S) as first, Relay(pair.second, FAST_S) as second:
        live = serve(upstreams=[str(first), str(second)], settings={"forward": {"order": "rotate"}})
        told = ask_many(live, 60)
        assert min(told[OF_FIRST], told[OF_SECOND]) >= 15, told
