"""Look-ups that begin in their usual course, and what takes over when something else happens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import dns.message
import dns.rcode
import pytest

from resolver.forward import usual as module
from resolver.forward.datagrams import PlainDatagrams
from resolver.forward.failures import Failure
from resolver.forward.forwarder import Forwarder
from resolver.forward.outcomes import STOPPING, Outcome
from resolver.forward.policy import DEFAULT_OPTIONS, ForwardOptions
from resolver.forward.upstreams import Upstream
from resolver.wire.query import Query, scan
from tests.unit.forward.scripted import ScriptedServer, closed_port, scripted

WITHIN_S = 10
Main = Callable[["Asker", tuple[ScriptedServer, ...], tuple[Upstream, ...]], Coroutine[Any, Any, None]]


def query_of(name: str) -> Query:
    query = scan(dns.message.make_query(f"{name}.example.org.", "A", use_edns=None).to_wire())
    assert isinstance(query, Query)
    return query


class Asker:
    """A forwarder, and how its look-ups began."""

    def __init__(self) -> None:
        self.forwarder = Forwarder()

    def begin(
        self,
        name: str,
        upstreams: tuple[Upstream, ...],
        *,
        over_tcp: bool = False,
        options: ForwardOptions = DEFAULT_OPTIONS,
    ) -> asyncio.Future[Outcome]:
        answered: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.forwarder.resolve(query_of(name), upstreams, over_tcp, answered.set_result, options)
        return answered

    @property
    def usual(self) -> int:
        """How many are in their usual course."""
        return len(self.forwarder._usual)

    async def ask(self, name: str, upstreams: tuple[Upstream, ...], *, is_usual: bool = True, **how: Any) -> Outcome:
        answered = self.begin(name, upstreams, **how)
        assert is_usual == (self.usual == 1)
        assert 1 == self.forwarder.in_flight
        outcome = await asyncio.wait_for(answered, WITHIN_S)
        assert 0 == self.usual == self.forwarder.in_flight
        return outcome

    def failures(self, upstream: Upstream) -> dict[Failure, int]:
        return dict(self.forwarder.stats[upstream].failures)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def rcode_of(outcome: Outcome) -> str | None:
    return None if outcome.reply is None else dns.rcode.to_text(dns.message.from_wire(outcome.reply).rcode())


@pytest.fixture(params=["compiled", "python"], autouse=True)
def _both_kinds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "python":
        monkeypatch.setattr(module, "new_datagrams", PlainDatagrams)


def run(main: Main) -> None:
    """With two servers, of which the second has the second part of each name's script."""

    async def inside() -> None:
        servers = ScriptedServer(1), ScriptedServer(2)
        async with scripted(*servers) as upstreams:
            asker = Asker()
            try:
                await main(asker, servers, upstreams)
            finally:
                asker.forwarder.close()

    asyncio.run(inside())


@pytest.mark.parametrize(("name", "rcode"), [("ok", "NOERROR"), ("nosuch", "NXDOMAIN"), ("forceopt", "NOERROR")])
def test_a_good_reply_ends_it(name: str, rcode: str) -> None:
    async def main(asker: Asker, servers: tuple[ScriptedServer, ...], upstreams: tuple[Upstream, ...]) -> None:
        outcome = await asker.ask(name, upstreams)

        stats = asker.forwarder.stats[upstreams[0]]
        assert (rcode, upstreams[0], None, False) == (rcode_of(outcome), *outcome[1:4])
        assert (1, 1, 0) == (stats.requests, sum(stats.latency.counts), stats.ignored)
        assert {} == asker.failures(upstreams[0])
        assert [] == servers[1].asked
        assert 0 < (asker.forwarder.memory.of(upstreams[0]).rtt_s or 0) < WITHIN_S
        assert upstreams[1] not in asker.forwarder.memory.health

    run(main)


TROUBLES = [
    ("servfail", {Failure.SERVFAIL: 1}),
    ("refused", {Failure.REFUSED: 1}),
    ("referral", {Failure.LAME: 1}),
    ("garbageid", {Failure.MALFORMED: 1}),
    ("short", {Failure.MALFORMED: 1}),
    ("cutrr", {Failure.MALFORMED: 1}),
]


@pytest.mark.parametrize(("trouble", "counted"), TROUBLES)
def test_what_is_of_no_use_has_the_next_one_asked_at_once(trouble: str, counted: dict[Failure, int]) -> None:
    async def main(asker: Asker, servers: tuple[ScriptedServer, ...], upstreams: tuple[Upstream, ...]) -> None:
        outcome = await asker.ask(f"{trouble}-ok", upstreams)

        assert ("NOERROR", upstreams[1]) == (rcode_of(outcome), outcome.upstream)
        assert counted == asker.failures(upstreams[0])
        assert [1, 1] == [len(server.asked) for server in servers]
        assert 0 == asker.forwarder.memory.hedged

    run(main)


