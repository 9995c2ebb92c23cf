"""Why a name resolves as it does: one look-up taken through the pipeline, told in plain values, sent nowhere."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from resolver.errors import ConfigError, Fault
from resolver.forward.upstreams import SYSTEM
from resolver.pipeline.outcome import Forward, Reply
from resolver.registry.model import SHORT_ID_LENGTH, Endpoint
from resolver.server.state import State
from resolver.sources.base import parse_address
from resolver.views import Match, View
from resolver.wire.constants import AAAA, CLASS_IN, NOERROR, NS, NXDOMAIN, RD, TYPE_NUMBERS, rcode_name, type_name
from resolver.wire.name import WireName, fold, from_text, labels_of, parent_of, suffixes_of, to_text
from resolver.wire.query import Query, scan
from resolver.wire.rrset import RRset
from resolver.zones.model import WILDCARD_LABEL, Place, Zone

_MAX_SHOWN = 3


class Asked(Struct, frozen=True):
    """What is to be explained."""

    name: str
    rtype: str = "A"
    address: str | None = None
    """Explain it to a client at this address."""
    network: str | None = None
    """Explain it to a client on this network."""
    endpoint: str | None = None
    """Explain it to the container of this name."""


def explain(asked: Asked, state: State) -> dict[str, Any]:
    """The view, the stage that decides and its rule, the answer with where it was written, or who would be asked.

    Raises ConfigError for a question that cannot be asked.
    """
    query = _query(asked)
    view, because = _view(asked, state)
    decision = state.decide(query, view)
    outcome = decision.outcome
    told: dict[str, Any] = {
        "question": {"name": to_text(query.qname), "type": type_name(query.qtype)},
        "view": {
            "networks": [table.network.name for table in view.tables],
            "because": because,
            "internal": view.is_internal,
        },
        "stage": decision.stage,
    }
    if isinstance(outcome, Reply):
        answer = outcome.answer
        told["rcode"] = rcode_name(answer.rcode)
        told["authoritative"] = answer.authoritative
        told["answer"] = _records(answer.answer)
        told["authority"] = _records(answer.authority)
        told["additional"] = _records(answer.additional)
        told["written_in"] = _places(answer.answer, [str(origin) for origin in outcome.origins], view)
        if answer.ede is not None:
            told["extended_error"] = {"code": answer.ede[0], "text": answer.ede[1]}
        told["because"] = _because(decision.stage, outcome, query, view)
        is_found = bool(answer.answer)
    else:
        told.update(_forward(outcome, state, view))
        is_found = False
    told["elsewhere"] = [] if is_found else _elsewhere(query.key, view, state.views.host)
    return told


def _forward(outcome: Forward, state: State, view: View) -> dict[str, Any]:
    is_own = outcome.servers or outcome.within is not None
    whose = "the route" if outcome.upstreams else "the asker" if is_own else "everybody"
    why = outcome.why or "no name of the view's networks, of a zone or of docker.internal"
    if outcome.otherwise is not None and outcome.otherwise.why:
        why += f"; {outcome.otherwise.why} is passed over, since the asker has servers of its own"
    upstreams = state.upstreams_for(outcome)
    if outcome.question.qtype == AAAA and state.options.no_aaaa:
        why += "; nobody is asked for AAAA (options no-aaaa in resolv.conf)"
    if upstreams != replace(state, host_servers=None).upstreams_for(outcome):
        use = "asked only whether there is such a name" if SYSTEM in upstreams else "of no use"
        why += f"; for {type_name(outcome.question.qtype)} of such a name the host's name service (system) is {use}"
    if state.options_for(outcome).is_guarded:
        why += "; an answer with a private address is withheld (forward.rebinding_guard)"
    return {
        "forwarded_name": to_text(outcome.question.qname),
        "answer": _records(outcome.chased),
        "written_in": _places(outcome.chased, [], view),
        "upstreams": [str(upstream) for upstream in upstreams],
        "upstreams_of": whose,
        "rotate": state.options.order == "rotate",
        "because": why,
    }


def _query(asked: Asked) -> Query:
    rtype = asked.rtype.upper()
    number = TYPE_NUMBERS.get(rtype)
    if number is None and rtype.startswith("TYPE") and rtype[4:].isdecimal() and rtype.isascii():
        number = int(rtype[4:9]) if len(rtype) <= 9 else None
    if number is None or number > 0xFFFF:
        raise _fault("TYPE", f"{asked.rtype!r} is not a record type", "write A, AAAA, PTR, SRV… or TYPE65280")
    try:
        name = from_text(asked.name)
    except ValueError as error:
        raise _fault("NAME", str(error), "") from None
    header = b"\0\0" + RD.to_bytes(2, "big") + b"\0\1\0\0\0\0\0\0"
    query = scan(header + name + number.to_bytes(2, "big") + CLASS_IN.to_bytes(2, "big"))
    if not isinstance(query, Query):
        raise _fault("TYPE", f"{asked.rtype!r} cannot be asked for", "write A, AAAA, PTR, SRV…")
    return query


def _view(asked: Asked, state: State) -> tuple[View, str]:
    views = state.views
    if asked.network is not None or asked.endpoint is not None:
        if asked.address is not None:
            raise _fault("--from", "contradicts --network and --endpoint", "say in one way who asks")
        networks, because = _named(asked, state)
        return views.pinned(networks, asked.endpoint), because
    address = None
    if asked.address is not None:

        def complain(message: str, fix: str) -> None:
            raise _fault("--from", message, fix)

        address = parse_address(asked.address, complain)
        assert address is not None
    if state.pin is not None:
        whose = "the server was started for these" if address is None else "the server shows these to every client"
        return views.pinned(state.pin.networks, state.pin.endpoint), whose
    if address is None:
        return views.host, "the host sees every network"
    if address.is_link_local and (view := views.on_link(address, ())).is_stranger:
        return view, f"{address} is link-local: the server goes by the link that it comes from, which is not known here"
    view = views.of_address(address)
    if view.is_host:
        return view, f"{address} is in no network's subnets, so it sees what the host sees"
    known = next((table.by_address[address] for table in view.tables if address in table.by_address), None)
    if known is None:
        return view, f"{address} is in the subnets of these networks"
    if all(table.network.holds(address) for table in view.tables):
        return view, f"{address} is in their subnets, the address of {known.name}"
    return view, f"{address} is the address of {known.name}, which is on these"


def _named(asked: Asked, state: State) -> tuple[tuple[str, ...], str]:
    """The networks that --network and --endpoint mean."""
    views = state.views
    if asked.network is not None and asked.network not in views.tables:
        known = ", ".join(sorted(views.tables)) or "none at all"
        raise _fault("--network", f"there is no network {asked.network!r}", f"there are: {known}")
    if asked.endpoint is None:
        assert asked.network is not None
        return (asked.network,), "--network names it"
    networks = views.networks_of(asked.endpoint)
    if not networks:
        raise _fault("--endpoint", f"there is no container {asked.endpoint!r}", "see: pydns networks")
    if asked.network is None:
        return networks, f"the container {asked.endpoint} is on these"
    if asked.network not in networks:
        fix = f"it is on: {', '.join(networks)}"
        raise _fault("--endpoint", f"the container {asked.endpoint!r} is not on network {asked.network!r}", fix)
    return (asked.network,), f"--network names it, and {asked.endpoint} asks"


def _because(stage: str, outcome: Reply, query: Query, view: View) -> str:
    """The rule behind a reply, in words."""
    if outcome.why:
        return outcome.why
    if stage == "zone":
        return _in_zone(outcome, query, view)
    if stage == "extra_hosts":
        return "the asker alone was given this name (extra_hosts, --add-host)"
    if stage == "registry":
        labels = list(labels_of(query.key))
        is_service = len(labels) > 2 and labels[0][:1] == labels[1][:1] == b"_"
        return _whose(parent_of(parent_of(query.key)) if is_service else query.key, view)
    return ""


def _in_zone(outcome: Reply, query: Query, view: View) -> str:
    answer, zone = outcome.answer, view.zones.zone_for(query.key)
    if zone is None or answer.ede is not None:
        return ""
    apex = to_text(zone.apex)
    if answer.rcode == NXDOMAIN:
        return f"the zone {apex} is served here and has no such name; its names are never forwarded"
    if answer.rcode == NOERROR and not answer.answer:
        if answer.authority and answer.authority[0].rtype == NS:
            return f"the zone {apex} delegates this name to the servers below"
        return f"the zone {apex} has the name, without a record of this type"
    return f"the zone {apex} is served here"


def _whose(key: WireName, view: View) -> str:
    """Which containers a name belongs to, and as what."""
    match = view.find(key)
    if match is None:
        return ""
    if not match.network:
        return "a hosts file has this name, for every asker"
    bare = key if match.apex == key else WireName(key[: len(key) - len(match.apex)] + b"\0")
    if bare in view.links.get(match.network, {}):
        return f"a link alias of the asker for {match.endpoints[0].name} on network {match.network}"
    kinds = [f"{_kind(bare, endpoint)} {endpoint.name}" for endpoint in match.endpoints[:_MAX_SHOWN]]
    more = len(match.endpoints) - len(kinds)
    told = ", ".join(kinds) + (f" and {more} more" if more else "") + f" on network {match.network}"
    return "; ".join([told, *_left_out(bare, match, view)])


def _left_out(bare: WireName, match: Match, view: View) -> list[str]:
    """Why others with that name did not answer."""
    table = next((table for table in view.tables if table.network.name == match.network), None)
    sharing = table.bearers(bare) if table is not None else ()
    unready = [endpoint.name for endpoint in sharing if not endpoint.is_ready and endpoint not in match.endpoints]
    foreign = [endpoint.name for endpoint in sharing if endpoint.is_ready and endpoint not in match.endpoints]
    told = []
    if unready:
        told.append(f"{', '.join(unready[:_MAX_SHOWN])} has the name too, and is not healthy")
    if foreign:
        told.append(f"{', '.join(foreign[:_MAX_SHOWN])} has it too, outside the asker's project {view.scope}")
    return told


def _kind(bare: WireName, endpoint: Endpoint) -> str:
    name = to_text(bare)[:-1].lower()
    if name == endpoint.name.lower():
        return "the name of container"
    if endpoint.id is not None and name == endpoint.id[:SHORT_ID_LENGTH].lower():
        return "the short id of container"
    if endpoint.hostname is not None and name == endpoint.hostname.lower():
        return "the hostname of container"
    for wildcard in endpoint.wildcards():
        if name.endswith(wildcard[1:].lower()):
            return f"below the wildcard {wildcard} of container"
    return "an alias of container"


def _elsewhere(key: WireName, view: View, host: View) -> list[str]:
    """The networks outside the view that know the name: what somebody who misses an answer wants to hear."""
    seen = {table.network.name for table in view.tables}
    qualified = host.find(key)
    return [
        name
        for table in host.tables
        if (name := table.network.name) not in seen
        and (table.find(key) or (qualified is not None and qualified.network == name))
    ]


def _places(answer: tuple[RRset, ...], origins: list[str], view: View) -> list[str]:
    """Where the records were written; for those of a zone the line, which the pipeline does not carry along."""
    lines: dict[str, list[str]] = {}
    for rrset in answer:
        key = fold(rrset.owner)
        zone = view.zones.zone_for(key)
        if zone is not None and (place := _place(zone, key, rrset.rtype)) is not None:
            lines.setdefault(zone.file, []).append(f"{place.file}:{place.line}")
    found: list[str] = []
    for origin in origins:
        found += lines.pop(origin, [origin])
    return list(dict.fromkeys([line for more in lines.values() for line in more] + found))


def _place(zone: Zone, key: WireName, rtype: int) -> Place | None:
    """The line of an RRset, by its name or by the wildcard that stands for it (RFC 4592 3.3.1)."""
    if key in zone.nodes:
        return zone.place_of(key, rtype)
    for encloser in suffixes_of(parent_of(key)):
        if encloser in zone.nodes:
            return zone.place_of(WireName(WILDCARD_LABEL + encloser), rtype)
    return None


def _records(rrsets: tuple[RRset, ...]) -> list[str]:
    from dns.rdata import from_wire
    from dns.rdataclass import IN
    from dns.rdatatype import RdataType

    return [
        f"{to_text(rrset.owner)} {rrset.ttl} IN {type_name(rrset.rtype)} "
        + from_wire(IN, RdataType.make(rrset.rtype), rdata, 0, len(rdata)).to_text()
        for rrset in rrsets
        for rdata in rrset.rdatas
    ]


def _fault(place: str, message: str, fix: str) -> ConfigError:
    return ConfigError([Fault(place, message, fix)])
