"""A wire that takes its time: a relay for UDP on loopback, whose delay a test may change while it runs."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from tests.forwarding.background import Background
from tests.scenarios.live import At

Address = tuple[str, int]


class Relay(Background):
    """Passes each datagram on to a server after ``delay_s``, and its reply back at once."""

    def __init__(self, server: At, delay_s: float) -> None:
        super().__init__()
        self.delay_s = delay_s
        self.passed = 0
        """How many queries went through."""
        self._server = server
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind(("127.0.0.1", 0))
        self._behind: set[asyncio.DatagramTransport] = set()

    def __str__(self) -> str:
        host, port = self._sock.getsockname()
        return f"{host}:{port}"

    async def open(self) -> None:
        """Begin to listen."""
        self._front, _ = await self.loop.create_datagram_endpoint(lambda: _Front(self), sock=self._sock)

    def shut(self) -> None:
        """Close every socket."""
        for transport in (self._front, *self._behind):
            transport.close()

    async def pass_on(self, query: bytes, client: Address) -> None:
        """Both ways of one query; nobody waits for its reply for longer than a look-up lasts."""
        self.passed += 1
        await asyncio.sleep(self.delay_s)
        replied: asyncio.Future[bytes] = self.loop.create_future()
        transport, _ = await self.loop.create_datagram_endpoint(lambda: _Back(replied), remote_addr=self._server)
        self._behind.add(transport)
        try:
            transport.sendto(query)
            self._front.sendto(await asyncio.wait_for(replied, 5), client)
        finally:
            transport.close()
            self._behind.discard(transport)


class _Front(asyncio.DatagramProtocol):
    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._tasks: set[asyncio.Task[None]] = set()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        task = asyncio.get_running_loop().create_task(self._relay.pass_on(data, addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Back(asyncio.DatagramProtocol):
    def __init__(self, replied: asyncio.Future[bytes]) -> None:
        self._replied = replied

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if not self._replied.done():
            self._replied.set_result(data)
