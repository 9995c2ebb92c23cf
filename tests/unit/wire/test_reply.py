"""Replies as bytes: what is echoed, what is cut, in which order; dnspython is the judge (design.md 2, flags)."""

from __future__ import annotations

import ipaddress
from collections import Counter

import dns.edns
import dns.flags
import dns.message
import dns.name
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.wire.constants import AA, AD, BADVERS, CD, EDE_PROHIBITED, NOERROR, QR, RA, RD, SERVFAIL, TC, TXT, A
from resolver.wire.name import WireName, from_labels, from_text
from resolver.wire.query import Query
from resolver.wire.reply import Answer, compose, error_reply, pack
from resolver.wire.rrset import RRset, soa_rrset
from tests.unit.asking import ID, header, lines, opt, query, question

DB = from_text("db")
Z = 0x0040


def a_rrset(count: int, owner: WireName = DB, ttl: int = 600) -> RRset:
    return RRset(owner, A, ttl, tuple((0xC0000200 + number).to_bytes(4, "big") for number in range(count)))


def read(wire: bytes) -> dns.message.Message:
    return dns.message.from_wire(wire, one_rr_per_rrset=False)


def told(asked: Query, answer: Answer, limit: int = 65535) -> dns.message.Message:
    wire = compose(asked, answer, limit)
    assert len(wire) <= limit
    return read(wire)


def first_addresses(variants: tuple[bytes, ...]) -> list[str]:
    return [lines(read(b"\0\0" + variant).answer)[0] for variant in variants]


@pytest.mark.parametrize("flags", [0, RD, CD, RD | CD])
def test_rd_and_cd_are_echoed(flags: int) -> None:
    reply = told(query("db", flags=flags), Answer(NOERROR, (a_rrset(1),)))

    assert QR | RA | flags == reply.flags


def test_no_other_bit_of_the_query_is_echoed() -> None:
    """AD=0: nothing was validated; Z must be zero; AA, TC and RA are not the client's to say."""
    assert QR | RA == told(query("db", flags=AA | TC | RA | AD | Z | 0xF), Answer(NOERROR)).flags


def test_aa_is_as_the_answer_says() -> None:
    assert QR | AA | RA | RD == told(query("db"), Answer(NOERROR, authoritative=True)).flags


def test_id_question_and_letter_case_are_echoed() -> None:
    reply = told(query("dB", "A"), Answer(NOERROR, (a_rrset(1, from_text("dB")),)))

    assert (ID, "dB. IN A", ["dB. 600 A 192.0.2.0"]) == (reply.id, reply.question[0].to_text(), lines(reply.answer))


@given(st.lists(st.binary(min_size=1, max_size=63), max_size=3), st.integers(0, 65535), st.integers(0, 65535))
def test_any_question_comes_back_octet_by_octet(labels: list[bytes], rtype: int, rclass: int) -> None:
    asked = query(from_labels(labels), rtype, rclass=rclass)
    reply = compose(asked, Answer(SERVFAIL), 512)

    assert question(from_labels(labels), rtype, rclass) == reply[12:]


def test_octets_behind_the_question_are_not_echoed() -> None:
    asked = query("db", edns=opt() + b"trailing")

    assert b"trailing" not in compose(asked, Answer(NOERROR), 512)


def test_without_edns_there_is_no_opt_record() -> None:
    """RFC 6891 7."""
    assert -1 == told(query("db"), Answer(SERVFAIL, ede=(EDE_PROHIBITED, "x"))).edns


@pytest.mark.parametrize("do", [False, True])
def test_an_edns_query_gets_an_opt_record_with_our_size_and_its_do(do: bool) -> None:
    """RFC 6891 6.1.1, RFC 3225 3."""
    reply = told(query("db", edns=opt(4096, do=do)), Answer(NOERROR, (a_rrset(1),)))

    assert (0, 1232, dns.flags.DO if do else 0) == (reply.edns, reply.payload, reply.ednsflags)


def test_options_of_the_client_are_not_echoed() -> None:
    """RFC 7873 5.2.3: a server without cookies says nothing of them."""
    assert () == told(query("db", edns=opt(rdata=b"\0\x0a\0\x08" + bytes(8))), Answer(NOERROR)).options


def test_badvers_is_split_between_header_and_opt() -> None:
    """RFC 6891 6.1.3: the version that we speak goes along."""
    reply = told(query("db", edns=opt(version=1)), Answer(BADVERS))

    assert (16, 0) == (reply.rcode(), reply.edns)


