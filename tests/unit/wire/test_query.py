"""The verdict on what a client sent, from its bytes (design.md 2.1)."""

from __future__ import annotations

import dns.edns
import dns.message
import dns.name
import pytest
from dns.rdatatype import RdataType
from hypothesis import given
from hypothesis import strategies as st

from resolver.wire.constants import CD, MAX_MESSAGE_SIZE, QR, RD
from resolver.wire.name import from_labels, from_text
from resolver.wire.query import Query, Verdict, scan
from tests.unit.asking import ID, header, opt, query, question

A_RECORD = b"\0\0\x01\0\x01\0\0\0\0\0\x04\xc0\0\x02\x01"


def verdict(wire: bytes) -> Verdict:
    found = scan(wire)
    assert isinstance(found, Verdict), found
    return found


@pytest.mark.parametrize("size", range(12))
def test_less_than_a_header_is_met_with_silence(size: int) -> None:
    """There is not even an id to answer to."""
    assert Verdict.SILENCE is verdict(header()[:size])


@pytest.mark.parametrize("opcode", [0, 4, 5, 15])
def test_a_response_is_met_with_silence(opcode: int) -> None:
    """QR=1, whatever else it is: two servers must not answer each other for ever."""
    assert Verdict.SILENCE is verdict(header(QR | opcode << 11) + question("db"))


def test_more_than_a_message_is_met_with_silence() -> None:
    assert Verdict.SILENCE is verdict(header() + question("db") + bytes(MAX_MESSAGE_SIZE))


@pytest.mark.parametrize("opcode", range(1, 16))
def test_another_opcode_is_not_implemented(opcode: int) -> None:
    """NOTIMP even when the rest cannot be read: an opcode may give it another meaning."""
    assert Verdict.NOTIMP is verdict(header(opcode << 11, questions=7) + b"\xff")


@pytest.mark.parametrize("questions", [0, 2, 3, 65535])
def test_other_than_one_question_is_a_format_error(questions: int) -> None:
    """RFC 9619."""
    assert Verdict.FORMERR is verdict(header(questions=questions) + question("db") * min(questions, 3))


@pytest.mark.parametrize("missing", range(1, len(question("db"))))
def test_a_question_that_is_cut_short_is_a_format_error(missing: int) -> None:
    assert Verdict.FORMERR is verdict(header() + question("db")[:-missing])


@pytest.mark.parametrize("label", [b"\xc0\x0c", b"\xc0\x00", b"\x40a", b"\x80a"])
def test_a_pointer_or_a_reserved_label_in_the_question_is_a_format_error(label: bytes) -> None:
    """Nothing comes before the question that it could point to (RFC 1035 4.1.4, RFC 6891 5)."""
    assert Verdict.FORMERR is verdict(header() + label + b"\0\0\x01\0\x01")
    assert Verdict.FORMERR is verdict(header() + b"\x02db" + label + b"\0\0\x01\0\x01")


def test_a_name_of_255_octets_passes_and_one_of_256_does_not() -> None:
    """RFC 1035 2.3.4."""
    labels = [b"a" * 63] * 3
    longest = from_labels([*labels, b"a" * 61])

    assert (255, longest) == (len(longest), query(longest).qname)
    assert Verdict.FORMERR is verdict(header() + question(from_labels([*labels, b"a" * 62])))


def test_a_label_of_63_octets_passes_and_one_of_64_does_not() -> None:
    """RFC 1035 2.3.4; 64 is a reserved label type."""
    assert query(from_labels([b"a" * 63])).qname == from_labels([b"a" * 63])
    assert Verdict.FORMERR is verdict(header() + question(from_labels([b"a" * 64])))


@pytest.mark.parametrize("label", [b"\xff\xfe", "bücher".encode(), b"a.b", b"a\0b", b"\0", b" ", b"\\", b"\x3f"])
def test_any_octets_may_be_in_a_label(label: bytes) -> None:
    """RFC 2181 11."""
    assert from_labels([label]) == query(from_labels([label])).qname


def test_the_root_can_be_asked() -> None:
    assert b"\0" == query(".", "NS").qname


def test_the_name_is_kept_and_folded() -> None:
    asked = query("Db.MyNet", "HTTPS")

    assert (from_text("Db.MyNet"), from_text("db.mynet"), 65, 1) == (
        asked.qname,
        asked.key,
        asked.qtype,
        asked.qclass,
    )


def test_flags_and_the_end_of_the_question_are_told() -> None:
    asked = query("db", flags=RD | CD)

    assert (RD | CD, len(asked.wire)) == (asked.flags, asked.question_end)


