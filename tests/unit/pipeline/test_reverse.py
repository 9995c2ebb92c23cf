"""Reverse names (design.md 2.4)."""

from __future__ import annotations

import ipaddress

import pytest

from resolver.wire.name import from_text, reverse_name, to_text
from tests.unit.asking import ask, views_of
from tests.unit.pipeline.worlds import backend, both, mynet, world


def arpa(address: str) -> str:
    return to_text(reverse_name(ipaddress.ip_address(address)))


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("172.18.0.2", "600 PTR db.mynet."),
        ("fd00:18::2", "600 PTR db.mynet."),
        ("172.18.0.3", "600 PTR web.mynet."),
        ("192.0.2.80", "600 PTR printer.example.org."),
        ("2001:db8::80", "600 PTR printer."),
    ],
)
def test_a_known_address_is_its_first_name_on_its_network(address: str, line: str) -> None:
    told = ask(mynet(), arpa(address), "PTR")

    assert [f"{arpa(address)} {line}"] == told.answer
    assert ("reverse", "QR RD RA") == (told.stage, told.flags)


@pytest.mark.parametrize("name", ["2.0.18.172.IN-ADDR.arpa", "2.0.18.172.In-Addr.Arpa"])
def test_letter_case_does_not_matter(name: str) -> None:
    """Docker's suffix is case-sensitive."""
    assert [f"{name}. 600 PTR db.mynet."] == ask(mynet(), name, "PTR").answer


def test_an_upper_case_ip6_name_is_found() -> None:
    name = arpa("fd00:18::2").upper()

    assert 1 == len(ask(mynet(), name, "PTR").answer)


def test_any_is_the_ptr() -> None:
    assert 1 == len(ask(mynet(), arpa("172.18.0.2"), "ANY").answer)


@pytest.mark.parametrize("rtype", ["A", "TXT", "SOA", "NS", 65280])
def test_another_type_at_a_known_address_is_nodata(rtype: int | str) -> None:
    assert ("NOERROR", arpa("172.18.0.2"), "reverse") == ask(mynet(), arpa("172.18.0.2"), rtype).verdict


@pytest.mark.parametrize(
    ("address", "apex"),
    [
        ("172.18.0.99", "18.172.in-addr.arpa."),
        ("172.18.255.255", "18.172.in-addr.arpa."),
        ("fd00:18::99", "0.0.0.0.0.0.0.0.8.1.0.0.0.0.d.f.ip6.arpa."),
    ],
)
@pytest.mark.parametrize("rtype", ["PTR", "A", "ANY"])
def test_an_unknown_address_in_a_subnet_is_nxdomain_with_soa(address: str, apex: str, rtype: str) -> None:
    """moby#50044: Docker asks the world about private addresses."""
    assert ("NXDOMAIN", apex, "reverse") == ask(mynet(), arpa(address), rtype).verdict


@pytest.mark.parametrize("address", ["172.19.0.9", "172.19.0.99", "10.20.16.5"])
def test_a_subnet_of_a_network_that_the_asker_is_not_on_is_nxdomain(address: str) -> None:
    """docs/adr/0007: neither told nor asked of the world."""
    told = ask(mynet(), arpa(address), "PTR")

    assert ("NXDOMAIN", "reverse") == (told.rcode, told.stage)


@pytest.mark.parametrize("address", ["8.8.8.8", "172.20.0.1", "10.20.32.1", "2001:4860:4860::8888", "fd00:19::2"])
def test_an_address_outside_every_subnet_is_forwarded(address: str) -> None:
    assert from_text(arpa(address)) == ask(mynet(), arpa(address), "PTR").forwarded.question.qname


@pytest.mark.parametrize("name", ["18.172.in-addr.arpa", "0.18.172.in-addr.arpa", "1.0.d.f.ip6.arpa"])
def test_names_above_addresses_exist_and_are_empty(name: str) -> None:
    """RFC 8020: NXDOMAIN would deny everything below."""
    told = ask(views_of('[networks.n]\nsubnets = ["172.18.0.0/16", "fd00::/8"]\n').host, name, "PTR")

    assert ("NOERROR", "reverse") == (told.rcode, told.stage)


@pytest.mark.parametrize("name", ["172.in-addr.arpa", "in-addr.arpa", "ip6.arpa", "d.f.ip6.arpa"])
def test_names_above_a_subnet_are_forwarded(name: str) -> None:
    assert "forward" == ask(mynet(), name, "PTR").stage


@pytest.mark.parametrize(
    "name", ["x.2.0.18.172.in-addr.arpa", "lb._dns-sd._udp.0.18.172.in-addr.arpa", "x.18.172.in-addr.arpa"]
)
def test_more_labels_in_front_are_nxdomain(name: str) -> None:
    """RFC 6763 11 asks such names of every network that a client is on."""
    assert ("NXDOMAIN", "18.172.in-addr.arpa.", "reverse") == ask(mynet(), name, "PTR").verdict


@pytest.mark.parametrize("name", ["02.0.18.172.in-addr.arpa", "002.0.18.172.in-addr.arpa", "2.00.18.172.in-addr.arpa"])
def test_leading_zeros_make_another_name(name: str) -> None:
    """RFC 1035 3.5."""
    assert ("NXDOMAIN", "18.172.in-addr.arpa.", "reverse") == ask(mynet(), name, "PTR").verdict


def test_a_subnet_that_ends_within_a_label_has_its_zone_above() -> None:
    told = ask(world().pinned(("corp.net",), None), arpa("10.20.17.1"), "PTR")

    assert ("NXDOMAIN", "20.10.in-addr.arpa.", "reverse") == told.verdict


def test_an_address_on_two_networks_is_a_name_of_the_first() -> None:
    views = views_of(
        '[networks.b.endpoints.x]\naddresses = ["10.0.0.1"]\n[networks.a.endpoints.y]\naddresses = ["10.0.0.1"]\n'
    )

    assert ["1.0.0.10.in-addr.arpa. 600 PTR y.a."] == ask(views.host, arpa("10.0.0.1"), "PTR").answer


def test_the_ttl_is_the_endpoints() -> None:
    assert [f"{arpa('172.19.0.9')} 5 PTR vault.backend."] == ask(both(), arpa("172.19.0.9"), "PTR").answer


def test_an_address_without_subnet_is_known_all_the_same() -> None:
    views = views_of('[networks.n.endpoints.x]\naddresses = ["10.0.0.1"]\n')

    assert 1 == len(ask(views.host, arpa("10.0.0.1"), "PTR").answer)
    assert "forward" == ask(views.host, arpa("10.0.0.2"), "PTR").stage


def test_a_ptr_that_would_be_too_long_is_a_shorter_name() -> None:
    """moby#46928."""
    long, network = ".".join(["a" * 60] * 4), "network.example.org"
    views = views_of(f'[networks."{network}".endpoints."{long}"]\naddresses = ["10.0.0.1"]\nid = "0123456789abcdef"\n')

    assert [f"1.0.0.10.in-addr.arpa. 600 PTR 0123456789ab.{network}."] == (
        ask(views.host, arpa("10.0.0.1"), "PTR").answer
    )


def test_on_an_internal_network_the_rest_of_the_world_is_not_asked() -> None:
    assert ("SERVFAIL", "forward") == (
        ask(backend(), arpa("8.8.8.8"), "PTR").rcode,
        ask(backend(), arpa("8.8.8.8"), "PTR").stage,
    )
