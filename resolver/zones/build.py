"""Records → a `Zone`, and the rules by which records are accepted, accepted with a warning, or refused.

Refused, so that no zone comes of it:
  no SOA, or two; a record outside the zone; CNAME beside other data (RFC 2181 10.1); two CNAMEs or two DNAMEs at a
  name; DNAME beside NS below the apex (RFC 6672 2.3); NS or DNAME at a wildcard (RFC 4592 4.2, 4.4).
Accepted with a warning:
  no NS at the apex; a record twice (it counts once, RFC 2181 5); TTLs that differ in one RRset (the lowest counts,
  RFC 2181 5.2); data below a delegation or a DNAME (never answered, glue apart); an NS target of this zone without an
  address; aliases in a circle; a name that ends in the zone's name twice (a final dot is missing); DNSSEC signatures
  and denial records (left out, since answers carry no signatures).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from msgspec import Struct

from resolver.errors import Fault
from resolver.wire.constants import AAAA, CNAME, DNAME, DNSKEY, DS, NS, SOA, A, type_name
from resolver.wire.name import WireName, fold, is_below, parent_of, to_text
from resolver.wire.rrset import RRset
from resolver.zones.model import WILDCARD_LABEL, Place, Zone, name_at, target_of

_SIGNING_TYPES = {46: "RRSIG", 47: "NSEC", 50: "NSEC3", 51: "NSEC3PARAM"}
_BESIDE_CNAME = frozenset((25, DNSKEY))  # KEY (RFC 2535 2.3.5, RFC 4034 2.5); signatures are left out before
_AT_CUT = frozenset((NS, DS))
_ADDRESSES = frozenset((A, AAAA))
_Nodes = dict[WireName, dict[int, RRset]]


class Record(NamedTuple):
    """One record as it was read."""

    owner: WireName
    """Letters as written."""
    rtype: int
    ttl: int
    rdata: bytes
    """Uncompressed."""
    place: Place


class Built(NamedTuple):
    """A zone, or None when a fault that is no warning stands against it."""

    zone: Zone | None
    faults: tuple[Fault, ...]


def build_zone(records: Sequence[Record], file: str) -> Built:
    """Make the zone whose apex is the owner of the SOA record; ``file`` is what faults about the whole are about."""
    soa = next((record for record in records if record.rtype == SOA), None)
    if soa is None:
        return Built(None, (_no_soa(file),))
    builder = _Builder(soa, file)
    for record in records:
        builder.add(record)
    return builder.finish()


def _no_soa(file: str) -> Fault:
    return Fault(
        file,
        "the zone has no SOA record",
        'begin it with "@ 3600 IN SOA ns1 hostmaster 1 3600 600 86400 60" '
        "(server, mailbox, serial, refresh, retry, expire, TTL of negative answers)",
    )


class _Draft(Struct):
    """An RRset in the making; the dict keeps the order and finds repeated data at once."""

    owner: WireName
    ttl: int
    rdatas: dict[bytes, None]


class _Builder:
    def __init__(self, soa: Record, file: str) -> None:
        self._soa = soa
        self._apex = fold(soa.owner)
        self._twice = self._apex[:-1] + self._apex
        self._file = file
        self._drafts: dict[WireName, dict[int, _Draft]] = {}
        self._nodes: _Nodes = {}
        self._places: dict[tuple[WireName, int], Place] = {}
        self._faults: list[Fault] = []
        self._unsigned = False

    def add(self, record: Record) -> None:
        key = fold(record.owner)
        if record.rtype == SOA and record is not self._soa:
            first = self._soa.place
            self._fault(
                record.place,
                f"a second SOA, for {to_text(record.owner)}; the first is at {first.file}:{first.line}",
                "one file holds one zone: keep one SOA",
            )
            return
        if not is_below(key, self._apex):
            self._fault(
                record.place,
                f"{to_text(record.owner)} is not in the zone {to_text(self._apex)}",
                "take it out, or mend the $ORIGIN above it or the name's final dot",
            )
            return
        if record.rtype in _SIGNING_TYPES:
            if not self._unsigned:
                self._unsigned = True
                kind = _SIGNING_TYPES[record.rtype]
                self._warn(record.place, f"{kind} and other signing records are left out: answers are not signed")
            return
        self._warn_of_missing_dot(record)
        node = self._drafts.setdefault(key, {})
        known = node.get(record.rtype)
        if known is None:
            node[record.rtype] = _Draft(record.owner, record.ttl, {record.rdata: None})
            self._places[key, record.rtype] = record.place
            return
        what = f"{to_text(record.owner)} {type_name(record.rtype)}"
        if record.rdata in known.rdatas:
            self._warn(record.place, f"the same {what} stands twice; it counts once")
            return
        if record.rtype in (CNAME, DNAME):
            self._fault(record.place, f"a second {what}", "a name has at most one: keep one of them")
            return
        if record.ttl != known.ttl:
            lowest = min(known.ttl, record.ttl)
            self._warn(record.place, f"{what} has TTLs {known.ttl} and {record.ttl}; {lowest} counts for all")
            known.ttl = lowest
        known.rdatas[record.rdata] = None

    def finish(self) -> Built:
        apex, nodes = self._apex, self._nodes
        for key, drafts in self._drafts.items():
            nodes[key] = {
                rtype: RRset(draft.owner, rtype, draft.ttl, tuple(draft.rdatas)) for rtype, draft in drafts.items()
            }
        cuts = frozenset(key for key, node in nodes.items() if NS in node and key != apex)
        redirected = frozenset(key for key, node in nodes.items() if DNAME in node)
        for key, node in nodes.items():
            self._check_node(key, node)
        if NS not in nodes[apex]:
            self._faults.append(
                Fault(
                    self._file,
                    f"the zone {to_text(apex)} has no NS record",
                    'add "@ NS ns1" and the address of ns1',
                    is_warning=True,
                )
            )
        self._check_hidden(cuts, redirected)
        self._check_servers()
        self._check_circles()
        for key in tuple(nodes):
            parent = key
            while parent != apex and (parent := parent_of(parent)) not in nodes:
                nodes[parent] = {}
        faults = tuple(self._faults)
        if any(not fault.is_warning for fault in faults):
            return Built(None, faults)
        soa = nodes[apex][SOA]
        numbers = soa.rdatas[0][-20:]
        negative_ttl = min(soa.ttl, int.from_bytes(numbers[16:], "big"))
        zone = Zone(
            apex=apex,
            soa=soa,
            negative_soa=RRset(soa.owner, SOA, negative_ttl, soa.rdatas),
            serial=int.from_bytes(numbers[:4], "big"),
            nodes=nodes,
            cuts=cuts,
            file=self._file,
            places=self._places,
        )
        return Built(zone, faults)

    def _check_node(self, key: WireName, node: dict[int, RRset]) -> None:
        others = [rtype for rtype in node if rtype != CNAME and rtype not in _BESIDE_CNAME]
        if CNAME in node and others:
            self._fault(
                self._places[key, CNAME],
                f"{to_text(node[CNAME].owner)} has a CNAME and {_types(others)} as well",
                "an alias has nothing beside it: write the data at its target, or an address instead of the CNAME",
            )
        if DNAME in node and NS in node and key != self._apex:
            self._fault(
                self._places[key, DNAME],
                f"{to_text(node[DNAME].owner)} has a DNAME and NS as well",
                "keep either the redirection or the delegation",
            )
        if key.startswith(WILDCARD_LABEL):
            for rtype in (NS, DNAME):
                if rtype in node:
                    self._fault(
                        self._places[key, rtype],
                        f"{to_text(node[rtype].owner)} is a wildcard with {type_name(rtype)}",
                        "a wildcard can neither delegate nor redirect: write the names out",
                    )

    def _check_hidden(self, cuts: frozenset[WireName], redirected: frozenset[WireName]) -> None:
        """Warn of data that no question reaches; addresses of the children's servers are glue, and have their use."""
        if not cuts and not redirected:
            return
        servers = {fold(WireName(rdata)) for cut in cuts for rdata in self._nodes[cut][NS].rdatas}
        for key, node in self._nodes.items():
            hider = key if key in cuts else self._hider(key, cuts, redirected)
            if hider is None:
                continue
            hidden = set(node) - (_AT_CUT if hider == key else set()) - (_ADDRESSES if key in servers else set())
            for rtype in sorted(hidden):
                how = "delegated by NS" if hider in cuts else "redirected by DNAME"
                self._warn(
                    self._places[key, rtype],
                    f"{to_text(node[rtype].owner)} {type_name(rtype)} is never answered: {to_text(hider)} is {how}",
                )

    def _hider(self, key: WireName, cuts: frozenset[WireName], redirected: frozenset[WireName]) -> WireName | None:
        """The nearest delegation or DNAME strictly above a name."""
        while key != self._apex:
            key = parent_of(key)
            if (key in cuts and key != self._apex) or key in redirected:
                return key
        return None

    def _check_servers(self) -> None:
        for key, node in self._nodes.items():
            for rdata in node[NS].rdatas if NS in node else ():
                target = fold(WireName(rdata))
                if is_below(target, self._apex) and not _ADDRESSES & set(self._nodes.get(target, ())):
                    self._warn(
                        self._places[key, NS],
                        f"{to_text(node[NS].owner)} NS {to_text(rdata)} has no address in this zone",
                        f'add "{to_text(rdata)} A …"',
                    )

    def _check_circles(self) -> None:
        """Warn once for each circle of aliases; what hangs on it by wildcards or DNAMEs is found when it is asked."""
        ended: set[WireName] = set()
        for start, node in self._nodes.items():
            trail: list[WireName] = []
            key = start
            while CNAME in node and key not in ended:
                ended.add(key)
                trail.append(key)
                key = fold(WireName(node[CNAME].rdatas[0]))
                node = self._nodes.get(key, {})
            if key in trail:
                self._warn(
                    self._places[key, CNAME],
                    "aliases in a circle: " + " → ".join(to_text(one) for one in [*trail[trail.index(key) :], key]),
                    "let one of them name an address",
                )

    def _warn_of_missing_dot(self, record: Record) -> None:
        if len(self._apex) == 1:
            return
        names: list[WireName] = [record.owner]
        if target := target_of(record.rtype, record.rdata):
            names.append(target)
        elif record.rtype == SOA:
            names.append(name_at(record.rdata, 0))
        for name in names:
            if is_below(fold(name), self._twice):
                short = to_text(name)[: -len(to_text(self._apex))]
                self._warn(
                    record.place,
                    f"{to_text(name)} ends in the zone's name twice",
                    f'write "{short}" with its final dot, if that is meant',
                )

    def _fault(self, place: Place, message: str, fix: str = "") -> None:
        self._faults.append(Fault(place.file, message, fix, place.line))

    def _warn(self, place: Place, message: str, fix: str = "") -> None:
        self._faults.append(Fault(place.file, message, fix, place.line, is_warning=True))


def _types(rtypes: Iterable[int]) -> str:
    return ", ".join(type_name(rtype) for rtype in sorted(rtypes))
