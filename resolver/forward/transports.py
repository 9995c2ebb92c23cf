"""One query to one upstream: over UDP with a socket of its own, over TCP with a connection of its own.

Callbacks only, no task and no future. All exchanges wait in one epoll set, which asyncio sees as a single readable
descriptor: under load a bare exchange costs 22 µs so, and 32 with a reader of the loop for each. Who is asked, and for
how long, is not settled here: an exchange has no timer and is ended by `close`, which may be called at any time, also
from its own callbacks.
"""

from __future__ import annotations

import asyncio
import errno
import select
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from resolver.forward.failures import Failure
from resolver.forward.upstreams import Upstream
from resolver.wire.constants import MAX_MESSAGE_SIZE
from resolver.wire.stream import FrameReader, frame

SocketDone = Callable[[socket.socket | OSError], None]
SocketFactory = Callable[[socket.AddressFamily, socket.SocketKind, SocketDone], None]
"""Make a non-blocking socket and hand it over, or why there is none: at once or later, on the loop."""

_NON_BLOCKING = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
_IP_RECVERR = 11  # linux/in.h; the socket module has no name for it before Python 3.14
_IPV6_RECVERR = 25
_MAX_EVENTS = 64  # one wake-up handles this many, so that the listeners have their turn

_READABLE = select.EPOLLIN
_WRITABLE = select.EPOLLOUT

_FAILURES = {
    errno.ECONNREFUSED: Failure.CONNECTION_REFUSED,
    errno.ECONNRESET: Failure.DISCONNECTED,
    errno.EPIPE: Failure.DISCONNECTED,
    errno.ETIMEDOUT: Failure.TIMEOUT,
    errno.EMFILE: Failure.NO_SOCKET,
    errno.ENFILE: Failure.NO_SOCKET,
    errno.ENOBUFS: Failure.NO_SOCKET,
    errno.ENOMEM: Failure.NO_SOCKET,
    errno.EAGAIN: Failure.NO_SOCKET,
}


class Listener(Protocol):
    """Who wants to know what becomes of an exchange."""

    def received(self, message: bytes) -> None:
        """A message came; over UDP more may follow."""

    def broke(self, failure: Failure) -> None:
        """Nothing more will come; the exchange is closed. Never called before `Exchange.start` has returned."""


def failure_of(error: OSError) -> Failure:
    """The failure that an error of a socket is."""
    return _FAILURES.get(error.errno or 0, Failure.UNREACHABLE)


def own_sockets(family: socket.AddressFamily, kind: socket.SocketKind, done: SocketDone) -> None:
    """The `SocketFactory` of our own network namespace: ``done`` is called before this returns."""
    made: socket.socket | OSError
    try:
        made = socket.socket(family, kind | _NON_BLOCKING, 0)
    except OSError as error:
        made = error
    done(made)


class Poller:
    """The descriptors of all exchanges in one epoll set, which the running loop watches as one descriptor."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._epoll = select.epoll()
        self._exchanges: dict[int, Exchange] = {}
        loop.add_reader(self._epoll.fileno(), self._on_ready)

    def watch(self, fd: int, events: int, exchange: Exchange) -> None:
        """Call ``exchange.on_ready`` whenever one of ``events`` (or an error) is there."""
        self._epoll.register(fd, events)
        self._exchanges[fd] = exchange

    def change(self, fd: int, events: int) -> None:
        """Wait for other events than before."""
        self._epoll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Watch no longer: the descriptor is about to be closed, which takes it out of the set, too (epoll(7))."""
        self._exchanges.pop(fd, None)

    def close(self) -> None:
        """Watch nothing any more; the exchanges have been closed before."""
        self.loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def _on_ready(self) -> None:
        for fd, _ in self._epoll.poll(0, _MAX_EVENTS):
            if self._epoll.closed:
                return
            # An earlier one of these events may have closed this exchange; should its number be taken again already,
            # the new owner finds nothing to read and waits on.
            exchange = self._exchanges.get(fd)
            if exchange is not None:
                exchange.on_ready()


