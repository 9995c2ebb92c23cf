"""The stages of the answer contract, each a small class; `chain` has their order.

A stage is handed a view and never the registry. It answers from what is compiled, so it does no I/O and reads no clock.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from resolver.forward.routes import Route, Routes, Target
from resolver.pipeline.outcome import Forward, Question, Reply
from resolver.registry.model import Origin, Port
from resolver.registry.table import canonical_name
from resolver.views import Match, View, reverse_apex
from resolver.wire.constants import (
    AAAA,
    ANY,
    DS,
    EDE_BLOCKED,
    EDE_PROHIBITED,
    HTTPS,
    MX,
    NOERROR,
    NXDOMAIN,
    PTR,
    REFUSED,
    SERVFAIL,
    SOA,
    SRV,
    SVCB,
    A,
)
from resolver.wire.name import (
    ROOT,
    IPAddress,
    WireName,
    fold,
    from_labels,
    from_text,
    is_below,
    is_single_label,
    label_count,
    labels_of,
    lineage_of,
    parent_of,
    reverse_prefix,
    to_text,
)
from resolver.wire.reply import Answer
from resolver.wire.rrset import RRset, address_rrset, ptr_rrset, soa_rrset, srv_rdata

AUTO_HOST = "host"
AUTO_GATEWAY = "gateway"

_FAMILIES = (A, AAAA)
NO_SUCH_TYPE = "the name is known and has no record of this type; a known name is never forwarded"
"""Why there is no answer to that, for every stage that knows names."""
_ONLY_NAMES_BELOW = "there are names below this one, and nothing at it"
_ADDRESS_TYPES = frozenset((A, AAAA, SVCB, HTTPS, ANY))
"""What is asked to get at an address (RFC 9460 for the latter ones)."""
_HOST_TYPES = frozenset((A, AAAA, MX, SRV, SVCB, HTTPS, ANY))
"""What is asked about a host or a service: for a single label these are never forwarded. NS, SOA, DS, DNSKEY and the
like are asked about top-level domains, and are."""


def kept_inside(forward: Forward, view: View) -> Reply:
    """What is said when nobody is left who might be asked for somebody on internal networks only (design.md 2.6)."""
    text = "this client is only on internal networks"
    if view.is_stranger:
        text = "this client has a link-local address, on a link of no known network"
    if forward.servers:
        text += ", and its servers are not on them"
    return Reply(
        Answer(SERVFAIL, forward.chased, authoritative=bool(forward.chased), ede=(EDE_PROHIBITED, text)),
        why=f"{text}; {forward.why}" if forward.why else "",
    )


def negative(rcode: int, apex: WireName, view: View, *, authoritative: bool = False) -> Answer:
    """NXDOMAIN or NODATA with the SOA that lets a client remember it for a while (RFC 2308)."""
    soa = soa_rrset(apex, view.serial, view.settings.negative_ttl)
    return Answer(rcode, authority=(soa,), authoritative=authoritative)


def _addresses(question: Question, addresses: tuple[IPAddress, ...], ttl: int) -> tuple[RRset, ...]:
    """The RRset that the question asks for, if there is one; ANY gets one small RRset (RFC 8482 4.1)."""
    wanted = _FAMILIES if question.qtype == ANY else (question.qtype,)
    for rtype in wanted:
        if rtype in _FAMILIES and (rrset := address_rrset(question.qname, rtype, ttl, addresses)).rdatas:
            return (rrset,)
    return ()


def _of_match(question: Question, match: Match, view: View) -> Reply:
    """The addresses behind a known name, or NODATA; a known name is never forwarded, whatever the type."""
    answer = _addresses(question, match.addresses, match.ttl)
    if answer:
        return Reply(Answer(NOERROR, answer), keep=True, origins=match.origins)
    apex = question.qname if match.apex == question.key else match.apex
    return Reply(negative(NOERROR, apex, view), keep=True, origins=match.origins, why=NO_SUCH_TYPE)


class ExtraHosts(Struct, frozen=True):
    """What the asker was given with ``--add-host``: as its own /etc/hosts, it comes before everything else."""

    name: str = "extra_hosts"

    def resolve(self, question: Question, view: View) -> Reply | None:
        """An answer for the names that this asker alone has: its addresses, and that there is no other way to it.

        Mail servers and the like of a name with a dot, which is a name of the world as well, are not in a hosts file.
        """
        match = view.find_extra(question.key)
        if match is None or (question.qtype not in _ADDRESS_TYPES and label_count(question.key) > 1):
            return None
        return _of_match(question, match, view)


class InternalNames(Struct, frozen=True):
    """docker.internal and the zones like it: the host and the gateway as this client reaches them; never forwarded."""

    zones: tuple[WireName, ...] = (fold(from_text("docker.internal")),)
    names: Mapping[WireName, tuple[IPAddress, ...] | None] = field(
        default_factory=lambda: {fold(from_text(name)): None for name in (AUTO_HOST, AUTO_GATEWAY)}
    )
    """Names relative to each zone; None stands for "auto", the gateway of the asker's own network."""
    name: str = "internal"

    def resolve(self, question: Question, view: View) -> Reply | None:
        """An answer for every name at or below one of the zones."""
        if not question.key.endswith(self.zones):
            return None
        for suffix in lineage_of(question.key):  # the closest zone, should one lie in another
            if suffix in self.zones:
                return self._in_zone(suffix, question, view)
        return None

    def _in_zone(self, zone: WireName, question: Question, view: View) -> Reply:
        origin = (Origin("config [internal]"),)
        if question.key == zone:
            if question.qtype in (SOA, ANY):
                soa = soa_rrset(question.qname, view.serial, view.settings.negative_ttl)
                return Reply(Answer(NOERROR, (soa,), authoritative=True), keep=True, origins=origin)
            return Reply(
                negative(NOERROR, zone, view, authoritative=True), keep=True, origins=origin, why=_ONLY_NAMES_BELOW
            )
        relative = WireName(question.key[: -len(zone)] + b"\0")
        if relative not in self.names:
            below = any(is_below(name, relative) for name in self.names)
            why = _ONLY_NAMES_BELOW if below else "internal.names has no such name; nothing in this zone is forwarded"
            missing = negative(NOERROR if below else NXDOMAIN, zone, view, authoritative=True)
            return Reply(missing, origins=origin, why=why)
        addresses = self.names[relative]
        auto = addresses is None
        addresses = view.gateways if addresses is None else addresses
        answer = _addresses(question, addresses, view.settings.ttl)
        if answer:
            why = '"auto" is the gateway of the asker' if auto else ""
            return Reply(Answer(NOERROR, answer, authoritative=True), keep=True, origins=origin, why=why)
        why = NO_SUCH_TYPE if addresses else '"auto" is the gateway of the asker, and none is known'
        return Reply(negative(NOERROR, zone, view, authoritative=True), keep=True, origins=origin, why=why)


