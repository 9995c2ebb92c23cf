"""Private addresses in replies, found and taken out; dnspython builds the replies and reads what is left."""

from __future__ import annotations

import ipaddress

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.forward.private import is_private, without_private
from resolver.forward.replies import Accept, verify
from resolver.wire.query import Query, scan

PRIVATE = [
    "0.0.0.0",
    "0.255.255.255",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.168.0.1",
    "192.168.255.255",
    "198.18.0.1",
    "198.19.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fc00::1",
    "fd00::1",
    "fdff:ffff::1",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "2001:2::1",
    "::ffff:127.0.0.1",
    "::ffff:192.168.1.1",
    "::ffff:100.64.0.1",
    "::10.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b:1::192.168.1.1",
    "64:ff9b:1:c0a8:1:100::",  # /48
    "64:ff9b:1:c0a8:1:100:808:808",
    "64:ff9b:1:7f00:0:100::",
    "64:ff9b:1:8c0:a8:101::",  # /56
    "64:ff9b:1:8:c0:a801:100:0",  # /64
    "64:ff9b:1:8:8:8:10.0.0.1",
    "2002:7f00:1::1",
    "2002:c0a8:101::1",
    "2002:0a00:1:0:ffff::1",
]
PUBLIC = [
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.1",
    "192.0.2.1",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "198.51.100.1",
    "203.0.113.1",
    "223.255.255.255",
    "224.0.0.1",
    "239.255.255.255",
    "2001:4860:4860::8888",
    "2606:4700::1111",
    "2001:db8::1",
    "fbff::1",
    "fe00::1",
    "ff02::1",
    "2001:3::1",
    "::ffff:1.1.1.1",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::8.8.8.8",
    "64:ff9b:1:808:8:800::",
    "64:ff9b:1:80a:0:500::",
    "64:ff9b:1:108:8:808::",
    "64:ff9b:1:8:8:808:800:0",
    "2002:808:808::1",
    "::8.8.8.8",
    "64:ff9b:2::10.0.0.1",
]


@pytest.mark.parametrize("text", PRIVATE)
def test_private_and_local_addresses(text: str) -> None:
    assert is_private(ipaddress.ip_address(text).packed)


@pytest.mark.parametrize("text", PUBLIC)
def test_addresses_of_the_world(text: str) -> None:
    assert not is_private(ipaddress.ip_address(text).packed)


@given(st.ip_addresses(v=4))
def test_whatever_python_calls_global_is_not_private(address: ipaddress.IPv4Address) -> None:
    """And what it calls private is, but for documentation; 192.0.0.0/24 is taken whole."""
    documentation = ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")
    is_shown_only = any(address in ipaddress.ip_network(text) for text in documentation)
    if address in ipaddress.ip_network("192.0.0.0/24") or (address.is_private and not is_shown_only):
        assert is_private(address.packed)
    elif address.is_global:
        assert not is_private(address.packed)


def query_of(name: str = "www.example.", rtype: str = "A") -> Query:
    query = scan(dns.message.make_query(name, rtype, id=1, use_edns=0).to_wire())
    assert isinstance(query, Query)
    return query


def rrset_of(line: str) -> dns.rrset.RRset:
    name, ttl, rclass, rtype, rdata = line.split(" ", 4)
    return dns.rrset.from_text(name, int(ttl), rclass, rtype, rdata)


def reply_to(query: Query, *answer: str, additional: tuple[str, ...] = (), edns: bool = True, flags: int = 0) -> bytes:
    reply = dns.message.make_response(dns.message.from_wire(query.wire), recursion_available=True)
    reply.answer = [rrset_of(line) for line in answer]
    reply.additional = [rrset_of(line) for line in additional]
    reply.flags |= flags
    reply.use_edns(0 if edns else False)
    return reply.to_wire()


def inspected(query: Query, reply: bytes) -> tuple[dns.message.Message, str | None]:
    assert isinstance(verify(query, 1, reply), Accept)
    left, address = without_private(query, reply)
    assert isinstance(verify(query, 1, left), Accept)
    return dns.message.from_wire(left), None if address is None else str(address)


