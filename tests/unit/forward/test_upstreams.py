"""Upstreams read from text, and our own listeners told apart from them."""

from __future__ import annotations

import pytest

from resolver.forward.upstreams import SYSTEM, Transport, Upstream, drop_own, parse_nameserver, parse_upstream

TCP, TLS, HTTPS = Transport.TCP, Transport.TLS, Transport.HTTPS
LONG_NAME = ".".join(["a" * 63] * 3 + ["b" * 61])

NAMESERVERS = [
    ("10.0.0.53", Upstream("10.0.0.53", 53), "10.0.0.53:53"),
    ("10.0.0.53:5353", Upstream("10.0.0.53", 5353), "10.0.0.53:5353"),
    ("udp://10.0.0.53", Upstream("10.0.0.53", 53), "10.0.0.53:53"),
    ("udp://[fd00::53]:5353", Upstream("fd00::53", 5353), "[fd00::53]:5353"),
    ("fd00::53", Upstream("fd00::53", 53), "[fd00::53]:53"),
    ("[fd00::53]", Upstream("fd00::53", 53), "[fd00::53]:53"),
    ("FD00:0::0053", Upstream("fd00::53", 53), "[fd00::53]:53"),
    ("fe80::1%eth0", Upstream("fe80::1%eth0", 53), "[fe80::1%eth0]:53"),
    ("[fe80::1%2]:53", Upstream("fe80::1%2", 53), "[fe80::1%2]:53"),
    ("::ffff:10.0.0.53", Upstream("10.0.0.53", 53), "10.0.0.53:53"),
    ("0.0.0.0", Upstream("0.0.0.0", 53), "0.0.0.0:53"),
    ("10.0.0.53:65535", Upstream("10.0.0.53", 65535), "10.0.0.53:65535"),
]
OTHERS = [
    ("system", SYSTEM, "system"),
    ("udp://dns.example", Upstream("", 53, name="dns.example"), "udp://dns.example"),
    ("udp://dns.example:5353", Upstream("", 5353, name="dns.example"), "udp://dns.example:5353"),
    ("tcp://10.0.0.53", Upstream("10.0.0.53", 53, transport=TCP), "tcp://10.0.0.53"),
    ("tcp://10.0.0.53/", Upstream("10.0.0.53", 53, transport=TCP), "tcp://10.0.0.53"),
    ("tcp://[fe80::1%eth0]:5353", Upstream("fe80::1%eth0", 5353, transport=TCP), "tcp://[fe80::1%eth0]:5353"),
    ("TCP://dns.example.", Upstream("", 53, transport=TCP, name="dns.example"), "tcp://dns.example"),
    ("tls://10.0.0.53", Upstream("10.0.0.53", 853, transport=TLS), "tls://10.0.0.53"),
    ("tls://fd00::53", Upstream("fd00::53", 853, transport=TLS), "tls://[fd00::53]"),
    ("tls://10.0.0.53:853", Upstream("10.0.0.53", 853, transport=TLS), "tls://10.0.0.53"),
    ("tls://10.0.0.53:8853", Upstream("10.0.0.53", 8853, transport=TLS), "tls://10.0.0.53:8853"),
    (
        "tls://10.0.0.53#DNS.example.",
        Upstream("10.0.0.53", 853, transport=TLS, name="dns.example"),
        "tls://10.0.0.53#dns.example",
    ),
    (
        "tls://[fd00::53]:8853#dns.example",
        Upstream("fd00::53", 8853, transport=TLS, name="dns.example"),
        "tls://[fd00::53]:8853#dns.example",
    ),
    ("tls://dns.example", Upstream("", 853, transport=TLS, name="dns.example"), "tls://dns.example"),
    ("tls://localhost:8853", Upstream("", 8853, transport=TLS, name="localhost"), "tls://localhost:8853"),
    ("tls://x_1-y.example", Upstream("", 853, transport=TLS, name="x_1-y.example"), "tls://x_1-y.example"),
    (f"tls://{LONG_NAME}", Upstream("", 853, transport=TLS, name=LONG_NAME), f"tls://{LONG_NAME}"),
    (
        "https://dns.example",
        Upstream("", 443, transport=HTTPS, name="dns.example", path="/dns-query"),
        "https://dns.example/dns-query",
    ),
    (
        "https://dns.example/dns-query{?dns}",
        Upstream("", 443, transport=HTTPS, name="dns.example", path="/dns-query"),
        "https://dns.example/dns-query",
    ),
    (
        "https://10.0.0.53:8443/p?x=1#dns.example",
        Upstream("10.0.0.53", 8443, transport=HTTPS, name="dns.example", path="/p?x=1"),
        "https://10.0.0.53:8443/p?x=1#dns.example",
    ),
    (
        "https://[fd00::53]",
        Upstream("fd00::53", 443, transport=HTTPS, path="/dns-query"),
        "https://[fd00::53]/dns-query",
    ),
]


