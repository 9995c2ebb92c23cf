"""RRsets of our own making, as dnspython reads them."""

from __future__ import annotations

import ipaddress

import dns.rdata
from dns.rdataclass import IN
from dns.rdatatype import RdataType

from resolver.wire.constants import AAAA, SOA, SRV, A
from resolver.wire.name import from_text
from resolver.wire.rrset import RRset, address_rrset, ptr_rrset, soa_rrset, srv_rdata

ADDRESSES = tuple(ipaddress.ip_address(text) for text in ("192.0.2.1", "2001:db8::1", "192.0.2.2", "192.0.2.1"))


def texts(rrset: RRset) -> list[str]:
    return [
        dns.rdata.from_wire(IN, RdataType.make(rrset.rtype), rdata, 0, len(rdata)).to_text() for rdata in rrset.rdatas
    ]


def test_addresses_of_the_family_that_is_asked_each_once() -> None:
    owner = from_text("db")

    assert ["192.0.2.1", "192.0.2.2"] == texts(address_rrset(owner, A, 600, ADDRESSES))
    assert ["2001:db8::1"] == texts(address_rrset(owner, AAAA, 600, ADDRESSES))


def test_a_ptr_is_its_target() -> None:
    assert ["db.mynet."] == texts(ptr_rrset(from_text("2.0.18.172.in-addr.arpa"), 600, from_text("db.mynet")))


def test_srv_has_priority_and_weight_0() -> None:
    """RFC 2782."""
    assert ["0 0 65535 db.mynet."] == texts(
        RRset(from_text("_x._tcp.db"), SRV, 1, (srv_rdata(65535, from_text("db.mynet")),))
    )


def test_the_soa_lets_a_negative_answer_be_kept_for_its_ttl() -> None:
    """RFC 2308 3: TTL and MINIMUM; a serial has 32 bits."""
    soa = soa_rrset(from_text("mynet"), 2**32 + 7, 10)

    assert (SOA, 10) == (soa.rtype, soa.ttl)
    assert ["mynet. hostmaster.invalid. 7 3600 600 86400 10"] == texts(soa)
