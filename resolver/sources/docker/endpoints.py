"""From a container's place on a network to the endpoint that has its names there, as Docker's own resolver has them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count

from resolver.errors import one_line
from resolver.registry.model import SHORT_ID_LENGTH, Endpoint, Origin
from resolver.sources.docker.containers import HEALTHY, NO_CHECK, Container, Place
from resolver.sources.docker.networks import TASKS, Kind, Net
from resolver.sources.docker.settings import DaemonSettings
from resolver.wire.name import IPAddress


def endpoint_of(
    container: Container,
    place: Place,
    net: Net,
    settings: DaemonSettings,
    host_gateways: tuple[IPAddress, ...],
    names: Mapping[str, str],
) -> Endpoint:
    """The endpoint of a running container on a network that is served.

    ``host_gateways`` are what ``host-gateway`` stands for, empty when nobody knows; ``names`` are those of running
    containers by their short ids, because a link may name its target so and Docker takes either.
    """
    short_id = container.id[:SHORT_ID_LENGTH]
    marks = container.marks
    aliases = [*place.aliases]
    if marks.service is not None and (net.kind is Kind.DEFAULT or net.marks.project == marks.project):
        aliases.append(marks.service)  # compose gives it as an alias, unless somebody has connected it by hand
    aliases += [name for name, network in marks.names if network in (None, place.name)]
    links = place.links + (container.links if net.kind is Kind.DEFAULT else ())
    return Endpoint(
        name=container.name,
        addresses=place.addresses,
        id=container.id,
        aliases=tuple(alias for alias in dict.fromkeys(aliases) if alias not in (short_id, container.hostname)),
        hostname=container.hostname,
        links=tuple((alias, names.get(target, target)) for alias, target in links),
        ports=container.ports,
        ttl=marks.ttl,
        servers=container.servers,
        extra_hosts=tuple(
            (name, meant)
            for name, address in container.extra_hosts
            for meant in ((address,) if address is not None or not host_gateways else host_gateways)
        ),
        scope=marks.project,
        priority=place.priority,
        is_ready=_is_ready(container, settings),
        origin=Origin(f"{settings.name} container {container.name}"),
    )


def _is_ready(container: Container, settings: DaemonSettings) -> bool:
    asked = container.marks.healthy_only
    if not (settings.healthy_only if asked is None else asked):
        return True
    return container.health == HEALTHY or container.health in NO_CHECK


def with_services(endpoints: Iterable[Endpoint], net: Net, place: str) -> list[Endpoint]:
    """The endpoints, and what swarm has on the network besides: services, their tasks, containers of other nodes."""
    found = list(endpoints)
    at = {address: index for index, endpoint in enumerate(found) for address in endpoint.addresses}
    for service in net.services:
        origin = Origin(one_line(f"{place} service {service.name}" if service.name else f"{place} network {net.name}"))
        aliases: tuple[str, ...] = ()
        if service.name:
            aliases = (f"{TASKS}.{service.name}",) if service.vip else (service.name, f"{TASKS}.{service.name}")
        for task in service.tasks:
            if (index := at.get(task.address)) is None:
                at[task.address] = len(found)
                found.append(Endpoint(task.name, (task.address,), aliases=aliases, origin=origin))
            else:
                known = found[index]
                found[index] = replace(known, aliases=tuple(dict.fromkeys(known.aliases + aliases)))
        if service.vip is not None and service.name:
            found.append(Endpoint(service.name, (service.vip,), origin=origin))
    return found


def without_doubles(endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """The endpoints with names that differ, for a registry has each but once.

    Docker lets two containers be called ``web`` and ``Web``, containers of several nodes can have one name, and a
    service can be called like a container: all answer to it, so the later ones keep it as an alias.
    """
    seen: set[str] = set()
    found = []
    for endpoint in endpoints:
        kept = endpoint
        if endpoint.name.lower() in seen:
            fallback = next(name for name in _fallbacks(endpoint) if name not in seen)
            kept = replace(endpoint, name=fallback, aliases=(endpoint.name, *endpoint.aliases))
        seen.add(kept.name.lower())
        found.append(kept)
    return tuple(found)


def _fallbacks(endpoint: Endpoint) -> Iterator[str]:
    """Names for an endpoint whose own is taken: its short id, else its address, and then those with a number."""
    if endpoint.id:
        name = endpoint.id[:SHORT_ID_LENGTH].lower()
    else:
        name = "-".join(("ip", *(re.sub("[.:]", "-", address.exploded) for address in endpoint.addresses[:1])))
    yield name
    yield from (f"{name}-{index}" for index in count(2))
