"""Zones from text and answers as text, for the tests of this folder."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping

import dns.rdata
import dns.rdataclass
import dns.rdatatype

from resolver.wire.constants import TYPE_NUMBERS, rcode_name, type_name
from resolver.wire.name import fold, from_text, to_text
from resolver.wire.rrset import RRset
from resolver.zones.model import Found, Zone
from resolver.zones.zonefile import ZoneText, read_zone

HEAD = """\
$TTL 3600
@ SOA ns1 hostmaster 7 3600 600 86400 60
@ NS ns1
ns1 A 192.0.2.53
"""


def read(files: Mapping[str, str], path: str = "example.test.zone") -> ZoneText:
    def text_of(name: str) -> str:
        if name not in files:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return files[name]

    return read_zone(path, text_of)


def zone_of(body: str, path: str = "example.test.zone", head: str = HEAD) -> Zone:
    result = read({path: head + body}, path)
    assert result.zone is not None, [str(fault) for fault in result.faults]
    return result.zone


def ask(zone: Zone, qname: str, qtype: str) -> Found:
    name = from_text(qname)
    return zone.find(fold(name), name, TYPE_NUMBERS[qtype])


def lines(rrsets: Iterable[RRset]) -> list[str]:
    """``owner ttl type rdata``, one record a line, in their order."""
    return [
        f"{to_text(rrset.owner)} {rrset.ttl} {type_name(rrset.rtype)} "
        + dns.rdata.from_wire(
            dns.rdataclass.IN, dns.rdatatype.RdataType.make(rrset.rtype), rdata, 0, len(rdata)
        ).to_text()
        for rrset in rrsets
        for rdata in rrset.rdatas
    ]


def rcode(found: Found) -> str:
    return rcode_name(found.rcode)


def faults_of(body: str, head: str = HEAD) -> list[str]:
    """``line: message (fix)`` of each fault of a zone file ``example.test.zone``."""
    return [str(fault).removeprefix("example.test.zone:") for fault in read({"example.test.zone": head + body}).faults]
