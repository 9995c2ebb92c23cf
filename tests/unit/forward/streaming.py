"""A server on a stream, with or without TLS, that does on each connection what a test tells it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import dns.message
import dns.rrset

from resolver.forward.upstreams import Transport, Upstream


class Peer:
    """One connection, from the server's side."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.asked: list[bytes] = []
        self._reader = reader
        self._writer = writer

    @property
    def tls(self) -> ssl.SSLObject:
        """The connection's TLS."""
        found = self._writer.get_extra_info("ssl_object")
        assert isinstance(found, ssl.SSLObject)
        return found

    @property
    def port(self) -> int:
        """The client's."""
        port: int = self._writer.get_extra_info("peername")[1]
        return port

    async def query(self) -> bytes:
        """The next query; raises IncompleteReadError at the end."""
        size = int.from_bytes(await self._reader.readexactly(2), "big")
        query = await self._reader.readexactly(size)
        self.asked.append(query)
        return query

    async def send(self, octets: bytes) -> None:
        self._writer.write(octets)
        await self._writer.drain()

    async def answer(self, query: bytes) -> None:
        await self.send(framed(reply_to(query)))

    async def until_gone(self) -> None:
        """Wait until the client closes."""
        while await self._reader.read(4096):
            pass

    def close(self) -> None:
        self._writer.close()


Script = Callable[[Peer], Awaitable[None]]


@dataclass
class StreamServer:
    """Where it is, and who has come."""

    upstream: Upstream
    peers: list[Peer] = field(default_factory=list)

    @property
    def connections(self) -> int:
        return len(self.peers)

    @property
    def names(self) -> list[str]:
        """What was asked, connection by connection."""
        return [name_of(query) for peer in self.peers for query in peer.asked]


async def answer_all(peer: Peer) -> None:
    """What a good server does."""
    while True:
        await peer.answer(await peer.query())


def name_of(query: bytes) -> str:
    return dns.message.from_wire(query).question[0].name.to_text(omit_final_dot=True)


def query_for(name: str, query_id: int = 0xBEEF) -> bytes:
    return dns.message.make_query(name, "A", id=query_id, use_edns=None).to_wire()


def reply_to(query: bytes, *, flags: int = 0) -> bytes:
    reply = dns.message.make_response(dns.message.from_wire(query), recursion_available=True)
    reply.flags |= flags
    reply.answer.append(dns.rrset.from_text(reply.question[0].name, 60, "IN", "A", "192.0.2.1"))
    return reply.to_wire()


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


@asynccontextmanager
async def serving(
    script: Script = answer_all,
    tls: ssl.SSLContext | None = None,
    *,
    transport: Transport | None = None,
    address: str = "127.0.0.1",
    name: str = "",
) -> AsyncIterator[StreamServer]:
    """A server at a port that the kernel chooses; ``script`` has its way with each connection, then it is closed."""
    server = StreamServer(Upstream(address, transport=transport or (Transport.TCP if tls is None else Transport.TLS)))
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        peer = Peer(len(server.peers), reader, writer)
        server.peers.append(peer)
        with contextlib.suppress(asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            await script(peer)
        with contextlib.suppress(OSError, RuntimeError):
            peer.close()

    listener = await asyncio.start_server(handle, address, 0, ssl=tls)
    port = listener.sockets[0].getsockname()[1]
    server.upstream = Upstream(address, port, transport=server.upstream.transport, name=name)
    try:
        yield server
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listener.wait_closed()
        await asyncio.sleep(0.01)
