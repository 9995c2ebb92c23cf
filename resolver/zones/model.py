"""Static zones and the authoritative look-up in them: RFC 1034 4.3.2, RFC 4592 (wildcards), RFC 6672 (DNAME).

No I/O, no clock, no dnspython: a look-up is a handful of dictionary look-ups on wire names. Zones are built by
`resolver.zones.build` and asked by the pipeline, through `ZoneSet.find`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from resolver.wire.constants import (
    AAAA,
    ANY,
    CNAME,
    DNAME,
    DS,
    EDE_OTHER,
    HTTPS,
    MAX_NAME_SIZE,
    MX,
    NOERROR,
    NS,
    NXDOMAIN,
    SERVFAIL,
    SRV,
    SVCB,
    A,
)
from resolver.wire.name import ROOT, WireName, fold, is_below, lineage_of, parent_of, suffixes_of, to_text
from resolver.wire.rrset import RRset

MAX_LINKS = 16
"""How many aliases one answer follows."""

YXDOMAIN = 6
WILDCARD_LABEL = b"\x01*"

# Where the target's name begins in rdata, for types whose targets' addresses go along (RFC 1035 3.3, 2782, 9460 4.1).
_TARGET_OFFSETS = {NS: 0, MX: 2, SRV: 6, SVCB: 2, HTTPS: 2}
_EMPTY: Mapping[int, RRset] = {}


class Found(Struct, frozen=True):
    """What a zone says to a question; the fields that it shares with `resolver.wire.reply.Answer` mean the same."""

    rcode: int
    answer: tuple[RRset, ...] = ()
    authority: tuple[RRset, ...] = ()
    additional: tuple[RRset, ...] = ()
    authoritative: bool = True
    is_referral: bool = False
    """The name asked, or the last alias' target, is below a zone cut; ``authority`` has the NS RRset of the child."""
    cname_target: WireName | None = None
    """Where the aliases in ``answer`` lead out of our authority; the caller goes on with the same type there.

    With ``is_referral`` too when the target is below a zone cut. None when the answer is whole.
    """
    ede: tuple[int, str] | None = None
    """Extended error (RFC 8914) that goes with a SERVFAIL."""


class Place(NamedTuple):
    """Where a record was written."""

    file: str
    line: int


class _Exact(NamedTuple):
    """The node of the name, or of the wildcard that stands for it."""

    node: Mapping[int, RRset]


class _Cut(NamedTuple):
    """The name is at or below a delegation."""

    name: WireName


class _Redirected(NamedTuple):
    """The name is below a DNAME."""

    name: WireName


class _Missing(NamedTuple):
    """No node and no wildcard."""


class Zone(Struct, frozen=True):
    """One zone, as read; nothing in it changes after it was built."""

    apex: WireName
    """Folded."""
    soa: RRset
    negative_soa: RRset
    """The SOA for negative answers: its TTL is at most its MINIMUM field (RFC 2308 3)."""
    serial: int
    nodes: Mapping[WireName, Mapping[int, RRset]]
    """Folded owner → type → RRset; an empty non-terminal has an empty node (RFC 4592 2.2.2)."""
    cuts: frozenset[WireName]
    """Folded names of the delegations."""
    file: str
    """The zone file; its parts may stand in others (`place_of`)."""
    places: Mapping[tuple[WireName, int], Place]

    def place_of(self, key: WireName, rtype: int) -> Place | None:
        """File and line of the first record of an RRset, for a folded owner."""
        return self.places.get((key, rtype))

    def find(self, key: WireName, qname: WireName, qtype: int) -> Found:
        """The answer for a name at or below the apex; ``key`` is ``qname`` folded.

        Aliases are followed inside the zone. Owners in the answer carry the letters of ``qname`` or of the alias that
        led there.
        """
        links: list[RRset] = []
        seen: set[WireName] = set()
        while True:
            seen.add(key)
            match self._locate(key, qtype):
                case _Missing():
                    return self._negative(NXDOMAIN, links, qname)
                case _Cut(name):
                    return self._referral(name, links, qname)
                case _Redirected(name):
                    redirection = _owned(self.nodes[name][DNAME], _letters(qname, name))
                    links.append(redirection)
                    target = WireName(qname[: len(qname) - len(name)] + redirection.rdatas[0])
                    if len(target) > MAX_NAME_SIZE:
                        return Found(YXDOMAIN, tuple(links))
                    alias = RRset(qname, CNAME, redirection.ttl, (target,))
                case _Exact(node):
                    if qtype == ANY and node:
                        return self._positive(min(node.values(), key=_size), links, qname)
                    if rrset := node.get(qtype):
                        return self._positive(rrset, links, qname)
                    if CNAME not in node:
                        return self._negative(NOERROR, links, qname)
                    alias = _owned(node[CNAME], qname)
                    target = WireName(alias.rdatas[0])
            links.append(alias)
            if qtype in (CNAME, ANY):  # asked of a name below a DNAME: the CNAME made of it is the answer
                return Found(NOERROR, tuple(links))
            key, qname = fold(target), target
            if not is_below(key, self.apex):
                return Found(NOERROR, tuple(links), cname_target=target)
            if key in seen or len(seen) == MAX_LINKS:
                return _endless(links, target)

    def _locate(self, key: WireName, qtype: int) -> _Exact | _Cut | _Redirected | _Missing:
        """Go down label by label from the apex, so that the highest delegation or DNAME decides (RFC 1034 4.3.2)."""
        apex, nodes = self.apex, self.nodes
        path = []
        for suffix in suffixes_of(key):
            path.append(suffix)
            if len(suffix) <= len(apex):
                break
        encloser, node = apex, _EMPTY
        for name in reversed(path):
            found = nodes.get(name)
            if found is None:
                wildcard = nodes.get(WireName(WILDCARD_LABEL + encloser))
                return _Missing() if wildcard is None else _Exact(wildcard)
            node = found
            if NS in node and name != apex and not (qtype == DS and name == key):
                return _Cut(name)
            if DNAME in node and name != key:
                return _Redirected(name)
            encloser = name
        return _Exact(node)

    def _positive(self, rrset: RRset, links: list[RRset], qname: WireName) -> Found:
        answer = (*links, _owned(rrset, qname))
        return Found(NOERROR, answer, additional=self._addresses(answer[-1], answer))

    def _negative(self, rcode: int, links: list[RRset], qname: WireName) -> Found:
        """NODATA or NXDOMAIN, of the last name of the chain (RFC 2308 2, RFC 6604 3)."""
        return Found(rcode, tuple(links), (_owned(self.negative_soa, _letters(qname, self.apex)),))

    def _referral(self, cut: WireName, links: list[RRset], qname: WireName) -> Found:
        """The NS RRset of the child and what addresses of its servers we know (RFC 1034 4.3.2 step 3b)."""
        servers = _owned(self.nodes[cut][NS], _letters(qname, cut))
        return Found(
            NOERROR,
            tuple(links),
            (servers,),
            self._addresses(servers, ()),
            authoritative=bool(links),  # AA is about the name asked (RFC 1035 4.1.1)
            is_referral=True,
            cname_target=qname if links else None,
        )

    def _addresses(self, rrset: RRset, present: tuple[RRset, ...]) -> tuple[RRset, ...]:
        """A and AAAA of the targets that the zone knows, without what is in the answer already."""
        offset = _TARGET_OFFSETS.get(rrset.rtype)
        if offset is None:
            return ()
        told = {(fold(one.owner), one.rtype) for one in present}
        additional = []
        for rdata in rrset.rdatas:
            target = name_at(rdata, offset)
            if target == ROOT and rrset.rtype in (SVCB, HTTPS):  # the owner itself (RFC 9460 2.5.2)
                target = rrset.owner
            key = fold(target)
            node = self.nodes.get(key, _EMPTY)
            for rtype in (A, AAAA):
                if rtype in node and (key, rtype) not in told:
                    told.add((key, rtype))
                    additional.append(_owned(node[rtype], target))
        return tuple(additional)


