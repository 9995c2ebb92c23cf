"""What the host's name service is asked and how its answers become DNS; the C library's calls are the tests' own."""

from __future__ import annotations

import os
import socket
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.reversename
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.forward.replies import Accept, verify
from resolver.forward.system_names import (
    TTL,
    Ask,
    Calls,
    ask_of,
    cannot_ask,
    look_up,
    names_last,
    reply_of,
    take_names_as_they_are,
    without_system,
)
from resolver.forward.upstreams import SYSTEM, Upstream
from resolver.wire.constants import AAAA, MX, NOERROR, NXDOMAIN, PTR, SERVFAIL, TXT, A
from resolver.wire.name import WireName, fold, from_labels
from resolver.wire.query import Query, scan

V4, V6 = socket.AF_INET, socket.AF_INET6
REVERSE = (b"in-addr", b"arpa", b"ip6", b"7")
SERVER, OTHER = Upstream("192.0.2.53"), Upstream("192.0.2.54")


def key_of(name: str) -> WireName:
    wire = dns.name.from_text(name).to_wire()
    assert wire is not None
    return fold(wire)


def query_of(name: str, rtype: str = "A", **options: Any) -> Query:
    query = scan(dns.message.make_query(name, rtype, **options).to_wire())
    assert isinstance(query, Query)
    return query


class Service(dict[Any, Any]):
    """What the calls return or raise, by name or by address; what is missing does not exist."""

    def calls(self) -> Calls:
        return Calls(self._getaddrinfo, self._getnameinfo)

    def _getaddrinfo(self, name: bytes, service: None, family: int, kind: int) -> list[tuple[Any, ...]]:
        assert (service, family, kind) == (None, socket.AF_UNSPEC, socket.SOCK_STREAM)
        said = self.get(name.decode(), socket.EAI_NONAME)
        if isinstance(said, Exception):
            raise said
        if isinstance(said, int):
            raise socket.gaierror(said, os.strerror(0))
        return [(V6 if ":" in one else V4, socket.SOCK_STREAM, 6, "", (one, 0)) for one in said]

    def _getnameinfo(self, address: tuple[str, int], flags: int) -> tuple[str, str]:
        assert flags == socket.NI_NAMEREQD
        said = self.get(address[0], socket.EAI_NONAME)
        if isinstance(said, Exception):
            raise said
        if isinstance(said, int):
            raise socket.gaierror(said, os.strerror(0))
        return said, "0"


@pytest.mark.parametrize(
    ("name", "qtype", "asked"),
    [
        ("WWW.Example.", A, Ask("www.example")),
        ("printer.local.", AAAA, Ask("printer.local")),
        ("_http._tcp.example.", A, Ask("_http._tcp.example")),
        ("xn--bcher-kva.example.", A, Ask("xn--bcher-kva.example")),
        ("single.", A, Ask("single")),
        ("7.2.0.192.in-addr.arpa.", PTR, Ask("192.0.2.7", True)),
        (dns.reversename.from_address("2001:db8::7").to_text(), PTR, Ask("2001:db8::7", True)),
        ("2.0.192.in-addr.arpa.", PTR, None),
        ("x.7.2.0.192.in-addr.arpa.", PTR, None),
        ("www.example.", PTR, None),
        ("www.example.", MX, None),
        ("www.example.", 65, None),
        (".", A, None),
        ("a\\000b.example.", A, None),
        ("b\\195\\188cher.example.", A, None),
        ("with\\032space.example.", A, None),
        ("with\\.dot.example.", AAAA, None),
        ("*.example.", A, None),
    ],
)
def test_what_the_name_service_is_asked(name: str, qtype: int, asked: Ask | None) -> None:
    assert ask_of(key_of(name), qtype) == asked


def test_addresses_come_in_the_order_of_the_name_service_each_once_and_by_family() -> None:
    said = ["192.0.2.2", "2001:db8::2", "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"]
    found = look_up(Ask("a.example"), Service({"a.example": said}).calls())
    assert found.rcode == NOERROR
    assert found.rdatas[A] == (bytes((192, 0, 2, 2)), bytes((192, 0, 2, 1)))
    assert found.rdatas[AAAA] == (socket.inet_pton(V6, "2001:db8::2"), socket.inet_pton(V6, "2001:db8::1"))


@pytest.mark.parametrize(("said", "rtype"), [("192.0.2.7", "AAAA"), ("2001:db8::7", "A"), ("192.0.2.7", "MX")])
def test_what_has_addresses_of_the_other_family_only_is_nodata(said: str, rtype: str) -> None:
    found = look_up(Ask("a.example"), Service({"a.example": [said]}).calls())
    reply = dns.message.from_wire(reply_of(query_of("a.example.", rtype), found))
    assert (reply.rcode(), reply.answer, reply.authority) == (dns.rcode.NOERROR, [], [])


