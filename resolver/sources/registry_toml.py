"""The registry file in TOML (design.md 8; docs/registry.md): networks and the endpoints on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

import msgspec

from resolver.errors import Fault
from resolver.forward.upstreams import parse_nameserver
from resolver.intake.convert import Report, faults_at, to_struct
from resolver.intake.toml import Lines, Path, parse
from resolver.registry.model import SHORT_ID_LENGTH, Contribution, Endpoint, Network, Origin, Port
from resolver.sources.base import Complain, Loaded, loaded, parse_address, parse_name, parse_subnet
from resolver.wire.name import IPAddress

PROTOCOLS = ("tcp", "udp", "sctp")
HOST_GATEWAY = "host-gateway"
"""In place of an address: where the asker reaches the host (Docker's word for it in ``--add-host``)."""

Ttl = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
PortNumber = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class PortSpec(msgspec.Struct, forbid_unknown_fields=True):
    """A port written as a table."""

    port: PortNumber
    protocol: str = "tcp"
    name: str | None = None


class EndpointSpec(msgspec.Struct, forbid_unknown_fields=True):
    """The keys of ``[networks.NET.endpoints.NAME]``."""

    addresses: list[str]
    id: str | None = None
    aliases: list[str] = []
    hostname: str | None = None
    links: dict[str, str | list[str]] = {}
    ports: list[Any] = []
    """Each a number, a text or a `PortSpec`; looked at one by one, so that every wrong one is found."""
    labels: dict[str, str] = {}
    ttl: Ttl | None = None
    dns: list[str] = []
    extra_hosts: dict[str, str | list[str]] = {}
    scope: str | None = None
    priority: int = 0


class NetworkSpec(msgspec.Struct, forbid_unknown_fields=True):
    """The keys of ``[networks.NET]``."""

    subnets: list[str] = []
    gateways: list[str] = []
    internal: bool = False
    ttl: Ttl | None = None
    priority: int = 0
    dns: list[str] = []
    endpoints: dict[str, Any] = {}


class DocumentSpec(msgspec.Struct, forbid_unknown_fields=True):
    """The top of the file."""

    networks: dict[str, Any] = {}


def read(text: str, place: str) -> Loaded:
    """The contribution of one TOML registry file, or every fault in it."""
    raw, syntax = parse(text, place)
    if syntax is not None:
        return Loaded(None, (syntax,))
    faults: list[Fault] = []
    line_of = Lines(text).of
    reader = _Reader(place, line_of, faults_at(place, line_of, faults))
    document = to_struct(raw, DocumentSpec, (), reader.report)
    networks = [reader.network(name, body) for name, body in document.networks.items()]
    return loaded(Contribution(place, tuple(networks)), faults)


class _Reader:
    """Reads the tables of one file; knows where each stands."""

    def __init__(self, place: str, line_of: Callable[[Path], int | None], report: Report) -> None:
        self._place = place
        self._line_of = line_of
        self.report = report

    def _complain(self, *path: str) -> Complain:
        return partial(self.report, path)

    def network(self, name: str, body: object) -> Network:
        path = ("networks", name)
        spec = to_struct(body, NetworkSpec, path, self.report)
        at_subnets, at_gateways = self._complain(*path, "subnets"), self._complain(*path, "gateways")
        subnets = [subnet for text in spec.subnets if (subnet := parse_subnet(text, at_subnets)) is not None]
        gateways = [address for text in spec.gateways if (address := parse_address(text, at_gateways)) is not None]
        network = Network(
            self._name(name, *path),
            tuple(subnets),
            tuple(gateways),
            spec.internal,
            spec.ttl,
            spec.priority,
            self._servers(spec.dns, (*path, "dns")),
            origin=Origin(self._place, self._line_of(path)),
        )
        for gateway in gateways:
            self._check_inside(network, gateway, at_gateways)
        endpoints = [self._endpoint(network, (*path, "endpoints", key), value) for key, value in spec.endpoints.items()]
        return replace(network, endpoints=tuple(endpoints))

    def _name(self, text: str, *path: str, wildcard: bool = False) -> str:
        """The name; a faulty one is reported and stands as it is, in a contribution that is refused."""
        name = parse_name(text, self._complain(*path), wildcard=wildcard)
        return text if name is None else name

    def _endpoint(self, network: Network, path: Path, body: object) -> Endpoint:
        spec = to_struct(body, EndpointSpec, path, self.report)
        at = self._complain(*path, "addresses")
        texts = spec.addresses or ()
        if isinstance(body, Mapping) and body.get("addresses") == []:
            at("an endpoint needs at least one address", 'write addresses = ["172.18.0.2"]')
        addresses = [address for text in texts if (address := parse_address(text, at)) is not None]
        for address in addresses:
            self._check_inside(network, address, at)
        if spec.id is not None and "." in self._name(spec.id[:SHORT_ID_LENGTH], *path, "id"):
            self.report(
                (*path, "id"), f"{spec.id!r} has a dot", f"its first {SHORT_ID_LENGTH} characters are one label"
            )
        return Endpoint(
            name=self._name(path[-1], *path),
            addresses=tuple(addresses),
            id=spec.id,
            aliases=tuple(self._name(alias, *path, "aliases", wildcard=True) for alias in spec.aliases),
            hostname=None if spec.hostname is None else self._name(spec.hostname, *path, "hostname"),
            links=self._links(spec, path),
            ports=self._ports(spec, path),
            labels=tuple(spec.labels.items()),
            ttl=spec.ttl,
            servers=self._servers(spec.dns, (*path, "dns")),
            extra_hosts=self._extra_hosts(spec, (*path, "extra_hosts")),
            scope=spec.scope,
            priority=spec.priority,
            origin=Origin(self._place, self._line_of(path)),
        )

    def _check_inside(self, network: Network, address: IPAddress, complain: Complain) -> None:
        if network.subnets and not network.holds(address):
            subnets = ", ".join(map(str, network.subnets))
            complain(
                f"{address} is outside the subnets of network {network.name!r} ({subnets})",
                "correct the address, or add its subnet",
            )

    def _links(self, spec: EndpointSpec, path: Path) -> tuple[tuple[str, str], ...]:
        at = (*path, "links")
        return tuple(
            (self._name(alias, *at), self._name(target, *at))
            for target, aliases in spec.links.items()
            for alias in ([aliases] if isinstance(aliases, str) else aliases)
        )

    def _servers(self, servers: list[str], path: Path) -> tuple[str, ...]:
        for text in servers:
            try:
                parse_nameserver(text)
            except ValueError as error:
                self.report(path, str(error), "write it like 10.0.0.53 or [fd00::53]:5353")
        return tuple(servers)

    def _extra_hosts(self, spec: EndpointSpec, path: Path) -> tuple[tuple[str, IPAddress | None], ...]:
        found: list[tuple[str, IPAddress | None]] = []
        for name, value in spec.extra_hosts.items():
            bare = self._name(name, *path)
            for text in [value] if isinstance(value, str) else value:
                if text == HOST_GATEWAY:
                    found.append((bare, None))
                elif (address := parse_address(text, self._complain(*path, name))) is not None:
                    found.append((bare, address))
        return tuple(found)

    def _ports(self, spec: EndpointSpec, path: Path) -> tuple[Port, ...]:
        at = self._complain(*path, "ports")
        ports = []
        for item in spec.ports:
            if isinstance(item, Mapping):
                port = to_struct(item, PortSpec, (*path, "ports"), self.report)
                number, protocol, name = port.port or 1, port.protocol, port.name
            else:
                text, _, protocol = str(item).partition("/")
                protocol, name = protocol or "tcp", None
                number = int(text) if len(text) <= 5 and text.isascii() and text.isdigit() else 0
            if not 1 <= number <= 65535 or protocol not in PROTOCOLS:
                at(
                    f"{item!r} is not a port",
                    'write "5432/tcp" or { port = 5432, protocol = "tcp", name = "sql" }',
                )
            elif name is not None and (name.startswith("_") or "." in self._name(name, *path, "ports")):
                at(f"{name!r} is not a service", "write its one label, without the underscore")
            else:
                ports.append(Port(number, protocol, name))
        return tuple(ports)
