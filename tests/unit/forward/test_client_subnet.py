"""A client's word on where it is (RFC 7871): off the query, off the key, and never made up in a reply."""

from __future__ import annotations

import dns.edns
import dns.message
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.forward.forwarder import no_namespace
from resolver.forward.replies import fit, without_client_subnet
from resolver.forward.shared import key_of
from resolver.forward.upstreams import Upstream
from resolver.wire.query import Query, scan
from tests.unit.asking import header, opt, question

UPSTREAMS = (Upstream("192.0.2.53"),)
SUBNET = dns.edns.ECSOption("192.0.2.0", 24)
NOTHING_TOLD = dns.edns.ECSOption("0.0.0.0", 0)
NSID = dns.edns.GenericOption(dns.edns.OptionType.NSID, b"")
COOKIE = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")


def query_of(*options: dns.edns.Option) -> Query:
    message = dns.message.make_query("www.example.", "A", use_edns=0, payload=1400, options=list(options), id=7)
    query = scan(message.to_wire())
    assert isinstance(query, Query)
    return query


def codes(message: bytes) -> list[int]:
    return [int(option.otype) for option in dns.message.from_wire(message).options]


@pytest.mark.parametrize("subnet", [SUBNET, NOTHING_TOLD], ids=["a subnet", "source prefix 0"])
def test_a_query_without_it_is_as_anybodys(subnet: dns.edns.Option) -> None:
    stripped = without_client_subnet(query_of(subnet))

    assert stripped.wire == query_of().wire
    assert key_of(stripped, UPSTREAMS, no_namespace) == key_of(query_of(), UPSTREAMS, no_namespace) is not None


def test_other_options_stay() -> None:
    assert query_of(COOKIE, NSID).wire == without_client_subnet(query_of(COOKIE, SUBNET, NSID, SUBNET)).wire


def test_with_it_nothing_is_shared() -> None:
    assert key_of(query_of(SUBNET), UPSTREAMS, no_namespace) is None


def test_a_query_without_options_and_one_that_may_be_signed_are_left_alone() -> None:
    plain = query_of()
    ecs = b"\0\x08\0\x07\0\x01\x18\0\xc0\0\x02"
    other = b"\0\0\x01\0\x01\0\0\0\0\0\0"  # a record behind the OPT, where a TSIG would be
    signed = scan(header(additionals=2) + question("www.example") + opt(rdata=ecs) + other)

    assert without_client_subnet(plain) is plain
    assert isinstance(signed, Query)
    assert without_client_subnet(signed) is signed


@given(st.lists(st.tuples(st.integers(0, 65535), st.binary(max_size=20)), max_size=6))
def test_whatever_the_options_the_others_stay_as_they_are(options: list[tuple[int, bytes]]) -> None:
    def rdata(kept: list[tuple[int, bytes]]) -> bytes:
        return b"".join(code.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data for code, data in kept)

    query = scan(header(additionals=1) + question("www.example") + opt(rdata=rdata(options)))
    assert isinstance(query, Query)
    rest = [(code, data) for code, data in options if code != 8]

    assert header(additionals=1) + question("www.example") + opt(rdata=rdata(rest)) == without_client_subnet(query).wire


def reply_with(*options: dns.edns.Option) -> bytes:
    reply = dns.message.make_response(dns.message.from_wire(query_of().wire), recursion_available=True)
    reply.answer.append(dns.rrset.from_text("www.example.", 60, "IN", "A", "192.0.2.1"))
    reply.use_edns(0, options=list(options))
    return reply.to_wire()


def test_a_reply_has_a_subnet_only_for_who_sent_one() -> None:
    """RFC 7871 7.2.2: a resolver that does not speak it says nothing of it."""
    reply = reply_with(SUBNET, NSID)

    assert [3] == codes(fit(query_of(), reply, 4096))
    assert [3] == codes(fit(query_of(NSID), reply, 4096))
    assert [8, 3] == codes(fit(query_of(SUBNET), reply, 4096))


def test_what_is_between_the_upstream_and_us_stays_there() -> None:
    padding = dns.edns.GenericOption(dns.edns.OptionType.PADDING, b"\0" * 8)
    failed = dns.edns.EDEOption(dns.edns.EDECode.STALE_ANSWER, "old")

    assert [15] == codes(fit(query_of(), reply_with(COOKIE, failed, padding), 4096))