class ZoneSet:
    """All zones that are served, by apex."""

    __slots__ = ("_by_apex",)

    def __init__(self, zones: Iterable[Zone] = ()) -> None:
        self._by_apex = {zone.apex: zone for zone in zones}

    def __len__(self) -> int:
        return len(self._by_apex)

    def __iter__(self) -> Iterator[Zone]:
        return iter(self._by_apex.values())

    def zone_for(self, key: WireName) -> Zone | None:
        """The zone with the longest apex that a folded name is at or below."""
        by_apex = self._by_apex
        if by_apex:
            for suffix in lineage_of(key):
                if zone := by_apex.get(suffix):
                    return zone
        return None

    def find(self, key: WireName, qname: WireName, qtype: int) -> Found | None:
        """`Zone.find` in the zone that is in charge, aliases followed from zone to zone; None: no zone of ours."""
        zone = self.zone_for(key)
        if zone is None:
            return None
        if qtype == DS and key == zone.apex:  # the parent's side of the cut (RFC 4035 3.1.4.1)
            zone = self.zone_for(parent_of(key)) or zone
        found = zone.find(key, qname, qtype)
        is_authoritative, links = found.authoritative, found.answer
        while (target := found.cname_target) is not None:
            key = fold(target)
            following = self.zone_for(key)
            if following is None or (found.is_referral and following is zone):
                break
            if len(links) >= MAX_LINKS:
                return _endless(links, target)
            zone = following
            found = zone.find(key, target, qtype)
            links += found.answer
            if found.is_referral and not found.answer:  # it is the alias' target that is delegated
                found = replace(found, cname_target=target)
        if found.rcode == SERVFAIL or links is found.answer:
            return found
        return replace(found, answer=links, authoritative=is_authoritative)


def _endless(links: Iterable[RRset], target: WireName) -> Found:
    """What is said to aliases without an end: an error, with the links that were followed (RFC 1034 3.6.2)."""
    text = f"aliases lead in a circle or over more than {MAX_LINKS} links, to {to_text(target)}"
    return Found(SERVFAIL, tuple(links), ede=(EDE_OTHER, text))


def name_at(rdata: bytes, offset: int) -> WireName:
    """The uncompressed name that begins at an offset of rdata."""
    end = offset
    while size := rdata[end]:
        end += 1 + size
    return WireName(rdata[offset : end + 1])


def target_of(rtype: int, rdata: bytes) -> WireName | None:
    """The name of a host or zone that a record points at; None for a type that points at none."""
    offset = 0 if rtype in (CNAME, DNAME) else _TARGET_OFFSETS.get(rtype)
    return None if offset is None else name_at(rdata, offset)


def _letters(qname: WireName, ancestor: WireName) -> WireName:
    """The ancestor as the client spells it."""
    return WireName(qname[len(qname) - len(ancestor) :])


def _owned(rrset: RRset, owner: WireName) -> RRset:
    return rrset if rrset.owner == owner else RRset(owner, rrset.rtype, rrset.ttl, rrset.rdatas)


def _size(rrset: RRset) -> int:
    return sum(len(rdata) + 12 for rdata in rrset.rdatas)
