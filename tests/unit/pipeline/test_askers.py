"""What an asker has that others on the same networks do not: hosts of its own, a project, servers; and who is ready."""

from __future__ import annotations

from dataclasses import replace

from resolver.registry.model import Contribution
from resolver.registry.store import Store
from resolver.sources import registry_toml
from resolver.views import Views, ViewSettings
from resolver.zones.model import ZoneSet
from tests.unit.asking import addresses, ask, views_of

STACKS = """
[networks.shared]
subnets = ["10.0.0.0/24"]
gateways = ["10.0.0.1"]
[networks.shared.endpoints.one-db-1]
addresses = ["10.0.0.2"]
aliases = ["db", "*.apps"]
scope = "one"
[networks.shared.endpoints.two-db-1]
addresses = ["10.0.0.3"]
aliases = ["db", "*.apps"]
scope = "two"
[networks.shared.endpoints.two-web-1]
addresses = ["10.0.0.4"]
scope = "two"
[networks.shared.endpoints.alone]
addresses = ["10.0.0.5"]
[networks.shared.endpoints.three-web-1]
addresses = ["10.0.0.6"]
scope = "three"
"""

HOSTS = """
[networks.mynet]
subnets = ["10.0.0.0/24", "fd00::/64"]
gateways = ["10.0.0.1", "fd00::1"]
[networks.mynet.endpoints.web]
addresses = ["10.0.0.2"]
[networks.mynet.endpoints.web.extra_hosts]
"api.corp.example" = ["192.0.2.1", "192.0.2.2"]
"host.docker.internal" = "host-gateway"
"gateway.docker.internal" = "192.0.2.9"
"DB" = "192.0.2.3"
[networks.mynet.endpoints.db]
addresses = ["10.0.0.3"]
"""


def test_of_several_projects_with_one_name_the_askers_own_answers() -> None:
    views = views_of(STACKS)

    def seen(name: str) -> dict[str, set[str]]:
        askers = ("one-db-1", "two-web-1", "alone", "three-web-1")
        return {asker: addresses(ask(views.pinned(("shared",), asker), name)) for asker in askers}

    both = {"10.0.0.2", "10.0.0.3"}
    for name in ("db", "db.shared", "x.apps"):
        assert {
            "one-db-1": {"10.0.0.2"},
            "two-web-1": {"10.0.0.3"},
            "alone": both,
            "three-web-1": both,
        } == seen(name)
    assert both == addresses(ask(views.host, "db"))
    assert {"10.0.0.3"} == addresses(ask(views.of_client("10.0.0.4"), "db"))


def test_askers_without_anything_of_their_own_share_a_view() -> None:
    """And with it the ready replies: a thousand containers on one network need no thousand tables."""
    views = views_of(STACKS)
    uncontended = views_of(STACKS.replace('["db", "*.apps"]', "[]"))

    assert views.pinned(("shared",), "one-db-1") is not views.pinned(("shared",), "two-db-1")
    assert views.pinned(("shared",), "two-web-1") is views.pinned(("shared",), "two-db-1")
    assert uncontended.pinned(("shared",), "one-db-1") is uncontended.pinned(("shared",), "two-db-1")


def test_extra_hosts_come_before_everything_and_only_for_their_asker() -> None:
    views = views_of(HOSTS)
    web, db = views.pinned(("mynet",), "web"), views.pinned(("mynet",), "db")

    assert {"192.0.2.1", "192.0.2.2"} == addresses(ask(web, "api.corp.example"))
    assert {"192.0.2.3"} == addresses(ask(web, "db"))
    assert {"192.0.2.9"} == addresses(ask(web, "gateway.docker.internal"))
    assert {"10.0.0.3"} == addresses(ask(db, "db"))
    assert {"10.0.0.1"} == addresses(ask(db, "gateway.docker.internal"))
    assert () == ask(db, "api.corp.example").forwarded.servers


def test_host_gateway_is_where_the_asker_reaches_the_host() -> None:
    web = views_of(HOSTS).pinned(("mynet",), "web")

    assert {"10.0.0.1"} == addresses(ask(web, "host.docker.internal"))
    assert {"fd00::1"} == addresses(ask(web, "host.docker.internal", "AAAA"))


