"""Numbers of the DNS protocol that the fast path compares; plain ints, because enums cost in hot loops.

Source: IANA "Domain Name System (DNS) Parameters"; RFC 1035 4.1.1, 6891, 8914.
"""

from __future__ import annotations

HEADER_SIZE = 12
MAX_NAME_SIZE = 255  # RFC 1035 2.3.4, length octets and root included
MAX_LABEL_SIZE = 63
MIN_UDP_SIZE = 512  # RFC 1035 2.3.4: what every client takes
EDNS_UDP_SIZE = 1232  # what we take; fits the IPv6 minimum MTU, so nothing is ever fragmented
MAX_MESSAGE_SIZE = 65535
MAX_UDP_PAYLOAD = 65507

# Header flags, as bits of the 16-bit word at offset 2.
QR = 0x8000
OPCODE_MASK = 0x7800
AA = 0x0400
TC = 0x0200
RD = 0x0100
RA = 0x0080
AD = 0x0020
CD = 0x0010
RCODE_MASK = 0x000F

NOERROR = 0
FORMERR = 1
SERVFAIL = 2
NXDOMAIN = 3
NOTIMP = 4
REFUSED = 5
BADVERS = 16

RCODE_NAMES = {
    0: "NOERROR",
    1: "FORMERR",
    2: "SERVFAIL",
    3: "NXDOMAIN",
    4: "NOTIMP",
    5: "REFUSED",
    6: "YXDOMAIN",
    7: "YXRRSET",
    8: "NXRRSET",
    9: "NOTAUTH",
    10: "NOTZONE",
    16: "BADVERS",
}

CLASS_IN = 1

A = 1
NS = 2
CNAME = 5
SOA = 6
PTR = 12
MX = 15
TXT = 16
AAAA = 28
SRV = 33
NAPTR = 35
DNAME = 39
OPT = 41
DS = 43
DNSKEY = 48
SVCB = 64
HTTPS = 65
CAA = 257
IXFR = 251
AXFR = 252
ANY = 255

TYPE_NAMES = {
    A: "A",
    NS: "NS",
    CNAME: "CNAME",
    SOA: "SOA",
    PTR: "PTR",
    MX: "MX",
    TXT: "TXT",
    AAAA: "AAAA",
    SRV: "SRV",
    NAPTR: "NAPTR",
    DNAME: "DNAME",
    OPT: "OPT",
    DS: "DS",
    46: "RRSIG",
    47: "NSEC",
    DNSKEY: "DNSKEY",
    50: "NSEC3",
    52: "TLSA",
    SVCB: "SVCB",
    HTTPS: "HTTPS",
    99: "SPF",
    IXFR: "IXFR",
    AXFR: "AXFR",
    ANY: "ANY",
    CAA: "CAA",
}
TYPE_NUMBERS = {name: number for number, name in TYPE_NAMES.items()}

DO = 0x8000  # the DNSSEC-OK bit in the OPT record's TTL field (RFC 3225)
OPTION_EDE = 15  # RFC 8914

EDE_OTHER = 0
EDE_STALE_ANSWER = 3
EDE_CACHED_ERROR = 13
EDE_NOT_READY = 14
EDE_BLOCKED = 15
EDE_PROHIBITED = 18
EDE_STALE_NXDOMAIN = 19
EDE_NOT_SUPPORTED = 21
EDE_NO_REACHABLE_AUTHORITY = 22
EDE_NETWORK_ERROR = 23


def type_name(rtype: int) -> str:
    """The mnemonic of a record type; ``TYPE65280`` for one without (RFC 3597 5)."""
    return TYPE_NAMES.get(rtype) or f"TYPE{rtype}"


def rcode_name(rcode: int) -> str:
    """The mnemonic of a response code; ``RCODE11`` for one without."""
    return RCODE_NAMES.get(rcode) or f"RCODE{rcode}"