@pytest.mark.parametrize(("text", "expected", "written"), [*NAMESERVERS, *OTHERS])
def test_every_way_to_write_an_address_is_read(text: str, expected: Upstream, written: str) -> None:
    upstream = parse_upstream(text)

    assert expected == upstream
    assert written == str(upstream)
    assert expected == parse_upstream(written)


@pytest.mark.parametrize(("text", "expected", "written"), NAMESERVERS)
def test_a_nameserver_is_an_address(text: str, expected: Upstream, written: str) -> None:
    assert expected == parse_nameserver(text)
    assert written == str(parse_nameserver(text))


@pytest.mark.parametrize(
    ("upstream", "is_named", "is_datagram", "is_ipv6"),
    [
        ("10.0.0.53", False, True, False),
        ("udp://dns.example", True, True, False),
        ("tcp://[fd00::53]", False, False, True),
        ("tls://10.0.0.53#dns.example", False, False, False),
        ("tls://dns.example", True, False, False),
        ("https://dns.example", True, False, False),
        ("system", False, False, False),
    ],
)
def test_what_an_upstream_is_like(upstream: str, is_named: bool, is_datagram: bool, is_ipv6: bool) -> None:
    found = parse_upstream(upstream)
    assert (is_named, is_datagram, is_ipv6) == (found.is_named, found.is_datagram, found.is_ipv6)


NO_NAMESERVERS = [
    ("dns.example.org", "is an IPv4 or IPv6 address, not a name"),
    ("dns.example.org:53", "is an IPv4 or IPv6 address, not a name"),
    ("", "is no address"),
    ("10.0.0", "is no address"),
    ("10.0.0.53o", "is no address"),
    ("10.0.0.53%eth0", "is no address"),
    ("10.0.0.53#dns.example", "is no address"),
    ("10.0.0.53:0", "a port is a number from 1 to 65535"),
    ("10.0.0.53:65536", "a port is a number from 1 to 65535"),
    ("10.0.0.53:655360000", "a port is a number from 1 to 65535"),
    ("10.0.0.53:", "a port is a number from 1 to 65535"),
    ("10.0.0.53:dns", "a port is a number from 1 to 65535"),
    ("10.0.0.53:٥٣", "a port is a number from 1 to 65535"),
    ("[fd00::53]:+53", "a port is a number from 1 to 65535"),
    ("[fd00::53", "is written [ADDRESS]:PORT"),
    ("[fd00::53]53", "is written [ADDRESS]:PORT"),
    ("[10.0.0.53]:53", "is written [ADDRESS]:PORT"),
    ("224.0.0.251", "multicast or broadcast"),
    ("255.255.255.255", "multicast or broadcast"),
    ("ff02::fb", "multicast or broadcast"),
]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        *NO_NAMESERVERS,
        ("gopher://10.0.0.53", "gopher:// is no kind of upstream"),
        ("quic://10.0.0.53", "there are udp://, tcp://, tls:// and https://"),
        ("system://", "system:// is no kind of upstream"),
        ("://10.0.0.53", ":// is no kind of upstream"),
        ("tls://", "where an address or a host name belongs"),
        ("tls://10.0.0", "where an address or a host name belongs"),
        ("tls://10.0.0.256", "where an address or a host name belongs"),
        ("tls://-dns.example", "where an address or a host name belongs"),
        ("tls://dns..example", "where an address or a host name belongs"),
        ("tls://dns.exämple", "where an address or a host name belongs"),
        (f"tls://{LONG_NAME}b", "where an address or a host name belongs"),
        (f"tls://{'a' * 64}.example", "where an address or a host name belongs"),
        ("tls://user@dns.example", "has no user and no password"),
        ("tls://10.0.0.53#", "where an address or a host name belongs"),
        ("tls://10.0.0.53#10.0.0.53", "where an address or a host name belongs"),
        ("tls://10.0.0.53:0", "a port is a number from 1 to 65535"),
        ("tls://224.0.0.251", "multicast or broadcast"),
        ("tls://10.0.0.53/dns-query", "leave '/dns-query' out"),
        ("tls://dns.example#dns.example", "has two names"),
        ("tcp://10.0.0.53#dns.example", "names a certificate, and tcp:// has none"),
        ("udp://10.0.0.53#dns.example", "names a certificate, and udp:// has none"),
        ("https://dns.example/with space", "write it in ASCII, without spaces"),
        ("https://dns.example/ä", "write it in ASCII, without spaces"),
        ("https://[fd00::53]443", "is written [ADDRESS]:PORT"),
    ],
)
def test_what_is_no_upstream_is_refused_with_a_sentence(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=r".") as refusal:
        parse_upstream(text)

    assert says in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        *NO_NAMESERVERS,
        ("tls://10.0.0.53", "is no address"),
        ("tcp://10.0.0.53", "is no address"),
        ("udp://dns.example", "is an IPv4 or IPv6 address, not a name"),
        ("system", "is an IPv4 or IPv6 address, not a name"),
    ],
)
def test_what_is_no_nameserver_is_refused_with_a_sentence(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=r".") as refusal:
        parse_nameserver(text)

    assert says in str(refusal.value)


