"""Why a name resolves as it does: one look-up taken through the pipeline, told in words and not sent anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from resolver.errors import ConfigError, Fault
from resolver.pipeline.outcome import Forward, Reply
from resolver.server.responder import State
from resolver.sources.base import parse_address
from resolver.views import View
from resolver.wire.constants import CLASS_IN, RD, TYPE_NUMBERS, rcode_name, type_name
from resolver.wire.name import from_text, to_text
from resolver.wire.query import Query, scan
from resolver.wire.rrset import RRset


@dataclass(frozen=True, slots=True)
class Asked:
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
    """The view, the stage that decides, the answer with where it was written, or the upstreams that would be asked.

    Raises ConfigError for a question that cannot be asked.
    """
    query = _query(asked)
    view, because = _view(asked, state)
    decision = state.chain.resolve(query, view)
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
        told["written_in"] = list(dict.fromkeys(str(origin) for origin in outcome.origins))
        if answer.ede is not None:
            told["extended_error"] = {"code": answer.ede[0], "text": answer.ede[1]}
    else:
        told.update(_forward(outcome, state))
    return told


def _forward(outcome: Forward, state: State) -> dict[str, Any]:
    upstreams = state.own_upstreams(outcome.servers) if outcome.servers else state.upstreams
    return {
        "forwarded_name": to_text(outcome.question.qname),
        "answer": _records(outcome.chased),
        "upstreams": [str(upstream) for upstream in upstreams],
        "upstreams_of": "the asker" if outcome.servers else "everybody",
    }


def _query(asked: Asked) -> Query:
    rtype = asked.rtype.upper()
    number = TYPE_NUMBERS.get(rtype)
    if number is None and rtype.startswith("TYPE") and rtype[4:].isdigit() and int(rtype[4:]) < 65536:
        number = int(rtype[4:])
    if number is None:
        raise _fault("TYPE", f"{asked.rtype!r} is not a record type", "write A, AAAA, PTR, SRV… or TYPE65280")
    try:
        name = from_text(asked.name)
    except ValueError as error:
        raise _fault("NAME", str(error), "") from None
    header = b"\0\0" + RD.to_bytes(2, "big") + b"\0\1\0\0\0\0\0\0"
    query = scan(header + name + number.to_bytes(2, "big") + CLASS_IN.to_bytes(2, "big"))
    if not isinstance(query, Query):
        raise _fault("NAME", f"{asked.name!r} cannot be asked", "")
    return query


def _view(asked: Asked, state: State) -> tuple[View, str]:
    views = state.views
    if asked.network is not None or asked.endpoint is not None:
        networks = (asked.network,) if asked.network is not None else views.networks_of(asked.endpoint or "")
        if asked.network is not None and asked.network not in views.tables:
            known = ", ".join(sorted(views.tables)) or "none"
            raise _fault("--network", f"there is no network {asked.network!r}", f"there are: {known}")
        if not networks:
            raise _fault("--endpoint", f"there is no container {asked.endpoint!r}", "see: pydns networks")
        return views.pinned(networks, asked.endpoint), "it was named"
    if asked.address is not None:

        def complain(message: str, fix: str) -> None:
            raise _fault("--from", message, fix)

        address = parse_address(asked.address, complain)
        assert address is not None
        view = views.of_address(address)
        if view.is_host:
            return view, f"{address} is in no network's subnets, so it sees what the host sees"
        return view, f"{address} is in the subnets of these networks"
    if state.pin is not None:
        return views.pinned(state.pin.networks, state.pin.endpoint), "the server was started for it"
    return views.host, "the host sees every network"


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
