"""One kept connection: queries leave as they come, replies return in any order (RFC 7766 6.2.1, 7).

The connection writes ids of its own, each once among those that are outstanding, and puts the caller's back. The id of
a query that nobody waits for any more stays taken until its reply has come. What becomes of those that wait when the
connection ends is for its owner to say (`connections`).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from resolver.forward.failures import Failure
from resolver.forward.transports import (
    READABLE,
    WRITABLE,
    Listener,
    Poller,
    SocketFactory,
    destination,
    failure_of,
    family_of,
)
from resolver.forward.upstreams import Upstream
from resolver.wire.constants import HEADER_SIZE
from resolver.wire.stream import FrameReader, frame

QUIET_S = 1.0
"""A connection on which somebody waits and nothing has come for so long gets no further queries."""
_UNACKNOWLEDGED = 2
"""So many retransmissions of the kernel's without an acknowledgement: whoever was there is gone."""
_CHUNK_SIZE = 16384
_ID = struct.Struct("!H")
_TCP_INFO_SIZE = 8  # struct tcp_info of linux/tcp.h: the number of retransmissions is its third octet
_RETRANSMITS = 2


class BrokenChannelError(Exception):
    """What lies between the socket and the messages does not come about, or no longer holds."""

    def __init__(self, failure: Failure, reason: str = "") -> None:
        super().__init__(reason)
        self.failure = failure
        self.reason = reason


class Channel(Protocol):
    """What lies between a socket and the messages: octets in, octets out; both may raise BrokenChannelError."""

    is_over: bool
    """Nothing more will come."""

    def write(self, plain: bytes) -> bytes:
        """What is to be sent for these octets, and to begin with for none; kept back until it may be sent."""

    def read(self, chunk: bytes) -> tuple[bytes, bytes]:
        """What a received chunk holds, and what is to be sent in turn."""

    def ended(self) -> None:
        """The connection is over."""


class StreamExchange:
    """One query on a connection."""

    __slots__ = ("connection", "factory", "is_closed", "is_second", "listener", "own_id", "query", "replies_before")

    def __init__(self, query: bytes, listener: Listener, factory: SocketFactory) -> None:
        self.query = query
        self.listener = listener
        self.factory = factory
        self.connection: Connection | None = None
        self.own_id = 0
        self.replies_before = 0
        """How many replies the connection had brought when this query went out on it."""
        self.is_second = False
        """It was sent before, on a connection that had been of use and ended without a word."""
        self.is_closed = False

    def close(self) -> None:
        """End it; the listener hears no more of it."""
        self.is_closed = True
        if self.connection is not None:
            self.connection.abandon(self)
            self.connection = None

    def received(self, message: bytes) -> None:
        """The reply, with the connection's id."""
        self.connection = None
        if not self.is_closed:
            self.listener.received(self.query[: _ID.size] + message[_ID.size :])

    def break_soon(self, loop_call: Callable[..., object], failure: Failure, reason: str = "") -> None:
        """Tell the listener that nothing will come, but not before whoever has opened this is done with it."""
        self.is_closed = True
        self.connection = None
        loop_call(self.listener.broke, failure, reason)


Ended = Callable[["Connection", list[StreamExchange], Failure, str], None]
"""Called with a connection that is over, those that still wait, and why."""


