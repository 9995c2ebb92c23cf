"""hosts files (hosts(5)): lenient as every reader of them, but never silent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.registry.model import Host
from resolver.sources.hosts import read

TEXT = """\
# a comment
127.0.0.1\tlocalhost
192.0.2.1  web.example.org web   # and one more
\t
2001:db8::1 web6. *.app\r
fe80::1%lo0 localhost
"""


def hosts(text: str) -> tuple[list[tuple[str, tuple[str, ...], int | None]], list[str]]:
    loaded = read(text, "hosts")
    assert loaded.contribution is not None
    assert all(fault.is_warning and fault.fix for fault in loaded.faults)
    found: tuple[Host, ...] = loaded.contribution.hosts
    return [(str(host.address), host.names, host.origin.line) for host in found], [str(f) for f in loaded.faults]


def test_lines_are_addresses_and_names() -> None:
    """With the line that each was written on; an address with a scope is passed over, since no answer can carry it."""
    assert (
        [
            ("127.0.0.1", ("localhost",), 2),
            ("192.0.2.1", ("web.example.org", "web"), 3),
            ("2001:db8::1", ("web6", "*.app"), 5),
        ],
        [
            "hosts:6: warning: 'fe80::1%lo0' has a scope, which no DNS answer can carry; passed over"
            " (leave out the part from % on)"
        ],
    ) == hosts(TEXT)


@pytest.mark.parametrize(
    ("line", "warning"),
    [
        ("192.0.2.1", "hosts:2: warning: '192.0.2.1' stands alone; passed over"),
        ("192.0.2 web", "hosts:2: warning: '192.0.2' is not an IPv4 or IPv6 address; passed over"),
        ("192.0.2.1 a..b", "hosts:2: warning: 'a..b' has an empty label"),
        ("192.0.2.1 .", "hosts:2: warning: the root cannot be a name here; passed over"),
        ("192.0.2.1 *..", "hosts:2: warning: the root cannot be a name here; passed over"),
        ("192.0.2.1 a*b", "hosts:2: warning: 'a*b' has a * that is not its whole first label; passed over"),
    ],
)
def test_a_line_that_makes_no_sense_is_passed_over_with_a_warning(line: str, warning: str) -> None:
    found, warnings = hosts(f"192.0.2.8 first\n{line}\n192.0.2.9 last\n")

    assert [("first",), ("last",)] == [names for _, names, _ in found]
    assert 1 == len(warnings)
    assert warnings[0].startswith(warning)


def test_one_bad_name_leaves_the_others_on_its_line() -> None:
    found, warnings = hosts("192.0.2.1 good a..b also-good\n")

    assert [("192.0.2.1", ("good", "also-good"), 1)] == found
    assert 1 == len(warnings)


def test_an_empty_file_says_nothing() -> None:
    assert ([], []) == hosts("")


@given(st.text(max_size=60))
def test_any_text_is_read(text: str) -> None:
    found, _ = hosts(text)

    assert all(line is not None and 1 <= line <= text.count("\n") + 1 for _, _, line in found)
