"""After any run of changes the server that took them over one by one answers as one that was started anew."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dns.message
import dns.rdatatype
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec import structs

from resolver import compiled
from resolver.content import Content
from resolver.counters import UDP4, SourceCounts
from resolver.errors import Fault
from resolver.forward.outcomes import Done, Outcome
from resolver.registry.model import Contribution, Endpoint, Host, Network, Port
from resolver.server.responder import Responder
from resolver.server.state import State
from resolver.views import ViewSettings
from tests.unit.asking import CHAIN

NETS = {"neta": "10.0.0.0/24", "netb": "10.1.0.0/24", "wide": "10.0.0.0/16"}
NAMES = ("web", "db", "Api", "app", "x.y")
IDS = ("0123456789ab" + "0" * 52, "a" * 64, None, None)
ZONE = """$ORIGIN z.test.
@ 60 IN SOA ns hostmaster 1 3600 600 86400 60
@ IN NS ns
ns IN A 192.0.2.1
direct IN A 192.0.2.2
to-db IN CNAME db.neta.
to-app IN CNAME app.
"""
HOSTS = (Host(ipaddress.ip_address("192.0.2.9"), ("printer", "x.y")), Host(ipaddress.ip_address("10.0.0.9"), ("nine",)))
CLIENTS = ("10.0.0.2", "10.1.0.2", "10.0.0.77", "192.0.2.200")


NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)
"""An example asks hundreds of questions of two servers: to make a failing one smaller would take minutes."""


class Told:
    """A live source that says what it is told to say."""

    def __init__(self, name: str, networks: Iterable[str]) -> None:
        self.name = name
        self.counts = SourceCounts()
        self.faults: tuple[Fault, ...] = ()
        self.contribution: Contribution | None = Contribution(
            name, tuple(Network(net, (ipaddress.ip_network(NETS[net]),)) for net in networks)
        )

    async def start(self, changed: Callable[[], None]) -> None:
        """Nothing is heard."""

    async def stop(self) -> None:
        """Nothing was begun."""

    def say(self, place: int, endpoints: Sequence[Endpoint]) -> None:
        assert self.contribution is not None
        networks = list(self.contribution.networks)
        networks[place] = replace(networks[place], endpoints=tuple(endpoints))
        self.contribution = structs.replace(self.contribution, networks=tuple(networks))

    def said(self, place: int) -> tuple[Endpoint, ...]:
        assert self.contribution is not None
        return tuple(self.contribution.networks[place].endpoints)


class Nobody:
    """In place of a forwarder."""

    generation = 0

    def resolve(
        self, query: Any, upstreams: Any, over_tcp: bool, done: Done, options: Any, in_namespace: Any, client: Any
    ) -> None:
        done(Outcome(None, None, None))


class Asked:
    """A server's content and its responder, with clients' tables remembered as the listeners do."""

    def __init__(self, live: Sequence[Told], zones: Path) -> None:
        self.content = Content((), (zones,), ViewSettings(), live)
        self.content.refresh()
        self.responder = Responder(self._state(), Nobody())
        self._tables: dict[str, Any] = {}

    def _state(self) -> State:
        return State(self.content.views, CHAIN, (), lambda _: ())

    def take_over(self) -> bool:
        """As `Server` and `Freshness` do; True when it was done without new views."""
        if self.content.keep_up():
            if self.content.moves_clients:
                self._tables.clear()
            return True
        if self.content.merge():
            self.responder.swap(self._state())
            self._tables.clear()
        return False

    def ask(self, wire: bytes, client: str) -> bytes:
        table = self._tables.get(client)
        if table is not None and (reply := table.look_up(wire)) is not None:
            assert isinstance(reply, bytes)
            return reply
        self._tables[client] = self.responder.state.view_of(client).ready[UDP4]
        replies: list[bytes] = []
        assert self.responder.handle(wire, client, UDP4, replies.append)
        return replies[0]


def _questions() -> dict[str, bytes]:
    names = [*NAMES, "host1", "0123456789ab", "printer", "nine", "ln", "mine", "nobody", "n.wild"]
    names += [f"{name}.{net}" for name in names for net in ("neta", "netb")]
    asked = [(name, "A") for name in (*names, "direct.z.test", "to-db.z.test", "to-app.z.test", "host.docker.internal")]
    asked += [(f"{service}.{name}", "SRV") for name in names for service in ("_80._tcp", "_dns._udp")]
    asked += [(f"{host}.{net}.10.in-addr.arpa", "PTR") for host in (2, 3, 4, 9) for net in ("0.0", "0.1")]
    asked += [("db", "AAAA"), ("web.neta", "AAAA"), ("_80._tcp.web", "A"), ("2.0.0.10.in-addr.arpa", "A")]
    return {f"{name} {rtype}": dns.message.make_query(name, rtype, id=1).to_wire() for name, rtype in asked}


QUESTIONS = _questions()


def plain(wire: bytes) -> object:
    """A reply but for the order of its records, which takes turns, and the serial, which tells when a view was made."""
    message = dns.message.from_wire(wire)
    for rrset in message.authority:
        if rrset.rdtype == dns.rdatatype.SOA:
            message.authority[0] = dns.rrset.from_rdata(rrset.name, rrset.ttl, rrset[0].replace(serial=0))
    sections = [
        sorted(line for rrset in section for line in rrset.to_text().split("\n")) for section in message.sections
    ]
    return message.rcode(), int(message.flags), sections


def differences(kept: Asked, fresh: Asked) -> list[str]:
    found = []
    for client in CLIENTS:
        for what, wire in QUESTIONS.items():
            mine, theirs = kept.ask(wire, client), fresh.ask(wire, client)
            if mine != theirs and plain(mine) != plain(theirs):
                found.append(f"{what} from {client}: {dns.message.from_wire(mine)} but {dns.message.from_wire(theirs)}")
    return found


def rarely(values: st.SearchStrategy[Any], default: object) -> st.SearchStrategy[Any]:
    return st.integers(0, 11).flatmap(lambda number: values if number == 11 else st.just(default))


@st.composite
def an_endpoint(draw: st.DrawFn, net: str) -> Endpoint:
    prefix = "10.1.0" if net == "netb" else "10.0.0"
    hosts = draw(st.sets(st.integers(2, 9), min_size=1, max_size=2))
    return Endpoint(
        name=draw(st.sampled_from(NAMES)),
        addresses=tuple(ipaddress.ip_address(f"{prefix}.{host}") for host in sorted(hosts)),
        id=draw(st.sampled_from(IDS)),
        aliases=tuple(draw(st.lists(st.sampled_from(("app", "shared", "web")), max_size=2)))
        + draw(rarely(st.just(("*.wild",)), ())),
        hostname=draw(st.sampled_from((None, None, "host1", "db"))),
        links=draw(rarely(st.just((("ln", "db"),)), ())),
        ports=tuple(draw(st.lists(st.sampled_from((Port(80, "tcp"), Port(53, "udp", "DNS"))), max_size=2))),
        ttl=draw(st.sampled_from((None, 5))),
        servers=draw(rarely(st.just(("192.0.2.53",)), ())),
        extra_hosts=draw(rarely(st.just((("mine", ipaddress.ip_address("192.0.2.7")),)), ())),
        scope=draw(rarely(st.sampled_from(("one", "two")), None)),
        priority=draw(rarely(st.just(1), 0)),
        is_ready=draw(st.integers(0, 3)) > 0,
    )


@st.composite
def a_step(draw: st.DrawFn) -> tuple[int, int, str, int, Endpoint]:
    source = draw(st.integers(0, 1))
    place = draw(st.integers(0, 1))
    net = (("neta", "netb"), ("wide", "neta"))[source][place]
    what = draw(st.sampled_from(("put", "put", "put", "replace", "drop", "turn")))
    return source, place, what, draw(st.integers(0, 5)), draw(an_endpoint(net))


@pytest.fixture(scope="module")
def zones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("zones") / "z.test.zone"
    file.write_text(ZONE)
    return file


def changed(said: Sequence[Endpoint], what: str, at: int, endpoint: Endpoint) -> list[Endpoint]:
    endpoints = list(said)
    if what == "put" or not endpoints:
        endpoints.insert(at % (len(endpoints) + 1), endpoint)
    elif what == "replace":
        endpoints[at % len(endpoints)] = endpoint
    elif what == "drop":
        del endpoints[at % len(endpoints)]
    else:
        endpoints.append(endpoints.pop(at % len(endpoints)))
    return endpoints


@pytest.mark.parametrize("lane", ["compiled", "python"])
@settings(
    max_examples=15, phases=NO_SHRINKING, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(steps=st.lists(a_step(), min_size=1, max_size=7), is_joined=st.booleans(), has_hosts=st.booleans())
def test_changes_taken_over_one_by_one_answer_as_a_start_anew(
    lane: str, zones: Path, steps: list[tuple[int, int, str, int, Endpoint]], is_joined: bool, has_hosts: bool
) -> None:
    with patch.object(compiled, "lane", compiled.lane if lane == "compiled" else None):
        live = [Told("one", ("neta", "netb")), Told("two", ("wide", "neta") if is_joined else ("wide",))]
        if has_hosts:
            assert live[1].contribution is not None
            live[1].contribution = structs.replace(live[1].contribution, hosts=HOSTS)
        kept = Asked(live, zones)
        for source, place, what, at, endpoint in steps:
            if source == 1 and place == 1 and not is_joined:
                source = 0
            live[source].say(place, changed(live[source].said(place), what, at, endpoint))
            kept.take_over()
            fresh = Asked(live, zones)
            assert [] == differences(kept, fresh)
            assert set(map(str, fresh.content.faults)) == set(map(str, kept.content.faults))


def start(zones: Path, *endpoints: Endpoint) -> tuple[Told, Asked]:
    source = Told("one", ("neta", "netb"))
    source.say(0, endpoints)
    return source, Asked([source], zones)


def at(host: int, name: str, **keys: Any) -> Endpoint:
    return Endpoint(name, (ipaddress.ip_address(f"10.0.0.{host}"),), **keys)


@pytest.mark.parametrize("lane", ["compiled", "python"])
def test_what_is_not_concerned_stays_ready(lane: str, zones: Path) -> None:
    with patch.object(compiled, "lane", compiled.lane if lane == "compiled" else None):
        web, db = at(2, "web", aliases=("app",)), at(3, "db")
        source, server = start(zones, web, db)
        views = server.content.views
        assert [] == differences(server, server)
        table = views.of_client("10.0.0.77").ready[UDP4]
        names = [f"{name} A" for name in ("web", "web.neta", "app", "db", "db.neta", "to-db.z.test", "direct.z.test")]
        before = {name: table.look_up(QUESTIONS[name]) for name in names}
        assert all(before.values())

        source.say(0, [web, at(4, "db")])

        assert server.take_over()
        assert server.content.views is views
        assert not server.content.moves_clients
        after = {name: table.look_up(QUESTIONS[name]) for name in names}
        unconcerned = ["web A", "web.neta A", "app A", "direct.z.test A"]
        assert unconcerned == [name for name in names if after[name] == before[name]]
        fresh = Asked([source], zones)
        for name in names:  # the compiled lane may know already what it is now
            assert after[name] in (None, fresh.ask(QUESTIONS[name], "10.0.0.77")), name
        assert after["to-db.z.test A"] is None
        assert [] == differences(server, Asked([source], zones))


def test_a_container_that_comes_to_another_network_moves(zones: Path) -> None:
    web = at(2, "web", id="a" * 64)
    source, server = start(zones, web, at(3, "db"))
    assert [] == differences(server, server)

    source.say(1, [Endpoint("web", (ipaddress.ip_address("10.1.0.2"),), id="a" * 64), Endpoint("far", ())])

    assert server.take_over()
    assert server.content.moves_clients
    assert ("neta", "netb") == tuple(table.network.name for table in server.content.views.of_client("10.0.0.2").tables)
    assert [] == differences(server, Asked([source], zones))


@pytest.mark.parametrize(
    "endpoint",
    [
        at(4, "late", aliases=("*.wild",)),
        at(4, "late", aliases=("db",)),
        at(4, "DB"),
        at(3, "late"),
        at(4, "printer"),
        at(4, "app", aliases=("shared",), scope="one"),
        Endpoint("far", (ipaddress.ip_address("192.0.2.1"),)),
        at(4, "a" * 63 + "." + "b" * 63 + "." + "c" * 63 + "." + "d" * 57),
    ],
    ids=lambda endpoint: f"{endpoint.name[:8]} {endpoint.aliases}",
)
def test_what_rules_have_to_decide_makes_new_views(endpoint: Endpoint, zones: Path) -> None:
    source, server = start(zones, at(3, "db"), at(5, "one", aliases=("shared",), scope="two"))
    source.contribution = structs.replace(source.contribution, hosts=HOSTS)  # type: ignore[type-var]
    server.take_over()

    source.say(0, (*source.said(0), endpoint))

    assert not server.take_over()
    assert [] == differences(server, Asked([source], zones))


def test_what_fails_half_way_is_made_anew(zones: Path) -> None:
    source, server = start(zones, at(2, "web"), at(3, "db"))
    assert [] == differences(server, server)
    source.say(0, [at(2, "web"), at(4, "db")])

    with patch("resolver.upkeep._look_again", side_effect=RuntimeError("half way")), pytest.raises(RuntimeError):
        server.content.keep_up()

    assert not server.take_over()
    assert [] == differences(server, Asked([source], zones))
    source.say(0, (*source.said(0), at(5, "late")))
    assert server.take_over()
    assert [] == differences(server, Asked([source], zones))


def test_a_batch_of_changes_is_taken_over_and_a_flood_makes_new_views(zones: Path) -> None:
    many = [at(2 + number, f"n{number}") for number in range(240)]
    source, server = start(zones, *many)

    source.say(0, [at(2 + number, f"m{number}") for number in range(100)] + many[100:])
    assert server.take_over()
    source.say(0, [at(2 + number, f"o{number}") for number in range(240)])
    assert not server.take_over()

    assert [] == differences(server, Asked([source], zones))


def netavark(live: Told, place: int, hosts: Sequence[int], others: Sequence[Endpoint] = ()) -> None:
    """A network whose subnets are the addresses of its containers, as netavark's folder has it."""
    assert live.contribution is not None
    endpoints = [*others, *(at(host, f"n{host}") for host in hosts)]
    known = {endpoint: endpoint for endpoint in live.said(place)}
    networks = list(live.contribution.networks)
    addresses = [ipaddress.IPv4Network(str(address)) for endpoint in endpoints for address in endpoint.addresses]
    networks[place] = replace(
        networks[place],
        subnets=tuple(ipaddress.collapse_addresses([ipaddress.IPv4Network("10.0.0.1"), *addresses])),
        gateways=(ipaddress.ip_address("10.0.0.1"),),
        endpoints=tuple(known.get(endpoint, endpoint) for endpoint in endpoints),
    )
    live.contribution = structs.replace(live.contribution, networks=tuple(networks))


