"""Look-ups over every transport as the forwarder makes them: failures, memory, letter case, what people are told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import dns.message
import pytest

from resolver.forward.failures import Failure
from resolver.forward.forwarder import Forwarder
from resolver.forward.outcomes import Outcome
from resolver.forward.policy import DEFAULT_OPTIONS, ForwardOptions
from resolver.forward.transports import SocketFactory
from resolver.forward.upstreams import Transport, Upstream
from resolver.wire.query import Query, scan
from tests.unit.forward.authority import Authority
from tests.unit.forward.scripted import ScriptedServer, scripted
from tests.unit.forward.streaming import Peer, answer_all, framed, reply_to, serving

WITHIN_S = 10
ONCE = ForwardOptions(attempts=1)


def query_of(name: str) -> Query:
    query = scan(dns.message.make_query(name, "A", use_edns=None).to_wire())
    assert isinstance(query, Query)
    return query


class Asker:
    """A forwarder, and look-ups that are waited for."""

    def __init__(self, forwarder: Forwarder) -> None:
        self.forwarder = forwarder

    async def ask(
        self, name: str, *upstreams: Upstream, over_tcp: bool = False, options: ForwardOptions = DEFAULT_OPTIONS
    ) -> Outcome:
        answered: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.forwarder.resolve(query_of(name), upstreams, over_tcp, answered.set_result, options)
        return await asyncio.wait_for(answered, WITHIN_S)

    async def ask_inside(self, name: str, upstream: Upstream, factory: SocketFactory) -> Outcome:
        """The same by sockets of a namespace."""
        answered: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.forwarder.resolve(query_of(name), (upstream,), False, answered.set_result, DEFAULT_OPTIONS, factory)
        return await asyncio.wait_for(answered, WITHIN_S)

    def failures(self, upstream: Upstream) -> dict[Failure, int]:
        return dict(self.forwarder.stats[upstream].failures)


def run(main: Callable[[Asker], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        forwarder = Forwarder()
        try:
            await main(Asker(forwarder))
        finally:
            forwarder.close()

    asyncio.run(whole())


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "ca")


# Streams


@pytest.mark.parametrize("over_tcp", [False, True])
def test_look_ups_share_one_connection(authority: Authority, over_tcp: bool) -> None:
    async def main(asker: Asker) -> None:
        asker.forwarder.exchanges.trust(authority.pem)
        async with serving(tls=authority.server_context(), name="dns.example") as server:
            outcomes = await asyncio.gather(
                *(asker.ask(f"n{number}.example.", server.upstream, over_tcp=over_tcp) for number in range(50))
            )
            assert all(outcome.reply is not None for outcome in outcomes)
            stats = asker.forwarder.stats[server.upstream]
            assert (1, 1) == (server.connections, stats.connections)
            assert stats.requests - 1 == stats.reused
            assert {} == asker.failures(server.upstream)

    run(main)


def test_a_reply_that_is_cut_short_is_the_answer() -> None:
    async def cut(peer: Peer) -> None:
        while True:
            await peer.send(framed(reply_to(await peer.query(), flags=dns.flags.TC)))

    async def main(asker: Asker) -> None:
        async with serving(cut) as server:
            outcome = await asker.ask("www.example.", server.upstream)
            assert outcome.reply is not None
            assert dns.message.from_wire(outcome.reply).flags & dns.flags.TC
            assert 1 == asker.forwarder.stats[server.upstream].requests

    run(main)


def test_another_question_on_a_stream_is_malformed() -> None:
    """Nobody but the server itself can have said it: it is not waited for."""

    async def other(peer: Peer) -> None:
        query = await peer.query()
        await peer.send(framed(reply_to(query.replace(b"\3www", b"\3xxx"))))
        await peer.until_gone()

    async def main(asker: Asker) -> None:
        async with serving(other) as server, serving() as good:
            outcome = await asker.ask("www.example.", server.upstream, good.upstream, options=ONCE)
            assert good.upstream == outcome.upstream
            assert {Failure.MALFORMED: 1} == asker.failures(server.upstream)

    run(main)


def test_a_server_on_a_stream_that_is_down_is_probed_on_its_stream() -> None:
    """By a copy of a live question; and it is up again with the first answer."""

    async def main(asker: Asker) -> None:
        async with serving() as gone:
            pass
        async with serving() as good:
            assert good.upstream == (await asker.ask("www.example.", gone.upstream, good.upstream)).upstream
            memory = asker.forwarder.memory
            assert memory.is_down(gone.upstream)
            listener = await asyncio.start_server(_handler, "127.0.0.1", gone.upstream.port)
            async with asyncio.timeout(WITHIN_S):
                while memory.is_down(gone.upstream):
                    memory.of(gone.upstream).probe_at = 0.0
                    await asker.ask("www.example.", gone.upstream, good.upstream)
                    await asyncio.sleep(0.02)
            assert gone.upstream == (await asker.ask("www.example.", gone.upstream, good.upstream)).upstream
            asker.forwarder.close()
            listener.close()
            await listener.wait_closed()

    run(main)


async def _handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await answer_all(Peer(0, reader, writer))
    except asyncio.IncompleteReadError:
        writer.close()


def test_a_certificate_that_is_not_good_is_told_once_and_never_replaced_by_plain_text(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = Authority(tmp_path / "other")
    caplog.set_level(logging.INFO, "resolver.forward.certificates")

    async def main(asker: Asker) -> None:
        asker.forwarder.exchanges.trust(other.pem)
        async with serving(tls=authority.server_context()) as server:
            for over_tcp in (False, True, False):
                outcome = await asker.ask("www.example.", server.upstream, over_tcp=over_tcp)
                text = f"{server.upstream} has a bad certificate (unable to get local issuer certificate)"
                assert (None, (23, text)) == (outcome.reply, outcome.ede)
            assert {Failure.BAD_CERTIFICATE: 3} == asker.failures(server.upstream)
            assert asker.forwarder.memory.is_down(server.upstream)
            assert [] == server.names
            assert 1 == len(caplog.messages)
            assert f"{server.upstream} is not asked: its certificate is not good for 127.0.0.1: " in caplog.text
            assert "forward.tls_ca" in caplog.text

            asker.forwarder.exchanges.trust(authority.pem)
            assert (await asker.ask("www.example.", server.upstream)).reply is not None
            assert f"{server.upstream} is asked again" in caplog.messages[1]

    run(main)


@pytest.mark.parametrize(
    ("name", "expired", "says"),
    [
        ("other.example", False, "is not good for other.example: Hostname mismatch"),
        ("other.example", False, "(write the name that it has: tls://127.0.0.1#NAME)"),
        ("dns.example", True, "certificate has expired (the server needs a new certificate, or a clock is wrong)"),
    ],
)
def test_what_is_wrong_with_a_certificate_is_told_with_its_fix(
    authority: Authority, caplog: pytest.LogCaptureFixture, name: str, expired: bool, says: str
) -> None:
    async def main(asker: Asker) -> None:
        asker.forwarder.exchanges.trust(authority.pem)
        async with serving(tls=authority.server_context(expired=expired), name=name) as server:
            assert (await asker.ask("www.example.", server.upstream)).reply is None

    run(main)
    assert says in caplog.text


def test_a_reused_connection_that_ends_is_no_failure_of_its_server() -> None:
    async def once(peer: Peer) -> None:
        await peer.answer(await peer.query())
        if not peer.number:
            await peer.query()
        else:
            await answer_all(peer)

    async def main(asker: Asker) -> None:
        async with serving(once) as server:
            for number in range(3):
                assert (await asker.ask(f"n{number}.example.", server.upstream)).reply is not None
            assert {} == asker.failures(server.upstream)
            assert 0 == asker.forwarder.memory.of(server.upstream).strikes
            assert 2 == server.connections

    run(main)


@pytest.mark.parametrize("scope", ["lo", "1"])
def test_a_link_local_address_needs_its_scope_on_streams_too(scope: str) -> None:
    """The scope is a device's name or number; ::1 is reachable on lo, and no link-local address is there to be."""

    async def main(asker: Asker) -> None:
        async with serving(address="::1") as server:
            upstream = Upstream(f"::1%{scope}", server.upstream.port, transport=Transport.TCP)
            assert (await asker.ask("www.example.", upstream)).reply is not None

    run(main)


