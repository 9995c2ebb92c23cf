"""What the scripted upstream knows by heart."""

from __future__ import annotations

from functools import cache

SOA = "ns.up.test. admin.up.test. 2024010101 3600 900 604800 60"
LIMITED_TO = 212
"""Octets that one of its TXT records takes on the wire."""

_PLAIN = f"""
a.ex.test.            300        A       192.0.2.1
both.ex.test.         300        A       192.0.2.2
both.ex.test.         300        AAAA    2001:db8::2
aaaa.ex.test.         300        AAAA    2001:db8::3
multi.ex.test.        120        A       192.0.2.11
multi.ex.test.        120        A       192.0.2.12
multi.ex.test.        120        A       192.0.2.13
multi.ex.test.        120        A       192.0.2.14
mx.ex.test.           300        MX      10 mail.ex.test.
mx.ex.test.           300        MX      20 mail2.ex.test.
txt.ex.test.          300        TXT     "hello world"
txt.ex.test.          300        TXT     "second"
_sip._tcp.ex.test.    300        SRV     0 5 5060 a.ex.test.
https.ex.test.        300        HTTPS   1 . alpn=h2,h3 ipv4hint=192.0.2.1
svcb.ex.test.         300        SVCB    1 a.ex.test. port=853
caa.ex.test.          300        CAA     0 issue "ca.test"
ex.test.              300        NS      ns.up.test.
ex.test.              300        SOA     {SOA}
ex.test.              300        A       192.0.2.9
cname.ex.test.        300        CNAME   a.ex.test.
naptr.ex.test.        300        NAPTR   100 10 "U" "E2U+sip" "!^.*$!sip:x@ex.test!" .
unk.ex.test.          300        TYPE65280 \\# 4 01020304
ttl0.ex.test.         0          A       192.0.2.20
ttlmax.ex.test.       2147483647 A       192.0.2.21
override.ex.test.     300        A       192.0.2.23
override.ex.test.     300        AAAA    2001:db8::23
override.ex.test.     300        TXT     "upstream override"
mixed.case.ex.test.   300        A       192.0.2.22
onlyup.               300        A       203.0.113.77
onlyup.               300        AAAA    2001:db8::77
onlyup.               300        TXT     "onlyup"
onlyup.mynet.         300        A       203.0.113.78
onlyup.search.test.   300        A       203.0.113.79
.                     518400     NS      a.root.test.
.                     518400     NS      b.root.test.
.                     86400      SOA     {SOA}
"""
_ASKED_AS = {
    ("cname.ex.test.", "A"): ("cname.ex.test. 300 CNAME a.ex.test.", "a.ex.test. 60 A 192.0.2.1"),
    ("todb.ex.test.", "A"): ("todb.ex.test. 300 CNAME db.",),
    ("any.ex.test.", "ANY"): ("any.ex.test. 300 A 192.0.2.8", 'any.ex.test. 300 TXT "any"'),
}
"""Answers that are not records of the type that was asked for."""

_LEAKS = {
    0: "web",
    1: "db",
    2: "pool",
    3: "www",
    5: "shared",
    6: "solo",
    7: "secret",
    8: "database",
    9: "localhost",
    10: "host.docker.internal",
    11: "gateway.docker.internal",
    12: "db.mynet",
    13: "db.othernet",
    14: "secret.intnet",
}
"""Names of containers: an answer from here shows that such a name went upstream."""


@cache
def records() -> dict[str, dict[str, tuple[str, ...]]]:
    """Lines of records by lower-case name and the type that they answer."""
    zone: dict[str, dict[str, tuple[str, ...]]] = {}

    def add(name: str, rtype: str, *lines: str) -> None:
        types = zone.setdefault(name.lower(), {})
        types[rtype] = (*types.get(rtype, ()), *lines)

    for line in _PLAIN.strip().splitlines():
        name, _, rtype, _ = line.split(None, 3)
        add(name, rtype, line)
    for (name, rtype), lines in _ASKED_AS.items():
        add(name, rtype, *lines)
    for number, leak in _LEAKS.items():
        rdatas = {
            "A": f"203.0.113.{100 + number}",
            "AAAA": f"2001:db8::{100 + number:x}",
            "TXT": '"leaked upstream"',
            "MX": "5 leaked.up.test.",
        }
        for rtype, rdata in rdatas.items():
            add(f"{leak}.", rtype, f"{leak}. 111 {rtype} {rdata}")
    for at in range(1, 61):
        add("bigA.ex.test.", "A", f"bigA.ex.test. 60 A 198.18.0.{at}")
    return zone
