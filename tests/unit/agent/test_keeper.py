"""What is attached follows what is wanted, through failures, changes of mind and ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from resolver.agent import keeper as module
from resolver.agent.keeper import Keeper
from resolver.agent.targets import Identity, Wanted
from resolver.attach.attachment import ServedAlready
from resolver.errors import AttachError
from resolver.server.state import Pin

A = Wanted(("a",), "a", "namespace a", Pin(("n",), "a"))
B = Wanted(("b",), "b", "namespace b", Pin(("n",), "b"))


@dataclass
class Namespace:
    """A namespace that is only remembered: what was done with it, in order."""

    wanted: Wanted
    events: list[str]
    ended: Callable[[], None]
    hangs: set[str]

    def restate(self, wanted: Wanted) -> None:
        self.events.append(f"restate {wanted.spec} {','.join(wanted.pin.networks)}")

    async def close(self, *, drain: bool = True) -> None:
        await asyncio.sleep(0)
        while self.wanted.spec in self.hangs:  # noqa: ASYNC110 (what hangs tells nobody)
            await asyncio.sleep(0.001)
        self.events.append(f"close {self.wanted.spec}" + ("" if drain else " at once"))


@dataclass
class Host:
    """Attaches to such namespaces; fails as often as it is told."""

    events: list[str] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    made: list[Namespace] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    identities: dict[str, Identity] = field(default_factory=dict)
    claimed: list[Identity | None] = field(default_factory=list)
    hangs: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.gate.set()

    async def attach(self, wanted: Wanted, claimed: Identity | None, ended: Callable[[], None]) -> Namespace:
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.claimed.append(claimed)
        self.events.append(f"attach {wanted.spec}")
        self.made.append(Namespace(wanted, self.events, ended, self.hangs))
        return self.made[-1]

    def keeper(self, never: Identity | None = None) -> Keeper:
        return Keeper(self.attach, lambda wanted: self.identities.get(wanted.spec), never)


def targets(*wanted: Wanted) -> dict[tuple[str | int, ...], Wanted]:
    return {each.key: each for each in wanted}


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 (what it waits for is what the keeper tells)
            await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_RETRY_S", 0.001)
    monkeypatch.setattr(module, "LONGEST_RETRY_S", 0.01)


def test_what_is_wanted_is_attached_and_what_is_not_is_let_go() -> None:
    async def run() -> None:
        host = Host()
        keeper = host.keeper()
        keeper.want(targets(A, B))
        await keeper.settled(5)
        assert keeper.counts.attached == 2
        assert keeper.held == {A.key, B.key}
        keeper.want(targets(B))
        await until(lambda: keeper.held == {B.key})
        await keeper.close()
        assert host.events == ["attach a", "attach b", "close a", "close b"]
        assert list(keeper.report()) == []

    asyncio.run(run())


def test_another_view_is_restated_and_nothing_else() -> None:
    async def run() -> None:
        host = Host()
        keeper = host.keeper()
        keeper.want(targets(A))
        await keeper.settled(5)
        keeper.want(targets(A))
        keeper.want(targets(replace(A, pin=Pin(("m", "n"), "a"))))
        assert host.events == ["attach a", "restate a m,n"]

    asyncio.run(run())


def test_a_view_that_changes_while_attaching_is_the_new_one_in_the_end() -> None:
    async def run() -> None:
        host = Host()
        host.gate.clear()
        keeper = host.keeper()
        keeper.want(targets(A))
        await asyncio.sleep(0)
        keeper.want(targets(replace(A, pin=Pin(("m",), "a"))))
        host.gate.set()
        await keeper.settled(5)
        assert host.events == ["attach a", "restate a m"]

    asyncio.run(run())


def test_a_failure_is_said_once_and_tried_again_beside_the_others(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        host = Host(failures=[AttachError("no firewall"), AttachError("no firewall")])
        keeper = host.keeper()
        keeper.want(targets(A, B))
        await until(lambda: keeper.counts.attached == 2)
        assert (keeper.counts.failures, keeper.counts.failing) == (2, 0)

    asyncio.run(run())
    said = [record.getMessage() for record in caplog.records if "no firewall" in record.getMessage()]
    assert said == [f"namespace {name} is not served, which is tried again: no firewall" for name in "ab"]


def test_an_error_of_our_own_does_not_end_the_trying(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        keeper = Host(failures=[RuntimeError("a bug")]).keeper()
        keeper.want(targets(A))
        await until(lambda: keeper.counts.attached == 1)

    asyncio.run(run())
    assert "pydns failed by itself" in caplog.text


def test_what_is_no_longer_wanted_while_it_is_attached_is_let_go_at_once() -> None:
    async def run() -> None:
        host = Host()
        host.gate.clear()
        keeper = host.keeper()
        keeper.want(targets(A))
        await asyncio.sleep(0)
        keeper.want({})
        host.gate.set()
        await until(lambda: not list(keeper.report()))
        assert host.events == ["attach a", "close a"]

    asyncio.run(run())


def test_who_comes_back_while_it_is_let_go_is_attached_again() -> None:
    async def run() -> None:
        host = Host()
        keeper = host.keeper()
        keeper.want(targets(A))
        await keeper.settled(5)
        keeper.want({})
        keeper.want(targets(A))
        await until(lambda: host.events == ["attach a", "close a", "attach a"])

    asyncio.run(run())


def test_the_end_of_a_process_lets_go_without_waiting_for_queries() -> None:
    async def run() -> None:
        host = Host()
        keeper = host.keeper()
        keeper.want(targets(A))
        await keeper.settled(5)
        host.made[0].ended()
        await until(lambda: not keeper.held)
        keeper.want(targets(A))  # a daemon that has not told of the end yet
        await asyncio.sleep(0.02)
        assert host.events == ["attach a", "close a at once"]
        keeper.want({})
        assert list(keeper.report()) == []

    asyncio.run(run())


def test_one_namespace_is_attached_for_one_target_and_then_for_the_other() -> None:
    async def run() -> None:
        host = Host(identities={"a": (1, 7), "b": (1, 7)})
        keeper = host.keeper()
        keeper.want(targets(A, B))
        await keeper.settled(5)
        assert [reason for _, _, reason in keeper.report()] == ["", "its namespace is that of namespace a"]
        keeper.want(targets(B))
        await until(lambda: keeper.held == {B.key})
        assert host.events == ["attach a", "close a", "attach b"]

    asyncio.run(run())


def test_the_hosts_own_namespace_is_never_attached() -> None:
    async def run() -> None:
        host = Host(identities={"a": (1, 1)})
        keeper = host.keeper(never=(1, 1))
        keeper.want(targets(A))
        await keeper.settled(5)
        await asyncio.sleep(0.03)
        assert host.events == []
        assert [(phase, reason) for _, phase, reason in keeper.report()] == [
            ("left alone", "it is the namespace that pydns itself runs in")
        ]

    asyncio.run(run())


def test_a_namespace_with_a_resolver_of_its_own_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        keeper = Host(failures=[ServedAlready("it has one"), ServedAlready("it has one")]).keeper()
        keeper.want(targets(A))
        await until(lambda: keeper.counts.attached == 1)
        assert keeper.counts.failures == 0

    caplog.set_level("INFO")
    asyncio.run(run())
    assert caplog.text.count("it has one") == 1


def test_the_first_round_does_not_wait_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        host = Host()
        host.gate.clear()
        keeper = host.keeper()
        keeper.want(targets(A))
        await keeper.settled(0.01)
        assert keeper.counts.attached == 0
        host.gate.set()
        await keeper.settled(5)
        assert keeper.counts.attached == 1

    asyncio.run(run())
    assert "going on without waiting for 1 namespaces" in caplog.text


def test_letting_go_that_fails_is_not_tried_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        host = Host()
        keeper = host.keeper()
        keeper.want(targets(A))
        await keeper.settled(5)

        async def fail(*, drain: bool = True) -> None:
            raise OSError(f"drain is {drain}")

        host.made[0].close = fail  # type: ignore[method-assign]
        await keeper.close()
        assert list(keeper.report()) == []

    asyncio.run(run())
    assert "pydns failed by itself while it let go" in caplog.text


def test_closing_gives_up_on_what_hangs() -> None:
    async def run() -> None:
        host = Host()
        keeper = host.keeper()
        keeper.want(targets(A, B))
        await keeper.settled(5)
        host.hangs.add("b")
        assert await keeper.close(0.05) == ["namespace b"]
        assert host.events[-1] == "close a"
        host.hangs.clear()
        assert await keeper.close() == []

    asyncio.run(run())


def test_no_retry_is_later_than_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda _low, high: high)
    monkeypatch.setattr(module, "LONGEST_RETRY_S", 60.0)
    monkeypatch.setattr(module, "FIRST_RETRY_S", 100.0)

    async def run() -> None:
        keeper = Host(failures=[AttachError("no firewall")]).keeper()
        loop = asyncio.get_running_loop()
        delays: list[float] = []
        later = loop.call_later

        def call_later(delay: float, callback: Callable[..., None], *rest: object) -> asyncio.TimerHandle:
            delays.append(delay)
            return later(delay, callback, *rest)

        monkeypatch.setattr(loop, "call_later", call_later)
        keeper.want(targets(A))
        await keeper.settled(5)
        assert max(delays) == 60.0
        await keeper.close()

    asyncio.run(run())


def test_the_namespace_that_was_claimed_is_the_one_to_attach_to() -> None:
    async def run() -> None:
        host = Host(identities={"a": (4, 1)})
        keeper = host.keeper()
        keeper.want(targets(A, B))
        await keeper.settled(5)
        assert host.claimed == [(4, 1), None]
        await keeper.close()

    asyncio.run(run())
