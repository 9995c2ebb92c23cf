"""Master files: what is read, by which rule, and what is said of what cannot be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.wire.constants import MX, TXT, A
from resolver.wire.name import fold, from_text
from resolver.zones.zonefile import MAX_FAULTS, ReadText, origin_of, read_zone, statements_of
from tests.unit.zones.helpers import HEAD, ask, faults_of, lines, read, zone_of


def answers(body: str, name: str, qtype: str = "A", **more: str) -> list[str]:
    return lines(ask(zone_of(body, **more), name, qtype).answer)


class TestOrigin:
    def test_a_file_is_named_after_its_zone(self) -> None:
        assert fold(from_text("example.test.")) == zone_of("", "/etc/zones/example.test.zone").apex

    def test_an_origin_at_the_top_overrides_the_name(self) -> None:
        assert fold(from_text("example.org.")) == zone_of("", head="$ORIGIN example.org.\n" + HEAD).apex

    def test_the_soa_says_where_the_apex_is(self) -> None:
        """As in dumped zones, which begin with $ORIGIN . and write the name out."""
        zone = zone_of("", "dump", "$ORIGIN test.\n$TTL 5\nExample SOA a b 1 2 3 4 5\nexample NS ns.example.org.\n")

        assert from_text("example.test.") == zone.apex

    def test_without_either_relative_names_are_a_fault(self) -> None:
        result = read({"hosts": "web 60 A 192.0.2.1\n"}, "hosts")

        assert str(result.faults[0]) == (
            "hosts:1: a name without a final dot, and nothing says what it is relative to "
            "(begin the file with $ORIGIN and the zone's name, or call it <zone>.zone)"
        )

    def test_a_relative_origin_is_below_the_present_one(self) -> None:
        """RFC 1035 5.1."""
        assert answers("$ORIGIN sub\nweb A 192.0.2.1\n", "web.sub.example.test.")

    @pytest.mark.parametrize("name", ["a b.zone", ".zone", "zone", "a..b.zone", "x.txt"])
    def test_a_name_that_names_no_zone_says_nothing(self, name: str) -> None:
        assert origin_of(name) is None


class TestTtl:
    def test_a_record_has_its_own(self) -> None:
        """RFC 1035 5.1, BIND's units."""
        assert answers("web 1h30m A 192.0.2.1\n", "web.example.test.") == ["web.example.test. 5400 A 192.0.2.1"]

    def test_else_that_of_the_directive(self) -> None:
        """RFC 2308 4."""
        assert answers("x 5 A 192.0.2.9\n$TTL 90\nweb A 192.0.2.1\n", "web.example.test.") == [
            "web.example.test. 90 A 192.0.2.1"
        ]

    def test_else_the_one_stated_last(self) -> None:
        """RFC 1035 5.1."""
        head = "@ 300 SOA ns1 hostmaster 7 3600 600 86400 60\n@ 77 NS ns.example.org.\n"

        assert answers("web A 192.0.2.1\n", "web.example.test.", head=head) == ["web.example.test. 77 A 192.0.2.1"]

    def test_else_the_minimum_of_the_soa(self) -> None:
        head = "@ SOA ns1 hostmaster 7 3600 600 86400 60\n@ NS ns.example.org.\n"

        assert answers("web A 192.0.2.1\n", "web.example.test.", head=head) == ["web.example.test. 60 A 192.0.2.1"]

    def test_before_the_soa_there_is_none(self) -> None:
        assert faults_of("", "web A 192.0.2.1\n") == [
            '1: cannot read "web A 192.0.2.1": it has no TTL (put $TTL 3600 at the top, or a TTL between name and type)'
        ]

    def test_over_31_bits_is_a_fault(self) -> None:
        """RFC 2181 8."""
        assert faults_of("web 2147483648 A 192.0.2.1\n")[0].startswith("5: a TTL of 2147483648 s is over 2147483647")