def test_the_extended_error_goes_in_the_opt_record() -> None:
    """RFC 8914."""
    (option,) = told(query("db", edns=opt()), Answer(SERVFAIL, ede=(EDE_PROHIBITED, "not for you"))).options

    assert isinstance(option, dns.edns.EDEOption)
    assert (EDE_PROHIBITED, "not for you") == (option.code, option.text)


@pytest.mark.parametrize("flags", [0, RD, CD | RD, 2 << 11 | RD | AD | AA])
def test_an_error_without_question_echoes_id_opcode_rd_and_cd(flags: int) -> None:
    reply = error_reply(header(flags) + b"rest", 4)

    assert ID.to_bytes(2, "big") + (QR | RA | flags & (0x7800 | RD | CD) | 4).to_bytes(2, "big") + bytes(8) == reply


def test_what_fits_is_whole() -> None:
    answer = Answer(NOERROR, (a_rrset(3),), (soa_rrset(DB, 1, 10),), (a_rrset(2, from_text("x.db")),))
    size = len(compose(query("db"), answer, 65535))
    reply = told(query("db"), answer, size)

    assert [3, 1, 2] == [len(lines(section)) for section in (reply.answer, reply.authority, reply.additional)]
    assert not reply.flags & TC


def test_an_answer_that_is_cut_has_tc_and_what_fits() -> None:
    """RFC 1035 4.1.1."""
    reply = told(query("db"), Answer(NOERROR, (a_rrset(40),)), 512)

    assert reply.flags & TC
    assert len(lines(reply.answer)) == (512 - 12 - len(question("db"))) // 16


def test_a_cut_authority_has_tc() -> None:
    answer = Answer(NOERROR, authority=(RRset(DB, TXT, 1, (b"\xff" + bytes(255),) * 2),))

    assert told(query("db"), answer, 512).flags & TC


def test_additional_records_are_left_out_without_tc() -> None:
    """RFC 2181 9."""
    answer = Answer(NOERROR, (a_rrset(20),), additional=(a_rrset(20, from_text("x.db")),))
    reply = told(query("db"), answer, 512)

    assert (20, 0, 0) == (len(lines(reply.answer)), len(reply.additional), reply.flags & TC)


def test_an_additional_rrset_is_whole_or_left_out() -> None:
    """RFC 2181 9: with TC clear a client takes what is there for all there is."""
    one, other = from_text("x.db"), from_text("y.db")
    answer = Answer(NOERROR, (a_rrset(1),), additional=(a_rrset(3, one), a_rrset(40, other)))
    reply = told(query("db"), answer, 512)

    assert (["x.db."], 3) == ([rrset.name.to_text() for rrset in reply.additional], len(lines(reply.additional)))
    assert not reply.flags & TC


def test_the_opt_record_stays_when_records_are_cut() -> None:
    """RFC 6891 7."""
    reply = told(query("db", edns=opt(512)), Answer(NOERROR, (a_rrset(40),)), 512)

    assert (0, True) == (reply.edns, bool(reply.flags & TC))


def test_a_message_beyond_64_kib_is_cut_in_every_order() -> None:
    """And no order is without an answer."""
    packed = pack(query("db"), Answer(NOERROR, (a_rrset(6000),)), 65535, 4)

    assert packed.truncated
    assert all(len(variant) <= 65533 and len(read(b"\0\0" + variant).answer[0]) > 4000 for variant in packed.variants)


def test_owners_behind_16_kib_are_right() -> None:
    """RFC 1035 4.1.4: a pointer has 14 bits."""
    names = [from_text(f"{number:04}.x{number % 7}.example.org") for number in range(1000)]
    answer = Answer(NOERROR, tuple(a_rrset(1, name) for name in names))
    reply = told(query("db"), answer)

    assert [dns.name.from_wire(name, 0)[0] for name in names] == [rrset.name for rrset in reply.answer]


@pytest.mark.parametrize("count", range(1, 17))
def test_each_address_is_first_once_in_a_cycle(count: int) -> None:
    variants = pack(query("db"), Answer(NOERROR, (a_rrset(count),)), 65535, 16).variants

    assert Counter(lines(read(compose(query("db"), Answer(NOERROR, (a_rrset(count),)), 65535)).answer)) == Counter(
        first_addresses(variants)
    )


