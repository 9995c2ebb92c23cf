"""Plain values to typed ones: every fault at once, in words for a person."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest

from resolver.errors import Fault
from resolver.intake.convert import faults_at, to_struct
from resolver.intake.toml import Lines, Path


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    ttl: Annotated[int, msgspec.Meta(ge=0, le=100)] = 7


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    mode: Literal["on", "off"] = "on"
    names: list[str] = []
    table: dict[str, str | list[str]] = {}
    flag: bool = False
    maybe: str | None = None
    seconds: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    inner: Inner = msgspec.field(default_factory=Inner)


def converted(raw: object) -> tuple[Outer, list[tuple[str, str, str]]]:
    faults: list[tuple[str, str, str]] = []

    def report(path: Path, message: str, fix: str) -> None:
        faults.append((".".join(path), message, fix))

    return to_struct(raw, Outer, (), report), faults


def test_good_values_are_converted() -> None:
    outer, faults = converted({"name": "x", "seconds": 3, "inner": {"ttl": 5}})

    assert ("x", 3.0, 5, []) == (outer.name, outer.seconds, outer.inner.ttl, faults)


def test_every_fault_is_reported_at_once() -> None:
    """And a faulty key keeps its default."""
    outer, faults = converted({"name": 1, "mode": "x", "flag": "y", "inner": {"ttl": -1, "tll": 2}, "nmaes": []})

    assert ["name", "mode", "flag", "inner.ttl", "inner.tll", "nmaes"] == [key for key, _, _ in faults]
    assert ("on", False, 7) == (outer.mode, outer.flag, outer.inner.ttl)


@pytest.mark.parametrize(
    ("key", "value", "message", "fix"),
    [
        ("name", 5, "5 cannot be used: it is a whole number", "write text"),
        ("flag", "yes", "'yes' cannot be used: it is text", "write true or false"),
        ("names", "x", "'x' cannot be used: it is text", "write a list"),
        ("names", ["x", 5], "5 cannot be used at [1]: it is a whole number", "write text"),
        ("maybe", 5, "5 cannot be used: it is a whole number", "write text"),
        ("table", {"a": 5}, "{'a': 5} cannot be used: it is a whole number", "write text or a list"),
        ("mode", "x", "'x' cannot be used", "write one of: 'on', 'off'"),
        ("seconds", 0.0, "0.0 cannot be used", "write a number > 0.0"),
        ("seconds", float("nan"), "nan cannot be used", "write a number > 0.0"),
    ],
)
def test_a_wrong_value_is_shown_with_what_to_write(key: str, value: object, message: str, fix: str) -> None:
    assert [(key, message, fix)] == converted({"name": "x", key: value})[1]


def test_a_number_out_of_range_is_shown_with_the_range() -> None:
    _, faults = converted({"name": "x", "inner": {"ttl": 10**30}})

    assert [("inner.ttl", f"{10**30} cannot be used", "write a whole number <= 100")] == faults


def test_a_long_value_is_cut() -> None:
    ((_, message, _),) = converted({"name": "x", "flag": "y" * 1000})[1]

    assert len(message) < 120


def test_an_unknown_key_has_the_nearest_one_as_its_fix() -> None:
    assert [("nmae", "unknown key 'nmae'", "did you mean 'name'?")] == converted({"name": "x", "nmae": 1})[1]


def test_an_unknown_key_unlike_any_other_has_all_of_them_as_its_fix() -> None:
    ((_, _, fix),) = converted({"name": "x", "zzz": 1})[1]

    assert "known are: flag, inner, maybe, mode, name, names, seconds, table" == fix


def test_a_missing_key_is_reported_once() -> None:
    assert [("", "'name' is missing", "add name = …")] == converted({})[1]
    assert [("name", "[] cannot be used: it is a list", "write text")] == converted({"name": []})[1]


@pytest.mark.parametrize("value", [5, [1], "x", None])
def test_what_is_no_table_is_reported(value: Any) -> None:
    outer, faults = converted({"name": "x", "inner": value})

    assert [("inner", f"{value!r} is not a table", "write [inner] with keys below it")] == faults
    assert 7 == outer.inner.ttl


def test_a_report_has_file_line_and_key() -> None:
    faults: list[Fault] = []
    faults_at("x.toml", Lines("[a]\nb = 1\n").of, faults)(("a", "b"), "is wrong", "mend it")

    assert ["x.toml:2: a.b: is wrong (mend it)"] == [str(fault) for fault in faults]
