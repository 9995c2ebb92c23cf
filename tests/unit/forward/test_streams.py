"""Kept connections over TCP and TLS, against servers that answer in any order, close, stall and lie."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resolver.forward import connections as connections_module
from resolver.forward import streams as streams_module
from resolver.forward import tls
from resolver.forward.bootstrap import Bootstrap
from resolver.forward.exchanges import Exchanges
from resolver.forward.failures import Failure
from resolver.forward.stats import UpstreamStats
from resolver.forward.transports import Exchange, Poller, SocketDone, SocketFactory, own_sockets
from resolver.forward.upstreams import Transport, Upstream
from tests.unit.forward.authority import Authority
from tests.unit.forward.streaming import (
    Peer,
    Script,
    StreamServer,
    answer_all,
    framed,
    name_of,
    query_for,
    reply_to,
    serving,
)

WITHIN_S = 10


class Heard:
    """The listener of one exchange."""

    def __init__(self) -> None:
        self.replies: list[bytes] = []
        self.failure: Failure | None = None
        self.reason = ""
        self.exchange: Exchange | None = None
        self._done = asyncio.Event()

    def received(self, message: bytes) -> None:
        self.replies.append(message)
        assert self.exchange is not None
        self.exchange.close()
        self._done.set()

    def broke(self, failure: Failure, reason: str = "") -> None:
        assert self.exchange is not None, "not before it was opened"
        assert self.failure is None
        assert not self.replies
        self.failure, self.reason = failure, reason
        self._done.set()

    async def outcome(self) -> bytes | Failure:
        async with asyncio.timeout(WITHIN_S):
            await self._done.wait()
        return self.replies[0] if self.replies else self.failure or b""


class Asker:
    """Exchanges as the forwarder has them."""

    def __init__(self, exchanges: Exchanges) -> None:
        self.exchanges = exchanges
        self.stats = UpstreamStats()

    def open(self, upstream: Upstream, name: str, query_id: int = 1, factory: SocketFactory = own_sockets) -> Heard:
        heard = Heard()
        query = query_for(name, query_id)
        heard.exchange = self.exchanges.open(upstream, query, heard, factory, False, self.stats)
        return heard

    async def ask(self, upstream: Upstream, name: str, query_id: int = 1) -> bytes | Failure:
        return await self.open(upstream, name, query_id).outcome()


def run(main: Callable[[Asker], Coroutine[Any, Any, None]], authorities: str | None = None) -> None:
    """Run it, and see that no descriptor is left behind."""

    async def whole() -> None:
        loop = asyncio.get_running_loop()
        poller = Poller(loop)
        exchanges = Exchanges(poller, Bootstrap(loop, _nobody))
        exchanges.trust(authorities)
        try:
            await main(Asker(exchanges))
        finally:
            exchanges.close()
            poller.close()

    before = len(os.listdir("/proc/self/fd"))
    asyncio.run(whole())
    assert before == len(os.listdir("/proc/self/fd"))


def _nobody(*_: object) -> None:
    raise AssertionError("nobody is to be looked up")


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not condition():  # noqa: ASYNC110 (what is waited for says nothing)
            await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "ca")


class Kind:
    """Runs one test over one of the two transports."""

    def __init__(self, authority: Authority | None) -> None:
        self._authority = authority

    def run(self, main: Callable[[Asker], Coroutine[Any, Any, None]]) -> None:
        run(main, None if self._authority is None else self._authority.pem)

    @asynccontextmanager
    async def serving(self, script: Script = answer_all, address: str = "127.0.0.1") -> AsyncIterator[StreamServer]:
        tls = None if self._authority is None else self._authority.server_context()
        name = "" if self._authority is None else "dns.example"
        async with serving(script, tls, address=address, name=name) as server:
            yield server


@pytest.fixture(params=["tcp", "tls"])
def kind(request: pytest.FixtureRequest, authority: Authority) -> Kind:
    return Kind(authority if request.param == "tls" else None)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_queries_share_a_connection_and_have_their_own_ids_back(kind: Kind, address: str) -> None:
    async def main(asker: Asker) -> None:
        async with kind.serving(address=address) as server:
            for number in range(5):
                reply = await asker.ask(server.upstream, f"n{number}.example", query_id=7)
                assert reply_to(query_for(f"n{number}.example", 7)) == reply
            assert 1 == server.connections
            assert (1, 4) == (asker.stats.connections, asker.stats.reused)

    kind.run(main)


def test_replies_come_in_any_order(kind: Kind) -> None:
    """RFC 7766 7; the same id of five callers is five ids on the wire."""

    async def backwards(peer: Peer) -> None:
        queries = [await peer.query() for _ in range(5)]
        assert 5 == len({query[:2] for query in queries})
        for query in reversed(queries):
            await peer.answer(query)
        await peer.until_gone()

    async def main(asker: Asker) -> None:
        async with kind.serving(backwards) as server:
            heard = [asker.open(server.upstream, f"n{number}.example", 7) for number in range(5)]
            replies = [await one.outcome() for one in heard]
            assert [reply_to(query_for(f"n{number}.example", 7)) for number in range(5)] == replies
            assert 1 == server.connections

    kind.run(main)


def test_replies_come_in_pieces_and_many_at_once(kind: Kind) -> None:
    async def in_pieces(peer: Peer) -> None:
        queries = [await peer.query() for _ in range(3)]
        octets = b"".join(framed(reply_to(query)) for query in queries)
        for position in range(0, len(octets), 7):
            await peer.send(octets[position : position + 7])
            await asyncio.sleep(0.002)
        queries = [await peer.query() for _ in range(3)]
        await peer.send(b"".join(framed(reply_to(query)) for query in queries))
        await peer.until_gone()

    async def main(asker: Asker) -> None:
        async with kind.serving(in_pieces) as server:
            for _ in range(2):
                heard = [asker.open(server.upstream, f"n{number}.example") for number in range(3)]
                for number, one in enumerate(heard):
                    assert reply_to(query_for(f"n{number}.example", 1)) == await one.outcome()

    kind.run(main)


def test_much_is_sent_to_a_server_that_reads_late(kind: Kind) -> None:
    """More than the kernel takes at once; every query arrives whole."""
    pad = b"\0" * 60_000

    async def late(peer: Peer) -> None:
        await asyncio.sleep(0.2)
        while True:
            await peer.send(framed((await peer.query())[:12]))

    async def main(asker: Asker) -> None:
        async with kind.serving(late) as server:
            heard = []
            for number in range(90):
                one = Heard()
                query = query_for("big.example", number) + pad
                one.exchange = asker.exchanges.open(server.upstream, query, one, own_sockets, False, asker.stats)
                heard.append(one)
            for number, one in enumerate(heard):
                reply = await one.outcome()
                assert isinstance(reply, bytes)
                assert number.to_bytes(2, "big") == reply[:2]
            assert {12 + 17 + len(pad)} == {len(query) for query in server.peers[0].asked}

    kind.run(main)


def test_a_reused_connection_that_was_closed_costs_nothing(kind: Kind) -> None:
    async def once(peer: Peer) -> None:
        await peer.answer(await peer.query())
        if peer.number < 3:
            await peer.query()  # it takes the next one and says goodbye
        else:
            await answer_all(peer)

    async def main(asker: Asker) -> None:
        async with kind.serving(once) as server:
            for number in range(4):
                assert isinstance(await asker.ask(server.upstream, f"n{number}.example"), bytes)
            assert ["n0", "n1", "n1", "n2", "n2", "n3", "n3"] == [name.split(".")[0] for name in server.names]
            assert 4 == server.connections

    kind.run(main)


def test_a_connection_that_the_server_closed_while_idle_is_forgotten(kind: Kind) -> None:
    async def once(peer: Peer) -> None:
        await peer.answer(await peer.query())

    async def main(asker: Asker) -> None:
        async with kind.serving(once) as server:
            for number in range(3):
                assert isinstance(await asker.ask(server.upstream, f"n{number}.example"), bytes)
                await until(lambda: not asker.exchanges.connections)
            assert 3 == server.connections == asker.stats.connections

    kind.run(main)


def test_a_server_that_answers_one_query_for_each_connection_answers_all(kind: Kind) -> None:
    async def once(peer: Peer) -> None:
        await peer.answer(await peer.query())

    async def main(asker: Asker) -> None:
        async with kind.serving(once) as server:
            heard = [asker.open(server.upstream, f"n{number}.example") for number in range(40)]
            assert all([isinstance(await one.outcome(), bytes) for one in heard])

    kind.run(main)


def test_a_fresh_connection_that_ends_is_a_failure(kind: Kind) -> None:
    async def take(peer: Peer) -> None:
        await peer.query()

    async def main(asker: Asker) -> None:
        async with kind.serving(take) as server:
            assert Failure.DISCONNECTED is await asker.ask(server.upstream, "www.example")
            assert 1 == server.connections

    kind.run(main)


@pytest.mark.parametrize(
    ("octets", "failure"),
    [
        (b"\0", Failure.DISCONNECTED),
        (b"\0\x20half a frame", Failure.DISCONNECTED),
        (b"\0\0", Failure.MALFORMED),
        (b"\0\x04abcd", Failure.MALFORMED),
        (framed(reply_to(query_for("else.example"))), Failure.MALFORMED),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n" * 1000, Failure.MALFORMED),
    ],
)
def test_what_is_no_reply_ends_the_connection(kind: Kind, octets: bytes, failure: Failure) -> None:
    """A reply with an id that was never sent is one of these: on a stream nobody forges."""

    async def lie(peer: Peer) -> None:
        query = await peer.query()
        await peer.send(octets.replace(b"\xbe\xef", (int.from_bytes(query[:2], "big") ^ 1).to_bytes(2, "big"), 1))

    async def main(asker: Asker) -> None:
        async with kind.serving(lie) as server:
            assert failure is await asker.ask(server.upstream, "www.example")
            assert not asker.exchanges.connections

    kind.run(main)


@settings(max_examples=60)
@given(st.lists(st.one_of(st.binary(max_size=40), st.integers(0, 70_000)), max_size=6), st.booleans())
def test_whatever_a_server_sends_ends_in_a_reply_or_a_failure(pieces: list[bytes | int], over_tls: bool) -> None:
    """Octets of chance, and numbers for so many octets of a true reply; with TLS, in the place of its handshake."""

    async def lie(peer: Peer) -> None:
        octets = framed(reply_to(await peer.query())) if not over_tls else b"\x16\x03\x03\0\x40" + bytes(range(64))
        for piece in pieces:
            await peer.send(piece if isinstance(piece, bytes) else octets[:piece])

    async def main(asker: Asker) -> None:
        async with serving(lie, transport=Transport.TLS if over_tls else None) as server:
            found = await asker.ask(server.upstream, "www.example")
            if isinstance(found, bytes):  # what the message is worth is for `replies.verify` to say
                assert not over_tls
                assert len(found) >= 12
                assert b"\0\1" == found[:2]

    run(main)


def test_the_reply_to_what_nobody_waits_for_any_more_disturbs_nobody(kind: Kind) -> None:
    release = asyncio.Event()

    async def late(peer: Peer) -> None:
        first = await peer.query()
        second = await peer.query()
        await release.wait()
        await peer.answer(first)
        await peer.answer(second)
        await peer.until_gone()

    async def main(asker: Asker) -> None:
        async with kind.serving(late) as server:
            given_up = asker.open(server.upstream, "first.example")
            assert given_up.exchange is not None
            given_up.exchange.close()
            second = asker.open(server.upstream, "second.example")
            await until(lambda: len(server.names) == 2)
            release.set()
            assert reply_to(query_for("second.example", 1)) == await second.outcome()
            assert ([], None) == (given_up.replies, given_up.failure)
            assert 1 == server.connections

    kind.run(main)


def test_a_silent_connection_gets_no_further_queries(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a frame and then silence: new queries go on a new connection, and the old one's reply still counts."""
    monkeypatch.setattr(streams_module, "QUIET_S", 0.1)
    release = asyncio.Event()

    async def stall(peer: Peer) -> None:
        if peer.number:
            await answer_all(peer)
        query = await peer.query()
        octets = framed(reply_to(query))
        await peer.send(octets[:9])
        await release.wait()
        await peer.send(octets[9:])
        await peer.until_gone()

    async def main(asker: Asker) -> None:
        async with kind.serving(stall) as server:
            slow = asker.open(server.upstream, "slow.example")
            await until(lambda: server.names)
            await asyncio.sleep(0.15)
            assert isinstance(await asker.ask(server.upstream, "www.example"), bytes)
            assert 2 == server.connections
            release.set()
            assert reply_to(query_for("slow.example", 1)) == await slow.outcome()

    kind.run(main)


