"""Domain names as wire bytes: from text and back, folding case, walking suffixes, reverse names.

A `WireName` is uncompressed: length octets, labels, and the root's zero octet (RFC 1035 3.1). Names that are compared
are *folded*: ASCII letters in lower case (RFC 4343).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from functools import lru_cache
from typing import NewType

from resolver.wire.constants import MAX_LABEL_SIZE, MAX_NAME_SIZE

WireName = NewType("WireName", bytes)
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

ROOT = WireName(b"\0")
_IN_ADDR_ARPA = b"\x07in-addr\x04arpa\0"
_IP6_ARPA = b"\x03ip6\x04arpa\0"
_PLAIN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
_SIZES = tuple(bytes((size,)) for size in range(256))
_OCTET_OF = {b"%d" % octet: octet for octet in range(256)}  # RFC 1035 3.5: without leading zeros
_IP6_NAME_SIZE = 64 + len(_IP6_ARPA)


def from_labels(labels: list[bytes] | tuple[bytes, ...]) -> WireName:
    """Join labels; the caller has checked their sizes."""
    if len(labels) == 1:
        return WireName(_SIZES[len(labels[0])] + labels[0] + b"\0")
    return WireName(b"".join([_SIZES[len(label)] + label for label in labels]) + b"\0")


def is_plain(text: str) -> bool:
    """True for a name that is good at a glance: short, of letters, digits, hyphens, underscores and single dots.

    Nearly every name is, and a registry may have a million of them.
    """
    return 0 < len(text) <= MAX_LABEL_SIZE and not text.strip(_PLAIN) and text[0] != "." and ".." not in text


def from_text(text: str) -> WireName:
    """The wire form of an absolute name given as text, with or without its final dot; letter case is kept.

    Raises ValueError, with a sentence for a person, for what cannot be a name of ours: an empty label, a label of over
    63 octets, a name of over 255, white space, control characters, or anything that is not ASCII.
    """
    bare = text[:-1] if text.endswith(".") else text
    if is_plain(bare):
        return from_labels(bare.encode("ascii").split(b"."))
    if not bare:
        if text == ".":
            return ROOT
        raise ValueError("a name may not be empty")
    if not bare.isascii():
        raise ValueError(f"{text!r} is not ASCII; write it in its xn-- form (RFC 5890)")
    if not bare.isprintable() or " " in bare or "\\" in bare:
        raise ValueError(f"{text!r} has a space, a backslash or a control character")
    labels = bare.encode("ascii").split(b".")
    for label in labels:
        if not label:
            raise ValueError(f"{text!r} has an empty label (two dots in a row, or one in front)")
        if len(label) > MAX_LABEL_SIZE:
            raise ValueError(f"label {label.decode()!r} has {len(label)} octets; {MAX_LABEL_SIZE} is the most")
    name = from_labels(labels)
    if len(name) > MAX_NAME_SIZE:
        raise ValueError(f"{text[:40]!r}… has {len(name)} octets on the wire; {MAX_NAME_SIZE} is the most")
    return name


def key_of(text: str) -> WireName:
    """The folded wire form of a name that is known to be one, for look-ups."""
    return from_labels(text.lower().removesuffix(".").encode("ascii").split(b"."))


def to_text(name: bytes) -> str:
    """The text of a wire name with its final dot; other than printable ASCII is escaped as ``\\DDD`` (RFC 4343 2.1)."""
    parts = []
    for label in labels_of(name):
        text = ""
        for octet in label:
            if octet in b'.\\"();@$':
                text += "\\" + chr(octet)
            elif 0x21 <= octet <= 0x7E:
                text += chr(octet)
            else:
                text += f"\\{octet:03d}"
        parts.append(text)
    return ".".join(parts) + "."


def fold(name: bytes) -> WireName:
    """The name with ASCII letters in lower case; length octets are below 64 and so are no letters."""
    return WireName(name.lower())


def labels_of(name: bytes) -> Iterator[bytes]:
    """The labels from left to right, without the root's empty one."""
    position = 0
    while size := name[position]:
        yield name[position + 1 : position + 1 + size]
        position += 1 + size


