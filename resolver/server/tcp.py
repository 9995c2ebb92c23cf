"""TCP listeners: many queries on one connection, answered as they are ready (RFC 7766).

A client is bounded in every direction: how long it may be idle, how long one message may take to come in, how many
queries it may have waiting, how many replies it may leave unread, and how many connections there are in all; over
these the connection that was quiet longest, of the client that has most, goes first.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from time import perf_counter

from msgspec import Struct

from resolver.counters import TCP4, TCP6
from resolver.server.neighbours import host_of
from resolver.server.responder import Responder
from resolver.wire.stream import FrameReader, frame

log = logging.getLogger(__name__)

BATCH = 64
"""How many messages of one connection are answered, and how many connections accepted, before others have a turn."""
_BACKLOG = 1024
_PAUSE_S = 0.1
"""Without accepting, when no more files can be open; the kernel holds who connects meanwhile."""
_SAY_AGAIN_S = 60.0


class TcpLimits(Struct, frozen=True):
    """What a TCP client may do; times in seconds."""

    idle_s: float = 8.0
    """From the last whole message to the next one, as Docker's resolver has it (RFC 7766 6.2.3)."""
    message_s: float = 2.0
    """From the first octet of a message to its last: what bounds a client that drips (slow loris)."""
    waiting: int = 128
    """Queries of one connection that wait for an upstream; over it no more are read."""
    connections: int = 1024


