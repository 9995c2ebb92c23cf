"""One network file of aardvark-dns, as netavark writes it; text in, values out.

The first line is ``LISTEN[,LISTEN…][ SERVER[,SERVER…]]``, every other one ``ID IPV4S IPV6S NAMES[ SERVERS]``, with
single spaces between the fields, so that an empty one shows as two spaces in a row (aardvark-dns, src/config/mod.rs).
A line with too few fields or a bad address spoils the whole file, for it may be half-written. A name that cannot be one
in DNS is left out alone.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, count
from typing import TypeVar

from msgspec import Struct, field

from resolver.errors import Fault
from resolver.forward.upstreams import parse_nameserver
from resolver.registry.model import SHORT_ID_LENGTH, Endpoint, IPNetwork, Network, Origin
from resolver.sources.base import parse_name
from resolver.wire.constants import MAX_LABEL_SIZE
from resolver.wire.name import IPAddress, from_text

INTERNAL_SUFFIX = "%int"
"""At the end of a file's name: the network is internal."""
TTL_S = 0
"""A container that is made anew may have another address at once."""

_FIELDS = 4
_Address = TypeVar("_Address", ipaddress.IPv4Address, ipaddress.IPv6Address, IPAddress)


class _Spoilt(Exception):
    """The file cannot be used; carries its one fault."""

    def __init__(self, place: str, line: int, message: str) -> None:
        self.fault = Fault(
            place, f"{message}; what the file said last stays", "it may be half-written", line=line or None
        )


class NetworkFile(Struct, frozen=True):
    """What one file says."""

    network: Network
    listen: tuple[str, ...]
    """Where the network's containers ask; a link-local address may have its %scope."""


class ReadFile(Struct, frozen=True):
    """The outcome of reading one file; without a network there is one fault, and it is no warning."""

    file: NetworkFile | None
    faults: tuple[Fault, ...] = ()


class _Container(Struct):
    """The lines of one id together."""

    id: str
    line: int
    addresses: list[IPAddress] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    servers: list[str] = field(default_factory=list)


def read(text: str, place: str, file_name: str) -> ReadFile:
    """Read the text of the file called ``file_name``; ``place`` is what faults call it."""
    faults: list[Fault] = []
    lines = ((number, line) for number, line in enumerate(text.split("\n"), 1) if line)
    try:
        number, first = next(lines, (0, ""))
        if not first:
            raise _Spoilt(place, 0, "is empty, and so has no address to listen at")
        fields = first.split(" ")
        listen = _addresses(fields[0], ipaddress.ip_address, place, number)
        servers = _addresses(fields[1], ipaddress.ip_address, place, number) if len(fields) > 1 else ()
        containers = _containers(lines, place)
    except _Spoilt as spoilt:
        return ReadFile(None, (spoilt.fault,))
    internal = file_name.endswith(INTERNAL_SUFFIX)
    network = Network(
        name=_network_name(file_name.removesuffix(INTERNAL_SUFFIX), place, faults),
        subnets=tuple(_subnets(listen, containers)),
        gateways=tuple(_without_scope(address) for address in listen),
        internal=internal,
        ttl=TTL_S,
        servers=() if internal else tuple(_servers(map(str, servers), place, number, faults)),
        endpoints=tuple(_endpoints(containers, internal, place, faults)),
        origin=Origin(place, number),
    )
    return ReadFile(NetworkFile(network, tuple(dict.fromkeys(map(str, listen)))), tuple(faults))


def _containers(lines: Iterator[tuple[int, str]], place: str) -> list[_Container]:
    by_id: dict[str, _Container] = {}
    for number, line in lines:
        fields = line.split(" ")
        if len(fields) < _FIELDS:
            raise _Spoilt(place, number, f"has {len(fields)} fields where a container has at least {_FIELDS}")
        container_id = fields[0].lower()
        container = by_id.setdefault(container_id, _Container(container_id, number))
        container.addresses += _addresses(fields[1], ipaddress.IPv4Address, place, number) if fields[1] else ()
        container.addresses += _addresses(fields[2], ipaddress.IPv6Address, place, number) if fields[2] else ()
        container.names += [name for name in fields[3].lower().split(",") if name]
        if len(fields) == _FIELDS + 1 and fields[4]:
            container.servers += map(str, _addresses(fields[4], ipaddress.ip_address, place, number))
    return list(by_id.values())


