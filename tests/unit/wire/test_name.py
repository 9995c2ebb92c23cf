"""Names: text and wire, letter case, suffixes, reverse names; dnspython is the judge."""

from __future__ import annotations

import ipaddress

import dns.name
import dns.reversename
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from resolver.wire import name as names
from resolver.wire.name import (
    ROOT,
    IPAddress,
    WireName,
    fold,
    from_labels,
    from_text,
    is_below,
    is_single_label,
    label_count,
    labels_of,
    lineage_of,
    parent_of,
    reverse_address,
    reverse_name,
    reverse_prefix,
    suffixes_of,
    to_text,
)

OCTETS = st.binary(min_size=1, max_size=63)
LABELS = st.lists(OCTETS, max_size=6).filter(lambda labels: sum(map(len, labels)) + len(labels) < 255)
PLAIN = st.text("abcXYZ019-_*/", min_size=1, max_size=63)
PLAIN_NAMES = st.lists(PLAIN, min_size=1, max_size=4).filter(lambda labels: len(".".join(labels)) < 254)
ADDRESSES = st.ip_addresses()


@given(LABELS)
def test_text_is_read_by_dnspython_as_the_same_name(labels: list[bytes]) -> None:
    """RFC 4343 2.1: whatever octets a label has."""
    text = to_text(from_labels(labels))

    assert dns.name.Name([*labels, b""]) == dns.name.from_text(text)


@given(PLAIN_NAMES, st.sampled_from(["", "."]))
def test_wire_is_what_dnspython_makes_of_the_text(labels: list[str], dot: str) -> None:
    """RFC 1035 3.1; a name in a file is absolute with or without its final dot."""
    text = ".".join(labels)

    assert dns.name.from_text(text + ".").to_wire() == from_text(text + dot)


@given(PLAIN_NAMES)
def test_a_name_comes_back_from_the_wire_as_it_was(labels: list[str]) -> None:
    text = ".".join(labels) + "."

    assert text == to_text(from_text(text))


@given(LABELS)
def test_folding_changes_ascii_letters_alone(labels: list[bytes]) -> None:
    """RFC 4343 3: and no length octet."""
    folded = fold(from_labels(labels))

    assert [label.lower() for label in labels] == list(labels_of(folded))
    assert fold(folded) == folded


@given(LABELS)
def test_suffixes_are_the_name_and_its_ancestors(labels: list[bytes]) -> None:
    name = from_labels(labels)

    assert [from_labels(labels[index:]) for index in range(len(labels) + 1)] == list(suffixes_of(name))
    assert tuple(suffixes_of(name)) == lineage_of(name)
    assert len(labels) == label_count(name)
    assert (len(labels) == 1) == is_single_label(name)
    assert from_labels(labels[1:]) == parent_of(name)


@given(LABELS, LABELS)
def test_below_is_what_dnspython_calls_a_subdomain(one: list[bytes], other: list[bytes]) -> None:
    name, ancestor = fold(from_labels(one)), fold(from_labels(other))
    expected = dns.name.from_wire(name, 0)[0].is_subdomain(dns.name.from_wire(ancestor, 0)[0])

    assert expected == is_below(name, ancestor)
    assert is_below(name, name)


def test_below_is_decided_at_label_boundaries() -> None:
    assert not is_below(from_text("xdocker.internal"), from_text("docker.internal"))
    assert is_below(from_text("x.docker.internal"), from_text("docker.internal"))


def test_octets_that_look_like_a_suffix_are_none() -> None:
    """A label may hold length octets: \\006docker is not a label of its own inside one."""
    inside = from_labels([b"x\x06docker", b"internal"])

    assert not is_below(inside, from_text("docker.internal"))


def test_a_label_of_63_octets_is_the_longest() -> None:
    """RFC 1035 2.3.4."""
    assert 65 == len(from_text("a" * 63))
    with pytest.raises(ValueError, match="has 64 octets; 63 is the most"):
        from_text("a" * 64)