class TcpListener:
    """Accepts on one listening socket."""

    def __init__(self, sock: socket.socket, responder: Responder, limits: TcpLimits | None = None) -> None:
        self.limits = limits or TcpLimits()
        """Those of connections to come; who is connected keeps the former ones."""
        self._socket = sock
        self._responder = responder
        self._transport = TCP6 if sock.family == socket.AF_INET6 else TCP4
        self._connections = _Connections()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._said_at: float | None = None
        self._welcomes: set[asyncio.Task[None]] = set()

    async def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to accept.

        asyncio's own server is not used: when files run out it logs a traceback for each attempt, and each attempt
        leads to more of them.
        """
        self._loop = loop
        self._socket.listen(_BACKLOG)
        loop.add_reader(self._socket.fileno(), self._accept, loop)

    def close(self) -> None:
        """Stop accepting; what is connected may have its last answers."""
        if self._loop is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._loop = None
        if self._pause is not None:
            self._pause.cancel()
        self._socket.close()

    def _accept(self, loop: asyncio.AbstractEventLoop) -> None:
        for _ in range(BATCH):
            try:
                sock, peer = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._run_short(loop, error)
                return
            sock.setblocking(False)
            task = loop.create_task(self._welcome(loop, sock, host_of(peer)))
            self._welcomes.add(task)
            task.add_done_callback(self._welcomes.discard)

    async def _welcome(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, host: str) -> None:
        connection = Connection(self._responder, self._transport, self.limits, self._connections, host)
        with suppress(OSError):  # it is gone already
            await loop.connect_accepted_socket(lambda: connection, sock)

    def _run_short(self, loop: asyncio.AbstractEventLoop, error: OSError) -> None:
        """Have the quietest connection make room, and go on in a moment."""
        if self._said_at is None or loop.time() >= self._said_at + _SAY_AGAIN_S:
            self._said_at = loop.time()
            what = os.strerror(error.errno or 0)
            log.warning("TCP connections have to wait: %s (raise `ulimit -n`, or LimitNOFILE= of the unit)", what)
        if len(self._connections):
            self._connections.pop_quietest().abort()
        loop.remove_reader(self._socket.fileno())
        self._pause = loop.call_later(_PAUSE_S, self._go_on)

    def _go_on(self) -> None:
        if self._loop is not None:
            self._loop.add_reader(self._socket.fileno(), self._accept, self._loop)

    def abort(self) -> None:
        """End every connection at once."""
        for connection in list(self._connections):
            connection.abort()


class _Connections:
    """Every connection of a listener, by client, the quietest one of each first."""

    def __init__(self) -> None:
        self._by_host: dict[str, OrderedDict[Connection, None]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Connection]:
        return chain.from_iterable(self._by_host.values())

    def add(self, connection: Connection) -> None:
        """A new one, as if just heard of."""
        self._by_host.setdefault(connection.host, OrderedDict())[connection] = None
        self._count += 1

    def discard(self, connection: Connection) -> None:
        """It is gone; nothing happens when it is known already."""
        held = self._by_host.get(connection.host, OrderedDict())
        if connection in held:
            del held[connection]
            self._count -= 1
            if not held:
                del self._by_host[connection.host]

    def was_heard(self, connection: Connection) -> None:
        """It has asked something."""
        held = self._by_host.get(connection.host, OrderedDict())
        if connection in held:
            held.move_to_end(connection)

    def pop_quietest(self) -> Connection:
        """Take out the quietest connection of the client that has most, so that no client pushes out all others."""
        host = max(self._by_host, key=lambda known: len(self._by_host[known]))
        quietest = next(iter(self._by_host[host]))
        self.discard(quietest)
        return quietest


class Connection(asyncio.Protocol):
    """One client's connection.

    While it is *held* nothing more is read from it: its queries wait for a turn or for an upstream, or its replies for
    the client to read them.
    """

    def __init__(
        self,
        responder: Responder,
        transport_label: int,
        limits: TcpLimits,
        connections: _Connections,
        host: str,
    ) -> None:
        self.host = host
        self._responder = responder
        self._label = transport_label
        self._limits = limits
        self._connections = connections
        self._frames = FrameReader()
        self._queue: deque[bytes] = deque()
        """Whole messages that have not been looked at."""
        self._waiting = 0
        """Queries that have been asked and not been answered."""
        self._is_asking = False
        self._is_held = False
        self._is_blocked = False
        """The client does not read."""
        self._has_ended = False
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected; when there are too many, the quietest of whoever has most has to go."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if len(self._connections) >= self._limits.connections:
            # Out of the table at once: of a burst of connections each one has to make room.
            self._connections.pop_quietest().abort()
        self._connections.add(self)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; replies to what it still asked have nowhere to go."""
        self._transport = None
        self._queue.clear()
        self._connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Answer every message that is now complete."""
        was_partial = self._frames.is_partial
        self._queue.extend(self._frames.feed(data))
        if self._queue:
            self._connections.was_heard(self)
        if self._queue or not was_partial:
            self._expect()
        self._proceed()

    def eof_received(self) -> bool:
        """The client will ask no more; True keeps our side open for the answers it waits for (RFC 7766 6.2.4)."""
        self._has_ended = True
        return self._waiting > 0

    def pause_writing(self) -> None:
        """The client does not read its replies: read no more of its queries."""
        self._is_blocked = True
        self._hold()
        self._expect()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._is_blocked = False
        self._expect()
        self._proceed()

    def abort(self) -> None:
        """End the connection now."""
        if self._transport is not None:
            self._transport.abort()

    def _proceed(self) -> None:
        """Ask what has come in, as far as the limits allow; read on when all of it is asked."""
        self._is_asking = True
        for _ in range(BATCH):
            if not self._queue or self._is_full():
                break
            self._ask(self._queue.popleft())
        self._is_asking = False
        if self._transport is None or self._transport.is_closing():
            return
        if self._is_full():
            self._hold()
        elif self._queue:
            self._hold()
            self._loop.call_soon(self._proceed)
        elif self._is_held:
            self._is_held = False
            self._transport.resume_reading()
            self._expect()

    def _is_full(self) -> bool:
        if self._transport is None or self._transport.is_closing():
            return True
        return self._is_blocked or self._waiting >= self._limits.waiting

    def _hold(self) -> None:
        if self._transport is not None:
            self._is_held = True
            self._transport.pause_reading()

    def _ask(self, message: bytes) -> None:
        started = perf_counter()
        ready = self._responder.ready(message, self.host, self._label)
        self._waiting += 1
        if ready is not None:
            self._responder.stats.duration.observe(perf_counter() - started)
            self._answered(ready)
        elif not self._responder.handle(message, self.host, self._label, self._answered):
            self._waiting -= 1

    def _answered(self, reply: bytes) -> None:
        self._waiting -= 1
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(frame(reply))
        if self._has_ended and not self._waiting:
            self._transport.close()
        elif not self._is_asking:
            self._proceed()

    def _expect(self) -> None:
        """Close the connection unless something happens: the rest of a message, or the next one."""
        if self._timer is not None:
            self._timer.cancel()
        is_awaited = self._frames.is_partial and not self._is_held
        self._timer = self._loop.call_later(
            self._limits.message_s if is_awaited else self._limits.idle_s, self._expired
        )

    def _expired(self) -> None:
        we_owe = self._waiting > 0 and not self._is_blocked and (self._is_held or not self._frames.is_partial)
        if we_owe:
            self._expect()
        else:
            self.abort()