def test_an_address_with_a_scope_of_the_hosts_is_left_out() -> None:
    service = Service({"p.local": ["fe80::1%eth0", "2001:db8::1", "192.0.2.1"], "q.local": ["fe80::2%2"]})
    found = look_up(Ask("p.local"), service.calls())
    assert (found.rdatas[A], found.rdatas[AAAA]) == ((bytes((192, 0, 2, 1)),), (socket.inet_pton(V6, "2001:db8::1"),))
    nothing = look_up(Ask("q.local"), service.calls())
    assert (nothing.rcode, nothing.rdatas[A], nothing.rdatas[AAAA]) == (NOERROR, (), ())


def test_an_address_of_another_family_is_nobodys() -> None:
    def getaddrinfo(*_: Any) -> list[tuple[Any, ...]]:
        return [
            (socket.AF_UNIX, socket.SOCK_STREAM, 0, "", "/run/x"),
            (V4, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0)),
        ]

    found = look_up(Ask("a.example"), Calls(getaddrinfo))
    assert (found.rdatas[A], found.rdatas[AAAA]) == ((bytes((192, 0, 2, 1)),), ())


@pytest.mark.parametrize(
    ("error", "rcode", "has_reason"),
    [
        (socket.EAI_NONAME, NXDOMAIN, False),
        (socket.EAI_NODATA, NOERROR, False),
        (socket.EAI_ADDRFAMILY, NOERROR, False),
        (socket.EAI_AGAIN, SERVFAIL, True),
        (socket.EAI_FAIL, SERVFAIL, True),
        (socket.EAI_MEMORY, SERVFAIL, True),
        (socket.EAI_SYSTEM, SERVFAIL, True),
        (OSError(24, "Too many open files"), SERVFAIL, True),
    ],
    ids=str,
)
@pytest.mark.parametrize("ask", [Ask("x.example"), Ask("192.0.2.7", True)], ids=str)
def test_each_error_has_its_rcode(ask: Ask, error: Any, rcode: int, has_reason: bool) -> None:
    found = look_up(ask, Service({ask.name: error}).calls())
    assert (found.rcode, dict(found.rdatas), found.ede is not None) == (rcode, {}, has_reason)


def test_an_address_that_is_no_text_is_a_failure() -> None:
    found = look_up(Ask("x.example"), Service({"x.example": UnicodeError("label too long")}).calls())
    assert (found.rcode, found.ede is not None) == (SERVFAIL, True)


@pytest.mark.parametrize("name", ["1.2.3.4", "1.2", "127.1", "0x7f.1", "2130706433", "0177.0.0.1"])
def test_what_only_looks_like_an_address_does_not_exist_and_is_not_asked_for(name: str) -> None:
    service = Service({name: AssertionError("it was asked for")})
    assert look_up(Ask(name), service.calls()).rcode == NXDOMAIN


@pytest.mark.parametrize("name", ["1.2.3.4.5", "a.1", "300.300.300.300", "1e2"])
def test_what_does_not_look_like_an_address_is_asked_for(name: str) -> None:
    assert look_up(Ask(name), Service({name: ["192.0.2.1"]}).calls()).rdatas[A] == (bytes((192, 0, 2, 1)),)


def test_the_name_of_an_address() -> None:
    found = look_up(Ask("192.0.2.7", True), Service({"192.0.2.7": "Seven.example"}).calls())
    reply = dns.message.from_wire(reply_of(query_of("7.2.0.192.in-addr.arpa.", "PTR"), found))
    assert [rdata.to_text() for rrset in reply.answer for rdata in rrset] == ["Seven.example."]


@pytest.mark.parametrize("name", ["not a name", "a..b", "bücher.example", "x" * 64, "", UnicodeError("no text")])
def test_a_name_that_is_none_of_dns_is_nobodys(name: str | Exception) -> None:
    found = look_up(Ask("192.0.2.7", True), Service({"192.0.2.7": name}).calls())
    assert (found.rcode, found.ede) == (NXDOMAIN, None)


@pytest.mark.parametrize("edns", [None, 0])
@pytest.mark.parametrize("said", [["192.0.2.1", "192.0.2.2"], socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_AGAIN])
def test_every_reply_is_one_that_a_forwarder_accepts(said: Any, edns: int | None) -> None:
    query = query_of("wWw.ExAmple.", use_edns=edns)
    wire = reply_of(query, look_up(Ask("www.example"), Service({"www.example": said}).calls()))
    accepted = verify(query, int.from_bytes(query.wire[:2], "big"), wire)
    assert isinstance(accepted, Accept)
    reply = dns.message.from_wire(wire)
    assert reply.flags & (dns.flags.QR | dns.flags.RA) == dns.flags.QR | dns.flags.RA
    assert (reply.edns >= 0) == (edns is not None)
    assert accepted.rcode == reply.rcode()
    assert not reply.authority  # no SOA: it is not to be cached
    assert {rrset.ttl for rrset in reply.answer} <= {TTL}
    assert {rrset.name.to_text() for rrset in reply.answer} <= {"wWw.ExAmple."}
    is_failure = said == socket.EAI_AGAIN
    assert bool(reply.extended_errors()) == (is_failure and edns is not None)


def test_more_addresses_than_one_message_holds_are_no_exception() -> None:
    many = [f"2001:db8::{number:x}" for number in range(1, 4000)]
    query = query_of("many.example.", "AAAA")
    wire = reply_of(query, look_up(Ask("many.example"), Service({"many.example": many}).calls()))
    assert isinstance(verify(query, int.from_bytes(query.wire[:2], "big"), wire), Accept)
    assert dns.message.from_wire(wire).flags & dns.flags.TC