@given(st.integers(1, 40), st.integers(1, 20))
def test_each_order_has_the_same_set(count: int, most: int) -> None:
    variants = pack(query("db"), Answer(NOERROR, (a_rrset(count),)), 65535, most).variants
    sets = {frozenset(lines(read(b"\0\0" + variant).answer)) for variant in variants}

    assert (1, count) == (len(sets), len(sets.pop()))
    assert len(variants) <= most
    assert len(set(first_addresses(variants))) == len(variants)


def test_truncated_orders_show_every_address_in_turn() -> None:
    variants = pack(query("db"), Answer(NOERROR, (a_rrset(40),)), 512, 40).variants
    shown = {line for variant in variants for line in lines(read(b"\0\0" + variant).answer)}

    assert 40 == len(shown)


def test_records_of_another_owner_keep_their_order() -> None:
    """All but the first point at its name, so it must stay in front of them."""
    assert 1 == len(pack(query("db"), Answer(NOERROR, (a_rrset(3, from_text("web")),)), 65535, 16).variants)


def test_a_chain_keeps_its_order() -> None:
    """RFC 1034 4.3.2: the CNAME comes before what it leads to."""
    alias = RRset(DB, 5, 1, (bytes(from_text("web")),))
    packed = pack(query("db"), Answer(NOERROR, (alias, a_rrset(3, from_text("web")))), 65535, 16)

    assert 1 == len(packed.variants)


NAMES = st.lists(st.sampled_from([b"a", b"B", b"example", b"\xff\0."]), max_size=4).map(from_labels)
RRSETS = st.lists(
    st.builds(
        lambda owner, rtype, ttl, size, count: RRset(
            owner, rtype, ttl, tuple(bytes([number]) * size for number in range(count))
        ),
        NAMES,
        st.sampled_from([65280, 65281]),
        st.integers(0, 2**31 - 1),
        st.integers(1, 90),
        st.integers(1, 8),
    ),
    max_size=4,
    unique_by=lambda rrset: (rrset.owner.lower(), rrset.rtype),
).map(tuple)


@given(
    qname=NAMES,
    edns=st.none() | st.integers(0, 5000),
    sections=st.tuples(RRSETS, RRSETS, RRSETS),
    limit=st.integers(512, 4000),
    most=st.integers(1, 16),
)
def test_whatever_is_packed_is_within_the_limit_and_reads_back(
    qname: WireName,
    edns: int | None,
    sections: tuple[tuple[RRset, ...], tuple[RRset, ...], tuple[RRset, ...]],
    limit: int,
    most: int,
) -> None:
    """TC is set exactly when answer or authority lack a record; what is there is in its order."""
    answer = Answer(NOERROR, *sections)
    packed = pack(query(qname, 65280, edns=None if edns is None else opt(edns)), answer, limit, most)
    expected = [[flat for rrset in section for flat in flattened(rrset)] for section in sections]

    for turn, variant in enumerate(packed.variants):
        wire = b"\0\0" + variant
        reply = dns.message.from_wire(wire, one_rr_per_rrset=True)
        found = [
            [
                (rrset.name.to_wire(), int(rrset.rdtype), rrset.ttl, rdata.to_wire())
                for rrset in section
                for rdata in rrset
            ]
            for section in (reply.answer, reply.authority, reply.additional)
        ]
        assert len(wire) <= limit
        assert (reply.edns == 0) == (edns is not None)
        assert bool(reply.flags & dns.flags.TC) == packed.truncated
        assert packed.truncated == (len(found[0]) < len(expected[0]) or len(found[1]) < len(expected[1]))
        assert all(len(part) <= len(whole) for part, whole in zip(found, expected, strict=True))
        if turn == 0:
            assert all(part == whole[: len(part)] for part, whole in zip(found, expected, strict=True))
        assert set(found[0]) <= set(expected[0])


def flattened(rrset: RRset) -> list[tuple[bytes, int, int, bytes]]:
    return [(bytes(rrset.owner), rrset.rtype, rrset.ttl, rdata) for rdata in rrset.rdatas]


def test_addresses_are_in_the_order_given() -> None:
    addresses = [str(ipaddress.ip_address(0xC0000200 + number)) for number in range(3)]

    assert [f"db. 600 A {address}" for address in addresses] == lines(
        told(query("db"), Answer(NOERROR, (a_rrset(3),))).answer
    )
