"""The look-up in a zone, one promise a test. The differential test beside it has the breadth; here are the reasons."""

from __future__ import annotations

from resolver.wire.constants import SOA
from resolver.wire.name import fold, from_text
from resolver.zones.model import MAX_LINKS, Found, Zone, ZoneSet
from tests.unit.zones.helpers import ask, lines, rcode, zone_of

NEGATIVE_SOA = ["example.test. 60 SOA ns1.example.test. hostmaster.example.test. 7 3600 600 86400 60"]


def both(zones: ZoneSet, qname: str, qtype: int) -> Found:
    name = from_text(qname)
    found = zones.find(fold(name), name, qtype)
    assert found is not None
    return found


def test_an_exact_name_is_answered_with_authority() -> None:
    """RFC 1034 4.3.2 step 3a."""
    found = ask(zone_of("web A 192.0.2.1\nweb A 192.0.2.2\n"), "web.example.test.", "A")

    assert Found(0, found.answer) == found
    assert lines(found.answer) == ["web.example.test. 3600 A 192.0.2.1", "web.example.test. 3600 A 192.0.2.2"]


def test_the_owner_keeps_the_letters_of_the_client() -> None:
    """RFC 4343: compared without case, answered as asked."""
    found = ask(zone_of("Web A 192.0.2.1\n"), "wEB.eXample.TEST.", "A")

    assert lines(found.answer) == ["wEB.eXample.TEST. 3600 A 192.0.2.1"]


def test_the_soa_of_a_negative_answer_keeps_them_too() -> None:
    found = ask(zone_of(""), "no.eXample.TEST.", "A")

    assert [NEGATIVE_SOA[0].replace("example.test. 60", "eXample.TEST. 60")] == lines(found.authority)


def test_a_missing_name_is_nxdomain_with_soa() -> None:
    """RFC 2308 2.1; the SOA's TTL is at most its MINIMUM (3)."""
    found = ask(zone_of(""), "no.example.test.", "A")

    assert (rcode(found), found.authoritative) == ("NXDOMAIN", True)
    assert lines(found.authority) == NEGATIVE_SOA


def test_a_negative_answer_lives_no_longer_than_the_soa() -> None:
    """RFC 2308 3: the lower of the SOA's TTL and MINIMUM."""
    zone = zone_of("", head="@ 30 SOA ns1 hostmaster 7 3600 600 86400 60\n@ NS ns1.example.org.\n")

    assert (zone.negative_soa.ttl, zone.soa.ttl) == (30, 30)


def test_the_soa_asked_for_has_its_own_ttl() -> None:
    found = ask(zone_of(""), "example.test.", "SOA")

    assert (found.answer[0].rtype, found.answer[0].ttl) == (SOA, 3600)


def test_a_name_without_the_type_is_nodata_with_soa() -> None:
    """RFC 2308 2.2."""
    found = ask(zone_of("web A 192.0.2.1\n"), "web.example.test.", "AAAA")

    assert (rcode(found), found.answer) == ("NOERROR", ())
    assert lines(found.authority) == NEGATIVE_SOA


def test_an_empty_non_terminal_is_nodata() -> None:
    """RFC 4592 2.2.2: it exists, as there is a name below it."""
    zone = zone_of("a.b.c A 192.0.2.1\n")

    assert [rcode(ask(zone, name, "A")) for name in ("c.example.test.", "b.c.example.test.", "x.c.example.test.")] == [
        "NOERROR",
        "NOERROR",
        "NXDOMAIN",
    ]


def test_a_wildcard_answers_for_what_does_not_exist() -> None:
    """RFC 4592 3.3.1, several labels deep as well."""
    found = ask(zone_of("*.w A 192.0.2.1\n"), "A.b.w.example.test.", "A")

    assert lines(found.answer) == ["A.b.w.example.test. 3600 A 192.0.2.1"]


