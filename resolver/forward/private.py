"""Private and local addresses in an upstream's reply, and the reply without them. Pure functions; nothing raises.

What counts as such is what the IANA special-purpose address registries call not globally reachable and what a host or
its neighbours may have all the same: loopback, private and shared networks, link-local, unique local, benchmarking,
reserved. Not those for documentation, for discarding and for multicast, which no server of anybody's has. An IPv6
address that stands for an IPv4 one (mapped, compatible, NAT64 of RFC 6052 and RFC 8215, 6to4) counts as that.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator

from resolver.wire.constants import (
    AAAA,
    AD,
    HEADER_SIZE,
    HTTPS,
    OPT,
    RCODE_MASK,
    SVCB,
    TC,
    A,
)
from resolver.wire.name import IPAddress
from resolver.wire.query import Query
from resolver.wire.records import Record, walk

_PRIVATE_4 = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "240.0.0.0/4",
)
_PRIVATE_6 = ("2001:2::/48", "fc00::/7", "fe80::/10", "fec0::/10")
_HOLDING_IPV4 = (("::/96", 0), ("::ffff:0:0/96", 0), ("64:ff9b::/96", 0), ("2002::/16", 80))
"""IPv6 prefixes whose addresses hold an IPv4 one, and how many bits stand behind it."""
_LOCAL_NAT64 = "64:ff9b:1::/48"
"""For NAT64 prefixes of /48 to /96 (RFC 8215), so the IPv4 address stands in one of these places (RFC 6052 2.2)."""

_COUNTS = struct.Struct("!HHH")
_FLAGS = struct.Struct("!H")
_PARAMETER = struct.Struct("!HH")
_HINTS = {4: 4, 6: 16}
"""SvcParamKeys ipv4hint and ipv6hint (RFC 9460 7.3), and how many octets an address in them has."""


def _compiled(prefix: str) -> tuple[int, int]:
    network = ipaddress.ip_network(prefix)
    return int(network.netmask), int(network.network_address)


_MASKS_4 = tuple(map(_compiled, _PRIVATE_4))
_MASKS_6 = tuple(map(_compiled, _PRIVATE_6))
_MASKS_HOLDING = tuple((*_compiled(prefix), bits) for prefix, bits in _HOLDING_IPV4)
_MASK_NAT64, _VALUE_NAT64 = _compiled(_LOCAL_NAT64)
_U = 0xFF << 56
"""Bits 64 to 71, which divide the address in prefixes shorter than /96, and are zero."""


def is_private(octets: bytes) -> bool:
    """Whether an address of 4 or 16 octets is private or local."""
    number = int.from_bytes(octets, "big")
    if len(octets) == 4:
        return any(number & mask == value for mask, value in _MASKS_4)
    if any(number & mask == value for mask, value in _MASKS_6):
        return True
    for mask, value, bits in _MASKS_HOLDING:
        if number & mask == value:
            return is_private((number >> bits & 0xFFFFFFFF).to_bytes(4, "big"))
    return number & _MASK_NAT64 == _VALUE_NAT64 and any(is_private(held) for held in _translated(number))


def _translated(number: int) -> Iterator[bytes]:
    """The IPv4 addresses that a local NAT64 may take an address for.

    What follows the IPv4 address is zero, which tells how long the prefix is; a translator for the whole /48 may pass
    over that, so that place counts in any case.
    """
    octets = ((number >> 64) << 56 | number & (1 << 56) - 1).to_bytes(15, "big")
    fitting = () if number & _U else [start for start in (6, 7, 8) if not any(octets[start + 4 :])]
    if fitting:
        yield octets[fitting[0] : fitting[0] + 4]
    else:
        yield octets[-4:]
    if octets[6]:  # else it is the /96 of 64:ff9b:1::, most likely
        yield octets[6:10]


def without_private(query: Query, reply: bytes) -> tuple[bytes, IPAddress | None]:
    """A reply that `replies.verify` accepted, as it may be passed on, and what was wrong with its answer.

    With a private address among its answers it becomes NOERROR without a record, and that address is returned. When
    one stands among the additional records only, these are left out.
    """
    answers, authorities, additionals = _COUNTS.unpack_from(reply, 6)
    is_additional_private = False
    opt: Record | None = None
    end = query.question_end
    for index, record in enumerate(walk(reply, end, answers + authorities + additionals)):
        is_additional = index >= answers + authorities
        if not is_additional:
            end = record.end
        if record.rtype == OPT:
            opt = record
            continue
        address = next(filter(is_private, _addresses(reply, record)), None)
        if address is None:
            continue
        if not is_additional:
            return _without_records(query, reply), ipaddress.ip_address(address)
        is_additional_private = True
    if not is_additional_private:
        return reply, None
    tail = b"" if opt is None else reply[opt.offset : opt.end]  # its owner is the root: it can be moved
    head = reply[:6] + _COUNTS.pack(answers, authorities, 0 if opt is None else 1)
    return head + reply[HEADER_SIZE:end] + tail, None


def _without_records(query: Query, reply: bytes) -> bytes:
    flags = _FLAGS.unpack_from(reply, 2)[0] & ~(TC | AD | RCODE_MASK)
    return reply[:2] + _FLAGS.pack(flags) + b"\0\1\0\0\0\0\0\0" + reply[HEADER_SIZE : query.question_end]


def _addresses(reply: bytes, record: Record) -> Iterator[bytes]:
    """The addresses that a client may take from a record; of one that is malformed none, as clients do not either."""
    size = record.end - record.rdata_offset
    if (record.rtype == A and size == 4) or (record.rtype == AAAA and size == 16):
        yield reply[record.rdata_offset : record.end]
    elif record.rtype in (SVCB, HTTPS):
        yield from _hints(reply, record)


def _hints(reply: bytes, record: Record) -> Iterator[bytes]:
    position = record.rdata_offset + 2
    while position < record.end and (size := reply[position]):
        if size >= 0xC0:  # RFC 9460 2.2 has no compression here; some servers have
            position += 1
            break
        position += 1 + size
    position += 1
    while position + 4 <= record.end:
        key, size = _PARAMETER.unpack_from(reply, position)
        position += 4
        step = _HINTS.get(key)
        if step is not None:
            for start in range(position, min(position + size, record.end) - step + 1, step):
                yield reply[start : start + step]
        position += size
