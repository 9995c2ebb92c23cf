"""What an endpoint is called, and in which order networks are asked."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.registry.model import Endpoint, Network, Origin

ID = "492ba8a9277d96876f0a605d9434723aed774978a40023e778a97815216754f0"
V4, V6 = ipaddress.ip_network("172.18.0.0/16"), ipaddress.ip_network("fd00:18::/64")


def test_names_are_in_dockers_order() -> None:
    """Container name, aliases, short id, hostname (moby: 'DNS name order')."""
    endpoint = Endpoint("db", (), id=ID, aliases=("database", "sql"), hostname="db-1")

    assert ("db", "database", "sql", "492ba8a9277d", "db-1") == endpoint.dns_names()


def test_the_container_name_stays_first_when_it_is_said_again() -> None:
    """The first name is the PTR's."""
    endpoint = Endpoint("db", (), id=ID, aliases=("database", "DB."), hostname="db")

    assert ("db", "database", "492ba8a9277d") == endpoint.dns_names()


def test_letter_case_and_a_final_dot_make_no_other_name() -> None:
    """RFC 4343; the spelling that comes first counts."""
    assert ("Db", "sql") == Endpoint("Db.", (), aliases=("db", "SQL."[:3].lower(), "sql.", "SQL")).dns_names()


def test_wildcards_are_kept_apart_each_once() -> None:
    endpoint = Endpoint("db", (), aliases=("*.app", "x", "*.APP."))

    assert (("db", "x"), ("*.app",)) == (endpoint.dns_names(), endpoint.wildcards())


def test_a_short_id_is_taken_as_it_is() -> None:
    assert ("db", "abc") == Endpoint("db", (), id="abc").dns_names()


@given(st.lists(st.sampled_from(["a", "A", "a.", "b", "B.", "c"]), min_size=1))
def test_every_name_is_there_once_in_the_order_of_its_first_mention(names: list[str]) -> None:
    found = Endpoint(names[0], (), aliases=tuple(names[1:])).dns_names()

    assert list(dict.fromkeys(name.lower().removesuffix(".") for name in names)) == [name.lower() for name in found]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Network("b", priority=1), Network("a")),
        (Network("a"), Network("b", priority=-1)),
        (Network("b"), Network("a", internal=True)),
        (Network("b", (V4, V6)), Network("a", (V4,))),
        (Network("b", (V4,)), Network("c", (V4,))),
        (Network("b", internal=True, priority=1), Network("a")),
        (Network("b", (V4,)), Network("a", (V4, V6), internal=True)),
    ],
)
def test_networks_are_asked_in_dockers_order(first: Network, second: Network) -> None:
    """Priority, then not internal, then dual-stack, then the name (design.md 2.3)."""
    assert [first, second] == sorted([second, first], key=Network.order)


def test_a_network_holds_the_addresses_of_its_subnets() -> None:
    network = Network("mynet", (V4, V6))

    assert network.holds(ipaddress.ip_address("172.18.255.255"))
    assert network.holds(ipaddress.ip_address("fd00:18::1"))
    assert not network.holds(ipaddress.ip_address("172.19.0.1"))


def test_two_subnets_of_one_family_are_not_dual_stack() -> None:
    assert not Network("a", (V4, ipaddress.ip_network("10.0.0.0/8"))).is_dual_stack


def test_an_origin_is_file_and_line() -> None:
    assert ("a.toml:7", "a.json") == (str(Origin("a.toml", 7)), str(Origin("a.json")))


def test_where_a_thing_was_written_makes_it_no_other_thing() -> None:
    """So that a comment above it changes nothing."""
    assert Endpoint("db", (), origin=Origin("a", 1)) == Endpoint("db", (), origin=Origin("b", 2))
