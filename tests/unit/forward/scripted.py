"""A scripted upstream on loopback: the first label of the name says what it does.

``x-y`` is x for server 1 and y for server 2.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from resolver.forward.upstreams import Upstream

Reply = tuple[float, bytes]
"""After how many seconds which bytes are sent."""


@dataclass
class ScriptedServer:
    """One upstream; ``number`` picks its part of the name's first label."""

    number: int = 1
    with_tcp: bool = True
    address: str = "127.0.0.1"
    port: int = 0
    asked: list[tuple[str, tuple[str, int], bytes]] = field(default_factory=list)
    """(protocol, the client's address, message) of each query."""

    @property
    def upstream(self) -> Upstream:
        return Upstream(self.address, self.port)

    @property
    def protocols(self) -> list[str]:
        return [protocol for protocol, _, _ in self.asked]

    def replies(self, wire: bytes, protocol: str, peer: tuple[str, int]) -> list[Reply]:
        self.asked.append((protocol, peer, wire))
        query = dns.message.from_wire(wire)
        parts = query.question[0].name.labels[0].decode().lower().split("-")
        return _replies(parts[min(self.number, len(parts)) - 1], query, wire, protocol)


def _replies(behaviour: str, query: dns.message.Message, wire: bytes, protocol: str) -> list[Reply]:
    reply = dns.message.make_response(query, recursion_available=True)
    name = query.question[0].name
    good = dns.rrset.from_text(name, 60, "IN", "A", "192.0.2.1")
    delay = 0.0

    def plain(rcode: int) -> list[Reply]:
        reply.set_rcode(dns.rcode.Rcode.make(rcode))
        return [(0, reply.to_wire())]

    match behaviour:
        case "silent":
            return []
        case "servfail" | "refused" | "notimp" | "formerr" | "nxdomain":
            return plain(dns.rcode.from_text(behaviour))
        case "nosuch":
            reply.authority.append(dns.rrset.from_text("org.", 3600, "IN", "SOA", "ns.org. root.org. 1 1 1 1 3600"))
            return plain(dns.rcode.NXDOMAIN)
        case "referral":
            reply.flags &= ~dns.flags.RA
            reply.authority.append(dns.rrset.from_text("org.", 3600, "IN", "NS", "ns.org."))
            return plain(dns.rcode.NOERROR)
        case "badvers":
            reply.use_edns(0)
            return plain(16)
        case "ede":
            reply.use_edns(0, options=[dns.edns.EDEOption(dns.edns.EDECode.NETWORK_ERROR, "net err")])
            return plain(2)
        case "noedns" if query.edns >= 0:
            reply.use_edns(False)
            return plain(1)
        case "garbage":
            return [(0, b"\xff" * 40)]
        case "garbageid":
            return [(0, wire[:2] + b"\xff" * 40)]
        case "short":
            return [(0, wire[:4])]
        case "empty":
            return [(0, b"")]
        case "hdronly":
            return [(0, wire[:2] + b"\x81\x80" + bytes(8))]
        case "hdrservfail":
            return [(0, wire[:2] + b"\x81\x82" + bytes(8))]
        case "tc" | "tcfar" if protocol == "udp":
            reply.flags |= dns.flags.TC
        case "tcfar":
            return []
        case "noopt":
            reply.use_edns(False)
        case "forceopt":
            reply.use_edns(0, 0, 1232)
        case "over":
            good = dns.rrset.from_text(name, 60, "IN", "TXT", *(f'"{n:02d}{"x" * 198}"' for n in range(10)))
        case _ if behaviour.startswith("slow"):
            delay = int(behaviour[4:]) / 10
    reply.answer.append(good)
    right = reply.to_wire(max_size=65535)
    match behaviour:
        case "wrongid":
            return [(0, bytes((right[0] ^ 1,)) + right[1:])]
        case "wrongidok":
            return [(0, bytes((right[0] ^ 1,)) + right[1:]), (0.02, right)]
        case "wrongq":
            return [(0, right.replace(b"wrongq", b"wrongr", 1))]
        case "wrongqok":
            return [(0, right.replace(b"wrongqok", b"wrongrok", 1)), (0.02, right)]
        case "fold" | "foldok":
            end = wire.index(b"\0", 12)
            folded = right[:12] + right[12:end].lower() + right[end:]
            return [(0, folded)] if behaviour == "fold" else [(0, _forged(folded)), (0.02, right)]
        case "qr0":
            return [(0, right[:2] + bytes((right[2] & 0x7F,)) + right[3:])]
        case "cutrr":
            return [(0, right[:-3])]
    return [(delay, right)]


def _forged(reply: bytes) -> bytes:
    return reply.replace(bytes((192, 0, 2, 1)), bytes((203, 0, 113, 1)))


def _serve_udp(server: ScriptedServer, sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    wire, peer = sock.recvfrom(65535)
    for delay, message in server.replies(wire, "udp", peer):
        loop.call_later(delay, _send, sock, message, peer)


def _send(sock: socket.socket, message: bytes, peer: tuple[str, int]) -> None:
    if sock.fileno() >= 0:
        sock.sendto(message, peer)


async def _serve_tcp(server: ScriptedServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        size = int.from_bytes(await reader.readexactly(2), "big")
        wire = await reader.readexactly(size)
        replies = server.replies(wire, "tcp", writer.get_extra_info("peername"))
        if not replies:
            await reader.read()  # until the client goes
        for delay, message in replies:
            await asyncio.sleep(delay)
            framed = len(message).to_bytes(2, "big") + message
            for position in range(0, len(framed), max(1, len(framed) // 3)):
                writer.write(framed[position : position + max(1, len(framed) // 3)])
                await writer.drain()
                await asyncio.sleep(0.001)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


@asynccontextmanager
async def scripted(*servers: ScriptedServer) -> AsyncIterator[tuple[Upstream, ...]]:
    """Run the servers on ports that the kernel chooses, the same for UDP and TCP."""
    loop = asyncio.get_running_loop()
    sockets: list[socket.socket] = []
    listeners: list[asyncio.Server] = []
    try:
        for server in servers:
            holder = socket.create_server((server.address, 0), family=_family(server.address))
            server.port = holder.getsockname()[1]
            sock = socket.socket(holder.family, socket.SOCK_DGRAM)
            sockets.append(sock)
            sock.bind((server.address, server.port))
            loop.add_reader(sock, _serve_udp, server, sock)
            if not server.with_tcp:
                holder.close()
                continue

            async def handle(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: ScriptedServer = server
            ) -> None:
                await _serve_tcp(server, reader, writer)

            listeners.append(await asyncio.start_server(handle, sock=holder))
        yield tuple(server.upstream for server in servers)
    finally:
        for sock in sockets:
            loop.remove_reader(sock)
            sock.close()
        for listener in listeners:
            listener.close()
            await listener.wait_closed()
        await asyncio.sleep(0.01)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def closed_port(address: str = "127.0.0.1") -> Upstream:
    """An upstream where nothing listens."""
    with socket.create_server((address, 0), family=_family(address)) as holder:
        return Upstream(address, holder.getsockname()[1])
