"""Upstreams as values: read from text, written back, told apart from our own listeners.

No I/O here, not even a look at the interfaces: a scope (``%eth0``) stays a name until a socket is made for it.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Iterable, Set
from dataclasses import dataclass, field

DNS_PORT = 53
MAX_PORT = 65535

_LOOPBACKS = {4: "127.0.0.1", 6: "::1"}
_WILDCARDS = {4: ("0.0.0.0", "::"), 6: ("::",)}
_HOST_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_MAX_HOST_SIZE = 253
_OTHER_PORT = re.compile(r"\[?([^\[\]#@]+)\]?([#@])(\d+)")  # as dnsmasq and unbound have it
_PATH = re.compile(r"/[!-~]*")
DOH_PATH = "/dns-query"
_TEMPLATE = "{?dns}"  # RFC 8484 writes a server's URI so; a POST has no use for the variable


class Transport(enum.StrEnum):
    """How a query travels; the values are the schemes of URLs."""

    UDP = "udp"
    """Datagrams, and TCP for what does not fit (RFC 1035 4.2)."""
    TCP = "tcp"
    """TCP alone (RFC 7766)."""
    TLS = "tls"
    """DNS over TLS (RFC 7858)."""
    HTTPS = "https"
    """DNS over HTTPS (RFC 8484)."""
    SYSTEM = "system"
    """The host's own name service, nsswitch.conf(5) and all; it has no address."""


DEFAULT_PORTS = {Transport.UDP: DNS_PORT, Transport.TCP: DNS_PORT, Transport.TLS: 853, Transport.HTTPS: 443}
_WITH_CERTIFICATE = (Transport.TLS, Transport.HTTPS)


@dataclass(frozen=True, slots=True)
class Upstream:
    """A server that look-ups are forwarded to: RFC 9499's *upstream* as a *forwarder* sees it."""

    address: str
    """Canonical; an IPv6 link-local one may carry its ``%scope``. Empty when the server is known by name only."""
    port: int = DNS_PORT
    in_namespace: bool = False
    """True when its sockets are made in the container's network namespace rather than in ours."""
    transport: Transport = Transport.UDP
    name: str = ""
    """Whom its certificate must be for, and who is looked up when there is no address; empty: the address itself."""
    path: str = ""
    """Of a DoH server."""
    _hash: int = field(init=False, repr=False, compare=False, default=0)

    def __post_init__(self) -> None:
        parts = (self.address, self.port, self.in_namespace, self.transport, self.name, self.path)
        object.__setattr__(self, "_hash", hash(parts))

    def __hash__(self) -> int:
        return self._hash  # a look-up finds something by its upstream a dozen times

    @property
    def is_ipv6(self) -> bool:
        """True for an IPv6 address."""
        return ":" in self.address

    @property
    def is_datagram(self) -> bool:
        """True when replies may be truncated, and are then fetched over TCP."""
        return self.transport is Transport.UDP

    @property
    def is_named(self) -> bool:
        """True when its address has to be looked up first."""
        return not self.address and self.transport is not Transport.SYSTEM

    def __str__(self) -> str:
        if self.transport is Transport.SYSTEM:
            return SYSTEM_WORD
        host = f"[{self.address}]" if self.is_ipv6 else self.address or self.name
        if self.transport is Transport.UDP and self.address:
            return f"{host}:{self.port}"
        port = "" if self.port == DEFAULT_PORTS[self.transport] else f":{self.port}"
        name = f"#{self.name}" if self.address and self.name else ""
        return f"{self.transport}://{host}{port}{self.path}{name}"


SYSTEM_WORD = "system"
SYSTEM = Upstream("", 0, transport=Transport.SYSTEM)