def suffixes_of(name: bytes) -> Iterator[WireName]:
    """The name itself, then each ancestor, the root last."""
    position = 0
    while size := name[position]:
        yield WireName(name[position:])
        position += 1 + size
    yield ROOT


@lru_cache(maxsize=16)
def lineage_of(name: bytes) -> tuple[WireName, ...]:
    """What `suffixes_of` yields, remembered for a moment: one question's are looked at again and again."""
    found = []
    position = 0
    while size := name[position]:
        found.append(WireName(name[position:]))
        position += 1 + size
    found.append(ROOT)
    return tuple(found)


def parent_of(name: bytes) -> WireName:
    """The name without its leftmost label; the root is its own parent."""
    return WireName(name[1 + name[0] :]) if name[0] else ROOT


def is_below(name: bytes, ancestor: bytes) -> bool:
    """True when ``name`` is ``ancestor`` or below it; both are folded.

    Compared at label boundaries: ``xdocker.internal`` is not below ``docker.internal``.
    """
    if not name.endswith(ancestor):
        return False
    cut = len(name) - len(ancestor)
    position = 0
    while position < cut:
        position += 1 + name[position]
    return position == cut


def is_single_label(name: bytes) -> bool:
    """True for a name that is one label below the root."""
    return name[0] > 0 and name[1 + name[0]] == 0


def label_count(name: bytes) -> int:
    """How many labels the name has, the root's not counted."""
    return sum(1 for _ in labels_of(name))


def reverse_name(address: IPAddress) -> WireName:
    """The name below in-addr.arpa or ip6.arpa at which an address has its PTR (RFC 1035 3.5, RFC 3596 2.5)."""
    return from_text(address.reverse_pointer)


def reverse_address(name: bytes) -> IPAddress | None:
    """The address whose whole reverse name a folded name is; None for any other octets, well-formed or not."""
    if not name.endswith(_IN_ADDR_ARPA):
        if len(name) != _IP6_NAME_SIZE or not is_below(name, _IP6_ARPA):
            return None
        covered = reverse_prefix(name)
        is_whole = covered is not None and covered[1] and covered[0].prefixlen == covered[0].max_prefixlen
        return covered[0].network_address if covered is not None and is_whole else None
    head = name[: -len(_IN_ADDR_ARPA)]
    octets: list[int] = []
    position = 0
    while position < len(head) and len(octets) < 4:
        end = position + 1 + head[position]
        octet = _OCTET_OF.get(head[position + 1 : end])
        if octet is None:
            return None
        octets.append(octet)
        position = end
    if position != len(head) or len(octets) != 4:
        return None
    return ipaddress.IPv4Address(bytes(reversed(octets)))


def reverse_prefix(
    name: bytes,
) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, bool] | None:
    """What a folded name below in-addr.arpa or ip6.arpa stands for; None for any other name, and for the two apexes.

    Returns the addresses that the name covers, and whether the name is exactly theirs: labels in front of the address
    (``lb._dns-sd._udp.0.0.18.172.in-addr.arpa.``) leave the prefix as it is and make it inexact.
    """
    if name.endswith(_IN_ADDR_ARPA):
        labels = list(labels_of(name))[:-2]
        octets: list[int] = []
        for label in reversed(labels):
            if len(octets) == 4 or label not in _OCTET_OF:
                break
            octets.append(int(label))
        if not octets:
            return None
        packed = bytes(octets).ljust(4, b"\0")
        return ipaddress.IPv4Network((packed, 8 * len(octets))), len(octets) == len(labels)
    if name.endswith(_IP6_ARPA):
        labels = list(labels_of(name))[:-2]
        nibbles = ""
        for label in reversed(labels):
            if len(nibbles) == 32 or len(label) != 1 or label not in b"0123456789abcdef":
                break
            nibbles += chr(label[0])
        if not nibbles:
            return None
        packed = bytes.fromhex(nibbles.ljust(32, "0"))
        return ipaddress.IPv6Network((packed, 4 * len(nibbles))), len(nibbles) == len(labels)
    return None