@pytest.mark.parametrize("edns", [False, True])
@pytest.mark.parametrize(
    ("rtype", "lines", "address"),
    [
        ("A", ["www.example. 60 IN A 192.168.1.1"], "192.168.1.1"),
        ("A", ["www.example. 60 IN A 1.1.1.1", "www.example. 60 IN A 127.0.0.1"], "127.0.0.1"),
        ("AAAA", ["www.example. 60 IN AAAA ::ffff:10.0.0.1"], "::ffff:a00:1"),
        ("A", ["www.example. 60 IN CNAME x.plex.direct.", "x.plex.direct. 60 IN A 10.0.0.9"], "10.0.0.9"),
        ("HTTPS", ["www.example. 60 IN HTTPS 1 . alpn=h2 ipv4hint=1.1.1.1,10.0.0.1"], "10.0.0.1"),
        ("HTTPS", ["www.example. 60 IN HTTPS 1 svc.example. port=443 ipv6hint=fd00::1"], "fd00::1"),
        ("SVCB", ["www.example. 60 IN SVCB 1 . ipv4hint=1.1.1.1 ipv6hint=2606:4700::1,::1"], "::1"),
        ("ANY", ["www.example. 60 IN TXT hello", "www.example. 60 IN A 172.16.0.1"], "172.16.0.1"),
    ],
)
def test_an_answer_with_a_private_address_becomes_an_empty_one(
    rtype: str, lines: list[str], address: str, edns: bool
) -> None:
    query = query_of(rtype=rtype)
    left, found = inspected(query, reply_to(query, *lines, edns=edns, flags=dns.flags.AD | dns.flags.TC))

    assert address == found
    assert (dns.rcode.NOERROR, []) == (left.rcode(), left.answer + left.authority + left.additional)
    assert dns.flags.to_text(left.flags) == "QR RD RA"


@pytest.mark.parametrize(
    ("rtype", "line"),
    [
        ("A", "www.example. 60 IN A 1.1.1.1"),
        ("TXT", 'www.example. 60 IN TXT "192.168.1.1"'),
        ("PTR", "www.example. 60 IN PTR router.lan."),
        ("HTTPS", "www.example. 60 IN HTTPS 0 other.example."),
        ("HTTPS", "www.example. 60 IN HTTPS 1 . alpn=h2,h3 ipv4hint=1.1.1.1 ipv6hint=2606:4700::1"),
        ("SVCB", "www.example. 60 IN SVCB 1 a.b.c.example. key65400=10.0.0.1"),
    ],
)
def test_any_other_reply_is_left_as_it_is(rtype: str, line: str) -> None:
    query = query_of(rtype=rtype)
    reply = reply_to(query, line)

    assert (reply, None) == without_private(query, reply)


@pytest.mark.parametrize("edns", [False, True])
def test_private_addresses_beside_the_answer_are_left_out(edns: bool) -> None:
    query = query_of("_x._tcp.example.", "SRV")
    more = ("a.example. 60 IN A 1.1.1.1", "b.example. 60 IN A 10.0.0.1")
    reply = reply_to(query, "_x._tcp.example. 60 IN SRV 0 0 80 a.example.", additional=more, edns=edns)
    left, found = inspected(query, reply)

    assert (None, [], 0 if edns else -1) == (found, left.additional, left.edns)
    assert ["0 0 80 a.example."] == [rdata.to_text() for rrset in left.answer for rdata in rrset]


@given(st.binary(max_size=60), st.sampled_from([64, 65, 1, 28]))
def test_no_rdata_makes_it_stumble(rdata: bytes, rtype: int) -> None:
    query = query_of()
    record = b"\xc0\x0c" + rtype.to_bytes(2, "big") + b"\0\1\0\0\0\x3c" + len(rdata).to_bytes(2, "big") + rdata
    reply = b"\0\1\x81\x80\0\1\0\1\0\0\0\0" + query.wire[12 : query.question_end] + record

    assert isinstance(verify(query, 1, reply), Accept)
    left, address = without_private(query, reply)
    assert (left == reply) == (address is None)
