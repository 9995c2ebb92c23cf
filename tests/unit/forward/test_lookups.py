"""Look-ups through the cache, shared and stale, against a scripted upstream on loopback."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any

import dns.message
import dns.rcode

from resolver.forward import lookups as lookups_module
from resolver.forward.cache import PREFETCH_AGAIN_S, CacheSettings
from resolver.forward.forwarder import Forwarder, no_namespace
from resolver.forward.lookups import Lookups
from resolver.forward.outcomes import Outcome
from resolver.forward.policy import OVERTAKING_TTL, STANDING_IN_TTL, ForwardOptions
from resolver.forward.replies import fit
from resolver.forward.shared import key_of
from resolver.forward.upstreams import Upstream
from resolver.wire.query import Query, scan
from tests.unit.forward.scripted import ScriptedServer, closed_port, scripted
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


def test_a_look_up_leaves_nothing_to_the_garbage_collector() -> None:
    server = ScriptedServer()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        def leftovers() -> list[str]:
            gc.collect()
            found = [type(left).__name__ for left in gc.garbage if type(left).__module__.startswith("resolver.")]
            gc.garbage.clear()
            return found

        await asked(lookups, upstreams, "ok")
        gc.collect()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            await asked(lookups, upstreams, "garbageid-b")
            await asked(lookups, upstreams, "servfail")
            await asked(lookups, upstreams, "tc")
            await asked(lookups, (upstreams[0], Upstream("127.0.0.9", 9)), "slow1")

            assert [] == leftovers()
        finally:
            gc.set_debug(0)
            gc.garbage.clear()

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


def test_a_fetch_ahead_of_time_that_fails_makes_nothing_stale_and_is_tried_again() -> None:
    server = ScriptedServer()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        await asked(lookups, upstreams, "ok")
        (entry,) = lookups.cache.entries()
        for _ in range(3):
            assert asked(lookups, upstreams, "ok").done()
        entry.stored_at -= 0.95 * entry.ttl
        good = lookups.forwarder.resolve
        fails = Outcome(None, None, (22, "nobody answers"))
        lookups.forwarder.resolve = lambda query, those, over_tcp, done, *rest: done(fails)  # type: ignore[method-assign]
        assert asked(lookups, upstreams, "ok").done()
        assert (1, float("-inf"), 0) == (lookups.cache.prefetches, entry.failed_at, lookups.cache.stale_hits)

        entry.fetch_at -= PREFETCH_AGAIN_S
        assert asked(lookups, upstreams, "ok").done()
        assert 2 == lookups.cache.prefetches
        lookups.forwarder.resolve = good  # type: ignore[method-assign]
        entry.stored_at -= entry.ttl
        outcome = await asked(lookups, upstreams, "ok")
        assert (upstreams[0], None) == (outcome.upstream, outcome.ede), "its time is over, and the upstream is well"

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


def test_a_negative_answer_that_overtook_an_earlier_server_gives_way_to_what_that_one_says() -> None:
    async def main() -> None:
        async with scripted(ScriptedServer(1), ScriptedServer(2)) as upstreams:
            lookups = Lookups(Forwarder())
            try:
                first = await asked(lookups, upstreams, "slow7-nosuch")
                assert "NXDOMAIN" == rcode_of(first)
                assert first.reply is not None
                assert 2 == dns.message.from_wire(first.reply).authority[0].ttl
                assert [2] == [entry.ttl for entry in lookups.cache.entries()]

                await asyncio.wait_for(until(lambda: lookups.forwarder.in_flight == 0), 5)

                assert [(0, 60)] == [(entry.rcode, entry.ttl) for entry in lookups.cache.entries()]
                second = await asked(lookups, upstreams, "slow7-nosuch")
                assert ("NOERROR", True) == (rcode_of(second), second.is_cached)
            finally:
                lookups.close()

    asyncio.run(main())


def test_while_the_first_server_is_down_a_negative_answer_of_the_second_is_kept_for_seconds() -> None:
    async def main() -> None:
        async with scripted(ScriptedServer(2)) as (second,):
            lookups = Lookups(Forwarder())
            try:
                outcome = await asked(lookups, (closed_port(), second), "ok-nosuch")

                assert outcome.is_provisional
                (entry,) = lookups.cache.entries()
                assert dns.rcode.NXDOMAIN == entry.rcode
                assert OVERTAKING_TTL <= entry.ttl <= STANDING_IN_TTL
                turn_over(lookups)
                key = key_of(query_of("ok-nosuch"), (closed_port(), second), no_namespace)
                assert key is not None
                assert lookups.cache.stale(key, entry.stored_at) is None
            finally:
                lookups.close()

    asyncio.run(main())


def test_with_no_aaaa_nobody_is_asked_for_aaaa_and_for_a_as_ever() -> None:
    server = ScriptedServer()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        outcomes = []
        for rtype in ("AAAA", "A"):
            query = scan(dns.message.make_query("ok.example.org.", rtype, use_edns=0).to_wire())
            assert isinstance(query, Query)
            answered: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
            options = ForwardOptions(no_aaaa=True)
            lookups.resolve(query, upstreams, False, answered.set_result, options)
            outcome = await answered
            assert outcome.reply is not None
            outcomes.append(dns.message.from_wire(fit(query, outcome.reply, 1232, outcome.ede)))

        without, found = outcomes
        assert ("NOERROR", []) == (dns.rcode.to_text(without.rcode()), without.answer)
        assert "no-aaaa" in without.options[0].to_text()
        assert 1 == len(found.answer)
        assert 1 == len(server.asked)

    run(server, main)


def test_with_use_vc_a_client_on_udp_has_servers_asked_over_tcp() -> None:
    server = ScriptedServer()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        answered: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        lookups.resolve(query_of("ok"), upstreams, False, answered.set_result, ForwardOptions(over_tcp=True))

        assert "NOERROR" == rcode_of(await answered)
        assert ["tcp"] == server.protocols

    run(server, main)
