"""What is sent of a change: little, and enough."""

from __future__ import annotations

import pickle
from dataclasses import replace
from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from resolver.registry.model import Contribution, Endpoint, Host, Network, Origin
from resolver.registry.roll import Roll
from resolver.registry.store import Store
from resolver.workers.splices import Delta, applied, difference


def endpoint(number: int, suffix: int = 0) -> Endpoint:
    address = ip_address(f"10.{suffix}.{number // 250}.{number % 250 + 1}")
    return Endpoint(f"c{number}", (address,), origin=Origin("file", number))


def network(name: str, *endpoints: Endpoint, ttl: int | None = None, rolled: bool = False) -> Network:
    return Network(name, (ip_network("10.0.0.0/8"),), ttl=ttl, endpoints=Roll(endpoints) if rolled else endpoints)


def through(before: tuple[Contribution, ...], after: tuple[Contribution, ...]) -> tuple[Contribution, ...]:
    """What who has ``before`` makes of what is sent of ``after``."""
    delta = difference(before, after)
    if delta is None:
        return before
    sent: Delta = pickle.loads(pickle.dumps(delta))
    return applied(before, sent)


numbers = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2)), max_size=25, unique_by=lambda pair: pair[0])
networks = st.builds(
    lambda name, pairs, ttl, rolled: network(name, *(endpoint(*pair) for pair in pairs), ttl=ttl, rolled=rolled),
    st.sampled_from("abc"),
    numbers,
    st.sampled_from([None, 5]),
    st.booleans(),
)
hosts = st.lists(st.builds(lambda n: Host(ip_address(f"192.0.2.{n}"), (f"h{n}",)), st.integers(1, 9)), max_size=4)
contributions = st.lists(
    st.builds(
        lambda source, several, lines: Contribution(source, tuple(several), tuple(lines)),
        st.sampled_from(["file", "docker", "more"]),
        st.lists(networks, max_size=3, unique_by=lambda one: one.name),
        hosts,
    ),
    max_size=3,
    unique_by=lambda one: one.source,
).map(tuple)


@given(contributions, contributions)
def test_what_arrives_is_what_was_meant(before: tuple[Contribution, ...], after: tuple[Contribution, ...]) -> None:
    assert through(before, after) == after


@given(contributions)
def test_of_what_is_equal_nothing_is_sent_twice(before: tuple[Contribution, ...]) -> None:
    again: tuple[Contribution, ...] = pickle.loads(pickle.dumps(before))
    found = through(before, again)
    for old, new in zip(before, found, strict=True):
        assert all(is_now is was for is_now, was in zip(new.networks, old.networks, strict=True))
        assert new.hosts is old.hosts


def test_one_change_among_many_is_small_and_taken_over_in_place() -> None:
    for rolled in (False, True):
        many = [endpoint(number) for number in range(5000)]
        before = (Contribution("file", (network("n", *many, rolled=rolled),)),)
        read_again = [endpoint(number, 1 if number == 2500 else 0) for number in range(5000)]
        after = (Contribution("file", (network("n", *read_again, rolled=rolled),)),)
        assert len(pickle.dumps(difference(before, after))) < 1500
        found = through(before, after)
        assert found == after
        store = Store()
        store.replace(before)
        changes = store.changes(found)
        assert changes is not None
        assert [one.name for change in changes for one in change.endpoints()] == ["c2500", "c2500"]


def test_of_a_roll_only_pieces_that_are_others_are_looked_at() -> None:
    roll = Roll([endpoint(number) for number in range(5000)])
    before = (Contribution("docker", (replace(network("n"), endpoints=roll),)),)
    now = roll.splice(100, 101, [endpoint(100, 3)]).splice(4000, 4000, [endpoint(9000)])
    after = (Contribution("docker", (replace(network("n"), endpoints=now),)),)
    assert through(before, after) == after
    one = roll.splice(100, 101, [endpoint(100, 3)])
    delta = difference(before, (Contribution("docker", (replace(network("n"), endpoints=one),)),))
    assert len(pickle.dumps(delta)) < 1500


def test_of_nothing_new_nothing_is_sent() -> None:
    before = (Contribution("docker", (network("n", endpoint(1)),)),)
    assert difference(before, before) is None
    assert difference((), ()) is None
