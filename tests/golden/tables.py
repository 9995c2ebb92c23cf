"""What pydns answers otherwise than Docker and what it is not asked at all, case by case with the reasons.

`differences.toml` and `not_ours.toml` have one table a reason; each names its cases one by one.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.golden import asking, libc, transcript
from tests.golden.recorded import Case
from tests.golden.states import world_of
from tests.golden.transcript import Told

FINE = ("same", "better")
FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Difference:
    """One answer that pydns gives otherwise, on purpose."""

    reason: str
    """The key of the reason."""
    answer: str
    """What it answers, as `transcript.in_words` has it."""


def _tables(name: str) -> dict[str, Any]:
    with (FOLDER / name).open("rb") as file:
        return tomllib.load(file)


@cache
def reasons() -> dict[str, str]:
    """Why pydns answers otherwise, by key."""
    return {key: table["because"] for key, table in _tables("differences.toml").items()}


@cache
def differences() -> dict[str, Difference]:
    """What pydns answers otherwise, by case."""
    found: dict[str, Difference] = {}
    for key, table in _tables("differences.toml").items():
        for case, answer in table["answers"].items():
            assert case not in found, f"{case} is listed twice"
            found[case] = Difference(key, answer)
    return found


@cache
def not_ours() -> dict[str, str]:
    """Cases that are no question to a DNS server, and why."""
    found: dict[str, str] = {}
    for table in _tables("not_ours.toml").values():
        for case in table["cases"]:
            assert case not in found, f"{case} is listed twice"
            found[case] = table["because"]
    return found


def recorded(case: Case) -> tuple[Told, ...]:
    """What Docker answered."""
    world = world_of(case.setup)
    return libc.recorded(case, world) if case.group == "libc" else transcript.recorded(case, world)


def is_same(case: Case, told: tuple[Told, ...]) -> bool:
    """Whether pydns said what Docker said."""
    expected = recorded(case)
    return len(expected) == len(told) and all(one.is_like(other) for one, other in zip(expected, told, strict=True))


def judge(case: Case, outcome: asking.Outcome) -> str:
    """The verdict on a case; one that is wrong is asked once more by itself, so that a busy machine does not count."""
    first = verdict(case, outcome)
    return first if first in FINE else verdict(case, asking.ask_all([case])[case.id])


def verdict(case: Case, told: asking.Outcome) -> str:
    """``same``, ``better``, or what is wrong with it in a line."""
    if isinstance(told, Exception):
        return f"no answer: {told!r}"
    listed = differences().get(case.id)
    if is_same(case, told):
        return "same" if listed is None else f"it is the same by now; take it out of [{listed.reason}]"
    if listed is None:
        docker, pydns = transcript.in_words(recorded(case)), transcript.in_words(told)
        return f"not the same, and not listed\n  Docker: {docker}\n  pydns:  {pydns}"
    expected, words = listed.answer, transcript.in_words(told)
    if expected != words:
        return f"not what [{listed.reason}] says\n  listed: {expected}\n  pydns:  {words}"
    return "better"
