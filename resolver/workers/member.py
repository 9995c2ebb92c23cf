"""One worker, as its feeder sees it: born, kept up to date, asked, and waited for at its end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from resolver.content import Content
from resolver.errors import PydnsError
from resolver.server.listeners import Address
from resolver.workers.channel import Channel, Gone, Handler
from resolver.workers.inputs import Inputs, News
from resolver.workers.process import fork
from resolver.workers.sockets import Pair, send_pair
from resolver.workers.worker import Birth, live

log = logging.getLogger(__name__)


class Source(Protocol):
    """Whom members get from what they need."""

    def inputs(self) -> Inputs:
        """Everything as it is now; the same object while nothing changes."""

    def news(self, before: Inputs, after: Inputs) -> News | None:
        """What differs."""

    def pairs_of(self, place: int) -> Mapping[Address, Pair]:
        """The sockets of a worker, by its place from 0."""


class Member:
    """One worker process."""

    def __init__(
        self, number: int, source: Source, handlers: Mapping[str, Handler], ended: Callable[[Member, int], None]
    ) -> None:
        """``ended`` is called once, on the loop, with what waitpid(2) says."""
        self.number = number
        self.pid = 0
        self.born_at = 0.0
        self.is_ready = False
        self.has_ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._source = source
        self._handlers = {**handlers, "ready": self._ready}
        self._ended = ended
        self._readiness: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None
        self._is_behind = False
        self._descriptor = -1
        self._channel: Channel
        self._handing: socket.socket
        self._inputs: Inputs
        self._pairs: dict[Address, Pair]

    def begin(self, content: Content, mark: bytes) -> None:
        """Have the process born; raises OSError or NotNow. Nothing of the content may be half done now."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        self._handing, handed = socket.socketpair(type=socket.SOCK_SEQPACKET)
        for end in (ours, self._handing, handed):
            end.setblocking(False)
        self._inputs = self._source.inputs()
        self._pairs = dict(self._source.pairs_of(self.number - 1))
        birth = Birth(self.number, self._inputs, self._pairs, theirs, handed, mark)
        keeps = [sock.fileno() for sock in (theirs, handed, *(sock for pair in self._pairs.values() for sock in pair))]
        try:
            self.pid = fork(partial(live, birth, content), keeps)
        except (OSError, PydnsError):
            ours.close()
            self._handing.close()
            raise
        finally:
            theirs.close()
            handed.close()
        self.born_at = loop.time()
        try:
            self._descriptor = os.pidfd_open(self.pid)
        except OSError:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            raise
        loop.add_reader(self._descriptor, self._reap)
        self._channel = Channel(ours, self._handlers, lambda: None)

    async def listen(self) -> None:
        """Hear what it says, from now on."""
        await self._channel.open()

    async def wait_ready(self) -> None:
        """Until it answers, or has ended."""
        await asyncio.wait((self._readiness, self.has_ended), return_when=asyncio.FIRST_COMPLETED)

    async def ask(self, what: str, *arguments: object) -> Any:
        """What it says. Raises Gone or Refused."""
        return await self._channel.call(what, *arguments)

    def tell(self, what: str, *arguments: object) -> None:
        """Tell it something that may as well get lost."""
        self._channel.tell(what, *arguments)

    def catch_up(self) -> None:
        """There may be news: have them taken over, all of them at once when the last ones have been."""
        if not self.is_ready:
            return
        self._is_behind = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._follow())

    async def caught_up(self, within_s: float) -> None:
        """Wait until it has taken over what there was, for so long at most."""
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=within_s)

    def kill(self) -> None:
        """End it at once."""
        if self._descriptor >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

    async def _ready(self) -> None:
        self.is_ready = True
        if not self._readiness.done():
            self._readiness.set_result(None)
        self.catch_up()

    async def _follow(self) -> None:
        try:
            while self._is_behind:
                self._is_behind = False
                await self._follow_sockets()
                now = self._source.inputs()
                news = None if now is self._inputs else self._source.news(self._inputs, now)
                if news is not None:
                    await self._channel.call("inputs", news)
                self._inputs = now
        except Gone:
            log.debug("worker %s has ended", self.number)
        except (PydnsError, OSError) as error:
            if not self.has_ended.done():
                log.error("worker %s cannot be told what is new, and is started again: %s", self.number, error)
                self.kill()

    async def _follow_sockets(self) -> None:
        pairs = dict(self._source.pairs_of(self.number - 1))
        if pairs == self._pairs:
            return
        fresh = tuple(address for address, pair in pairs.items() if self._pairs.get(address) != pair)
        for address in fresh:
            send_pair(self._handing, pairs[address])
        self._pairs = pairs
        await self._channel.call("listen", tuple(pairs), fresh)

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1
        _, status = os.waitpid(self.pid, 0)
        self.is_ready = False
        self._channel.close()
        self._handing.close()
        self.has_ended.set_result(status)
        self._ended(self, status)
