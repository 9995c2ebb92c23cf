"""The parity page: every line has a verdict, and what shows it exists and says the same."""

from __future__ import annotations

import ast
import re
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.docs.pages import rows
from tests.golden import recorded, tables
from tests.scenarios.live import ROOT

PAGE = ROOT / "docs" / "parity.md"
LAST_CASE = 74
# By its section: how many lines of Docker's behaviour there are at least.
BEHAVIOURS = 40 + 11 + 11
VERDICT = re.compile(r"\*same\*|\*(better|not ours): because\* \S")
CODE = re.compile(r"`([^`]+)`")
GOLDEN = "golden:"


class Line(NamedTuple):
    """One line of a table."""

    what: str
    verdict: str
    shown_by: tuple[str, ...]

    @property
    def golden(self) -> list[str]:
        return [shown.removeprefix(GOLDEN) for shown in self.shown_by if shown.startswith(GOLDEN)]

    @property
    def tests(self) -> list[str]:
        return [shown for shown in self.shown_by if not shown.startswith(GOLDEN)]


def lines(heading: str) -> list[Line]:
    return [Line(row[0], row[-2], tuple(CODE.findall(row[-1]))) for row in rows(PAGE, heading)]


def behaviours() -> list[Line]:
    """The three tables of behaviours, which share a heading."""
    return lines("behaviour")


def docker_cases() -> list[Line]:
    return lines("case")


LINES = [*behaviours(), *docker_cases()]


@cache
def functions(path: Path) -> frozenset[str]:
    """The tests of a file, as ``name`` or ``Class::name``."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{sub.name}" for sub in node.body if isinstance(sub, ast.FunctionDef)}
    return frozenset(found)


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.what[:40])
def test_a_line_has_a_verdict(line: Line) -> None:
    assert VERDICT.match(line.verdict), line
    assert line.shown_by or line.verdict.startswith("*not ours"), "nothing shows it"


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.what[:40])
def test_what_shows_a_line_exists(line: Line) -> None:
    for shown in line.tests:
        name, _, function = shown.partition("::")
        path = ROOT / "tests" / name
        assert path.is_file(), shown
        assert not function or function in functions(path), shown
    assert set(line.golden) <= recorded.cases().keys() - tables.not_ours().keys()


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.what[:40])
def test_a_recorded_answer_bears_out_the_verdict(line: Line) -> None:
    listed = set(line.golden) & tables.differences().keys()
    if line.verdict.startswith("*better"):
        assert listed == set(line.golden), "these are the same as Docker's"
    elif line.verdict.startswith("*same*") and "newer Docker" not in line.verdict:
        assert not listed, "these are not the same as Docker's"


def test_every_numbered_case_of_dockers_suites_is_there_in_order() -> None:
    numbers = [re.fullmatch(r"(\d+)([a-z]?)", line.what) for line in docker_cases()]
    assert all(numbers)
    found = [(int(number[1]), number[2]) for number in numbers if number]
    assert list(dict.fromkeys(number for number, _ in found)) == list(range(1, LAST_CASE + 1))
    for number, group in groupby(found, key=lambda pair: pair[0]):
        letters = "".join(letter for _, letter in group)
        assert letters == "abcdefghijk"[: len(letters)], number


def test_no_behaviour_is_missing_or_there_twice() -> None:
    names = [line.what for line in behaviours()]
    assert len(names) == len(set(names))
    assert len(names) >= BEHAVIOURS
