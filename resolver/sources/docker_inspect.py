"""JSON as ``docker network inspect`` prints it: a list of networks, or one network object.

The program that wrote the file is trusted to mean what it wrote: a container or a network that makes no sense is left
out with a warning, and the rest is served. Only a file that is not such JSON at all is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from resolver.errors import Fault
from resolver.registry.model import Contribution, Endpoint, Network, Origin
from resolver.sources.base import Complain, Loaded, loaded, parse_address, parse_name, parse_subnet
from resolver.wire.name import IPAddress

_FEED = "feed it the output of: docker network inspect NETWORK…"


class _Place(msgspec.Struct, gc=False):
    """A container on a network, as docker prints it."""

    Name: str = ""
    IPv4Address: str = ""
    IPv6Address: str = ""


class _Printed(msgspec.Struct):
    """A network as docker prints it; keys that do not count are not kept."""

    Name: Any = None
    ConfigOnly: Any = None
    Driver: Any = None
    Internal: Any = None
    IPAM: Any = None
    Containers: dict[str, _Place] | None = None
    NetworkSettings: Any = msgspec.UNSET
    """It is a container that has these."""


_WITHOUT_CONTAINERS = ("host", "null")
"""Drivers of the networks that docker always lists, host and none."""


def read(text: str, place: str) -> Loaded:
    """The contribution of one JSON file."""
    try:
        return _read(_convert(text), place)
    except (msgspec.MsgspecError, RecursionError):
        pass  # something is not as docker prints it: that is looked for without a form
    import json  # only for what msgspec would not have

    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        return Loaded(None, (Fault(place, f"not JSON: {error.msg} (column {error.colno})", _FEED, line=error.lineno),))
    except (ValueError, RecursionError):
        return Loaded(None, (Fault(place, "its numbers are too long, or its lists nested too deeply", _FEED),))
    return _read(document, place)


def _convert(text: str) -> list[dict[str, Any]]:
    """The document as plain values, but what of a container is wanted as a tuple: there may be a million of them."""
    return [msgspec.structs.asdict(network) for network in msgspec.json.decode(text, type=list[_Printed])]


def _read(document: object, place: str) -> Loaded:
    faults: list[Fault] = []
    items = document if isinstance(document, list) else [document]
    networks: dict[str, Network] = {}
    for index, item in enumerate(items):
        key = f"[{index}]" if isinstance(document, list) else ""
        if (
            not isinstance(item, Mapping)
            or not isinstance(item.get("Name"), str)
            or item.get("NetworkSettings", msgspec.UNSET) is not msgspec.UNSET
        ):
            faults.append(Fault(place, "this is not a network as docker network inspect prints it", _FEED, key=key))
            continue
        if item.get("ConfigOnly") is True or item.get("Driver") in _WITHOUT_CONTAINERS:
            continue  # nobody is on them by address, and a name such as host would hide the public names below it
        network = _network(item, place, faults)
        if network is None:
            continue
        if networks.setdefault(network.name, network) is not network:  # Docker lets two networks have one name
            faults.append(Fault(place, "this name is in the file already; left out", key=network.name, is_warning=True))
    return loaded(Contribution(place, tuple(networks.values())), faults)


def _network(item: Mapping[str, Any], place: str, faults: list[Fault]) -> Network | None:
    def skip(*what: str) -> Complain:
        def complain(message: str, fix: str) -> None:
            del fix  # nobody edits what docker printed
            faults.append(Fault(place, f"{message}; left out", key=".".join((item["Name"], *what)), is_warning=True))

        return complain

    name = parse_name(item["Name"], skip())
    if name is None:
        return None
    subnets, gateways = [], []
    for config in _list(_table(item.get("IPAM")).get("Config")):
        at = skip("IPAM.Config")
        if (text := _text(config, "Subnet")) and (subnet := parse_subnet(text, at)) is not None:
            subnets.append(subnet)
        if (text := _text(config, "Gateway")) and (gateway := parse_address(text.partition("/")[0], at)) is not None:
            gateways.append(gateway)
    network = Network(
        name, tuple(subnets), tuple(gateways), internal=item.get("Internal") is True, origin=Origin(place)
    )

    def at_container(message: str, fix: str) -> None:
        skip("Containers", container_id[:12])(message, fix)

    endpoints = []
    origin, holds = Origin(place), network.holding()
    for container_id, body in _table(item.get("Containers")).items():
        endpoint = _endpoint(holds, container_id, _place(body), origin, at_container)
        if endpoint is not None:
            endpoints.append(endpoint)
    return Network(
        name,
        network.subnets,
        network.gateways,
        network.internal,
        endpoints=tuple(endpoints),
        origin=network.origin,
    )


def _place(body: object) -> _Place:
    if isinstance(body, _Place):
        return body
    return _Place(_text(body, "Name"), _text(body, "IPv4Address"), _text(body, "IPv6Address"))


def _endpoint(
    holds: Callable[[IPAddress], bool], container_id: str, body: _Place, origin: Origin, complain: Complain
) -> Endpoint | None:
    name = parse_name(body.Name, complain)
    if name is None:
        return None
    addresses: list[IPAddress] = []
    for text in (body.IPv4Address, body.IPv6Address):
        if not text:
            continue
        address = parse_address(text.partition("/")[0], complain)
        if address is None:
            return None
        if not holds(address):
            complain(f"{address} of {name!r} is outside the network's subnets", "")
            return None
        addresses.append(address)
    if not addresses:
        complain(f"{name!r} has no address (not running, or in host mode)", "")
        return None
    is_container = len(container_id) >= 12 and not container_id.strip("0123456789abcdef")
    return Endpoint(name, tuple(addresses), container_id if is_container else None, origin=origin)


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(table: object, key: str) -> str:
    value = _table(table).get(key)
    return value if isinstance(value, str) else ""
