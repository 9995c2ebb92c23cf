"""Who sees what: from a client to its view, one asker's compiled names.

A view holds only the tables of the networks that its asker is on, so whatever is given a view cannot leak another
network's names. All views of one state of the registry belong to one `Views`; a change makes a new one and swaps it in.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from weakref import WeakSet

from msgspec import Struct, field
from msgspec.structs import replace

from resolver.registry.index import SubnetIndex
from resolver.registry.model import SHORT_ID_LENGTH, Endpoint, IPNetwork, Origin, Snapshot
from resolver.registry.table import Holders, HostTable, NetworkTable
from resolver.wire.name import IPAddress, WireName, fold, from_text, lineage_of
from resolver.wire.ready import TCP_ROOM, ReadyTable, new_table
from resolver.zones.model import ZoneSet

ROOMS = (None, None, TCP_ROOM, TCP_ROOM)
"""UDP and TCP over IPv4 and IPv6: each has its own ready replies."""

_MAX_CLIENTS = 65536


class ViewSettings(Struct, frozen=True):
    """What the answers of every view are made with."""

    ttl: int = 600
    """Seconds; networks and endpoints may say otherwise."""
    negative_ttl: int = 10
    """Seconds for which a client may remember that there is nothing."""
    fallback_gateways: tuple[IPAddress, ...] = ()
    """Where a client whose networks have no gateway reaches the host: the default gateway, else docker0."""
    joins_networks: bool = False
    """True: a name answers with the addresses of every network of the asker that knows it, not of the first one."""
    qualifies_names: bool = True
    """False: a network's name is no part of DNS; ``name.network`` is unknown, and below ``network`` is forwarded."""


class Match(Struct, frozen=True):
    """What a name stands for in a view."""

    addresses: tuple[IPAddress, ...]
    ttl: int
    apex: WireName
    """The owner of the SOA in a negative answer about this name."""
    origins: tuple[Origin, ...]
    network: str = ""
    endpoints: tuple[Endpoint, ...] = ()

    def joined(self, other: Match) -> Match:
        """This match, and after it what the same name stands for on another network."""
        return Match(
            addresses=tuple(dict.fromkeys(self.addresses + other.addresses)),
            ttl=min(self.ttl, other.ttl),
            apex=self.apex,
            origins=self.origins + other.origins,
            network=self.network,
            endpoints=self.endpoints + other.endpoints,
        )


