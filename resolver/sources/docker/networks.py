"""One network as the API describes it (``GET /networks``, ``GET /networks/{id}``), swarm's services included."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from msgspec import Struct

from resolver.errors import Fault
from resolver.registry.model import IPNetwork
from resolver.sources.base import Complain, parse_address, parse_name, parse_subnet
from resolver.sources.docker.labels import NO_MARKS, Marks, read_labels
from resolver.sources.docker.shape import Complaints, is_true, items, parse_own_address, shown, table, text
from resolver.wire.name import IPAddress

SWARM = "swarm"
"""The scope of networks that span a swarm."""
TASKS = "tasks"
"""``tasks.SERVICE`` is every task of a service."""

_WITHOUT_CONTAINERS = ("host", "null")
"""Drivers of the networks that Docker always lists, host and none: nobody is on them by address."""
_DEFAULT_BRIDGE = "bridge"
"""Docker's name of it; Podman's API calls its network podman so, too."""
_NO_ADDRESS = ("", "<nil>")
"""What the API says where a service has no virtual address."""


class Kind(Enum):
    """What a network is to us."""

    USER = "user-defined: names are served there"
    DEFAULT = "the default bridge: names are served there when the operator asks for it"
    NONE = "nobody has names there: host, none, swarm's ingress, configurations"


class Task(Struct, frozen=True):
    """One task of a service, or one container on another node."""

    name: str
    address: IPAddress


class Service(Struct, frozen=True):
    """A swarm service as one network has it."""

    name: str
    """Empty for containers that belong to no service."""
    vip: IPAddress | None
    """The virtual address; None in DNS round-robin mode."""
    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class Net:
    """One network, without those who are on it."""

    id: str
    name: str
    """As the daemon has it: not always a DNS name, and not always the only one of that name."""
    kind: Kind
    scope: str = "local"
    is_internal: bool = False
    subnets: tuple[IPNetwork, ...] = ()
    gateways: tuple[IPAddress, ...] = ()
    marks: Marks = NO_MARKS
    services: tuple[Service, ...] = ()
    has_services: bool = False
    """True when the API was asked for services, and said which."""
    created: str = field(default="", compare=False)
    """RFC 3339; Podman says the present time."""


def subject_of_network(raw: object) -> str:
    """What a complaint about a network is about."""
    return f"network {text(raw, 'Name') or shown(raw)}"


def read_network(raw: object, place: str) -> tuple[Net | None, tuple[Fault, ...]]:
    """The network, None when it has no id or name; and what was left out."""
    name, network_id = text(raw, "Name"), text(raw, "Id")
    complaints = Complaints(place, subject_of_network(raw))
    if not name or not network_id:
        complaints.at()("it has no Name or no Id", "")
        return None, tuple(complaints.faults)
    kind = _kind(raw, name)
    if kind is Kind.NONE:
        return Net(network_id, name, kind), ()
    subnets, gateways = [], []
    at = complaints.at("IPAM", "Config")
    for config in items(table(raw, "IPAM").get("Config")):
        if (given := text(config, "Subnet")) and (subnet := parse_subnet(given, at)) is not None:
            subnets.append(subnet)
        if (given := text(config, "Gateway")) and (gateway := parse_address(given.partition("/")[0], at)) is not None:
            gateways.append(gateway)
    found = Net(
        id=network_id,
        name=name,
        kind=kind,
        scope=text(raw, "Scope") or "local",
        is_internal=is_true(table(raw).get("Internal")),
        subnets=tuple(dict.fromkeys(subnets)),
        gateways=tuple(dict.fromkeys(gateways)),
        marks=read_labels(table(raw, "Labels"), complaints),
        services=tuple(_services(table(raw, "Services"), name, complaints)),
        has_services="Services" in table(raw),
        created=text(raw, "Created"),
    )
    return found, tuple(complaints.faults)


def _kind(raw: object, name: str) -> Kind:
    driver = text(raw, "Driver")
    if driver in _WITHOUT_CONTAINERS or is_true(table(raw).get("Ingress")) or is_true(table(raw).get("ConfigOnly")):
        return Kind.NONE
    is_default = text(raw, "Options", "com.docker.network.bridge.default_bridge") == "true"
    return Kind.DEFAULT if is_default or (name == _DEFAULT_BRIDGE and driver == "bridge") else Kind.USER


def _services(services: Mapping[str, Any], network: str, complaints: Complaints) -> Iterable[Service]:
    for name, body in services.items():
        at = complaints.at("Services", name)
        if name and (parse_name(name, at) is None or parse_name(f"{TASKS}.{name}", at) is None):
            continue
        given = text(body, "VIP")
        vip = None if given in _NO_ADDRESS else parse_address(given, at)
        tasks = tuple(
            task for item in items(table(body).get("Tasks")) if (task := _task(item, network, at)) is not None
        )
        if vip is not None or tasks:
            yield Service(name, vip, tasks)


def _task(raw: object, network: str, complain: Complain) -> Task | None:
    name, given = text(raw, "Name"), text(raw, "EndpointIP")
    if given in _NO_ADDRESS or name in (f"{network}-endpoint", f"lb-{network}"):
        return None  # the load balancer's own place on the network
    address = parse_own_address(given, complain)
    bare = parse_name(name, complain)
    return Task(bare, address) if address is not None and bare is not None else None
