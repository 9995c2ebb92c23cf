"""RRsets as the pipeline passes them on: an owner, a type, a TTL and rdata in wire form."""

from __future__ import annotations

from msgspec import Struct

from resolver.wire.constants import AAAA, PTR, SOA, A
from resolver.wire.name import IPAddress, WireName, from_text

_HOSTMASTER = from_text("hostmaster.invalid")


class RRset(Struct, frozen=True):
    """All records of one owner and type (RFC 2181 5); class IN."""

    owner: WireName
    rtype: int
    ttl: int
    """Seconds."""
    rdatas: tuple[bytes, ...]
    """Uncompressed wire rdata, one for each record."""


def address_rrset(owner: WireName, rtype: int, ttl: int, addresses: tuple[IPAddress, ...]) -> RRset:
    """The A or AAAA RRset of those of ``addresses`` that are of that family; repeated ones once."""
    version = {A: 4, AAAA: 6}[rtype]
    packed = dict.fromkeys(address.packed for address in addresses if address.version == version)
    return RRset(owner, rtype, ttl, tuple(packed))


def ptr_rrset(owner: WireName, ttl: int, target: WireName) -> RRset:
    """The PTR RRset of one target name."""
    return RRset(owner, PTR, ttl, (bytes(target),))


def srv_rdata(port: int, target: WireName) -> bytes:
    """SRV rdata with priority and weight 0 (RFC 2782)."""
    return b"\0\0\0\0" + port.to_bytes(2, "big") + target


def soa_rrset(apex: WireName, serial: int, negative_ttl: int) -> RRset:
    """The SOA that goes with our own negative answers (RFC 2308 3).

    Its TTL and its MINIMUM field are both ``negative_ttl`` seconds. The master name is the apex itself; the mailbox is
    below ``invalid`` (RFC 2606), since nobody reads it.
    """
    numbers = b"".join(n.to_bytes(4, "big") for n in (serial & 0xFFFFFFFF, 3600, 600, 86400, negative_ttl))
    return RRset(apex, SOA, negative_ttl, (apex + _HOSTMASTER + numbers,))