def test_an_upstream_of_the_namespace_is_another_than_the_same_address_outside() -> None:
    inside = parse_nameserver("10.0.0.53", in_namespace=True)

    assert inside.in_namespace
    assert parse_nameserver("10.0.0.53") != inside
    assert 2 == len({parse_nameserver("10.0.0.53"), inside})


@pytest.mark.parametrize(
    ("upstream", "own", "stays"),
    [
        ("127.0.0.1:5353", ("127.0.0.1", 5353), False),
        ("127.0.0.1:53", ("127.0.0.1", 5353), True),
        ("127.0.0.53:53", ("127.0.0.1", 53), True),
        ("127.0.0.53:53", ("0.0.0.0", 53), False),
        ("127.0.0.53:53", ("::", 53), False),
        ("10.0.0.53:53", ("0.0.0.0", 53), True),
        ("[::1]:53", ("::", 53), False),
        ("[::1]:53", ("0.0.0.0", 53), True),
        ("0.0.0.0:53", ("127.0.0.1", 53), False),
        ("[::]:53", ("::1", 53), False),
        ("tcp://127.0.0.1:5353", ("127.0.0.1", 5353), False),
        ("tls://127.0.0.1:5353", ("127.0.0.1", 5353), False),
        ("tls://127.0.0.1", ("127.0.0.1", 53), True),
        ("tls://dns.example:53", ("0.0.0.0", 53), True),
        ("system", ("0.0.0.0", 53), True),
    ],
)
def test_our_own_listeners_are_no_upstreams(upstream: str, own: tuple[str, int], stays: bool) -> None:
    """A query sent to ourselves would come back for ever."""
    other = Upstream("192.0.2.53")

    kept = drop_own((parse_upstream(upstream), other), {own})

    assert ((parse_upstream(upstream), other) if stays else (other,)) == kept


def test_what_people_copy_is_understood() -> None:
    assert parse_upstream("tls://[fe80::1%25eth0]") == Upstream("fe80::1%eth0", 853, transport=Transport.TLS)
    assert parse_upstream("https://10.0.0.53/").path == "/"
    assert parse_upstream(" tls://10.0.0.53 ") == Upstream("10.0.0.53", 853, transport=Transport.TLS)
