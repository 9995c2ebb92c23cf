"""The names of one network, compiled for look-up by folded wire name.

A table is made once for each network and shared by every view that contains it. Where few endpoints change it is kept
and told of them, on the event loop and in one go, so that no question meets a half of it (docs/adr/0021).
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from resolver.registry.change import Change
from resolver.registry.model import Endpoint, Host, Network, Origin
from resolver.wire.constants import MAX_NAME_SIZE
from resolver.wire.name import IPAddress, WireName, fold, from_text, key_of, parent_of, suffixes_of

_T = TypeVar("_T")
Endpoints = tuple[Endpoint, ...]
Plan = dict[WireName, Endpoints]
"""Who is to answer to some names; nobody to those that are no more."""


class NetworkTable:
    """Endpoints of one network by name and by address."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.suffix = fold(from_text(network.name))
        self.by_address: dict[IPAddress, Endpoint] = {}
        names: dict[WireName, Endpoints] = {}
        shared: dict[WireName, list[Endpoint]] = {}
        below: dict[WireName, list[Endpoint]] = {}
        for endpoint in network.endpoints:
            alone = (endpoint,)
            for name in endpoint.dns_names():
                key = key_of(name)
                sharing = names.setdefault(key, alone)
                if sharing is not alone:
                    shared.setdefault(key, [*sharing]).append(endpoint)
            for name in endpoint.wildcards() if endpoint.aliases else ():
                below.setdefault(key_of(name[2:]), []).append(endpoint)
            for address in endpoint.addresses:
                self.by_address.setdefault(address, endpoint)
        names.update(_as_tuples(shared))
        wildcards = _as_tuples(below)
        self.names = names
        self._wildcards = wildcards
        self._existing = _ancestors(names, wildcards) if wildcards else frozenset[WireName]()
        self.is_contended = any(
            len(sharing) > 1 and len({endpoint.scope for endpoint in sharing}) > 1
            for table in (names, wildcards)
            for sharing in table.values()
        )
        """True when endpoints of several scopes share a name, so that it depends on the asker's who answers."""

    @property
    def has_wildcards(self) -> bool:
        """True when a name may be known that is not among `names`."""
        return bool(self._wildcards)

    def plan(self, change: Change) -> Plan | None:
        """Who answers to each name that a change touches, when it is through; None where only a new table can tell.

        That is so where wildcards or scopes have a say, and where there is something to warn of.
        """
        if self._wildcards or self.is_contended or any(endpoint.wildcards() for endpoint in change.added):
            return None
        network = change.network
        gone, holds = set(map(id, change.removed)), network.holding()
        plan: dict[WireName, list[Endpoint]] = {}
        for endpoint in change.endpoints():
            for name in endpoint.dns_names():
                if (key := key_of(name)) not in plan:
                    plan[key] = [known for known in self.names.get(key, ()) if id(known) not in gone]
        held: dict[IPAddress, Endpoint] = {}
        for endpoint in change.added:
            if len(endpoint.name) + len(network.name) + 3 > MAX_NAME_SIZE:
                return None
            for name in endpoint.dns_names():
                plan[key_of(name)].append(endpoint)
            for address in endpoint.addresses:
                holder = self.by_address.get(address)
                is_free = holder is None or id(holder) in gone
                if not is_free or held.setdefault(address, endpoint) is not endpoint or not holds(address):
                    return None
        shared = {key: sharing for key, sharing in plan.items() if len(sharing) > 1}
        for key, sharing in shared.items():
            if len({endpoint.scope for endpoint in sharing}) > 1 or any(key_of(one.name) == key for one in sharing):
                return None
        if shared:
            wanted = {id(endpoint) for sharing in shared.values() for endpoint in sharing}
            places = {id(endpoint): place for place, endpoint in enumerate(network.endpoints) if id(endpoint) in wanted}
            for sharing in shared.values():
                sharing.sort(key=lambda endpoint: places[id(endpoint)])
        return {key: tuple(sharing) for key, sharing in plan.items()}

    def take(self, change: Change, plan: Plan) -> None:
        """Become what a table of the changed network would be; the dictionaries stay the same objects."""
        self.network = change.network
        for endpoint in change.removed:
            for address in endpoint.addresses:
                self.by_address.pop(address, None)
        for endpoint in change.added:
            self.by_address.update(dict.fromkeys(endpoint.addresses, endpoint))
        for key, sharing in plan.items():
            if sharing:
                self.names[key] = sharing
            else:
                self.names.pop(key, None)

    def named(self, name: str) -> Endpoint | None:
        """The endpoint whose container name that is; an alias of another one does not count."""
        try:
            key = fold(from_text(name))
        except ValueError:
            return None
        for endpoint in self.names.get(key, ()):
            if fold(from_text(endpoint.name)) == key:
                return endpoint
        return None

    def priority_of(self, name: str) -> int:
        """How early the container of that name wants this network asked, among its own."""
        endpoint = self.named(name)
        return 0 if endpoint is None else endpoint.priority

    def find(self, key: WireName) -> Endpoints | None:
        """The endpoints of a folded name, by itself or by a wildcard (RFC 4592); None if there is none.

        Of several, those that are not ready are left out, unless none is.
        """
        found = self.bearers(key)
        if len(found) > 1:
            found = tuple(endpoint for endpoint in found if endpoint.is_ready) or found
        return found or None

    def bearers(self, key: WireName) -> Endpoints:
        """Every endpoint of a folded name, ready or not; empty if there is none."""
        return self.names.get(key) or find_wildcard(key, self.names, self._wildcards, self._existing) or ()


