"""Routes in the pipeline: who is asked, and what no upstream is to hear of."""

from __future__ import annotations

from resolver.forward.routes import Route, Routes, Target, suffixes_of_prefix
from resolver.forward.upstreams import Upstream
from resolver.pipeline.chain import Chain
from resolver.pipeline.stages import ForwardPolicy, InternalNames
from resolver.wire.name import ROOT, fold, from_text
from tests.unit.asking import Told, ask, views_of

CORP = Upstream("192.0.2.53")
TOML = """
[networks.mynet]
subnets = ["10.1.0.0/24"]
[networks.mynet.endpoints.web]
addresses = ["10.1.0.2"]
aliases = ["api.corp.example"]
[networks.mynet.endpoints.own]
addresses = ["10.1.0.3"]
dns = ["192.0.2.99"]
[networks.cut]
internal = true
"""


def suffix(text: str, target: Target = Target.UPSTREAMS, *upstreams: Upstream) -> Route:
    name = ROOT if text == "." else fold(from_text(text))
    return Route(text, (name,), target, upstreams)


def told(name: str, *routes: Route, endpoint: str = "web", network: str = "mynet", rtype: str = "A") -> Told:
    chain = Chain.of(InternalNames(), ForwardPolicy(routes=Routes(routes)))
    view = views_of(TOML).pinned((network,), endpoint)
    return ask(view, name, rtype, chain=chain)


def test_a_name_below_a_route_is_asked_of_its_upstreams() -> None:
    route = suffix("corp.example", Target.UPSTREAMS, CORP)

    assert (CORP,) == told("git.corp.example", route).forwarded.upstreams
    assert () == told("example.com", route).forwarded.upstreams


def test_names_of_the_registry_come_before_every_route() -> None:
    route = suffix("corp.example", Target.UPSTREAMS, CORP)

    assert ["api.corp.example. 600 A 10.1.0.2"] == told("api.corp.example", route).answer


def test_never_is_nxdomain_and_refuse_is_refused() -> None:
    never = told("a.onion", suffix("onion", Target.NEVER))
    refused = told("ads.example", suffix("ads.example", Target.REFUSE))

    assert ("NXDOMAIN", "onion.", "forward") == never.verdict
    assert ("REFUSED", (18, "names below ads.example are refused here")) == (refused.rcode, refused.ede)


def test_default_is_an_exception() -> None:
    routes = (suffix("corp.example", Target.NEVER), suffix("public.corp.example", Target.DEFAULT))

    assert () == told("www.public.corp.example", *routes).forwarded.upstreams
    assert "NXDOMAIN" == told("www.corp.example", *routes).rcode


def test_a_route_lets_a_single_label_out() -> None:
    assert (CORP,) == told("intranet", suffix("intranet", Target.UPSTREAMS, CORP)).forwarded.upstreams
    assert (CORP,) == told("anything", suffix(".", Target.UPSTREAMS, CORP)).forwarded.upstreams
    assert "NXDOMAIN" == told("anything").rcode


def test_reverse_names_are_routed_by_prefix() -> None:
    import ipaddress

    prefix = ipaddress.ip_network("10.0.0.0/8")
    route = Route(str(prefix), suffixes_of_prefix(prefix), Target.UPSTREAMS, (CORP,))

    assert (CORP,) == told("9.9.9.10.in-addr.arpa", route, rtype="PTR").forwarded.upstreams
    assert "reverse" == told("9.0.1.10.in-addr.arpa", route, rtype="PTR").stage, "a subnet of ours"


def test_an_askers_own_servers_come_before_routes_but_not_before_a_ban() -> None:
    routes = (suffix("corp.example", Target.UPSTREAMS, CORP), suffix("onion", Target.NEVER))

    assert (("192.0.2.99",), ()) == (
        (forwarded := told("git.corp.example", *routes, endpoint="own").forwarded).servers,
        forwarded.upstreams,
    )
    assert "NXDOMAIN" == told("a.onion", *routes, endpoint="own").rcode


def test_an_internal_network_has_no_route_out() -> None:
    assert "SERVFAIL" == told("git.corp.example", suffix("corp.example", Target.UPSTREAMS, CORP), network="cut").rcode