def parse_upstream(text: str) -> Upstream:
    """The upstream that ``text`` names.

    An address alone (``10.0.0.53``, ``10.0.0.53:5353``, ``[fd00::53]:53``, ``fe80::1%eth0``), ``system``, or one of
    the schemes ``udp://``, ``tcp://``, ``tls://`` and ``https://`` before an address or a host name; the name that a
    certificate must have follows an address as ``#NAME`` (``tls://10.0.0.53#dns.example``,
    ``https://10.0.0.53/dns-query#dns.example``). Raises ValueError, with a sentence for a person, for anything else.
    """
    text = text.strip()
    if text.lower() == SYSTEM_WORD:
        return SYSTEM
    scheme, separator, rest = text.partition("://")
    if not separator:
        return parse_nameserver(text)
    try:
        transport = Transport(scheme.lower())
    except ValueError:
        transport = Transport.SYSTEM
    if transport is Transport.SYSTEM:
        raise ValueError(f"{scheme}:// is no kind of upstream; there are udp://, tcp://, tls:// and https://")
    rest, hash_mark, name = rest.partition("#")
    authority, slash, tail = rest.partition("/")
    if "@" in authority:
        raise ValueError(
            f"an upstream's URL has no user and no password; leave out what stands before the @ of {scheme}://"
        )
    if authority.startswith("["):
        authority = authority.replace("%25", "%", 1)  # RFC 6874 2
    path = _path(slash + tail, transport, text)
    host, port = _split_port(authority, text, DEFAULT_PORTS[transport])
    if hash_mark:
        if transport not in _WITH_CERTIFICATE:
            raise ValueError(f"{text!r} names a certificate, and {transport}:// has none; write tls:// or https://")
        name = _host_name(name, text)
    address = _address(host, text)
    if address is None:
        if hash_mark:
            raise ValueError(f"{text!r} has two names; before the # stands an address")
        return Upstream("", port, transport=transport, name=_host_name(host, text), path=path)
    return Upstream(address, port, transport=transport, name=name, path=path)


def parse_nameserver(text: str, in_namespace: bool = False) -> Upstream:
    """The plain DNS server at an address, as resolv.conf and ``--dns`` name it; ``udp://`` may precede, a port follow.

    Raises ValueError, with a sentence for a person, for a name or a scheme, or for a port outside 1 to 65535.
    """
    plain = text.removeprefix("udp://")
    if "://" in plain:
        raise ValueError(f"{text!r} is no address; here stands the address of a plain DNS server")
    host, port = _split_port(plain, text, DNS_PORT)
    address = _address(host, text)
    if address is None and (split := _OTHER_PORT.fullmatch(plain)) is not None and _address(split[1], text):
        shown = f"[{split[1]}]" if ":" in split[1] else split[1]
        raise ValueError(f"{text!r} has its port behind {split[2]!r}; here that is written {shown}:{split[3]}")
    if address is None:
        raise ValueError(f"{text!r} is no address; a server without a scheme is an IPv4 or IPv6 address, not a name")
    return Upstream(address, port, in_namespace)


def _address(host: str, text: str) -> str | None:
    """The canonical form of an address; None for what is none."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_multicast or address == ipaddress.IPv4Address("255.255.255.255"):
        raise ValueError(f"{text!r} is a multicast or broadcast address; an upstream is one server")
    return str(address)


def _host_name(host: str, text: str) -> str:
    """A host name in lower case, without a dot at its end; one whose last label is a number is a mistyped address."""
    name = host.removesuffix(".").lower()
    labels = name.split(".")
    if len(name) > _MAX_HOST_SIZE or not all(_HOST_LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit():
        raise ValueError(f"{text!r} has {host!r} where an address or a host name belongs")
    return name


def _path(path: str, transport: Transport, text: str) -> str:
    if transport is not Transport.HTTPS:
        if path not in ("", "/"):
            raise ValueError(f"{text!r} has a path, and {transport}:// has none; leave {path!r} out")
        return ""
    path = path.removesuffix(_TEMPLATE)
    if not path:
        return DOH_PATH
    if not _PATH.fullmatch(path):
        raise ValueError(f"{text!r} has the path {path!r}; write it in ASCII, without spaces")
    return path


def drop_own(upstreams: Iterable[Upstream], own_addresses: Set[tuple[str, int]]) -> tuple[Upstream, ...]:
    """The upstreams without those at which we listen ourselves: a query sent there would come back for ever.

    ``own_addresses`` are our listeners (address, port) in the namespace in which the upstreams' sockets are made; a
    listener on a wildcard address holds every loopback address. Call it once for each namespace.
    """
    return tuple(upstream for upstream in upstreams if not _is_own(upstream, own_addresses))


def _is_own(upstream: Upstream, own_addresses: Set[tuple[str, int]]) -> bool:
    if not upstream.address:
        return False
    address = ipaddress.ip_address(upstream.address)
    if address.is_unspecified:  # to connect to 0.0.0.0 or :: is to connect to this host
        address = ipaddress.ip_address(_LOOPBACKS[address.version])
    taken = {str(address)}
    if address.is_loopback:
        taken.update(_WILDCARDS[address.version])
    return any((text, upstream.port) in own_addresses for text in taken)


def _split_port(rest: str, text: str, default: int) -> tuple[str, int]:
    """Host and port of ``HOST``, ``HOST:PORT``, ``IPV6``, ``[IPV6]`` or ``[IPV6]:PORT``."""
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
        return host, default
    if not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= MAX_PORT):
        raise ValueError(f"{text!r} has port {port!r}; a port is a number from 1 to {MAX_PORT}")
    return host, int(port)
