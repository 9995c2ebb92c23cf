"""Whose a link-local address is: our own, or somebody's beyond one of our interfaces, as the kernel has these.

A link-local address lies in no network's subnet, and says nothing without its interface (RFC 4007 6). What tells the
network is that interface: its other addresses lie in the network's subnets.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from resolver.wire.name import IPAddress

KEEP_S = 0.1
"""For how long the interfaces are taken to be as they were read."""
_PREFIXES = ("169.254.", "fe8", "fe9", "fea", "feb")
_LOOPBACK = 1  # the index of `lo` in every namespace (linux/include/net/net_namespace.h)

# rtnetlink(7), linux/rtnetlink.h, linux/if_addr.h
_RTM_NEWADDR, _RTM_GETADDR = 20, 22
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_DUMP = 0x301
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_MESSAGE = struct.Struct("=IHHII")
_ADDRESS = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_RECEIVE_SIZE = 1 << 16


class _Held(NamedTuple):
    address: IPAddress
    interface: int


def is_link_local(host: str) -> bool:
    """Whether a client's address, as the socket module writes it, is link-local (RFC 4291 2.5.6, RFC 3927)."""
    return host.startswith(_PREFIXES) and ipaddress.ip_address(host).is_link_local


def host_of(client: tuple[Any, ...]) -> str:
    """A client's address with its interface, which Python leaves out of a socket's address: ``fe80::1%eth0``."""
    host: str = client[0]
    if len(client) < 4 or not client[3] or "%" in host:
        return host
    try:
        return f"{host}%{socket.if_indextoname(client[3])}"
    except OSError:
        return f"{host}%{client[3]}"


class Neighbours:
    """The interfaces of this process's namespace."""

    def __init__(self) -> None:
        self._held: tuple[_Held, ...] = ()
        self._read_at = float("-inf")

    def on_link(self, host: str) -> tuple[IPAddress, ...] | None:
        """What addresses we have on the link of a client with a link-local address; None when the client is ourselves.

        None are known of an IPv4 address, which comes without its interface, or when the kernel does not say.
        """
        address, _, scope = host.partition("%")
        client, interface = ipaddress.ip_address(address), _index_of(scope)
        held = self._now()
        if any(one.address == client and interface in (0, one.interface, _LOOPBACK) for one in held):
            return None
        return tuple(one.address for one in held if one.interface == interface and not one.address.is_link_local)

    def _now(self) -> tuple[_Held, ...]:
        now = time.monotonic()
        if now >= self._read_at + KEEP_S:
            try:
                self._held = tuple(_read())
            except OSError:
                self._held = ()
            self._read_at = now
        return self._held


def _index_of(scope: str) -> int:
    """The index of an interface by its name, or by its number where it had no name; 0 when there is none."""
    try:
        return socket.if_nametoindex(scope) if scope else 0
    except OSError:
        return int(scope) if scope.isdecimal() else 0


def _read() -> Iterator[_Held]:
    """Every address of every interface. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as kernel:
        kernel.settimeout(KEEP_S)  # it answers while it is asked
        size = _MESSAGE.size + _ADDRESS.size
        kernel.send(_MESSAGE.pack(size, _RTM_GETADDR, _DUMP, 1, 0) + _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0))
        while True:
            data = kernel.recv(_RECEIVE_SIZE)
            start = 0
            while start + _MESSAGE.size <= len(data):
                length, kind, _, _, _ = _MESSAGE.unpack_from(data, start)
                if kind in (_NLMSG_DONE, _NLMSG_ERROR) or length < _MESSAGE.size:
                    return
                if kind == _RTM_NEWADDR:
                    yield from _address_in(data[start + _MESSAGE.size : start + length])
                start += -(-length // 4) * 4


def _address_in(body: bytes) -> Iterator[_Held]:
    *_, interface = _ADDRESS.unpack_from(body)
    found: dict[int, bytes] = {}
    start = _ADDRESS.size
    while start + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, start)
        if length < _ATTRIBUTE.size:
            break
        found[kind] = body[start + _ATTRIBUTE.size : start + length]
        start += -(-length // 4) * 4
    own = found.get(_IFA_LOCAL, found.get(_IFA_ADDRESS, b""))  # of a point-to-point link the other one is the peer's
    if len(own) in (4, 16):
        yield _Held(ipaddress.ip_address(own), interface)
