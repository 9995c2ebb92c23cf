"""Loops through real programs: dnsmasq that asks us, two pydns that ask each other; found out, or at least bounded."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dns.rcode
import pytest

from tests.netns.world import Process
from tests.scenarios.conftest import Serve
from tests.scenarios.live import At, Live, answers, ask, is_clean, over_udp, reason, until
from tests.scenarios.upstream import Upstream

DETECTING = {"forward": {"loop_detection": True}}
PORT = 5311


def lonely() -> At:
    """An address of loopback that nobody else has, most likely."""
    first, second, third = (1 + secrets.randbelow(250) for _ in range(3))
    return At(f"127.{first}.{second}.{third}", PORT)


def text(at: At) -> str:
    return f"{at.host}:{at.port}"


@contextmanager
def dnsmasq(folder: Path, at: At, *servers: At | Upstream | str) -> Iterator[None]:
    """A dnsmasq at an address that asks these servers, or as its ``--server`` has it."""
    folder.mkdir(exist_ok=True)
    process = Process(
        [
            *("setpriv", "--pdeathsig", "TERM", "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null"),
            *(
                "--no-hosts",
                "--no-resolv",
                "--bind-interfaces",
                "--except-interface=none",
                "--user=root",
                "--group=root",
            ),
            *(f"--listen-address={at.host}", f"--port={at.port}", f"--pid-file={folder}/pid"),
            *("--cache-size=0", "--host-record=fence.example,192.0.2.99"),
            *(
                f"--server={server.host}#{server.port}"
                if isinstance(server, At)
                else f"--server={str(server).replace(':', '#')}"
                for server in servers
            ),
        ],
        folder / "dnsmasq",
    )

    def is_there() -> bool:
        assert process.poll() is None, process.stderr_text()
        try:
            return answers(over_udp(at, ask("fence.example."), within_s=0.3)) == ["192.0.2.99"]
        except OSError:
            return False

    try:
        until(is_there, 20)
        yield
    finally:
        process.end()


@pytest.fixture
def good() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


def state_of(live: Live, at: At) -> str:
    told: Any = live.page("/upstreams").json
    (state,) = [one["state"] for one in told["upstreams"] if one["address"] == text(at)]
    return str(state)


def test_a_loop_through_dnsmasq_is_found_left_out_and_forgotten_when_it_is_mended(
    serve: Serve, good: Upstream, tmp_path: Path
) -> None:
    ours, theirs = lonely(), lonely()
    with ExitStack() as broken:
        broken.enter_context(dnsmasq(tmp_path / "dnsmasq", theirs, ours))
        live = serve(listen=[text(ours)], upstreams=[text(theirs), str(good)], settings=DETECTING)
        until(lambda: state_of(live, theirs) == "looping", 5)

        began = time.monotonic()
        assert [answers(live.udp(f"name-{number}.example.")) for number in range(20)] == [["192.0.2.1"]] * 20
        assert time.monotonic() - began < 4
        assert live.count("pydns_forward_looping", to=text(theirs)) == 1
        assert live.count("pydns_forward_looping", to=str(good)) == 0
        assert live.count("pydns_dns_responses_total", stage="loop") >= 1
        assert f"upstream {text(theirs)} leads back to pydns" in live.stderr
        assert [asked.name for asked in good.asked if asked.rtype == "TXT"] == [
            asked.name for asked in good.asked if asked.name.endswith(".test")
        ]
    with Upstream() as other, dnsmasq(tmp_path / "dnsmasq", theirs, other):

        def is_asked_again() -> bool:
            live.udp(f"{secrets.token_hex(4)}.example.")
            return state_of(live, theirs) != "looping"

        until(is_asked_again, 40, every_s=0.1)
        until(lambda: live.udp(f"{secrets.token_hex(4)}.example.") and other.names(), 10, every_s=0.1)
    assert is_clean(live.stderr)


@pytest.mark.parametrize("scheme", ["udp", "tcp"])
def test_a_ring_of_two_pydns_says_what_it_is(serve: Serve, scheme: str) -> None:
    one, two = lonely(), lonely()
    first = serve(listen=[text(one)], upstreams=[f"{scheme}://{text(two)}"], settings=DETECTING)
    second = serve(listen=[text(two)], upstreams=[f"{scheme}://{text(one)}"], settings=DETECTING)

    def says_so() -> bool:
        reply = first.udp(f"{secrets.token_hex(4)}.example.", use_edns=0)
        return reply.rcode() == dns.rcode.SERVFAIL and "leads back to pydns" in reason(reply)

    until(says_so, 20)
    assert answers(first.udp("db.")) == answers(second.udp("db.")) == ["172.18.0.2"]
    assert is_clean(first.stderr + second.stderr)


def test_a_loop_that_is_made_by_a_reload_is_found(serve: Serve, good: Upstream, tmp_path: Path) -> None:
    ours, theirs = lonely(), lonely()
    live = serve(listen=[text(ours)], upstreams=[str(good)], settings=DETECTING)
    with dnsmasq(tmp_path / "dnsmasq", theirs, ours):
        live.tables["forward"]["upstreams"] = [text(theirs), str(good)]
        live.write_config()
        live.hang_up()
        until(lambda: state_of(live, theirs) == "looping", 5)
        assert answers(live.udp("www.example.")) == ["192.0.2.1"]


def test_a_loop_that_nobody_looks_for_ends_by_itself(serve: Serve) -> None:
    """Fifty questions in a ring: each ends by its budget, and the queries between the two are few."""
    one, two = lonely(), lonely()
    first = serve(listen=[text(one)], upstreams=[text(two)])
    second = serve(listen=[text(two)], upstreams=[text(one)])
    questions = 50
    before = first.memory_mb() + second.memory_mb()
    ticks = sum(cpu_s(live) for live in (first, second))
    with first.tcp(within_s=20) as stream:
        stream.send(*(ask(f"name-{number}.example.", id=number) for number in range(questions)))
        replies = [stream.receive() for _ in range(questions)]
    assert {dns.rcode.SERVFAIL} == {reply.rcode() for reply in replies}
    for live in (first, second):
        until(lambda live=live: live.count("pydns_forward_in_flight") == 0)  # type: ignore[misc]
    sent = [live.count("pydns_forward_requests_total") for live in (first, second)]
    time.sleep(0.5)
    assert sent == [live.count("pydns_forward_requests_total") for live in (first, second)]
    # Four rounds at each, for the question by TCP and again by UDP.
    assert sum(sent) <= 2 * 2 * 4 * questions + 20
    assert sum(cpu_s(live) for live in (first, second)) - ticks < 3
    assert first.memory_mb() + second.memory_mb() - before < 40
    assert is_clean(first.stderr + second.stderr)


def cpu_s(live: Live) -> float:
    """Processor time used so far, in seconds."""
    fields = Path(f"/proc/{live.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
