"""Upstreams read from text, and our own listeners told apart from them."""

from __future__ import annotations

import pytest

from resolver.forward.upstreams import Upstream, drop_own, parse_upstream


@pytest.mark.parametrize(
    ("text", "expected", "written"),
    [
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
    ],
)
def test_every_way_to_write_an_address_is_read(text: str, expected: Upstream, written: str) -> None:
    upstream = parse_upstream(text)

    assert expected == upstream
    assert written == str(upstream)
    assert expected == parse_upstream(written)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tls://10.0.0.53", "tls:// upstreams are not there yet"),
        ("https://dns.example.org/dns-query", "https:// upstreams are not there yet"),
        ("tcp://10.0.0.53", "tcp:// upstreams are not there yet"),
        ("gopher://10.0.0.53", "gopher:// is no kind of upstream"),
        ("system", "'system' is not there yet"),
        ("dns.example.org", "is an IPv4 or IPv6 address, not a name"),
        ("dns.example.org:53", "is an IPv4 or IPv6 address, not a name"),
        ("", "is no address"),
        ("10.0.0", "is no address"),
        ("10.0.0.53o", "is no address"),
        ("10.0.0.53%eth0", "is no address"),
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
    ],
)
def test_what_is_no_upstream_is_refused_with_a_sentence(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=r".") as refusal:
        parse_upstream(text)

    assert says in str(refusal.value)


def test_an_upstream_of_the_namespace_is_another_than_the_same_address_outside() -> None:
    inside = parse_upstream("10.0.0.53", in_namespace=True)

    assert inside.in_namespace
    assert parse_upstream("10.0.0.53") != inside
    assert 2 == len({parse_upstream("10.0.0.53"), inside})


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
    ],
)
def test_our_own_listeners_are_no_upstreams(upstream: str, own: tuple[str, int], stays: bool) -> None:
    """A query sent to ourselves would come back for ever."""
    other = Upstream("192.0.2.53")

    kept = drop_own((parse_upstream(upstream), other), {own})

    assert ((parse_upstream(upstream), other) if stays else (other,)) == kept