def test_beyond_its_bound_a_connection_gets_a_companion(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections_module, "OUTSTANDING", 10)
    monkeypatch.setattr(connections_module, "CONNECTIONS_EACH", 3)
    release = asyncio.Event()

    async def slow(peer: Peer) -> None:
        await release.wait()
        await answer_all(peer)

    async def main(asker: Asker) -> None:
        async with kind.serving(slow) as server:
            heard = [asker.open(server.upstream, f"n{number}.example") for number in range(60)]
            await until(lambda: server.connections == 3)
            release.set()
            assert all([isinstance(await one.outcome(), bytes) for one in heard])
            assert 3 == server.connections
            assert all(len(peer.asked) >= 10 for peer in server.peers)

    kind.run(main)


def test_idle_connections_are_closed_and_the_longest_idle_makes_room(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections_module, "CONNECTIONS", 2)

    async def main(asker: Asker) -> None:
        async with kind.serving() as one, kind.serving() as two, kind.serving() as three:
            for server in (one, two, three, two):
                assert isinstance(await asker.ask(server.upstream, "www.example"), bytes)
            assert 2 == asker.exchanges.connections
            assert (1, 1, 1) == (one.connections, two.connections, three.connections)
            monkeypatch.setattr(connections_module, "IDLE_S", 0.05)
            await until(lambda: not asker.exchanges.connections)

    kind.run(main)


