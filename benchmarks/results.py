"""A file of results, read again: rows by what they say, and ratios between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.figures import SATURATED

Row = Mapping[str, Any]
Results = Mapping[str, Any]


def rows(results: Results, **wanted: object) -> Iterator[Row]:
    """Those rows that have these values."""
    for row in results["rows"]:
        if all(row[key] == value for key, value in wanted.items()):
            yield row


def saturated(results: Results, **wanted: object) -> dict[str, Row]:
    """By server, the rows of full speed that have these values."""
    return {row["server"]: row for row in rows(results, rate=SATURATED, **wanted)}


def values(results: Results, key: str, **wanted: object) -> list[Any]:
    """What a key of such rows is, each once, in order of appearance."""
    return list(dict.fromkeys(row[key] for row in rows(results, **wanted)))


def is_valid(row: Row | None) -> bool:
    """Whether it has figures."""
    return row is not None and "faults" not in row


def ratio(ours: Row | None, theirs: Row | None) -> float | None:
    """CPU of the one to CPU of the other, median of the rounds' ratios; None where one of them has none."""
    if ours is None or theirs is None or not (is_valid(ours) and is_valid(theirs)):
        return None
    pairs: Sequence[tuple[float, float]] = list(zip(ours["cpu_us_by_round"], theirs["cpu_us_by_round"], strict=False))
    found = [one / other for one, other in pairs if other > 0]
    return median(found) if found else None
