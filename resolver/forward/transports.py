"""What all ways to ask share, and the datagram: one query over UDP, with a socket of its own.

Callbacks only, no task and no future. All sockets wait in one epoll set, which asyncio sees as a single readable
descriptor: under load a bare exchange costs 22 µs so, and 32 with a reader of the loop for each. Who is asked, and for
how long, is not settled here: an exchange has no timer and is ended by `close`, which may be called at any time, also
from its own callbacks.
"""

from __future__ import annotations

import asyncio
import errno
import select
import socket
from collections.abc import Callable
from typing import Protocol

from resolver.forward.failures import Failure
from resolver.forward.upstreams import Upstream
from resolver.wire.constants import MAX_MESSAGE_SIZE

SocketDone = Callable[[socket.socket | OSError], None]
SocketFactory = Callable[[socket.AddressFamily, socket.SocketKind, SocketDone], None]
"""Make a non-blocking socket and hand it over, or why there is none: at once or later, on the loop."""

NON_BLOCKING = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
_IP_RECVERR = 11  # linux/in.h; the socket module has no name for it before Python 3.14
_IPV6_RECVERR = 25
_MAX_EVENTS = 64  # one wake-up handles this many, so that the listeners have their turn

READABLE = select.EPOLLIN
WRITABLE = select.EPOLLOUT

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
        """A message came, with the id of our query; over UDP more may follow."""

    def broke(self, failure: Failure, reason: str = "") -> None:
        """Nothing more will come; the exchange is closed. Never called before what opens it has returned.

        ``reason`` is more about the failure, in a few words, where there is more.
        """


class Exchange(Protocol):
    """One query on its way, as its owner sees it."""

    @property
    def is_closed(self) -> bool:
        """True when the listener hears no more of it."""

    def close(self) -> None:
        """End it; the listener hears no more of it. May be called twice."""


class Watched(Protocol):
    """Whose socket a poller watches."""

    def on_ready(self) -> None:
        """The socket is readable, writable or broken."""


def failure_of(number: int | None) -> Failure:
    """The failure that an error of a socket is, by its errno."""
    return _FAILURES.get(number or 0, Failure.UNREACHABLE)


def own_sockets(family: socket.AddressFamily, kind: socket.SocketKind, done: SocketDone) -> None:
    """The `SocketFactory` of our own network namespace: ``done`` is called before this returns."""
    made: socket.socket | OSError
    try:
        made = socket.socket(family, kind | NON_BLOCKING, 0)
    except OSError as error:
        made = error
    done(made)


class Poller:
    """The descriptors of all exchanges in one epoll set, which the running loop watches as one descriptor."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._epoll = select.epoll()
        self._watched: dict[int, Watched] = {}
        loop.add_reader(self._epoll.fileno(), self._on_ready)

    def watch(self, fd: int, events: int, watched: Watched) -> None:
        """Call ``watched.on_ready`` whenever one of ``events`` (or an error) is there."""
        self._epoll.register(fd, events)
        self._watched[fd] = watched

    def change(self, fd: int, events: int) -> None:
        """Wait for other events than before."""
        self._epoll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Watch no longer: the descriptor is about to be closed, which takes it out of the set, too (epoll(7))."""
        self._watched.pop(fd, None)

    def close(self) -> None:
        """Watch nothing any more; the exchanges have been closed before."""
        self.loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def _on_ready(self) -> None:
        for fd, _ in self._epoll.poll(0, _MAX_EVENTS):
            if self._epoll.closed:
                return
            # An earlier one of these events may have closed this socket; should its number be taken again already,
            # the new owner finds nothing to read and waits on.
            watched = self._watched.get(fd)
            if watched is not None:
                watched.on_ready()


class Ended:
    """In place of an exchange that is over."""

    is_closed = True

    def close(self) -> None:
        """It is."""


ENDED = Ended()


class UdpExchange:
    """A datagram, and the datagrams that come back from where it went.

    The socket is connected: only the upstream is heard, from a source port that the kernel picks at random (RFC 5452
    9.2), and its ICMP errors are.
    """

    __slots__ = ("_fd", "_listener", "_poller", "_query", "_socket", "_upstream", "is_closed")

    def __init__(self, poller: Poller, upstream: Upstream, query: bytes, listener: Listener) -> None:
        self._poller = poller
        self._listener = listener
        self._query = query
        self._socket: socket.socket | None = None
        self._fd = -1
        self._upstream = upstream
        self.is_closed = False

    def start(self, factory: SocketFactory) -> None:
        """Ask for a socket; what becomes of it is told to the listener."""
        factory(family_of(self._upstream), socket.SOCK_DGRAM, self._opened)

    def go_on(self, fd: int) -> None:
        """The query has been sent, from that socket, and whatever may come of it has not been read."""
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(False)
        self._fd = fd
        self._poller.watch(fd, READABLE, self)

    def close(self) -> None:
        """End the exchange; the listener hears no more of it."""
        self.is_closed = True
        if self._socket is not None:
            self._poller.forget(self._fd)
            self._socket.close()
            self._socket = None

    def on_ready(self) -> None:
        """Read one datagram; the poller calls again while there are more."""
        if self._socket is None:
            return
        try:
            message = self._socket.recv(MAX_MESSAGE_SIZE)
        except BlockingIOError:
            return  # its checksum was wrong, or the event was meant for a former owner of the descriptor
        except OSError as error:
            self.close()
            self._listener.broke(failure_of(error.errno))
        else:
            self._listener.received(message)

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
            self._break_soon(failure_of(error.errno))

    def _begin(self, sock: socket.socket) -> None:
        hear_errors(sock)
        sock.connect(destination(self._upstream, sock))
        sock.send(self._query)
        self._poller.watch(self._fd, READABLE, self)

    def _break_soon(self, failure: Failure) -> None:
        if not self.is_closed:
            self.close()
            # Not at once: a long list of upstreams that all fail so would be as deep a recursion.
            self._poller.loop.call_soon(self._listener.broke, failure)


def hear_errors(sock: socket.socket) -> None:
    """Have the kernel tell of every ICMP error: a router's "host unreachable" is kept from others (ip(7))."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)


def family_of(upstream: Upstream) -> socket.AddressFamily:
    """The family of the sockets that reach an upstream."""
    return socket.AF_INET6 if upstream.is_ipv6 else socket.AF_INET


def destination(upstream: Upstream, sock: socket.socket) -> tuple[str, int] | tuple[str, int, int, int]:
    """What to connect to. A scope that is a name becomes the socket's device: it is one of the socket's namespace."""
    address, _, scope = upstream.address.partition("%")
    if not scope:
        return address, upstream.port
    if scope.isdigit():
        return address, upstream.port, 0, int(scope)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, scope.encode() + b"\0")
    return address, upstream.port
