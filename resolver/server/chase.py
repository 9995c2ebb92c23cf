"""A CNAME of ours that leads to somebody else's name: ask for that, and put the parts together (RFC 1034 4.3.2 3a).

dnspython takes the upstream's reply apart, because its names are compressed against a message that the client never
sees; it is imported on the first such answer only.
"""

from __future__ import annotations

from resolver.pipeline.outcome import Forward
from resolver.wire.constants import CLASS_IN, EDE_OTHER, HEADER_SIZE, RCODE_MASK, SERVFAIL, TC
from resolver.wire.name import WireName
from resolver.wire.query import Query, scan
from resolver.wire.reply import Answer, compose
from resolver.wire.rrset import RRset

_TC_OCTET = TC >> 8


def query_for(query: Query, forward: Forward) -> Query:
    """The client's query with the CNAME's target in place of its name."""
    question = forward.question.qname + query.wire[query.question_end - 4 : query.question_end]
    asked = scan(query.wire[:HEADER_SIZE] + question + query.wire[query.question_end :])
    if not isinstance(asked, Query):  # both halves have passed the scan already
        raise TypeError(f"a query put together from two good halves is {asked}")
    return asked


def join(
    query: Query, chased: tuple[RRset, ...], reply: bytes, limit: int, ede: tuple[int, str] | None = None
) -> bytes:
    """The reply to the client: the CNAME records that led away, then what the upstream said about their target.

    ``ede`` is an extended error of our own; without one the upstream's first is passed on.
    """
    import dns.exception
    import dns.message

    try:
        message = dns.message.from_wire(reply, ignore_trailing=True)
    except dns.exception.DNSException:
        return compose(query, Answer(SERVFAIL, chased, ede=(EDE_OTHER, "the upstream's reply cannot be read")), limit)
    sections = []
    for section in (message.answer, message.authority):
        rrsets = []
        for rrset in section:
            if rrset.rdclass == CLASS_IN:
                rdatas = tuple(rdata.to_wire() or b"" for rdata in rrset)
                rrsets.append(RRset(WireName(rrset.name.to_wire() or b"\0"), int(rrset.rdtype), rrset.ttl, rdatas))
        sections.append(tuple(rrsets))
    answer, authority = sections
    rcode = int(message.rcode())
    if query.edns is None and rcode > RCODE_MASK:  # its upper bits go with the OPT, and what is left would be another
        rcode = SERVFAIL
    if ede is None and (told := message.extended_errors()):
        ede = int(told[0].code), told[0].text or ""
    joined = compose(query, Answer(rcode, chased + answer, authority, ede=ede), limit)
    return joined[:2] + bytes((joined[2] | reply[2] & _TC_OCTET,)) + joined[3:]