class TestStatements:
    def test_parentheses_span_lines(self) -> None:
        """RFC 1035 5.1: with comments in between."""
        head = "$TTL 60 ; a minute\n@ SOA ns1 hostmaster ( 1 ; (serial\n 2 3\n\t4 5 ) \n@ NS ns.example.org.\n"

        assert zone_of("", head=head).serial == 1

    def test_quotes_hide_marks(self) -> None:
        body = 'a TXT "( ; ) \\" x"\nb TXT a\\(b c\n'

        assert answers(body, "a.example.test.", "TXT") == ['a.example.test. 3600 TXT "( ; ) \\" x"']
        assert answers(body, "b.example.test.", "TXT") == ['b.example.test. 3600 TXT "a(b" "c"']

    def test_a_line_that_begins_with_space_is_of_the_last_owner(self) -> None:
        """RFC 1035 5.1: comments and blank lines between."""
        assert len(answers("web A 192.0.2.1\n\n; x\n   ; y\n\tA 192.0.2.2\n", "web.example.test.")) == 2

    def test_classes_ttls_and_types_come_in_either_order(self) -> None:
        """RFC 1035 5.1."""
        body = "a IN 5 A 192.0.2.1\na 5 IN A 192.0.2.2\na in a 192.0.2.3\n".replace("in a", "5 in a")

        assert len(answers(body, "a.example.test.")) == 3

    @pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
    def test_any_line_ending_will_do(self, end: str) -> None:
        text = (HEAD + "web A 192.0.2.1\n").replace("\n", end)

        assert [statement.line for statement in statements_of(text)] == [1, 2, 3, 4, 5]

    def test_unknown_types_are_kept_as_they_are(self) -> None:
        """RFC 3597 5."""
        zone = zone_of("web TYPE65280 \\# 3 010203\n")

        assert zone.nodes[from_text("web.example.test.")][65280].rdatas == (b"\1\2\3",)

    def test_odd_octets_in_names_are_kept(self) -> None:
        """RFC 1035 5.1: \\DDD and \\X."""
        zone = zone_of("a\\.b\\000 A 192.0.2.1\n")

        assert b"\x04a.b\0\7example\4test\0" in zone.nodes

    def test_other_scripts_become_ascii(self) -> None:
        """RFC 5890."""
        assert answers("bücher A 192.0.2.1\n", "xn--bcher-kva.example.test.")

    def test_records_know_their_line(self) -> None:
        zone = zone_of("web A 192.0.2.1\nweb TXT (\nx )\n")
        web = from_text("web.example.test.")

        assert [zone.place_of(web, rtype) for rtype in (A, TXT, MX)] == [
            ("example.test.zone", 5),
            ("example.test.zone", 6),
            None,
        ]


class TestGenerate:
    def test_a_range_makes_records(self) -> None:
        """BIND's $GENERATE: offset, width and base."""
        zone = zone_of("$GENERATE 1-5/2 host-${0,2,d} 60 A 192.0.2.${10}\n")

        assert lines(ask(zone, "host-05.example.test.", "A").answer) == ["host-05.example.test. 60 A 192.0.2.15"]
        assert "NXDOMAIN host-02", ask(zone, "host-02.example.test.", "A").rcode == 3

    def test_a_right_side_of_several_words_stands_in_quotes(self) -> None:
        """As BIND's manual has it: $GENERATE 1-127 HOST-$ MX "0 ."."""
        assert answers('$GENERATE 1-2 h$ MX "10 mail$"\n', "h2.example.test.", "MX") == [
            "h2.example.test. 3600 MX 10 mail2.example.test."
        ]

    def test_an_endless_range_is_a_fault(self) -> None:
        assert faults_of("$GENERATE 0-4294967295 h$ A 192.0.2.1\n") == [
            "5: $GENERATE makes more than 65536 records (use a smaller range)"
        ]


