"""Which suffix leads where; prefixes as reverse names."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.forward.routes import Route, Routes, Target, suffixes_of_prefix
from resolver.wire.name import fold, from_text, to_text


def route(*suffixes: str, target: Target = Target.UPSTREAMS) -> Route:
    return Route(suffixes[0], tuple(fold(from_text(suffix)) for suffix in suffixes), target)


def found(routes: Routes, name: str) -> str | None:
    route = routes.find(fold(from_text(name)))
    return None if route is None else route.shown


def test_the_longest_suffix_wins() -> None:
    routes = Routes([route("example"), route("corp.example"), route("vpn.corp.example")])

    assert ["example", "corp.example", "corp.example", "vpn.corp.example"] == [
        found(routes, name) for name in ("www.example", "corp.example", "WWW.Corp.Example", "a.b.vpn.corp.example")
    ]
    assert [None, None] == [found(routes, name) for name in ("mycorp.test", "notexample")]


def test_the_root_is_a_route_for_everything_else() -> None:
    routes = Routes([route("."), route("corp.example")])

    assert [".", "corp.example"] == [found(routes, name) for name in ("com", "a.corp.example")]


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("10.0.0.0/8", ["10.in-addr.arpa."]),
        ("192.168.0.0/16", ["168.192.in-addr.arpa."]),
        ("172.16.0.0/14", [f"{octet}.172.in-addr.arpa." for octet in range(16, 20)]),
        ("192.0.2.5/32", ["5.2.0.192.in-addr.arpa."]),
        ("0.0.0.0/0", ["in-addr.arpa."]),
        ("fd00::/8", ["d.f.ip6.arpa."]),
        ("fe80::/10", ["8.e.f.ip6.arpa.", "9.e.f.ip6.arpa.", "a.e.f.ip6.arpa.", "b.e.f.ip6.arpa."]),
        ("::/0", ["ip6.arpa."]),
    ],
)
def test_a_prefix_is_the_reverse_names_of_its_addresses(prefix: str, expected: list[str]) -> None:
    assert expected == [to_text(suffix) for suffix in suffixes_of_prefix(ipaddress.ip_network(prefix))]


@given(address=st.ip_addresses(), bits=st.integers(0, 128), other=st.ip_addresses())
def test_exactly_the_addresses_of_a_prefix_are_below_its_suffixes(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
    bits: int,
    other: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    prefix = ipaddress.ip_network(f"{address}/{min(bits, address.max_prefixlen)}", strict=False)
    routes = Routes([Route(str(prefix), suffixes_of_prefix(prefix), Target.NEVER)])

    assert routes.find(fold(from_text(address.reverse_pointer))) is not None
    is_inside = other.version == prefix.version and other in prefix
    assert is_inside == (routes.find(fold(from_text(other.reverse_pointer))) is not None)
