"""TOML text: where a syntax error is, and on which line each key stands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.intake.toml import Lines, parse

TEXT = """\
# a comment\u2028with a separator that is no line's end
[networks.mynet]
subnets = [
    "172.18.0.0/16",
]
internal = false

[networks."my.net".endpoints.'db']
addresses = ["172.18.0.2"]
ports = [
    { port = 80 },
]
links.cache = "redis"

[[forward.routes]]
suffix = "a"
[[forward.routes]]
suffix = "b"
"""


def test_a_document_is_parsed() -> None:
    assert ({"a": {"b": 1}}, None) == parse("[a]\nb = 1\n", "x.toml")


@pytest.mark.parametrize(
    ("text", "line", "shown"),
    [
        ("[a]\nb = \n", 2, "'b ='"),
        ("a = 1\na = 2\n", 2, "'a = 2'"),
        ("a = [1,\n2\n", 3, "(at end of document)"),
        ('a = "\n', 1, "'a = \"'"),
        ("[a\n", 1, "'[a'"),
    ],
)
def test_a_syntax_error_has_its_line_and_shows_it(text: str, line: int, shown: str) -> None:
    document, fault = parse(text, "x.toml")

    assert fault is not None
    assert ({}, "x.toml", line) == (document, fault.place, fault.line)
    assert shown in fault.message
    assert fault.fix


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a = " + "9" * 5000])
def test_what_the_parser_chokes_on_is_a_fault(text: str) -> None:
    _, fault = parse(text, "x.toml")

    assert fault is not None
    assert "nested too deeply" in fault.message


@given(st.text("[]{}=\"'\n\\.,#a1 \u2028", max_size=40))
def test_any_text_is_a_document_or_a_fault(text: str) -> None:
    _, fault = parse(text, "x.toml")
    lines = Lines(text)

    assert fault is None or fault.line is None or 1 <= fault.line <= text.count("\n") + 1
    assert lines.of(()) is None


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("networks", "mynet"), 2),
        (("networks", "mynet", "subnets"), 3),
        (("networks", "mynet", "internal"), 6),
        (("networks", "mynet", "nowhere"), 2),
        (("networks", "my.net", "endpoints", "db"), 8),
        (("networks", "my.net", "endpoints", "db", "addresses"), 9),
        (("networks", "my.net", "endpoints", "db", "ports"), 10),
        (("networks", "my.net", "endpoints", "db", "links"), 13),
        (("networks", "my.net", "endpoints", "db", "links", "cache"), 13),
        (("forward", "routes", "0", "suffix"), 16),
        (("forward", "routes", "1", "suffix"), 18),
        (("nothing",), None),
        ((), None),
    ],
)
def test_a_key_has_its_line_or_that_of_the_table_around_it(path: tuple[str, ...], line: int | None) -> None:
    assert line == Lines(TEXT).of(path)


def test_a_table_that_is_only_implied_has_the_line_that_implies_it() -> None:
    assert 8 == Lines(TEXT).of(("networks", "my.net"))


def test_a_table_that_is_stated_later_has_its_own_line() -> None:
    assert 2 == Lines("[a.b]\n[a]\n").of(("a",))
