"""Loops found by probes that come back: upstreams on loopback, some of which lead back to us."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import dns.message
import dns.rcode
import pytest

from resolver.forward import loops as loops_module
from resolver.forward.forwarder import Forwarder, no_namespace
from resolver.forward.lookups import Lookups
from resolver.forward.outcomes import Outcome
from resolver.forward.policy import ForwardOptions
from resolver.forward.shares import Bound
from resolver.forward.transports import own_sockets
from resolver.forward.upstreams import Upstream
from resolver.wire.name import fold, from_text
from tests.unit.forward.scripted import Reply, ScriptedServer, closed_port, scripted
from tests.unit.forward.test_forwarder import query_of, rcode_of

ONCE = ForwardOptions(attempts=1, timeout_s=0.4)
Main = Callable[[Lookups, tuple[Upstream, ...]], Coroutine[Any, Any, None]]


class Server(ScriptedServer):
    """One that leads back to `lookups` while it is told so."""

    lookups: Lookups | None = None
    leads_to: tuple[Upstream, ...] | None = None
    """Whom the asker of what comes back has asked for it; this one again when None."""

    def replies(self, wire: bytes, protocol: str, peer: tuple[str, int]) -> list[Reply]:
        name = dns.message.from_wire(wire).question[0].name
        if self.lookups is not None:
            key = fold(from_text(name.to_text()))
            if (probe := self.lookups.loops.awaited.get(key)) is not None:
                upstream, inside, _ = probe.place
                to = (upstream,) if self.leads_to is None else self.leads_to
                self.lookups.loops.came_back(key, to, inside or no_namespace)
        if len(name.labels[0]) != 16:
            return super().replies(wire, protocol, peer)
        self.asked.append((protocol, peer, wire))
        reply = dns.message.make_response(dns.message.from_wire(wire))
        reply.set_rcode(dns.rcode.NXDOMAIN)
        return [(0, reply.to_wire())]

    def probes(self) -> list[str]:
        questions = [dns.message.from_wire(wire).question[0] for _, _, wire in self.asked]
        return [question.to_text() for question in questions if len(question.name.labels[0]) == 16]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (what is waited for says nothing)
            await asyncio.sleep(0.005)


def run(main: Main, *servers: Server) -> None:
    async def inside() -> None:
        async with scripted(*servers) as upstreams:
            lookups = Lookups(Forwarder())
            lookups.loops.is_on = True
            try:
                await main(lookups, upstreams)
            finally:
                lookups.close()

    asyncio.run(inside())


def asked(lookups: Lookups, upstreams: tuple[Upstream, ...], name: str) -> asyncio.Future[Outcome]:
    answered: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    lookups.resolve(query_of(name), upstreams, False, answered.set_result, ONCE)
    return answered


def looping(lookups: Lookups, upstream: Upstream) -> int:
    return lookups.forwarder.stats_of(upstream).looping


def test_an_upstream_that_leads_back_is_left_out_and_the_other_one_asked(caplog: pytest.LogCaptureFixture) -> None:
    bad, good = Server(), Server(address="127.0.0.2")

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        bad.lookups = lookups
        lookups.loops.watch(upstreams, no_namespace)
        await until(lambda: looping(lookups, upstreams[0]) == 1 and len(good.probes()) == 1)
        before = len(bad.asked)
        outcome = await asked(lookups, upstreams, "ok")

        assert ("NOERROR", upstreams[1]) == (rcode_of(outcome), outcome.upstream)
        assert (before, 0) == (len(bad.asked), looping(lookups, upstreams[1]))
        assert f"upstream {upstreams[0]} leads back to pydns and is not asked" in caplog.text
        assert 1 == caplog.text.count("leads back")

    with caplog.at_level(logging.INFO):
        run(main, bad, good)


def test_a_probe_is_a_random_name_below_test_and_its_type_what_can_be_asked() -> None:
    server = Server()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        lookups.loops.watch(upstreams, no_namespace)
        await until(lambda: len(server.probes()) == 1)
        lookups.loops.watch(upstreams, no_namespace, "another listener")
        await until(lambda: len(server.probes()) == 2)

    run(main, server)

    assert 2 == len(set(server.probes()))
    for probe in server.probes():
        label, test, _ = probe.split(".", 2)
        assert (16, "test", True) == (len(label), test, probe.endswith(" IN TXT"))
        assert int(label, 16) >= 0


def test_a_change_has_those_probed_that_are_new_and_those_alone() -> None:
    bad, stays, comes = Server(), Server(address="127.0.0.2"), Server(address="127.0.0.3")
    corp = fold(from_text("corp.example."))

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        bad.lookups = lookups
        loops = lookups.loops
        loops.watch(upstreams[:2], no_namespace)
        await until(lambda: len(stays.probes()) == 1 and looping(lookups, upstreams[0]) == 1)

        loops.watch(upstreams, no_namespace)
        await until(lambda: len(comes.probes()) == 1)
        loops.watch(upstreams, no_namespace, None, {(corp,): upstreams[2:]})
        await until(lambda: len(comes.probes()) == 2)

        assert 1 == len(stays.probes())
        assert upstreams[1:] == loops.usable(upstreams, no_namespace), "who leads back to us does so still"
        loops.watch(upstreams[1:], no_namespace)
        assert 0 == looping(lookups, upstreams[0])
        loops.watch(upstreams, no_namespace)
        await until(lambda: looping(lookups, upstreams[0]) == 1)
        assert (1, 2) == (len(stays.probes()), len(comes.probes()))

    run(main, bad, stays, comes)


def test_our_own_questions_are_counted_nowhere() -> None:
    server = Server()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        nobody = closed_port()
        lookups.loops.watch((*upstreams, nobody), no_namespace)
        await until(lambda: len(server.probes()) == 1 and lookups.forwarder.in_flight == 0)

        assert [] == [each for each, stats in lookups.forwarder.stats.items() if stats.requests or stats.failures]

    run(main, server)


def test_the_same_set_is_probed_once_and_another_listener_is_another_set() -> None:
    server = Server()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        for _ in range(5):
            lookups.loops.watch((*upstreams, *upstreams), no_namespace, ("127.0.0.1", 53))
        await asked(lookups, upstreams, "ok")
        assert 1 == len(server.probes())
        lookups.loops.watch(upstreams, no_namespace, ("127.0.0.1", 54))
        await until(lambda: len(server.probes()) == 2)

    run(main, server)


def test_a_probe_that_comes_back_where_others_are_asked_is_no_loop() -> None:
    """A container's own filter, which asks us: its questions go on into the world."""
    own, world = Server(), Server(address="127.0.0.2")

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        own.lookups, own.leads_to = lookups, upstreams[1:]
        lookups.loops.watch((), no_namespace)
        await asked(lookups, upstreams[:1], "ok")
        await until(lambda: len(own.probes()) == 1)
        await asked(lookups, upstreams[:1], "ok-2")

        assert 0 == looping(lookups, upstreams[0])
        own.leads_to = ()
        lookups.loops.watch(upstreams[:1], no_namespace)
        await until(lambda: len(own.probes()) == 2)
        assert upstreams[0] == (await asked(lookups, upstreams[:1], "ok-3")).upstream
        assert 0 == looping(lookups, upstreams[0])

    run(main, own, world)


