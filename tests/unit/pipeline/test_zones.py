"""Static zones in the order of the stages, and CNAME chains that lead out of them (design.md 2.5)."""

from __future__ import annotations

import pytest

from resolver.pipeline.outcome import Forward, Reply
from resolver.views import View, Views
from resolver.wire.name import to_text
from tests.unit.asking import Told, ask, lines, views_of, zone_of
from tests.unit.pipeline.worlds import HOSTS, WORLD

LAB = zone_of(
    "lab.example",
    """\
@ A 192.0.2.1
www CNAME @
Sql CNAME db.mynet
sql6 CNAME DB.mynet.
lonely CNAME mynet.
nobody CNAME nobody.mynet.
short CNAME nothere.
far CNAME www.example.org.
farther CNAME far
over CNAME alias.other.example.
host CNAME host.docker.internal.
back CNAME 2.0.18.172.in-addr.arpa.
outside CNAME 9.9.9.9.in-addr.arpa.
sub NS ns.sub
ns.sub A 192.0.2.54
*.wild TXT "x"
loop CNAME pool
pool CNAME loop
""",
)
OTHER = zone_of("other.example", "alias CNAME db.mynet.\n@ MX 10 mail\n")
SHADOWED = zone_of("mynet", "db A 192.0.2.9\nzoned A 192.0.2.10\n")


def views() -> Views:
    return views_of(WORLD, hosts_text=HOSTS, zones=(LAB, OTHER))


def mynet() -> View:
    return views().pinned(("mynet",), None)


def chased(told: Told) -> list[str]:
    outcome = told.decision.outcome
    assert isinstance(outcome, Forward)
    return [f"{to_text(rrset.owner)} {rrset.ttl} {rrset.rtype}" for rrset in outcome.chased]


def test_a_zone_answers_with_authority() -> None:
    """AA=1 for zones (design.md 2, flags); each case of the look-up is in ../zones."""
    told = ask(mynet(), "Lab.Example")

    assert (["Lab.Example. 3600 A 192.0.2.1"], "QR AA RD RA", "zone") == (told.answer, told.flags, told.stage)


def test_a_cname_inside_the_zone_is_followed() -> None:
    assert ["www.lab.example. 3600 CNAME lab.example.", "lab.example. 3600 A 192.0.2.1"] == (
        ask(mynet(), "www.lab.example").answer
    )


@pytest.mark.parametrize(("name", "rcode"), [("x.lab.example", "NXDOMAIN"), ("www.lab.example", "NOERROR")])
def test_a_negative_answer_has_the_zones_soa(name: str, rcode: str) -> None:
    told = ask(mynet(), name, "TXT")

    assert (rcode, "zone") == (told.rcode, told.stage)
    assert ["lab.example. 60 SOA ns1.lab.example. hostmaster.lab.example. 7 3600 600 86400 60"] == told.authority


def test_a_delegation_is_a_referral_without_authority() -> None:
    told = ask(mynet(), "x.sub.lab.example")

    assert ("QR RD RA", []) == (told.flags, told.answer)
    assert ["sub.lab.example. 3600 NS ns.sub.lab.example."] == told.authority
    assert ["ns.sub.lab.example. 3600 A 192.0.2.54"] == told.additional


def test_a_cname_into_the_registry_is_followed() -> None:
    told = ask(mynet(), "sql6.lab.example")

    assert ["sql6.lab.example. 3600 CNAME DB.mynet.", "DB.mynet. 600 A 172.18.0.2"] == told.answer
    assert ("zone", "QR AA RD RA") == (told.stage, told.flags)


def test_a_cname_into_the_registry_tells_where_both_were_written() -> None:
    outcome = ask(mynet(), "sql6.lab.example").decision.outcome

    assert isinstance(outcome, Reply)
    assert ["lab.example.zone", "0.toml:5"] == [str(origin) for origin in outcome.origins]


def test_a_cname_from_zone_to_zone_into_the_registry_is_followed() -> None:
    assert [
        "over.lab.example. 3600 CNAME alias.other.example.",
        "alias.other.example. 3600 CNAME db.mynet.",
        "db.mynet. 600 A 172.18.0.2",
    ] == ask(mynet(), "over.lab.example").answer


