"""What is known of one daemon, and the contribution made of it. No I/O: it is told, one inspect's result at a time.

What has not changed stays the same object, so that names compiled from it stay good.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from msgspec import structs

from resolver.errors import Fault, one_line
from resolver.registry.model import SHORT_ID_LENGTH, Contribution, Endpoint, Network, Origin
from resolver.sources.base import parse_name
from resolver.sources.docker.containers import SHARES, Container, Fingerprint, Place, read_container
from resolver.sources.docker.endpoints import endpoint_of, with_services, without_doubles
from resolver.sources.docker.facts import ContainerFacts
from resolver.sources.docker.gateways import Gateways
from resolver.sources.docker.networks import SWARM, Kind, Net, read_network, subject_of_network
from resolver.sources.docker.roster import Roster, order
from resolver.sources.docker.settings import DaemonSettings
from resolver.sources.docker.shape import fault, shown, text
from resolver.wire.name import IPAddress

_PODMAN_DEFAULT = "podman"
"""Its network by its own name; the list of networks of Podman's API calls it bridge."""


class Inventory:
    """The networks and running containers of one daemon."""

    def __init__(self, settings: DaemonSettings) -> None:
        self.contribution = Contribution(settings.name)
        self.facts: dict[str, ContainerFacts] = {}
        """By container id; changed in place by `publish`."""
        self.is_podman = False
        """Podman's own resolver listens at the gateways and not inside the containers."""
        self._settings = settings
        self._containers: dict[str, Container] = {}
        self._nets: dict[str, Net] = {}
        self._faults: dict[str, tuple[Fault, ...]] = {}
        """By container or network id; what has none stands for itself."""
        self._order_faults: tuple[Fault, ...] = ()
        self._members: dict[str, dict[str, Place]] = {}
        """Places by network id and container id."""
        self._names: dict[str, str] = {}
        """What each served network is called in the contribution, by its id."""
        self._ids: dict[str, str] = {}
        """Network ids by whatever a container's place may call them."""
        self._built: dict[str, Network] = {}
        self._endpoints: dict[tuple[str, str], tuple[Container, Net, Endpoint]] = {}
        self._gateways = Gateways()
        self._host_gateways: tuple[IPAddress, ...] = ()
        self._dirty: dict[str, set[str]] = {}
        """By network id, the containers about which there is something new."""
        self._rosters: dict[str, Roster] = {}
        """Of the networks where each container stands for itself."""
        self._stale_facts: set[str] = set()
        self._are_nets_stale = True

    # -- what it is told ---------------------------------------------------------------------------

    def put_container(self, raw: object) -> int:
        """Take over what an inspect said; how many things were left out that were not before."""
        container, faults = read_container(raw, self._settings.name)
        container_id = text(raw, "Id")
        skipped = self._note(_subject_of_container(raw), faults)
        if container is None:
            self._forget_container(container_id)
            return skipped
        former = self._containers.get(container_id)
        if former != container:
            if former is not None:
                self._leave(former)
            self._containers[container_id] = container
            self._join(container)
        return skipped

    def drop_container(self, container_id: str) -> None:
        """It does not run any more."""
        self._note(container_id, ())
        self._forget_container(container_id)

    def _forget_container(self, container_id: str) -> None:
        if (former := self._containers.pop(container_id, None)) is not None:
            self._leave(former)

    def disconnect(self, container_id: str, network: str) -> None:
        """It has left a network."""
        if (container := self._containers.get(container_id)) is None:
            return
        left = self._ids.get(network, network)
        places = tuple(place for place in container.places if self._ids.get(place.network, place.network) != left)
        if places != container.places:
            self._leave(container)
            self._containers[container_id] = moved = structs.replace(container, places=places, fingerprint=None)
            self._join(moved)

    def set_health(self, container_id: str, status: str) -> None:
        """Its health check has said something new."""
        container = self._containers.get(container_id)
        if container is not None and container.health != status:
            self._containers[container_id] = changed = structs.replace(container, health=status, fingerprint=None)
            self._join(changed)

    def put_network(self, raw: object) -> int:
        """Take over a network; how many things were left out that were not before.

        A word about a swarm's network that says nothing of its services leaves those that are known.
        """
        net, faults = read_network(raw, self._settings.name)
        if net is None:
            return self._note(_subject_of_network(raw), faults)
        former = self._nets.get(net.id)
        if former is not None and not net.has_services:
            net = replace(net, services=former.services, has_services=former.has_services)
        skipped = self._note(net.id, faults)
        if former != net:
            if former is not None and former.subnets != net.subnets:
                self._gateways.forget(net.id)
            self._nets[net.id] = net
            self._are_nets_stale = True
        return skipped

    def drop_network(self, network_id: str) -> None:
        """It is gone."""
        self._note(network_id, ())
        self._gateways.forget(network_id)
        if self._nets.pop(network_id, None) is not None:
            self._are_nets_stale = True

    def keep_faults_of(self, networks: Iterable[object], containers: Iterable[object], besides: Iterable[str]) -> None:
        """Forget what was left out of anything that is not in these lists and not named besides."""
        kept = {*map(_subject_of_network, networks), *map(_subject_of_container, containers), *besides}
        self._faults = {subject: faults for subject, faults in self._faults.items() if subject in kept}

    # -- what it knows -----------------------------------------------------------------------------

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What was left out."""
        return (*(fault for faults in self._faults.values() for fault in faults), *self._order_faults)

    @property
    def container_ids(self) -> tuple[str, ...]:
        """The running containers."""
        return tuple(self._containers)

    @property
    def network_ids(self) -> tuple[str, ...]:
        """Every network, served or not."""
        return tuple(self._nets)

    @property
    def swarm_networks(self) -> tuple[str, ...]:
        """The ids of the networks that have services."""
        return tuple(net.id for net in self._nets.values() if net.scope == SWARM and self._is_served(net))

    def knows_container(self, container_id: str) -> bool:
        """Whether it runs, by what is known."""
        return container_id in self._containers

    def networks_to_ask(self, container_id: str) -> Iterator[str]:
        """The networks of a container about which there is more to know.

        Those that nobody has told of, because Podman has no event for a new one; and those of a swarm, because a task
        belongs to a service.
        """
        container = self._containers.get(container_id)
        for place in container.places if container is not None else ():
            net = self._nets.get(place.network)
            if net is not None and net.scope == SWARM and self._is_served(net):
                yield net.id
            elif net is None and place.network != _PODMAN_DEFAULT and not self._knows_network(place.network):
                yield place.network

    def _knows_network(self, name: str) -> bool:
        return any(net.name == name for net in self._nets.values())

    def has_changed(self, container_id: str, fingerprint: Fingerprint | None) -> bool:
        """Whether a container is not as it was when it was inspected, or may be other than the list of them tells."""
        container = self._containers.get(container_id)
        if container is None or fingerprint is None or container.fingerprint != fingerprint:
            return True
        return self._settings.serve_default_bridge and bool(container.links)

    @property
    def linkers(self) -> tuple[str, ...]:
        """The containers with legacy links, which have their targets' names; nobody asks where those do not count."""
        if not self._settings.serve_default_bridge:
            return ()
        return tuple(container.id for container in self._containers.values() if container.links)

    # -- what it makes of it -----------------------------------------------------------------------

    def publish(self) -> bool:
        """Make the contribution and the facts anew where something has changed; True when anything has."""
        if self._are_nets_stale:
            self._assign_networks()
        changed = bool(self._stale_facts)
        for network_id, news in self._dirty.items():
            if network_id not in self._names:
                continue
            network = self._network_with(network_id, news)
            if network != self._built.get(network_id):
                self._built[network_id] = network
                changed = True
        self._dirty.clear()
        built = tuple(self._built[network_id] for network_id in self._names)
        before = self.contribution.networks
        if len(built) != len(before) or any(mine is not theirs for mine, theirs in zip(built, before, strict=True)):
            self.contribution = Contribution(self._settings.name, networks=built)
            changed = True
        for container_id in self._stale_facts:
            self._state_facts(container_id)
        self._stale_facts.clear()
        return changed

    def _note(self, subject: str, faults: tuple[Fault, ...]) -> int:
        before = self._faults.pop(subject, ())
        if faults:
            self._faults[subject] = faults
        return len(set(faults) - set(before))

    def _called(self, net: Net) -> str:
        return _PODMAN_DEFAULT if self.is_podman and net.kind is Kind.DEFAULT else net.name

    def _is_served(self, net: Net) -> bool:
        if net.marks.is_ignored:
            return False
        return net.kind is Kind.USER or (net.kind is Kind.DEFAULT and self._settings.serve_default_bridge)

    def _places(self, container: Container) -> Iterator[tuple[str, Place]]:
        for place in container.places:
            if (network_id := self._ids.get(place.network)) is not None:
                yield network_id, place

    def _join(self, container: Container) -> None:
        self._stale_facts.add(container.id)
        for network_id, place in self._places(container):
            self._members.setdefault(network_id, {})[container.id] = place
            self._dirty.setdefault(network_id, set()).add(container.id)
            is_news = self._gateways.hear(network_id, place.gateways)
            if is_news and self._nets[network_id].kind is Kind.DEFAULT and self._meant() != self._host_gateways:
                self._are_nets_stale = True

    def _leave(self, container: Container) -> None:
        self._stale_facts.add(container.id)
        for network_id, _ in self._places(container):
            self._members.get(network_id, {}).pop(container.id, None)
            self._endpoints.pop((network_id, container.id), None)
            self._dirty.setdefault(network_id, set()).add(container.id)

    def _meant(self) -> tuple[IPAddress, ...]:
        """What host-gateway stands for: as configured, else the default bridge's gateways."""
        if self._settings.host_gateway:
            return self._settings.host_gateway
        for net in self._nets.values():
            if net.kind is Kind.DEFAULT:
                return self._gateways.of_host(net)
        return ()

    def _assign_networks(self) -> None:
        """Say what each network is called, and who is on it, from the beginning."""
        self._are_nets_stale = False
        oldest_first = sorted(self._nets.values(), key=lambda net: (net.created, net.id))
        self._ids = {}
        for net in reversed(oldest_first):
            self._ids[net.name] = net.id
        for net in oldest_first:
            self._ids[net.id] = net.id
            if net.kind is Kind.DEFAULT:
                self._ids.setdefault(_PODMAN_DEFAULT, net.id)
        served = {net.id: self._called(net) for net in oldest_first if self._is_served(net)}
        self._names, faults = _names(served, self._settings.name)
        self._order_faults = tuple(faults)
        self._built = {network_id: built for network_id, built in self._built.items() if network_id in self._names}
        self._members = {}
        for container in self._containers.values():
            self._stale_facts.add(container.id)
            for network_id, place in self._places(container):
                self._members.setdefault(network_id, {})[container.id] = place
                self._gateways.hear(network_id, place.gateways)
        if (gateways := self._meant()) != self._host_gateways:
            self._host_gateways = gateways
            self._endpoints.clear()
        self._endpoints = {at: known for at, known in self._endpoints.items() if at[1] in self._members.get(at[0], {})}
        self._rosters.clear()
        self._dirty = {network_id: set() for network_id in self._names}

    def _network_with(self, network_id: str, news: Iterable[str]) -> Network:
        """The network with what is new of some containers."""
        roster = self._rosters.get(network_id)
        if roster is None:
            return self._network(network_id)
        net, members, gateways = self._nets[network_id], self._members.get(network_id, {}), self._gateways
        has_changed = False
        for container_id in news:
            endpoint = None
            if (place := members.get(container_id)) is not None:
                container = self._containers[container_id]
                if not container.marks.is_ignored and place.addresses:
                    endpoint = self._endpoint(container, place, net, {})
            has_changed |= roster.put(container_id, endpoint)
        if not roster.is_simple:
            return self._network(network_id)
        built = self._built[network_id]
        if not has_changed and built.gateways == gateways.of(net):
            return built
        return replace(built, gateways=gateways.of(net), endpoints=roster.endpoints)

    def _network(self, network_id: str) -> Network:
        net, members = self._nets[network_id], self._members.get(network_id, {})
        short_ids = {container_id[:SHORT_ID_LENGTH]: self._containers[container_id].name for container_id in members}
        endpoints = []
        for container_id, place in members.items():
            container = self._containers[container_id]
            if not container.marks.is_ignored and place.addresses:
                endpoints.append(self._endpoint(container, place, net, short_ids))
        endpoints.sort(key=order)
        self._rosters.pop(network_id, None)
        if not net.services and (roster := Roster(endpoints)).is_simple:
            self._rosters[network_id] = roster
        return Network(
            name=self._names[network_id],
            subnets=net.subnets,
            gateways=self._gateways.of(net),
            internal=net.is_internal,
            ttl=net.marks.ttl,
            endpoints=without_doubles(with_services(endpoints, net, self._settings.name)),
            origin=Origin(one_line(f"{self._settings.name} network {net.name}")),
        )

    def _endpoint(self, container: Container, place: Place, net: Net, short_ids: Mapping[str, str]) -> Endpoint:
        cached = self._endpoints.get((net.id, container.id))
        if cached is not None and cached[0] is container and cached[1] is net and not (place.links or container.links):
            return cached[2]
        endpoint = endpoint_of(container, place, net, self._settings, self._host_gateways, short_ids)
        if cached is not None and cached[2] == endpoint:
            endpoint = cached[2]
        self._endpoints[net.id, container.id] = container, net, endpoint
        return endpoint

    def _state_facts(self, container_id: str) -> None:
        if (container := self._containers.get(container_id)) is None:
            self.facts.pop(container_id, None)
            return
        places = list(self._places(container))
        is_on_user_network = any(self._nets[network_id].kind is Kind.USER for network_id, _ in places)
        mode = container.network_mode
        self.facts[container_id] = ContainerFacts(
            id=container_id,
            name=container.name,
            pid=container.pid,
            networks=tuple(self._names[found] for found, place in places if found in self._names and place.addresses),
            network_mode=mode,
            shares_with=self._whole_id(mode.removeprefix(SHARES)) if mode.startswith(SHARES) else None,
            has_own_resolver=is_on_user_network and not self.is_podman,
            servers=container.servers,
            is_ignored=container.marks.is_ignored,
        )

    def _whole_id(self, named: str) -> str:
        """The whole id of a container that is named by it, by its beginning, or by its name."""
        if named in self._containers:
            return named
        for container in self._containers.values():
            if container.name == named or (len(named) >= SHORT_ID_LENGTH and container.id.startswith(named)):
                return container.id
        return named


def _subject_of_container(raw: object) -> str:
    return text(raw, "Id") or f"container {shown(raw)}"


def _subject_of_network(raw: object) -> str:
    return (text(raw, "Name") and text(raw, "Id")) or subject_of_network(raw)


def _names(called: Mapping[str, str], place: str) -> tuple[dict[str, str], list[Fault]]:
    """A DNS name for each network by its id, and a warning where that is not what the daemon calls it."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    faults = []
    for network_id, given in called.items():
        problem: list[str] = []
        name = parse_name(given, lambda message, _, problem=problem: problem.append(message))  # type: ignore[misc]
        if name is not None and name not in taken:
            names[network_id] = name
        else:
            names[network_id] = f"{name or 'network'}-{network_id[:SHORT_ID_LENGTH]}"
            why = problem[0] if problem else f"there is an older network {given!r}"
            message = f"{why}; this one is served as {names[network_id]}"
            faults.append(fault(place, message, "give it another name", key=f"network {given}"))
        taken.add(names[network_id])
    return names, faults
