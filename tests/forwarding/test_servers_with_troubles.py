"""Real servers that are slow with what they have to look up, lame, behind a filter for TCP, or just starting."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dns.message
import dns.query
import pytest

from tests.forwarding import programs
from tests.forwarding.client import at_once, by_udp, codes, status
from tests.forwarding.conftest import Serve
from tests.forwarding.lab import FIRST, OF_FIRST, OF_SECOND, SECOND, Lab
from tests.forwarding.relay import Relay
from tests.scenarios.live import At, answers, is_clean, reason, until

WARM_S, COLD_S = 0.001, 0.1
INSIDE = "corp.example"
LAME, BELOW = "lame.test", "sub.lame.test"
BIG = "big.example"
_numbers = itertools.count()


def name() -> str:
    """One that nobody has asked for."""
    return f"n{next(_numbers)}.example."


def test_cold_names_do_not_put_the_first_server_down(serve: Serve, tmp_path: Path) -> None:
    """It alone knows the internal names; the second one says that there are none."""
    first, second = programs.lonely(), programs.lonely()
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    one = programs.dnsmasq(first, f"--address=/#/{OF_FIRST}")
    two = programs.dnsmasq(second, f"--address=/#/{OF_SECOND}", f"--address=/{INSIDE}/")
    with (
        programs.started(one, tmp_path / "first", first, "fence.example.", "A"),
        programs.started(two, tmp_path / "second", second, "fence.example.", "A"),
        Relay(first, WARM_S) as relay,
    ):
        live = serve(upstreams=[str(relay), f"{second.host}:{second.port}"])
        said = []
        for _ in range(3):
            relay.delay_s = WARM_S
            for _ in range(20):
                by_udp(live.at, name())
            relay.delay_s = COLD_S
            for _ in range(3):
                assert answers(by_udp(live.at, name()))
            said.append(answers(by_udp(live.at, f"n{next(_numbers)}.{INSIDE}.")))
        assert said == [[OF_FIRST]] * 3
        assert is_clean(live.stderr), live.stderr


def test_a_lame_server_is_passed_over(serve: Serve, tmp_path: Path) -> None:
    """An authority that sends us elsewhere, where a resolver was meant to be."""
    authority, resolver = programs.lonely(), programs.lonely()
    zone = tmp_path / "zone"
    zone.write_text(
        f"$ORIGIN {LAME}.\n$TTL 60\n@ SOA ns root 1 60 60 60 60\n@ NS ns\nns A 192.0.2.53\n"
        f"sub NS ns.sub\nns.sub A 192.0.2.54\n"
    )
    (tmp_path / "second").mkdir()
    answering = programs.dnsmasq(resolver, f"--address=/#/{OF_SECOND}")
    with (
        programs.started(programs.knotd(tmp_path, authority, {LAME: zone}, {}), tmp_path, authority, LAME),
        programs.started(answering, tmp_path / "second", resolver, "fence.example.", "A"),
    ):
        lame, good = (f"{at.host}:{at.port}" for at in (authority, resolver))
        beside = serve(upstreams=[lame, good])
        assert answers(by_udp(beside.at, f"www.{BELOW}")) == [OF_SECOND]
        assert answers(by_udp(beside.at, f"ns.{LAME}")) == ["192.0.2.53"], "what it has authority for it may say"
        alone = serve(upstreams=[lame])
        for _ in range(2):
            reply = by_udp(alone.at, f"www.{BELOW}", use_edns=0)
            assert (status(reply), codes(reply)) == ("SERVFAIL", [23]), str(reply)
            assert reason(reply) == f"{lame} is lame: it sent a referral"


@pytest.mark.root
def test_a_filter_for_tcp_puts_no_server_down(lab: Lab, tmp_path: Path) -> None:
    live = lab.serve(tmp_path, upstreams=[FIRST, SECOND])

    def over_tcp() -> tuple[list[str], float]:
        began = time.monotonic()
        reply = dns.query.tcp(dns.message.make_query(name(), "A"), live.at.host, 15, live.at.port)
        return answers(reply), time.monotonic() - began

    assert answers(lab.inside(lambda: by_udp(live.at, name()))) == [OF_FIRST]
    with lab.rule("tcp dport 53 counter drop"):
        assert lab.inside(over_tcp)[0], "over UDP"
        later = [lab.inside(over_tcp) for _ in range(10)]
        assert {said for (said,), _ in later} <= {OF_FIRST, OF_SECOND}
        assert sorted(took for _, took in later)[5] < 0.3, "TCP is not waited for each time"
        assert answers(lab.inside(lambda: by_udp(live.at, name()))) == [OF_FIRST]
        shown = lab.pydns(live, "upstreams").splitlines()
        assert [line.split()[1] for line in shown] == ["up", "up"], shown
    assert is_clean(live.stderr), live.stderr
    live.kill()


@pytest.mark.root
def test_a_client_on_tcp_waits_for_a_connection_that_comes_about(lab: Lab, tmp_path: Path) -> None:
    """What does not fit into a datagram is to be had over TCP alone, and its first packets are lost."""
    at = At(FIRST, 5309)
    text = ",".join("x" * 200 for _ in range(12))
    (tmp_path / "big").mkdir()
    lab.start(tmp_path / "big", at, "--address=/#/192.0.2.1", f"--txt-record={BIG},{text}")
    live = lab.serve(tmp_path, upstreams=[f"{at.host}:{at.port}"])

    def ask() -> dns.message.Message:
        return dns.query.tcp(dns.message.make_query(BIG, "TXT", use_edns=0), live.at.host, 15, live.at.port)

    with ThreadPoolExecutor(1) as pool:
        with lab.rule(f"tcp dport {at.port} counter drop"):
            asking = pool.submit(lab.inside, ask)
            until(lambda: lab.dropped() >= 1)
            time.sleep(0.6)  # longer than a try is waited for
        reply = asking.result()
    assert (status(reply), len(reply.answer)) == ("NOERROR", 1), str(reply)
    live.kill()


def test_a_server_that_starts_anew_costs_no_query(serve: Serve, tmp_path: Path) -> None:
    """For a moment nobody listens, and every query is refused."""
    at = programs.lonely()
    command = programs.dnsmasq(at, f"--address=/#/{OF_FIRST}")
    live = serve(upstreams=[f"{at.host}:{at.port}"])

    def asked(_: int) -> tuple[str, ...]:
        return tuple(answers(by_udp(live.at, name())))

    with programs.started(command, tmp_path, at, "fence.example.", "A"):
        assert asked(0) == (OF_FIRST,)
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(at_once, asked, range(20), 20)
        time.sleep(0.2)
        with programs.started(command, tmp_path, at, "fence.example.", "A"):
            assert set(told.result()) == {(OF_FIRST,)}
    assert is_clean(live.stderr), live.stderr