def test_a_wildcard_does_not_answer_for_what_exists() -> None:
    """RFC 4592 2.2.1: nor for what is below an existing name."""
    zone = zone_of("*.w A 192.0.2.1\nhost.w TXT x\na.ent.w TXT x\n")

    assert [
        (rcode(found), len(found.answer))
        for found in (ask(zone, name + ".w.example.test.", "A") for name in ("host", "x.host", "ent", "x.ent"))
    ] == [("NOERROR", 0), ("NXDOMAIN", 0), ("NOERROR", 0), ("NXDOMAIN", 0)]


def test_a_wildcard_without_the_type_is_nodata() -> None:
    """RFC 4592 2.2.1."""
    found = ask(zone_of("*.w A 192.0.2.1\n"), "x.w.example.test.", "MX")

    assert (rcode(found), lines(found.authority)) == ("NOERROR", NEGATIVE_SOA)


def test_an_alias_is_followed_inside_the_zone() -> None:
    """RFC 1034 4.3.2 step 3a; the target keeps the letters that the alias has."""
    found = ask(zone_of("www CNAME WEB\nweb A 192.0.2.1\n"), "www.example.test.", "A")

    assert lines(found.answer) == [
        "www.example.test. 3600 CNAME WEB.example.test.",
        "WEB.example.test. 3600 A 192.0.2.1",
    ]
    assert found.cname_target is None


def test_an_alias_asked_for_is_not_followed() -> None:
    found = ask(zone_of("www CNAME web.example.org.\n"), "www.example.test.", "CNAME")

    assert (lines(found.answer), found.cname_target) == (["www.example.test. 3600 CNAME web.example.org."], None)


def test_an_alias_out_of_the_zone_says_where_to_go_on() -> None:
    found = ask(zone_of("www CNAME Web.example.org.\n"), "www.example.test.", "A")

    assert from_text("Web.example.org.") == found.cname_target
    assert (rcode(found), found.authority, found.authoritative) == ("NOERROR", (), True)


def test_the_rcode_is_that_of_the_last_name() -> None:
    """RFC 6604 2: NXDOMAIN behind an alias."""
    found = ask(zone_of("www CNAME no\n"), "www.example.test.", "A")

    assert (rcode(found), len(found.answer), lines(found.authority)) == ("NXDOMAIN", 1, NEGATIVE_SOA)


def test_aliases_in_a_circle_are_an_error() -> None:
    """RFC 1034 3.6.2: "CNAME loops [should be] signalled as an error"."""
    found = ask(zone_of("a CNAME b\nb CNAME c\nc CNAME a\n"), "a.example.test.", "A")

    assert (rcode(found), len(found.answer)) == ("SERVFAIL", 3)
    assert found.ede is not None


def test_sixteen_links_are_followed_and_no_more() -> None:
    def chain(links: int) -> str:
        return "".join(f"a{i} CNAME a{i + 1}\n" for i in range(links)) + f"a{links} A 192.0.2.1\n"

    assert [rcode(ask(zone_of(chain(links)), "a0.example.test.", "A")) for links in (MAX_LINKS - 1, MAX_LINKS)] == [
        "NOERROR",
        "SERVFAIL",
    ]


def test_a_wildcard_that_answers_its_own_target_ends() -> None:
    found = ask(zone_of("*.w CNAME x.w\n"), "y.w.example.test.", "A")

    assert rcode(found) == "SERVFAIL"


def test_a_dname_makes_an_alias() -> None:
    """RFC 6672 2.2, 3.1: the DNAME, and a CNAME made of it with its TTL."""
    found = ask(zone_of("old 60 DNAME new\nhost.new A 192.0.2.1\n"), "Host.old.example.test.", "A")

    assert lines(found.answer) == [
        "old.example.test. 60 DNAME new.example.test.",
        "Host.old.example.test. 60 CNAME Host.new.example.test.",
        "Host.new.example.test. 3600 A 192.0.2.1",
    ]


def test_a_dname_does_not_redirect_its_own_name() -> None:
    """RFC 6672 2.3: data at the owner is answered."""
    found = ask(zone_of("old DNAME new\nold A 192.0.2.1\n"), "old.example.test.", "A")

    assert lines(found.answer) == ["old.example.test. 3600 A 192.0.2.1"]


