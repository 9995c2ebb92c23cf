"""Through pydns a client sees what it would have seen of unbound, knotd, dnsmasq or named itself."""

from __future__ import annotations

from typing import NamedTuple

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from tests.forwarding import zones
from tests.forwarding.client import at_once, by_udp, fetch, records, status, ttls
from tests.forwarding.conftest import Authorities, Serve
from tests.netns.world import BIG_TXT
from tests.scenarios.live import At, Live, has_flag, is_clean

QUESTIONS = [
    (f"{name}{zones.PLAIN}.", rtype)
    for name, rtype in (
        ("www.", "A"),
        ("www.", "AAAA"),
        ("WwW.", "A"),
        ("mixed.", "A"),
        ("big.", "TXT"),
        ("nothere.", "A"),
        ("deep.below.nothere.", "A"),
        ("www.", "MX"),
        ("mail.", "MX"),
        ("chain.", "A"),
        ("chain.", "CNAME"),
        ("loose.", "A"),
        ("_ldap._tcp.", "SRV"),
        ("odd.", "TYPE65280"),
        ("svc.", "HTTPS"),
        ("zero.", "A"),
        (r"a\.b.", "A"),
        (r"\000\255\032\"\;\\.", "TXT"),
        (r"\000\255\032\"\;\\.", "A"),
        ("", "SOA"),
        ("", "NS"),
    )
]
SAME_AUTHORITY = ("knotd", "named")
"""What these put into the authority section does not depend on what they were asked before."""


class Between(NamedTuple):
    """An upstream, and a pydns that asks it."""

    program: str
    upstream: At
    live: Live


@pytest.fixture(scope="module", params=["knotd", "named", "unbound", "dnsmasq"])
def between(
    request: pytest.FixtureRequest, authorities: Authorities, validating: At, in_between: At, serve: Serve
) -> Between:
    servers = {
        "knotd": authorities.knotd,
        "named": authorities.named,
        "unbound": validating,
        "dnsmasq": in_between,
    }
    upstream = servers[request.param]
    return Between(request.param, upstream, serve(upstreams=[f"{upstream.host}:{upstream.port}"]))


@pytest.mark.parametrize("edns", [{}, {"use_edns": 0, "payload": 4096}], ids=["plain", "EDNS"])
def test_every_kind_of_answer_is_the_upstreams(between: Between, edns: dict[str, int]) -> None:
    """Sections and codes are the same; TTLs may have gone on by a few seconds, the second time out of the cache."""

    def differs(question: tuple[str, str]) -> str:
        name, rtype = question
        direct = fetch(between.upstream, name, rtype, **edns)
        for reply in (fetch(between.live.at, name, rtype, **edns), fetch(between.live.at, name, rtype, **edns)):
            same = (
                status(reply) == status(direct)
                and records(reply.answer) == records(direct.answer)
                and reply.question == direct.question
                and reply.edns == (0 if edns else -1)
            )
            if between.program in SAME_AUTHORITY:
                same = same and records(reply.authority) == records(direct.authority)
            told, said = ttls(reply.answer), ttls(direct.answer)
            near = all(abs(told[key] - said[key]) <= 20 for key in said if key in told)
            if not (same and near):
                return f"{name} {rtype}\n{direct}\n--- pydns:\n{reply}"
        return ""

    assert [text for text in at_once(differs, QUESTIONS) if text] == []
    assert is_clean(between.live.stderr), between.live.stderr


def test_any_is_passed_on(between: Between) -> None:
    """RFC 8482 lets a server choose; what it has chosen is of this name."""
    reply = fetch(between.live.at, f"www.{zones.PLAIN}.", "ANY")

    direct = fetch(between.upstream, f"www.{zones.PLAIN}.", "ANY")
    assert status(reply) == status(direct)
    assert bool(reply.answer) == bool(direct.answer)
    whole = {"192.0.2.80", "2001:db8::80"}
    assert {rdata.to_text() for rrset in reply.answer for rdata in rrset} <= whole


def test_that_there_is_nothing_comes_with_its_soa(between: Between) -> None:
    for name in ("nothere", "www"):
        reply = fetch(between.live.at, f"{name}.{zones.PLAIN}.", "MX")
        assert [dns.rdatatype.to_text(rrset.rdtype) for rrset in reply.authority] == ["SOA"], str(reply)
        assert reply.authority[0].ttl <= 300


def test_an_authority_is_heard_and_not_remembered(between: Between) -> None:
    """AA is the upstream's, and out of the cache nobody's (RFC 1034 6.2.1); RA is ours."""
    name = f"authority.{zones.PLAIN}."
    direct, first, second = (fetch(at, name) for at in (between.upstream, between.live.at, between.live.at))

    if between.program in SAME_AUTHORITY:  # dnsmasq relays it, too, and forgets it as we do
        assert has_flag(direct, dns.flags.AA)
        assert has_flag(first, dns.flags.AA)
    assert not has_flag(second, dns.flags.AA)
    assert has_flag(first, dns.flags.RA)
    assert has_flag(second, dns.flags.RA)


def test_a_ttl_of_nothing_stays_so(between: Between) -> None:
    for _ in range(2):
        reply = fetch(between.live.at, f"zero.{zones.PLAIN}.")
        assert [rrset.ttl for rrset in reply.answer] == [0]


@pytest.mark.parametrize("payload", [512, 1232, 4096])
def test_a_big_answer_is_whole_over_tcp_and_fits_over_udp(between: Between, payload: int) -> None:
    name = f"big.{zones.PLAIN}."
    cut = by_udp(between.live.at, name, "TXT", use_edns=0, payload=payload)
    whole = fetch(between.live.at, name, "TXT", use_edns=0, payload=payload)

    assert has_flag(cut, dns.flags.TC)
    assert len(cut.to_wire()) <= payload
    assert not has_flag(whole, dns.flags.TC)
    assert [len(rrset) for rrset in whole.answer] == [len(BIG_TXT)]


def test_a_later_version_of_edns_is_answered_with_ours(between: Between) -> None:
    query = dns.message.make_query(f"www.{zones.PLAIN}.", "A", use_edns=1)
    reply = by_udp(between.live.at, query.question[0].name.to_text(), "A", use_edns=1)

    assert (reply.rcode(), reply.edns) == (dns.rcode.BADVERS, 0)