class TestInclude:
    def test_is_relative_to_the_file_that_includes(self) -> None:
        """RFC 1035 5.1 leaves it open; the working directory is nobody's business."""
        files = {
            "z/example.test.zone": HEAD + "$INCLUDE parts/a.inc\n",
            "z/parts/a.inc": "a A 192.0.2.1\n$INCLUDE ../b.inc\n",
            "z/b.inc": "b A 192.0.2.2\n$INCLUDE /abs/c.inc",
            "/abs/c.inc": "c A 192.0.2.3\n",
        }
        result = read(files, "z/example.test.zone")

        assert tuple(files) == result.files
        assert result.zone is not None
        assert result.zone.place_of(from_text("c.example.test."), A) == ("/abs/c.inc", 1)

    def test_may_set_an_origin_of_its_own(self) -> None:
        files = {"example.test.zone": HEAD + '$INCLUDE "my hosts" sub\nb A 192.0.2.2\n', "my hosts": "a A 192.0.2.1\n"}
        zone = read(files).zone

        assert zone is not None
        assert {b"a", b"b"} == {key[1:2] for key in zone.nodes if key[0] == 1}
        assert from_text("a.sub.example.test.") in zone.nodes

    def test_leaves_origin_owner_and_ttl_as_they_were(self) -> None:
        """RFC 1035 5.1: it "never changes the relative origin of the parent file"."""
        files = {
            "example.test.zone": HEAD + "web A 192.0.2.1\n$INCLUDE a.inc\n  A 192.0.2.2\n",
            "a.inc": "$ORIGIN other\n$TTL 5\nx A 192.0.2.3\n",
        }
        zone = read(files).zone

        assert zone is not None
        assert lines(ask(zone, "web.example.test.", "A").answer) == [
            "web.example.test. 3600 A 192.0.2.1",
            "web.example.test. 3600 A 192.0.2.2",
        ]

    def test_a_fault_in_it_names_its_own_line(self) -> None:
        files = {"example.test.zone": HEAD + "$INCLUDE a.inc\nweb A x\n", "a.inc": "\n\na A 192.0.2.300\n"}

        assert [(fault.place, fault.line) for fault in read(files).faults] == [("a.inc", 3), ("example.test.zone", 6)]

    def test_a_missing_one_names_the_line_and_is_known(self) -> None:
        """Known, so that it is watched and the zone comes once it is there."""
        result = read({"example.test.zone": HEAD + "$INCLUDE sub/a.inc\n"})

        assert result.files == ("example.test.zone", "sub/a.inc")
        assert [str(fault) for fault in result.faults] == [
            "example.test.zone:5: sub/a.inc cannot be read: No such file or directory "
            "(an $INCLUDE is relative to the folder of example.test.zone)"
        ]

    def test_a_circle_is_a_fault(self) -> None:
        files = {
            "example.test.zone": HEAD + "$INCLUDE ./x/../a.inc\n",
            "a.inc": "$INCLUDE b.inc\n",
            "b.inc": "$INCLUDE a.inc\n",
        }

        assert [str(fault) for fault in read(files).faults] == [
            "b.inc:1: a.inc includes itself: example.test.zone → a.inc → b.inc → a.inc (take this $INCLUDE out)"
        ]

    def test_a_tower_is_a_fault(self) -> None:
        """A circle over links has new names at every turn."""
        read_text: ReadText = lambda path: HEAD + "$INCLUDE x/a.inc\n"  # noqa: E731

        assert "is included 16 files deep" in read_zone("example.test.zone", read_text).faults[0].message

    @pytest.mark.parametrize(
        "statement", ["$INCLUDE", "$INCLUDE a b c", '$INCLUDE "a', '$INCLUDE ""', "$INCLUDE \\000"]
    )
    def test_a_malformed_one_is_a_fault(self, statement: str) -> None:
        assert faults_of(statement)[0].startswith("5: ")

    def test_an_origin_that_is_no_name_is_a_fault(self) -> None:
        files = {"example.test.zone": HEAD + "$INCLUDE a.inc x..y\n", "a.inc": ""}

        assert "empty label" in read(files).faults[0].message


