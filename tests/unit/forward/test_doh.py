"""Queries over HTTPS against a server of the tests' own: what is sent, what is believed, and how connections end."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import dns.message
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resolver.forward import http2
from resolver.forward.doh import HttpsClients, HttpsExchange
from resolver.forward.failures import Failure
from resolver.forward.stats import UpstreamStats
from resolver.forward.upstreams import Transport, Upstream
from tests.unit.forward.doh_server import NAME, DohServer, doh_server
from tests.unit.forward.scripted import closed_port

WITHIN_S = 10.0


@dataclass
class Heard:
    """A listener that keeps what it hears."""

    messages: list[bytes] = field(default_factory=list)
    failures: list[tuple[Failure, str]] = field(default_factory=list)
    event: asyncio.Event = field(default_factory=asyncio.Event)

    def received(self, message: bytes) -> None:
        self.messages.append(message)
        self.event.set()

    def broke(self, failure: Failure, reason: str = "") -> None:
        self.failures.append((failure, reason))
        self.event.set()

    async def failure(self) -> tuple[Failure, str]:
        await asyncio.wait_for(self.event.wait(), WITHIN_S)
        assert not self.messages
        return self.failures[0]

    async def message(self) -> dns.message.Message:
        await asyncio.wait_for(self.event.wait(), WITHIN_S)
        assert not self.failures
        return dns.message.from_wire(self.messages[0])


class Client:
    """The clients, and what the loop was told of exceptions that nobody caught."""

    def __init__(self, server: DohServer) -> None:
        self.clients = HttpsClients(asyncio.get_running_loop(), server.authorities)
        self.upstream = Upstream("127.0.0.1", server.port, transport=Transport.HTTPS, name=NAME, path="/dns-query")
        self.stats = UpstreamStats()

    def open(self, label: str, upstream: Upstream | None = None) -> tuple[Heard, HttpsExchange, bytes]:
        query = dns.message.make_query(f"{label}.example.", "A").to_wire()
        heard = Heard()
        exchange = self.clients.open(upstream or self.upstream, query, heard, self.stats)
        assert not heard.event.is_set()
        return heard, exchange, query

    async def ask(self, label: str, upstream: Upstream | None = None) -> dns.message.Message:
        return await self.open(label, upstream)[0].message()

    async def fail(self, label: str, upstream: Upstream | None = None) -> tuple[Failure, str]:
        return await self.open(label, upstream)[0].failure()


async def until(what: Callable[[], bool]) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + WITHIN_S
    while not what():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


def run(test: Callable[[DohServer, Client], Awaitable[None]], folder: Path, **options: object) -> None:
    """Run a test on a loop of its own; whatever nobody caught fails it."""
    uncaught: list[object] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: uncaught.append(context))
        async with doh_server(folder, **options) as server:
            client = Client(server)
            try:
                await test(server, client)
            finally:
                client.clients.close()
                await asyncio.sleep(0.01)

    asyncio.run(main())
    assert not uncaught


def test_a_query_is_posted_with_id_0_and_comes_back_with_its_own(tmp_path: Path) -> None:
    async def test(server: DohServer, client: Client) -> None:
        heard, exchange, query = client.open("www")
        reply = await heard.message()
        assert reply.to_wire()[:2] == query[:2]
        assert [rrset.to_text() for rrset in reply.answer] == ["www.example. 60 IN A 192.0.2.1"]
        assert exchange.is_closed
        (posted,) = server.posted
        assert posted.body == b"\0\0" + query[2:]
        assert posted.headers == {
            ":method": "POST",
            ":scheme": "https",
            ":authority": f"{NAME}:{server.port}",
            ":path": "/dns-query",
            "accept": "application/dns-message",
            "content-type": "application/dns-message",
            "content-length": str(len(query)),
        }

    run(test, tmp_path)


def test_one_connection_carries_many_queries_and_a_slow_one_keeps_none_waiting(tmp_path: Path) -> None:
    async def test(server: DohServer, client: Client) -> None:
        slow = [client.open("slow")[0] for _ in range(3)]
        quick = [client.open(f"www{number}")[0] for number in range(50)]
        await asyncio.gather(*(heard.message() for heard in quick))
        assert not any(heard.event.is_set() for heard in slow)
        await asyncio.gather(*(heard.message() for heard in slow))
        await client.ask("later")
        assert len(server.connections) == 1

    run(test, tmp_path)


def test_more_queries_than_the_server_takes_at_once_wait_their_turn(tmp_path: Path) -> None:
    async def test(server: DohServer, client: Client) -> None:
        await client.ask("first")
        heard = [client.open(f"www{number}")[0] for number in range(20)]
        await asyncio.gather(*(one.message() for one in heard))
        assert len(server.connections) == 1

    run(test, tmp_path, streams=2)


def test_abandoned_queries_make_room_for_others(tmp_path: Path) -> None:
    async def test(server: DohServer, client: Client) -> None:
        await client.ask("first")
        hanging = [client.open("hang")[1] for _ in range(2)]
        for exchange in hanging:
            exchange.close()
        await client.ask("www")
        assert len(server.connections[0].resets) == 2

    run(test, tmp_path, streams=2)


@pytest.mark.parametrize(
    ("label", "failure", "reason"),
    [
        ("status-404", Failure.HTTP_ERROR, "status 404"),
        ("status-500", Failure.HTTP_ERROR, "status 500"),
        ("status-204", Failure.HTTP_ERROR, "status 204"),
        ("redirect", Failure.HTTP_ERROR, "status 302"),
        ("html", Failure.MALFORMED, "it is no DNS message"),
        ("empty", Failure.MALFORMED, ""),
        ("short", Failure.MALFORMED, ""),
        ("otherid", Failure.MALFORMED, ""),
        ("oversized", Failure.MALFORMED, ""),
        ("reset-2", Failure.HTTP_ERROR, "it has reset the request"),
        ("garbage", Failure.MALFORMED, ""),
    ],
)
def test_what_is_no_answer_is_a_failure_and_the_next_query_is_answered(
    tmp_path: Path, label: str, failure: Failure, reason: str
) -> None:
    async def test(server: DohServer, client: Client) -> None:
        assert await client.fail(label) == (failure, reason)
        await client.ask("www")

    run(test, tmp_path)


def test_the_content_type_is_read_without_its_case_and_parameters(tmp_path: Path) -> None:
    async def test(server: DohServer, client: Client) -> None:
        assert (await client.ask("charset")).answer

    run(test, tmp_path)


@pytest.mark.parametrize("how", ["goaway", "close", "refuse"])
def test_a_query_that_a_connection_has_lost_is_posted_once_more(tmp_path: Path, how: str) -> None:
    async def test(server: DohServer, client: Client) -> None:
        both = client.open("hang"), client.open(f"once-{how}")
        await both[1][0].message()
        assert len(server.connections) == (1 if how == "refuse" else 2)
        assert not both[0][0].event.is_set()

    run(test, tmp_path)


def test_queries_on_a_connection_that_is_being_lost_are_posted_again_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(server: DohServer, client: Client) -> None:
        await client.ask("www")
        server.connections[0].transport.abort()
        while len(server.connections) == 1:  # some are written before the loss is known
            client.open("www")
            await asyncio.sleep(0)
        await client.ask("www")

    run(test, tmp_path)
    assert not caplog.records


def test_more_than_a_new_connection_takes_is_lost_to_nobody(tmp_path: Path) -> None:
    """A connection dies with many waiting: the next one must not be given more than its server takes."""

    async def test(server: DohServer, client: Client) -> None:
        server.is_deaf = True
        heard = [client.open(f"www{number}")[0] for number in range(250)]
        await until(lambda: bool(server.connections))
        server.is_deaf = False
        server.connections[0].transport.abort()
        for one in heard:
            assert (await one.message()).answer

    run(test, tmp_path)


def test_a_server_that_refuses_every_request_is_a_failure(tmp_path: Path) -> None:
    async def test(server: DohServer, client: Client) -> None:
        server.is_full_on = {0}
        assert await client.fail("www") == (Failure.HTTP_ERROR, "it refuses requests")

    run(test, tmp_path)


def test_a_status_of_five_thousand_digits_is_an_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test(server: DohServer, client: Client) -> None:
        failure, _ = await client.fail("bigstatus")
        assert failure in (Failure.HTTP_ERROR, Failure.MALFORMED)
        assert (await client.ask("www")).answer

    run(test, tmp_path)
    assert not caplog.records


def test_the_connections_are_counted(tmp_path: Path) -> None:
    async def test(server: DohServer, client: Client) -> None:
        for number in range(5):
            await client.ask(f"www{number}")
        assert (1, 4) == (client.stats.connections, client.stats.reused)

    run(test, tmp_path)


def test_a_server_that_always_hangs_up_is_a_failure_after_the_second_time(tmp_path: Path) -> None:
    async def test(server: DohServer, client: Client) -> None:
        heard = client.open("hang")[0]
        for number in range(2):
            await until(lambda number=number: len(server.posted) > number)  # type: ignore[misc]
            server.connections[number].transport.abort()
        assert await heard.failure() == (Failure.DISCONNECTED, "")

    run(test, tmp_path)


def test_a_connection_that_has_died_in_silence_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2, "DOUBTFUL_S", 0.2)

    async def test(server: DohServer, client: Client) -> None:
        await client.ask("www")
        server.is_deaf = True
        await asyncio.sleep(0.25)
        heard = client.open("www")[0]
        asyncio.get_running_loop().call_later(0.1, setattr, server, "is_deaf", False)
        server.connections[0].transport.pause_reading()
        await heard.message()
        assert len(server.connections) == 2

    run(test, tmp_path)


def test_a_frame_that_never_ends_is_no_sign_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2, "DOUBTFUL_S", 0.2)

    async def test(server: DohServer, client: Client) -> None:
        noise = client.open("noise")[0]
        await until(lambda: bool(server.posted))
        await asyncio.sleep(0.25)
        await client.ask("www")
        await noise.message()
        assert len(server.connections) == 2

    run(test, tmp_path, streams=100)


def test_an_answer_that_only_takes_long_keeps_its_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2, "DOUBTFUL_S", 0.2)

    async def test(server: DohServer, client: Client) -> None:
        await client.ask("www")
        await asyncio.sleep(0.25)
        await client.ask("slow")
        assert len(server.connections) == 1

    run(test, tmp_path)


def test_an_idle_connection_is_closed_and_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2, "IDLE_S", 0.1)

    async def test(server: DohServer, client: Client) -> None:
        await client.ask("www")
        await until(server.connections[0].transport.is_closing)
        await client.ask("www")
        assert len(server.connections) == 2

    run(test, tmp_path)


def test_a_certificate_of_another_name_is_not_talked_to(tmp_path: Path) -> None:
    async def test(server: DohServer, client: Client) -> None:
        other = Upstream("127.0.0.1", server.port, transport=Transport.HTTPS, name="other.example", path="/dns-query")
        failure, reason = await client.fail("www", other)
        assert failure is Failure.BAD_CERTIFICATE
        assert "other.example" in reason
        by_address = Upstream("127.0.0.1", server.port, transport=Transport.HTTPS, path="/dns-query")
        assert (await client.ask("www", by_address)).answer
        assert len(server.posted) == 1

    run(test, tmp_path)


def test_a_certificate_of_an_unknown_authority_is_not_talked_to(tmp_path: Path) -> None:
    async def test(server: DohServer, client: Client) -> None:
        client.clients = HttpsClients(asyncio.get_running_loop(), ssl.create_default_context)
        assert (await client.fail("www"))[0] is Failure.BAD_CERTIFICATE
        assert not server.posted

    run(test, tmp_path)


def test_a_server_without_http_2_is_said_to_be_one(tmp_path: Path) -> None:
    async def test(server: DohServer, client: Client) -> None:
        failure, _ = await client.fail("www")
        assert failure in (Failure.HTTP_ERROR, Failure.NO_TLS)

    run(test, tmp_path, alpn="http/1.1")


def test_nobody_there_is_a_refused_connection(tmp_path: Path) -> None:
    async def test(server: DohServer, client: Client) -> None:
        nobody = replace(closed_port(), transport=Transport.HTTPS, path="/dns-query")
        assert await client.fail("www", nobody) == (Failure.CONNECTION_REFUSED, "")

    run(test, tmp_path)


def test_plain_http_in_its_place_is_no_tls(tmp_path: Path) -> None:
    async def test(server: DohServer, client: Client) -> None:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(10)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        plain = await asyncio.start_server(talk, "127.0.0.1", 0)
        port = plain.sockets[0].getsockname()[1]
        upstream = Upstream("127.0.0.1", port, transport=Transport.HTTPS, path="/dns-query")
        assert await client.fail("www", upstream) == (Failure.NO_TLS, "it does not speak TLS")
        plain.close()

    run(test, tmp_path)


def test_a_server_that_never_shakes_hands_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2, "CONNECT_S", 0.2)

    async def test(server: DohServer, client: Client) -> None:
        async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        listening = await asyncio.start_server(mute, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        upstream = Upstream("127.0.0.1", port, transport=Transport.HTTPS, path="/dns-query")
        assert await client.fail("www", upstream) == (Failure.TIMEOUT, "")
        listening.close()

    run(test, tmp_path)


def test_after_its_close_an_exchange_hears_nothing(tmp_path: Path) -> None:
    async def test(server: DohServer, client: Client) -> None:
        connecting, exchange, _ = client.open("www")
        exchange.close()
        await client.ask("www")
        slow, exchange, _ = client.open("slow")
        exchange.close()
        html, exchange, _ = client.open("html")
        await client.ask("www")
        await html.failure()
        await asyncio.sleep(0.6)
        assert not connecting.event.is_set()
        assert not slow.event.is_set()

    run(test, tmp_path)


def test_closing_the_clients_ends_what_is_under_way(tmp_path: Path) -> None:
    async def test(server: DohServer, client: Client) -> None:
        await client.ask("www")
        hanging = client.open("hang")[0]
        connecting = client.open("www", Upstream("127.0.0.1", server.port, transport=Transport.HTTPS, path="/q"))[0]
        client.clients.close()
        assert await hanging.failure() == (Failure.DISCONNECTED, "")
        assert await connecting.failure() == (Failure.DISCONNECTED, "")
        assert await client.fail("www") == (Failure.DISCONNECTED, "")

    run(test, tmp_path)


class _Transport(asyncio.Transport):
    """Takes what is written, and comes with TLS."""

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self

    def selected_alpn_protocol(self) -> str:
        return "h2"

    def is_closing(self) -> bool:
        return False

    def write(self, data: object) -> None:
        pass

    def abort(self) -> None:
        pass


_FRAMES = st.builds(
    lambda kind, flags, stream, body: (
        len(body).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + body
    ),
    st.integers(0, 10),
    st.integers(0, 255),
    st.sampled_from((0, 1, 2, 3, 5)),
    st.binary(max_size=40),
)


@settings(max_examples=300)
@given(st.lists(st.one_of(_FRAMES, st.binary(max_size=30)), max_size=8))
def test_no_octets_of_a_server_raise_and_every_query_ends(chunks: list[bytes]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        lost: list[http2.Request] = []
        connection = http2.Http2Connection(
            loop,
            ((b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"a"), (b":path", b"/")),
            lambda _, requests, failure, reason: lost.extend(requests),
        )
        heard = [Heard() for _ in range(3)]
        for one in heard:
            connection.submit(HttpsExchange(loop, bytes(12), one))
        connection.connection_made(_Transport())
        for chunk in chunks:
            connection.data_received(chunk)
        connection.connection_lost(None)
        await asyncio.sleep(0)
        assert len(lost) + sum(one.event.is_set() for one in heard) == 3

    asyncio.run(main())
