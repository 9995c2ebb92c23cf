"""Look-ups through the cache, shared and stale, against a scripted upstream on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import dns.message

from resolver.forward import lookups as lookups_module
from resolver.forward.cache import CacheSettings
from resolver.forward.forwarder import Forwarder, Outcome, no_namespace
from resolver.forward.lookups import Lookups
from resolver.forward.policy import ForwardOptions
from resolver.forward.shared import key_of
from resolver.forward.upstreams import Upstream
from tests.unit.forward.scripted import ScriptedServer, scripted
from tests.unit.forward.test_forwarder import query_of, rcode_of

ONCE = ForwardOptions(attempts=1, timeout_s=0.4)

Main = Callable[[Lookups, tuple[Upstream, ...]], Coroutine[Any, Any, None]]


def run(server: ScriptedServer, main: Main, settings: CacheSettings | None = None) -> None:
    async def inside() -> None:
        async with scripted(server) as upstreams:
            lookups = Lookups(Forwarder(), settings)
            try:
                await main(lookups, upstreams)
            finally:
                lookups.close()

    asyncio.run(inside())


def asked(lookups: Lookups, upstreams: tuple[Upstream, ...], name: str) -> asyncio.Future[Outcome]:
    answered: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    lookups.resolve(query_of(name), upstreams, False, answered.set_result, ONCE)
    return answered


def turn_over(lookups: Lookups) -> None:
    """The time of everything in the cache is over."""
    for entry in lookups.cache.entries():
        entry.stored_at -= entry.ttl


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 (what is waited for says nothing)
        await asyncio.sleep(0.01)


def test_the_second_question_is_answered_from_the_cache() -> None:
    server = ScriptedServer()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        first = await asked(lookups, upstreams, "ok")
        second = asked(lookups, upstreams, "ok")

        assert second.done()
        assert (False, True) == (first.is_cached, second.result().is_cached)
        assert "NOERROR" == rcode_of(second.result())
        assert 1 == lookups.forwarder.lookups

    run(server, main)


def test_the_same_question_under_way_is_asked_once() -> None:
    server = ScriptedServer()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        outcomes = await asyncio.gather(*(asked(lookups, upstreams, "slow2") for _ in range(50)))

        assert {"NOERROR"} == {rcode_of(outcome) for outcome in outcomes}
        assert (1, 49) == (lookups.forwarder.lookups, lookups.shared)

    run(server, main)


def test_a_failure_is_shared_and_its_upstream_hears_of_it_once() -> None:
    server = ScriptedServer()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        outcomes = await asyncio.gather(*(asked(lookups, upstreams, "refused") for _ in range(50)))

        assert {"REFUSED"} == {rcode_of(outcome) for outcome in outcomes}
        assert 1 == lookups.forwarder.memory.of(upstreams[0]).refusals
        assert 0 == len(lookups.cache)

    run(server, main)


def test_a_stale_answer_is_given_when_the_upstream_fails() -> None:
    server = ScriptedServer()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        nobody = (Upstream("127.0.0.9", 9),)
        await asked(lookups, upstreams, "ok")
        (entry,) = lookups.cache.entries()
        key, query = key_of(query_of("ok"), nobody, no_namespace), query_of("ok")
        lookups.cache.put(key, query, entry.reply, asyncio.get_running_loop().time())
        turn_over(lookups)

        outcome = await asked(lookups, nobody, "ok")

        assert ((3, ""), True, 1) == (outcome.ede, outcome.is_cached, lookups.cache.stale_hits)
        assert outcome.reply is not None
        assert 30 == dns.message.from_wire(outcome.reply).answer[0].ttl

    run(server, main)


def test_nobody_waits_long_for_an_upstream_when_there_is_a_stale_answer(monkeypatch: Any) -> None:
    monkeypatch.setattr(lookups_module, "PATIENCE_S", 0.1)
    server = ScriptedServer()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        await asked(lookups, upstreams, "slow3")
        turn_over(lookups)
        began = asyncio.get_running_loop().time()
        outcome = await asked(lookups, upstreams, "slow3")

        assert asyncio.get_running_loop().time() - began < 0.29
        assert (3, "") == outcome.ede
        assert asked(lookups, upstreams, "slow3").done(), "nobody else waits, for the next 30 s"
        await until(lambda: asked(lookups, upstreams, "slow3").done())  # the look-up has gone on, for the next one

    run(server, main)


def test_a_popular_name_is_fetched_before_its_time_is_over() -> None:
    server = ScriptedServer()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        await asked(lookups, upstreams, "ok")
        (entry,) = lookups.cache.entries()
        for _ in range(3):
            assert asked(lookups, upstreams, "ok").done()
        entry.stored_at -= 0.95 * entry.ttl
        assert asked(lookups, upstreams, "ok").done()
        assert asked(lookups, upstreams, "ok").done()
        await until(lambda: lookups.forwarder.lookups == 2 and not lookups.forwarder.in_flight)

        (fresh,) = lookups.cache.entries()
        assert (2, 1) == (lookups.forwarder.lookups, lookups.cache.prefetches)
        assert fresh.left_s(asyncio.get_running_loop().time()) > 50

    run(server, main)


def test_without_room_nothing_is_kept_and_everything_is_asked() -> None:
    server = ScriptedServer()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        for _ in range(3):
            await asked(lookups, upstreams, "ok")

        assert 3 == lookups.forwarder.lookups

    run(server, main, CacheSettings(size=0))


def test_after_a_failure_the_stale_answer_is_given_at_once_for_a_while() -> None:
    server = ScriptedServer()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        nobody = (Upstream("127.0.0.9", 9),)
        await asked(lookups, upstreams, "ok")
        (entry,) = lookups.cache.entries()
        key = key_of(query_of("ok"), nobody, no_namespace)
        lookups.cache.put(key, query_of("ok"), entry.reply, asyncio.get_running_loop().time())
        turn_over(lookups)
        await asked(lookups, nobody, "ok")
        lookups_before = lookups.forwarder.lookups
        at_once = [asked(lookups, nobody, "ok") for _ in range(20)]

        assert all(one.done() and one.result().is_cached for one in at_once)
        assert lookups_before == lookups.forwarder.lookups
        for kept in lookups.cache.entries():
            kept.failed_at -= 31
        await asked(lookups, nobody, "ok")
        assert lookups_before + 1 == lookups.forwarder.lookups

    run(server, main)


def test_only_so_many_wait() -> None:
    server = ScriptedServer()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        lookups.forwarder.max_in_flight = 2
        asking = [asked(lookups, upstreams, "slow3") for _ in range(40)]
        refused = [one for one in asking if one.done()]

        assert 40 - 16 == len(refused) == lookups.forwarder.turned_away
        assert all(one.result().refused for one in refused)
        assert {"NOERROR"} == {rcode_of(one) for one in await asyncio.gather(*asking[:16])}
        assert 0 == lookups.waiting

    run(server, main)


def test_many_who_wait_are_told_in_slices() -> None:
    server = ScriptedServer()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        outcomes = await asyncio.gather(*(asked(lookups, upstreams, "slow2") for _ in range(1000)))

        assert {"NOERROR"} == {rcode_of(outcome) for outcome in outcomes}
        assert 1 == lookups.forwarder.lookups

    run(server, main)


def test_what_was_asked_for_before_a_flush_is_not_kept_after_it() -> None:
    server = ScriptedServer()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        asking = asked(lookups, upstreams, "slow2")
        lookups.cache.flush()

        assert "NOERROR" == rcode_of(await asking)
        assert 0 == len(lookups.cache)

    run(server, main)
