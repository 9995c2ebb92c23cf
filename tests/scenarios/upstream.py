"""An upstream that does what a test tells it, at a port of the kernel's choice on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


@dataclass(frozen=True, slots=True)
class Asked:
    """One query that came."""

    name: str
    rtype: str
    over_tcp: bool
    message: dns.message.Message
    source_port: int


@dataclass(frozen=True, slots=True)
class Say:
    """What is done with a query."""

    records: tuple[str, ...] = ()
    """Records of the answer section, as text; ``{name}`` is the name asked."""
    rcode: dns.rcode.Rcode = dns.rcode.NOERROR
    after_s: float = 0.0
    truncated: bool = False
    """Over UDP: TC=1 and nothing else."""
    raw: Callable[[dns.message.Message], list[bytes]] | None = None
    """The messages to send in place of an answer."""
    flags: int = 0
    """More flags."""


SILENCE = Say(raw=lambda query: [])
ADDRESS = Say(("{name} 60 IN A 192.0.2.1",))

Rule = Callable[[Asked], Say]


class Upstream:
    """A server on UDP and TCP."""

    def __init__(self, rule: Rule | Say = ADDRESS, host: str = "127.0.0.1", port: int = 0) -> None:
        self.rule: Rule = rule if not isinstance(rule, Say) else lambda asked: rule
        self.asked: list[Asked] = []
        self._host = host
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._udp, self._tcp = bound_pair(host, port)
        self.port: int = self._udp.getsockname()[1]
        self._writers: set[asyncio.StreamWriter] = set()

    def __str__(self) -> str:
        return f"{self._host}:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def names(self) -> list[str]:
        """The names asked so far."""
        return [asked.name for asked in self.asked]

    def distinct(self) -> list[str]:
        """Each name once: on a loaded machine a query is sent again before its reply has been heard."""
        return list(dict.fromkeys(self.names()))

    def times_asked(self, name: str) -> int:
        """How often a name was asked."""
        return self.names().count(name)

    def close_tcp(self) -> None:
        """Listen on UDP only."""

        async def close() -> None:
            self._server.close()

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(10)

    async def _open(self) -> None:
        self._transport, _ = await self._loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=self._udp)
        self._server = await asyncio.start_server(self._serve, sock=self._tcp, backlog=512)

    async def _close(self) -> None:
        self._transport.close()
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        tasks = asyncio.all_tasks(self._loop) - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def reply(self, wire: bytes, over_tcp: bool, source_port: int) -> tuple[float, list[bytes]]:
        """How long to wait, and what to send then."""
        query = dns.message.from_wire(wire)
        question = query.question[0]
        asked = Asked(
            question.name.to_text(omit_final_dot=True).lower(),
            dns.rdatatype.to_text(question.rdtype),
            over_tcp,
            query,
            source_port,
        )
        self.asked.append(asked)
        say = self.rule(asked)
        if say.raw is not None:
            return say.after_s, say.raw(query)
        reply = dns.message.make_response(query, recursion_available=True)
        reply.set_rcode(say.rcode)
        reply.flags |= say.flags
        if say.truncated and not over_tcp:
            reply.flags |= dns.flags.TC
        else:
            for record in say.records:
                name, ttl, _, rtype, rdata = record.format(name=question.name.to_text()).split(None, 4)
                reply.answer.append(dns.rrset.from_text(name, int(ttl), "IN", rtype, rdata))
        return say.after_s, [reply.to_wire(max_size=65535)]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                size = int.from_bytes(await reader.readexactly(2), "big")
                wire = await reader.readexactly(size)
                after_s, messages = self.reply(wire, True, writer.get_extra_info("peername")[1])
                await asyncio.sleep(after_s)
                for message in messages:
                    writer.write(len(message).to_bytes(2, "big") + message)
                await writer.drain()
        self._writers.discard(writer)
        writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        after_s, messages = self._upstream.reply(data, False, addr[1])
        if after_s:
            asyncio.get_running_loop().call_later(after_s, self._send, messages, addr)
        else:
            self._send(messages, addr)

    def _send(self, messages: list[bytes], addr: tuple[str, int]) -> None:
        for message in messages:
            self._transport.sendto(message, addr)


def bound_pair(host: str, port: int = 0) -> tuple[socket.socket, socket.socket]:
    """UDP and TCP sockets at the same port, which the kernel chose unless it is given."""
    for _ in range(50):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        udp.bind((host, port))
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tcp.bind(udp.getsockname())
        except OSError:
            udp.close()
            tcp.close()
            continue
        return udp, tcp
    raise AssertionError("no port is free for both UDP and TCP")