def test_a_dname_at_the_apex_redirects_all_below() -> None:
    found = ask(
        zone_of("@ DNAME example.org.\n", head="$TTL 60\n@ SOA a b 1 2 3 4 5\n@ NS ns.example.org.\n"),
        "x.example.test.",
        "A",
    )

    assert from_text("x.example.org.") == found.cname_target


def test_a_redirected_name_that_is_too_long_is_yxdomain() -> None:
    """RFC 6672 3.2 step 3c: over 255 octets."""
    zone = zone_of(f"old DNAME {'n' * 60}\n")
    labels = ".".join(["p" * 50] * 4)

    assert rcode(ask(zone, f"{labels}.old.example.test.", "A")) == "YXDOMAIN"


def test_a_delegated_name_is_referred() -> None:
    """RFC 1034 4.3.2 step 3b: NS in authority, glue in additional, not authoritative."""
    zone = zone_of("child NS ns.child\nchild NS ns.example.org.\nns.child A 192.0.2.54\n")
    found = ask(zone, "www.child.example.test.", "A")

    assert (rcode(found), found.answer, found.authoritative, found.is_referral) == ("NOERROR", (), False, True)
    assert lines(found.authority) == [
        "child.example.test. 3600 NS ns.child.example.test.",
        "child.example.test. 3600 NS ns.example.org.",
    ]
    assert lines(found.additional) == ["ns.child.example.test. 3600 A 192.0.2.54"]


def test_glue_is_not_answered_from() -> None:
    """RFC 2181 5.4.1: it is the child's to answer."""
    found = ask(zone_of("child NS ns.child\nns.child A 192.0.2.54\n"), "ns.child.example.test.", "A")

    assert found.is_referral


def test_the_highest_delegation_decides() -> None:
    zone = zone_of("child NS ns1\na.b.child NS ns1\n")

    assert lines(ask(zone, "x.a.b.child.example.test.", "A").authority) == [
        "child.example.test. 3600 NS ns1.example.test."
    ]


def test_ds_at_the_cut_is_the_parents() -> None:
    """RFC 4035 3.1.4.1."""
    zone = zone_of(f"child NS ns1\nchild DS 1 8 2 {'ab' * 32}\nbare NS ns1\n")

    assert [
        (found.authoritative, len(found.answer), len(found.authority))
        for found in (ask(zone, "child.example.test.", "DS"), ask(zone, "bare.example.test.", "DS"))
    ] == [(True, 1, 0), (True, 0, 1)]


def test_an_alias_into_a_delegation_is_a_referral_and_goes_on() -> None:
    found = ask(zone_of("child NS ns1\nwww CNAME web.child\n"), "www.example.test.", "A")

    assert (True, True, from_text("web.child.example.test.")) == (
        found.authoritative,
        found.is_referral,
        found.cname_target,
    )


def test_any_gets_one_small_rrset() -> None:
    """RFC 8482 4.1."""
    found = ask(
        zone_of("web A 192.0.2.1\nweb A 192.0.2.2\nweb AAAA 2001:db8::1\nweb TXT x\n"), "web.example.test.", "ANY"
    )

    assert lines(found.answer) == ['web.example.test. 3600 TXT "x"']


def test_any_at_an_empty_non_terminal_is_nodata() -> None:
    found = ask(zone_of("a.b A 192.0.2.1\n"), "b.example.test.", "ANY")

    assert (rcode(found), lines(found.authority)) == ("NOERROR", NEGATIVE_SOA)


def test_addresses_of_targets_go_along() -> None:
    """RFC 1035 3.3.9, RFC 2782: of MX and SRV, each once; of targets elsewhere none."""
    zone = zone_of(
        "@ MX 10 mail\n@ MX 20 MAIL\n@ MX 30 mx.example.org.\nmail A 192.0.2.25\nmail AAAA 2001:db8::25\n"
        "_x._tcp SRV 0 0 80 mail\n"
    )
    addresses = ["mail.example.test. 3600 A 192.0.2.25", "mail.example.test. 3600 AAAA 2001:db8::25"]

    assert addresses == lines(ask(zone, "example.test.", "MX").additional)
    assert addresses == lines(ask(zone, "_x._tcp.example.test.", "SRV").additional)


