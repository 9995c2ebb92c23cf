"""Names, addresses and subnets as people write them."""

from __future__ import annotations

import ipaddress

import pytest

from resolver.errors import Fault
from resolver.registry.model import Contribution
from resolver.sources.base import loaded, parse_address, parse_name, parse_subnet


class Complaints(list[tuple[str, str]]):
    def __call__(self, message: str, fix: str) -> None:
        self.append((message, fix))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("db", "db"), ("Db.", "Db"), ("my.app", "my.app"), ("_x", "_x"), ("492ba8a9277d", "492ba8a9277d"), ("1", "1")],
)
def test_a_name_comes_back_without_its_final_dot(text: str, expected: str) -> None:
    complaints = Complaints()

    assert (expected, []) == (parse_name(text, complaints), complaints)


@pytest.mark.parametrize("text", ["", ".", "a..b", "a b", "ü", "a" * 64, "*.app", "a*b", "*"])
def test_what_is_no_name_is_complained_about(text: str) -> None:
    complaints = Complaints()

    assert parse_name(text, complaints) is None
    ((_, fix),) = complaints
    assert fix


@pytest.mark.parametrize(("text", "expected"), [("*.app", "*.app"), ("*.my.app.", "*.my.app"), ("app", "app")])
def test_a_wildcard_is_a_name_where_it_may_be_one(text: str, expected: str) -> None:
    complaints = Complaints()

    assert (expected, []) == (parse_name(text, complaints, wildcard=True), complaints)


@pytest.mark.parametrize("text", ["*", "*.", "*..", "a.*", "*a.b", "*.*.b"])
def test_a_star_elsewhere_is_complained_about(text: str) -> None:
    """RFC 4592 2.1.1: the whole first label, with a name behind it."""
    complaints = Complaints()

    assert parse_name(text, complaints, wildcard=True) is None
    assert 1 == len(complaints)


@pytest.mark.parametrize("text", ["172.18.0.2", "fd00:18::2", "::ffff:1.2.3.4"])
def test_an_address_is_read(text: str) -> None:
    complaints = Complaints()

    assert (ipaddress.ip_address(text), []) == (parse_address(text, complaints), complaints)


@pytest.mark.parametrize(
    "text", ["", "172.18.0", "172.18.0.02", "172.18.0.256", "web", "172.18.0.2/16", "fe80::1%eth0"]
)
def test_what_is_no_address_is_complained_about(text: str) -> None:
    complaints = Complaints()

    assert parse_address(text, complaints) is None
    assert text in complaints[0][0]


def test_a_subnet_is_read() -> None:
    complaints = Complaints()

    assert ipaddress.ip_network("172.18.0.0/16") == parse_subnet("172.18.0.0/16", complaints)
    assert ipaddress.ip_network("fd00:18::/64") == parse_subnet("fd00:18::/64", complaints)
    assert [] == complaints


def test_a_subnet_with_bits_behind_its_prefix_is_complained_about_with_the_right_one() -> None:
    complaints = Complaints()

    assert parse_subnet("172.18.0.1/16", complaints) is None
    assert [("'172.18.0.1/16' has bits set behind its prefix", "write 172.18.0.0/16")] == complaints


@pytest.mark.parametrize("text", ["", "x", "172.18.0.0/33", "172.18.0.0/x"])
def test_what_is_no_subnet_is_complained_about(text: str) -> None:
    complaints = Complaints()

    assert parse_subnet(text, complaints) is None
    assert 1 == len(complaints)


def test_an_error_withholds_the_contribution_and_a_warning_does_not() -> None:
    contribution = Contribution("x")

    assert loaded(contribution, [Fault("x", "y")]).contribution is None
    assert contribution is loaded(contribution, [Fault("x", "y", is_warning=True)]).contribution
