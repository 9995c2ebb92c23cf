"""What exists: networks, their endpoints, and the names these are known by. Frozen values; no I/O, no clock.

The words are Docker's: an *endpoint* is one container's place on one network, so a container on two networks is two
endpoints of the same name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from msgspec import Struct

from resolver.wire.name import IPAddress

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

SHORT_ID_LENGTH = 12


class Origin(Struct, frozen=True, gc=False):
    """Where a record was written, so that a person can find it.

    Of this and of `Host` there may be a million: a msgspec struct is smaller and made faster than a dataclass.
    """

    place: str
    line: int | None = None

    def __str__(self) -> str:
        return self.place if self.line is None else f"{self.place}:{self.line}"


class Port(Struct, frozen=True):
    """One port that an endpoint serves; becomes SRV records (RFC 2782)."""

    number: int
    protocol: str
    """``tcp``, ``udp`` or ``sctp``."""
    name: str | None = None
    """The service's name, without its underscore."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One container on one network."""

    name: str
    """The container's name: its first DNS name, and the target of its PTR."""
    addresses: tuple[IPAddress, ...]
    id: str | None = None
    aliases: tuple[str, ...] = ()
    """More names; one that begins with ``*.`` is a wildcard (RFC 4592)."""
    hostname: str | None = None
    links: tuple[tuple[str, str], ...] = ()
    """(alias, container) pairs: what this endpoint alone calls another one."""
    ports: tuple[Port, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    ttl: int | None = None
    servers: tuple[str, ...] = ()
    """Upstreams of this container's own, asked from inside its namespace (Docker's ``--dns``)."""
    extra_hosts: tuple[tuple[str, IPAddress | None], ...] = ()
    """(name, address) pairs that this endpoint alone knows (Docker's ``--add-host``); None is the host's gateway."""
    scope: str | None = None
    """Whose project it belongs to: of several that share a name, those of the asker's own scope answer."""
    priority: int = 0
    """Which of its networks this container asks first: higher before lower, before all else that orders networks
    (Docker's gw-priority)."""
    is_ready: bool = True
    """False while it is not healthy: it is left out where a ready one has the same name."""
    origin: Origin = field(default=Origin("?"), compare=False)

    def dns_names(self) -> tuple[str, ...]:
        """Every plain name, once, in Docker's order: container name, aliases, short id, hostname."""
        if not self.aliases and not self.hostname and self.id is not None and self.name[-1:] != ".":
            short_id = self.id[:SHORT_ID_LENGTH]  # as nearly all are in a large registry
            if short_id[-1:] not in ("", ".") and self.name.lower() != short_id.lower():
                return self.name, short_id
        names = [self.name, *(alias for alias in self.aliases if not alias.startswith("*."))]
        if self.id:
            names.append(self.id[:SHORT_ID_LENGTH])
        if self.hostname:
            names.append(self.hostname)
        return _once(names)

    def wildcards(self) -> tuple[str, ...]:
        """The wildcard aliases, each beginning with ``*.``."""
        return _once(alias for alias in self.aliases if alias.startswith("*."))


def _once(names: Iterable[str]) -> tuple[str, ...]:
    """Each name where it comes first; letter case and a final dot make no other name (RFC 4343)."""
    first: dict[str, str] = {}
    for name in names:
        bare = name.removesuffix(".")
        first.setdefault(bare.lower(), bare)
    return tuple(first.values())


@dataclass(frozen=True, slots=True)
class Network:
    """One network and everything on it."""

    name: str
    subnets: tuple[IPNetwork, ...] = ()
    gateways: tuple[IPAddress, ...] = ()
    internal: bool = False
    ttl: int | None = None
    priority: int = 0
    """Higher is asked first."""
    servers: tuple[str, ...] = ()
    """Upstreams for those on this network that have none of their own."""
    endpoints: Sequence[Endpoint] = ()
    """A tuple, or a `Roll` where there are very many."""
    origin: Origin = field(default=Origin("?"), compare=False)

    @property
    def is_dual_stack(self) -> bool:
        """True when the network has subnets of both address families."""
        return len({subnet.version for subnet in self.subnets}) == 2

    def order(self) -> tuple[int, bool, bool, str]:
        """The sort key in which networks are asked: Docker's order (design.md 2.3)."""
        return (-self.priority, self.internal, not self.is_dual_stack, self.name)

    def holds(self, address: IPAddress) -> bool:
        """True when one of the network's subnets contains the address."""
        return any(address.version == subnet.version and address in subnet for subnet in self.subnets)

    def holding(self) -> Callable[[IPAddress], bool]:
        """A test for many addresses: as `holds`, and always True where the network has no subnets."""
        if not self.subnets:
            return lambda _: True
        spans = [(int(subnet.netmask), int(subnet.network_address), subnet.version) for subnet in self.subnets]

        def holds(address: IPAddress) -> bool:
            number = int(address)
            for mask, prefix, family in spans:  # noqa: SIM110 (a generator costs more than all else here)
                if number & mask == prefix and address.version == family:
                    return True
            return False

        return holds


class Host(Struct, frozen=True, eq=False, gc=False):
    """One line of a hosts file: an address and its names, visible to every asker; equal wherever it was written."""

    address: IPAddress
    names: tuple[str, ...]
    origin: Origin = Origin("?")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Host) and (self.address, self.names) == (other.address, other.names)

    def __hash__(self) -> int:
        return hash((self.address, self.names))


class Contribution(Struct, frozen=True):
    """What one source (one file, one daemon) says exists."""

    source: str
    networks: tuple[Network, ...] = ()
    hosts: tuple[Host, ...] = ()


class Snapshot(Struct, frozen=True):
    """Everything that exists, at one moment; readers keep the one they began with."""

    networks: Mapping[str, Network] = msgspec.field(default_factory=dict)
    """By name, in the order in which networks are asked."""
    hosts: tuple[Host, ...] = ()
    serial: int = 0
    """Grows by one with every change; the serial of our own SOA records."""

    def endpoints(self) -> Iterator[tuple[Network, Endpoint]]:
        """Every endpoint with its network."""
        for network in self.networks.values():
            for endpoint in network.endpoints:
                yield network, endpoint