def test_a_name_of_255_octets_is_the_longest() -> None:
    """RFC 1035 2.3.4: length octets and root counted."""
    label = "a" * 63

    assert 255 == len(from_text(".".join([label, label, label, "a" * 61])))
    with pytest.raises(ValueError, match="has 256 octets on the wire; 255 is the most"):
        from_text(".".join([label, label, label, "a" * 62]))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "may not be empty"),
        ("..", "empty label"),
        ("a..b", "empty label"),
        (".a", "empty label"),
        ("a b", "space"),
        ("a\tb", "control character"),
        ("a\x00b", "control character"),
        ("a\x7f", "control character"),
        ("a\\046b", "backslash"),
        ("bücher", "xn--"),
    ],
)
def test_what_cannot_be_a_name_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        from_text(text)


def test_the_root_is_a_dot() -> None:
    assert (ROOT, ".") == (from_text("."), to_text(ROOT))
    assert ROOT == parent_of(ROOT)


@given(ADDRESSES)
def test_the_reverse_name_is_dnspythons(address: IPAddress) -> None:
    """RFC 1035 3.5, RFC 3596 2.5; an address is of the family that it is written in."""
    assume(address.version == 4 or address.ipv4_mapped is None)  # dnspython takes these for IPv4

    assert dns.reversename.from_address(str(address)).to_wire() == reverse_name(address)


@given(ADDRESSES)
def test_a_reverse_name_stands_for_its_address(address: IPAddress) -> None:
    assert (ipaddress.ip_network(address), True) == reverse_prefix(reverse_name(address))


@given(ADDRESSES, st.data())
def test_part_of_a_reverse_name_stands_for_a_prefix(address: IPAddress, data: st.DataObject) -> None:
    bits = data.draw(st.integers(1, 3)) * 8 if address.version == 4 else data.draw(st.integers(1, 31)) * 4
    labels = list(labels_of(reverse_name(address)))
    kept = bits // (8 if address.version == 4 else 4) + 2

    assert (ipaddress.ip_network((address, bits), strict=False), True) == reverse_prefix(from_labels(labels[-kept:]))


@given(st.lists(OCTETS, max_size=4), st.sampled_from([b"in-addr", b"ip6"]))
def test_any_octets_below_arpa_have_a_meaning_or_none(labels: list[bytes], tree: bytes) -> None:
    reverse_prefix(fold(from_labels([*labels, tree, b"arpa"])))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("in-addr.arpa", None),
        ("ip6.arpa", None),
        ("xin-addr.arpa", None),
        ("db.mynet", None),
        ("x.in-addr.arpa", None),
        ("256.in-addr.arpa", None),
        ("g.ip6.arpa", None),
        ("10.ip6.arpa", None),
        ("172.in-addr.arpa", ("172.0.0.0/8", True)),
        ("1.2.0.18.172.in-addr.arpa", ("172.18.0.2/32", False)),
        ("x.18.172.in-addr.arpa", ("172.18.0.0/16", False)),
        ("02.0.18.172.in-addr.arpa", ("172.18.0.0/24", False)),
        ("+2.0.18.172.in-addr.arpa", ("172.18.0.0/24", False)),
        ("0.0.d.f.ip6.arpa", ("fd00::/16", True)),
        ("xx.0.0.d.f.ip6.arpa", ("fd00::/16", False)),
    ],
)
def test_reverse_names_of_all_sorts(text: str, expected: tuple[str, bool] | None) -> None:
    """RFC 1035 3.5: octets without leading zeros; labels in front of an address leave its prefix inexact."""
    found = reverse_prefix(from_text(text))

    assert expected == (found and (str(found[0]), found[1]))


def test_is_below_the_root_is_everything() -> None:
    assert is_below(from_text("a.b"), ROOT)
    assert WireName(b"\0") == names.ROOT


@given(st.one_of(st.ip_addresses(), st.binary(max_size=90)))
def test_whole_reverse_names_are_read_back(value: ipaddress.IPv4Address | ipaddress.IPv6Address | bytes) -> None:
    if isinstance(value, bytes):
        for apex in (b"\7in-addr\4arpa\0", b"\3ip6\4arpa\0"):
            address = reverse_address(value + apex)
            assert address is None or reverse_name(address) == value + apex
    else:
        assert value == reverse_address(reverse_name(value))
        assert reverse_address(b"\1x" + reverse_name(value)) is None
        assert reverse_address(parent_of(reverse_name(value))) is None
