"""One container as the API describes it (``GET /containers/{id}/json``, one entry of ``GET /containers/json``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from resolver.errors import Fault
from resolver.forward.upstreams import parse_nameserver
from resolver.registry.model import SHORT_ID_LENGTH, Port
from resolver.sources.base import Complain, parse_address, parse_name
from resolver.sources.docker.labels import NO_MARKS, Marks, read_labels
from resolver.sources.docker.shape import (
    Complaints,
    is_true,
    items,
    number,
    parse_alias,
    parse_own_address,
    shown,
    table,
    text,
)
from resolver.wire.name import IPAddress

HOST_GATEWAY = "host-gateway"
SHARES = "container:"
"""What the network mode begins with when a container uses another one's namespace; its id follows."""
HEALTHY = "healthy"
NO_CHECK = ("", "none")
"""What State.Health.Status is for a container without a health check."""

_WITHOUT_ADDRESSES = ("host", "none")
_PROTOCOLS = ("tcp", "udp", "sctp")
_ID_DIGITS = frozenset("0123456789abcdef")
_HEALTH_IN_STATUS = {"(healthy)": HEALTHY, "(unhealthy)": "unhealthy", "(health: starting)": "starting"}

Fingerprint = tuple[object, ...]
"""Two of one container are equal when nothing has changed that an inspect would show."""


class Place(Struct, frozen=True):
    """A container on one network."""

    network: str
    """The network's id, or its name where the API says no id (Podman)."""
    name: str
    """The network's name."""
    addresses: tuple[IPAddress, ...]
    gateways: tuple[IPAddress, ...] = ()
    aliases: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    """(alias, container) pairs."""
    priority: int = 0
    """Docker's gw-priority."""


