"""The registry file in TOML (design.md 8; docs/registry.md): networks and the endpoints on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

import msgspec

from resolver.errors import Fault
from resolver.intake.convert import Report, faults_at, to_struct
from resolver.intake.toml import Lines, Path, parse
from resolver.registry.model import Contribution, Endpoint, Network, Origin, Port
from resolver.sources.base import Complain, Loaded, check_name, loaded, parse_address, parse_subnet
from resolver.wire.name import IPAddress

PROTOCOLS = ("tcp", "udp", "sctp")

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
    ports: list[PortNumber | str | PortSpec] = []
    labels: dict[str, str] = {}
    ttl: Ttl | None = None
    dns: list[str] = []


class NetworkSpec(msgspec.Struct, forbid_unknown_fields=True):
    """The keys of ``[networks.NET]``."""

    subnets: list[str] = []
    gateways: list[str] = []
    internal: bool = False
    ttl: Ttl | None = None
    priority: int = 0
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
        check_name(name, self._complain(*path))
        spec = to_struct(body, NetworkSpec, path, self.report)
        at_subnets, at_gateways = self._complain(*path, "subnets"), self._complain(*path, "gateways")
        subnets = [subnet for text in spec.subnets if (subnet := parse_subnet(text, at_subnets)) is not None]
        gateways = [address for text in spec.gateways if (address := parse_address(text, at_gateways)) is not None]
        network = Network(
            name,
            tuple(subnets),
            tuple(gateways),
            spec.internal,
            spec.ttl,
            spec.priority,
            origin=Origin(self._place, self._line_of(path)),
        )
        for gateway in gateways:
            self._check_inside(network, gateway, at_gateways)
        endpoints = [self._endpoint(network, key, value) for key, value in spec.endpoints.items()]
        return replace(network, endpoints=tuple(endpoints))

    def _endpoint(self, network: Network, name: str, body: object) -> Endpoint:
        path = ("networks", network.name, "endpoints", name)
        check_name(name, self._complain(*path))
        spec = to_struct(body, EndpointSpec, path, self.report)
        at = self._complain(*path, "addresses")
        texts = spec.addresses or ()
        if isinstance(body, Mapping) and body.get("addresses") == []:
            at("an endpoint needs at least one address", 'write addresses = ["172.18.0.2"]')
        addresses = [address for text in texts if (address := parse_address(text, at)) is not None]
        for address in addresses:
            self._check_inside(network, address, at)
        for alias in spec.aliases:
            check_name(alias, self._complain(*path, "aliases"), wildcard=True)
        if spec.hostname is not None:
            check_name(spec.hostname, self._complain(*path, "hostname"))
        if spec.id is not None:
            check_name(spec.id[:12], self._complain(*path, "id"))
        at_dns = self._complain(*path, "dns")
        servers = [str(address) for text in spec.dns if (address := parse_address(text, at_dns)) is not None]
        return Endpoint(
            name=name,
            addresses=tuple(addresses),
            id=spec.id,
            aliases=tuple(spec.aliases),
            hostname=spec.hostname,
            links=self._links(spec, path),
            ports=self._ports(spec, path),
            labels=tuple(spec.labels.items()),
            ttl=spec.ttl,
            servers=tuple(servers),
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
        at = self._complain(*path, "links")
        links: list[tuple[str, str]] = []
        for target, aliases in spec.links.items():
            check_name(target, at)
            names = [aliases] if isinstance(aliases, str) else aliases
            links.extend((alias, target) for alias in names if check_name(alias, at))
        return tuple(links)

    def _ports(self, spec: EndpointSpec, path: Path) -> tuple[Port, ...]:
        at = self._complain(*path, "ports")
        ports = []
        for item in spec.ports:
            if isinstance(item, PortSpec):
                number, protocol, name = item.port, item.protocol, item.name
            else:
                text, _, protocol = str(item).partition("/")
                protocol, name = protocol or "tcp", None
                number = int(text) if text.isascii() and text.isdigit() else 0
            if not 1 <= number <= 65535 or protocol not in PROTOCOLS:
                at(
                    f"{item!r} is not a port",
                    'write "5432/tcp" or { port = 5432, protocol = "tcp", name = "sql" }',
                )
            elif name is None or check_name(name, at):
                ports.append(Port(number, protocol, name))
        return tuple(ports)