class View(Struct, frozen=True, eq=False):
    """The names that one asker can see, and the replies that it has been given before."""

    tables: tuple[NetworkTable, ...]
    """The asker's networks, in the order in which they are asked."""
    by_suffix: dict[WireName, NetworkTable]
    """The same by their folded names; of two that differ in letter case only, the one that is asked first."""
    settings: ViewSettings
    serial: int
    hosts: HostTable
    zones: ZoneSet
    suffixes: frozenset[WireName]
    """The names of every network that exists: nothing below one is ever forwarded."""
    subnets: SubnetIndex[str]
    """Every network's subnets: a reverse name in one is ours, known or not. All views share one index."""
    links: dict[str, dict[WireName, WireName]] = field(default_factory=dict)
    """By network: what the asker alone calls an endpoint there."""
    servers: tuple[str, ...] = ()
    """Upstreams of the asker's own, else of its networks."""
    extra_hosts: dict[WireName, tuple[tuple[IPAddress | None, Origin], ...]] = field(default_factory=dict)
    """What the asker alone knows by its own hosts file; None is the host's gateway."""
    within: tuple[IPNetwork, ...] | None = None
    """When every network of the asker is internal their subnets: nobody outside them is asked for it."""
    asker: str | None = None
    """The container's name, when it has names or upstreams of its own."""
    scope: str | None = None
    """The asker's scope, where it makes a difference."""
    is_host: bool = False
    """True for the host's view, which is on no network and sees all of them."""
    is_stranger: bool = False
    """True for who is beyond one of our interfaces, on no network that is known: nothing is forwarded."""
    turns: dict[tuple[WireName, int], int] = field(default_factory=dict)
    """How often a question was answered, so that the next answer has its records in another order."""
    led: set[WireName] = field(default_factory=set)
    """The folded names of ready replies whose records are those of another name, which a CNAME led to."""
    services: dict[WireName, set[WireName]] = field(default_factory=dict)
    """The folded names of ready replies about services (``_sql._tcp.db``), by the names that these are below."""
    ready: tuple[ReadyTable, ...] = field(default_factory=lambda: tuple(new_table(room) for room in ROOMS))

    passing: WeakSet[ReadyTable] = field(default_factory=WeakSet)
    """Where responders keep upstreams' replies for this view: a name that is known now is to go there, too."""

    @property
    def is_internal(self) -> bool:
        """True when every network of the asker is internal (design.md 2.6).

        So it is when none of them exists any more: what was cut off stays cut off while its registry is in disorder.
        """
        return self.within is not None

    @property
    def gateways(self) -> tuple[IPAddress, ...]:
        """Where the asker reaches the host: the gateways of its first network that has any, else the fall-back."""
        for table in self.tables:
            if table.network.gateways:
                return table.network.gateways
        return self.settings.fallback_gateways

    def forget(self, names: Iterable[WireName]) -> None:
        """Keep no ready reply about these folded names, their services, nor any that a CNAME may have led to them."""
        for name in names:
            self.led.update(self.services.pop(name, ()))
            self.led.add(name)
        tables = (*self.ready, *self.passing)
        for name in self.led:
            for table in tables:
                table.drop(name)
        self.led.clear()

    def find(self, key: WireName) -> Match | None:
        """What a folded name stands for: whole, then as ``name.network``, then in the hosts files; None if unknown."""
        found = None
        for table in self.tables:
            if endpoints := self._in_network(table, key):
                match = self._match(table, endpoints, key)
                found = match if found is None else found.joined(match)
                if not self.settings.joins_networks:
                    break
        if found is not None:
            return found
        for suffix in lineage_of(key)[-2:0:-1] if self.by_suffix else ():
            if (qualified := self.by_suffix.get(suffix)) is not None:
                head = WireName(key[: len(key) - len(suffix)] + b"\0")
                if endpoints := self._in_network(qualified, head):
                    return self._match(qualified, endpoints, suffix)
        if lines := self.hosts.find(key):
            origins = tuple(line.origin for line in lines)
            return Match(tuple(line.address for line in lines), self.settings.ttl, key, origins)
        return None

    def find_address(self, address: IPAddress) -> tuple[WireName, int, Origin] | None:
        """The PTR target of an address, its TTL and where it was written; None when no endpoint of the view has it."""
        return self.holders.find(address)

    @property
    def holders(self) -> Holders:
        """Who holds which address."""
        return Holders(self.tables, self.hosts, self.settings.ttl)

    def ttl_of(self, table: NetworkTable, endpoint: Endpoint) -> int:
        """The endpoint's TTL in seconds: its own, else its network's, else everybody's."""
        for ttl in (endpoint.ttl, table.network.ttl):
            if ttl is not None:
                return ttl
        return self.settings.ttl

    def _in_network(self, table: NetworkTable, key: WireName) -> tuple[Endpoint, ...] | None:
        target = self.links.get(table.network.name, {}).get(key)
        found = (table.find(target) if target is not None else None) or table.find(key)
        if found is None or self.scope is None or len(found) == 1:
            return found
        return tuple(endpoint for endpoint in found if endpoint.scope == self.scope) or found

    def find_extra(self, key: WireName) -> Match | None:
        """What the asker's own hosts file says of a folded name; None when it says nothing."""
        if (extra := self.extra_hosts.get(key)) is None:
            return None
        addresses: list[IPAddress] = []
        for address, _ in extra:
            addresses.extend(self.gateways if address is None else (address,))
        origins = tuple(dict.fromkeys(origin for _, origin in extra))
        return Match(tuple(dict.fromkeys(addresses)), self.settings.ttl, key, origins)

    def _match(self, table: NetworkTable, endpoints: tuple[Endpoint, ...], apex: WireName) -> Match:
        return Match(
            addresses=tuple(address for endpoint in endpoints for address in endpoint.addresses),
            ttl=min(self.ttl_of(table, endpoint) for endpoint in endpoints),
            apex=apex,
            origins=tuple(endpoint.origin for endpoint in endpoints),
            network=table.network.name,
            endpoints=endpoints,
        )