class RegistryNames(Struct, frozen=True):
    """Names of the view's endpoints, and their services as SRV records; a known name is never forwarded."""

    name: str = "registry"

    def resolve(self, question: Question, view: View) -> Reply | None:
        """An answer for every name that the view knows, and for ``_service._proto`` names below one."""
        if (service := self._service(question, view)) is not None:
            return service  # before a wildcard: _5432._tcp.db is not one of the names below *.db (RFC 4592 3.3.1)
        match = view.find(question.key)
        return None if match is None else _of_match(question, match, view)

    def _service(self, question: Question, view: View) -> Reply | None:
        if question.key[1:2] != b"_":
            return None
        labels = list(labels_of(question.key))
        if len(labels) < 3 or labels[1] not in (b"_tcp", b"_udp", b"_sctp"):
            return None
        match = view.find(from_labels(labels[2:]))
        if match is None or not match.endpoints:
            return None
        service, protocol = labels[0][1:].decode("ascii", "replace"), labels[1][1:].decode()
        rdatas: list[bytes] = []
        additional: list[RRset] = []
        for endpoint in match.endpoints:
            ports = [port.number for port in endpoint.ports if _serves(port, service, protocol)]
            if not ports:
                continue
            target = canonical_name(endpoint, match.network)
            rdatas.extend(srv_rdata(number, target) for number in ports)
            rrsets = (address_rrset(target, family, match.ttl, endpoint.addresses) for family in _FAMILIES)
            additional.extend(rrset for rrset in rrsets if rrset.rdatas)
        if not rdatas:
            why = "the name behind the service is known and has no such port; a known name is never forwarded"
            return Reply(negative(NXDOMAIN, match.apex, view), origins=match.origins, why=why)
        if question.qtype not in (SRV, ANY):
            return Reply(negative(NOERROR, match.apex, view), keep=True, origins=match.origins, why=NO_SUCH_TYPE)
        srv = RRset(question.qname, SRV, match.ttl, tuple(dict.fromkeys(rdatas)))
        return Reply(Answer(NOERROR, (srv,), additional=tuple(additional)), keep=True, origins=match.origins)


def _serves(port: Port, service: str, protocol: str) -> bool:
    return port.protocol == protocol and (
        service == str(port.number) or (port.name is not None and service == port.name.lower())
    )


