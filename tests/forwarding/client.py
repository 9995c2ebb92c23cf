"""A client's view of a server: whole replies, by whatever transport they need, many at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.scenarios.live import At

WITHIN_S = 15.0
AD, CD, DO = dns.flags.AD, dns.flags.CD, dns.flags.DO

T = TypeVar("T")
Given = TypeVar("Given")


class Records(NamedTuple):
    """A record set, its TTL aside."""

    name: str
    rtype: str
    rdata: frozenset[str]


def fetch(at: At, name: str, rtype: str = "A", **options: Any) -> dns.message.Message:
    """The reply to a query as a stub gets it: over UDP, if truncated over TCP; options as those of `make_query`."""
    query = dns.message.make_query(name, rtype, **options)
    reply, _ = dns.query.udp_with_fallback(query, at.host, WITHIN_S, at.port)
    return reply


def by_udp(at: At, name: str, rtype: str = "A", *, within_s: float = WITHIN_S, **options: Any) -> dns.message.Message:
    """The reply over UDP, truncated or not."""
    return dns.query.udp(dns.message.make_query(name, rtype, **options), at.host, within_s, at.port)


def records(section: Iterable[dns.rrset.RRset]) -> set[Records]:
    """A section without order, TTLs and the letter case of its owners: that is of the question that was asked first."""
    return {
        Records(
            rrset.name.to_text().lower(),
            dns.rdatatype.to_text(rrset.rdtype),
            frozenset(rdata.to_text() for rdata in rrset),
        )
        for rrset in section
    }


def ttls(section: Iterable[dns.rrset.RRset]) -> dict[tuple[str, str], int]:
    """The TTLs of a section's record sets."""
    return {(rrset.name.to_text().lower(), dns.rdatatype.to_text(rrset.rdtype)): rrset.ttl for rrset in section}


def types(section: Iterable[dns.rrset.RRset]) -> set[str]:
    """The types of a section's record sets."""
    return {dns.rdatatype.to_text(rrset.rdtype) for rrset in section}


def codes(reply: dns.message.Message) -> list[int]:
    """The codes of the extended errors."""
    return [int(option.code) for option in reply.extended_errors()]


def status(reply: dns.message.Message) -> str:
    """The rcode by its name."""
    return dns.rcode.to_text(reply.rcode())


def at_once(work: Callable[[Given], T], given: Iterable[Given], workers: int = 16) -> list[T]:
    """The results of ``work``, in the order of what is given, so many at a time."""
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(work, given))