class _Asker(Struct, frozen=True):
    """What a view has that others on the same networks do not."""

    name: str | None = None
    """The container, when it has names or upstreams of its own."""
    scope: str | None = None
    is_host: bool = False


class Views:
    """All views of one snapshot of the registry and the zones; made anew when either changes."""

    def __init__(
        self,
        snapshot: Snapshot,
        zones: ZoneSet,
        settings: ViewSettings,
        previous: Views | None = None,
    ) -> None:
        self.snapshot = snapshot
        self.zones = zones
        self.settings = settings
        old: dict[str, NetworkTable] = previous.tables if previous is not None else {}
        self.tables: dict[str, NetworkTable] = {
            name: table if (table := old.get(name)) and table.network is network else NetworkTable(network)
            for name, network in snapshot.networks.items()
        }
        is_same = previous is not None and previous.snapshot.hosts is snapshot.hosts
        self.hosts: HostTable = previous.hosts if is_same and previous else HostTable(snapshot.hosts)
        self._suffixes = frozenset(table.suffix for table in self.tables.values() if settings.qualifies_names)
        self.subnets = SubnetIndex(
            (subnet, network.name) for network in snapshot.networks.values() for subnet in network.subnets
        )
        self._made: dict[tuple[tuple[str, ...], _Asker], View] = {}
        self.by_words: dict[tuple[tuple[str, ...], str | None], View] = {}
        """The same by the words in which they were asked for: a server asks with the same ones for every query."""
        self.words_about: dict[str, list[tuple[tuple[str, ...], str | None]]] = {}
        """Which of the words in `by_words` are about a container, by its name in lower case."""
        self.by_client: dict[str, View] = {}
        self.host = self._make(tuple(self.tables.values()), _Asker(), is_host=True)
        """The view of a client on no network: every network."""
        self.stranger = replace(self._make((), _Asker(), is_host=False), is_stranger=True)
        """The view of a client of whom nobody can say on which network it is: none."""

    def of_client(self, host: str) -> View:
        """The view of a client by its address as the socket gives it; one that is link-local must be our own."""
        view = self.by_client.get(host)
        if view is None:
            view = self.of_address(ipaddress.ip_address(host.partition("%")[0]))
            if len(self.by_client) >= _MAX_CLIENTS:
                self.by_client.clear()
            self.by_client[host] = view
        return view

    def of_address(self, address: IPAddress) -> View:
        """The view of the networks whose subnets hold the address; the host's view when there is none.

        When the address is that of a container with an id, its view is that of every network that it is on.
        """
        names = {name for _, name in self.subnets.holding(address)}
        if not names:
            return self.host
        networks = tuple(name for name in self.tables if name in names)
        for name in networks:
            if (endpoint := self.tables[name].by_address.get(address)) is not None:
                return self.pinned(self._networks_of_id(endpoint.id) or networks, endpoint.name)
        return self.pinned(networks, None)

    def on_link(self, client: IPAddress, ours: Sequence[IPAddress]) -> View:
        """The view of a client with a link-local address, which is not ours: that of the networks on its link.

        ``ours`` are our other addresses there. The link may be an internal network's, so it is never the host's view.
        """
        if client.version == 4 and any(self.subnets.holding(client)):  # a network may well be 169.254.7.0/24
            return self.of_address(client)
        names = {name for address in ours for _, name in self.subnets.holding(address)}
        if not names:
            return self.stranger
        return self.pinned(tuple(name for name in self.tables if name in names), None)

    def _networks_of_id(self, container_id: str | None) -> tuple[str, ...]:
        if container_id is None:
            return ()
        key = fold(from_text(container_id[:SHORT_ID_LENGTH]))
        return tuple(
            name
            for name, table in self.tables.items()
            if any(endpoint.id == container_id for endpoint in table.names.get(key, ()))
        )

    def pinned(self, networks: Sequence[str], endpoint: str | None) -> View:
        """The view of exactly these networks, as the container named ``endpoint`` sees them.

        A network that does not exist (any more) contributes nothing.
        """
        asked = (tuple(networks), endpoint)
        view = self.by_words.get(asked)
        if view is None:
            tables = tuple(table for name, table in self.tables.items() if name in networks)
            if endpoint is not None and len(tables) > 1:
                tables = tuple(sorted(tables, key=lambda table: -table.priority_of(endpoint)))
            asker = self._asker(tables, endpoint)
            key = (tuple(table.network.name for table in tables), asker)
            view = self._made.get(key)
            if view is None:
                view = self._made[key] = self._make(tables, asker, is_host=False)
            if len(self.by_words) >= _MAX_CLIENTS:
                self.by_words.clear()
                self.words_about.clear()
            self.by_words[asked] = view
            if endpoint is not None:
                self.words_about.setdefault(endpoint.lower().removesuffix("."), []).append(asked)
        return view

    def from_outside(self, networks: Sequence[str]) -> View:
        """The view of exactly these networks as the host has it: whoever asks is none of their containers."""
        tables = tuple(table for name, table in self.tables.items() if name in networks)
        key = (tuple(table.network.name for table in tables), _Asker(is_host=True))
        view = self._made.get(key)
        if view is None:
            view = self._made[key] = self._make(tables, _Asker(), is_host=True)
        return view

    def networks_of(self, endpoint: str) -> tuple[str, ...]:
        """The networks on which there is an endpoint of that container name."""
        return tuple(name for name, table in self.tables.items() if table.named(endpoint) is not None)

    def all_made(self) -> Iterable[View]:
        """Every view that has answered anything, for the counters."""
        return [self.host, *self._made.values(), self.stranger]

    def _asker(self, tables: Sequence[NetworkTable], name: str | None) -> _Asker:
        """What tells the container of that name from others on the same networks: nothing, for most of them."""
        if name is None:
            return _Asker()
        askers = [(table, asker) for table in tables if (asker := table.named(name)) is not None]
        is_private = any(asker.links or asker.servers or asker.extra_hosts for _, asker in askers)
        scopes = [asker.scope for _, asker in askers] if any(table.is_contended for table in tables) else []
        return _Asker(name if is_private else None, next((scope for scope in scopes if scope is not None), None))

    def _make(self, tables: tuple[NetworkTable, ...], asker: _Asker, *, is_host: bool) -> View:
        links: dict[str, dict[WireName, WireName]] = {}
        extra_hosts: dict[WireName, tuple[tuple[IPAddress | None, Origin], ...]] = {}
        servers: tuple[str, ...] = ()
        for table in tables:
            endpoint = table.named(asker.name) if asker.name is not None else None
            if endpoint is None:
                continue
            links[table.network.name] = {
                fold(from_text(alias)): fold(from_text(target)) for alias, target in endpoint.links
            }
            servers = servers or endpoint.servers
            for name, address in endpoint.extra_hosts:
                key, line = fold(from_text(name)), (address, endpoint.origin)
                known = extra_hosts.get(key, ())
                extra_hosts[key] = known if line in known else (*known, line)
        is_internal = not is_host and all(table.network.internal for table in tables)
        if not is_host and not servers:
            # Who has a way out asks those that are for the way out; who has none asks within.
            usable = (table for table in tables if is_internal or not table.network.internal)
            servers = tuple(dict.fromkeys(server for table in usable for server in table.network.servers))
        return View(
            tables=tables,
            by_suffix={table.suffix: table for table in reversed(tables) if self.settings.qualifies_names},
            settings=self.settings,
            serial=self.snapshot.serial,
            hosts=self.hosts,
            zones=self.zones,
            suffixes=self._suffixes,
            subnets=self.subnets,
            links=links,
            servers=servers,
            extra_hosts=extra_hosts,
            within=tuple(subnet for table in tables for subnet in table.network.subnets) if is_internal else None,
            asker=asker.name,
            scope=asker.scope,
            is_host=is_host,
        )


def reverse_apex(subnet: IPNetwork) -> WireName:
    """The reverse zone that a subnet lies in: its prefix cut to whole labels (``18.172.in-addr.arpa.`` for a /16)."""
    step = 8 if subnet.version == 4 else 4
    labels = subnet.network_address.reverse_pointer.split(".")
    return from_text(".".join(labels[-2 - subnet.prefixlen // step :]))