class ReverseNames(Struct, frozen=True):
    """Addresses of the view's endpoints, and NXDOMAIN for every other address in a network's subnet."""

    name: str = "reverse"

    def resolve(self, question: Question, view: View) -> Reply | None:
        """An answer for reverse names of known endpoints and of known subnets; None for the rest of the world."""
        covered = reverse_prefix(question.key)
        if covered is None:
            return None
        prefix, is_exact = covered
        address = prefix.network_address
        is_address = prefix.prefixlen == prefix.max_prefixlen
        if is_address and is_exact and (known := view.find_address(address)) is not None:
            target, ttl, origin = known
            if question.qtype in (PTR, ANY):
                return Reply(Answer(NOERROR, (ptr_rrset(question.qname, ttl, target),)), keep=True, origins=(origin,))
            return Reply(negative(NOERROR, question.qname, view), keep=True, origins=(origin,), why=NO_SUCH_TYPE)
        for subnet, network in view.subnets.holding(address):
            if prefix.prefixlen >= subnet.prefixlen:
                # Between the subnet's own reverse zone and its addresses names exist, empty (RFC 8020).
                rcode = NOERROR if is_exact and not is_address else NXDOMAIN
                why = f"{subnet} is a subnet of network {network!r}: no reverse name in it is forwarded"
                return Reply(negative(rcode, reverse_apex(subnet), view), why=why)
        return None


class StaticZones(Struct, frozen=True):
    """Authoritative answers from zone files."""

    name: str = "zone"

    def resolve(self, question: Question, view: View) -> Reply | None:
        """What the closest zone says (RFC 1034 4.3.2); None when no zone holds the name."""
        found = view.zones.find(question.key, question.qname, question.qtype)
        if found is None:
            return None
        zone = view.zones.zone_for(question.key)
        answer = Answer(
            found.rcode,
            found.answer,
            found.authority,
            found.additional,
            authoritative=found.authoritative,
            ede=found.ede,
        )
        return Reply(
            answer,
            keep=found.rcode == NOERROR,
            origins=(Origin(zone.file),) if zone is not None else (),
            cname_target=found.cname_target,
        )


class ForwardPolicy(Struct, frozen=True):
    """What may leave: everything that is left, except what no upstream can know."""

    forward_single_labels: bool = False
    """True restores Docker's way: an unknown single label is asked upstream."""
    routes: Routes = field(default_factory=Routes)
    """Who is asked for which names."""
    name: str = "forward"

    def resolve(self, question: Question, view: View) -> Reply | Forward:
        """A Forward, or the reason why not as a reply."""
        for suffix in lineage_of(question.key):
            if suffix in view.suffixes:
                is_network = suffix == question.key
                how = "this is" if is_network else "nobody here has this name, and it ends in"
                why = f"{how} the name of network {to_text(suffix)[:-1]!r}: such names are never forwarded"
                if is_network:
                    return Reply(negative(NOERROR, suffix, view), why=why)
                return Reply(negative(NXDOMAIN, suffix, view), why=why, below=suffix)
        route = self.routes.find(question.key)
        if question.qtype == DS and route is not None and route.target in (Target.UPSTREAMS, Target.DEFAULT):
            route = self.routes.find(parent_of(question.key))  # the zone above has it (RFC 4035 3.1.4.1)
        if route is not None and (refused := self._kept_here(route, view)) is not None:
            return refused
        is_single = route is None and is_single_label(question.key)
        if is_single and not self.forward_single_labels and question.qtype in _HOST_TYPES:
            why = "nobody in this view has this name, and a single label is not forwarded (answers.single_label)"
            return Reply(negative(NXDOMAIN, ROOT, view), why=why)
        if route is None:
            common = Forward(question, within=view.within)
        else:
            common = Forward(
                question, upstreams=route.upstreams, within=view.within, why=f"the route for {route.shown}"
            )
        return Forward(question, view.servers, within=view.within, otherwise=common) if view.servers else common

    def _kept_here(self, route: Route, view: View) -> Reply | None:
        """The reply for names that no upstream is to hear of."""
        if route.target is Target.NEVER:
            why = f'the route for {route.shown} is "never"'
            answer = replace(
                negative(NXDOMAIN, route.suffixes[0], view), ede=(EDE_BLOCKED, f"{route.shown} is blocked here")
            )
            return Reply(answer, why=why)
        if route.target is Target.REFUSE:
            text = f"names below {route.shown} are refused here"
            return Reply(Answer(REFUSED, ede=(EDE_PROHIBITED, text)), why=f'the route for {route.shown} is "refuse"')
        return None
