"""What ought to be attached: from what daemons, the registry and /run/netns say to namespaces and their views. Pure."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from fnmatch import fnmatchcase

from msgspec import Struct, field

from resolver.config.agent import NamespaceRule
from resolver.server.state import Pin
from resolver.sources.docker.facts import ContainerFacts

Identity = tuple[int, int]
"""Device and inode of a namespace's file."""

Key = tuple[str | int, ...]
"""What tells a target from every other, also from a later one of the same name."""

NetworksOf = Callable[[str], tuple[str, ...]]
"""The networks on which the registry has an endpoint of that container name."""


class Wanted(Struct, frozen=True):
    """One namespace that is to be served."""

    key: Key
    spec: str
    """Where it is: a name of `ip netns` or a path; for a container unused."""
    label: str
    """What it is called in messages."""
    pin: Pin
    """Whose view it has."""
    servers: tuple[str, ...] = ()
    """Upstreams of its own that are asked from inside, addresses as text."""
    pid: int | None = None
    """The process whose namespace it is, for a container."""
    container_id: str = ""
    """Whose process that has to be."""


class Targets(Struct):
    """All of them, and why others are none."""

    wanted: dict[Key, Wanted] = field(default_factory=dict)
    """In the order of their importance: of two for the same namespace the first one counts."""
    left: dict[str, str] = field(default_factory=dict)
    """By label, why a namespace that somebody might expect here is left alone."""


def targets_of(
    containers: Iterable[ContainerFacts],
    rules: Iterable[NamespaceRule],
    found: Mapping[str, Identity],
    networks_of: NetworksOf,
    *,
    takes_over: bool = False,
    held: Container[Key] = (),
) -> Targets:
    """Everything that is to be attached now.

    ``found`` are the namespaces that exist, by their names in /run/netns and by the paths that rules give; ``held``
    are the keys of those attached already: they stay when their last network goes, and then see nothing.
    """
    targets = Targets()
    _add_containers(targets, list(containers), takes_over, held)
    for rule in rules:
        _add_namespaces(targets, rule, found, networks_of, held)
    return targets


def _add_containers(targets: Targets, containers: list[ContainerFacts], takes_over: bool, held: Container[Key]) -> None:
    running = {container.id for container in containers}
    for container in containers:
        if container.is_ignored or container.network_mode == "host" or not container.pid:
            continue
        if container.shares_with is not None and container.shares_with in running:
            continue  # it is served with the one whose namespace it is
        key: Key = ("container", container.id, container.pid)
        if not container.networks and key not in held:
            continue  # none, or a default bridge that is not served
        label = f"container {container.name}"
        if container.has_own_resolver and not takes_over:
            targets.left[label] = "Docker's own resolver serves it; takeover = true takes its place"
            continue
        pin = Pin(container.networks, container.name)
        targets.wanted[key] = Wanted(key, "", label, pin, container.servers, container.pid, container.id)


def _add_namespaces(
    targets: Targets,
    rule: NamespaceRule,
    found: Mapping[str, Identity],
    networks_of: NetworksOf,
    held: Container[Key],
) -> None:
    if rule.is_pattern:
        names = [name for name in sorted(found) if "/" not in name and fnmatchcase(name, rule.netns)]
    else:
        names = [rule.netns] if rule.netns in found else []
        if not names:
            targets.left[rule.netns] = "there is no such namespace, so far"
    for name in names:
        key: Key = ("netns", name, *found[name])
        endpoint = rule.endpoint or (None if rule.is_path else name)
        networks = networks_of(endpoint) if endpoint is not None else ()
        if not networks and rule.endpoint is None:
            endpoint = None
        networks = rule.networks or networks
        if not networks and key not in held:
            targets.left[name] = f"the registry has no container {rule.endpoint or name!r}"
            continue
        if key not in targets.wanted:
            targets.wanted[key] = Wanted(key, name, name, Pin(networks, endpoint))
