"""All workers of a feeder: each is started, and again when it ends; told what is new; and ended."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from resolver.content import Content
from resolver.errors import PydnsError, StartError
from resolver.forward.upstreams import Upstream
from resolver.wire.name import WireName
from resolver.workers.loops import MARK_OCTETS
from resolver.workers.member import Member, Source
from resolver.workers.process import NotNow, how_it_ended
from resolver.workers.words import Sieve

log = logging.getLogger(__name__)

PAUSE_FIRST_S, PAUSE_MOST_S = 0.1, 5.0
"""Before a worker that lived for less than `SOUND_S` is started again; doubled from one to the next."""
SOUND_S = 10.0
START_S = 60.0
"""How long a start waits for all workers: a copy of a process with a million names takes a second."""
READY_S = 15.0
"""The same for one that is started again: a copy that was made at a bad moment, of a lock that is held, is given up."""
END_S = 1.8
"""How long they have to end by themselves: theirs is a drain of 1.5 s."""
ANSWER_S = 1.5
"""How long a worker may take to answer before it counts as stuck."""
_AGAIN_S = 0.01


class Pool:
    """The workers, numbered from 1."""

    def __init__(self, count: int, source: Source, content: Content) -> None:
        self.count = count
        self.restarts = 0
        """How many had to be started again."""
        self.members: dict[int, Member] = {}
        self._source = source
        self._content = content
        self._mark = secrets.token_hex(MARK_OCTETS).encode()
        self._sieve = Sieve(lambda: asyncio.get_running_loop().time())
        self._pauses: dict[int, float] = {}
        self._is_started = False
        self._is_ending = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.lost: list[int] = []
        """Numbers of workers that have ended, for who keeps their counts; emptied by that one."""

    @property
    def are_ready(self) -> bool:
        """True while all of them answer."""
        return len(self.members) == self.count and all(member.is_ready for member in self.members.values())

    async def start(self) -> None:
        """Have all born; returns when they answer. Raises StartError when one does not come so far."""
        for number in range(1, self.count + 1):
            try:
                await self._bear(number)
            except OSError as error:
                raise StartError(f"a worker process cannot be started: {error.strerror}") from error
        members = list(self.members.values())
        try:
            async with asyncio.timeout(START_S):
                await asyncio.gather(*(member.wait_ready() for member in members))
        except TimeoutError:
            raise StartError(f"not all workers have been ready within {START_S:g} s") from None
        for member in members:
            if member.has_ended.done():
                how = how_it_ended(member.has_ended.result())
                raise StartError(f"worker {member.number} {how} before it was ready")
        self._is_started = True

    def catch_up(self) -> None:
        """There may be news for all of them."""
        for member in self.members.values():
            member.catch_up()

    async def caught_up(self) -> None:
        """Wait until all have taken over what there was; for one that is stuck as long as for an answer."""
        await asyncio.gather(*(member.caught_up(ANSWER_S) for member in self.members.values()))

    async def ask(self, what: str, *arguments: object) -> dict[int, Any]:
        """What those say that answer in time, by their numbers."""

        async def ask(member: Member) -> Any:
            async with asyncio.timeout(ANSWER_S):
                return await member.ask(what, *arguments)

        members = [member for member in self.members.values() if member.is_ready]
        answers = await asyncio.gather(*map(ask, members), return_exceptions=True)
        found = {}
        for member, answer in zip(members, answers, strict=True):
            if not isinstance(answer, BaseException):
                found[member.number] = answer
            elif not isinstance(answer, PydnsError | TimeoutError):
                raise answer
        return found

    async def end(self) -> None:
        """Have all end by themselves, and by force who does not."""
        self._is_ending = True
        for task in self._tasks:
            task.cancel()
        members = list(self.members.values())
        for member in members:
            member.tell("stop")
        await self._await_end(members, END_S)
        for member in members:
            if not member.has_ended.done():
                log.warning("worker %s does not end, and is killed", member.number)
                member.kill()
        await self._await_end(members, None)

    @staticmethod
    async def _await_end(members: Sequence[Member], within_s: float | None) -> None:
        if members:
            await asyncio.wait([member.has_ended for member in members], timeout=within_s)

    async def _bear(self, number: int) -> None:
        handlers = {"log": self._said(number), "loop": self._probe_came(number)}
        member = Member(number, self._source, handlers, self._ended)
        while True:
            with self._content.still() as is_still, suppress(NotNow):
                if is_still:
                    member.begin(self._content, self._mark)
                    break
            await asyncio.sleep(_AGAIN_S)
        self.members[number] = member
        await member.listen()

    def _ended(self, member: Member, status: int) -> None:
        if self.members.get(member.number) is member:
            del self.members[member.number]
        if self._is_ending or not self._is_started:
            return
        self.lost.append(member.number)
        lived_s = asyncio.get_running_loop().time() - member.born_at
        pause_s = PAUSE_FIRST_S if lived_s >= SOUND_S else self._pauses.get(member.number, PAUSE_FIRST_S)
        self._pauses[member.number] = min(2 * pause_s, PAUSE_MOST_S)
        task = asyncio.get_running_loop().create_task(self._bear_again(member, status, pause_s))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _bear_again(self, former: Member, status: int, pause_s: float) -> None:
        number = former.number
        await asyncio.sleep(PAUSE_FIRST_S)  # who ends them all may have ended us as well: then this comes to nothing
        how = how_it_ended(status)
        log.warning("worker %s (process %s) %s, and is started again in %g s", number, former.pid, how, pause_s)
        while True:
            await asyncio.sleep(pause_s - PAUSE_FIRST_S)
            try:
                await self._bear(number)
            except OSError as error:
                pause_s = PAUSE_MOST_S
                log.error("worker %s cannot be started, and is tried again: %s", number, error.strerror)
            else:
                self.restarts += 1
                break
        member = self.members[number]
        try:
            async with asyncio.timeout(READY_S):
                await member.wait_ready()
        except TimeoutError:
            log.error("worker %s (process %s) does not come to be ready, and is killed", number, member.pid)
            member.kill()

    def _said(self, number: int) -> Any:
        async def said(name: str, level: int, text: str) -> None:
            self._sieve.say(number, name, level, text)

        return said

    def _probe_came(self, number: int) -> Any:
        async def came(key: WireName, to: tuple[Upstream, ...]) -> None:
            for other, member in self.members.items():
                if other != number:
                    member.tell("loop", key, to)

        return came
