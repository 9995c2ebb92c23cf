"""The forwarder over real sockets on loopback, against upstreams of the tests' own."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Coroutine, Sequence
from typing import Any

import dns.message
import dns.rcode
import pytest

from resolver.forward.failures import Failure
from resolver.forward.forwarder import Forwarder, no_namespace
from resolver.forward.outcomes import Outcome
from resolver.forward.policy import DEFAULT_OPTIONS, ForwardOptions
from resolver.forward.replies import fit
from resolver.forward.transports import SocketDone, SocketFactory, own_sockets
from resolver.forward.upstreams import Upstream
from resolver.wire.query import Query, scan
from tests.unit.forward.scripted import ScriptedServer, closed_port, scripted

QUICK = ForwardOptions(timeout_s=0.4, attempts=1)
"""A try lasts 0.4 s with it."""
SOON_S = 0.3
"""At once, on a machine with other work to do."""


def query_of(behaviour: str, *, edns: bool = False) -> Query:
    message = dns.message.make_query(f"{behaviour}.example.org.", "A", use_edns=0 if edns else None)
    query = scan(message.to_wire())
    assert isinstance(query, Query)
    return query


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class Asker:
    """A forwarder, and look-ups that are waited for."""

    def __init__(self, forwarder: Forwarder) -> None:
        self.forwarder = forwarder
        self.elapsed_s = 0.0

    async def ask(
        self,
        behaviour: str,
        upstreams: Sequence[Upstream],
        *,
        over_tcp: bool = False,
        edns: bool = False,
        options: ForwardOptions = DEFAULT_OPTIONS,
        in_namespace: SocketFactory = no_namespace,
    ) -> Outcome:
        before = open_descriptors()
        started = time.monotonic()
        answered: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        # set_result raises when it is called twice
        query, done = query_of(behaviour, edns=edns), answered.set_result
        self.forwarder.resolve(query, upstreams, over_tcp, done, options, in_namespace)
        outcome = await answered
        self.elapsed_s = time.monotonic() - started
        if not over_tcp and "tc" not in behaviour:  # the servers' ends of connections are descriptors of ours, too
            assert before == open_descriptors()
        assert 0 == self.forwarder.in_flight
        return outcome

    def failures(self, upstream: Upstream) -> dict[Failure, int]:
        return dict(self.forwarder.stats[upstream].failures)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run it, and see that no descriptor is left behind."""
    before = open_descriptors()
    asyncio.run(main)

    assert before == open_descriptors()


def rcode_of(outcome: Outcome) -> str:
    assert outcome.reply is not None
    return dns.rcode.to_text(dns.message.from_wire(outcome.reply).rcode())


class World:
    """Scripted servers and a forwarder, for one test."""

    def __init__(self, *servers: ScriptedServer, **settings: Any) -> None:
        self.servers = servers or (ScriptedServer(),)
        self._settings = settings

    async def __aenter__(self) -> tuple[Asker, tuple[Upstream, ...]]:
        self._scripted = scripted(*self.servers)
        upstreams = await self._scripted.__aenter__()
        self._asker = Asker(Forwarder(**self._settings))
        return self._asker, upstreams

    async def __aexit__(self, *_: object) -> None:
        self._asker.forwarder.close()
        await self._scripted.__aexit__(None, None, None)


# Good replies


@pytest.mark.parametrize("over_tcp", [False, True])
@pytest.mark.parametrize("address", ["127.0.0.2", "::1"])
@pytest.mark.parametrize(("behaviour", "rcode"), [("ok", "NOERROR"), ("nxdomain", "NXDOMAIN"), ("slow1", "NOERROR")])
def test_a_reply_comes_back_over_the_clients_transport(
    over_tcp: bool, address: str, behaviour: str, rcode: str
) -> None:
    server = ScriptedServer(address=address)

    async def main() -> None:
        async with World(server) as (asker, upstreams):
            outcome = await asker.ask(behaviour, upstreams, over_tcp=over_tcp)

            assert (rcode, upstreams[0], None, False) == (
                rcode_of(outcome),
                outcome.upstream,
                outcome.ede,
                outcome.refused,
            )
            assert {"tcp" if over_tcp else "udp"} == set(server.protocols)
            assert {} == asker.failures(upstreams[0])
            assert 1 == sum(asker.forwarder.stats[upstreams[0]].latency.counts)

    run(main())