def test_a_loop_of_one_route_is_a_loop_of_its_names_alone(caplog: pytest.LogCaptureFixture) -> None:
    bad = Server()
    corp = fold(from_text("corp.example."))

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        bad.lookups = lookups
        lookups.loops.watch((), no_namespace, None, {(corp, fold(from_text("corp.org."))): upstreams})
        await until(lambda: looping(lookups, upstreams[0]) == 1)

        for name in ("www.corp.example.", "corp.example.", "x.corp.org."):
            assert () == lookups.loops.usable(upstreams, no_namespace, fold(from_text(name)))
        assert 1 == len(bad.probes())
        assert bad.probes()[0].endswith(".corp.example. IN TXT")
        assert "leads back to pydns for names below corp.example. and is not asked" in caplog.text
        bad.lookups = None
        elsewhere = fold(from_text("www.example."))
        assert upstreams == lookups.loops.usable(upstreams, no_namespace, elsewhere)

    with caplog.at_level(logging.INFO):
        run(main, bad)


def test_probes_lie_where_they_are_told_to() -> None:
    server = Server()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        lookups.loops.suffix = loops_module.SUFFIXES[1]
        lookups.loops.watch(upstreams, no_namespace)
        await until(lambda: len(server.probes()) == 1)

    run(main, server)

    assert [".example. IN TXT"] == [probe[16:] for probe in server.probes()]


def test_when_all_lead_back_the_reason_is_said() -> None:
    bad = Server()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        bad.lookups = lookups
        lookups.loops.watch(upstreams, no_namespace)
        await until(lambda: looping(lookups, upstreams[0]) == 1)
        outcome = await asked(lookups, upstreams, "ok")

        text = f"every upstream leads back to pydns: {upstreams[0]}"
        assert (None, (22, text), False) == (outcome.reply, outcome.ede, outcome.refused)
        assert 0 == lookups.waiting == lookups.forwarder.in_flight

    run(main, bad)


def test_it_is_probed_again_and_in_use_when_it_leads_back_no_more(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loops_module, "PAUSE_FIRST_S", 0.05)
    bad, good = Server(), Server(address="127.0.0.2")

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        bad.lookups = lookups
        lookups.loops.watch(upstreams, no_namespace)
        await until(lambda: looping(lookups, upstreams[0]) == 1)
        for number in range(3):
            await asyncio.sleep(0.06)
            assert upstreams[1] == (await asked(lookups, upstreams, f"ok-x{number}")).upstream
        await until(lambda: len(bad.probes()) >= 3)  # at least: 0.05 s, then 0.1 s later
        bad.lookups = None
        await asyncio.sleep(0.25)
        assert upstreams[1] == (await asked(lookups, upstreams, "ok-y")).upstream
        await until(lambda: looping(lookups, upstreams[0]) == 0)

        assert upstreams[0] == (await asked(lookups, upstreams, "ok-z")).upstream
        assert "leads back to pydns no more" in caplog.text

    with caplog.at_level(logging.INFO):
        run(main, bad, good)


