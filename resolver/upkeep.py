"""Takes a few changed endpoints over into the views that are in use, so that what does not concern them stays ready.

All of it happens in one turn of the event loop. Questions are decided in one turn too, so none of them meets a half of
it, and what is in flight has been decided before (docs/adr/0021).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from resolver.registry.change import Change, reverse_names
from resolver.registry.model import SHORT_ID_LENGTH, Endpoint, Snapshot
from resolver.registry.table import NetworkTable, Plan
from resolver.views import View, Views
from resolver.wire.constants import MAX_NAME_SIZE
from resolver.wire.name import IPAddress, WireName, key_of, reverse_name, suffixes_of

Plans = tuple[tuple[NetworkTable, Change, Plan], ...]
"""What is to become of each table."""


def plan(views: Views, changes: Sequence[Change]) -> Plans | None:
    """What the changes make of the views; None where new views have to be made."""
    plans: list[tuple[NetworkTable, Change, Plan]] = []
    for change in changes:
        table = views.tables[change.network.name]
        planned = table.plan(change)
        if planned is None or any(key in views.hosts.names for key in planned):
            return None  # a name in a hosts file and on a network is to be warned of
        plans.append((table, change, planned))
    if not _can_move(views, changes):
        return None
    names = {endpoint.name.lower() for change in changes for endpoint in change.endpoints()}
    is_special = any(_depends(view, names) for view in views.all_made())
    return None if is_special else tuple(plans)


def _can_move(views: Views, changes: Sequence[Change]) -> bool:
    """Whether the addresses that came to a network's subnets, or left them, concern no other network and no rule."""
    seen: set[IPAddress] = set()
    for change in changes:
        if not change.moved:
            continue
        network, holds = change.network, change.network.holding()
        table, gone = views.tables[network.name], set(map(id, change.removed))
        if not all(map(holds, network.gateways)):
            return False
        for address in change.moved:
            if address in seen or any(name != network.name for _, name in views.subnets.holding(address)):
                return False
            seen.add(address)
            holder = table.by_address.get(address)
            if holder is not None and id(holder) not in gone and not holds(address):
                return False
    return True


def _depends(view: View, names: set[str]) -> bool:
    """Whether a view was made of one of these endpoints, or has other names for some."""
    return any(view.links.values()) or (view.asker is not None and view.asker.lower() in names)


def take(views: Views, plans: Plans, snapshot: Snapshot) -> bool:
    """Make it so; True when somebody has another view than before."""
    views.snapshot = snapshot
    stale = {id(table): _names(table, change, planned) for table, change, planned in plans}
    moved = [address for _, change, _ in plans for address in change.moved]
    theirs = {name for address in moved for name in suffixes_of(reverse_name(address))}
    for table, change, planned in plans:
        if change.moved:
            views.subnets.replace(change.network.name, table.network.subnets, change.network.subnets)
        table.take(change, planned)
    for view in views.all_made():
        for table in view.tables:
            if (names := stale.get(id(table))) is not None:
                view.forget(names)
        if theirs:
            view.forget(theirs)  # a reverse name is ours, or not any more, for whoever asks
    is_moved = _look_again(views, [endpoint for _, change, _ in plans for endpoint in change.endpoints()], moved)
    return is_moved or bool(moved)


def _look_again(views: Views, endpoints: Iterable[Endpoint], moved: Iterable[IPAddress]) -> bool:
    """Find out anew which views those have who are, were or share a container with these endpoints, or have moved."""
    askers: dict[tuple[tuple[str, ...], str | None], View] = {}
    clients: dict[str, View] = {}
    concerned = set(moved)
    for endpoint in endpoints:
        for words in views.words_about.pop(endpoint.name.lower().removesuffix("."), ()):
            if (view := views.by_words.pop(words, None)) is not None:
                askers[words] = view
        concerned.update(endpoint.addresses, _addresses_of(views, endpoint.id))
    for address in concerned:
        if address.version == 6 and address.is_link_local:  # known with its scope, and rare
            clients.update(views.by_client)
            views.by_client.clear()
        elif (view := views.by_client.pop(str(address), None)) is not None:
            clients[str(address)] = view
    are_others = [views.pinned(*words) is not view for words, view in askers.items()]
    are_others += [views.of_client(host) is not view for host, view in clients.items()]
    return any(are_others)


def _addresses_of(views: Views, container_id: str | None) -> Iterator[IPAddress]:
    if container_id is not None:
        key = key_of(container_id[:SHORT_ID_LENGTH])
        for table in views.tables.values():
            for endpoint in table.names.get(key, ()):
                if endpoint.id == container_id:
                    yield from endpoint.addresses


def _names(table: NetworkTable, change: Change, planned: Plan) -> set[WireName]:
    """Every folded name whose answer a change may change, in any view that has the table."""
    names = set(reverse_names(change))
    for key in planned:
        names.add(key)
        if len(key) + len(table.suffix) - 1 <= MAX_NAME_SIZE:
            names.add(WireName(key[:-1] + table.suffix))
    return names