class Container(Struct, frozen=True):
    """One running container."""

    id: str
    name: str
    """A DNS name: its short id where its own is none."""
    pid: int = 0
    network_mode: str = ""
    hostname: str | None = None
    marks: Marks = NO_MARKS
    health: str = ""
    servers: tuple[str, ...] = ()
    extra_hosts: tuple[tuple[str, IPAddress | None], ...] = ()
    """(name, address) pairs; None stands for ``host-gateway``."""
    ports: tuple[Port, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    """(alias, container) pairs of legacy links, which count on the default bridge."""
    places: tuple[Place, ...] = ()
    fingerprint: Fingerprint | None = None


def read_container(raw: object, place: str) -> tuple[Container | None, tuple[Fault, ...]]:
    """The container, None when it does not run or is no container; and what was left out."""
    container_id, given = text(raw, "Id"), text(raw, "Name").removeprefix("/")
    complaints = Complaints(place, f"container {given or container_id[:SHORT_ID_LENGTH] or shown(raw)}")
    short = container_id[:SHORT_ID_LENGTH]
    if len(short) < SHORT_ID_LENGTH or not _ID_DIGITS.issuperset(short):
        complaints.at("Id")(f"{shown(container_id)} is no container's id", "")
        return None, tuple(complaints.faults)
    state = table(raw, "State")
    if not is_true(state.get("Running")):
        return None, ()
    host_config, config = table(raw, "HostConfig"), table(raw, "Config")
    name = parse_name(given, complaints.at("Name"))
    hostname = text(config, "Hostname")
    mode = text(host_config, "NetworkMode")
    found = Container(
        id=container_id,
        name=short if name is None else name,
        pid=number(state.get("Pid")),
        network_mode=mode,
        # in the host's namespace it is the host's
        hostname=parse_name(hostname, complaints.at("Config", "Hostname")) if hostname and mode != "host" else None,
        marks=read_labels(table(config, "Labels"), complaints),
        health=text(state, "Health", "Status"),
        servers=tuple(_servers(items(host_config.get("Dns")), complaints.at("HostConfig", "Dns"))),
        extra_hosts=tuple(
            _extra_hosts(items(host_config.get("ExtraHosts")), complaints.at("HostConfig", "ExtraHosts"))
        ),
        ports=tuple(_ports(raw, complaints)),
        links=tuple(_links(items(host_config.get("Links")), complaints.at("HostConfig", "Links"))),
        # Podman says of a pod's members what it says of the pod: it is the pod that is on the networks.
        places=() if mode.startswith(SHARES) else tuple(_places(raw, short, complaints)),
        fingerprint=_fingerprint(raw, given, text(state, "Status"), text(state, "Health", "Status"), config),
    )
    _check_marks(found, complaints)
    return found, tuple(complaints.faults)


def fingerprint_of_listed(raw: object) -> Fingerprint | None:
    """The fingerprint of an entry of the list; None when it does not tell enough, and an inspect is needed."""
    # The list names a container by its links, too: /web and /other/alias.
    names = [name for name in items(table(raw).get("Names")) if isinstance(name, str) and name.count("/") == 1]
    if len(names) != 1:
        return None
    status = text(raw, "Status")
    health = next((health for words, health in _HEALTH_IN_STATUS.items() if words in status), "")
    return _fingerprint(raw, names[0].removeprefix("/"), text(raw, "State"), health, table(raw))


def _fingerprint(raw: object, name: str, state: str, health: str, labelled: Mapping[str, Any]) -> Fingerprint | None:
    networks = table(raw, "NetworkSettings", "Networks")
    places = frozenset(
        (
            network,
            text(body, "EndpointID"),
            text(body, "IPAddress"),
            text(body, "GlobalIPv6Address"),
        )
        for network, body in networks.items()
    )
    if not name or not places or not all(endpoint_id for _, endpoint_id, _, _ in places):
        return None  # without endpoint ids a restart that nobody told of would not show
    labels = table(labelled, "Labels")
    return (
        name,
        state,
        "" if health in NO_CHECK else health,
        places,
        frozenset((key, text(value)) for key, value in labels.items()),
    )


def _places(raw: object, short_id: str, complaints: Complaints) -> Iterator[Place]:
    for network, body in table(raw, "NetworkSettings", "Networks").items():
        at = complaints.at("NetworkSettings", "Networks", network)
        addresses = [
            address
            for key, version in (("IPAddress", 4), ("GlobalIPv6Address", 6))
            if (address := _address(body, key, version, at, parse_own_address)) is not None
        ]
        gateways = [
            gateway
            for key, version in (("Gateway", 4), ("IPv6Gateway", 6))
            if (gateway := _address(body, key, version, at, parse_address)) is not None
        ]
        is_bare = not text(body, "IPAddress") and not text(body, "GlobalIPv6Address")
        if is_bare and network not in _WITHOUT_ADDRESSES and not is_true(table(raw, "State").get("Restarting")):
            at("it has no address there", "")
        aliases = []
        for given in (*items(table(body).get("Aliases")), *items(table(body).get("DNSNames"))):
            if given == short_id:
                continue  # it has its own place in the order of names
            if not isinstance(given, str):
                at(f"alias {shown(given)} is no text", "")
            elif (alias := parse_alias(given, at)) is not None:
                aliases.append(alias)
        yield Place(
            network=text(body, "NetworkID") or network,
            name=network,
            addresses=tuple(addresses),
            gateways=tuple(gateways),
            aliases=tuple(dict.fromkeys(aliases)),
            links=tuple(_links(items(table(body).get("Links")), at)),
            priority=number(table(body).get("GwPriority")),
        )


def _address(
    body: object, key: str, version: int, complain: Complain, parse: Callable[[str, Complain], IPAddress | None]
) -> IPAddress | None:
    given = text(body, key)
    if not given:
        return None
    address = parse(given.partition("/")[0], complain)
    if address is not None and address.version != version:
        complain(f"{key} {address} is no IPv{version} address", "")
        return None
    return None if address is None or address.is_unspecified else address


def _links(given: list[Any], complain: Complain) -> Iterator[tuple[str, str]]:
    """``container:alias`` of a user-defined network, ``/container:/asker/alias`` of the default bridge."""
    for link in given:
        target, _, alias = text(link).partition(":")
        target = target.removeprefix("/")
        names = [parse_name(part, complain) for part in (alias.rpartition("/")[2] or target, target)]
        if names[0] is not None and names[1] is not None:
            yield names[0], names[1]


def _servers(given: list[Any], complain: Complain) -> Iterator[str]:
    for server in given:
        try:
            parse_nameserver(text(server))
        except ValueError as error:
            complain(str(error), "")
        else:
            yield server


def _extra_hosts(given: list[Any], complain: Complain) -> Iterator[tuple[str, IPAddress | None]]:
    """``name:address``, ``name=address``; several names have semicolons between them (Podman)."""
    for line in given:
        names, _, value = text(line).partition("=" if "=" in text(line) else ":")
        address = None
        if value != HOST_GATEWAY:
            address = parse_address(value.strip("[]"), complain)
            if address is None:
                continue
        for given_name in names.split(";"):
            if (name := parse_name(given_name, complain)) is not None:
                yield name, address


def _ports(raw: object, complaints: Complaints) -> Iterator[Port]:
    exposed, bound = table(raw, "Config", "ExposedPorts"), table(raw, "NetworkSettings", "Ports")
    for given in dict.fromkeys((*exposed, *bound)):
        digits, _, protocol = given.partition("/")
        protocol = protocol.lower() or "tcp"
        port = int(digits) if len(digits) <= 5 and digits.isascii() and digits.isdigit() else 0
        if not 1 <= port <= 65535 or protocol not in _PROTOCOLS:
            complaints.at("Config", "ExposedPorts")(f"{shown(given)} is not a port", "")
        else:
            yield Port(port, protocol)


def _check_marks(container: Container, complaints: Complaints) -> None:
    on = {place.name for place in container.places}
    for name, network in container.marks.names:
        if network is not None and network not in on:
            complaints.at("pydns.names")(f"{name}@{network}: it is not on network {shown(network)}", "")
