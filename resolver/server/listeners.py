"""Which sockets a server has: bound from addresses or handed in, changed by reconciling, closed when it ends."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import os
import resource
import socket
from collections.abc import Iterable
from contextlib import suppress

from msgspec import Struct

from resolver import compiled
from resolver.errors import StartError
from resolver.server.responder import Responder
from resolver.server.tcp import TcpLimits, TcpListener
from resolver.server.udp import UdpListener, WildcardUdpListener

log = logging.getLogger(__name__)

DESCRIPTORS = 65536
"""How many files may be open, where the hard limit lets them: a look-up under way is a socket for each try."""
WILDCARDS = ("0.0.0.0", "::")
RECEIVE_BUFFER = 1 << 20
"""Octets that wait in a UDP socket while the process does something else."""

_REASONS = {
    errno.EADDRINUSE: ("is taken by another program", "choose another port with --listen, or stop that program"),
    errno.EACCES: ("needs the capability CAP_NET_BIND_SERVICE", "choose a port from 1024 on with --listen"),
    errno.EADDRNOTAVAIL: ("is not an address of this machine", "choose one that `ip address` shows"),
    errno.EAFNOSUPPORT: ("is of an address family that this machine has not", "leave it out of --listen"),
}
_PORT_CHOICES = 64
"""How often the kernel may choose a UDP port whose TCP twin is taken."""
_UNAVAILABLE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class Address(Struct, frozen=True):
    """Where to listen: an IP address (an IPv6 one may have a %scope) and a port."""

    host: str
    port: int

    @property
    def family(self) -> socket.AddressFamily:
        """AF_INET or AF_INET6."""
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    def overlaps(self, other: Address) -> bool:
        """True when a socket cannot be bound to both: the same port of one family, one of them for every address."""
        hosts = {self.host, other.host}
        same = self.port == other.port and self.family == other.family
        return same and (len(hosts) == 1 or not hosts.isdisjoint(WILDCARDS))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """An address with a port, ``127.0.0.1:5353`` or ``[::1]:5353``; without one it is :53.

    Port 0 lets the kernel choose. Raises ValueError, with a sentence for a person.
    """
    host, port_text = text, "53"
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{text!r} is not an address and a port")
        port_text = rest[1:] if rest else "53"
    elif text.count(":") == 1:
        host, _, port_text = text.partition(":")
    try:
        host = str(ipaddress.ip_address(host))
    except ValueError:
        where = f" in {text!r}" if host != text else ""
        raise ValueError(f"{host!r}{where} is not an IP address") from None
    if not (port_text.isascii() and port_text.isdigit() and int(port_text) <= 65535):
        raise ValueError(f"{port_text!r} in {text!r} is not a port from 0 to 65535")
    return Address(host, int(port_text))


def bind(address: Address, kind: socket.SocketKind, *, is_shared: bool = False) -> socket.socket:
    """A non-blocking socket bound to the address; a stream socket listens too. Raises StartError in plain words.

    With ``is_shared`` others that are so (socket(7), SO_REUSEPORT) may have the address already.
    """
    sock = None
    try:
        sock = socket.socket(address.family, kind)
        if address.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if is_shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        sock.setblocking(False)
        host = address.host.encode()  # of text Python would make IDNA, and load its tables
        sock.bind(socket.getaddrinfo(host, address.port, address.family, kind, 0, socket.AI_NUMERICHOST)[0][4])
        if kind == socket.SOCK_STREAM:
            sock.listen(1024)
    except OSError as error:
        if sock is not None:
            sock.close()
        protocol = "TCP" if kind == socket.SOCK_STREAM else "UDP"
        reason, fix = _REASONS.get(error.errno or 0, (f"cannot be used: {os.strerror(error.errno or 0)}", ""))
        raise StartError(f"{protocol} {address} {reason}" + (f"; {fix}" if fix else "")) from error
    return sock


def _errno_of(error: StartError) -> int | None:
    return error.__cause__.errno if isinstance(error.__cause__, OSError) else None


def raise_descriptor_limit() -> None:
    """Shells and systemd give a soft limit of 1,024, for the sake of programs that use select(2)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Listeners:
    """The listeners of one server."""

    def __init__(self, responder: Responder, limits: TcpLimits) -> None:
        self._responder = responder
        self._limits = limits
        self._bound: dict[Address, tuple[UdpListener, TcpListener]] = {}
        self._given: list[tuple[UdpListener, TcpListener]] = []
        self._leaving: dict[Address, tuple[UdpListener, TcpListener]] = {}
        """No longer wanted: they answer what was asked, and their connections."""

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where the server listens by its own binding, with the ports that the kernel chose."""
        return tuple(Address(known.host, udp.port) for known, (udp, _) in self._bound.items())

    async def reconcile(self, wanted: Iterable[Address], *, may_lack: bool = False) -> None:
        """Listen on exactly these addresses: new ones are bound first, then those no longer wanted are closed.

        Nothing changes when one cannot be bound (StartError). With ``may_lack`` an address that this machine does not
        have is passed over, as long as another one is left: the default list names ::1 also where IPv6 is off.
        """
        wanted = tuple(dict.fromkeys(wanted))
        fresh: dict[Address, tuple[socket.socket, ...]] = {}
        try:
            for address in wanted:
                if address not in self._bound:
                    if address in self._leaving:
                        self._leaving[address][0].abort()
                    pair = self._bind_pair(address, may_lack and len(wanted) > 1)
                    if pair is not None:
                        fresh[address] = pair
        except StartError as error:
            for pair in fresh.values():
                for sock in pair:
                    sock.close()
            own = [str(known) for known in self._bound if known not in wanted and known.overlaps(address)]
            if own and _errno_of(error) == errno.EADDRINUSE:
                text = f"{address} overlaps {', '.join(own)}, where pydns itself listens; restart it to change that"
                raise StartError(text) from error
            raise
        for address, pair in fresh.items():
            self._bound[address] = await self._start(*pair)
        for address in [known for known in self._bound if known not in wanted]:
            if address in self._leaving:
                self._leaving[address][1].abort()
            self._leaving[address] = udp, tcp = self._bound.pop(address)
            udp.close()
            tcp.close()

    def limit(self, limits: TcpLimits) -> None:
        """Hold TCP clients that connect from now on to other limits."""
        self._limits = limits
        for _, tcp in [*self._bound.values(), *self._given]:
            tcp.limits = limits

    async def adopt(self, udp: socket.socket, tcp: socket.socket) -> None:
        """Answer on sockets that somebody else has bound (inside a namespace)."""
        self._given.append(await self._start(udp, tcp))

    def stop(self) -> None:
        """Read no more queries and accept no more connections; what was asked can still be answered."""
        for udp, tcp in [*self._bound.values(), *self._given]:
            udp.stop()
            tcp.close()

    def close(self) -> None:
        """End every connection and close every socket."""
        for udp, tcp in [*self._bound.values(), *self._given]:
            udp.abort()
            tcp.abort()
        for udp, tcp in self._leaving.values():
            udp.abort()
            tcp.abort()

    def _bind_pair(self, address: Address, may_lack: bool) -> tuple[socket.socket, ...] | None:
        for choices_left in reversed(range(_PORT_CHOICES if address.port == 0 else 1)):
            try:
                return self._bind_sockets(address)
            except StartError as error:
                if may_lack and _errno_of(error) in _UNAVAILABLE:
                    log.warning("%s; going on without it", error)
                    return None
                if not choices_left or _errno_of(error) != errno.EADDRINUSE:
                    raise
        raise AssertionError("the last choice returns or raises")

    def _bind_sockets(self, address: Address) -> tuple[socket.socket, ...]:
        """What `_start` makes listeners of: UDP and TCP at the same port."""
        udp = bind(address, socket.SOCK_DGRAM)
        try:
            return udp, bind(Address(address.host, udp.getsockname()[1]), socket.SOCK_STREAM)
        except StartError:
            udp.close()
            raise

    async def _start(self, *sockets: socket.socket) -> tuple[UdpListener, TcpListener]:
        udp, tcp = sockets
        loop = asyncio.get_running_loop()
        is_wildcard = udp.getsockname()[0] in WILDCARDS
        answering = udp_listener(udp, self._responder, is_wildcard=is_wildcard)
        tcp_listener = TcpListener(tcp, self._responder, self._limits)
        answering.start(loop)
        await tcp_listener.start(loop)
        return answering, tcp_listener


def udp_listener(sock: socket.socket, responder: Responder, *, is_wildcard: bool) -> UdpListener:
    """The listener for a bound socket: on the compiled lane where there is one, else in Python."""
    if compiled.lane is None:
        return (WildcardUdpListener if is_wildcard else UdpListener)(sock, responder)
    from resolver.server.lane import LaneUdpListener

    return LaneUdpListener(sock, responder, is_wildcard=is_wildcard)
