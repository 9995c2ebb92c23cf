"""Ready replies: in turn, bounded, every hit counted (docs/adr/0001)."""

from __future__ import annotations

import pytest

from resolver.wire import ready
from resolver.wire.ready import MAX_KEY_SIZE, Ready, ReadyTable

LABEL = (1, 0, "registry")


def counted(table: ReadyTable) -> int:
    return sum(hits for _, hits in table.take_hits())


def hit(table: ReadyTable, key: bytes) -> bytes:
    table[key].hits += 1
    return table[key].next_reply()


def test_the_variants_come_in_turn() -> None:
    entry = Ready((b"a", b"b", b"c"), LABEL)

    assert [b"a", b"b", b"c", b"a"] == [entry.next_reply() for _ in range(4)]


def test_one_variant_comes_every_time() -> None:
    entry = Ready((b"a",), LABEL)

    assert [b"a", b"a"] == [entry.next_reply() for _ in range(2)]


def test_the_table_is_bounded_and_the_oldest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready, "MAX_ENTRIES", 3)
    table = ReadyTable()
    for key in (b"1", b"2", b"3", b"4", b"5"):
        table.add(key, Ready((key,), LABEL))

    assert [b"3", b"4", b"5"] == list(table)


def test_a_long_key_is_not_kept() -> None:
    """A client that puts 64 KiB behind its question must not fill the memory with it."""
    table = ReadyTable()
    table.add(bytes(MAX_KEY_SIZE), Ready((b"",), LABEL))
    table.add(bytes(MAX_KEY_SIZE + 1), Ready((b"",), LABEL))

    assert [bytes(MAX_KEY_SIZE)] == list(table)


def test_the_longest_name_with_a_bare_opt_is_kept() -> None:
    assert (12 - 2) + 255 + 4 + 11 == MAX_KEY_SIZE


def test_hits_are_taken_once() -> None:
    table = ReadyTable()
    table.add(b"1", Ready((b"x",), LABEL))
    hit(table, b"1")
    hit(table, b"1")

    assert [(LABEL, 2)] == list(table.take_hits())
    assert [] == list(table.take_hits())


def test_hits_survive_eviction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready, "MAX_ENTRIES", 1)
    table = ReadyTable()
    table.add(b"1", Ready((b"x",), LABEL))
    hit(table, b"1")
    table.add(b"2", Ready((b"x",), LABEL))
    hit(table, b"2")
    table.add(b"3", Ready((b"x",), LABEL))

    assert (2, 0) == (counted(table), counted(table))


def test_entries_that_were_never_hit_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready, "MAX_ENTRIES", 1)
    table = ReadyTable()
    for number in range(100):
        table.add(bytes([number]), Ready((b"x",), LABEL))

    assert [] == table.retired