def test_each_query_has_a_fresh_source_port_and_a_random_id() -> None:
    """RFC 5452 9.2."""
    server = ScriptedServer()

    async def main() -> None:
        async with World(server) as (asker, upstreams):
            for _ in range(100):
                await asker.ask("ok", upstreams)

    run(main())
    sent = len(server.asked)  # more than look-ups, where a reply came too late
    assert sent >= 100
    assert 0.9 * sent < len({peer[1] for _, peer, _ in server.asked})
    assert 0.9 * sent < len({wire[:2] for _, _, wire in server.asked})


@pytest.mark.parametrize("behaviour", ["wrongidok", "wrongqok"])
def test_a_forged_reply_is_ignored_and_the_right_one_taken(behaviour: str) -> None:
    """RFC 5452 9.1."""

    async def main() -> None:
        async with World() as (asker, upstreams):
            outcome = await asker.ask(behaviour, upstreams)

            assert "NOERROR" == rcode_of(outcome)
            assert asker.elapsed_s < SOON_S
            assert 1 == asker.forwarder.stats[upstreams[0]].ignored
            assert {} == asker.failures(upstreams[0])

    run(main())


@pytest.mark.parametrize(
    ("behaviour", "edns", "has_opt"),
    [("noopt", True, True), ("forceopt", False, False), ("over", False, False), ("over", True, True)],
)
def test_what_comes_back_can_be_fitted(behaviour: str, edns: bool, has_opt: bool) -> None:
    async def main() -> None:
        async with World() as (asker, upstreams):
            outcome = await asker.ask(behaviour, upstreams, edns=edns)
            query = query_of(behaviour, edns=edns)
            assert outcome.reply is not None

            fitted = fit(query, outcome.reply, query.udp_limit())

            message = dns.message.from_wire(fitted)
            assert has_opt == (message.edns >= 0)
            assert (behaviour == "over") == bool(message.flags & dns.flags.TC)
            assert len(fitted) <= query.udp_limit()

    run(main())


# Fail-over


@pytest.mark.parametrize(
    ("behaviour", "failure"),
    [
        ("servfail", Failure.SERVFAIL),
        ("refused", Failure.REFUSED),
        ("notimp", Failure.OTHER_RCODE),
        ("formerr", Failure.OTHER_RCODE),
        ("badvers", Failure.OTHER_RCODE),
        ("garbageid", Failure.MALFORMED),
        ("short", Failure.MALFORMED),
        ("cutrr", Failure.MALFORMED),
        ("hdrservfail", Failure.MALFORMED),
    ],
)
@pytest.mark.parametrize("over_tcp", [False, True])
def test_a_server_that_fails_costs_no_time(behaviour: str, failure: Failure, over_tcp: bool) -> None:
    async def main() -> None:
        async with World(ScriptedServer(), ScriptedServer(2)) as (asker, upstreams):
            outcome = await asker.ask(f"{behaviour}-ok", upstreams, over_tcp=over_tcp)

            assert ("NOERROR", upstreams[1]) == (rcode_of(outcome), outcome.upstream)
            assert asker.elapsed_s < SOON_S
            assert {failure: 1} == asker.failures(upstreams[0])

    run(main())


def test_a_server_that_is_not_there_costs_no_time() -> None:
    async def main() -> None:
        async with World() as (asker, upstreams):
            nobody = closed_port("127.0.0.9")
            for over_tcp, refusals in ((False, 1), (True, 1)):
                outcome = await asker.ask("ok", (nobody, *upstreams), over_tcp=over_tcp)

                assert ("NOERROR", upstreams[0]) == (rcode_of(outcome), outcome.upstream)
                assert asker.elapsed_s < SOON_S
                assert {Failure.CONNECTION_REFUSED: refusals} == asker.failures(nobody)

    run(main())


