"""One network's names, compiled: exact names, wildcards by their closest encloser, addresses."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.registry.model import Endpoint, Host, Network
from resolver.registry.table import HostTable, NetworkTable, canonical_name
from resolver.wire.name import fold, from_text, to_text

ONE, TWO = ipaddress.ip_address("172.18.0.2"), ipaddress.ip_address("172.18.0.3")


def found(table: NetworkTable, name: str) -> list[str] | None:
    endpoints = table.find(fold(from_text(name)))
    return None if endpoints is None else [endpoint.name for endpoint in endpoints]


def table_of(*endpoints: Endpoint) -> NetworkTable:
    return NetworkTable(Network("mynet", endpoints=endpoints))


def test_a_shared_alias_finds_every_endpoint_in_order() -> None:
    table = table_of(Endpoint("one", (ONE,), aliases=("app",)), Endpoint("two", (TWO,), aliases=("APP",)))

    assert ["one", "two"] == found(table, "App")


def test_tens_of_thousands_share_a_name_and_a_wildcard() -> None:
    """Each one costs what one costs: were it a copy of all before it, this would take half a minute."""
    numbers = range(30_000)
    table = table_of(*(Endpoint(f"e{number}", (ONE,), aliases=("app", "*.app")) for number in numbers))
    hosts = HostTable(tuple(Host(ONE, ("app", "*.app")) for _ in numbers))

    assert [f"e{number}" for number in numbers] == found(table, "app") == found(table, "below.app")
    for name in ("app", "below.app"):
        lines = hosts.find(fold(from_text(name)))
        assert lines is not None
        assert 30_000 == len(lines)


def test_an_address_of_two_endpoints_is_the_first_ones() -> None:
    assert "one" == table_of(Endpoint("one", (ONE,)), Endpoint("two", (ONE,))).by_address[ONE].name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x.app", ["wild"]),
        ("X.APP", ["wild"]),
        ("y.x.app", ["wild"]),
        ("*.app", ["wild"]),
        ("app", None),
        ("own.app", ["exact"]),
        ("x.own.app", None),
        ("deep.down.app", ["deep"]),
        ("down.app", None),
        ("x.down.app", None),
        ("x.y.inner.app", ["inner"]),
        ("inner.app", None),
        ("xapp", None),
        ("app.x", None),
    ],
)
def test_the_wildcard_of_the_closest_encloser_answers(name: str, expected: list[str] | None) -> None:
    """RFC 4592 3.3.1: it stands for every depth, but not for a name that exists, nor below one, nor for one between."""
    table = table_of(
        Endpoint("wild", (ONE,), aliases=("*.app",)),
        Endpoint("exact", (ONE,), aliases=("own.app",)),
        Endpoint("deep", (ONE,), aliases=("deep.down.app",)),
        Endpoint("inner", (ONE,), aliases=("*.inner.app",)),
    )

    assert expected == found(table, name)


def test_the_parent_of_a_wildcard_can_be_a_name_too() -> None:
    """``aliases = ["db", "*.db"]``."""
    table = table_of(Endpoint("db", (ONE,), aliases=("*.db",)))

    assert (["db"], ["db"]) == (found(table, "db"), found(table, "x.db"))


LABELS = st.sampled_from("abc")
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(".".join)


@given(st.sets(NAMES, max_size=6), st.sets(NAMES, max_size=3), NAMES)
def test_wildcards_follow_the_words_of_the_rfc(names: set[str], parents: set[str], asked: str) -> None:
    """RFC 4592 3.3.1, by comparing with every name."""
    endpoints = [Endpoint(name, (ONE,)) for name in sorted(names)]
    wild = Endpoint("wild", (TWO,), aliases=tuple(f"*.{parent}" for parent in sorted(parents)))
    labels = asked.split(".")
    existing = {name[index:] for name in map(tuple, (n.split(".") for n in names | parents)) for index in range(9)}
    expected = None
    if asked in names:
        expected = [asked]
    elif tuple(labels) not in existing:
        enclosers = (labels[index:] for index in range(1, len(labels) + 1) if tuple(labels[index:]) in existing)
        encloser = next(enclosers, [])
        expected = ["wild"] if ".".join(encloser) in parents else None

    assert expected == found(table_of(*endpoints, wild), asked)


def test_the_canonical_name_is_the_containers_on_its_network() -> None:
    assert "Db.mynet." == to_text(canonical_name(Endpoint("Db", (ONE,), aliases=("sql",)), "mynet"))


def test_the_canonical_name_is_the_first_that_is_short_enough() -> None:
    """moby#46928: a PTR to a very long name ended in a time-out."""
    long = ".".join(["a" * 60] * 4)
    endpoint = Endpoint(long, (ONE,), aliases=("b" * 60,), id="492ba8a9277d96876f0a")

    assert f"{'b' * 60}.mynetwork.example." == to_text(canonical_name(endpoint, "mynetwork.example"))
    assert f"{long}." == to_text(canonical_name(Endpoint(long, (ONE,)), "mynetwork.example"))


def test_the_lines_of_a_hosts_file_that_name_one_name_all_count() -> None:
    table = HostTable((Host(ONE, ("a", "b")), Host(TWO, ("B",))))
    lines = table.find(from_text("b"))

    assert lines is not None
    assert [ONE, TWO] == [line.address for line in lines]


def test_a_hosts_file_may_have_wildcards() -> None:
    table = HostTable((Host(ONE, ("*.app",)), Host(TWO, ("own.app",))))

    assert [table.find(from_text(name)) is not None for name in ("x.app", "own.app", "app", "x.own.app")] == [
        True,
        True,
        False,
        False,
    ]


def test_the_reverse_of_a_hosts_line_is_its_first_plain_name() -> None:
    """hosts(5): the canonical name; a wildcard is none."""
    table = HostTable((Host(ONE, ("*.app", "Web", "www")), Host(ONE, ("later",)), Host(TWO, ("*.x",))))

    assert table.by_address.keys() == {ONE}
    found = table.find_address(ONE)
    assert found is not None
    assert to_text(found[0]) == "Web."
