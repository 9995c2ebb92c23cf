"""Datagrams of look-ups in their usual course (`usual`): each from a port of its own, all replies taken at once.

There are two kinds with the same use: the compiled one (resolver/_ask.c), and this one, where there was no compiler.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Protocol

from resolver import compiled
from resolver.forward.transports import NON_BLOCKING, hear_errors
from resolver.forward.upstreams import Upstream
from resolver.wire.constants import MAX_MESSAGE_SIZE

Facts = tuple[int, int, int, int, tuple[tuple[int, int], ...], tuple[int, ...] | None]
"""What stands where in a reply that is nothing out of the ordinary: whole, not truncated, with our id and question.

rcode, which is NOERROR or NXDOMAIN; offsets of the end of the question, and of the end of the records without an OPT
(which, if there is one, is the last, and empty); the least TTL of an answer that has what was asked for, or for how
long a SOA denies that there is any (RFC 2308 5), -1 where it is neither; offset and TTL of every other record than the
OPT; and the offsets of those of SOA records where there is a denial, None where there is none.
"""
Taken = tuple[Any, bytes | int, Facts | None]
"""Who asked, the message that came or the errno of what is broken, and what is known of the message."""

KEPT = 64
"""So many sockets at most are kept for queries to come; none of them has a port meanwhile."""
_MAX_EVENTS = 64


class Datagrams(Protocol):
    """Queries that are under way."""

    def __len__(self) -> int:
        """How many."""

    def fileno(self) -> int:
        """A descriptor that is readable when something has come."""

    def ask(self, place: bytes, query: bytes, owner: Any, /) -> int:
        """Send a query to a place (`place_of`); by the number that is returned it is ended. Raises OSError."""

    def end(self, number: int, /) -> None:
        """Nobody waits for it any more; its port is let go of at once."""

    def hand_over(self, number: int, /) -> int:
        """End it without letting go of the socket: its descriptor, which is the caller's to close."""

    def take(self) -> list[Taken]:
        """Some of what has come. An owner is still under way after it."""

    def close(self) -> None:
        """End all. May be called twice."""


class PlainDatagrams:
    """The same in Python: a socket for each query, and nothing is known of what comes."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._asked: dict[int, tuple[Any, socket.socket]] = {}

    def __len__(self) -> int:
        return len(self._asked)

    def fileno(self) -> int:
        """As `Datagrams.fileno`."""
        return self._epoll.fileno()

    def ask(self, place: bytes, query: bytes, owner: Any, /) -> int:
        """As `Datagrams.ask`."""
        family = socket.AF_INET if len(place) == _SIZE_4 else socket.AF_INET6
        sock = socket.socket(family, socket.SOCK_DGRAM | NON_BLOCKING, 0)
        try:
            hear_errors(sock)
            sock.connect((socket.inet_ntop(family, place[:-2]), int.from_bytes(place[-2:], "big")))
            sock.send(query)
            number = sock.fileno()
            self._epoll.register(number, select.EPOLLIN)
        except OSError:
            sock.close()
            raise
        self._asked[number] = owner, sock
        return number

    def end(self, number: int, /) -> None:
        """As `Datagrams.end`."""
        self._asked.pop(number)[1].close()

    def hand_over(self, number: int, /) -> int:
        """As `Datagrams.hand_over`."""
        self._epoll.unregister(number)
        return self._asked.pop(number)[1].detach()

    def take(self) -> list[Taken]:
        """As `Datagrams.take`."""
        found: list[Taken] = []
        for number, _ in self._epoll.poll(0, _MAX_EVENTS):
            owner, sock = self._asked[number]
            try:
                found.append((owner, sock.recv(MAX_MESSAGE_SIZE), None))
            except BlockingIOError:
                continue  # its checksum was wrong
            except OSError as error:
                found.append((owner, error.errno or 0, None))
        return found

    def close(self) -> None:
        """As `Datagrams.close`."""
        for _, sock in self._asked.values():
            sock.close()
        self._asked.clear()
        self._epoll.close()


_SIZE_4 = 6


def new_datagrams() -> Datagrams:
    """The compiled kind where it is there."""
    if compiled.ask is None:
        return PlainDatagrams()
    make: Callable[[int], Datagrams] = compiled.ask.Sockets
    return make(KEPT)


@lru_cache(maxsize=4096)
def place_of(upstream: Upstream) -> bytes | None:
    """Address and port of an upstream in network order; None of one that is not asked by a mere datagram from here."""
    if not upstream.is_datagram or upstream.is_named or upstream.in_namespace or "%" in upstream.address:
        return None
    return ip_address(upstream.address).packed + upstream.port.to_bytes(2, "big")
