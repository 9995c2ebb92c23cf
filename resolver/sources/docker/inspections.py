"""Asks a daemon about many things: a few at a time, each once at a time, and again when an answer is stale.

An answer that something has happened to meanwhile is thrown away and asked for anew, so that the order of events holds
however slow an answer is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

RETRY_S = 1.0
MAX_RETRY_S = 30.0

Ask = Callable[[str], Awaitable[Any]]
"""Asks about a thing; raises DaemonError."""
Take = Callable[[str, Any], None]
"""Takes an answer over."""
Fail = Callable[[str, Exception], bool]
"""Told why there is no answer; says whether to try again."""


async def ended(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks and wait for their ends; what became of them does not matter any more.

    To await a cancelled task itself would not tell its end from a cancel that is meant for the one that waits.
    """
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()


class Inspections:
    """The things of one kind that are asked about."""

    def __init__(self, ask: Ask, take: Take, fail: Fail, limit: asyncio.Semaphore) -> None:
        self._ask = ask
        self._take = take
        self._fail = fail
        self._limit = limit
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stale: set[str] = set()
        self._retries: dict[str, asyncio.TimerHandle] = {}
        self._delays: dict[str, float] = {}

    def __contains__(self, thing: str) -> bool:
        return thing in self._tasks

    def want(self, thing: str) -> None:
        """Ask about it; what is under way is asked for anew."""
        if (retry := self._retries.pop(thing, None)) is not None:
            retry.cancel()
        if thing in self._tasks:
            self._stale.add(thing)
            return
        self._tasks[thing] = task = asyncio.get_running_loop().create_task(self._run(thing))
        task.add_done_callback(lambda done: self._ended(thing, done))

    def forget(self, thing: str) -> None:
        """It is gone: an answer about it means nothing."""
        self._stale.discard(thing)
        self._delays.pop(thing, None)
        if (retry := self._retries.pop(thing, None)) is not None:
            retry.cancel()
        if (task := self._tasks.pop(thing, None)) is not None:
            task.cancel()

    async def settle(self, within_s: float | None = None) -> bool:
        """Wait for what is under way now; False when it does not end in time.

        Of a thing whose answer is stale by then, one more answer is waited for: where things change faster than they
        can be asked about, nothing would ever be settled.
        """
        loop = asyncio.get_running_loop()
        deadline = None if within_s is None else loop.time() + within_s
        things = tuple(self._tasks)
        for _ in range(2):
            left = None if deadline is None else max(deadline - loop.time(), 0)
            tasks = [self._tasks[thing] for thing in things if thing in self._tasks]
            if tasks and (await asyncio.wait(tasks, timeout=left))[1]:
                return False
        return True

    async def close(self) -> None:
        """Ask no more."""
        tasks = tuple(self._tasks.values())
        for thing in (*self._tasks, *self._retries):
            self.forget(thing)
        await ended(*tasks)

    async def _run(self, thing: str) -> None:
        async with self._limit:
            self._stale.discard(thing)
            try:
                answer = await self._ask(thing)
            except Exception as error:
                if thing not in self._stale:
                    if self._fail(thing, error):
                        self._retry(thing)
                    return
        if thing in self._stale:
            del self._tasks[thing]
            self.want(thing)
            return
        self._delays.pop(thing, None)
        self._take(thing, answer)

    def _retry(self, thing: str) -> None:
        delay = self._delays.get(thing, RETRY_S)
        self._delays[thing] = min(2 * delay, MAX_RETRY_S)
        self._retries[thing] = asyncio.get_running_loop().call_later(delay, self.want, thing)

    def _ended(self, thing: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(thing) is task:
            del self._tasks[thing]
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error  # shown by the loop's handler: an error of our own
