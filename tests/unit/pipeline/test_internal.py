"""docker.internal and zones like it (design.md 2.2)."""

from __future__ import annotations

import ipaddress

import pytest

from resolver.pipeline.chain import Chain
from resolver.pipeline.stages import ForwardPolicy, InternalNames
from resolver.views import ViewSettings
from resolver.wire.name import fold, from_text
from tests.unit.asking import addresses, ask, views_of
from tests.unit.pipeline.worlds import WORLD, backend, both, mynet, world

CONFIGURED = Chain.of(
    InternalNames(
        tuple(fold(from_text(zone)) for zone in ("docker.internal", "internal", "lab.docker.internal")),
        {
            fold(from_text("host")): (ipaddress.ip_address("192.0.2.7"), ipaddress.ip_address("192.0.2.8")),
            fold(from_text("gateway")): None,
            fold(from_text("api.v1")): (ipaddress.ip_address("2001:db8::7"),),
        },
    ),
    ForwardPolicy(),
)


@pytest.mark.parametrize("name", ["host.docker.internal", "gateway.docker.internal", "HOST.Docker.INTERNAL"])
def test_host_and_gateway_are_the_gateway_of_the_askers_own_network(name: str) -> None:
    assert {"172.18.0.1"} == addresses(ask(mynet(), name))
    assert {"fd00:18::1"} == addresses(ask(mynet(), name, "AAAA"))
    assert {"172.19.0.1"} == addresses(ask(backend(), name))


def test_on_two_networks_it_is_the_gateway_of_the_one_asked_first() -> None:
    """The one that is not internal: its gateway leads out."""
    assert {"172.18.0.1"} == addresses(ask(both(), "host.docker.internal"))


def test_without_a_gateway_it_is_the_fall_back() -> None:
    """The default gateway of the namespace, else docker0."""
    fallback = (ipaddress.ip_address("172.17.0.1"), ipaddress.ip_address("fd00:17::1"))
    views = views_of(WORLD, settings=ViewSettings(fallback_gateways=fallback))
    view = views.pinned(("corp.net",), None)

    assert {"172.17.0.1"} == addresses(ask(view, "host.docker.internal"))
    assert {"fd00:17::1"} == addresses(ask(view, "gateway.docker.internal", "AAAA"))
    assert {"172.18.0.1"} == addresses(ask(views.pinned(("corp.net", "mynet"), None), "host.docker.internal"))


def test_without_any_gateway_there_is_no_address() -> None:
    told = ask(world().pinned(("corp.net",), None), "host.docker.internal")

    assert ("NOERROR", "docker.internal.", "internal") == told.verdict


def test_a_configured_address_comes_before_any_gateway() -> None:
    assert {"192.0.2.7", "192.0.2.8"} == addresses(ask(mynet(), "host.docker.internal", chain=CONFIGURED))
    assert {"172.18.0.1"} == addresses(ask(mynet(), "gateway.docker.internal", chain=CONFIGURED))


def test_a_family_without_address_is_nodata() -> None:
    told = ask(backend(), "host.docker.internal", "AAAA")

    assert ("NOERROR", "docker.internal.", "internal") == told.verdict


@pytest.mark.parametrize("rtype", ["TXT", "HTTPS", "MX", "NS", "SRV", "SOA", 65280])
def test_any_other_type_is_nodata(rtype: int | str) -> None:
    told = ask(mynet(), "host.docker.internal", rtype)

    assert ("NOERROR", "docker.internal.", "internal") == told.verdict


@pytest.mark.parametrize("name", ["nothere.docker.internal", "x.host.docker.internal", "a.b.c.docker.internal"])
@pytest.mark.parametrize("rtype", ["A", "NS", "DS", "ANY"])
def test_an_unknown_name_is_nxdomain_and_never_forwarded(name: str, rtype: str) -> None:
    assert ("NXDOMAIN", "docker.internal.", "internal") == ask(mynet(), name, rtype).verdict


def test_the_apex_has_its_soa() -> None:
    told = ask(mynet(), "Docker.Internal", "SOA")

    assert ["Docker.Internal. 10 SOA Docker.Internal. hostmaster.invalid. 1 3600 600 86400 10"] == told.answer


def test_the_apex_has_nothing_else() -> None:
    assert ("NOERROR", "docker.internal.", "internal") == ask(mynet(), "docker.internal").verdict


def test_answers_are_authoritative() -> None:
    """AA=1 for docker.internal (design.md 2, flags)."""
    for name in ("host.docker.internal", "docker.internal", "x.docker.internal"):
        assert "QR AA RD RA" == ask(mynet(), name).flags


def test_the_owner_keeps_the_letters_of_the_client() -> None:
    (line,) = ask(mynet(), "hOsT.docker.internal").answer

    assert "hOsT.docker.internal. 600 A 172.18.0.1" == line


def test_any_is_one_small_rrset() -> None:
    """RFC 8482 4.1."""
    assert {"172.18.0.1"} == addresses(ask(mynet(), "host.docker.internal", "ANY"))


def test_a_name_that_only_ends_in_the_same_letters_is_another() -> None:
    assert "forward" == ask(mynet(), "example.xdocker.internal").stage


def test_a_configured_name_of_two_labels_has_a_parent_that_is_empty() -> None:
    """RFC 8020: an empty non-terminal exists."""
    assert {"2001:db8::7"} == addresses(ask(mynet(), "api.v1.docker.internal", "AAAA", chain=CONFIGURED))
    assert ("NOERROR", "docker.internal.", "internal") == ask(mynet(), "v1.docker.internal", chain=CONFIGURED).verdict


def test_the_closest_of_two_zones_answers() -> None:
    """Whatever the order in which they are configured."""
    assert {"192.0.2.7", "192.0.2.8"} == addresses(ask(mynet(), "host.lab.docker.internal", chain=CONFIGURED))
    assert {"192.0.2.7", "192.0.2.8"} == addresses(ask(mynet(), "host.internal", chain=CONFIGURED))
    assert "lab.docker.internal." == ask(mynet(), "x.lab.docker.internal", chain=CONFIGURED).soa


def test_it_comes_before_a_container_of_that_name() -> None:
    views = views_of(
        '[networks.n.endpoints.evil]\naddresses = ["10.6.6.6"]\naliases = ["host.docker.internal", "*.internal"]\n'
    )

    assert "internal" == ask(views.host, "host.docker.internal").stage
