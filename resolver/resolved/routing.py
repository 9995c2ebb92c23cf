"""What systemd-resolved has been told, as upstreams and routes. No I/O.

Its rules (systemd-resolved.service(8), "Protocols and Routing"; resolved-dns-scope.c): a link answers names at or below
its domains, search or route-only alike; the longest domain wins, and links that share it are asked alike. The domain
``.`` (``~.``) is one of no label: it takes what no other domain does, so that default routes are not asked any more.
Without it the names of nobody's domain go to the global servers and to the links that are default routes. A link that
is down, or has no server, has no say. Where resolved asks all of them at once, we ask in the order of `forward.order`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

from msgspec import Struct, field

from resolver.forward.routes import Route, Target
from resolver.forward.upstreams import DEFAULT_PORTS, Upstream
from resolver.forward.upstreams import Transport as By
from resolver.wire.name import ROOT, WireName, fold, from_text

GLOBAL = 0
"""In the place of an interface's index: what belongs to no link."""
STUBS = ("127.0.0.53", "127.0.0.54")
"""Where resolved itself listens (resolved.conf(5), DNSStubListener=)."""
SHOWN_AS = "systemd-resolved"
_STRICT_TLS = "yes"
_GLOBAL_NAME = "global"


class Server(Struct, frozen=True):
    """One element of the property DNSEx."""

    ifindex: int
    address: bytes
    port: int = 0
    """0 stands for the usual one."""
    name: str = ""
    """Whom its certificate must be for."""


class Domain(Struct, frozen=True):
    """One element of the property Domains; search and route-only domains route alike."""

    ifindex: int
    name: str


class Link(Struct, frozen=True):
    """An interface that has servers."""

    name: str
    """Empty when this namespace has no such interface."""
    has_scope: bool
    """True when resolved asks by it: it is up and has an address."""
    is_default_route: bool
    dns_over_tls: str
    """yes, opportunistic or no."""


class Facts(Struct, frozen=True):
    """Everything that resolved has said at one time."""

    servers: tuple[Server, ...] = ()
    domains: tuple[Domain, ...] = ()
    links: Mapping[int, Link] = field(default_factory=dict)
    dns_over_tls: str = "no"
    """For the global servers."""


class Imported(Struct, frozen=True):
    """What is made of it."""

    upstreams: tuple[Upstream, ...] = ()
    """Everybody's."""
    routes: tuple[Route, ...] = ()
    """By suffix, the suffix ``.`` among the upstreams above."""

    @property
    def is_empty(self) -> bool:
        """True when nobody would be asked for anything."""
        return not self.upstreams and not self.routes


def imported(facts: Facts) -> Imported:
    """The upstreams and routes that do as resolved does; what makes no sense is passed over."""
    scopes = _scopes(facts)
    by_suffix: dict[WireName, dict[int, str]] = {}
    for domain in facts.domains:
        suffix = _suffix(domain.name)
        if suffix is not None and domain.ifindex in scopes:
            by_suffix.setdefault(suffix, {})[domain.ifindex] = domain.name
    everything = by_suffix.pop(ROOT, None)
    defaults = [index for index in scopes if index == GLOBAL or facts.links[index].is_default_route]
    return Imported(
        _servers_of(scopes, defaults if everything is None else everything),
        tuple(
            Route(_shown(sharing, facts), (suffix,), Target.UPSTREAMS, _servers_of(scopes, sharing))
            for suffix, sharing in by_suffix.items()
        ),
    )


def _scopes(facts: Facts) -> dict[int, tuple[Upstream, ...]]:
    """The servers of all that have a say: the global ones, then link by link (resolved's own order is any)."""
    found: dict[int, list[Upstream]] = {}
    for server in sorted(facts.servers, key=lambda server: server.ifindex):
        link = facts.links.get(server.ifindex)
        if server.ifindex != GLOBAL and (link is None or not link.has_scope):
            continue
        upstream = _upstream(server, link, facts.dns_over_tls if link is None else link.dns_over_tls)
        if upstream is not None:
            found.setdefault(server.ifindex, []).append(upstream)
    return {index: tuple(upstreams) for index, upstreams in found.items()}


def _servers_of(scopes: Mapping[int, tuple[Upstream, ...]], indices: Iterable[int]) -> tuple[Upstream, ...]:
    wanted = set(indices)
    return tuple(dict.fromkeys(each for index, servers in scopes.items() if index in wanted for each in servers))


def _upstream(server: Server, link: Link | None, dns_over_tls: str) -> Upstream | None:
    """None for a server that is resolved's own stub, or cannot be reached from here."""
    try:
        address = ipaddress.ip_address(server.address)
    except ValueError:
        return None
    text = str(address)
    by = By.TLS if dns_over_tls == _STRICT_TLS else By.UDP
    port = server.port or DEFAULT_PORTS[by]
    if text in STUBS and port == DEFAULT_PORTS[By.UDP]:
        return None
    if address.version == 6 and address.is_link_local:
        if link is None or not link.name:
            return None
        text = f"{text}%{link.name}"
    return Upstream(text, port, transport=by, name=server.name if by is By.TLS else "")


def _suffix(domain: str) -> WireName | None:
    if domain in (".", ""):
        return ROOT
    try:
        return fold(from_text(domain))
    except ValueError:
        return None


def _shown(sharing: Mapping[int, str], facts: Facts) -> str:
    """For people: the domain as resolved has it, and whose it is."""
    links = ", ".join(_GLOBAL_NAME if index == GLOBAL else facts.links[index].name or str(index) for index in sharing)
    return f"{next(iter(sharing.values())).removesuffix('.')} ({SHOWN_AS}, {links})"