def test_a_null_mx_brings_no_address() -> None:
    """RFC 7505 3."""
    assert ask(zone_of("web MX 0 .\nweb A 192.0.2.1\n"), "web.example.test.", "MX").additional == ()


def test_https_of_the_name_itself_brings_its_addresses() -> None:
    """RFC 9460 2.5.2, 4.1: the target "." is the owner."""
    found = ask(zone_of("web HTTPS 1 . alpn=h2\nweb A 192.0.2.1\n"), "web.example.test.", "HTTPS")

    assert lines(found.additional) == ["web.example.test. 3600 A 192.0.2.1"]


def test_a_zone_may_be_the_root() -> None:
    zone = zone_of(
        "test NS ns.example.org.\nlan A 192.0.2.1\n", "root", "$ORIGIN .\n$TTL 5\n@ SOA a b 1 2 3 4 5\n@ NS lan\n"
    )

    assert [len(ask(zone, name, "A").answer) for name in ("lan.", "x.test.")] == [1, 0]
    assert rcode(ask(zone, "org.", "A")) == "NXDOMAIN"


class TestZoneSet:
    parent = zone_of(
        "bare NS ns1\nchild NS ns1\nto CNAME www.child\nover CNAME b.example.org.\nx CNAME y.example.org.\n"
    )
    child = zone_of("www A 192.0.2.1\n", "child.example.test.zone")
    other = zone_of(
        "b CNAME www.child.example.test.\nc CNAME c.example.net.\n"
        "d CNAME www.bare.example.test.\ny CNAME x.example.test.\n",
        "example.org.zone",
    )
    zones = ZoneSet([parent, child, other])

    def found_apex(self, name: str) -> str | None:
        zone: Zone | None = self.zones.zone_for(fold(from_text(name)))
        return None if zone is None else zone.file

    def test_the_longest_apex_is_in_charge(self) -> None:
        assert [
            self.found_apex(name) for name in ("a.Child.example.test.", "xchild.example.test.", "example.net.")
        ] == ["child.example.test.zone", "example.test.zone", None]

    def test_nothing_of_ours_is_none(self) -> None:
        name = from_text("example.net.")

        assert self.zones.find(name, name, 1) is None
        assert ZoneSet().zone_for(name) is None

    def test_aliases_are_followed_from_zone_to_zone(self) -> None:
        found = both(self.zones, "over.example.test.", 1)

        assert lines(found.answer) == [
            "over.example.test. 3600 CNAME b.example.org.",
            "b.example.org. 3600 CNAME www.child.example.test.",
            "www.child.example.test. 3600 A 192.0.2.1",
        ]
        assert (found.cname_target, found.is_referral, found.authority) == (None, False, ())

    def test_an_alias_into_a_child_zone_of_ours_is_answered(self) -> None:
        found = both(self.zones, "to.example.test.", 1)

        assert (len(found.answer), found.is_referral, found.authoritative) == (2, False, True)

    def test_an_alias_into_a_delegation_of_another_zone_goes_on(self) -> None:
        found = both(self.zones, "d.example.org.", 1)

        assert (found.is_referral, found.authoritative, len(found.answer)) == (True, True, 1)
        assert found.cname_target == from_text("www.bare.example.test.")

    def test_what_leaves_all_zones_says_where(self) -> None:
        found = both(self.zones, "c.example.org.", 1)

        assert from_text("c.example.net.") == found.cname_target

    def test_a_circle_over_zones_is_an_error(self) -> None:
        assert both(self.zones, "x.example.test.", 1).rcode == 2

    def test_ds_of_a_child_is_asked_of_the_parent(self) -> None:
        """RFC 4035 3.1.4.1: also where the server has both zones."""
        assert lines(both(self.zones, "child.example.test.", 43).authority) == NEGATIVE_SOA

    def test_zones_can_be_counted_and_listed(self) -> None:
        assert (3, [self.parent, self.child, self.other]) == (len(self.zones), list(self.zones))