@pytest.mark.parametrize("behaviour", ["silent", "wrongid", "wrongq", "garbage", "empty", "hdronly", "qr0"])
def test_a_server_that_says_nothing_to_the_point_costs_one_try(behaviour: str) -> None:
    async def main() -> None:
        async with World(ScriptedServer(), ScriptedServer(2)) as (asker, upstreams):
            outcome = await asker.ask(f"{behaviour}-ok", upstreams, options=QUICK)

            assert ("NOERROR", upstreams[1]) == (rcode_of(outcome), outcome.upstream)
            assert 0.3 < asker.elapsed_s < 0.4 + SOON_S
            assert {Failure.TIMEOUT: 1} == asker.failures(upstreams[0])

    run(main())


def test_a_slow_server_wins_when_the_others_have_nothing() -> None:
    """It was given up after 0.4 s, and answers after 0.7."""

    async def main() -> None:
        async with World(ScriptedServer(), ScriptedServer(2)) as (asker, upstreams):
            outcome = await asker.ask("slow7-servfail", upstreams, options=QUICK)

            assert ("NOERROR", upstreams[0]) == (rcode_of(outcome), outcome.upstream)
            assert 0.6 < asker.elapsed_s < 0.7 + SOON_S
            assert {} == asker.failures(upstreams[0])
            assert {Failure.SERVFAIL: 1} == asker.failures(upstreams[1])

    run(main())


def test_a_single_server_may_take_three_seconds() -> None:
    server = ScriptedServer()

    async def main() -> None:
        async with World(server) as (asker, upstreams):
            outcome = await asker.ask("slow30", upstreams)

            assert "NOERROR" == rcode_of(outcome)
            assert 2.9 < asker.elapsed_s < 3.0 + SOON_S
            assert len(server.asked) in (3, 4), "after 0.4, 0.8 and 1.6 s once more, at most"

    run(main())


def test_when_all_are_silent_the_look_up_ends_in_time() -> None:
    async def main() -> None:
        async with World(ScriptedServer(), ScriptedServer(2)) as (asker, upstreams):
            outcome = await asker.ask("silent", (*upstreams, closed_port()))

            assert outcome.reply is None
            assert outcome.ede is not None
            assert 22 == outcome.ede[0]
            assert f"{upstreams[0]} timed out, {upstreams[1]} timed out" in outcome.ede[1]
            assert 4.0 < asker.elapsed_s < 4.5
            assert {Failure.TIMEOUT: 3} == asker.failures(upstreams[0])

    run(main())


def test_when_all_refuse_the_look_up_ends_after_a_second_and_six_tries() -> None:
    """A server that starts anew has had its chance."""

    async def main() -> None:
        async with World() as (asker, _):
            nobody = closed_port()
            outcome = await asker.ask("ok", (nobody,))

            assert Outcome(None, None, (23, f"{nobody} refused")) == outcome
            assert 0.9 < asker.elapsed_s < 1 + SOON_S
            assert {Failure.CONNECTION_REFUSED: 6} == asker.failures(nobody)

    run(main())


def test_the_upstreams_extended_error_survives() -> None:
    async def main() -> None:
        async with World(ScriptedServer(), ScriptedServer(2)) as (asker, upstreams):
            outcome = await asker.ask("refused-ede", upstreams, edns=True)

            assert ("SERVFAIL", upstreams[1]) == (rcode_of(outcome), outcome.upstream)
            assert outcome.reply is not None
            assert b"net err" in outcome.reply

    run(main())


def test_a_server_that_does_not_take_our_opt_is_asked_without_it() -> None:
    """RFC 6891 6.2.2."""

    server = ScriptedServer()

    async def main() -> None:
        async with World(server) as (asker, upstreams):
            assert "NOERROR" == rcode_of(await asker.ask("noedns", upstreams, options=ForwardOptions(edns0=True)))
            assert {True, False} == {dns.message.from_wire(wire).edns >= 0 for _, _, wire in server.asked}

    run(main())


