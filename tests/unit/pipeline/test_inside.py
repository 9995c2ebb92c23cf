"""Whom somebody on internal networks only may have asked: the resolvers that are on these networks (design.md 2.6)."""

from __future__ import annotations

import pytest

from resolver.assembly import own_upstreams
from resolver.forward.inside import inside
from resolver.forward.routes import Route, Routes, Target
from resolver.forward.upstreams import Upstream, parse_upstream
from resolver.pipeline.chain import Chain
from resolver.pipeline.stages import ForwardPolicy, InternalNames
from resolver.registry.store import Store
from resolver.server.state import State
from resolver.views import View, Views, ViewSettings
from resolver.wire.name import fold, from_text
from resolver.zones.model import ZoneSet
from tests.unit.asking import CHAIN, Told, ask, query, views_of, zone_of

TOML = """
[networks.vault]
subnets = ["172.20.0.0/16", "fd00:20::/64"]
internal = true
[networks.vault.endpoints.web]
addresses = ["172.20.0.2"]
dns = ["10.9.9.9", "172.20.0.53", "fd00:20::53", "127.0.0.1"]
[networks.vault.endpoints.lost]
addresses = ["172.20.0.3"]
dns = ["172.21.0.53", "::1"]
[networks.vault.endpoints.plain]
addresses = ["172.20.0.4"]

[networks.named]
subnets = ["172.21.0.0/16"]
internal = true
dns = ["172.21.0.53", "172.22.0.53", "10.9.9.9"]
[networks.named.endpoints.plain]
addresses = ["172.21.0.4"]

[networks.open]
subnets = ["172.22.0.0/16"]
[networks.open.endpoints.plain]
addresses = ["172.22.0.4"]
"""
ROUTES = Routes(
    (
        Route("corp.example", (fold(from_text("corp.example")),), Target.UPSTREAMS, (Upstream("10.1.1.53"),)),
        Route(
            "in.example",
            (fold(from_text("in.example")),),
            Target.UPSTREAMS,
            (Upstream("10.1.1.53"), Upstream("172.20.0.99")),
        ),
        Route("onion", (fold(from_text("onion")),), Target.NEVER),
        Route("ads.example", (fold(from_text("ads.example")),), Target.REFUSE),
    )
)
ROUTED = Chain.of(InternalNames(), ForwardPolicy(routes=ROUTES))
WORLD = (Upstream("8.8.8.8"), Upstream("172.20.0.77"))
"""Everybody's upstreams. The second one happens to be on the internal network: it is nobody's own all the same."""


def view(endpoint: str, *networks: str) -> View:
    return views_of(TOML).pinned(networks or ("vault",), endpoint)


def asked(told_of: View, name: str = "api.corp.example", *, chain: Chain = CHAIN, former: str = "") -> list[str]:
    """Who is asked; ``former`` are servers that stood in the namespace's own resolv.conf."""
    everybodys = own_upstreams(tuple(former.split()), in_namespace=True) or WORLD
    state = State(Views(Store().snapshot, ZoneSet(()), ViewSettings()), chain, everybodys, own_upstreams)
    told = ask(told_of, name, chain=chain, upstreams=everybodys)
    decision = state.decide(query(name), told_of)
    assert decision == told.decision
    return [str(upstream) for upstream in state.upstreams_for(told.forwarded)]


def refused(told: Told) -> tuple[str, int]:
    assert told.ede is not None
    return told.rcode, told.ede[0]


def test_of_its_own_servers_those_on_its_internal_networks_are_asked() -> None:
    assert ["172.20.0.53:53", "[fd00:20::53]:53"] == asked(view("web"))


def test_of_its_networks_servers_too() -> None:
    assert ["172.21.0.53:53"] == asked(view("plain", "named"))
    assert ["172.21.0.53:53"] == asked(view("plain", "named", "vault"))


def test_nobody_else_is_asked() -> None:
    for told in (ask(view("lost"), "x.example", upstreams=WORLD), ask(view("plain"), "x.example", upstreams=WORLD)):
        assert ("SERVFAIL", 18) == refused(told)


def test_servers_of_an_internal_network_are_not_asked_by_who_has_a_way_out() -> None:
    assert ["8.8.8.8:53", "172.20.0.77:53"] == asked(view("plain", "named", "open"))


def test_the_servers_that_the_namespace_had_before_us_are_its_own() -> None:
    assert ["172.20.0.88:53"] == asked(view("plain"), former="8.8.4.4 172.20.0.88")
    nowhere = ask(view("plain"), "x.example", upstreams=own_upstreams(("8.8.4.4",), in_namespace=True))
    assert ("SERVFAIL", 18) == refused(nowhere)


def test_a_resolver_in_the_container_itself_is_asked_where_its_loopback_is() -> None:
    """Docker does so; it gets no further than the container. From the host's namespace it would be the host's."""
    assert ["127.0.0.1:53"] == asked(view("plain"), former="127.0.0.1")
    assert () == inside(own_upstreams(("127.0.0.1", "::1")), view("plain").within or ())


def test_a_route_is_no_way_out_and_leads_to_who_is_inside() -> None:
    assert ("SERVFAIL", 18) == refused(ask(view("plain"), "git.corp.example", chain=ROUTED, upstreams=WORLD))
    assert ["172.20.0.99:53"] == asked(view("plain"), "git.in.example", chain=ROUTED)
    assert ["172.20.0.53:53", "[fd00:20::53]:53"] == asked(view("web"), "git.corp.example", chain=ROUTED)


def test_bans_are_for_everybody() -> None:
    assert "NXDOMAIN" == ask(view("web"), "a.onion", chain=ROUTED).rcode
    assert "REFUSED" == ask(view("web"), "ads.example", chain=ROUTED).rcode


@pytest.mark.parametrize("text", ["tls://dns.example", "https://dns.example/dns-query", "8.8.8.8", "[::]", "0.0.0.0"])
def test_what_is_elsewhere_or_known_by_its_name_only_is_not_inside(text: str) -> None:
    assert () == inside((parse_upstream(text),), view("plain").within or ())


def test_who_is_on_no_network_any_more_has_nobody() -> None:
    gone = views_of(TOML).pinned(("gone",), "plain")
    own = own_upstreams(("127.0.0.1", "172.20.0.53"), in_namespace=True)

    assert () == gone.within
    assert () == inside(own, ())
    assert ("SERVFAIL", 18) == refused(ask(gone, "x.example", upstreams=own))


def test_a_cname_of_a_zone_leads_to_the_resolver_inside_too() -> None:
    zone = zone_of("lab.example", "far CNAME www.example.org.\n")
    within = views_of(TOML, zones=[zone]).pinned(("vault",), "web")

    assert ["172.20.0.53:53", "[fd00:20::53]:53"] == asked(within, "far.lab.example")