class Connection:
    """A stream to one upstream."""

    def __init__(
        self, poller: Poller, upstream: Upstream, factory: SocketFactory, channel: Channel | None, ended: Ended
    ) -> None:
        self.upstream = upstream
        self.factory = factory
        self.waiting: dict[int, StreamExchange | None] = {}
        """By our id; None where nobody waits any more."""
        self.replies = 0
        self.opened_at = self.idle_since = self.heard_at = poller.loop.time()
        """`heard_at`: when the last reply came, or, if that is later, since when somebody waits for one."""
        self.is_established = False
        self._poller = poller
        self._channel = channel
        self._ended = ended
        self._socket: socket.socket | None = None
        self._fd = -1
        self._is_over = False
        self._is_writing = True
        self._unsent = bytearray()
        self._reader = FrameReader()
        self._next_id = _ID.unpack(os.urandom(_ID.size))[0]

    def start(self) -> None:
        """Ask for a socket and connect."""
        self.factory(family_of(self.upstream), socket.SOCK_STREAM, self._opened)

    def send(self, exchange: StreamExchange, now: float) -> None:
        """Send a query; what becomes of it is told later, never before this returns."""
        own_id = self._next_id
        while own_id in self.waiting:
            own_id = own_id + 1 & 0xFFFF
        self._next_id = own_id + 1 & 0xFFFF
        if not self.waiting:
            self.heard_at = now
        self.waiting[own_id] = exchange
        exchange.connection, exchange.own_id, exchange.replies_before = self, own_id, self.replies
        framed = frame(_ID.pack(own_id) + exchange.query[_ID.size :])
        if self._channel is None:
            self._unsent += framed
        else:
            try:
                self._unsent += self._channel.write(framed)
            except BrokenChannelError as error:
                self._end_soon(error.failure, error.reason)
                return
        if self.is_established:
            try:
                self._flush()
            except OSError as error:
                self._end_soon(failure_of(error.errno))

    def abandon(self, exchange: StreamExchange) -> None:
        """Nobody waits for this one any more."""
        if self.waiting.get(exchange.own_id) is exchange:
            self.waiting[exchange.own_id] = None

    def is_quiet(self, now: float) -> bool:
        """Whether somebody waits, and has for longer than is good."""
        return bool(self.waiting) and now - self.heard_at > QUIET_S

    def is_dead(self) -> bool:
        """Whether the kernel sends the same again and again, and nobody acknowledges it: a NAT that has forgotten."""
        if not self.waiting or not self.is_established or self._socket is None:
            return False
        try:
            info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
        except OSError:  # a kernel that does not tell
            return False
        return info[_RETRANSMITS] >= _UNACKNOWLEDGED

    def end(self, failure: Failure, reason: str = "") -> None:
        """Close it; the owner is told who still waits."""
        if self._is_over:
            return
        self._is_over = True
        if self._channel is not None:
            self._channel.ended()
        if self._socket is not None:
            self._poller.forget(self._fd)
            self._socket.close()
            self._socket = None
        left = [exchange for exchange in self.waiting.values() if exchange is not None]
        self.waiting.clear()
        for exchange in left:
            exchange.connection = None
        self._ended(self, left, failure, reason)

    def on_ready(self) -> None:
        """Go on with connecting, sending or reading, whatever is under way."""
        sock = self._socket
        if sock is None:
            return
        try:
            if not self.is_established:
                self._establish(sock)
            if self._unsent:
                self._flush()
            chunk = sock.recv(_CHUNK_SIZE)
            if not chunk:
                raise ConnectionResetError(errno.ECONNRESET, "closed")
            if self._channel is not None:
                chunk, answer = self._channel.read(chunk)
                if answer:
                    self._unsent += answer
                    self._flush()
        except BlockingIOError:
            return
        except BrokenChannelError as error:
            self.end(error.failure, error.reason)
            return
        except OSError as error:
            self.end(failure_of(error.errno))
            return
        for message in self._reader.feed(chunk):
            self._take(message)
            if self._is_over:
                return
        if self._channel is not None and self._channel.is_over:
            self.end(Failure.DISCONNECTED)

    def _take(self, message: bytes) -> None:
        if len(message) < HEADER_SIZE:
            self.end(Failure.MALFORMED)
            return
        own_id = _ID.unpack_from(message)[0]
        if own_id not in self.waiting:
            self.end(Failure.MALFORMED)  # on a stream nothing is forged: it answers what was never asked
            return
        exchange = self.waiting.pop(own_id)
        self.replies += 1
        self.heard_at = self.idle_since = self._poller.loop.time()
        if exchange is not None:
            exchange.received(message)

    def _opened(self, made: socket.socket | OSError) -> None:
        """The factory has come up with something, at once or when nobody wants it any more."""
        if isinstance(made, OSError):
            self._end_soon(Failure.NO_SOCKET)
            return
        if self._is_over:
            made.close()
            return
        self._socket = made
        self._fd = made.fileno()
        try:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number = made.connect_ex(destination(self.upstream, made))
            if number not in (0, errno.EINPROGRESS):
                raise OSError(number, "connect")
            self._poller.watch(self._fd, WRITABLE, self)
        except OSError as error:
            self._end_soon(failure_of(error.errno))

    def _establish(self, sock: socket.socket) -> None:
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, "connect")
        self.is_established = True
        if self._channel is not None:
            self._unsent += self._channel.write(b"")
        self._flush()

    def _flush(self) -> None:
        """Send what the kernel takes; raises OSError but for its being full."""
        assert self._socket is not None
        if self._unsent:
            with suppress(BlockingIOError):
                del self._unsent[: self._socket.send(self._unsent)]
        if bool(self._unsent) != self._is_writing:
            self._is_writing = not self._is_writing
            self._poller.change(self._fd, READABLE | WRITABLE if self._is_writing else READABLE)

    def _end_soon(self, failure: Failure, reason: str = "") -> None:
        self._poller.loop.call_soon(self.end, failure, reason)
