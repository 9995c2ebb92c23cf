"""Upstreams as values: read from text, written back, told apart from our own listeners.

No I/O here, not even a look at the interfaces: a scope (``%eth0``) stays a name until a socket is made for it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Set
from dataclasses import dataclass

DNS_PORT = 53
MAX_PORT = 65535

_SCHEMES_TO_COME = ("tcp", "tls", "https", "quic")
_LOOPBACKS = {4: "127.0.0.1", 6: "::1"}
_WILDCARDS = {4: ("0.0.0.0", "::"), 6: ("::",)}


@dataclass(frozen=True, slots=True)
class Upstream:
    """A server that look-ups are forwarded to: RFC 9499's *upstream* as a *forwarder* sees it."""

    address: str
    """Canonical; an IPv6 link-local one may carry its ``%scope``."""
    port: int = DNS_PORT
    in_namespace: bool = False
    """True when its sockets are made in the container's network namespace rather than in ours."""

    @property
    def is_ipv6(self) -> bool:
        """True for an IPv6 address."""
        return ":" in self.address

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if self.is_ipv6 else f"{self.address}:{self.port}"


def parse_upstream(text: str, in_namespace: bool = False) -> Upstream:
    """The upstream that ``text`` names: ``10.0.0.53``, ``10.0.0.53:5353``, ``[fd00::53]:53``, ``fe80::1%eth0``.

    ``udp://`` may stand in front; a query that comes by TCP goes upstream by TCP all the same. Raises ValueError, with
    a sentence for a person, for any other scheme, a name in place of an address, or a port outside 1 to 65535.
    """
    scheme, separator, rest = text.partition("://")
    if separator:
        if scheme in _SCHEMES_TO_COME:
            raise ValueError(f"{scheme}:// upstreams are not there yet; write udp://ADDRESS or just the address")
        if scheme != "udp":
            raise ValueError(f"{scheme}:// is no kind of upstream; write udp://ADDRESS or just the address")
    else:
        rest = text
    if rest == "system":
        raise ValueError("the upstream 'system' is not there yet; write the address of a server")
    host, port = _split_port(rest, text)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(f"{text!r} is no address; an upstream is an IPv4 or IPv6 address, not a name") from None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_multicast or address == ipaddress.IPv4Address("255.255.255.255"):
        raise ValueError(f"{text!r} is a multicast or broadcast address; an upstream is one server")
    return Upstream(str(address), port, in_namespace)


def drop_own(upstreams: Iterable[Upstream], own_addresses: Set[tuple[str, int]]) -> tuple[Upstream, ...]:
    """The upstreams without those at which we listen ourselves: a query sent there would come back for ever.

    ``own_addresses`` are our listeners (address, port) in the namespace in which the upstreams' sockets are made; a
    listener on a wildcard address holds every loopback address. Call it once for each namespace.
    """
    return tuple(upstream for upstream in upstreams if not _is_own(upstream, own_addresses))


def _is_own(upstream: Upstream, own_addresses: Set[tuple[str, int]]) -> bool:
    address = ipaddress.ip_address(upstream.address)
    if address.is_unspecified:  # to connect to 0.0.0.0 or :: is to connect to this host
        address = ipaddress.ip_address(_LOOPBACKS[address.version])
    taken = {str(address)}
    if address.is_loopback:
        taken.update(_WILDCARDS[address.version])
    return any((text, upstream.port) in own_addresses for text in taken)


def _split_port(rest: str, text: str) -> tuple[str, int]:
    """Address and port of ``ADDRESS``, ``IPV4:PORT``, ``[IPV6]`` or ``[IPV6]:PORT``."""
    if rest.startswith("["):
        host, bracket, tail = rest[1:].partition("]")
        if not bracket or ":" not in host or (tail and not tail.startswith(":")):
            raise ValueError(f"{text!r} is no address; an IPv6 upstream with a port is written [ADDRESS]:PORT")
        port = tail[1:] if tail else None
    elif rest.count(":") == 1:
        host, _, port = rest.partition(":")
    else:
        host, port = rest, None
    if port is None:
        return host, DNS_PORT
    if not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= MAX_PORT):
        raise ValueError(f"{text!r} has port {port!r}; a port is a number from 1 to {MAX_PORT}")
    return host, int(port)