def test_without_room_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections_module, "CONNECTIONS", 1)

    async def main(asker: Asker) -> None:
        async with serving(Peer.until_gone) as busy, serving() as other:
            waiting = asker.open(busy.upstream, "www.example")
            assert Failure.NO_SOCKET is await asker.ask(other.upstream, "www.example")
            assert waiting.failure is None

    run(main)


def test_a_connection_that_does_not_come_about_is_given_up(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """A namespace whose thread hangs makes no socket, and a router that drops everything no connection."""
    monkeypatch.setattr(connections_module, "CONNECT_S", 0.05)

    def never(family: socket.AddressFamily, kind: socket.SocketKind, done: SocketDone) -> None:
        """No socket, ever."""

    async def main(asker: Asker) -> None:
        async with kind.serving() as server:
            assert Failure.TIMEOUT is await asker.open(server.upstream, "www.example", factory=never).outcome()
            assert not asker.exchanges.connections

    kind.run(main)


@pytest.mark.parametrize("is_late", [False, True])
def test_without_a_socket_nobody_is_asked(kind: Kind, is_late: bool) -> None:
    def none_left(family: socket.AddressFamily, kind: socket.SocketKind, done: SocketDone) -> None:
        error = OSError(24, "Too many open files")
        if is_late:
            asyncio.get_running_loop().call_later(0.02, done, error)
        else:
            done(error)

    async def main(asker: Asker) -> None:
        async with kind.serving() as server:
            heard = [asker.open(server.upstream, "www.example", factory=none_left) for _ in range(3)]
            assert {Failure.NO_SOCKET} == {await one.outcome() for one in heard}
            assert not asker.exchanges.connections

    kind.run(main)


def test_a_socket_that_comes_too_late_is_closed(kind: Kind) -> None:
    made: list[socket.socket] = []

    def late(family: socket.AddressFamily, kind: socket.SocketKind, done: SocketDone) -> None:
        def hand_over(result: socket.socket | OSError) -> None:
            assert isinstance(result, socket.socket)
            made.append(result)
            done(result)

        asyncio.get_running_loop().call_later(0.05, own_sockets, family, kind, hand_over)

    async def main(asker: Asker) -> None:
        async with kind.serving() as server:
            heard = asker.open(server.upstream, "www.example", factory=late)
            asker.exchanges.leave(late)
            assert Failure.DISCONNECTED is await heard.outcome()
            await until(lambda: made)
            assert [-1] == [sock.fileno() for sock in made]
            assert isinstance(await asker.open(server.upstream, "www.example", factory=late).outcome(), bytes)

    kind.run(main)


def test_an_exchange_that_is_closed_hears_nothing_of_the_end(kind: Kind) -> None:
    async def take(peer: Peer) -> None:
        await peer.query()

    async def main(asker: Asker) -> None:
        async with kind.serving(take) as server:
            closed, waiting = (asker.open(server.upstream, "www.example") for _ in range(2))
            assert closed.exchange is not None
            closed.exchange.close()
            closed.exchange.close()
            assert Failure.DISCONNECTED is await waiting.outcome()
            assert (None, []) == (closed.failure, closed.replies)

    kind.run(main)


def test_nobody_listens(kind: Kind) -> None:
    async def main(asker: Asker) -> None:
        async with kind.serving() as server:
            pass
        assert Failure.CONNECTION_REFUSED is await asker.ask(server.upstream, "www.example")

    kind.run(main)


def test_each_namespace_has_its_own_connections(kind: Kind) -> None:
    made = []

    def inside(family: socket.AddressFamily, kind: socket.SocketKind, done: SocketDone) -> None:
        made.append(kind)
        own_sockets(family, kind, done)

    async def main(asker: Asker) -> None:
        async with kind.serving() as server:
            for factory in (own_sockets, inside, inside, own_sockets):
                heard = asker.open(server.upstream, "www.example", factory=factory)
                assert isinstance(await heard.outcome(), bytes)
            assert (2, 2) == (server.connections, asker.exchanges.connections)
            assert [socket.SOCK_STREAM] == made
            asker.exchanges.leave(inside)
            assert 1 == asker.exchanges.connections

    kind.run(main)


def test_who_waits_in_a_namespace_that_is_left_is_told(kind: Kind) -> None:
    async def main(asker: Asker) -> None:
        async with kind.serving(Peer.until_gone) as server:
            heard = asker.open(server.upstream, "www.example")
            await until(lambda: server.connections)
            asker.exchanges.leave(own_sockets)
            assert Failure.DISCONNECTED is await heard.outcome()
            assert not asker.exchanges.connections

    kind.run(main)


# TLS


def test_a_session_is_resumed(authority: Authority) -> None:
    """RFC 8446 2.2: the second connection costs no signature."""
    resumed = []

    async def once(peer: Peer) -> None:
        resumed.append(peer.tls.session_reused)
        assert "dot" == peer.tls.selected_alpn_protocol()
        await peer.answer(await peer.query())

    async def main(asker: Asker) -> None:
        async with serving(once, authority.server_context(), name="dns.example") as server:
            for _ in range(3):
                assert isinstance(await asker.ask(server.upstream, "www.example"), bytes)
                await until(lambda: not asker.exchanges.connections)

    run(main, authority.pem)
    assert [False, True, True] == resumed


def test_a_session_is_no_way_past_the_certificates_end(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed connection verifies nothing, so it is made anew after a while, at the latest when that is over."""
    monkeypatch.setattr(tls, "SESSION_S", 0.0)
    resumed = []

    async def once(peer: Peer) -> None:
        resumed.append(peer.tls.session_reused)
        await peer.answer(await peer.query())

    async def main(asker: Asker) -> None:
        async with serving(once, authority.server_context(), name="dns.example") as server:
            for _ in range(2):
                assert isinstance(await asker.ask(server.upstream, "www.example"), bytes)
                await until(lambda: not asker.exchanges.connections)

    run(main, authority.pem)
    assert [False, False] == resumed


def test_the_address_will_do_in_place_of_a_name(authority: Authority) -> None:
    async def main(asker: Asker) -> None:
        async with serving(answer_all, authority.server_context()) as server:
            assert "" == server.upstream.name
            assert isinstance(await asker.ask(server.upstream, "www.example"), bytes)

    run(main, authority.pem)


@pytest.mark.parametrize(
    ("name", "expired", "trusted", "reason"),
    [
        ("other.example", False, True, "Hostname mismatch, certificate is not valid for 'other.example'"),
        ("dns.example", True, True, "certificate has expired"),
        ("dns.example", False, False, "unable to get local issuer certificate"),
    ],
)
def test_a_certificate_that_does_not_verify_is_a_failure_and_nothing_is_sent(
    authority: Authority, name: str, expired: bool, trusted: bool, reason: str
) -> None:
    async def main(asker: Asker) -> None:
        context = authority.server_context(expired=expired)
        async with serving(answer_all, context, name=name) as server:
            heard = asker.open(server.upstream, "www.example")
            assert (Failure.BAD_CERTIFICATE, reason) == (await heard.outcome(), heard.reason)
            assert [] == server.names
            assert not asker.exchanges.connections

    run(main, authority.pem if trusted else None)


def test_a_server_that_speaks_no_tls_is_a_failure(authority: Authority) -> None:
    async def plain(peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def main(asker: Asker) -> None:
        async with serving(plain, transport=Transport.TLS) as server:
            heard = asker.open(server.upstream, "www.example")
            assert Failure.NO_TLS is await heard.outcome()
            assert "it does not speak TLS" == heard.reason

    run(main, authority.pem)


def test_old_tls_is_not_spoken(authority: Authority) -> None:
    async def main(asker: Asker) -> None:
        context = authority.server_context()
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        async with serving(answer_all, context) as server:
            assert await asker.ask(server.upstream, "www.example") in {Failure.NO_TLS, Failure.DISCONNECTED}
            assert [] == server.names

    run(main, authority.pem)


def test_other_authorities_end_the_connections_of_the_former(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")

    async def main(asker: Asker) -> None:
        async with serving(answer_all, authority.server_context()) as server, serving() as plain:
            for upstream in (server.upstream, plain.upstream):
                assert isinstance(await asker.ask(upstream, "www.example"), bytes)
            asker.exchanges.trust(authority.pem)
            assert 2 == asker.exchanges.connections
            asker.exchanges.trust(other.pem)
            assert 1 == asker.exchanges.connections
            assert Failure.BAD_CERTIFICATE is await asker.ask(server.upstream, "www.example")
            asker.exchanges.trust(authority.pem)
            assert isinstance(await asker.ask(server.upstream, "www.example"), bytes)
            assert ["www.example"] * 2 == [name_of(query) for peer in server.peers for query in peer.asked]

    run(main, authority.pem)
