"""DNSSEC goes through pydns as through a wire: who validates behind it can, and says so."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.flags
import dns.rdatatype
import pytest

from tests.forwarding import programs, zones
from tests.forwarding.client import AD, CD, DO, at_once, by_udp, fetch, records, status, types
from tests.forwarding.conftest import Anchors, Authorities, Serve
from tests.scenarios.live import At, Live, answers, has_flag, is_clean

POSITIVE, NEGATIVE = "; fully validated", "; negative response, fully validated"
KINDS = [
    ("www.{}", "A", POSITIVE),
    ("www.{}", "AAAA", POSITIVE),
    ("some.wild.{}", "A", POSITIVE),
    ("alias.{}", "A", POSITIVE),
    ("mail.{}", "MX", POSITIVE),
    ("{}", "SOA", POSITIVE),
    ("{}", "DNSKEY", POSITIVE),
    ("child.{}", "DS", POSITIVE),
    ("www.{}", "MX", NEGATIVE),
    ("some.wild.{}", "MX", NEGATIVE),
    ("nothere.{}", "A", NEGATIVE),
    ("deep.below.nothere.{}", "A", NEGATIVE),
    ("www.{}", "DS", NEGATIVE),
]


@pytest.fixture(scope="module")
def live(authorities: Authorities, serve: Serve) -> Live:
    """A pydns in front of the authorities, each by the routes of its zones."""
    made = serve()
    routes = "".join(
        f'[[forward.routes]]\nsuffix = "{origin}"\nupstreams = ["{at.host}:{at.port}"]\n'
        for origin, at in authorities.every.items()
    )
    made.config.write_text(made.config.read_text() + routes)
    made.hang_up()
    return made


@pytest.fixture(scope="module")
def behind(live: Live, anchors: Anchors, tmp_path_factory: pytest.TempPathFactory) -> Iterator[At]:
    """An unbound that validates what it gets of pydns."""
    folder, at = tmp_path_factory.mktemp("behind"), programs.lonely()
    command = programs.unbound(folder, at, {}, anchors.unbound, everything=live.at)
    with programs.started(command, folder, at, zones.PLAIN):
        yield at


def delv(at: At, anchors: Path, origin: str, name: str, rtype: str, *options: str) -> str:
    """What delv says, which trusts the keys of one zone and asks one server only."""
    command = ["delv", f"@{at.host}", "-p", str(at.port), "-a", str(anchors), f"+root={origin}", *options]
    done = subprocess.run([*command, name, rtype], capture_output=True, text=True, check=False, timeout=30)
    return done.stdout + done.stderr


@pytest.mark.parametrize("origin", [zones.NSEC, zones.NSEC3, zones.BROKEN])
def test_delv_validates_every_kind_of_answer(live: Live, anchors: Anchors, origin: str) -> None:
    """Twice: out of the cache as well. knotd has signed with NSEC and with NSEC3, bind's tools with NSEC."""
    for _ in range(2):
        said = at_once(lambda kind: delv(live.at, anchors.delv, origin, kind[0].format(origin), kind[1]), KINDS, 4)
        wrong = [text for text, kind in zip(said, KINDS, strict=True) if kind[2] not in text]
        assert wrong == []
    assert is_clean(live.stderr), live.stderr


def test_delv_finds_out_what_was_changed(live: Live, anchors: Anchors) -> None:
    """pydns does not validate, and hides nothing either."""
    name = f"changed.{zones.BROKEN}"
    said = delv(live.at, anchors.delv, zones.BROKEN, name, "A")

    assert "resolution failed" in said, said
    assert "fully validated" not in said
    assert "192.0.2.186" in delv(live.at, anchors.delv, zones.BROKEN, name, "A", "-i")


def test_an_unbound_behind_pydns_validates(live: Live, behind: At) -> None:
    for origin in (zones.NSEC, zones.NSEC3, zones.BROKEN):
        for name, rtype, _ in KINDS:
            reply = fetch(behind, name.format(origin), rtype, want_dnssec=True)
            assert has_flag(reply, dns.flags.AD), str(reply)
    assert status(fetch(behind, f"changed.{zones.BROKEN}")) == "SERVFAIL"
    assert answers(fetch(behind, f"changed.{zones.BROKEN}", flags=dns.flags.RD | CD)) == ["192.0.2.186"]
    assert status(fetch(behind, f"nothere.{zones.NSEC3}")) == "NXDOMAIN"


def test_a_zone_inside_may_be_unsigned_where_the_one_above_proves_it(live: Live, behind: At) -> None:
    """Split DNS: the route of a zone is not that of its DS, which stands in the zone above (RFC 4035 3.1.4.1)."""
    ds = fetch(live.at, zones.INSIDE, "DS", want_dnssec=True)
    reply = fetch(behind, f"www.{zones.INSIDE}", want_dnssec=True)

    assert {"NSEC", "SOA", "RRSIG"} <= types(ds.authority)
    assert (status(reply), answers(reply)) == ("NOERROR", ["192.0.2.80"]), str(reply)
    assert not has_flag(reply, AD)


@pytest.mark.parametrize("payload", [512, 1232])
def test_many_large_keys_come_over_tcp(live: Live, authorities: Authorities, payload: int) -> None:
    """Four keys of 4096 bits beside the one that signs."""
    cut = by_udp(live.at, zones.BROKEN, "DNSKEY", use_edns=0, payload=payload, want_dnssec=True)
    whole = fetch(live.at, zones.BROKEN, "DNSKEY", use_edns=0, payload=payload, want_dnssec=True)
    direct = fetch(authorities.named, zones.BROKEN, "DNSKEY", use_edns=0, payload=payload, want_dnssec=True)

    assert has_flag(cut, dns.flags.TC)
    assert len(cut.to_wire()) <= payload
    assert not has_flag(whole, dns.flags.TC)
    assert records(whole.answer) == records(direct.answer)
    assert types(whole.answer) == {"DNSKEY", "RRSIG"}
    assert sum(len(rrset) for rrset in whole.answer if rrset.rdtype == dns.rdatatype.DNSKEY) == 5


@pytest.mark.parametrize("signed_first", [True, False])
def test_signatures_are_for_those_who_want_them(live: Live, signed_first: bool) -> None:
    """Whoever asked first: two clients that differ in DO share no answer."""
    name = f"for-{'some' if signed_first else 'none'}.wild.{zones.NSEC}"
    for want in (signed_first, not signed_first, signed_first):
        asked: tuple[dict[str, Any], ...] = ({"want_dnssec": True},) if want else ({}, {"use_edns": 0})
        for options in asked:
            reply = fetch(live.at, name, **options)
            assert types(reply.answer) == ({"A", "RRSIG"} if want else {"A"})
            assert bool(reply.ednsflags & DO) == want
            assert not has_flag(reply, AD), "an authority has nothing to say of that"


@pytest.mark.parametrize("tool", [("dig", "+dnssec", "+multi"), ("kdig", "+dnssec", "+multiline"), ("dig", "+cd")])
def test_the_usual_tools_are_content(live: Live, tool: tuple[str, ...]) -> None:
    command = [*tool, f"@{live.at.host}", "-p", str(live.at.port), f"www.{zones.NSEC3}", "A"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)

    assert done.returncode == 0, done.stdout
    assert re.search(r"status: NOERROR", done.stdout)
    assert "192.0.2.80" in done.stdout
    assert ("RRSIG" in done.stdout) == ("+dnssec" in tool)
    assert not re.search(r"WARNING|malformed|mismatch|FORMERR", done.stdout)
