"""What is accepted, accepted with a warning and refused of a zone's records."""

from __future__ import annotations

import pytest

from resolver.wire.name import from_text
from tests.unit.zones.helpers import HEAD, ask, faults_of, lines, read, zone_of


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            "www CNAME web\nwww A 192.0.2.1\nwww TXT x\n",
            "5: www.example.test. has a CNAME and A, TXT as well "
            "(an alias has nothing beside it: write the data at its target, or an address instead of the CNAME)",
        ),
        ("a CNAME b\na CNAME c\n", "6: a second a.example.test. CNAME (a name has at most one: keep one of them)"),
        ("a DNAME b\na DNAME c\n", "6: a second a.example.test. DNAME (a name has at most one: keep one of them)"),
        (
            "@ SOA x y 1 2 3 4 5\n",
            "5: a second SOA, for example.test.; the first is at example.test.zone:2 "
            "(one file holds one zone: keep one SOA)",
        ),
        (
            "web.example.org. A 192.0.2.1\n",
            "5: web.example.org. is not in the zone example.test. "
            "(take it out, or mend the $ORIGIN above it or the name's final dot)",
        ),
        (
            "*.w NS ns1\n",
            "5: *.w.example.test. is a wildcard with NS (a wildcard can neither delegate nor redirect: "
            "write the names out)",
        ),
        (
            "*.w DNAME x\n",
            "5: *.w.example.test. is a wildcard with DNAME (a wildcard can neither delegate nor redirect: "
            "write the names out)",
        ),
        (
            "old DNAME new\nold NS ns1.example.org.\n",
            "5: old.example.test. has a DNAME and NS as well (keep either the redirection or the delegation)",
        ),
    ],
)
def test_refused(body: str, said: str) -> None:
    """RFC 2181 10.1; RFC 1035 5.2; RFC 4592 4.2, 4.4; RFC 6672 2.3, 2.4: each with its line and a fix."""
    assert said in faults_of(body)
    assert read({"example.test.zone": HEAD + body}).zone is None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("a A 192.0.2.1\na A 192.0.2.1\n", "6: warning: the same a.example.test. A stands twice; it counts once"),
        (
            "a 9 A 192.0.2.1\na 5 A 192.0.2.2\n",
            "6: warning: a.example.test. A has TTLs 9 and 5; 5 counts for all",
        ),
        (
            "child NS ns1\nchild TXT x\n",
            "6: warning: child.example.test. TXT is never answered: child.example.test. is delegated by NS",
        ),
        (
            "child NS ns1\nweb.child A 192.0.2.1\n",
            "6: warning: web.child.example.test. A is never answered: child.example.test. is delegated by NS",
        ),
        (
            "old DNAME new\nweb.old A 192.0.2.1\n",
            "6: warning: web.old.example.test. A is never answered: old.example.test. is redirected by DNAME",
        ),
        (
            "child NS ns.child\n",
            "5: warning: child.example.test. NS ns.child.example.test. has no address in this zone "
            '(add "ns.child.example.test. A …")',
        ),
        (
            "x CNAME a\na CNAME b\nb CNAME a\n",
            "6: warning: aliases in a circle: a.example.test. → b.example.test. → a.example.test. "
            "(let one of them name an address)",
        ),
        (
            "www CNAME web.example.test\n",
            "5: warning: web.example.test.example.test. ends in the zone's name twice "
            '(write "web.example.test." with its final dot, if that is meant)',
        ),
        (
            "web.example.test A 192.0.2.1\n",
            "5: warning: web.example.test.example.test. ends in the zone's name twice "
            '(write "web.example.test." with its final dot, if that is meant)',
        ),
        (
            "@ NSEC a A\na NSEC @ A\n",
            "5: warning: NSEC and other signing records are left out: answers are not signed",
        ),
    ],
)
def test_accepted_with_a_warning(body: str, said: str) -> None:
    """RFC 2181 5, 5.2; RFC 1034 4.2.1: once each, with its line."""
    assert [said] == faults_of(body)
    assert read({"example.test.zone": HEAD + body}).zone is not None


def test_a_zone_without_soa_is_refused_and_shown_one() -> None:
    """RFC 1035 5.2; the line that is proposed makes a zone."""
    result = read({"example.test.zone": "web 60 A 192.0.2.1\n"})
    proposed = result.faults[0].fix.split('"')[1]

    assert result.faults[0].message == "the zone has no SOA record"
    assert zone_of("web 60 A 192.0.2.1\n", head=proposed + "\n").serial == 1


def test_a_zone_without_ns_is_accepted_with_a_warning() -> None:
    """RFC 1035 5.2 wants one; a zone that is served here alone does without."""
    faults = read({"example.test.zone": "@ 60 SOA ns1 hostmaster 7 3600 600 86400 60\n"}).faults

    assert [str(fault) for fault in faults] == [
        'example.test.zone: warning: the zone example.test. has no NS record (add "@ NS ns1" and the address of ns1)'
    ]


def test_glue_is_no_reason_to_warn() -> None:
    assert faults_of("child NS ns.child\nns.child A 192.0.2.1\nns.child AAAA 2001:db8::1\n") == []


def test_the_lowest_ttl_counts_for_the_rrset() -> None:
    """RFC 2181 5.2."""
    found = ask(zone_of("a 9 A 192.0.2.1\na 5 A 192.0.2.2\n"), "a.example.test.", "A")

    assert lines(found.answer) == ["a.example.test. 5 A 192.0.2.1", "a.example.test. 5 A 192.0.2.2"]


def test_owners_that_differ_in_case_are_one() -> None:
    """RFC 4343 3."""
    assert len(lines(ask(zone_of("a A 192.0.2.1\nA A 192.0.2.2\n"), "a.example.test.", "A").answer)) == 2


def test_signing_records_are_left_out() -> None:
    zone = zone_of("a A 192.0.2.1\na NSEC b A\n")

    assert list(zone.nodes[from_text("a.example.test.")]) == [1]


def test_the_zone_knows_serial_and_file() -> None:
    zone = zone_of("")

    assert (zone.serial, zone.file) == (7, "example.test.zone")
