"""Our query to the upstream, its reply verified, its reply made ours: bytes in, bytes out."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from resolver.forward.replies import Accept, Fail, Ignore, fit, is_referral, upstream_query, verify
from resolver.wire.constants import AD, CD, QR, RA, RD, TC
from resolver.wire.query import Query, scan

ID = 0xBEEF
UNKNOWN_OPTION = dns.edns.OptionType.make(65001)


def query_of(message: dns.message.Message, trailing: bytes = b"") -> Query:
    query = scan(message.to_wire() + trailing)
    assert isinstance(query, Query)
    return query


def ask(name: str = "www.example.org.", rtype: str = "A", **edns: int) -> dns.message.QueryMessage:
    message = dns.message.make_query(name, rtype, id=0x1234)
    if edns:
        message.use_edns(0, edns.get("flags", 0), edns.get("payload", 4096))
    return message


def answer(query: Query, *rrsets: dns.rrset.RRset, rcode: int = 0, **edns: int) -> dns.message.Message:
    """A reply as an upstream makes it: to our id, the question in lower case."""
    asked = dns.message.from_wire(query.wire, ignore_trailing=True)
    question = asked.question[0]
    reply = dns.message.make_query(question.name.to_text().lower(), question.rdtype, question.rdclass, id=ID)
    reply.flags = dns.flags.QR | dns.flags.RD | dns.flags.RA
    reply.answer.extend(rrsets)
    if edns:
        reply.use_edns(0, edns.get("flags", 0), edns.get("payload", 4096))
    reply.set_rcode(dns.rcode.Rcode.make(rcode))
    return reply


def address(name: str = "www.example.org.", count: int = 1) -> dns.rrset.RRset:
    return dns.rrset.from_text(name, 300, "IN", "A", *(f"192.0.2.{n}" for n in range(1, count + 1)))


def texts(count: int, size: int = 100) -> dns.rrset.RRset:
    return dns.rrset.from_text("www.example.org.", 300, "IN", "TXT", *(f'"{n:03d}{"x" * size}"' for n in range(count)))


def record(rtype: int, rdata: bytes, owner: bytes = b"\xc0\x0c") -> bytes:
    return owner + rtype.to_bytes(2, "big") + b"\0\1\0\0\0\x3c" + len(rdata).to_bytes(2, "big") + rdata


def opt(ttl: int = 0, options: bytes = b"") -> bytes:
    return b"\0\0\x29\x10\0" + ttl.to_bytes(4, "big") + len(options).to_bytes(2, "big") + options


def raw_reply(query: Query, counts: tuple[int, int, int], body: bytes, flags: int = 0x8180) -> bytes:
    head = b"".join(number.to_bytes(2, "big") for number in (ID, flags, 1, *counts))
    return head + query.wire[12 : query.question_end] + body


# Our query


def test_the_query_goes_upstream_as_it_came_with_an_id_of_its_own() -> None:
    query = query_of(ask("wWw.eXample.org."), trailing=b"junk")

    assert b"\xbe\xef" + query.wire[2 : query.question_end] == upstream_query(query, ID, edns0=False)


def test_its_udp_size_becomes_ours_and_all_else_in_its_opt_stays() -> None:
    """So that no answer comes in fragments."""
    message = ask()
    message.use_edns(0, dns.flags.DO, 4096, options=[dns.edns.GenericOption(UNKNOWN_OPTION, b"hello")])

    sent = dns.message.from_wire(upstream_query(query_of(message, trailing=b"junk"), ID, edns0=True))

    message.use_edns(0, dns.flags.DO, 1232, options=list(message.options))
    message.id = ID
    assert message.to_wire() == sent.to_wire()
    assert 1232 == sent.payload


def test_the_option_edns0_adds_an_opt_where_there_is_none() -> None:
    with_opt = dns.message.from_wire(upstream_query(query_of(ask(), trailing=b"junk"), ID, edns0=True))
    without = dns.message.from_wire(upstream_query(query_of(ask()), ID, edns0=False))

    assert (0, 1232, 0) == (with_opt.edns, with_opt.payload, with_opt.ednsflags)
    assert -1 == without.edns


def test_a_query_with_further_records_is_sent_as_it_came() -> None:
    """A TSIG covers all in front of it and stays last (RFC 8945 5.1)."""
    tail = record(1, b"\xc0\0\2\1") + record(250, b"\0" * 16, owner=b"\0")
    wire = ask().to_wire()
    query = scan(wire[:10] + b"\0\2" + wire[12:] + tail + b"junk")
    assert isinstance(query, Query)

    assert b"\xbe\xef" + query.wire[2:-4] == upstream_query(query, ID, edns0=True)


# What is believed


def test_a_reply_to_our_question_is_accepted_whatever_its_letter_case() -> None:
    query = query_of(ask("wWw.eXample.org."))

    assert Accept(0, False) == verify(query, ID, answer(query, address()).to_wire())
    assert Accept(3, False) == verify(query, ID, answer(query, rcode=3).to_wire() + b"junk")


def test_the_rcode_has_its_extended_bits() -> None:
    query = query_of(ask(payload=1232))

    assert Accept(16, False) == verify(query, ID, answer(query, rcode=16, payload=1232).to_wire())


def test_truncation_is_told() -> None:
    query = query_of(ask())
    reply = answer(query)
    reply.flags |= dns.flags.TC

    assert Accept(0, True) == verify(query, ID, reply.to_wire())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda wire: b"\xbe\xee" + wire[2:], Ignore("another id")),
        (lambda wire: wire[:2] + b"\x01" + wire[3:], Ignore("a query")),
        (lambda wire: wire[:2] + b"\xa1" + wire[3:], Fail("another opcode")),
        (lambda wire: wire[:12] + b"\3www\7example\3com\0" + wire[29:], Ignore("another question")),
        (lambda wire: wire[:30] + b"\x1c" + wire[31:], Ignore("another question")),
        (lambda wire: wire[:32] + b"\3" + wire[33:], Ignore("another question")),
        (lambda wire: wire[:2] + b"\x81\x80" + b"\0" * 8, Ignore("no question")),
        (lambda wire: wire[:2] + b"\x81\x82" + b"\0" * 8, Fail("an error without a question")),
        (lambda wire: wire[:4] + b"\0\2" + wire[6:], Fail("more than one question")),
        (lambda wire: wire[:-3], Fail("a record's data leave the message")),
        (lambda wire: wire[:4], Fail("shorter than a header")),
        (lambda wire: b"\0\0\0\0", Ignore("shorter than a header")),
        (lambda wire: b"", Ignore("shorter than a header")),
        (lambda wire: b"\xff" * 40, Ignore("another id")),
        (lambda wire: wire[:2] + b"\xff" * 40, Fail("another opcode")),
        (lambda wire: wire[:33] + b"\xc0\x21" + wire[35:], Fail("a compression pointer does not point backwards")),
    ],
)
def test_what_is_no_reply_to_our_question(change: object, expected: object) -> None:
    """Ignored when it may be forged, a failure when the server itself made it (RFC 5452 9.1)."""
    assert callable(change)
    query = query_of(ask())

    assert expected == verify(query, ID, change(answer(query, address()).to_wire()))


@pytest.mark.parametrize(
    ("counts", "body"),
    [
        ((0, 0, 2), opt() + opt()),
        ((1, 0, 0), opt()),
        ((0, 0, 1), b"\1x" + opt()),
        ((0, 0, 1), opt(options=b"\0\3\0\4x")),
        ((0, 0, 1), opt(options=b"\0\3\0")),
    ],
)
def test_an_opt_that_is_out_of_place_is_a_failure(counts: tuple[int, int, int], body: bytes) -> None:
    """One, at the root, in the additional section, with whole options (RFC 6891 6.1)."""
    query = query_of(ask(payload=1232))

    assert isinstance(verify(query, ID, raw_reply(query, counts, body)), Fail)


# Made ours


def test_id_question_and_rd_are_the_clients_and_ra_is_set() -> None:
    message = ask("wWw.eXample.org.")
    message.flags = dns.flags.Flag(CD)  # RD=0
    query = query_of(message)
    reply = answer(query, address())
    reply.flags = dns.flags.Flag(QR | RD)

    fitted = fit(query, reply.to_wire() + b"junk", 512)

    assert query.wire[:2] == fitted[:2]
    assert QR | RA | CD == int.from_bytes(fitted[2:4], "big")
    assert query.wire[12 : query.question_end] == fitted[12 : query.question_end]
    assert reply.to_wire()[query.question_end :] == fitted[query.question_end :]


def test_other_flags_and_ttls_stay_as_the_upstream_sent_them() -> None:
    query = query_of(ask())
    reply = answer(query, rcode=3)
    reply.flags |= dns.flags.AA | 0x0040
    reply.authority.append(
        dns.rrset.from_text("example.org.", 77, "IN", "SOA", "ns.example.org. admin.example.org. 1 2 3 4 5")
    )

    fitted = dns.message.from_wire(fit(query, reply.to_wire(), 512))

    assert (reply.flags, reply.rcode(), reply.authority) == (fitted.flags, fitted.rcode(), fitted.authority)
    assert 77 == fitted.authority[0].ttl


@pytest.mark.parametrize(
    ("client_flags", "edns_flags", "kept"), [(RD, 0, False), (RD | AD, 0, True), (RD, 0x8000, True)]
)
def test_ad_is_told_to_a_client_that_asked_for_it(client_flags: int, edns_flags: int, kept: bool) -> None:
    """RFC 6840 5.7, 5.8."""
    message = ask(payload=1232, flags=edns_flags)
    message.flags = dns.flags.Flag(client_flags)
    query = query_of(message)
    reply = answer(query, address(), payload=1232)
    reply.flags |= dns.flags.AD

    assert kept == bool(int.from_bytes(fit(query, reply.to_wire(), 1232)[2:4], "big") & AD)


def test_a_client_without_edns_gets_no_opt() -> None:
    query = query_of(ask())

    fitted = dns.message.from_wire(fit(query, answer(query, address(), payload=1232).to_wire(), 512))

    assert -1 == fitted.edns
    assert [address()] == fitted.answer


def test_an_extended_rcode_becomes_servfail_when_its_opt_goes() -> None:
    """Without its upper bits BADVERS would be NOERROR."""
    query = query_of(ask())

    fitted = dns.message.from_wire(fit(query, answer(query, rcode=16, payload=1232).to_wire(), 512))

    assert 2 == fitted.rcode()


def test_a_client_with_edns_always_gets_an_opt() -> None:
    query = query_of(ask(payload=4096, flags=0x8000))

    fitted = dns.message.from_wire(fit(query, answer(query, address()).to_wire(), 4096))

    assert (0, 1232, 0x8000) == (fitted.edns, fitted.payload, fitted.ednsflags)
    assert [address()] == fitted.answer


def test_the_upstreams_options_and_extended_rcode_stay_and_do_is_the_clients() -> None:
    query = query_of(ask(payload=4096))
    reply = answer(query, rcode=23, payload=4096)
    reply.use_edns(
        0, reply.ednsflags | 0x8000, 4096, options=[dns.edns.EDEOption(dns.edns.EDECode.NETWORK_ERROR, "net err")]
    )

    fitted = dns.message.from_wire(fit(query, reply.to_wire(), 4096))

    assert (23, 1232, reply.options) == (fitted.rcode(), fitted.payload, fitted.options)
    assert 0 == fitted.ednsflags & 0x8000


@pytest.mark.parametrize("limit", [512, 600, 1232, 4000])
@pytest.mark.parametrize("edns", [False, True])
def test_a_reply_that_is_too_large_keeps_whole_records_and_its_opt(limit: int, edns: bool) -> None:
    query = query_of(ask(rtype="TXT", payload=4096) if edns else ask(rtype="TXT"))
    reply = answer(query, texts(60), payload=4096)

    wire = reply.to_wire(max_size=65535)

    fitted = fit(query, wire, limit)
    parsed = dns.message.from_wire(fitted)

    assert limit - 120 < len(fitted) <= limit
    assert parsed.flags & TC
    assert (0 if edns else -1) == parsed.edns
    sent = dns.message.from_wire(wire).answer[0]
    assert list(sent)[: len(parsed.answer[0])] == list(parsed.answer[0])


def test_a_reply_that_lacks_only_additional_records_is_not_truncated() -> None:
    """RFC 2181 9."""
    query = query_of(ask())
    reply = answer(query, address())
    reply.additional.append(texts(10))

    parsed = dns.message.from_wire(fit(query, reply.to_wire(), 512))

    assert 0 == parsed.flags & TC
    assert [address()] == parsed.answer
    assert 0 < len(parsed.additional[0]) < 10


def test_a_referral_that_lacks_its_addresses_is_truncated() -> None:
    """RFC 9471 3."""
    query = query_of(ask())
    reply = answer(query)
    reply.authority.append(dns.rrset.from_text("example.org.", 60, "IN", "NS", "ns.example.org."))
    reply.additional.append(address("ns.example.org.", 60))

    assert dns.message.from_wire(fit(query, reply.to_wire(), 512)).flags & TC


def test_options_that_fill_the_whole_reply_go_before_the_answer_does() -> None:
    query = query_of(ask(payload=512))
    reply = answer(query, address(), payload=4096)
    reply.use_edns(0, 0, 4096, options=[dns.edns.GenericOption(UNKNOWN_OPTION, b"x" * 500)])

    parsed = dns.message.from_wire(fit(query, reply.to_wire(), 512))

    assert ([address()], (), 0) == (parsed.answer, parsed.options, parsed.flags & TC)


def test_records_behind_the_opt_keep_their_meaning() -> None:
    """What is compressed against a name behind the OPT, or may be, cannot be moved: it is additional, and left out."""
    query = query_of(ask())
    behind = (
        record(1, b"\xc0\0\2\1")
        + record(16, b"\1x", owner=b"\2ns\xc0\x10")
        + record(2, b"\2ns\xc0\x0c")
        + record(1, b"\xc0\0\2\2", owner=(0xC000 + query.question_end + 11).to_bytes(2, "big"))
        + record(28, b"\0" * 16, owner=b"\3abc\0")
    )
    reply = raw_reply(query, (0, 0, 6), opt() + behind)

    assert Accept(0, False) == verify(query, ID, reply)
    parsed = dns.message.from_wire(fit(query, reply, 512))
    assert [("www.example.org.", "A"), ("ns.example.org.", "TXT"), ("abc.", "AAAA")] == [
        (rrset.name.to_text(), dns.rdatatype.to_text(rrset.rdtype)) for rrset in parsed.additional
    ]
    assert -1 == parsed.edns


def test_an_opt_in_the_middle_is_last_for_a_client_with_edns() -> None:
    query = query_of(ask(payload=1232))
    reply = raw_reply(query, (1, 0, 2), record(1, b"\xc0\0\2\1") + opt(options=b"\0\3\0\1x") + record(1, b"\xc0\0\2\2"))

    fitted = fit(query, reply, 512)

    assert 11 + 5 == len(fitted) - fitted.rindex(b"\0\0\x29\x04\xd0")
    assert 2 == sum(
        len(rrset) for rrset in [*dns.message.from_wire(fitted).answer, *dns.message.from_wire(fitted).additional]
    )


# Any bytes

queries = st.builds(
    lambda name, rtype, edns: query_of(ask(name, rtype, **edns)),
    st.sampled_from(("www.example.org.", "wWw.ExAmPlE.oRg.", ".", "x" * 63 + ".example.")),
    st.sampled_from(("A", "AAAA", "TXT", "HTTPS", "ANY")),
    st.sampled_from(({}, {"payload": 512}, {"payload": 1232, "flags": 0x8000})),
)


def check(query: Query, reply: bytes, limit: int) -> None:
    """A verdict, and what was accepted fits."""
    if isinstance(verify(query, ID, reply), Accept):
        fitted = fit(query, reply, limit)

        assert is_referral(query, reply) in (False, True)
        assert len(fitted) <= limit
        assert query.wire[:2] == fitted[:2]
        assert query.wire[12 : query.question_end] == fitted[12 : query.question_end]
        # Accepted once more, as an upstream's, with its OPT in place.
        verdict = verify(query, ID, ID.to_bytes(2, "big") + fitted[2:])
        assert isinstance(verdict, Accept)


@given(query=queries, junk=st.binary(max_size=600))
def test_any_bytes_get_a_verdict(query: Query, junk: bytes) -> None:
    check(query, junk, 512)
    check(query, ID.to_bytes(2, "big") + junk, 512)


@given(
    query=queries,
    flags=st.integers(0, 0x87FF),
    counts=st.tuples(*[st.integers(0, 4)] * 3),
    pieces=st.lists(
        st.one_of(
            st.builds(
                record,
                st.sampled_from((1, 2, 5, 6, 16, 28, 33, 41, 46, 65)),
                st.binary(max_size=200),
                st.sampled_from((b"\xc0\x0c", b"\0", b"\1a\xc0\x0c", b"\xc0\x2e", b"\xff\xff", b"\3abc\0")),
            ),
            st.builds(opt, st.integers(0, 0xFFFFFFFF), st.binary(max_size=60)),
            st.builds(
                opt,
                st.integers(0, 0xFFFFFFFF),
                st.sampled_from((b"", b"\0\x0f\0\2\0\x16", b"\xfd\xe9\2\x58" + b"x" * 600)),
            ),
            st.binary(max_size=20),
        ),
        max_size=8,
    ),
    limit=st.sampled_from((512, 600, 1232, 65535)),
)
def test_any_records_behind_our_question_get_a_verdict(
    query: Query, flags: int, counts: tuple[int, int, int], pieces: list[bytes], limit: int
) -> None:
    check(query, raw_reply(query, counts, b"".join(pieces), flags | QR), limit)


names = st.sampled_from(
    ("www.example.org.", "ns.example.org.", "a.b.example.org.", "mail.example.com.", "WWW.example.ORG.")
)


@st.composite
def rrsets(draw: st.DrawFn) -> dns.rrset.RRset:
    rtype, rdata = draw(
        st.sampled_from(
            (
                ("A", "192.0.2.1"),
                ("AAAA", "2001:db8::1"),
                ("CNAME", "target.example.org."),
                ("MX", "10 mail.example.com."),
                ("SRV", "0 5 5060 a.b.example.org."),
                ("TXT", '"' + "x" * 200 + '"'),
                ("NS", "ns.example.org."),
                ("SOA", "ns.example.org. admin.example.com. 1 2 3 4 5"),
                ("HTTPS", "1 . alpn=h2"),
            )
        )
    )
    return dns.rrset.from_text(draw(names), draw(st.integers(0, 2**31 - 1)), "IN", rtype, rdata)


@given(
    query=queries,
    sections=st.tuples(*[st.lists(rrsets(), max_size=5)] * 3),
    edns=st.sampled_from(({}, {"payload": 4096}, {"payload": 512, "flags": 0x8000})),
    rcode=st.sampled_from((0, 2, 3, 5)),
    limit=st.sampled_from((512, 700, 1232, 65535)),
)
def test_a_fitted_reply_is_the_upstreams_as_far_as_it_goes(
    query: Query,
    sections: tuple[list[dns.rrset.RRset], list[dns.rrset.RRset], list[dns.rrset.RRset]],
    edns: dict[str, int],
    rcode: int,
    limit: int,
) -> None:
    reply = answer(query, rcode=rcode, **edns)
    assume(all(len({(rrset.name, rrset.rdtype) for rrset in section}) == len(section) for section in sections))
    reply.answer.extend(sections[0])
    reply.authority.extend(sections[1])
    reply.additional.extend(sections[2])
    wire = reply.to_wire(max_size=65535)
    assert isinstance(verify(query, ID, wire), Accept)

    fitted = fit(query, wire, limit)
    parsed = dns.message.from_wire(fitted, one_rr_per_rrset=True)
    sent = dns.message.from_wire(wire, one_rr_per_rrset=True)

    assert len(fitted) <= limit
    assert query.wire[12 : query.question_end] == fitted[12 : query.question_end]
    assert (query.edns is not None) == (parsed.edns >= 0)
    assert rcode == parsed.rcode()
    cut = False
    for ours, theirs in zip(
        (parsed.answer, parsed.authority, parsed.additional),
        (sent.answer, sent.authority, sent.additional),
        strict=True,
    ):
        assert theirs[: len(ours)] == ours
        assert not (cut and ours)
        cut = cut or len(ours) < len(theirs)
    if len(wire) + 11 <= limit:
        assert not cut


def test_options_that_are_between_the_client_and_us_go_no_further() -> None:
    """RFC 7873, RFC 7828, RFC 7830; a server that does not like a client's cookie would fail everybody's look-up."""
    unknown = dns.edns.GenericOption(UNKNOWN_OPTION, b"kept")
    message = ask()
    padding = dns.edns.GenericOption(dns.edns.OptionType.make(12), bytes(20))
    keep_alive = dns.edns.GenericOption(dns.edns.OptionType.make(11), b"")
    message.use_edns(0, options=[dns.edns.CookieOption(b"12345678", b""), unknown, padding, keep_alive])
    sent = dns.message.from_wire(upstream_query(query_of(message), ID, edns0=False))

    assert [unknown] == list(sent.options)
    assert 1232 == sent.payload


def said(*records: str, flags: str = "QR RD", rcode: int = 0, asked: str = "RD") -> tuple[Query, bytes]:
    """A query with flags, and a reply with flags whose authority section these records are."""
    message = dns.message.make_query("www.example.org.", "A", flags=dns.flags.from_text(asked))
    reply = dns.message.make_response(message)
    reply.flags = dns.flags.from_text(flags)
    reply.set_rcode(dns.rcode.Rcode.make(rcode))
    for record in records:
        section, text = (reply.answer, record[1:]) if record.startswith("=") else (reply.authority, record)
        owner, rtype, rdata = text.split(None, 2)
        section.append(dns.rrset.from_text(owner, 60, "IN", rtype, rdata))
    query = scan(message.to_wire())
    assert isinstance(query, Query)
    return query, reply.to_wire()


_SENT_ON = "org. NS ns.org."


@pytest.mark.parametrize(
    ("query_and_reply", "expected"),
    [
        (said(_SENT_ON), True),
        (said(". NS a.root-servers.net.", "example.org. DS 1 8 2 " + "00" * 32), True),
        (said(_SENT_ON, flags="QR RD RA"), False),
        (said(_SENT_ON, flags="QR AA RD"), False),
        (said(_SENT_ON, flags="QR TC RD"), False),
        (said(_SENT_ON, rcode=3), False),
        (said(_SENT_ON, asked=""), False),
        (said(_SENT_ON, "org. SOA ns.org. root.org. 1 2 3 4 5"), False),
        (said("=www.example.org. CNAME b.example.", _SENT_ON), False),
        (said("org. SOA ns.org. root.org. 1 2 3 4 5"), False),
        (said(), False),
    ],
)
def test_a_referral_neither_answers_nor_says_that_there_is_nothing(
    query_and_reply: tuple[Query, bytes], expected: bool
) -> None:
    assert expected == is_referral(*query_and_reply)
