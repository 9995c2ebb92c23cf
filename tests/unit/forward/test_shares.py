"""A bounded number of places among clients: who is admitted, who is not, and that nothing is left behind."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.forward.shares import Bound, Shares


def greedy(places: int, clients: int, most: int = 0) -> list[int]:
    """How many places each of so many clients has when they take turns until nobody gets one more."""
    shares, held = Shares(), [0] * clients
    while True:
        before = sum(held)
        for client in range(clients):
            held[client] += shares.take(client, places, most) is None
        if sum(held) == before:
            return held


@pytest.mark.parametrize(
    ("places", "clients", "expected"),
    [
        (1, 1, [1]),
        (1, 2, [1, 0]),
        (2, 1, [1]),
        (2, 2, [1, 1]),
        (2, 3, [1, 1, 0]),
        (10, 1, [5]),
        (10, 2, [4, 3]),
        (10, 10, [1] * 10),
        (1024, 1, [512]),
        (1024, 2, [342, 341]),
        (1024, 10, [94, *[93] * 9]),
    ],
)
def test_what_clients_get_who_want_everything(places: int, clients: int, expected: list[int]) -> None:
    assert expected == greedy(places, clients)


@given(places=st.integers(1, 300), clients=st.integers(1, 30))
def test_whoever_came_first_there_is_soon_room_for_a_newcomer(places: int, clients: int) -> None:
    """Each takes all it may get before the next one comes; then look-ups end, and are at once asked for again."""
    shares, held = Shares(), [0] * clients
    for client in range(clients):
        while shares.take(client, places) is None:
            held[client] += 1
    for _ in range(places):
        for client in range(clients):
            if held[client]:
                shares.give_back(client)
                held[client] -= shares.take(client, places) is not None

    assert clients >= places or shares.take("newcomer", places) is None
    assert shares.taken <= places


def test_the_bound_of_one_client_is_below_its_share() -> None:
    shares = Shares()

    assert [None, None, Bound.CLIENT] == [shares.take("a", 100, 2) for _ in range(3)]
    assert None is shares.take("b", 100, 2)
    assert {Bound.CLIENT: 1} == shares.refused


def test_each_refusal_is_counted_by_what_it_met() -> None:
    refused: Counter[Bound] = Counter()
    shares, others = Shares(refused), Shares(refused)

    assert [None, Bound.SHARE] == [shares.take("a", 2), shares.take("a", 2)]
    assert [None, Bound.ALL] == [shares.take("b", 2), shares.take("c", 2)]
    assert [None, Bound.ALL] == [others.take(None, 1), others.take(None, 1)]
    assert {Bound.SHARE: 1, Bound.ALL: 2} == refused


def test_nobody_in_particular_may_have_every_place() -> None:
    shares = Shares()

    assert [None] * 3 + [Bound.ALL] == [shares.take(None, 3) for _ in range(4)]
    assert 0 == len(shares)


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=200))
def test_nothing_is_left_of_clients_that_hold_nothing(steps: list[tuple[int, bool]]) -> None:
    shares = Shares()
    held: Counter[int] = Counter()
    for client, takes in steps:
        if takes:
            held[client] += shares.take(client, 12) is None
        elif held[client]:
            shares.give_back(client)
            held[client] -= 1

        assert (shares.taken, len(shares)) == (held.total(), len(+held))
        assert shares.taken <= 12
