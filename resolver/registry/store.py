"""Merges what the sources say into one snapshot, and publishes it by a single assignment.

The rules for what is said twice (docs/registry.md lists them with their reasons); contributions count in the order in
which their sources were declared:

- one network in several sources: endpoints, subnets and gateways are joined; when two sources give ``internal``,
  ``ttl``, ``priority`` or its servers differently, the first one counts and the other is reported; a source that is
  silent on one of them, or states its default, gives nothing;
- two networks whose names differ in letter case only: accepted and reported; ``name.network`` means the one that is
  asked first;
- one endpoint name twice on a network: the first counts, the second is refused and reported;
- one address at two endpoints of a network: accepted and reported; the first one has the PTR;
- an address or a gateway outside the subnets that another source gives: accepted and reported (within one file it is
  refused there);
- a ``name.network`` that is longer than a DNS name can be: reported; PTR and SRV name the endpoint in a shorter way;
- subnets of two networks that overlap: accepted and reported; an asker in the overlap is on both;
- one name for several endpoints of a network: accepted (a shared alias answers with every address); reported when it
  is one endpoint's container name, because then somebody else answers for it too;
- one name in a hosts file and on a network: accepted and reported; who is on the network gets the network's answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from operator import is_

from msgspec import structs

from resolver.errors import Fault
from resolver.registry.change import Change, changes_between
from resolver.registry.model import Contribution, Endpoint, Host, Network, Snapshot
from resolver.wire.constants import MAX_NAME_SIZE
from resolver.wire.name import IPAddress


class Store:
    """The current snapshot of everything that exists."""

    def __init__(self) -> None:
        self.snapshot = Snapshot()
        self.warnings: tuple[Fault, ...] = ()
        """What the last merge accepted or refused by a rule."""

        self.contributions: tuple[Contribution, ...] = ()
        """What the snapshot was made from."""
        self._simple: frozenset[str] = frozenset()
        """The networks that one source alone speaks of, and about which no rule had to decide."""
        self._has_overlaps = False

    def replace(self, contributions: Iterable[Contribution]) -> bool:
        """Make the snapshot from exactly these contributions, in this order; True when anything but lines changed."""
        given = tuple(contributions)
        if len(given) == len(self.contributions) and all(map(is_, given, self.contributions)):
            return False
        known = {name: network for name, network in self.snapshot.networks.items() if name in self._simple}
        merged, self.warnings, self._simple, self._has_overlaps = _merge(given, known)
        self.contributions = given
        hosts = self.snapshot.hosts
        if len(hosts) == len(merged.hosts) and all(map(is_, hosts, merged.hosts)):
            merged = structs.replace(merged, hosts=hosts)  # the same object, so that its compiled table stays good
        changed = merged.networks != self.snapshot.networks or merged.hosts != self.snapshot.hosts
        self.snapshot = structs.replace(merged, serial=self.snapshot.serial + changed)
        return changed

    def changes(self, contributions: Sequence[Contribution]) -> tuple[Change, ...] | None:
        """What differs from the contributions that count now, if it is no more than a few endpoints of simple networks.

        None where `replace` has to decide.
        """
        found = changes_between(self.contributions, contributions)
        if found is None or any(change.network.name not in self._simple for change in found):
            return None
        if self._has_overlaps and any(change.moved for change in found):
            return None
        return found

    def take(self, contributions: Sequence[Contribution], changes: Iterable[Change]) -> None:
        """Let contributions count that differ by these `changes` alone."""
        networks = {**self.snapshot.networks, **{change.network.name: change.network for change in changes}}
        self.contributions = tuple(contributions)
        self.snapshot = Snapshot(networks, self.snapshot.hosts, self.snapshot.serial + 1)


def merge(contributions: Sequence[Contribution]) -> tuple[Snapshot, tuple[Fault, ...]]:
    """One snapshot of all contributions (serial 0), and a warning for each thing that a rule had to decide."""
    snapshot, warnings, _, _ = _merge(contributions, {})
    return snapshot, warnings


def _merge(
    contributions: Sequence[Contribution], known: Mapping[str, Network]
) -> tuple[Snapshot, tuple[Fault, ...], frozenset[str], bool]:
    """The snapshot, the warnings, the simple networks, and whether subnets of two networks overlap.

    About the endpoints of a network that is ``known``, the same object, there is nothing to warn of."""
    networks: dict[str, Network] = {}
    told = [contribution.hosts for contribution in contributions if contribution.hosts]
    hosts = told[0] if len(told) == 1 else tuple(host for some in told for host in some)
    warnings: list[Fault] = []
    simple: set[str] = set()
    for contribution in contributions:
        for network in contribution.networks:
            first = networks.get(network.name)
            (simple.add if first is None else simple.discard)(network.name)
            joined = network if first is None else _join(first, network, warnings)
            networks[network.name] = joined
    checked = []
    for network in networks.values():
        if known.get(network.name) is network:
            checked.append(network)
            continue
        before = len(warnings)
        checked.append(_check_endpoints(network, warnings))
        if len(warnings) > before:
            simple.discard(network.name)
    ordered = sorted(checked, key=Network.order)
    _check_networks(ordered, warnings)
    before = len(warnings)
    _check_subnets(ordered, warnings)
    has_overlaps = len(warnings) > before
    _check_hosts(hosts, ordered, warnings)
    snapshot = Snapshot({network.name: network for network in ordered}, hosts)
    return snapshot, tuple(warnings), frozenset(simple), has_overlaps


def _join(first: Network, second: Network, warnings: list[Fault]) -> Network:
    stated = {}
    for key in ("internal", "ttl", "priority", "servers"):
        mine, theirs, unstated = (getattr(network, key) for network in (first, second, Network("")))
        stated[key] = theirs if mine == unstated else mine
        if theirs not in (stated[key], unstated):
            warnings.append(
                _warning(
                    second,
                    f"{key} = {theirs} differs from {mine} in {first.origin}, which counts",
                    "state it in one file only",
                )
            )
    return replace(
        first,
        subnets=tuple(dict.fromkeys(first.subnets + second.subnets)),
        gateways=tuple(dict.fromkeys(first.gateways + second.gateways)),
        endpoints=(*first.endpoints, *second.endpoints),
        **stated,
    )


def _check_endpoints(network: Network, warnings: list[Fault]) -> Network:
    by_name: dict[str, Endpoint] = {}
    by_address: dict[IPAddress, Endpoint] = {}
    holds = network.holding()
    for endpoint in network.endpoints:
        first = by_name.setdefault(endpoint.name.lower(), endpoint)
        if first is not endpoint:
            warnings.append(
                _warning(
                    endpoint,
                    f"endpoint {endpoint.name!r} of network {network.name!r} is already in {first.origin};"
                    " this one is left out",
                    "give it another name",
                )
            )
            continue
        if len(endpoint.name) + len(network.name) + 3 > MAX_NAME_SIZE:
            warnings.append(
                _warning(
                    endpoint,
                    f"{endpoint.name}.{network.name} has over {MAX_NAME_SIZE} octets: nobody can ask for it",
                    "give it a shorter name",
                )
            )
        for address in endpoint.addresses:
            if not holds(address):
                warnings.append(
                    _warning(
                        endpoint,
                        f"{address} of {endpoint.name!r} is outside the subnets of network {network.name!r}",
                        "correct the address, or add its subnet",
                    )
                )
            holder = by_address.setdefault(address, endpoint)
            if holder is not endpoint:
                warnings.append(
                    _warning(
                        endpoint,
                        f"{address} is also the address of {holder.name!r} ({holder.origin}), which keeps the PTR",
                        "give one of them another address",
                    )
                )
    for endpoint in by_name.values():
        for name in endpoint.dns_names()[1:]:
            owner = by_name.get(name.lower())
            if owner is not None and owner is not endpoint:
                warnings.append(
                    _warning(
                        endpoint,
                        f"{name!r} is also the container name of {owner.origin}; it answers with the addresses of both",
                        "drop the alias unless that is meant",
                    )
                )
    if len(by_name) == len(network.endpoints):
        return network  # the same object as before, so that its compiled table stays good
    return replace(network, endpoints=tuple(by_name.values()))


def _check_networks(networks: Sequence[Network], warnings: list[Fault]) -> None:
    by_name: dict[str, Network] = {}
    for network in networks:
        first = by_name.setdefault(network.name.lower(), network)
        if first is not network:
            warnings.append(
                _warning(
                    network,
                    f"network {network.name!r} differs from {first.name!r} ({first.origin}) in letter case only;"
                    f" NAME.{first.name} means that one",
                    "give it another name",
                )
            )
        warnings.extend(
            _warning(
                network,
                f"gateway {gateway} is outside the subnets of network {network.name!r}",
                "correct the address, or add its subnet",
            )
            for gateway in network.gateways
            if network.subnets and not network.holds(gateway)
        )


def _check_hosts(hosts: Sequence[Host], networks: Sequence[Network], warnings: list[Fault]) -> None:
    if not hosts:
        return
    claimed: dict[str, tuple[Network, Endpoint]] = {}
    for network in networks:
        for endpoint in network.endpoints:
            for name in endpoint.dns_names():
                claimed.setdefault(name.lower(), (network, endpoint))
    for host in hosts:
        for name in host.names:
            if (claim := claimed.get(name.lower())) is not None:
                network, endpoint = claim
                warnings.append(
                    _warning(
                        host,
                        f"{name!r} is also a name of {endpoint.name!r} on network {network.name!r} ({endpoint.origin}),"
                        " which comes first for those who are on it",
                        "drop one of them unless that is meant",
                    )
                )


def _check_subnets(networks: Sequence[Network], warnings: list[Fault]) -> None:
    """Sorted by first address, an overlap is a neighbour that begins before the widest one so far has ended."""
    spans = sorted(
        (
            (subnet.version, int(subnet.network_address), int(subnet.broadcast_address), subnet, network)
            for network in networks
            for subnet in network.subnets
        ),
        key=lambda span: span[:2],
    )
    widest = None
    for span in spans:
        if widest is not None and span[0] == widest[0] and span[1] <= widest[2] and span[4] is not widest[4]:
            warnings.append(
                _warning(
                    span[4],
                    f"subnet {span[3]} of network {span[4].name!r} overlaps {widest[3]} of {widest[4].name!r};"
                    " an asker with an address in both sees both networks",
                    "use subnets that do not overlap, or pin the view with --network",
                )
            )
        if widest is None or span[0] != widest[0] or span[2] > widest[2]:
            widest = span


def _warning(what: Network | Endpoint | Host, message: str, fix: str) -> Fault:
    return Fault(what.origin.place, message, fix, line=what.origin.line, is_warning=True)
