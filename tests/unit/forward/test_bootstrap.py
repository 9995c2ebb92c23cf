"""Where named upstreams are: looked up at servers on loopback, kept for their time, asked at one address or another."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable

import dns.message
import dns.rcode
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resolver.forward import bootstrap
from resolver.forward.forwarder import Forwarder
from resolver.forward.outcomes import Outcome
from resolver.forward.transports import SocketDone, own_sockets
from resolver.forward.upstreams import Upstream, parse_upstream
from resolver.wire.constants import EDE_NETWORK_ERROR
from resolver.wire.name import from_text
from resolver.wire.query import Query, scan
from tests.scenarios.upstream import SILENCE, Asked, Say
from tests.scenarios.upstream import Upstream as Server

NAME = "dns.example"
PATIENCE_S = 10.0


class Names:
    """The rule of a bootstrap server: what it says of `NAME`, by type, with a TTL."""

    def __init__(self, *addresses: str, ttl: int = 600) -> None:
        self.addresses = addresses
        self.ttl = ttl
        self.say: Say | None = None
        self.asked = 0

    def __call__(self, asked: Asked) -> Say:
        assert asked.name == NAME
        self.asked += asked.rtype == "A"
        if self.say is not None:
            return self.say
        wanted = [one for one in self.addresses if (":" in one) == (asked.rtype == "AAAA")]
        return Say(tuple(f"{{name}} {self.ttl} IN {asked.rtype} {one}" for one in wanted))


class Asker:
    """A forwarder whose upstream has a name."""

    def __init__(self, port: int, *servers: Server) -> None:
        self.forwarder = Forwarder()
        self.forwarder.bootstrap.servers = tuple(Upstream("127.0.0.1", server.port) for server in servers)
        self.upstream = parse_upstream(f"udp://{NAME}:{port}")
        self._count = 0

    async def ask(self, upstream: Upstream | None = None) -> Outcome:
        self._count += 1
        query = scan(dns.message.make_query(f"n{self._count}.example.org.", "A").to_wire())
        assert isinstance(query, Query)
        ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.forwarder.resolve(query, [upstream or self.upstream], False, ended.set_result)
        return await asyncio.wait_for(ended, PATIENCE_S)

    async def answer(self, upstream: Upstream | None = None) -> float:
        """Seconds until the answer."""
        began = time.monotonic()
        outcome = await self.ask(upstream)
        assert outcome.reply is not None, outcome.ede
        assert dns.message.from_wire(outcome.reply).answer
        return time.monotonic() - began

    @property
    def at(self) -> str | None:
        return self.forwarder.bootstrap.address_in_use(self.upstream)


def run(test: Callable[[Asker], Awaitable[None]], port: int, *servers: Server) -> None:
    uncaught: list[object] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: uncaught.append(context))
        asker = Asker(port, *servers)
        try:
            await test(asker)
        finally:
            asker.forwarder.close()

    asyncio.run(main())
    assert uncaught == []


def test_the_address_is_looked_up_once_for_many_and_kept() -> None:
    names = Names("127.0.0.1")

    async def test(asker: Asker) -> None:
        await asyncio.gather(*(asker.answer() for _ in range(20)))
        await asker.answer()
        assert asker.at == "127.0.0.1"
        assert names.asked == 1
        assert sorted(asked.rtype for asked in server.asked) == ["A", "AAAA"]

    with Server() as dns_server, Server(names) as server:
        run(test, dns_server.port, server)


def test_a_name_serves_every_transport() -> None:
    async def test(asker: Asker) -> None:
        await asker.answer(parse_upstream(f"tcp://{NAME}:{dns_server.port}"))
        assert [asked.over_tcp for asked in dns_server.asked] == [True]
        await asker.answer()
        assert not dns_server.asked[-1].over_tcp
        assert names.asked == 1

    names = Names("127.0.0.1")
    with Server() as dns_server, Server(names) as server:
        run(test, dns_server.port, server)


def test_an_alias_is_followed() -> None:
    def rule(asked: Asked) -> Say:
        alias, address = f"{NAME}. 60 IN CNAME a.example.", "a.example. 60 IN A 127.0.0.1"
        return Say((alias, address) if asked.rtype == "A" else (alias,))

    async def test(asker: Asker) -> None:
        await asker.answer()

    with Server() as dns_server, Server(rule) as server:
        run(test, dns_server.port, server)


def test_addresses_are_looked_up_again_when_their_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "MIN_TTL_S", 0.2)
    names = Names("127.0.0.1", ttl=0)

    async def test(asker: Asker) -> None:
        await asker.answer()
        assert names.asked == 1
        names.addresses = ("127.0.0.2",)
        await asyncio.sleep(0.25)
        await asker.answer()
        assert (names.asked, asker.at) == (2, "127.0.0.2")
        assert (len(first.asked), len(second.asked)) == (1, 1)

    with (
        Server() as first,
        Server(host="127.0.0.2", port=first.port) as second,
        Server(names) as server,
    ):
        run(test, first.port, server)


def test_a_ttl_is_not_believed_beyond_reason() -> None:
    async def test(asker: Asker) -> None:
        await asker.answer()
        known = asker.forwarder.bootstrap._names[NAME]
        left_s = known._fresh_until - asyncio.get_running_loop().time()
        assert 3590 < left_s <= 3600
        names.ttl = 0
        known._fresh_until = float("-inf")
        await asker.answer()
        left_s = known._fresh_until - asyncio.get_running_loop().time()
        assert 20 < left_s <= 30

    names = Names("127.0.0.1", ttl=10**6)
    with Server() as dns_server, Server(names) as server:
        run(test, dns_server.port, server)


@pytest.mark.parametrize("say", [Say(rcode=dns.rcode.SERVFAIL), Say(rcode=dns.rcode.NXDOMAIN), Say(), SILENCE])
def test_the_last_good_addresses_serve_while_a_look_up_fails(monkeypatch: pytest.MonkeyPatch, say: Say) -> None:
    monkeypatch.setattr(bootstrap, "MIN_TTL_S", 0.1)
    names = Names("127.0.0.1", ttl=0)

    async def test(asker: Asker) -> None:
        await asker.answer()
        names.say = say
        await asyncio.sleep(0.15)
        assert await asker.answer() < 2.0
        assert await asker.answer() < 2.0
        assert asker.at == "127.0.0.1"

    with Server() as dns_server, Server(names) as server:
        run(test, dns_server.port, server)


def test_without_any_address_a_look_up_fails_soon_and_says_so() -> None:
    names = Names()

    async def test(asker: Asker) -> None:
        outcome = await asker.ask()
        assert outcome.reply is None
        assert outcome.ede is not None
        assert outcome.ede[0] == EDE_NETWORK_ERROR
        assert f"{asker.upstream} has no address: its name could not be looked up" in outcome.ede[1]
        asked = names.asked
        await asker.ask()
        assert names.asked == asked

    with Server() as dns_server, Server(names) as server:
        run(test, dns_server.port, server)


def test_without_a_bootstrap_server_nobody_is_asked_and_one_that_comes_is_asked_at_once() -> None:
    async def test(asker: Asker) -> None:
        outcome = await asker.ask()
        assert outcome.ede is not None
        assert "has no address" in outcome.ede[1]
        asker.forwarder.bootstrap.servers = (Upstream("127.0.0.1", server.port),)
        await asker.answer()

    with Server() as dns_server, Server(Names("127.0.0.1")) as server:
        run(test, dns_server.port)


def test_a_container_s_own_server_is_asked_from_inside_its_namespace() -> None:
    made: list[socket.SocketKind] = []

    def inside(family: socket.AddressFamily, kind: socket.SocketKind, done: SocketDone) -> None:
        made.append(kind)
        own_sockets(family, kind, done)

    async def test(asker: Asker) -> None:
        asker.forwarder.bootstrap.servers = (Upstream("127.0.0.1", server.port, in_namespace=True),)
        asker.forwarder.bootstrap.in_namespace = inside
        await asker.answer()
        assert len(made) == 2

    with Server() as dns_server, Server(Names("127.0.0.1")) as server:
        run(test, dns_server.port)


def test_a_dead_bootstrap_server_gives_way_to_the_next() -> None:
    async def test(asker: Asker) -> None:
        assert await asker.answer() < 3.0

    with Server() as dns_server, Server(SILENCE) as dead, Server(Names("127.0.0.1")) as server:
        run(test, dns_server.port, dead, server)


def test_an_address_that_refuses_gives_way_to_the_next_and_is_not_tried_first_again() -> None:
    async def test(asker: Asker) -> None:
        await asker.answer()
        assert asker.at == "127.0.0.1"
        asked = len(dns_server.asked)
        assert await asker.answer() < 1.0
        assert len(dns_server.asked) == asked + 1

    with Server() as dns_server, Server(Names("127.0.0.2", "127.0.0.1")) as server:
        run(test, dns_server.port, server)


def test_an_address_that_is_silent_gives_way_within_the_look_up() -> None:
    async def test(asker: Asker) -> None:
        assert await asker.answer() < 3.0
        assert dead.asked
        assert asker.at == "127.0.0.1"
        assert await asker.answer() < 1.0

    with (
        Server() as dns_server,
        Server(SILENCE, host="127.0.0.2", port=dns_server.port) as dead,
        Server(Names("127.0.0.2", "127.0.0.1")) as server,
    ):
        run(test, dns_server.port, server)


def test_we_are_not_asked_ourselves() -> None:
    async def test(asker: Asker) -> None:
        asker.forwarder.bootstrap.leave_out(
            lambda upstreams: tuple(one for one in upstreams if one.address != "127.0.0.1")
        )
        outcome = await asker.ask()
        assert outcome.ede is not None
        assert "has no address" in outcome.ede[1]
        assert not dns_server.asked

    with Server() as dns_server, Server(Names("127.0.0.1")) as server:
        run(test, dns_server.port, server)


def test_an_address_of_nobody_is_no_address() -> None:
    async def test(asker: Asker) -> None:
        assert (await asker.ask()).reply is None
        assert not dns_server.asked

    with Server() as dns_server, Server(Names("0.0.0.0", "224.0.0.1", "ff02::1")) as server:
        run(test, dns_server.port, server)


def test_one_family_does_not_wait_long_for_the_other() -> None:
    def rule(asked: Asked) -> Say:
        return SILENCE if asked.rtype == "AAAA" else Say(("{name} 60 IN A 127.0.0.1",))

    async def test(asker: Asker) -> None:
        assert await asker.answer() < 2.0

    with Server() as dns_server, Server(rule) as server:
        run(test, dns_server.port, server)


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_no_bytes_make_the_reading_of_a_reply_raise(octets: bytes) -> None:
    query = bootstrap._query_for(from_text(NAME), 1)
    start = query.wire[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + query.wire[12:]
    for reply in (octets, start + octets):
        assert all(ttl >= 0 for _, ttl in bootstrap._addresses_in(query, reply))