def test_octets_behind_the_message_are_passed_over() -> None:
    """As every server does; they are not echoed."""
    found = scan(header() + question("db") + b"trailing")

    assert isinstance(found, Query)
    assert found.wire[found.question_end :] == b"trailing"


def test_records_of_other_sections_are_passed_over() -> None:
    """An IXFR query has a SOA in its authority section; a TSIG ends the additional one."""
    found = scan(header(answers=1, authorities=1, additionals=1) + question("db") + A_RECORD * 3)

    assert isinstance(found, Query)
    assert found.edns is None


@pytest.mark.parametrize("missing", range(1, len(A_RECORD) + 1))
def test_a_record_that_is_cut_short_is_a_format_error(missing: int) -> None:
    assert Verdict.FORMERR is verdict(header(additionals=1) + question("db") + A_RECORD[:-missing])


def test_more_records_announced_than_there_are_is_a_format_error() -> None:
    assert Verdict.FORMERR is verdict(header(answers=65535, authorities=65535) + question("db") + A_RECORD)


def test_edns_is_read() -> None:
    """RFC 6891 6.1.2, RFC 3225."""
    cookie = b"\0\x0a\0\x08" + bytes(8)
    found = query("db", edns=opt(4096, version=1, do=True, rdata=cookie)).edns

    assert found is not None
    assert (4096, 1, True, True) == (found.payload, found.version, found.do, found.has_options)


def test_edns_is_found_behind_other_records() -> None:
    found = scan(header(additionals=2) + question("db") + A_RECORD + opt())

    assert isinstance(found, Query)
    assert found.edns is not None
    assert found.wire[found.edns.offset :] == opt()


def test_two_opt_records_are_a_format_error() -> None:
    """RFC 6891 6.1.1."""
    assert Verdict.FORMERR is verdict(header(additionals=2) + question("db") + opt() + opt())


@pytest.mark.parametrize("owner", [b"\x02db\0", b"\xc0\x0c"])
def test_an_opt_record_that_is_not_at_the_root_is_a_format_error(owner: bytes) -> None:
    """RFC 6891 6.1.2."""
    assert Verdict.FORMERR is verdict(header(additionals=1) + question("db") + opt(owner=owner))


@pytest.mark.parametrize("section", ["answers", "authorities"])
def test_an_opt_record_outside_the_additional_section_is_a_format_error(section: str) -> None:
    """RFC 6891 6.1.1."""
    assert Verdict.FORMERR is verdict(header(**{section: 1}) + question("db") + opt())


@pytest.mark.parametrize("rdata", [b"\0", b"\0\x0a\0", b"\0\x0a\0\x01", b"\0\x0a\0\0\0", b"\0\x0a\xff\xff" + bytes(9)])
def test_an_option_of_a_wrong_length_is_a_format_error(rdata: bytes) -> None:
    """RFC 6891 6.1.2: the rdata is a run of whole options."""
    assert Verdict.FORMERR is verdict(header(additionals=1) + question("db") + opt(rdata=rdata))


@pytest.mark.parametrize(
    ("edns", "limit"),
    [(None, 512), (0, 512), (511, 512), (512, 512), (1232, 1232), (4096, 4096), (65535, 65507)],
)
def test_the_udp_size_is_at_least_512(edns: int | None, limit: int) -> None:
    """RFC 6891 6.2.3; and no more than fits a datagram."""
    assert limit == query("db", edns=None if edns is None else opt(edns)).udp_limit()


@given(
    labels=st.lists(st.binary(min_size=1, max_size=20), max_size=5),
    rtype=st.integers(0, 65535),
    use_edns=st.booleans(),
    options=st.lists(st.tuples(st.integers(0, 65535), st.binary(max_size=12)), max_size=3),
)
def test_what_dnspython_composes_is_read(
    labels: list[bytes], rtype: int, use_edns: bool, options: list[tuple[int, bytes]]
) -> None:
    message = dns.message.make_query(dns.name.Name([*labels, b""]), RdataType.make(rtype), id=ID)
    if use_edns:
        message.use_edns(
            0,
            payload=1400,
            options=[dns.edns.GenericOption(dns.edns.OptionType.make(code), data) for code, data in options],
        )
    found = scan(message.to_wire())

    assert isinstance(found, Query)
    assert (from_labels(labels), rtype, use_edns) == (found.qname, found.qtype, found.edns is not None)


@given(st.binary(max_size=80))
def test_any_bytes_have_a_verdict(wire: bytes) -> None:
    scan(wire)
    scan(header(additionals=1) + wire)
    scan(header(additionals=2) + question("db") + wire)