def test_an_icmp_error_does_so_too_and_puts_it_down() -> None:
    async def main(asker: Asker, servers: tuple[ScriptedServer, ...], upstreams: tuple[Upstream, ...]) -> None:
        closed = closed_port()

        outcome = await asker.ask("ok-ok", (closed, upstreams[1]))

        assert upstreams[1] == outcome.upstream
        assert {Failure.CONNECTION_REFUSED: 1} == asker.failures(closed)
        assert asker.forwarder.memory.is_down(closed)
        assert 1 == asker.forwarder.stats[closed].requests
        # Who has one that is down is served in full; who has not, as ever.
        assert upstreams[1] == (await asker.ask("ok-ok", (closed, upstreams[1]), is_usual=False)).upstream
        assert upstreams[0] == (await asker.ask("ok-ok", upstreams)).upstream

    run(main)


def test_a_truncated_reply_is_fetched_over_tcp() -> None:
    async def main(asker: Asker, servers: tuple[ScriptedServer, ...], upstreams: tuple[Upstream, ...]) -> None:
        outcome = await asker.ask("tc", upstreams)

        assert ("NOERROR", upstreams[0], ["udp", "tcp"]) == (rcode_of(outcome), outcome.upstream, servers[0].protocols)
        assert 2 == asker.forwarder.stats[upstreams[0]].requests

    run(main)


def test_our_own_opt_is_taken_back_where_it_is_not_liked() -> None:
    async def main(asker: Asker, servers: tuple[ScriptedServer, ...], upstreams: tuple[Upstream, ...]) -> None:
        outcome = await asker.ask("noedns", upstreams, options=ForwardOptions(edns0=True))

        assert "NOERROR" == rcode_of(outcome)
        assert [0, -1] == [dns.message.from_wire(wire).edns for _, _, wire in servers[0].asked]

    run(main)


@pytest.mark.parametrize("name", ["wrongidok", "wrongqok"])
def test_what_is_no_reply_to_it_is_counted_and_listened_on(name: str) -> None:
    async def main(asker: Asker, servers: tuple[ScriptedServer, ...], upstreams: tuple[Upstream, ...]) -> None:
        outcome = await asker.ask(name, upstreams[:1])

        assert "NOERROR" == rcode_of(outcome)
        assert 1 == asker.forwarder.stats[upstreams[0]].ignored
        assert {} == asker.failures(upstreams[0])
        assert ["udp"] == servers[0].protocols

    run(main)


def test_who_is_late_is_hedged_and_may_still_win() -> None:
    async def main(asker: Asker, servers: tuple[ScriptedServer, ...], upstreams: tuple[Upstream, ...]) -> None:
        await asker.ask("ok", upstreams)  # how long it takes is known now

        started = time.monotonic()
        outcome = await asker.ask("silent-ok", upstreams)
        assert (upstreams[1], 1) == (outcome.upstream, asker.forwarder.memory.hedged)
        assert time.monotonic() - started < 0.4, "it is asked before a time that is good for everybody"

        outcome = await asker.ask("slow2-silent", upstreams)
        assert upstreams[0] == outcome.upstream, "the first query is not forgotten with the second"
        assert all(server.asked[-1][2].count(b"slow2") for server in servers), "the second one was asked, too"

    run(main)


def test_a_single_upstream_that_lost_the_query_is_asked_again() -> None:
    async def main(asker: Asker, servers: tuple[ScriptedServer, ...], upstreams: tuple[Upstream, ...]) -> None:
        answered = asker.begin("silent", upstreams[:1], options=ForwardOptions(attempts=2))
        assert 1 == asker.usual
        await until(lambda: len(servers[0].asked) == 2)
        assert (0, 1) == (asker.usual, asker.forwarder.in_flight)
        ids = [wire[:2] for _, _, wire in servers[0].asked]
        assert ids[0] != ids[1] or servers[0].asked[0][1] != servers[0].asked[1][1]
        asker.forwarder.close()
        assert STOPPING == await asyncio.wait_for(answered, WITHIN_S)

    run(main)