def test_a_question_that_it_cannot_be_asked_says_so() -> None:
    reply = dns.message.from_wire(reply_of(query := query_of("x.example.", "MX", use_edns=0), cannot_ask(query)))
    assert reply.rcode() == dns.rcode.SERVFAIL
    (error,) = reply.extended_errors()
    assert error.code == dns.edns.EDECode.NOT_SUPPORTED
    assert error.text is not None
    assert "MX" in error.text


@given(
    labels=st.lists(
        st.binary(min_size=1, max_size=20) | st.sampled_from([b"in-addr", b"arpa", b"ip6", b"7"]), max_size=8
    ),
    qtype=st.sampled_from([A, AAAA, PTR, MX]),
    said=st.sampled_from([["192.0.2.1"], "seven.example", "", "\udc80", socket.EAI_NONAME, socket.EAI_AGAIN]),
)
def test_no_name_is_an_exception(labels: list[bytes], qtype: int, said: Any) -> None:
    wire = b"\0\7\1\0\0\1" + bytes(6) + from_labels(labels) + bytes((0, qtype, 0, 1))
    query = scan(wire)
    assert isinstance(query, Query)
    asked = ask_of(query.key, qtype)
    if asked is None:
        found = cannot_ask(query)
    else:
        assert asked.name.isascii()
        is_addresses = isinstance(said, list)
        if asked.is_address:
            said = "a.example" if is_addresses else said
        elif isinstance(said, str):
            said = ["192.0.2.1", "2001:db8::1"]
        found = look_up(asked, Service({asked.name: said}).calls())
    assert isinstance(verify(query, 7, reply_of(query, found)), Accept)


@pytest.mark.parametrize(
    ("upstreams", "name", "qtype", "servers", "asked"),
    [
        ((SYSTEM,), "x.example.", A, (SERVER,), (SYSTEM,)),
        ((SYSTEM, OTHER), "x.example.", A, (SERVER,), (SYSTEM, OTHER)),
        ((SYSTEM, OTHER), "x.example.", TXT, (SERVER,), (OTHER, SYSTEM)),
        ((SYSTEM,), "x.example.", TXT, (SERVER,), (SERVER, SYSTEM)),
        ((SYSTEM,), "x.example.", PTR, (SERVER,), (SERVER, SYSTEM)),
        ((SYSTEM,), "a\\000.example.", A, (SERVER,), (SERVER,)),
        ((SYSTEM, OTHER), "printer.local.", TXT, (SERVER,), (SYSTEM,)),
        ((SYSTEM, OTHER), "printer.local.", A, (SERVER,), (SYSTEM, OTHER)),
        ((SYSTEM,), "a\\032b._ipp._tcp.LOCAL.", 33, (SERVER,), (SYSTEM,)),
        ((OTHER,), "printer.local.", TXT, (SERVER,), (OTHER,)),
        ((SYSTEM,), "x.notlocal.", TXT, (SERVER,), (SERVER, SYSTEM)),
        ((SYSTEM,), "x.example.", TXT, (), (SYSTEM,)),
        ((OTHER,), "x.example.", TXT, (SERVER,), (OTHER,)),
        ((), "x.example.", TXT, (SERVER,), ()),
    ],
)
def test_who_is_asked_in_its_place(
    upstreams: tuple[Upstream, ...],
    name: str,
    qtype: int,
    servers: tuple[Upstream, ...],
    asked: tuple[Upstream, ...],
) -> None:
    assert without_system(upstreams, key_of(name), qtype, servers) == asked


@pytest.mark.parametrize(
    ("upstreams", "name", "qtype", "is_last"),
    [
        ((SERVER, SYSTEM), "x.example.", TXT, True),
        ((SERVER, SYSTEM), "x.example.", PTR, True),
        ((SERVER, SYSTEM), "x.example.", A, False),
        ((SERVER, SYSTEM), "7.2.0.192.in-addr.arpa.", PTR, False),
        ((SERVER, OTHER), "x.example.", TXT, False),
        ((SYSTEM,), "x.example.", TXT, False),
        ((), "x.example.", TXT, False),
    ],
)
def test_whether_the_name_service_has_the_last_word(
    upstreams: tuple[Upstream, ...], name: str, qtype: int, is_last: bool
) -> None:
    query = scan(b"\0\7\1\0\0\1" + bytes(6) + key_of(name) + bytes((0, qtype, 0, 1)))
    assert isinstance(query, Query)
    assert names_last(upstreams, query) is is_last


def test_the_operators_own_options_of_the_c_library_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALDOMAIN", "corp.example")
    monkeypatch.setenv("RES_OPTIONS", "edns0 timeout:30")
    take_names_as_they_are()
    take_names_as_they_are()
    assert os.environ["LOCALDOMAIN"] == ""
    assert os.environ["RES_OPTIONS"] == "edns0 timeout:30 ndots:15 timeout:1 attempts:2"  # the last one counts
