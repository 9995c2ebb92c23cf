"""Whether a server's answers are right, looked at one by one before it is measured: dnsperf counts rcodes only."""

from __future__ import annotations

import random
from itertools import islice

import dns.edns
import dns.exception
import dns.message
import dns.query
import dns.rcode

from benchmarks.peers.files import Registry
from benchmarks.servers import Server
from benchmarks.workloads import SUFFIX, UDP_SIZE, Question, Workload

SAMPLES = 12
_TIMEOUT_S = 5.0


def expected(question: Question) -> tuple[str, list[str]]:
    """The rcode, and the data of the answer's records, for a question about a `Registry`.

    A pointer's name is without the network's, which Docker and pydns add to it.
    """
    name, kind = question
    if kind == "PTR":
        number = int("".join(f"{int(octet):02x}" for octet in reversed(name.split(".")[:3])), 16)
        return "NOERROR", [f"n{number}."]
    if not (name.startswith("n") and name[1:].isdigit()):
        return "NXDOMAIN", []
    number = int(name[1:])
    return "NOERROR", [f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"] if kind == "A" else []


def wrong(server: Server, workload: Workload, registry: Registry, suffix: str) -> str | None:
    """Ask some of the questions; what is wrong with the first answer that is, None when all are right."""
    chance = random.Random("spot check")
    over_tcp = "tcp" in workload.flags
    for question in islice(workload.questions(registry, chance, suffix), SAMPLES):
        query = dns.message.make_query(*question)
        if workload.has_cookies:
            query.use_edns(
                0, 0, UDP_SIZE, options=[dns.edns.GenericOption(dns.edns.OptionType.COOKIE, chance.randbytes(8))]
            )
        ask = dns.query.tcp if over_tcp else dns.query.udp
        try:
            reply = ask(query, server.address, timeout=_TIMEOUT_S, port=server.port)
        except (OSError, EOFError, dns.exception.DNSException) as error:
            return f"{' '.join(question)}: {type(error).__name__} {error}"
        found = dns.rcode.to_text(reply.rcode()), [rdata.to_text() for rrset in reply.answer for rdata in rrset]
        if question[1] == "PTR":
            found = found[0], [name.replace(f".{SUFFIX}.", ".") for name in found[1]]
        if found != expected(question):
            return f"{' '.join(question)}: {found[0]} {', '.join(found[1])}".strip()
    return None
