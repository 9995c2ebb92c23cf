"""SRV from the endpoints' ports (design.md 2.3, RFC 2782)."""

from __future__ import annotations

import pytest

from resolver.wire.name import WireName, from_text
from tests.unit.asking import ask, views_of
from tests.unit.pipeline.worlds import both, mynet


@pytest.mark.parametrize("name", ["_5432._tcp.db", "_5432._TCP.DB", "_5432._tcp.db.mynet", "_5432._tcp.database"])
def test_a_port_by_its_number(name: str) -> None:
    told = ask(mynet(), name, "SRV")

    assert [f"{name}. 600 SRV 0 0 5432 db.mynet."] == told.answer
    assert ["db.mynet. 600 A 172.18.0.2", "db.mynet. 600 AAAA fd00:18::2"] == told.additional
    assert ("registry", "QR RD RA") == (told.stage, told.flags)


def test_a_port_by_its_name_in_any_letter_case() -> None:
    assert ["_metrics._tcp.db. 600 SRV 0 0 9187 db.mynet."] == ask(mynet(), "_metrics._tcp.db", "SRV").answer
    assert 2 == len(ask(mynet(), "_hTTp._tcp.web", "SRV").answer)


def test_a_protocol_is_its_own() -> None:
    assert ["_53._udp.db. 600 SRV 0 0 53 db.mynet."] == ask(mynet(), "_53._udp.db", "SRV").answer
    assert ("NXDOMAIN", "db.", "registry") == ask(mynet(), "_53._tcp.db", "SRV").verdict


def test_a_shared_alias_has_a_record_for_each_endpoint() -> None:
    views = views_of(
        "".join(
            f'[networks.n.endpoints.x{n}]\naddresses = ["10.0.0.{n}"]\naliases = ["app"]\nports = ["80/tcp"]\n'
            for n in (1, 2)
        )
        + '[networks.n.endpoints.y]\naddresses = ["10.0.0.3"]\naliases = ["app"]\n'
    )
    told = ask(views.host, "_80._tcp.app", "SRV")

    assert ["_80._tcp.app. 600 SRV 0 0 80 x1.n.", "_80._tcp.app. 600 SRV 0 0 80 x2.n."] == told.answer
    assert ["x1.n. 600 A 10.0.0.1", "x2.n. 600 A 10.0.0.2"] == told.additional


def test_additional_addresses_are_there_once() -> None:
    told = ask(
        views_of(
            '[networks.n.endpoints.x]\naddresses = ["10.0.0.1"]\naliases = ["*.app", "*.APP"]\nports = ["80/tcp"]\n'
        ).host,
        "_80._tcp.a.app",
        "SRV",
    )

    assert (["x.n. 600 A 10.0.0.1"], 1) == (told.additional, len(told.answer))


def test_a_service_is_not_one_of_the_names_below_a_wildcard() -> None:
    """``*.db`` would stand for it; its port is meant."""
    assert ("NOERROR", "db.", "registry") == ask(mynet(), "_5432._tcp.db", "A").verdict
    assert ["_5432._tcp.x.db. 600 SRV 0 0 5432 db.mynet."] == ask(mynet(), "_5432._tcp.x.db", "SRV").answer


def test_any_is_the_srv() -> None:
    assert 1 == len(ask(mynet(), "_5432._tcp.db", "ANY").answer)


@pytest.mark.parametrize(
    "name", ["_1._tcp.db", "_nothere._tcp.db", "_05432._tcp.db", "_5432._sctp.db", "_\\255._tcp.db"]
)
@pytest.mark.parametrize("rtype", ["SRV", "A", "TXT"])
def test_a_service_that_a_known_name_has_not_is_nxdomain_and_never_forwarded(name: str, rtype: str) -> None:
    wire = from_text(name) if "\\" not in name else WireName(b"\x02_\xff\x04_tcp\x02db\0")

    assert ("NXDOMAIN", "db.", "registry") == ask(mynet(), wire, rtype).verdict


@pytest.mark.parametrize("name", ["_80._tcp.nothere.example.org", "_80._icmp.nothere.example.org", "_tcp.example.org"])
def test_services_of_unknown_names_are_forwarded(name: str) -> None:
    assert "forward" == ask(mynet(), name, "SRV").stage


def test_a_service_is_of_the_first_network_that_knows_the_name() -> None:
    assert ["_5432._tcp.db. 600 SRV 0 0 5432 db.mynet."] == ask(both(), "_5432._tcp.db", "SRV").answer
    assert "NXDOMAIN" == ask(both(), "_5432._tcp.db.backend", "SRV").rcode


def test_a_target_that_would_be_too_long_is_a_shorter_name_of_it() -> None:
    """Never an exception, whatever the registry holds."""
    long, network = ".".join(["a" * 60] * 4), "network.example.org"
    views = views_of(
        f'[networks."{network}".endpoints."{long}"]\naddresses = ["10.0.0.1"]\naliases = ["b"]\nports = ["80/tcp"]\n'
    )

    assert [f"_80._tcp.b. 600 SRV 0 0 80 b.{network}."] == ask(views.host, "_80._tcp.b", "SRV").answer