class Exchange(ABC):
    """What both transports share: a socket that comes when it comes, and one way to end."""

    __slots__ = ("_fd", "_listener", "_poller", "_socket", "_unsent", "is_closed", "upstream")

    kind = socket.SOCK_DGRAM

    def __init__(self, poller: Poller, upstream: Upstream, query: bytes, listener: Listener) -> None:
        self._poller = poller
        self._listener = listener
        self._unsent = query
        self._socket: socket.socket | None = None
        self._fd = -1
        self.upstream = upstream
        self.is_closed = False

    def start(self, factory: SocketFactory) -> None:
        """Ask for a socket; what becomes of it is told to the listener."""
        factory(socket.AF_INET6 if self.upstream.is_ipv6 else socket.AF_INET, self.kind, self._opened)

    @abstractmethod
    def on_ready(self) -> None:
        """The socket is readable, writable or broken; called by the poller."""

    def close(self) -> None:
        """End the exchange; the listener hears no more of it."""
        self.is_closed = True
        if self._socket is not None:
            self._poller.forget(self._fd)
            self._socket.close()
            self._socket = None

    def _opened(self, made: socket.socket | OSError) -> None:
        """The factory has come up with something, at once or when nobody wants it any more."""
        if isinstance(made, OSError):
            self._break_soon(Failure.NO_SOCKET)
            return
        if self.is_closed:
            made.close()
            return
        self._socket = made
        self._fd = made.fileno()
        try:
            self._begin(made)
        except OSError as error:
            self._break_soon(failure_of(error))

    @abstractmethod
    def _begin(self, sock: socket.socket) -> None:
        """Connect and send; raises OSError."""

    def _break_soon(self, failure: Failure) -> None:
        if not self.is_closed:
            self.close()
            # Not at once: a long list of upstreams that all fail so would be as deep a recursion.
            self._poller.loop.call_soon(self._listener.broke, failure)

    def _break(self, failure: Failure) -> None:
        self.close()
        self._listener.broke(failure)


class UdpExchange(Exchange):
    """A datagram, and the datagrams that come back from where it went.

    The socket is connected: only the upstream is heard, from a source port that the kernel picks at random (RFC 5452
    9.2), and its ICMP errors are.
    """

    __slots__ = ()

    def _begin(self, sock: socket.socket) -> None:
        # Without these two, a router's "host unreachable" is kept from a connected socket (ip(7)).
        if self.upstream.is_ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        sock.connect(_destination(self.upstream, sock))
        sock.send(self._unsent)
        self._poller.watch(self._fd, _READABLE, self)

    def on_ready(self) -> None:
        """Read one datagram; the poller calls again while there are more."""
        if self._socket is None:
            return
        try:
            message = self._socket.recv(MAX_MESSAGE_SIZE)
        except BlockingIOError:
            return  # its checksum was wrong, or the event was meant for a former owner of the descriptor
        except OSError as error:
            self._break(failure_of(error))
        else:
            self._listener.received(message)


class TcpExchange(Exchange):
    """A connection, a framed query, and the first framed message that comes back (RFC 1035 4.2.2, RFC 7766 8)."""

    __slots__ = ("_is_connected", "_reader")
    kind = socket.SOCK_STREAM

    def __init__(self, poller: Poller, upstream: Upstream, query: bytes, listener: Listener) -> None:
        super().__init__(poller, upstream, frame(query), listener)
        self._reader = FrameReader()
        self._is_connected = False

    def _begin(self, sock: socket.socket) -> None:
        number = sock.connect_ex(_destination(self.upstream, sock))
        if number not in (0, errno.EINPROGRESS):
            raise OSError(number, "connect")
        self._poller.watch(self._fd, _WRITABLE, self)

    def on_ready(self) -> None:
        """Go on with connecting, sending or reading, whatever is under way."""
        if self._socket is None:
            return
        try:
            message = self._step(self._socket)
        except BlockingIOError:
            return
        except OSError as error:
            self._break(failure_of(error))
        else:
            if message is not None:
                self._listener.received(message)

    def _step(self, sock: socket.socket) -> bytes | None:
        if not self._is_connected:
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number:
                raise OSError(number, "connect")
            self._is_connected = True
        if self._unsent:
            self._unsent = self._unsent[sock.send(self._unsent) :]
            if not self._unsent:
                self._poller.change(self._fd, _READABLE)
            return None
        chunk = sock.recv(MAX_MESSAGE_SIZE)
        if not chunk:
            raise ConnectionResetError(errno.ECONNRESET, "closed before the reply was whole")
        return next(self._reader.feed(chunk), None)


def _destination(upstream: Upstream, sock: socket.socket) -> tuple[str, int] | tuple[str, int, int, int]:
    """What to connect to. A scope that is a name becomes the socket's device: it is one of the socket's namespace."""
    address, _, scope = upstream.address.partition("%")
    if not scope:
        return address, upstream.port
    if scope.isdigit():
        return address, upstream.port, 0, int(scope)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, scope.encode() + b"\0")
    return address, upstream.port