@settings(max_examples=25, phases=NO_SHRINKING, deadline=None)
@given(steps=st.lists(st.sets(st.integers(2, 9), max_size=6), min_size=1, max_size=6))
def test_subnets_that_change_with_their_containers_are_taken_over(zones: Path, steps: list[set[int]]) -> None:
    source = Told("one", ("neta", "netb"))
    netavark(source, 0, [2, 3])
    server = Asked([source], zones)
    views = server.content.views
    assert [] == differences(server, server)
    for hosts in steps:
        before = source.contribution
        netavark(source, 0, sorted(hosts))
        assert server.take_over() or source.contribution == before
        assert server.content.views is views
        assert [] == differences(server, Asked([source], zones))


def test_an_address_of_two_networks_makes_new_views(zones: Path) -> None:
    """To say that subnets overlap, and that they do no longer, is for the rules."""
    one, two = Told("one", ("neta",)), Told("two", ("wide",))
    for source in (one, two):
        netavark(source, 0, [2] if source is one else [])
    assert two.contribution is not None
    two.contribution = structs.replace(
        two.contribution, networks=(replace(two.contribution.networks[0], subnets=(), gateways=()),)
    )
    server = Asked([one, two], zones)
    netavark(two, 0, [5])
    server.take_over()
    netavark(one, 0, [2, 5])
    assert not server.take_over()
    assert any("overlaps" in str(fault) for fault in server.content.faults)
    netavark(one, 0, [2])
    assert not server.take_over()
    assert [] == differences(server, Asked([one, two], zones))
