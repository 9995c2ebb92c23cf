"""resolv.conf is read as every stub resolver reads it: nothing in it is an error (resolv.conf(5))."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.forward.policy import ForwardOptions
from resolver.forward.resolvconf import ResolvConf, parse


def test_an_empty_file_has_the_defaults() -> None:
    conf = parse("")

    assert ResolvConf() == conf
    assert (5.0, 2, None, False, False) == (
        conf.timeout_s,
        conf.attempts,
        conf.ndots,
        conf.rotate,
        conf.edns0,
    )


def test_more_than_three_servers_are_kept_in_their_order_and_once_each() -> None:
    text = "".join(f"nameserver 192.0.2.{n}\n" for n in (5, 1, 4, 2, 1, 3))

    assert tuple(f"192.0.2.{n}" for n in (5, 1, 4, 2, 3)) == parse(text).nameservers


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("nameserver 10.0.0.1", ("10.0.0.1",)),
        ("nameserver\t10.0.0.1   # the router", ("10.0.0.1",)),
        ("  nameserver 10.0.0.1", ("10.0.0.1",)),
        ("nameserver FDB6:0::1", ("fdb6::1",)),
        ("nameserver fe80::1%eth0", ("fe80::1%eth0",)),
        ("nameserver 127.0.0.53", ("127.0.0.53",)),
        ("#nameserver 10.0.0.1", ()),
        (";nameserver 10.0.0.1", ()),
    ],
)
def test_a_server_line_is_read(line: str, expected: tuple[str, ...]) -> None:
    assert expected == parse(line + "\n").nameservers


@pytest.mark.parametrize("word", ["1.1.1.1o", "1.1.1.1%eth0", "dns.example.org", "10.0.0.1:53", ""])
def test_what_is_no_address_is_kept_apart(word: str) -> None:
    conf = parse(f"nameserver {word}\nnameserver 10.0.0.1\n")

    assert ("10.0.0.1",) == conf.nameservers
    assert (word,) == conf.invalid_nameservers


def test_the_last_search_or_domain_line_counts() -> None:
    assert ("b.example", "c.example") == parse("domain a.example\nsearch b.example c.example\n").search
    assert ("a.example",) == parse("search b.example c.example\ndomain a.example\n").search


def test_unknown_directives_are_kept_as_written() -> None:
    conf = parse("sortlist 130.155.160.0/255.255.240.0\nlookup  file bind\n")

    assert ("sortlist 130.155.160.0/255.255.240.0", "lookup  file bind") == conf.others


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("options edns0", None),
        ("options ndots:3", "3"),
        ("options ndots", ""),
        ("options ndots:", ""),
        ("options ndots:1 edns0 ndots:4", "4"),
        ("options ndots:1\noptions ndots:5", "5"),
    ],
)
def test_an_option_is_found_with_its_last_value(text: str, expected: str | None) -> None:
    """Absent, without a value, with one, given twice on a line or on two."""
    assert expected == parse(text).option("ndots")


@pytest.mark.parametrize(
    ("value", "ndots"), [("0", 0), ("5", 5), ("-1", None), ("", None), ("foobar", None), ("٣", None)]
)
def test_a_value_that_is_no_number_is_as_if_absent(value: str, ndots: int | None) -> None:
    conf = parse(f"options ndots:{value}")

    assert ndots == conf.ndots
    assert (f"ndots:{value}",) == conf.options


@pytest.mark.parametrize(
    ("options", "timeout_s", "attempts"),
    [
        ("timeout:2 attempts:3", 2.0, 3),
        ("timeout:0 attempts:0", 1.0, 1),
        ("timeout:600 attempts:99", 30.0, 5),
        ("timeout:x attempts:-1", 5.0, 2),
        ("timeout attempts", 5.0, 2),
    ],
)
def test_numbers_are_held_within_their_bounds(options: str, timeout_s: float, attempts: int) -> None:
    conf = parse(f"options {options}\n")

    assert (timeout_s, attempts) == (conf.timeout_s, conf.attempts)


def test_the_options_of_forwarding_are_handed_on() -> None:
    conf = parse("options timeout:3 attempts:4 rotate edns0 trust-ad\n")

    assert ForwardOptions(3.0, 4, "rotate", edns0=True) == ForwardOptions.of(conf)
    assert ForwardOptions(3.0, 4, "fastest", edns0=True) == ForwardOptions.of(conf, "fastest")
    assert ForwardOptions(5.0, 8, "sequential") == ForwardOptions.of(parse(""))


@given(st.text())
def test_no_text_is_an_error(text: str) -> None:
    conf = parse(text)

    assert 1.0 <= conf.timeout_s <= 30.0
    assert 1 <= conf.attempts <= 5


@pytest.mark.parametrize("word", ["224.0.0.251", "ff02::fb", "255.255.255.255"])
def test_a_multicast_or_broadcast_address_is_no_server(word: str) -> None:
    conf = parse(f"nameserver {word}\nnameserver 192.0.2.1\n")

    assert (("192.0.2.1",), (word,)) == (conf.nameservers, conf.invalid_nameservers)


def test_use_vc_and_no_aaaa_are_heeded() -> None:
    conf = parse("nameserver 192.0.2.1\noptions use-vc no-aaaa\n")

    assert (True, True) == (conf.use_vc, conf.no_aaaa)
    assert (False, False) == (ResolvConf().use_vc, ResolvConf().no_aaaa)
    options = ForwardOptions.of(conf)
    assert (True, True) == (options.over_tcp, options.no_aaaa)
