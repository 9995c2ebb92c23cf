"""Who has the last word on NXDOMAIN: DNS of a scripted server on loopback, the C library's calls the tests' own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import dns.message
import dns.rcode
import pytest

from resolver.forward import existence
from resolver.forward.failures import Failure
from resolver.forward.forwarder import Forwarder
from resolver.forward.lookups import Lookups
from resolver.forward.outcomes import Outcome
from resolver.forward.policy import ForwardOptions
from resolver.forward.shares import Bound
from resolver.forward.system import SystemResolver
from resolver.forward.system_names import Calls
from resolver.forward.upstreams import SYSTEM, Upstream
from resolver.wire.query import Query, scan
from tests.unit.forward.scripted import ScriptedServer, scripted

WITHIN_S = 10.0
CLIENT = "somebody"

Main = Callable[[Lookups, tuple[Upstream, ...]], Coroutine[Any, Any, None]]


class Host:
    """A name service that knows two names."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.opened = threading.Event()
        self.opened.set()

    def getaddrinfo(self, name: bytes, *_: Any) -> list[tuple[Any, ...]]:
        self.asked.append(name)
        assert self.opened.wait(WITHIN_S)
        if name == b"nxdomain.known.example":
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))]
        empty = name == b"nxdomain.empty.example"
        raise socket.gaierror(socket.EAI_NODATA if empty else socket.EAI_NONAME, "nothing")


def run(host: Host, main: Main, server: ScriptedServer | None = None) -> None:
    async def inside() -> None:
        async with scripted(server or ScriptedServer()) as upstreams:
            lookups = Lookups(Forwarder())
            exchanges = lookups.forwarder.exchanges
            exchanges._system = SystemResolver(asyncio.get_running_loop(), 1, 1, Calls(host.getaddrinfo))
            try:
                await main(lookups, (*upstreams, SYSTEM))
            finally:
                lookups.close()
                host.opened.set()

    asyncio.run(inside())


def query_of(name: str, rtype: str) -> Query:
    query = scan(dns.message.make_query(f"{name}.example", rtype, use_edns=0).to_wire())
    assert isinstance(query, Query)
    return query


def asked(lookups: Lookups, upstreams: tuple[Upstream, ...], name: str, rtype: str = "MX") -> asyncio.Future[Outcome]:
    answered: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    options = ForwardOptions(attempts=1, timeout_s=0.4)
    lookups.resolve(query_of(name, rtype), upstreams, False, answered.set_result, options, client=CLIENT)
    return answered


def reply_of(outcome: Outcome) -> dns.message.Message:
    assert outcome.reply is not None
    return dns.message.from_wire(outcome.reply)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not condition():  # noqa: ASYNC110 (a thread makes it true)
            await asyncio.sleep(0.002)


@pytest.mark.parametrize(
    ("name", "rcode", "is_asked"),
    [
        ("nxdomain.known", "NOERROR", True),
        ("nxdomain.empty", "NOERROR", True),
        ("nxdomain.unknown", "NXDOMAIN", True),
        ("nxdomain.KNOWN", "NOERROR", True),
        ("ok", "NOERROR", False),
        ("refused", "REFUSED", False),
    ],
)
@pytest.mark.parametrize("rtype", ["MX", "HTTPS"])
def test_a_denial_needs_the_word_of_the_name_service(name: str, rcode: str, is_asked: bool, rtype: str) -> None:
    host = Host()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        reply = reply_of(await asked(lookups, upstreams, name, rtype))
        assert dns.rcode.to_text(reply.rcode()) == rcode
        assert reply.question[0].to_text() == f"{name}.example. IN {rtype}"
        if is_asked and rcode == "NOERROR":
            assert (reply.answer, reply.authority, len(lookups.cache)) == ([], [], 0)

    run(host, main)
    assert host.asked == ([f"{name}.example".lower().encode()] if is_asked else [])


def test_the_name_service_is_asked_no_more_than_once_for_everybody_who_waits() -> None:
    host = Host()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        outcomes = await asyncio.gather(*(asked(lookups, upstreams, "nxdomain.known") for _ in range(20)))
        assert {reply_of(outcome).rcode() for outcome in outcomes} == {dns.rcode.NOERROR}
        assert (lookups.shared, lookups.waiting, lookups.forwarder.in_flight) == (19, 0, 0)

    run(host, main)
    assert len(host.asked) == 1


def test_an_address_is_a_matter_of_all_upstreams_in_their_order() -> None:
    host = Host()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        outcome = await asked(lookups, upstreams, "nxdomain.known", "A")
        assert (reply_of(outcome).rcode(), outcome.upstream) == (dns.rcode.NXDOMAIN, upstreams[0])

    run(host, main)
    assert host.asked == []


def test_a_name_service_that_hangs_is_not_waited_for_beyond_the_look_ups_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(existence, "BUDGET_S", 0.3)
    host = Host()
    host.opened.clear()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        async with asyncio.timeout(3.0):
            outcome = await asked(lookups, upstreams, "nxdomain.known")
        assert reply_of(outcome).rcode() == dns.rcode.NXDOMAIN
        host.opened.set()
        await until(lambda: lookups.forwarder.in_flight == 0)

    run(host, main)


def test_what_cannot_be_asked_of_it_now_is_denied_and_counts_as_nothing_asked() -> None:
    """One is on the only thread, one waits: a third is turned away. It is no failure, and not tried again."""
    host = Host()
    host.opened.clear()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        busy = [asked(lookups, (SYSTEM,), name, "A") for name in ("one", "two")]
        outcome = await asked(lookups, upstreams, "nxdomain.known")
        assert reply_of(outcome).rcode() == dns.rcode.NXDOMAIN
        turned_away = await asked(lookups, (SYSTEM,), "three", "A")
        assert turned_away.reply is None
        assert turned_away.ede is not None
        assert "too much is under way there" in turned_away.ede[1]
        stats = lookups.forwarder.stats[SYSTEM]
        assert (stats.requests, stats.not_asked, stats.failures) == (2, 2, {})
        assert not lookups.forwarder.memory.is_down(SYSTEM)
        assert Failure.BUSY not in stats.failures
        host.opened.set()
        await asyncio.gather(*busy)

    run(host, main)
    assert len(host.asked) == 2


def test_a_client_that_has_too_many_look_ups_under_way_is_told_what_dns_says() -> None:
    host = Host()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        answered = asked(lookups, upstreams, "nxdomain.known")
        lookups.forwarder.max_in_flight = 0
        assert reply_of(await answered).rcode() == dns.rcode.NXDOMAIN
        assert lookups.refused[Bound.ALL] == 1

    run(host, main)


def test_the_end_of_the_server_does_not_wait_for_it() -> None:
    host = Host()
    host.opened.clear()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        answered = asked(lookups, upstreams, "nxdomain.known")
        await until(lambda: host.asked)
        lookups.close()
        assert answered.done()
        assert reply_of(answered.result()).rcode() == dns.rcode.NXDOMAIN

    run(host, main)