def test_many_wait_by_one_timer_and_each_for_its_own_time() -> None:
    async def main(asker: Asker, servers: tuple[ScriptedServer, ...], upstreams: tuple[Upstream, ...]) -> None:
        first = [asker.begin(f"silent-ok{number}", upstreams) for number in range(20)]  # 0.4 s: nothing is known of it
        assert 20 == asker.usual
        await asyncio.wait_for(asker.begin("ok", upstreams), WITHIN_S)
        second = [asker.begin(f"silent-ok{number}", upstreams) for number in range(20, 40)]

        done, _ = await asyncio.wait(second, timeout=0.3, return_when=asyncio.FIRST_COMPLETED)

        assert done, "who began later has not as long to wait"
        outcomes = await asyncio.gather(*first, *second)
        assert {upstreams[1]} == {outcome.upstream for outcome in outcomes}
        assert 0 == asker.usual == asker.forwarder.in_flight

    run(main)


def test_the_end_of_the_forwarder_is_theirs() -> None:
    async def main(asker: Asker, servers: tuple[ScriptedServer, ...], upstreams: tuple[Upstream, ...]) -> None:
        waiting = [asker.begin(f"silent{number}", upstreams) for number in range(5)]
        assert (5, 5) == (asker.usual, asker.forwarder.in_flight)

        asker.forwarder.close()

        assert [STOPPING] * 5 == [future.result() for future in waiting]
        assert 0 == asker.forwarder.in_flight
        assert STOPPING == asker.begin("ok", upstreams).result()

    run(main)


def test_one_that_ends_the_forwarder_from_within_ends_those_whose_replies_were_read_with_it() -> None:
    async def main(asker: Asker, servers: tuple[ScriptedServer, ...], upstreams: tuple[Upstream, ...]) -> None:
        outcomes: list[Outcome] = []

        def done(outcome: Outcome) -> None:
            outcomes.append(outcome)
            asker.forwarder.close()

        for number in range(5):
            asker.forwarder.resolve(query_of(f"ok{number}"), upstreams, False, done)
        await until(lambda: len(outcomes) == 5)

        assert 5 == len(outcomes)
        assert 4 == outcomes.count(STOPPING)

    run(main)


def test_an_error_of_one_listener_is_no_other_ones() -> None:
    async def main(asker: Asker, servers: tuple[ScriptedServer, ...], upstreams: tuple[Upstream, ...]) -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

        def raises(outcome: Outcome) -> None:
            raise ZeroDivisionError

        asker.forwarder.resolve(query_of("ok1"), upstreams, False, raises)
        outcome = await asyncio.wait_for(asker.begin("ok2", upstreams), WITHIN_S)

        assert "NOERROR" == rcode_of(outcome)
        assert [ZeroDivisionError] == [type(context["exception"]) for context in told]
        assert 0 == asker.forwarder.in_flight

    run(main)


def test_nor_does_it_keep_others_from_their_time() -> None:
    async def main(asker: Asker, servers: tuple[ScriptedServer, ...], upstreams: tuple[Upstream, ...]) -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        once = ForwardOptions(attempts=1, timeout_s=0.2)

        def raises(outcome: Outcome) -> None:
            raise ZeroDivisionError

        for _ in range(3):
            asker.forwarder.resolve(query_of("silent-servfail"), upstreams, False, raises, once)
        outcome = await asyncio.wait_for(asker.begin("silent-ok", upstreams, options=once), WITHIN_S)

        assert upstreams[1] == outcome.upstream
        await until(lambda: len(told) == 3)
        assert 0 == asker.forwarder.in_flight

    run(main)


@pytest.mark.parametrize(
    ("how", "protocol"),
    [
        ({"over_tcp": True}, "tcp"),
        ({"options": ForwardOptions(over_tcp=True)}, "tcp"),
        ({"options": ForwardOptions(order="fastest")}, "udp"),
    ],
)
def test_what_is_not_usual_is_begun_in_full(how: dict[str, Any], protocol: str) -> None:
    async def main(asker: Asker, servers: tuple[ScriptedServer, ...], upstreams: tuple[Upstream, ...]) -> None:
        outcome = await asker.ask("ok", upstreams, is_usual=False, **how)

        assert "NOERROR" == rcode_of(outcome)
        assert [protocol] == servers[0].protocols

    run(main)


def test_letter_case_is_a_matter_of_the_full_course() -> None:
    async def main(asker: Asker, servers: tuple[ScriptedServer, ...], upstreams: tuple[Upstream, ...]) -> None:
        asker.forwarder.case_randomization = True

        assert "NOERROR" == rcode_of(await asker.ask("ok", upstreams, is_usual=False))

    run(main)


def test_in_turn_means_in_turn() -> None:
    async def main(asker: Asker, servers: tuple[ScriptedServer, ...], upstreams: tuple[Upstream, ...]) -> None:
        options = ForwardOptions(order="rotate")
        answered = [(await asker.ask("ok-ok", upstreams, options=options)).upstream for _ in range(4)]

        assert answered[:2] == answered[2:]
        assert set(upstreams) == set(answered)

    run(main)
