"""UDP listeners: raw non-blocking sockets, drained in batches; the ready replies leave from here.

asyncio's datagram endpoint costs six times as much for each query (design.md 6), so the loop only tells when there is
something to read.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from functools import partial
from time import perf_counter
from typing import Any

from resolver.counters import UDP4, UDP6
from resolver.server.neighbours import host_of, is_link_local
from resolver.server.responder import Responder
from resolver.wire.making import COOKIE_HEAD, COOKIE_SIZE
from resolver.wire.ready import PlainTable

BATCH = 64
"""How many datagrams are answered before the loop gets its turn."""
RECEIVE_SIZE = 4096
"""Octets; a longer query is cut, and then answered with FORMERR."""
MAX_CLIENTS = 65536
_PKTINFO_SIZE = 64

Client = tuple[Any, ...]
"""An address as the socket module gives it: host, port, and for IPv6 flow and scope."""
Ancillary = list[tuple[int, int, bytes]]

_IP_PKTINFO = 8  # linux/in.h; the socket module has no name for it in 3.11
_IN_PKTINFO = struct.Struct("=I4s4s")
_IN6_PKTINFO = struct.Struct("=16sI")


class UdpListener:
    """Answers what comes in on one socket that is bound to one address."""

    def __init__(self, sock: socket.socket, responder: Responder) -> None:
        self._socket = sock
        self._responder = responder
        self._transport = UDP6 if sock.family == socket.AF_INET6 else UDP4
        self._generation = responder.generation
        self._tables: dict[str, PlainTable] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._owed = 0
        """Queries that were taken and wait for an upstream."""
        self._is_closing = False

    @property
    def port(self) -> int:
        """The port that the socket is bound to."""
        port: int = self._socket.getsockname()[1]
        return port

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to answer."""
        self._loop = loop
        loop.add_reader(self._socket.fileno(), self.drain)

    def stop(self) -> None:
        """Answer what waits in the socket and read no more; replies that are still to come can be sent."""
        if self._loop is not None:
            self.drain()
            self._loop.remove_reader(self._socket.fileno())
            self._loop = None

    def close(self) -> None:
        """Stop, and close the socket as soon as every reply that is owed has left."""
        self.stop()
        self._is_closing = True
        if not self._owed:
            self._socket.close()

    def abort(self) -> None:
        """Stop, and close the socket now."""
        self.stop()
        self._socket.close()

    def drain(self) -> None:
        """Answer up to `BATCH` datagrams that wait in the socket."""
        started = perf_counter()
        tables = self._current_tables()
        receive, send = self._socket.recvfrom, self._socket.sendto
        hits, slow_s = 0, 0.0
        for _ in range(BATCH):
            try:
                wire, client = receive(RECEIVE_SIZE)
            except OSError:  # drained, or an ICMP error that concerns one client
                break
            table = tables.get(client[0])
            if table is not None:
                entry = table.get(wire[2:])
                if entry is None and wire[-12:-COOKIE_SIZE] == COOKIE_HEAD:
                    entry = table.with_cookie.get(wire[2:-COOKIE_SIZE])
                if entry is not None:
                    entry.hits += 1
                    hits += 1
                    try:
                        send(wire[:2] + entry.next_reply(), client)
                    except OSError:
                        self._responder.stats.unsent += 1
                    continue
                if (reply := table.make(wire)) is not None:
                    hits += 1
                    self._send(client, reply)
                    continue
            at = perf_counter()
            self._handle(wire, client)
            slow_s += perf_counter() - at
        if hits:
            self._responder.stats.duration.observe((perf_counter() - started - slow_s) / hits, hits)

    def _current_tables(self) -> dict[str, PlainTable]:
        """Ready tables by client; thrown away when the state has been swapped."""
        if self._generation != self._responder.generation:
            self._generation = self._responder.generation
            self._tables.clear()
        return self._tables

    def _handle(self, wire: bytes, client: Client, source: Ancillary | None = None) -> None:
        """Have a query answered, from the address that was asked where there are several."""
        host = host_of(client)
        self._remember(host)
        self._owed += 1
        if not self._responder.handle(wire, host, self._transport, partial(self._settle, client, source)):
            self._owed -= 1

    def _remember(self, host: str) -> None:
        """See to it that the next query of this client finds the ready replies of its view."""
        if host in self._tables or is_link_local(host):  # an interface may come to be on another network
            return
        if len(self._tables) >= MAX_CLIENTS:
            self._tables.clear()
        table = self._responder.state.view_of(host).ready[self._transport]
        if isinstance(table, PlainTable):
            self._tables[host] = table

    def _settle(self, client: Client, source: Ancillary | None, reply: bytes) -> None:
        if source:
            self._send_from(source, client, reply)
        else:
            self._send(client, reply)
        self._owed -= 1
        if self._is_closing and not self._owed:
            self._socket.close()

    def _send(self, client: Client, reply: bytes) -> None:
        try:
            self._socket.sendto(reply, client)
        except OSError:  # the client's matter: its route or its socket is gone, or ours is full
            self._responder.stats.unsent += 1

    def _send_from(self, source: Ancillary, client: Client, reply: bytes) -> None:
        try:
            self._socket.sendmsg((reply,), source, 0, client)
        except OSError:
            self._responder.stats.unsent += 1


def ask_for_destination(sock: socket.socket) -> None:
    """Have the kernel tell with each datagram to which address it was sent."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)


class WildcardUdpListener(UdpListener):
    """The same on a socket bound to every address: a reply leaves from the address that was asked (RFC 1123 6.1.3.1).

    The kernel tells that address with each datagram (IP_PKTINFO, RFC 3542 6.1) and takes it back with the reply.
    """

    def __init__(self, sock: socket.socket, responder: Responder) -> None:
        super().__init__(sock, responder)
        ask_for_destination(sock)

    def drain(self) -> None:
        """Answer up to `BATCH` datagrams that wait in the socket."""
        started = perf_counter()
        tables = self._current_tables()
        hits, slow_s = 0, 0.0
        for _ in range(BATCH):
            try:
                wire, ancillary, _, client = self._socket.recvmsg(RECEIVE_SIZE, _PKTINFO_SIZE)
            except OSError:
                break
            source = _as_source(ancillary)
            table = tables.get(client[0])
            if table is not None and (reply := table.look_up(wire)) is not None:
                hits += 1
                self._send_from(source, client, reply)
                continue
            at = perf_counter()
            self._handle(wire, client, source)
            slow_s += perf_counter() - at
        if hits:
            self._responder.stats.duration.observe((perf_counter() - started - slow_s) / hits, hits)


def _as_source(ancillary: Ancillary) -> Ancillary:
    """The address that a datagram was sent to, as the source of its reply; the interface is left to routing.

    A link-local destination keeps its interface, because it means nothing without one (RFC 4007 6).
    """
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            _, specified, _ = _IN_PKTINFO.unpack(data[: _IN_PKTINFO.size])
            return [(level, kind, _IN_PKTINFO.pack(0, specified, b"\0\0\0\0"))]
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            address, interface = _IN6_PKTINFO.unpack(data[: _IN6_PKTINFO.size])
            is_link_local = address[0] == 0xFE and address[1] & 0xC0 == 0x80
            return [(level, kind, _IN6_PKTINFO.pack(address, interface if is_link_local else 0))]
    return []
