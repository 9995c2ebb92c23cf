"""Calls between a feeder and a worker: frames of pickled values over a stream socket, answered in whatever order.

Only our own processes have its ends, so what is unpickled was pickled here.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import socket
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from resolver.errors import PydnsError
from resolver.freshness import on_thread

log = logging.getLogger(__name__)

LARGE = 1 << 16
"""Octets from which on a frame is unpickled on a thread, so that queries are answered meanwhile."""
_HEAD = 8
_LIMIT = 1 << 20

Handler = Callable[..., Awaitable[object]]


class Gone(PydnsError):
    """The other end has been closed, or its process has ended."""


class Refused(PydnsError):
    """What was asked for has failed at the other end, which has said so in its log."""


class Channel:
    """One end. Each handler is called with the arguments of a call, and what it returns is the answer."""

    def __init__(self, sock: socket.socket, handlers: Mapping[str, Handler], ended: Callable[[], None]) -> None:
        """``ended`` is called once, on the loop, when the other end is closed."""
        self._socket = sock
        self._handlers = handlers
        self._ended = ended
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._last = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        """Begin to listen to the other end, on the running loop."""
        reader, self._writer = await asyncio.open_unix_connection(sock=self._socket, limit=_LIMIT)
        self._keep(self._listen(reader))

    async def call(self, what: str, *arguments: object) -> Any:
        """What the other end's handler returns. Raises Gone or Refused."""
        self._last += 1
        number = self._last
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._send(number, what, arguments)
            return await answer
        finally:
            self._waiting.pop(number, None)

    def tell(self, what: str, *arguments: object) -> None:
        """The same without waiting, for what may as well get lost."""
        try:
            self._send(0, what, arguments)
        except Gone as error:
            log.debug("%s was not told: %s", what, error)

    def close(self) -> None:
        """Have the other end know that nothing more comes."""
        if self._writer is not None:
            self._writer.close()
        else:
            self._socket.close()

    def _send(self, number: int, what: str | None, value: object) -> None:
        if self._writer is None or self._writer.is_closing():
            raise Gone("the other process is gone")
        frame = pickle.dumps((number, what, value), pickle.HIGHEST_PROTOCOL)
        self._writer.write(len(frame).to_bytes(_HEAD, "big"))
        self._writer.write(frame)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(_HEAD), "big")
                frame = await reader.readexactly(size)
                unpickle = partial(pickle.loads, frame)
                number, what, value = unpickle() if size < LARGE else await on_thread(unpickle)
                del frame, unpickle
                if what is not None:
                    self._keep(self._handle(number, what, value))
                elif (answer := self._waiting.get(number)) is not None and not answer.done():
                    is_good, outcome = value
                    if is_good:
                        answer.set_result(outcome)
                    else:
                        answer.set_exception(Refused(outcome))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # its end is told of below
        finally:
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(Gone("the other process is gone"))
            self.close()
            self._ended()

    async def _handle(self, number: int, what: str, arguments: tuple[object, ...]) -> None:
        try:
            outcome = True, await self._handlers[what](*arguments)
        except Exception as error:
            log.exception("%s has failed", what)
            outcome = False, f"{what}: {error}"
        if number:
            try:
                self._send(number, None, outcome)
            except Gone:
                log.debug("nobody waits for the answer to %s", what)

    def _keep(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
