"""Private addresses from outside, clients that say where they are, and names that the registry learns later."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import dns.edns
import dns.message
import dns.rcode
import dns.rrset
import pytest

from tests.scenarios.conftest import Serve
from tests.scenarios.live import REGISTRY, Live, answers, ask, over_udp, rewrite, until
from tests.scenarios.upstream import ADDRESS, Asked, Say, Upstream

LOCAL = {
    "evil.example": "{name} 60 IN A 192.168.1.1",
    "six.example": "{name} 60 IN AAAA ::ffff:127.0.0.1",
    "hint.example": "{name} 60 IN HTTPS 1 . alpn=h2 ipv4hint=10.0.0.1",
    "tv.plex.direct": "{name} 60 IN A 192.168.1.20",
    "git.corp.example": "{name} 60 IN A 10.1.1.9",
    "away.example": "{name} 60 IN A 127.0.0.1",
}
ZONE = """$ORIGIN static.example.
$TTL 300
@ IN SOA ns hostmaster 1 3600 600 86400 60
@ IN NS ns
ns IN A 10.0.0.53
nas IN A 192.168.1.30
away IN CNAME away.example.
"""
GUARDED = {"forward": {"rebinding_guard": True, "rebinding_allowed": ["plex.direct"]}}


def rule(asked: Asked) -> Say:
    if asked.rtype == "PTR":
        return Say(("{name} 60 IN PTR router.lan.",))
    record = LOCAL.get(asked.name)
    return Say((record,)) if record is not None else ADDRESS


def codes(reply: dns.message.Message) -> list[int]:
    return [int(option.code) for option in reply.extended_errors()]


@pytest.fixture
def world() -> Iterator[Upstream]:
    with Upstream(rule) as upstream:
        yield upstream


@pytest.mark.parametrize(("name", "rtype"), [("evil", "A"), ("six", "AAAA"), ("hint", "HTTPS")])
def test_a_private_address_from_outside_is_kept_back(serve: Serve, world: Upstream, name: str, rtype: str) -> None:
    live = serve(upstreams=[str(world)], settings=GUARDED)
    for number in (1, 2):
        reply = live.udp(f"{name}.example.", rtype, use_edns=0)
        assert (reply.rcode(), reply.answer, codes(reply)) == (dns.rcode.NOERROR, [], [15])
        assert "is a private address" in (reply.extended_errors()[0].text or "")
        assert live.count("pydns_rebinding_blocked_total") == number
    with live.tcp() as stream:
        assert answers(stream.ask(f"{name}.example.", rtype)) == []
    assert f"says that {name}.example. {rtype} is" in live.stderr
    assert live.stderr.count("rebinding guard") == 1, "and once is enough"
    assert answers(live.udp("www.example.")) == ["192.0.2.1"]


def test_what_is_meant_to_be_private_passes(serve: Serve, world: Upstream) -> None:
    """Allowed domains, routes with upstreams of their own, the registry, zones, and reverse names."""
    with Upstream(rule) as corp:
        live = serve(
            upstreams=[str(world)],
            zones={"static.zone": ZONE},
            settings={
                "forward": {
                    **GUARDED["forward"],
                    "routes": [],
                }
            },
        )
        live.config.write_text(
            live.config.read_text().replace(
                "routes = []", f'routes = [{{ suffix = "corp.example", upstreams = ["{corp}"] }}]'
            )
        )
        live.hang_up()
        assert answers(live.udp("TV.Plex.Direct.")) == ["192.168.1.20"]
        assert answers(live.udp("git.corp.example.")) == ["10.1.1.9"]
        assert answers(live.udp("db.")) == ["172.18.0.2"]
        assert answers(live.udp("nas.static.example.")) == ["192.168.1.30"]
        assert answers(live.udp("1.1.168.192.in-addr.arpa.", "PTR")) == ["router.lan."]
        away = live.udp("away.static.example.", use_edns=0)
        assert (answers(away), codes(away)) == (["away.example."], [15]), "a zone's alias lets nobody else in"


def test_it_is_off_by_default_and_what_was_kept_meanwhile_is_not_given_out_once_it_is_on(
    serve: Serve, world: Upstream
) -> None:
    live = serve(upstreams=[str(world)])
    assert answers(live.udp("evil.example.")) == ["192.168.1.1"]
    live.tables["forward"]["rebinding_guard"] = True
    live.write_config()
    live.hang_up()
    assert answers(live.udp("evil.example.")) == []
    live.tables["forward"]["rebinding_allowed"] = ["evil.example"]
    live.write_config()
    live.hang_up()
    assert answers(live.udp("evil.example.")) == ["192.168.1.1"]
    live.send(signal.SIGTERM)


def with_subnet(live: Live, name: str, prefix: int = 24) -> dns.message.Message:
    option = dns.edns.ECSOption("192.0.2.0" if prefix else "0.0.0.0", prefix)
    return over_udp(live.at, ask(name, use_edns=0, options=[option]))


def echoing(asked: Asked) -> Say:
    """An upstream that speaks of subnets whatever it is asked."""

    def raw(query: dns.message.Message) -> list[bytes]:
        reply = dns.message.make_response(query, recursion_available=True)
        reply.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", "192.0.2.1"))
        reply.use_edns(0, options=[dns.edns.ECSOption("192.0.2.0", 24, 16)])
        return [reply.to_wire()]

    return Say(raw=raw)


def options_at(upstream: Upstream) -> list[int]:
    """How many options each question had that came upstream."""
    return [len(asked.message.options) for asked in upstream.asked if asked.name == "www.example"]


@pytest.mark.parametrize("prefix", [24, 0])
def test_where_a_client_is_goes_no_further_and_the_answer_is_everybodys(serve: Serve, prefix: int) -> None:
    with Upstream(echoing) as upstream:
        live = serve(upstreams=[str(upstream)])
        for _ in range(2):
            reply = with_subnet(live, "www.example.", prefix)
            assert (answers(reply), reply.edns, list(reply.options)) == (["192.0.2.1"], 0, [])
        assert list(live.udp("www.example.", use_edns=0).options) == []
        assert options_at(upstream) == [0]
        assert live.count("pydns_cache_hits_total") == 2


def test_it_goes_upstream_where_that_is_asked_for(serve: Serve) -> None:
    with Upstream(echoing) as upstream:
        live = serve(upstreams=[str(upstream)], settings={"forward": {"client_subnet": "pass"}})
        for _ in range(2):
            reply = with_subnet(live, "www.example.")
            assert [option.otype for option in reply.options] == [dns.edns.OptionType.ECS]
        assert list(live.udp("www.example.", use_edns=0).options) == [], "nobody is told of a subnet who sent none"
        assert upstream.times_asked("www.example") == 3, "what depends on the client is nobody else's"
        assert options_at(upstream) == [1, 1, 0]


def test_a_name_that_the_registry_learns_is_answered_at_once_whatever_was_remembered(serve: Serve) -> None:
    """Issue 4, item 5: the registry is looked at before the cache."""
    missing = Say(raw=_nxdomain_for_an_hour)
    with Upstream(missing) as upstream:
        live = serve(upstreams=[str(upstream)])
        for _ in range(2):
            assert live.udp("api.corp.example.").rcode() == dns.rcode.NXDOMAIN
        assert (upstream.times_asked("api.corp.example"), live.count("pydns_cache_hits_total")) == (1, 1)

        path = live.registry / "networks.toml"
        rewrite(path, REGISTRY.replace('"database"', '"database", "api.corp.example"'))
        until(lambda: answers(live.udp("api.corp.example.")) == ["172.18.0.2"])
        rewrite(path, REGISTRY)
        until(lambda: live.udp("api.corp.example.").rcode() == dns.rcode.NXDOMAIN)
        assert upstream.times_asked("api.corp.example") == 1, "what was remembered of the world is still true"


def _nxdomain_for_an_hour(query: dns.message.Message) -> list[bytes]:
    reply = dns.message.make_response(query, recursion_available=True)
    reply.set_rcode(dns.rcode.NXDOMAIN)
    reply.authority.append(dns.rrset.from_text("example.", 3600, "IN", "SOA", "ns.example. h.example. 1 2 3 4 3600"))
    return [reply.to_wire()]


INTERNAL = """
[networks.blue]
subnets = ["127.2.0.0/16"]
internal = true
dns = ["{inner}", "{world}"]
[networks.blue.endpoints.data]
addresses = ["127.2.0.5"]
"""


def test_a_resolver_on_an_internal_network_is_asked_and_neither_cache_nor_guard_nor_route_changes_that(
    serve: Serve, world: Upstream
) -> None:
    """What the world said to others is not told to somebody who may not ask it."""
    with Upstream(Say(("{name} 60 IN A 10.20.0.9",)), host="127.2.0.53") as inner:
        live = serve(
            upstreams=[str(world)],
            registry=INTERNAL.format(inner=inner, world=world),
            listen=("0.0.0.0:0",),
            settings=GUARDED,
        )
        route = f'[[forward.routes]]\nsuffix = "away.example"\nupstreams = ["{world}"]\n'
        live.config.write_text(live.config.read_text() + route)
        live.hang_up()
        assert answers(live.udp("www.example.")) == ["192.0.2.1"]
        for name in ("www.example.", "www.example.", "x.away.example."):
            assert answers(live.udp(name, source="127.2.0.5")) == ["10.20.0.9"]
        assert answers(live.udp("www.example.")) == ["192.0.2.1"]
        assert inner.distinct()[-2:] == ["www.example", "x.away.example"]
        assert "x.away.example" not in world.names()
        told = live.page("/explain?name=www.example&from=127.2.0.5").json
        assert (told["upstreams"], told["upstreams_of"]) == ([str(inner)], "the asker")
