"""What a source says anew, as what differs from what it said before: so that a few changes are sent and not a million.

What is the same stays the same object at whoever takes it over, as `registry.change` wants it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress, count, islice
from operator import is_not
from typing import TypeVar

from resolver.registry.model import Contribution, Endpoint, Host, Network
from resolver.registry.roll import Roll

T = TypeVar("T")

Splice = tuple[int, int, tuple[T, ...]]
"""From where to before where items go, by their places before, and what comes there."""


@dataclass(frozen=True, slots=True)
class NetworkDelta:
    """A network by another one, which is at place ``at`` of the same source's former networks."""

    at: int
    network: Network
    """Without its endpoints."""
    endpoints: tuple[Splice[Endpoint], ...]
    is_roll: bool


@dataclass(frozen=True, slots=True)
class ContributionDelta:
    """A contribution by the one at place ``at`` of the former ones."""

    at: int
    networks: tuple[int | NetworkDelta | Network, ...]
    """A number is the place of a network that is as before."""
    hosts: tuple[Splice[Host], ...]


Delta = tuple[int | ContributionDelta | Contribution, ...]
"""A number is the place of a contribution that is as before."""


def difference(before: Sequence[Contribution], after: Sequence[Contribution]) -> Delta | None:
    """What to send of ``after`` to who has ``before``; None for nothing."""
    if len(before) == len(after) and not any(map(is_not, before, after)):
        return None
    places = {contribution.source: at for at, contribution in enumerate(before)}
    return tuple(_contribution(before, places.get(each.source), each) for each in after)


def applied(before: Sequence[Contribution], delta: Delta) -> tuple[Contribution, ...]:
    """What was meant; what is as before are the same objects."""
    found = []
    for each in delta:
        if isinstance(each, int):
            found.append(before[each])
        elif isinstance(each, Contribution):
            found.append(each)
        else:
            old = before[each.at]
            networks = tuple(_network_of(old, network) for network in each.networks)
            found.append(Contribution(old.source, networks, _spliced(old.hosts, each.hosts)))
    return tuple(found)


def _contribution(
    before: Sequence[Contribution], at: int | None, now: Contribution
) -> int | ContributionDelta | Contribution:
    if at is None:
        return now
    was = before[at]
    if was is now:
        return at
    places = {network.name: place for place, network in enumerate(was.networks)}
    networks = tuple(_network(was, places.get(network.name), network) for network in now.networks)
    return ContributionDelta(at, networks, () if was.hosts is now.hosts else _splices(was.hosts, now.hosts, 0))


def _network(was_in: Contribution, at: int | None, now: Network) -> int | NetworkDelta | Network:
    if at is None:
        return now
    was = was_in.networks[at]
    if was is now:
        return at
    header = replace(now, endpoints=())
    splices = _endpoints(was.endpoints, now.endpoints)
    if not splices and header == replace(was, endpoints=()):
        return at
    return NetworkDelta(at, header, splices, isinstance(now.endpoints, Roll))


def _endpoints(before: Sequence[Endpoint], after: Sequence[Endpoint]) -> tuple[Splice[Endpoint], ...]:
    if not isinstance(before, Roll) or not isinstance(after, Roll):
        return _splices(tuple(before), tuple(after), 0)
    same = min(len(before.pieces), len(after.pieces))
    head = next(compress(count(), map(is_not, before.pieces, after.pieces)), same)
    tail = next(compress(count(), map(is_not, reversed(before.pieces), reversed(after.pieces))), same)
    tail = min(tail, same - head)
    old = before.pieces[head : len(before.pieces) - tail]
    new = after.pieces[head : len(after.pieces) - tail]
    start = sum(map(len, before.pieces[:head]))
    return _splices(tuple(one for piece in old for one in piece), tuple(one for piece in new for one in piece), start)


def _splices(before: Sequence[T], after: Sequence[T], start: int) -> tuple[Splice[T], ...]:
    """``start`` is the place of the first of ``before``. Where as many went as came they are told apart one by one."""
    same = min(len(before), len(after))
    head = _first(before, after, same)
    tail = min(_first(before[::-1], after[::-1], same - head), same - head)
    old, new = before[head : len(before) - tail], after[head : len(after) - tail]
    start += head
    if not old and not new:
        return ()
    if len(old) != len(new):
        return ((start, start + len(old), tuple(new)),)
    found: list[Splice[T]] = []
    first = None
    for place, (was, now) in enumerate(zip(old, new, strict=True)):
        differs = was is not now and was != now
        if differs and first is None:
            first = place
        elif not differs and first is not None:
            found.append((start + first, start + place, tuple(new[first:place])))
            first = None
    if first is not None:
        found.append((start + first, start + len(old), tuple(new[first:])))
    return tuple(found)


def _first(before: Sequence[T], after: Sequence[T], most: int) -> int:
    """The place of the first pair that differs, ``most`` when none of so many does."""
    at = next(compress(count(), map(is_not, islice(before, most), islice(after, most))), most)
    while at < most and before[at] == after[at]:
        at += 1
    return at


def _network_of(old: Contribution, told: int | NetworkDelta | Network) -> Network:
    if isinstance(told, int):
        return old.networks[told]
    if isinstance(told, Network):
        return told
    was = old.networks[told.at].endpoints
    if not told.is_roll:
        return replace(told.network, endpoints=_spliced(tuple(was), told.endpoints))
    roll = was if isinstance(was, Roll) else Roll(was)
    for start, stop, items in reversed(told.endpoints):
        roll = roll.splice(start, stop, items)
    return replace(told.network, endpoints=roll)


def _spliced(before: tuple[T, ...], splices: Sequence[Splice[T]]) -> tuple[T, ...]:
    if not splices:
        return before
    found: list[T] = []
    at = 0
    for start, stop, items in splices:
        found += before[at:start]
        found += items
        at = stop
    found += before[at:]
    return tuple(found)