def test_an_extra_host_is_an_address_and_the_rest_of_the_name_is_the_worlds() -> None:
    """Who pins the address of example.com wants its mail all the same; but no other way to the address (RFC 9460)."""
    web = views_of(HOSTS).pinned(("mynet",), "web")

    for rtype in ("AAAA", "HTTPS"):
        assert ("NOERROR", "api.corp.example.", "extra_hosts") == ask(web, "api.corp.example", rtype).verdict
    for rtype in ("MX", "TXT", "SRV"):
        assert () == ask(web, "api.corp.example", rtype).forwarded.servers
    assert ("NOERROR", "db.", "extra_hosts") == ask(web, "db", "MX").verdict


def test_who_is_not_ready_is_left_out_where_a_ready_one_has_the_name() -> None:
    views = _with_readiness(**{"one-db-1": False})

    assert {"10.0.0.3"} == addresses(ask(views.host, "db"))
    assert {"10.0.0.2"} == addresses(ask(views.host, "one-db-1")), "its own name stays"


def test_when_nobody_is_ready_all_answer() -> None:
    """An address that may be sick is better than none, which would send the asker's question to the world."""
    views = _with_readiness(**{"one-db-1": False, "two-db-1": False})

    assert {"10.0.0.2", "10.0.0.3"} == addresses(ask(views.host, "db"))


def test_a_networks_servers_are_for_those_who_have_none_of_their_own() -> None:
    views = views_of(
        """
[networks.a]
dns = ["192.0.2.53"]
[networks.a.endpoints.web]
addresses = ["10.0.0.2"]
[networks.a.endpoints.own]
addresses = ["10.0.0.3"]
dns = ["192.0.2.54"]
[networks.b]
dns = ["192.0.2.55", "192.0.2.53"]
[networks.c]
dns = ["192.0.2.56"]
internal = true
"""
    )

    def servers(*networks: str, endpoint: str | None = None) -> tuple[str, ...]:
        return ask(views.pinned(networks, endpoint), "example.com").forwarded.servers

    assert ("192.0.2.53",) == servers("a", endpoint="web")
    assert ("192.0.2.54",) == servers("a", endpoint="own")
    assert ("192.0.2.53", "192.0.2.55") == servers("a", "b", "c")
    assert "SERVFAIL" == ask(views.pinned(("c",), None), "example.com").rcode
    assert () == ask(views.host, "example.com").forwarded.servers


def test_joined_networks_answer_together() -> None:
    text = """
[networks.a.endpoints.db]
addresses = ["10.0.0.2"]
ttl = 7
[networks.b.endpoints.db]
addresses = ["10.0.0.3"]
"""
    apart, joined = (views_of(text, settings=ViewSettings(joins_networks=joins)) for joins in (False, True))

    assert {"10.0.0.2"} == addresses(ask(apart.pinned(("a", "b"), None), "db"))
    told = ask(joined.pinned(("a", "b"), None), "db")
    assert ["db. 7 A 10.0.0.2", "db. 7 A 10.0.0.3"] == sorted(told.answer)
    assert {"10.0.0.3"} == addresses(ask(joined.pinned(("a", "b"), None), "db.b"))


def _with_readiness(**ready: bool) -> Views:
    """The stacks, with some of their containers not ready: a registry file has no word for it, daemons have."""
    loaded = registry_toml.read(STACKS, "stacks.toml")
    assert loaded.contribution is not None
    (network,) = loaded.contribution.networks
    endpoints = tuple(replace(one, is_ready=ready.get(one.name, True)) for one in network.endpoints)
    store = Store()
    store.replace([Contribution("docker", (replace(network, endpoints=endpoints),))])
    return Views(store.snapshot, ZoneSet(), ViewSettings())


def test_a_container_asks_the_network_of_its_highest_priority_first() -> None:
    """Docker's gw-priority: the other containers of these networks ask in their own order."""
    views = views_of(
        """
[networks.a.endpoints.db]
addresses = ["10.0.0.2"]
[networks.a.endpoints.web]
addresses = ["10.0.0.3"]
[networks.a.endpoints.app]
addresses = ["10.0.0.4"]
[networks.b]
internal = true
[networks.b.endpoints.db]
addresses = ["10.1.0.2"]
[networks.b.endpoints.web]
addresses = ["10.1.0.3"]
priority = 5
[networks.b.endpoints.app]
addresses = ["10.1.0.4"]
"""
    )

    assert {"10.1.0.2"} == addresses(ask(views.pinned(("a", "b"), "web"), "db"))
    assert {"10.0.0.2"} == addresses(ask(views.pinned(("a", "b"), "app"), "db"))
    assert {"10.0.0.2"} == addresses(ask(views.pinned(("a", "b"), None), "db"))