def _addresses(text: str, parse: Callable[[str], _Address], place: str, line: int) -> tuple[_Address, ...]:
    try:
        return tuple(parse(word) for word in text.split(","))
    except ValueError:
        raise _Spoilt(place, line, f"has {text[:80]!r} where addresses belong") from None


def _endpoints(containers: list[_Container], internal: bool, place: str, faults: list[Fault]) -> list[Endpoint]:
    """An endpoint for each container, under its first name.

    Should several have the same one, the last line is that of the container that lives, and the earlier ones were left
    behind. These go by their ids, and by the name beside the last one. A container that has no other word for itself
    goes by its line.
    """
    taken: set[str] = set()
    endpoints: list[Endpoint] = []
    for container in reversed(containers):
        names, wildcards = _names(container, place, faults)
        short_id, long_id = _id(container.id, SHORT_ID_LENGTH), _id(container.id, MAX_LABEL_SIZE)
        by_line = (f"line-{container.line}{'-' * number}" for number in count())
        name = next(name for name in chain(names[:1], (short_id, long_id), by_line) if name and name not in taken)
        taken.add(name)
        endpoints.append(
            Endpoint(
                name=name,
                addresses=tuple(dict.fromkeys(_without_scope(address) for address in container.addresses)),
                id=container.id if short_id else None,
                aliases=tuple(alias for alias in (*names, *wildcards) if alias != name),
                servers=() if internal else tuple(_servers(container.servers, place, container.line, faults)),
                origin=Origin(place, container.line),
            )
        )
    endpoints.reverse()
    return endpoints


def _names(container: _Container, place: str, faults: list[Fault]) -> tuple[list[str], list[str]]:
    """The plain names and the wildcards, each once; what DNS cannot carry is left out."""
    plain: list[str] = []
    wildcards: list[str] = []

    def complain(message: str, fix: str) -> None:
        faults.append(_warning(place, container.line, f"{message}; the name is left out", fix))

    for text in dict.fromkeys(container.names):
        if (name := parse_name(text, complain, wildcard=True)) is not None:
            (wildcards if name.startswith("*.") else plain).append(name)
    return plain, wildcards


def _servers(addresses: Iterable[str], place: str, line: int, faults: list[Fault]) -> Iterator[str]:
    """The addresses at which a server can be asked."""
    for address in dict.fromkeys(addresses):
        try:
            parse_nameserver(address)
        except ValueError as error:
            faults.append(_warning(place, line, f"{error}; it is left out", "name one server's address"))
        else:
            yield address


def _id(text: str, size: int) -> str | None:
    """The first characters of an id, if they can be a name."""
    try:
        from_text(text[:size])
    except ValueError:
        return None
    return None if "*" in text or text[:size].endswith(".") else text[:size]


def _network_name(stem: str, place: str, faults: list[Fault]) -> str:
    """The file's name, or what stands for it where DNS has no such names: the network serves on all the same."""

    def complain(message: str, fix: str) -> None:
        faults.append(_warning(place, None, f"{message}; the network goes by {stand_in()!r}", fix))

    def stand_in() -> str:
        import hashlib  # OpenSSL, for names that podman does not give

        return "network-" + hashlib.sha256(stem.encode("utf-8", "surrogateescape")).hexdigest()[:12]

    return parse_name(stem, complain) or stand_in()


def _subnets(listen: tuple[IPAddress, ...], containers: list[_Container]) -> Iterator[IPNetwork]:
    """Exactly the addresses in the file, in few prefixes: the subnet itself is not in it."""
    addresses = {*listen, *(address for container in containers for address in container.addresses)}
    yield from ipaddress.collapse_addresses(
        ipaddress.IPv4Network(each.packed) for each in addresses if isinstance(each, ipaddress.IPv4Address)
    )
    yield from ipaddress.collapse_addresses(
        ipaddress.IPv6Network(each.packed) for each in addresses if isinstance(each, ipaddress.IPv6Address)
    )


def _without_scope(address: IPAddress) -> IPAddress:
    return ipaddress.ip_address(address.packed)


def _warning(place: str, line: int | None, message: str, fix: str) -> Fault:
    return Fault(place, message, fix, line=line, is_warning=True)
