"""Queries under way when other upstreams are to be asked, against scripted servers on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import dns.message
import dns.rcode
from msgspec.structs import replace

from resolver.assembly import own_upstreams
from resolver.counters import UDP4
from resolver.forward.forwarder import Forwarder
from resolver.forward.lookups import Lookups
from resolver.forward.outcomes import Outcome
from resolver.forward.upstreams import Upstream
from resolver.pipeline.outcome import Forward, Question
from resolver.server import waiting as module
from resolver.server.responder import Responder
from resolver.server.state import State
from resolver.server.waiting import Waiting, in_turns
from resolver.wire.name import fold, from_text
from tests.unit.asking import CHAIN, query, views_of
from tests.unit.forward.scripted import ScriptedServer, closed_port, scripted

Main = Callable[[Responder, ScriptedServer, tuple[Upstream, ...]], Coroutine[Any, Any, None]]


def run(main: Main) -> None:
    """Server 1 is asked first, by a responder whose state the test swaps."""

    async def inside() -> None:
        servers = ScriptedServer(1), ScriptedServer(2)
        async with scripted(*servers) as upstreams:
            lookups = Lookups(Forwarder())
            state = State(views_of(""), CHAIN, upstreams[:1], own_upstreams)
            try:
                await main(Responder(state, lookups), servers[1], upstreams)
            finally:
                lookups.close()

    asyncio.run(inside())


def asked(responder: Responder, behaviour: str) -> asyncio.Future[bytes]:
    answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    responder.handle(query(f"{behaviour}.example.org").wire, "127.0.0.1", UDP4, answered.set_result)
    return answered


def go_over_to(responder: Responder, *upstreams: Upstream) -> None:
    responder.swap(replace(responder.state, upstreams=upstreams))


def rcode_of(reply: bytes) -> str:
    return dns.rcode.to_text(dns.message.from_wire(reply).rcode())


def test_a_query_at_a_dead_server_is_asked_of_the_one_that_takes_its_place() -> None:
    async def main(responder: Responder, second: ScriptedServer, upstreams: tuple[Upstream, ...]) -> None:
        answered = asked(responder, "silent-ok")
        await asyncio.sleep(0)

        go_over_to(responder, upstreams[1])

        assert "NOERROR" == rcode_of(await asyncio.wait_for(answered, 3))
        assert 0 == responder.in_flight
        assert 1 == len(second.asked)

    run(main)


def test_nobody_is_asked_twice_when_the_upstreams_stay() -> None:
    async def main(responder: Responder, second: ScriptedServer, upstreams: tuple[Upstream, ...]) -> None:
        answered = asked(responder, "slow3")
        await asyncio.sleep(0)

        go_over_to(responder, upstreams[0])

        assert "NOERROR" == rcode_of(await answered)
        assert [] == second.asked

    run(main)


def test_who_was_asked_first_may_answer_first() -> None:
    async def main(responder: Responder, second: ScriptedServer, upstreams: tuple[Upstream, ...]) -> None:
        answered = asked(responder, "slow1-silent")
        await asyncio.sleep(0)

        go_over_to(responder, upstreams[1])

        assert "NOERROR" == rcode_of(await asyncio.wait_for(answered, 3))

    run(main)


def test_a_failure_waits_for_the_others_and_the_last_one_is_told() -> None:
    async def main(responder: Responder, second: ScriptedServer, upstreams: tuple[Upstream, ...]) -> None:
        well, ill = asked(responder, "refused-slow3"), asked(responder, "silent-servfail")
        go_over_to(responder, upstreams[1])
        go_over_to(responder, closed_port())

        assert "NOERROR" == rcode_of(await asyncio.wait_for(well, 3))
        assert "SERVFAIL" == rcode_of(await asyncio.wait_for(ill, 6))

    run(main)


def _waiting(told: list[Outcome], started: float = 0.0) -> Waiting:
    name = from_text("x.")
    forward = Forward(Question(name, fold(name), 1))
    return Waiting(query("x"), "192.0.2.9", UDP4, forward, (), started, lambda _, outcome: told.append(outcome))


def test_a_client_hears_of_a_failure_when_its_time_is_over_though_another_list_was_asked() -> None:
    async def main() -> None:
        told: list[Outcome] = []
        waiting = _waiting(told)  # it came long ago
        assert waiting.goes_over_to(waiting.forward, (Upstream("192.0.2.1"),))
        failure = Outcome(None, None, (22, "nobody"))

        waiting.heard(failure)
        await asyncio.sleep(0.01)

        assert [failure] == told
        waiting.heard(Outcome(None, None, (22, "too late")))
        assert [failure] == told

    asyncio.run(main())


def test_many_are_asked_anew_in_turns() -> None:
    async def main() -> None:
        seen: list[Waiting] = []
        many = [_waiting([]) for _ in range(module._AT_A_TIME + 2)]
        in_turns(many, seen.append)
        assert module._AT_A_TIME == len(seen)
        many[-1].heard(Outcome(None, None, (22, "over")))

        await asyncio.sleep(0.01)

        assert many[:-1] == seen

    asyncio.run(main())