def test_a_server_that_does_not_take_the_clients_opt_is_for_the_client_to_see() -> None:
    server = ScriptedServer()

    async def main() -> None:
        async with World(server) as (asker, upstreams):
            outcome = await asker.ask("noedns", upstreams, edns=True, options=ForwardOptions(edns0=True))

            assert "FORMERR" == rcode_of(outcome)
            assert {True} == {dns.message.from_wire(wire).edns >= 0 for _, _, wire in server.asked}

    run(main())


# TCP


def test_a_truncated_reply_is_fetched_over_tcp() -> None:
    server = ScriptedServer()

    async def main() -> None:
        async with World(server) as (asker, upstreams):
            outcome = await asker.ask("tc", upstreams)
            assert outcome.reply is not None

            assert 0 == dns.message.from_wire(outcome.reply).flags & dns.flags.TC
            assert ["udp", "tcp"] == list(dict.fromkeys(server.protocols))

    run(main())


def test_a_truncated_reply_is_relayed_when_tcp_is_refused() -> None:
    server = ScriptedServer(with_tcp=False)

    async def main() -> None:
        async with World(server) as (asker, upstreams):
            outcome = await asker.ask("tc", upstreams)
            assert outcome.reply is not None

            assert dns.message.from_wire(outcome.reply).flags & dns.flags.TC
            assert asker.elapsed_s < SOON_S

    run(main())


def test_the_next_server_is_asked_when_tcp_is_refused() -> None:
    async def main() -> None:
        async with World(ScriptedServer(with_tcp=False), ScriptedServer(2)) as (asker, upstreams):
            outcome = await asker.ask("tc-ok", upstreams)

            assert ("NOERROR", upstreams[1]) == (rcode_of(outcome), outcome.upstream)
            assert asker.elapsed_s < SOON_S

    run(main())


def test_a_query_that_came_by_tcp_falls_back_to_udp() -> None:
    server = ScriptedServer(with_tcp=False)

    async def main() -> None:
        async with World(server) as (asker, upstreams):
            assert "NOERROR" == rcode_of(await asker.ask("ok", upstreams, over_tcp=True))
            assert {"udp"} == set(server.protocols)
            assert asker.elapsed_s < SOON_S

    run(main())


def test_silence_over_tcp_is_bounded_as_over_udp() -> None:
    server = ScriptedServer()

    async def main() -> None:
        async with World(server) as (asker, upstreams):
            outcome = await asker.ask("tcfar", upstreams, options=QUICK)
            assert outcome.reply is not None

            assert dns.message.from_wire(outcome.reply).flags & dns.flags.TC
            assert 0.3 < asker.elapsed_s < 0.4 + SOON_S

    run(main())


@pytest.mark.parametrize(
    ("sent", "failure"),
    [
        (b"", Failure.DISCONNECTED),
        (b"\0", Failure.DISCONNECTED),
        (b"\0\x20abc", Failure.DISCONNECTED),
        (b"\0\0", Failure.MALFORMED),
    ],
)
def test_a_tcp_reply_that_is_not_whole_is_a_failure(sent: bytes, failure: Failure) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(2)
        writer.write(sent)
        await writer.drain()
        writer.close()

    async def main() -> None:
        listener = await asyncio.start_server(handle, "127.0.0.1", 0)
        broken = Upstream("127.0.0.1", listener.sockets[0].getsockname()[1])
        async with World() as (asker, upstreams):
            outcome = await asker.ask("ok", (broken, *upstreams), over_tcp=True)

            assert upstreams[0] == outcome.upstream
            assert 1 == asker.failures(broken)[failure]
        listener.close()
        await listener.wait_closed()

    run(main())


# Sockets