def test_an_upstream_that_nobody_named_at_the_start_is_probed_when_it_is_met() -> None:
    own = Server()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        lookups.loops.watch((), no_namespace)
        own.lookups = lookups
        for name in ("ok", "ok-2", "ok-3"):
            await asked(lookups, upstreams, name)
        await until(lambda: looping(lookups, upstreams[0]) == 1)

        assert 1 == len(own.probes())

    run(main, own)


def test_one_address_is_another_upstream_in_each_namespace() -> None:
    server = Server()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        def there(*arguments: Any) -> None:
            own_sockets(*arguments)

        inside = (Upstream(upstreams[0].address, upstreams[0].port, in_namespace=True),)
        server.lookups = lookups
        assert inside is lookups.loops.usable(inside, there)
        await until(lambda: looping(lookups, inside[0]) == 1)
        server.lookups = None

        assert () == lookups.loops.usable(inside, there)
        assert inside == lookups.loops.usable(inside, own_sockets)
        await until(lambda: len(server.probes()) == 2)
        lookups.loops.leave(there)
        assert 0 == looping(lookups, inside[0])

    run(main, server)


def test_a_loop_that_is_made_later_is_found_when_its_upstream_is_down() -> None:
    server = Server()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        lookups.loops.watch(upstreams, no_namespace)
        await until(lambda: len(server.probes()) == 1)
        server.lookups = lookups
        await asked(lookups, upstreams, "silent")  # as a question is that goes round
        assert lookups.forwarder.memory.is_down(upstreams[0])
        lookups.forwarder.memory.of(upstreams[0]).probe_at = 0.0
        await asked(lookups, upstreams, "ok")
        await until(lambda: looping(lookups, upstreams[0]) == 1)

    run(main, server)


def test_what_is_no_probe_is_not_taken_for_one_and_nothing_is_awaited_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops_module, "LINGER_S", 0.05)
    server = Server()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        lookups.loops.watch(upstreams, no_namespace)
        assert 1 == len(lookups.loops.awaited)
        assert not lookups.loops.came_back(fold(from_text("0123456789abcdef.test.")), upstreams, no_namespace)
        await until(lambda: not lookups.loops.awaited)

        assert 0 == looping(lookups, upstreams[0])

    run(main, server)


def test_turned_off_it_asks_nothing_and_forgets() -> None:
    server = Server()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        server.lookups = lookups
        lookups.loops.watch(upstreams, no_namespace)
        await until(lambda: looping(lookups, upstreams[0]) == 1)
        lookups.loops.is_on = False
        lookups.loops.watch(upstreams, no_namespace)

        assert "NOERROR" == rcode_of(await asked(lookups, upstreams, "ok"))
        assert (1, 0) == (len(server.probes()), looping(lookups, upstreams[0]))

    run(main, server)


def test_a_greedy_client_has_half_and_another_one_is_served() -> None:
    server = Server()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        lookups.loops.is_on = False
        lookups.forwarder.max_in_flight = 10
        greedy: list[Outcome] = []
        for number in range(20):
            lookups.resolve(query_of(f"silent-x{number}"), upstreams, False, greedy.append, ONCE, client="greedy")

        assert (5, 15) == (lookups.forwarder.in_flight, len(greedy))
        assert all(outcome.refused and outcome.ede and "its share" in outcome.ede[1] for outcome in greedy)
        answered: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        lookups.resolve(query_of("ok"), upstreams, False, answered.set_result, ONCE, client="modest")
        assert "NOERROR" == rcode_of(await answered)

        before = len(greedy)
        lookups.resolve(query_of("ok"), upstreams, False, greedy.append, ONCE, client="greedy")
        assert greedy[before].is_cached
        await until(lambda: len(greedy) == 21)
        assert {Bound.SHARE: 15} == lookups.refused
        assert (0, 0) == (lookups.waiting, lookups.forwarder.in_flight)

    run(main, server)


def test_who_waits_for_somebody_elses_look_up_has_a_share_of_those_places() -> None:
    server = Server()

    async def main(lookups: Lookups, upstreams: tuple[Upstream, ...]) -> None:
        lookups.loops.is_on = False
        lookups.forwarder.max_in_flight = 2  # so 16 may wait
        greedy: list[Outcome] = []
        modest: list[Outcome] = []
        for _ in range(20):
            lookups.resolve(query_of("slow2"), upstreams, False, greedy.append, client="greedy")
        for _ in range(3):
            lookups.resolve(query_of("slow2"), upstreams, False, modest.append, client="modest")

        assert (12, 0, 11) == (len(greedy), len(modest), lookups.waiting)
        await until(lambda: lookups.waiting == 0)
        assert {"NOERROR"} == {rcode_of(outcome) for outcome in (*modest, *greedy[12:])}

    run(main, server)