def test_a_cname_into_the_registry_sees_what_the_asker_sees() -> None:
    """Isolation holds along a chain."""
    told = ask(views().pinned(("backend",), None), "sql6.lab.example")

    assert ["sql6.lab.example. 3600 CNAME DB.mynet."] == [line for line in told.answer if "CNAME" in line]
    assert "172.18.0.2" not in str(told.answer)


def test_a_cname_to_a_known_name_without_the_type_is_nodata_with_the_chain() -> None:
    """RFC 2308 2.2: the chain is in the answer, the SOA is of its end."""
    told = ask(mynet(), "sql6.lab.example", "TXT")

    assert ("NOERROR", ["sql6.lab.example. 3600 CNAME DB.mynet."]) == (told.rcode, told.answer)
    assert ["mynet. 10 SOA"] == [line[: len("mynet. 10 SOA")] for line in told.authority]


def test_a_cname_to_an_unknown_single_label_is_nxdomain_with_the_chain() -> None:
    """RFC 6604 3: the rcode is of the chain's end."""
    told = ask(mynet(), "short.lab.example")

    assert ("NXDOMAIN", ["short.lab.example. 3600 CNAME nothere."]) == (told.rcode, told.answer)


@pytest.mark.parametrize(
    ("name", "target"),
    [("host.lab.example", "172.18.0.1"), ("HOST.lab.example", "172.18.0.1")],
)
def test_a_cname_to_docker_internal_is_followed(name: str, target: str) -> None:
    assert f"host.docker.internal. 600 A {target}" == ask(mynet(), name).answer[1]


def test_a_cname_to_a_reverse_name_is_followed() -> None:
    """RFC 2317."""
    assert "2.0.18.172.in-addr.arpa. 600 PTR db.mynet." == ask(mynet(), "back.lab.example", "PTR").answer[1]


@pytest.mark.parametrize(
    ("name", "target", "links"),
    [
        ("far.lab.example", "www.example.org.", ["far.lab.example. 3600 5"]),
        ("Farther.lab.example", "www.example.org.", ["Farther.lab.example. 3600 5", "far.lab.example. 3600 5"]),
        ("outside.lab.example", "9.9.9.9.in-addr.arpa.", ["outside.lab.example. 3600 5"]),
    ],
)
def test_a_cname_into_the_world_is_forwarded_with_the_chain(name: str, target: str, links: list[str]) -> None:
    told = ask(mynet(), name)

    assert target == to_text(told.forwarded.question.qname)
    assert links == chased(told)
    assert "forward" == told.stage


def test_a_cname_into_the_world_asks_the_askers_own_servers() -> None:
    view = views().pinned(("mynet",), "own")

    assert ("10.0.0.53",) == ask(view, "far.lab.example").forwarded.servers


def test_a_cname_into_the_world_from_an_internal_network_is_servfail_with_the_chain() -> None:
    told = ask(views().pinned(("backend",), None), "far.lab.example")

    assert ("SERVFAIL", ["far.lab.example. 3600 CNAME www.example.org."]) == (told.rcode, told.answer)
    assert told.ede is not None
    assert 18 == told.ede[0]


def test_the_cname_itself_can_be_asked() -> None:
    assert ["far.lab.example. 3600 CNAME www.example.org."] == ask(mynet(), "far.lab.example", "CNAME").answer


def test_a_circle_of_cnames_is_servfail_with_its_reason() -> None:
    told = ask(mynet(), "loop.lab.example")

    assert ("SERVFAIL", True) == (told.rcode, told.ede is not None)


def test_the_registry_comes_before_a_zone_and_a_zone_before_the_networks_suffix() -> None:
    view = views_of(WORLD, zones=(SHADOWED,)).pinned(("mynet",), None)

    assert ["db.mynet. 600 A 172.18.0.2"] == ask(view, "db.mynet").answer
    assert ["zoned.mynet. 3600 A 192.0.2.10"] == ask(view, "zoned.mynet").answer


def test_additional_addresses_of_a_zone_go_along() -> None:
    told = ask(mynet(), "lab.example", "NS")

    assert ["ns1.lab.example. 3600 A 192.0.2.53"] == lines(told.message.additional)