# Letter case


def test_letter_case_is_random_and_the_clients_own_comes_back() -> None:
    server = ScriptedServer()

    async def main(asker: Asker) -> None:
        asker.forwarder.case_randomization = True
        async with scripted(server) as (upstream,):
            for _ in range(20):
                outcome = await asker.ask("ok.Some-Long-Name.example.", upstream)
                assert outcome.reply is not None
                reply = dns.message.from_wire(outcome.reply)
                assert "ok.Some-Long-Name.example." == reply.question[0].name.to_text()
                assert "ok.Some-Long-Name.example." == reply.answer[0].name.to_text()
            assert 0 == asker.forwarder.stats[upstream].other_case

    run(main)
    names = {dns.message.from_wire(wire).question[0].name.to_text() for _, _, wire in server.asked}
    assert len(names) > 15
    assert {"ok.some-long-name.example."} == {name.lower() for name in names}


def test_over_tcp_the_letter_case_is_the_clients() -> None:
    server = ScriptedServer()

    async def main(asker: Asker) -> None:
        asker.forwarder.case_randomization = True
        async with scripted(server) as (upstream,):
            assert (await asker.ask("tc.Some-Long-Name.example.", upstream)).reply is not None

    run(main)
    over_tcp = [dns.message.from_wire(wire) for protocol, _, wire in server.asked if protocol == "tcp"]
    assert ["tc.Some-Long-Name.example."] == [message.question[0].name.to_text() for message in over_tcp]


def test_a_server_that_folds_the_case_is_asked_without() -> None:
    server = ScriptedServer()

    async def main(asker: Asker) -> None:
        asker.forwarder.case_randomization = True
        async with scripted(server) as (upstream,):
            name = "fold.A-Name-With-A-Lot-Of-Letters.example."
            for _ in range(5):
                outcome = await asker.ask(name, upstream)
                assert outcome.reply is not None
            stats = asker.forwarder.stats[upstream]
            assert (1, 1) == (stats.other_case, stats.ignored)
            assert not asker.forwarder.memory.is_down(upstream)
            asked = [dns.message.from_wire(wire).question[0].name.to_text() for _, _, wire in server.asked]
            assert asked[0] != name
            assert {name} == set(asked[1:])

    run(main)


def test_a_forgery_in_another_case_does_not_count_and_the_right_reply_does() -> None:
    server = ScriptedServer()

    async def main(asker: Asker) -> None:
        asker.forwarder.case_randomization = True
        async with scripted(server) as (upstream,):
            outcome = await asker.ask("foldok.A-Name-With-A-Lot-Of-Letters.example.", upstream)
            assert outcome.reply is not None
            assert ["192.0.2.1"] == [record.to_text() for record in dns.message.from_wire(outcome.reply).answer[0]]
            assert 1 == asker.forwarder.stats[upstream].other_case
            assert asker.forwarder.memory.repeats_case(upstream, asyncio.get_running_loop().time())

    run(main)
