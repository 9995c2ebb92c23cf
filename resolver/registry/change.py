"""What a source says anew of few endpoints, so that few names have to be looked at and not a million.

Endpoints are told apart by identity: a source that knows large networks keeps the objects of what has not changed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from itertools import compress, count
from operator import is_not

from msgspec import Struct

from resolver.registry.model import Contribution, Endpoint, Network
from resolver.registry.roll import Roll
from resolver.wire.name import IPAddress, WireName, reverse_name

FEW = 200
"""Endpoints that may differ: looking at each costs some 20 µs of the event loop's time."""
PART = 100
"""In large networks it may be one of so many: to make all of it anew takes longer, and more would change meanwhile."""

Difference = tuple[tuple[Endpoint, ...], tuple[Endpoint, ...]]
"""The endpoints that went, and those that came."""


class Change(Struct, frozen=True):
    """A network, and which endpoints are not as they were; what has changed is in both."""

    network: Network
    """As it is now."""
    removed: tuple[Endpoint, ...]
    added: tuple[Endpoint, ...]
    moved: tuple[IPAddress, ...] = ()
    """Addresses that are in the network's subnets and were not, or were and are not."""

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Those that went and those that came."""
        return self.removed + self.added


def changes_between(before: Sequence[Contribution], after: Sequence[Contribution]) -> tuple[Change, ...] | None:
    """What differs in the endpoints of networks; None when anything else does, or too much."""
    if len(before) != len(after):
        return None
    changes: list[Change] = []
    for old, new in zip(before, after, strict=True):
        if old is new:
            continue
        if old.source != new.source or old.hosts is not new.hosts or len(old.networks) != len(new.networks):
            return None
        for was, now in zip(old.networks, new.networks, strict=True):
            if was is now:
                continue
            if (change := _change(was, now)) is None:
                return None
            changes.append(change)
    differ = sum(len(change.endpoints()) + len(change.moved) for change in changes)
    most = max(FEW, sum(len(change.network.endpoints) for change in changes) // PART)
    return tuple(changes) if differ <= most else None


def _change(before: Network, after: Network) -> Change | None:
    for key in ("name", "gateways", "internal", "ttl", "priority", "servers"):
        if getattr(before, key) != getattr(after, key):
            return None
    moved = _moved(before, after) if before.subnets != after.subnets else ()
    found = differing(before.endpoints, after.endpoints)
    return None if found is None or moved is None else Change(after, *found, moved)


def _moved(before: Network, after: Network) -> tuple[IPAddress, ...] | None:
    """The addresses in the subnets of one of them alone; None for too many, or when more depends on it.

    A source that knows no subnets gives its containers' addresses for them: these change with every container.
    """
    if before.internal or not before.subnets or not after.subnets or before.order() != after.order():
        return None
    found: list[IPAddress] = []
    differing = set(before.subnets) ^ set(after.subnets)
    for make, version in ((ipaddress.IPv4Address, 4), (ipaddress.IPv6Address, 6)):
        edges: list[int] = []
        for subnets in (before.subnets, after.subnets):
            spans = [subnet for subnet in subnets if subnet in differing and subnet.version == version]
            for span in ipaddress.collapse_addresses(spans):  # type: ignore[type-var]
                edges += (int(span.network_address), int(span.broadcast_address) + 1)
        edges.sort()  # each set has every edge once: between an odd one and the next is what one alone has
        for first, end in zip(edges[::2], edges[1::2], strict=True):
            if len(found) + end - first > FEW:
                return None
            found += map(make, range(first, end))
    return tuple(found)


def differing(before: Sequence[Endpoint], after: Sequence[Endpoint]) -> Difference | None:
    """Which objects went, and which came; None when others have changed their order."""
    if not isinstance(before, Roll) or not isinstance(after, Roll):
        return _differing(tuple(before), tuple(after))
    kept = set(map(id, before.pieces)) & set(map(id, after.pieces))
    olds, news = _gaps(before, kept), _gaps(after, kept)
    if [piece for piece, _ in olds] != [piece for piece, _ in news]:
        return None
    removed: tuple[Endpoint, ...] = ()
    added: tuple[Endpoint, ...] = ()
    for (_, old), (_, new) in zip(olds, news, strict=True):
        if old or new:
            if (found := _differing(old, new)) is None:
                return None
            removed, added = removed + found[0], added + found[1]
    return removed, added


def _gaps(roll: Roll[Endpoint], kept: set[int]) -> list[tuple[int, tuple[Endpoint, ...]]]:
    """What is between the pieces that are kept: the identity of each of these, and what comes before it."""
    gaps: list[tuple[int, tuple[Endpoint, ...]]] = []
    gap: tuple[Endpoint, ...] = ()
    for piece in roll.pieces:
        if id(piece) in kept:
            gaps.append((id(piece), gap))
            gap = ()
        else:
            gap += piece
    return [*gaps, (0, gap)]


def _differing(before: tuple[Endpoint, ...], after: tuple[Endpoint, ...]) -> Difference | None:
    same = min(len(before), len(after))
    head = next(compress(count(), map(is_not, before, after)), same)
    if head == len(before) == len(after):
        return (), ()
    tail = next(compress(count(), map(is_not, reversed(before), reversed(after))), same)
    tail = min(tail, same - head)
    old, new = before[head : len(before) - tail], after[head : len(after) - tail]
    if len(old) == len(new):
        places = list(compress(count(), map(is_not, old, new)))
        if 4 * len(places) <= len(old) or len(places) <= FEW:
            removed, added = tuple(old[place] for place in places), tuple(new[place] for place in places)
            if not {id(endpoint) for endpoint in removed} & {id(endpoint) for endpoint in added}:
                return removed, added
    ids_before, ids_after = set(map(id, old)), set(map(id, new))
    kept_before = [endpoint for endpoint in old if id(endpoint) in ids_after]
    kept_after = [endpoint for endpoint in new if id(endpoint) in ids_before]
    if len(kept_before) != len(kept_after) or any(map(is_not, kept_before, kept_after)):
        return None
    return (
        tuple(endpoint for endpoint in old if id(endpoint) not in ids_after),
        tuple(endpoint for endpoint in new if id(endpoint) not in ids_before),
    )


def reverse_names(change: Change) -> Iterator[WireName]:
    """The folded reverse names of the endpoints' addresses that went or came."""
    for endpoint in change.endpoints():
        for address in endpoint.addresses:
            yield reverse_name(address)
