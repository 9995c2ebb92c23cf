"""Asking about many things: a few at a time, again when it failed, and anew when an answer is stale."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from resolver.sources.docker import inspections as module
from resolver.sources.docker.inspections import Inspections


class Asked:
    """What was asked and what became of it; answers wait until `gate` is set."""

    def __init__(self, limit: int = 4) -> None:
        self.questions: list[str] = []
        self.taken: list[tuple[str, int]] = []
        self.failed: list[str] = []
        self.failing: set[str] = set()
        self.under_way = 0
        self.most = 0
        self.gate = asyncio.Event()
        self.inspections = Inspections(
            self.ask, lambda *what: self.taken.append(what), self.fail, asyncio.Semaphore(limit)
        )

    async def ask(self, thing: str) -> int:
        self.questions.append(thing)
        number = len(self.questions)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.gate.wait()
        finally:
            self.under_way -= 1
        if thing in self.failing:
            raise OSError(thing)
        return number

    def take(self, thing: str, answer: int) -> None:
        self.taken.append((thing, answer))

    def fail(self, thing: str, error: Exception) -> bool:
        self.failed.append(str(error))
        return True


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


async def until(what: Callable[[], object]) -> None:
    for _ in range(1000):
        if what():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("not in time")


async def a_moment() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_few_at_a_time_and_each_once() -> None:
    async def test() -> None:
        asked = Asked(limit=3)
        for number in range(10):
            asked.inspections.want(f"thing{number}")
        await a_moment()
        asked.gate.set()
        assert await asked.inspections.settle()
        assert (len(asked.taken), asked.most) == (10, 3)

    run(test)


def test_an_answer_that_is_stale_is_thrown_away() -> None:
    async def test() -> None:
        asked = Asked()
        asked.inspections.want("one")
        await a_moment()
        asked.inspections.want("one")
        asked.inspections.want("one")
        asked.gate.set()
        await asked.inspections.settle()
        assert asked.questions == ["one", "one"]
        assert asked.taken == [("one", 2)]

    run(test)


def test_what_waits_for_its_turn_is_asked_once_however_often_it_is_wanted() -> None:
    async def test() -> None:
        asked = Asked(limit=1)
        asked.inspections.want("first")
        await a_moment()
        for _ in range(5):
            asked.inspections.want("second")
        asked.gate.set()
        await asked.inspections.settle()
        assert asked.questions == ["first", "second"]

    run(test)


def test_what_is_forgotten_is_not_taken_over() -> None:
    async def test() -> None:
        asked = Asked()
        asked.inspections.want("one")
        await a_moment()
        assert "one" in asked.inspections
        asked.inspections.forget("one")
        asked.inspections.forget("one")
        asked.gate.set()
        await asked.inspections.settle()
        assert asked.taken == []
        asked.inspections.want("one")
        await asked.inspections.settle()
        assert asked.taken == [("one", 2)]

    run(test)


def test_a_failure_is_tried_again_later_and_ever_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    monkeypatch.setattr(module, "MAX_RETRY_S", 0.02)

    async def test() -> None:
        asked = Asked()
        asked.gate.set()
        asked.failing = {"one", "two"}
        asked.inspections.want("one")
        asked.inspections.want("two")
        await until(lambda: asked.failed.count("one") >= 3)
        asked.inspections.forget("two")
        tried = asked.questions.count("two")
        asked.failing.clear()
        await until(lambda: asked.taken)
        assert [thing for thing, _ in asked.taken] == ["one"]
        assert asked.questions.count("two") == tried
        await asked.inspections.close()

    run(test)


def test_to_settle_within_a_time_says_whether_it_did() -> None:
    async def test() -> None:
        asked = Asked()
        assert await asked.inspections.settle(0.01)
        asked.inspections.want("one")
        assert not await asked.inspections.settle(0.01)
        asked.gate.set()
        assert await asked.inspections.settle(5)

    run(test)


def test_closing_ends_what_is_under_way_and_what_would_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.01)

    async def test() -> None:
        asked = Asked()
        asked.gate.set()
        asked.failing = {"bad"}
        asked.inspections.want("bad")
        await asked.inspections.settle()
        asked.gate.clear()
        asked.inspections.want("slow")
        await a_moment()
        await asked.inspections.close()
        await asyncio.sleep(0.05)
        assert asked.questions == ["bad", "slow"]
        assert (asked.under_way, asked.taken) == (0, [])

    run(test)


def test_to_settle_ends_although_every_answer_is_stale() -> None:
    async def test() -> None:
        asked = Asked()
        ask = asked.ask

        async def overtaken(thing: str) -> int:
            answer = await ask(thing)
            asked.inspections.want(thing)
            asked.inspections.want("another")
            return answer

        asked.inspections = Inspections(overtaken, asked.take, asked.fail, asyncio.Semaphore(4))
        asked.gate.set()
        asked.inspections.want("one")
        assert await asyncio.wait_for(asked.inspections.settle(), 5)
        assert asked.questions.count("one") >= 2
        assert asked.taken == []
        await asked.inspections.close()

    run(test)


def test_a_cancel_while_it_closes_is_not_swallowed() -> None:
    async def test() -> None:
        asked = Asked()
        for number in range(8):
            asked.inspections.want(f"thing{number}")
        await a_moment()
        closing = asyncio.ensure_future(asked.inspections.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        await a_moment()
        assert asked.under_way == 0

    run(test)
