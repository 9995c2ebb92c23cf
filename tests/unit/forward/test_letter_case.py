"""Random letter case: in the question that is sent, and nowhere in what comes back."""

from __future__ import annotations

import dns.message
import dns.name
import dns.rrset
import pytest

from resolver.forward.letter_case import Spelling, restore, spell
from resolver.wire.query import Query, scan

NAME = "www.Some-Long-Name.0123456789.example.org."


def query_for(name: str) -> Query:
    query = scan(dns.message.make_query(name, "A", use_edns=0, want_dnssec=True).to_wire())
    assert isinstance(query, Query)
    return query


def spelled(name: str) -> tuple[Query, bytes, Spelling]:
    query = query_for(name)
    sent, spelling = spell(query.wire, query.question_end)
    return query, sent, spelling


def test_only_letters_change_and_each_time_otherwise() -> None:
    query = query_for(NAME)
    sent = {spell(query.wire, query.question_end)[0] for _ in range(50)}

    assert len(sent) > 45
    for wire in sent:
        assert wire.lower() == query.wire.lower()
        other = scan(wire)
        assert isinstance(other, Query)
        assert query.key == other.key
        assert query.wire[query.question_end :] == wire[query.question_end :]


@pytest.mark.parametrize("name", [".", "0123.", "@[`{.", "a.", rf"\000\255\065.{'x' * 63}."])
def test_any_name_can_be_spelt(name: str) -> None:
    query, sent, spelling = spelled(name)

    assert sent.lower() == query.wire.lower()
    assert query.wire == restore(sent, spelling)


def test_the_reply_has_the_clients_spelling_however_it_was_made() -> None:
    """Compressed against the question, and written out in full; names below it and above it."""
    query, sent, spelling = spelled(NAME)
    reply = dns.message.make_response(dns.message.from_wire(sent))
    reply.use_edns(False)
    asked = reply.question[0].name
    parent = asked.parent()
    reply.answer.append(dns.rrset.from_text(asked, 60, "IN", "CNAME", f"x.{asked}"))
    reply.answer.append(dns.rrset.from_text(dns.name.Name((b"x", *asked.labels)), 60, "IN", "A", "192.0.2.1"))
    reply.authority.append(dns.rrset.from_text(parent, 60, "IN", "SRV", f"0 0 53 ns.{parent}"))
    for compressed in (True, False):
        wire = reply.to_wire() if compressed else uncompressed(reply)
        restored = restore(wire, spelling)

        assert restored is not None
        assert len(wire) == len(restored)
        assert str(asked).encode() not in str(dns.message.from_wire(restored)).encode()
        for rrset in (*dns.message.from_wire(restored).answer, *dns.message.from_wire(restored).authority):
            assert NAME.split(".", 1)[1] in rrset.to_text()
        assert query.wire[12 : query.question_end] == restored[12 : query.question_end]


def uncompressed(message: dns.message.Message) -> bytes:
    name = message.question[0].name.to_wire()
    assert name is not None
    wire = message.to_wire()[: 12 + len(name) + 4]
    for rrset in (*message.answer, *message.authority):
        rdata, owner = rrset[0].to_wire(), rrset.name.to_wire()
        assert rdata is not None
        assert owner is not None
        head = rrset.rdtype.to_bytes(2, "big") + b"\0\1" + (60).to_bytes(4, "big") + len(rdata).to_bytes(2, "big")
        wire += owner + head + rdata
    return wire


def test_another_spelling_is_not_taken() -> None:
    query, sent, spelling = spelled(NAME)
    if spelling.sent == spelling.meant:  # by chance, once in 2 to the 27th
        return
    assert restore(query.wire, spelling) is None
    assert restore(sent.lower(), spelling) is None


def test_short_endings_are_left_alone_in_what_is_no_name() -> None:
    """The wire form of "a." is three octets, which may be part of any signature."""
    spelling = Spelling(b"\3www\1a\0", b"\3WWW\1A\0")
    reply = bytes(12) + spelling.sent + b"\0\1\0\1" + b"\1A\0 signature"

    assert bytes(12) + spelling.meant + b"\0\1\0\1" + b"\1A\0 signature" == restore(reply, spelling)


def test_a_name_that_somebody_else_has_spelt_is_put_right_too() -> None:
    """BIND answers from its cache in the letters of whoever asked first."""
    query = dns.message.make_query("some-long-name.example.", "A")
    sent, spelling = spell(query.to_wire(), 12 + 24 + 4)
    reply = sent[:12] + sent[12:40] + b"\x0eSoMe-LOnG-NAmE\x07eXaMpLe\0" + b"\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\1"

    restored = restore(reply, spelling)

    assert restored is not None
    assert b"\x0esome-long-name\x07example\0" == restored[40:64]
