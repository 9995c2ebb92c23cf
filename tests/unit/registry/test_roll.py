"""A roll is to a tuple as a changed copy is to a copy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.registry.change import differing
from resolver.registry.model import Endpoint
from resolver.registry.roll import PIECE, Roll

SPLICES = st.lists(st.tuples(st.integers(0, 3 * PIECE), st.integers(0, 40), st.integers(0, 40)), max_size=6)


@given(st.integers(0, 3 * PIECE), SPLICES)
def test_a_spliced_roll_is_a_spliced_tuple(size: int, splices: list[tuple[int, int, int]]) -> None:
    roll, whole = Roll(range(size)), tuple(range(size))
    for number, (at, gone, come) in enumerate(splices):
        start = min(at, len(whole))
        stop = min(start + gone, len(whole))
        items = [-1000 * number - item for item in range(come)]
        roll = roll.splice(start, stop, items)
        whole = (*whole[:start], *items, *whole[stop:])
        assert roll == whole
        assert list(roll) == list(whole)
        assert tuple(reversed(roll)) == whole[::-1]
        assert roll == Roll(whole)
        assert hash(roll) == hash(whole)
        assert all(0 < len(piece) <= 2 * PIECE for piece in roll.pieces)
        assert [roll[place] for place in range(-len(whole), len(whole), 97)] == [
            whole[place] for place in range(-len(whole), len(whole), 97)
        ]
    assert roll[3:17] == whole[3:17]


def test_beyond_its_ends_there_is_nothing() -> None:
    for index in (3, -4):
        with pytest.raises(IndexError):
            Roll("abc")[index]
    assert Roll("abc") != Roll("abd")
    assert Roll("abc") != "abc"


@given(st.integers(0, 3 * PIECE), SPLICES)
def test_what_differs_between_rolls_makes_the_one_of_the_other(size: int, splices: list[tuple[int, int, int]]) -> None:
    before = Roll(Endpoint(f"n{number}", ()) for number in range(size))
    after = before
    for number, (at, gone, come) in enumerate(splices):
        start = min(at, len(after))
        fresh = [Endpoint(f"n{number}-{item}", ()) for item in range(come)]
        after = after.splice(start, min(start + gone, len(after)), fresh)

    for old, new in ((before, after), (tuple(before), tuple(after)), (tuple(before), after)):
        found = differing(old, new)
        assert found is not None
        removed, added = set(map(id, found[0])), set(map(id, found[1]))
        kept = [endpoint for endpoint in after if id(endpoint) not in added]
        assert [endpoint for endpoint in before if id(endpoint) not in removed] == kept
        assert {id(endpoint) for endpoint in before} - removed | added == {id(endpoint) for endpoint in after}


def test_a_small_change_of_a_long_roll_shares_its_pieces() -> None:
    before = Roll(range(100_000))
    after = before.splice(50_000, 50_001, [-1])

    assert len(set(map(id, before.pieces)) - set(map(id, after.pieces))) == 1
    assert after[50_000] == -1