class HostTable:
    """Lines of hosts files by name and by address."""

    def __init__(self, hosts: tuple[Host, ...]) -> None:
        names: dict[WireName, tuple[Host, ...]] = {}
        shared: dict[WireName, list[Host]] = {}
        below: dict[WireName, list[Host]] = {}
        self.by_address: dict[IPAddress, Host] = {}
        """The first line that gives an address a plain name."""
        for host in hosts:
            alone = (host,)
            for name in host.names:
                if name[0] == "*" and name.startswith("*."):
                    below.setdefault(key_of(name[2:]), []).append(host)
                    continue
                key = key_of(name)
                sharing = names.setdefault(key, alone)
                if sharing is not alone:
                    shared.setdefault(key, [*sharing]).append(host)
                self.by_address.setdefault(host.address, host)
        names.update(_as_tuples(shared))
        wildcards = _as_tuples(below)
        self.names = names
        self._wildcards = wildcards
        self._existing = _ancestors(names, wildcards) if wildcards else frozenset[WireName]()

    @property
    def has_wildcards(self) -> bool:
        """True when a name may be known that is not among `names`."""
        return bool(self._wildcards)

    def find_address(self, address: IPAddress) -> tuple[WireName, Host] | None:
        """The first plain name that a line gives an address, and the line; None when there is none."""
        host = self.by_address.get(address)
        if host is None:
            return None
        return from_text(next(name for name in host.names if not name.startswith("*."))), host

    def find(self, key: WireName) -> tuple[Host, ...] | None:
        """The lines that name a folded name, by itself or by a wildcard; None when there is none."""
        return self.names.get(key) or find_wildcard(key, self.names, self._wildcards, self._existing)


def canonical_name(endpoint: Endpoint, network: str) -> WireName:
    """``name.network.`` with the first name of the endpoint that leaves it within 255 octets (RFC 1035 2.3.4).

    An endpoint that has no such name goes by its bare one.
    """
    for name in endpoint.dns_names():
        try:
            return from_text(f"{name}.{network}")
        except ValueError:
            continue
    return from_text(endpoint.name)


class Holders(NamedTuple):
    """Who holds an address, of what one view has."""

    tables: tuple[NetworkTable, ...]
    hosts: HostTable
    ttl: int
    """Seconds, where neither endpoint nor network says otherwise."""

    def find(self, address: IPAddress) -> tuple[WireName, int, Origin] | None:
        """The PTR target of an address, its TTL and where it was written; None when nobody has it."""
        for table in self.tables:
            if (endpoint := table.by_address.get(address)) is not None:
                target = canonical_name(endpoint, table.network.name)
                own = table.network.ttl if endpoint.ttl is None else endpoint.ttl
                return target, self.ttl if own is None else own, endpoint.origin
        if (named := self.hosts.find_address(address)) is not None:
            target, line = named
            return target, self.ttl, line.origin
        return None


def find_wildcard(
    key: WireName, names: dict[WireName, _T], wildcards: dict[WireName, _T], existing: frozenset[WireName]
) -> _T | None:
    """What the wildcard at the closest encloser of ``key`` says (RFC 4592 3.3.1).

    The closest encloser is the longest ancestor that exists: as a name, as the parent of a wildcard, or as an empty
    non-terminal above one of them. A wildcard further up does not count.
    """
    if not wildcards or key in existing:
        return None
    while key != b"\0":
        key = parent_of(key)
        if (found := wildcards.get(key)) is not None:
            return found
        if key in names or key in existing:
            return None
    return None


def _as_tuples(lists: dict[WireName, list[_T]]) -> dict[WireName, tuple[_T, ...]]:
    return {key: tuple(sharing) for key, sharing in lists.items()}


def _ancestors(*tables: dict[WireName, Endpoints] | dict[WireName, tuple[Host, ...]]) -> frozenset[WireName]:
    existing: set[WireName] = set()
    for table in tables:
        for key in table:
            existing.update(suffixes_of(key))
    existing.discard(WireName(b"\0"))
    return frozenset(existing)