def test_without_a_socket_the_look_up_ends_with_an_error() -> None:
    def none_left(family: socket.AddressFamily, kind: socket.SocketKind, done: SocketDone) -> None:
        done(OSError(24, "Too many open files"))

    async def main() -> None:
        async with World(sockets=none_left) as (asker, upstreams):
            outcome = await asker.ask("ok", upstreams * 300)

            assert Outcome(None, None, (23, f"{upstreams[0]} not asked: no socket to be had")) == outcome

    run(main())


def test_an_upstream_of_a_namespace_is_never_asked_from_ours() -> None:
    server = ScriptedServer()

    async def main() -> None:
        async with World(server) as (asker, upstreams):
            outcome = await asker.ask("ok", (Upstream(upstreams[0].address, upstreams[0].port, in_namespace=True),))

            assert outcome.reply is None
            assert [] == server.asked

    run(main())


def test_the_sockets_of_a_namespace_come_when_they_come() -> None:
    """One in time, one when the look-up is over already: it is closed."""
    made: list[socket.socket] = []

    def later(family: socket.AddressFamily, kind: socket.SocketKind, done: SocketDone) -> None:
        def note(result: socket.socket | OSError) -> None:
            assert isinstance(result, socket.socket)
            made.append(result)
            done(result)

        asyncio.get_running_loop().call_later(0.05, own_sockets, family, kind, note)

    async def main() -> None:
        async with World() as (asker, upstreams):
            inside = Upstream(upstreams[0].address, upstreams[0].port, in_namespace=True)

            assert "NOERROR" == rcode_of(await asker.ask("ok", (inside,), in_namespace=later))

            outcomes: list[Outcome] = []
            asker.forwarder.resolve(query_of("ok"), (inside,), False, outcomes.append, in_namespace=later)
            asker.forwarder.close()
            await asyncio.sleep(0.1)
            assert [None] == [outcome.reply for outcome in outcomes]

    run(main())
    assert [-1, -1] == [sock.fileno() for sock in made]


# Bounds and the end


def test_beyond_its_bound_the_forwarder_turns_look_ups_away() -> None:
    async def main() -> None:
        async with World(max_in_flight=3) as (asker, upstreams):
            outcomes: list[Outcome] = []
            for _ in range(5):
                asker.forwarder.resolve(query_of("silent"), upstreams, False, outcomes.append)

            assert [(True, None)] * 2 == [(outcome.refused, outcome.reply) for outcome in outcomes]
            assert (3, 2) == (asker.forwarder.in_flight, asker.forwarder.turned_away)

    run(main())


def test_close_ends_every_look_up_with_an_outcome() -> None:
    async def main() -> None:
        async with World() as (asker, upstreams):
            outcomes: list[Outcome] = []
            for over_tcp in (False, True, False):
                asker.forwarder.resolve(query_of("silent"), upstreams, over_tcp, outcomes.append)
            await asyncio.sleep(0)
            assert 3 == asker.forwarder.in_flight

            asker.forwarder.close()
            asker.forwarder.close()
            asker.forwarder.resolve(query_of("ok"), upstreams, False, outcomes.append)

            assert [(None, (14, "the resolver is stopping"), False)] * 4 == [
                (outcome.reply, outcome.ede, outcome.refused) for outcome in outcomes
            ]
            assert 0 == asker.forwarder.in_flight

    run(main())


def test_many_look_ups_at_once_are_all_answered() -> None:
    async def main() -> None:
        async with World(ScriptedServer(), ScriptedServer(2)) as (asker, upstreams):
            outcomes = []
            all_done = asyncio.Event()

            def done(outcome: Outcome) -> None:
                outcomes.append(outcome.reply is not None)
                if len(outcomes) == 300:
                    all_done.set()

            options = ForwardOptions(order="rotate")
            for n in range(300):
                behaviour = ("ok", "servfail-ok", "wrongidok")[n % 3]
                asker.forwarder.resolve(query_of(behaviour), upstreams, n % 10 == 0, done, options)
            await all_done.wait()

            assert [True] * 300 == outcomes
            counts = asker.forwarder.counts()
            assert {str(upstream) for upstream in upstreams} == set(counts)
            assert all(stats.requests >= 150 for stats in counts.values())

    run(main())