class TestFaults:
    @pytest.mark.parametrize(
        ("statement", "said"),
        [
            ("w A 192.0.2.300", "it is incomplete or malformed (write it as in: web A 192.0.2.1)"),
            ("w AAAAA ::1", "there is no record type AAAAA (a record is: name [ttl] [IN] type data)"),
            ("w MX mail", "a number is missing or is none (write it as in: @ MX 10 mail)"),
            ("w CNAME", "something is missing (write it as in: www CNAME web)"),
            ("w CNAME a b", '"b" is too much (write it as in: www CNAME web)'),
            ("w CH A 192.0.2.1", "its class is not IN (leave the class out)"),
            ("a..b A 192.0.2.1", "a name has an empty label (look for two dots in a row, or one in front)"),
            ('w TXT "a', "a quotation mark is not closed (close it on the same line)"),
            ("w TXT (a", "its parenthesis is never closed (close it after the last field)"),
            ("$TTL soon", "that is no TTL (write seconds, or 1h, 1d, 1w: $TTL 3600)"),
            ("$FOO x", "there is no $FOO (there are $ORIGIN, $TTL, $INCLUDE, $GENERATE)"),
            (
                "$GENERATE 1-2 h$ MX 10 x",
                "something is missing (write: $GENERATE 1-20 host-$ A 192.0.2.$ "
                "with a right side of several words in quotation marks)",
            ),
        ],
    )
    def test_a_statement_that_cannot_be_read(self, statement: str, said: str) -> None:
        """The line, the statement, what is wrong and what to write."""
        assert [f'6: cannot read "{statement}": {said}'] == faults_of(f"ok A 192.0.2.1\n{statement}\n")

    def test_each_is_reported(self) -> None:
        """One wrong line does not hide the next."""
        assert [fault.partition(":")[0] for fault in faults_of("a A x\nb A 192.0.2.1\nc A y\n\nd A z")] == [
            "5",
            "7",
            "9",
        ]

    def test_an_open_parenthesis_is_shown_where_it_was_opened(self) -> None:
        assert faults_of("a TXT ( x\nb A 192.0.2.1\nc A 192.0.2.1\n")[0].startswith("5: ")

    def test_rules_are_checked_beside_them(self) -> None:
        faults = faults_of("a A x\nb CNAME c\nb A 192.0.2.1\n")

        assert [fault.partition(":")[0] for fault in faults] == ["5", "6"]

    def test_what_seems_missing_is_not_reported_beside_them(self) -> None:
        """The SOA may be the statement that cannot be read."""
        assert len(faults_of("", "@ 60 SOA ns1\n@ 60 NS ns1\n")) == 1

    def test_metatypes_are_refused(self) -> None:
        assert "AXFR is asked for and never stored" in faults_of("w TYPE252 \\# 0\n")[0]

    def test_after_many_the_file_is_given_up(self) -> None:
        assert len(faults_of("x\n" * 1000)) == MAX_FAULTS


WORDS = """\
@ $TTL $ORIGIN $GENERATE $INCLUDE 1-3 A MX SOA TXT HTTPS LOC NAPTR APL IN CH ANY 60 -1 4294967296 192.0.2.1 ::1 ( ) " ;
\\ \\# \\300 $ ${0,3,n} * .. ü x.example.test. TYPE0 TYPE41 \0 1h CNAME CAA SRV 0x1 DS RRSIG SVCB alpn=h2 . 2026 \\x"""
TOKENS = [*WORDS.split(), "x" * 64, "\n", "\n "]
TEXT = st.one_of(
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=80),
    st.lists(st.sampled_from([*TOKENS, *[" "] * 9]), max_size=40).map("".join),
    st.lists(st.sampled_from(TOKENS), max_size=40).map(" ".join),
)


@given(body=TEXT)
def test_any_text_is_a_zone_or_faults(body: str) -> None:
    """Never an exception, whatever stands in the file."""
    result = read({"example.test.zone": HEAD + body})

    assert (result.zone is None) == any(not fault.is_warning for fault in result.faults)
