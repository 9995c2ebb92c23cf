"""The sockets of several processes at one address: all are bound by the feeder, and each worker answers on one.

Linux shares the clients out among the sockets of one user that have SO_REUSEPORT set (socket(7)). The first one is
bound without it, so that an address is refused that somebody else has, be it another pydns with workers. The feeder
keeps all of them open: what comes to a worker that has died waits for the one that follows it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable

from msgspec import structs

from resolver.server.listeners import Address, Listeners, bind
from resolver.server.responder import Responder
from resolver.server.tcp import TcpLimits, TcpListener
from resolver.server.udp import UdpListener

Pair = tuple[socket.socket, socket.socket]
"""UDP and TCP."""


class SocketGroups(Listeners):
    """The addresses of a feeder: bound like those of any server, and never read from."""

    def __init__(self, responder: Responder, limits: TcpLimits, count: int) -> None:
        super().__init__(responder, limits)
        self._count = count
        self._fresh: dict[socket.socket, tuple[Pair, ...]] = {}

    def pairs_of(self, worker: int) -> dict[Address, Pair]:
        """The sockets of a worker, numbered from 0, by their addresses."""
        found = {}
        for address, (udp, _) in self._bound.items():
            assert isinstance(udp, _HeldUdp)
            found[address] = udp.pairs[worker]
        return found

    def _bind_all(self, address: Address, kind: socket.SocketKind) -> list[socket.socket]:
        first = bind(address, kind)
        socks = [first]
        try:
            first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            chosen = structs.replace(address, port=first.getsockname()[1])
            for _ in range(self._count - 1):
                socks.append(bind(chosen, kind, is_shared=True))  # noqa: PERF401 (those bound so far have to be closed)
        except BaseException:
            _close(socks)
            raise
        return socks

    def _bind_sockets(self, address: Address) -> tuple[socket.socket, ...]:
        datagrams = self._bind_all(address, socket.SOCK_DGRAM)
        try:
            streams = self._bind_all(structs.replace(address, port=datagrams[0].getsockname()[1]), socket.SOCK_STREAM)
        except BaseException:
            _close(datagrams)
            raise
        return (*datagrams, *streams)

    async def _start(self, *sockets: socket.socket) -> tuple[UdpListener, TcpListener]:
        pairs = tuple(zip(sockets[: self._count], sockets[self._count :], strict=True))
        return _HeldUdp(pairs, self._responder), _HeldTcp(pairs, self._responder, self._limits)


def _close(socks: Iterable[socket.socket]) -> None:
    for sock in socks:
        sock.close()


class _HeldUdp(UdpListener):
    """Datagram sockets that are held for others."""

    def __init__(self, pairs: tuple[Pair, ...], responder: Responder) -> None:
        super().__init__(pairs[0][0], responder)
        self.pairs = pairs

    def close(self) -> None:
        """Close them all."""
        _close(udp for udp, _ in self.pairs)

    def abort(self) -> None:
        """Close them all."""
        self.close()


class _HeldTcp(TcpListener):
    """Listening stream sockets that are held for others."""

    def __init__(self, pairs: tuple[Pair, ...], responder: Responder, limits: TcpLimits) -> None:
        super().__init__(pairs[0][1], responder, limits)
        self._pairs = pairs

    def close(self) -> None:
        """Close them all."""
        _close(tcp for _, tcp in self._pairs)

    def abort(self) -> None:
        """Close them all."""
        self.close()


class HandedListeners(Listeners):
    """The listeners of a worker: on sockets that its feeder has bound."""

    def __init__(self, responder: Responder, limits: TcpLimits, receive: Callable[[], Pair]) -> None:
        """``receive`` gives the sockets of an address that is new, in the order of the addresses."""
        super().__init__(responder, limits)
        self._receive = receive
        self._handed: dict[Address, Pair] = {}

    async def take(self, wanted: Iterable[Address], handed: dict[Address, Pair]) -> None:
        """Answer at exactly these addresses; for new ones on these sockets."""
        self._handed = handed
        await self.reconcile(wanted)
        self._handed = {}

    async def follow(self, wanted: Iterable[Address], fresh: Iterable[Address]) -> None:
        """The same, with the sockets of the fresh addresses as they come from the feeder."""
        await self.take(wanted, {address: self._receive() for address in fresh})

    def _bind_sockets(self, address: Address) -> tuple[socket.socket, ...]:
        return self._handed[address]


def send_pair(to: socket.socket, pair: Pair) -> None:
    """Hand two sockets over to the process at the other end; raises OSError when it takes none."""
    socket.send_fds(to, [b"\0"], [sock.fileno() for sock in pair])


def receive_pair(of: socket.socket) -> Pair:
    """The next two sockets that were handed over; raises OSError when there are none."""
    _, descriptors, _, _ = socket.recv_fds(of, 1, 2)
    udp, tcp = (socket.socket(fileno=descriptor) for descriptor in descriptors)
    for sock in (udp, tcp):
        sock.setblocking(False)
    return udp, tcp
