"""What may leave, and what is said instead (design.md 2.6)."""

from __future__ import annotations

import pytest

from resolver.pipeline.chain import Chain
from resolver.pipeline.stages import ForwardPolicy, InternalNames
from resolver.wire.name import from_text
from tests.unit.asking import ask, opt, views_of
from tests.unit.pipeline.worlds import backend, both, mynet, world

DOCKERS_WAY = Chain.of(InternalNames(), ForwardPolicy(forward_single_labels=True))


@pytest.mark.parametrize("name", ["www.example.org", "WWW.Example.ORG", "a.b.c.d.e", "x.mynetwork", "mynet.org"])
@pytest.mark.parametrize("rtype", ["A", "TXT", "HTTPS", "ANY", 65280])
def test_what_nobody_here_knows_is_forwarded_as_it_was_asked(name: str, rtype: int | str) -> None:
    told = ask(mynet(), name, rtype)

    assert (from_text(name), (), (), "forward") == (
        told.forwarded.question.qname,
        told.forwarded.servers,
        told.forwarded.chased,
        told.stage,
    )


@pytest.mark.parametrize("rtype", ["A", "AAAA", "HTTPS", "SVCB", "MX", "SRV", "ANY"])
@pytest.mark.parametrize("name", ["nothere", "NotHere", "com"])
def test_a_single_label_that_is_asked_for_a_host_is_nxdomain_of_the_root(name: str, rtype: str) -> None:
    assert ("NXDOMAIN", ".", "forward") == ask(mynet(), name, rtype).verdict


@pytest.mark.parametrize("rtype", ["NS", "SOA", "DS", "DNSKEY", "TXT", 65280])
def test_a_single_label_that_is_asked_as_a_top_level_domain_is_forwarded(rtype: int | str) -> None:
    """dig com NS; a validating stub asks DS and DNSKEY."""
    assert from_text("com") == ask(mynet(), "com", rtype).forwarded.question.qname


@pytest.mark.parametrize("rtype", ["A", "NS"])
def test_the_root_is_forwarded(rtype: str) -> None:
    assert b"\0" == ask(mynet(), ".", rtype).forwarded.question.qname


def test_single_labels_are_forwarded_where_dockers_way_is_wanted() -> None:
    assert from_text("nothere") == ask(mynet(), "nothere", chain=DOCKERS_WAY).forwarded.question.qname
    assert "registry" == ask(mynet(), "db", "TXT", chain=DOCKERS_WAY).stage


@pytest.mark.parametrize("name", ["nothere.mynet", "a.b.MYNET", "nothere.corp.net", "vault.backend", "x.db.backend"])
@pytest.mark.parametrize("rtype", ["A", "NS", "DS", "TXT", "ANY", 65280])
@pytest.mark.parametrize("chain", [None, DOCKERS_WAY])
def test_below_a_networks_name_is_nxdomain_whoever_asks(name: str, rtype: int | str, chain: Chain | None) -> None:
    """docs/adr/0007: of networks that the asker is not on too; a network's name may be dotted."""
    suffix = next(suffix for suffix in ("mynet.", "corp.net.", "backend.") if f"{name.lower()}.".endswith(suffix))
    told = ask(mynet(), name, rtype) if chain is None else ask(mynet(), name, rtype, chain=chain)

    assert ("NXDOMAIN", suffix, "forward") == told.verdict


@pytest.mark.parametrize("name", ["mynet", "corp.net", "Backend"])
@pytest.mark.parametrize("rtype", ["A", "NS", "SOA", "DS", "TXT", "ANY", 65280])
def test_a_networks_name_itself_exists_and_is_empty(name: str, rtype: int | str) -> None:
    """RFC 8020: there are names below it. Nothing that ends in it is forwarded, whatever the type."""
    assert ("NOERROR", f"{name.lower()}.", "forward") == ask(mynet(), name, rtype).verdict


def test_names_beside_a_dotted_network_name_are_forwarded() -> None:
    assert from_text("www.net.example") == ask(mynet(), "www.net.example").forwarded.question.qname
    assert from_text("x.net") == ask(mynet(), "x.net").forwarded.question.qname


@pytest.mark.parametrize("name", ["www.example.org", "9.9.9.9.in-addr.arpa", "."])
def test_on_internal_networks_alone_nothing_leaves(name: str) -> None:
    """SERVFAIL as Docker's there; RFC 8914 4.19 says why."""
    told = ask(backend(), name, "NS", edns=opt())

    assert ("SERVFAIL", "forward", "QR RD RA") == (told.rcode, told.stage, told.flags)
    assert (18, "this client is only on internal networks") == told.ede
    assert "EDE 18" in told.message.options[0].to_text()


def test_one_network_that_is_not_internal_is_enough() -> None:
    assert ask(both(), "www.example.org").forwarded


def test_an_asker_with_servers_of_its_own_asks_those() -> None:
    assert ("10.0.0.53",) == ask(mynet("own"), "www.example.org").forwarded.servers


def test_servers_elsewhere_do_not_let_an_asker_out_of_an_internal_network() -> None:
    told = ask(backend("rich"), "www.example.org")

    assert ("SERVFAIL", "forward") == (told.rcode, told.stage)
    assert (18, "this client is only on internal networks, and its servers are not on them") == told.ede


def test_the_host_is_on_no_network_and_so_on_no_internal_one() -> None:
    views = views_of('[networks.n]\ninternal = true\n[networks.n.endpoints.x]\naddresses = ["10.0.0.1"]\n')

    assert ask(views.host, "www.example.org").forwarded
    assert ask(world().host, "www.example.org").forwarded


def test_refusals_of_unknown_names_are_not_kept_ready() -> None:
    """There is no end of unknown names."""
    for name in ("nothere", "nothere.mynet", "nothere.docker.internal", "_1._tcp.db", "99.0.18.172.in-addr.arpa"):
        assert not getattr(ask(mynet(), name).decision.outcome, "keep", True)
