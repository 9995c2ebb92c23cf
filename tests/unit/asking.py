"""Questions as bytes, views from text, and what the pipeline says to them as dnspython reads it; no sockets."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from typing import NamedTuple

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from resolver.assembly import own_upstreams
from resolver.forward.upstreams import Upstream
from resolver.pipeline.chain import Chain
from resolver.pipeline.outcome import Decision, Forward, Reply
from resolver.pipeline.stages import ForwardPolicy, InternalNames
from resolver.registry.model import Contribution
from resolver.registry.store import Store
from resolver.server.state import State
from resolver.sources import hosts, registry_toml
from resolver.views import View, Views, ViewSettings
from resolver.wire.constants import CLASS_IN, MAX_MESSAGE_SIZE, RD, TYPE_NUMBERS
from resolver.wire.name import WireName, from_text
from resolver.wire.query import Query, scan
from resolver.wire.reply import compose
from resolver.zones.model import Zone, ZoneSet
from resolver.zones.zonefile import read_zone

CHAIN = Chain.of(InternalNames(), ForwardPolicy())
ID = 0xBEEF


def question(name: WireName | str, rtype: int | str = "A", rclass: int = CLASS_IN) -> bytes:
    wire = from_text(name) if isinstance(name, str) else name
    number = TYPE_NUMBERS[rtype] if isinstance(rtype, str) else rtype
    return wire + number.to_bytes(2, "big") + rclass.to_bytes(2, "big")


def header(flags: int = RD, questions: int = 1, answers: int = 0, authorities: int = 0, additionals: int = 0) -> bytes:
    return b"".join(number.to_bytes(2, "big") for number in (ID, flags, questions, answers, authorities, additionals))


def opt(payload: int = 1232, version: int = 0, do: bool = False, rdata: bytes = b"", owner: bytes = b"\0") -> bytes:
    ttl = version << 16 | (0x8000 if do else 0)
    return (
        owner
        + (41).to_bytes(2, "big")
        + payload.to_bytes(2, "big")
        + ttl.to_bytes(4, "big")
        + len(rdata).to_bytes(2, "big")
        + rdata
    )


def query(
    name: WireName | str,
    rtype: int | str = "A",
    *,
    edns: bytes | None = None,
    flags: int = RD,
    rclass: int = CLASS_IN,
) -> Query:
    wire = header(flags, additionals=0 if edns is None else 1) + question(name, rtype, rclass) + (edns or b"")
    scanned = scan(wire)
    assert isinstance(scanned, Query)
    return scanned


def zone_of(apex: str, body: str) -> Zone:
    def text_of(path: str) -> str:
        if path != f"{apex}.zone":
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return f"$TTL 3600\n@ SOA ns1 hostmaster 7 3600 600 86400 60\n@ NS ns1\nns1 A 192.0.2.53\n{body}"

    read = read_zone(f"{apex}.zone", text_of)
    assert read.zone is not None, [str(fault) for fault in read.faults]
    return read.zone


def views_of(
    *tomls: str,
    hosts_text: str = "",
    zones: Iterable[Zone] = (),
    settings: ViewSettings | None = None,
    previous: Views | None = None,
) -> Views:
    contributions: list[Contribution] = []
    for index, text in enumerate(tomls):
        loaded = registry_toml.read(text, f"{index}.toml")
        assert loaded.contribution is not None, [str(fault) for fault in loaded.faults]
        contributions.append(loaded.contribution)
    if hosts_text:
        loaded = hosts.read(hosts_text, "hosts")
        assert loaded.contribution is not None
        contributions.append(loaded.contribution)
    store = Store()
    store.replace(contributions)
    return Views(store.snapshot, ZoneSet(zones), settings or ViewSettings(), previous)


class Told(NamedTuple):
    """What became of a question."""

    decision: Decision
    reply: dns.message.Message | None

    @property
    def stage(self) -> str:
        return self.decision.stage

    @property
    def message(self) -> dns.message.Message:
        assert self.reply is not None, "it was forwarded"
        return self.reply

    @property
    def rcode(self) -> str:
        return dns.rcode.to_text(self.message.rcode())

    @property
    def flags(self) -> str:
        return dns.flags.to_text(self.message.flags)

    @property
    def answer(self) -> list[str]:
        return lines(self.message.answer)

    @property
    def authority(self) -> list[str]:
        return lines(self.message.authority)

    @property
    def additional(self) -> list[str]:
        return lines(self.message.additional)

    @property
    def soa(self) -> str:
        """The owner of the SOA in a negative answer."""
        assert not self.message.answer
        (rrset,) = self.message.authority
        assert rrset.rdtype == dns.rdatatype.SOA
        return rrset.name.to_text()

    @property
    def ede(self) -> tuple[int, str] | None:
        reply = self.decision.outcome
        assert isinstance(reply, Reply)
        return reply.answer.ede

    @property
    def forwarded(self) -> Forward:
        outcome = self.decision.outcome
        assert isinstance(outcome, Forward), outcome
        return outcome

    @property
    def verdict(self) -> tuple[str, str, str]:
        """Rcode, owner of the SOA, stage: all there is to a negative answer."""
        return self.rcode, self.soa, self.stage


def ask(
    view: View,
    name: WireName | str,
    rtype: int | str = "A",
    *,
    chain: Chain = CHAIN,
    limit: int = MAX_MESSAGE_SIZE,
    edns: bytes | None = None,
    flags: int = RD,
    rclass: int = CLASS_IN,
    upstreams: tuple[Upstream, ...] = (),
) -> Told:
    """What becomes of a question, where ``upstreams`` are everybody's."""
    asked = query(name, rtype, edns=edns, flags=flags, rclass=rclass)
    views = Views(Store().snapshot, ZoneSet(()), ViewSettings())
    decision = State(views, chain, upstreams, own_upstreams).decide(asked, view)
    if isinstance(decision.outcome, Forward):
        return Told(decision, None)
    wire = compose(asked, decision.outcome.answer, limit)
    return Told(decision, dns.message.from_wire(wire, one_rr_per_rrset=False))


def lines(rrsets: Iterable[dns.rrset.RRset]) -> list[str]:
    return [
        f"{rrset.name} {rrset.ttl} {dns.rdatatype.to_text(rrset.rdtype)} {rdata.to_text()}"
        for rrset in rrsets
        for rdata in rrset
    ]


def addresses(told: Told) -> set[str]:
    return {rdata.to_text() for rrset in told.message.answer for rdata in rrset}
