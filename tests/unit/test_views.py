"""From a client to its view; what views share and what each has for itself (docs/adr/0002)."""

from __future__ import annotations

import ipaddress
from ipaddress import ip_address

import pytest

from resolver import views as views_module
from resolver.views import View, ViewSettings, reverse_apex
from resolver.wire.lane import LaneTable
from resolver.wire.name import fold, from_text, to_text
from tests.unit.asking import addresses, ask, views_of
from tests.unit.pipeline.worlds import WORLD, world


def networks(view: View) -> list[str]:
    return [table.network.name for table in view.tables]


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        ("172.18.0.3", ["mynet"]),
        ("172.18.255.254", ["mynet"]),
        ("fd00:18::3", ["mynet"]),
        ("fd00:18::3%eth0", ["mynet"]),
        ("172.19.0.1", ["backend"]),
        ("10.20.31.255", ["corp.net"]),
    ],
)
def test_a_client_is_on_the_networks_whose_subnets_hold_its_address(client: str, expected: list[str]) -> None:
    view = world().of_client(client)

    assert (expected, False) == (networks(view), view.is_host)


@pytest.mark.parametrize("client", ["127.0.0.1", "::1", "192.168.1.1", "10.20.32.0", "fe80::1%eth0"])
def test_any_other_client_has_the_hosts_view(client: str) -> None:
    view = world().of_client(client)

    assert (["mynet", "corp.net", "backend"], True) == (networks(view), view.is_host)


def test_a_client_where_subnets_overlap_is_on_both_networks() -> None:
    views = views_of('[networks.a]\nsubnets = ["10.0.0.0/8"]\n[networks.b]\nsubnets = ["10.1.0.0/16"]\n')

    assert [["a"], ["a", "b"]] == [networks(views.of_client(client)) for client in ("10.2.0.1", "10.1.0.1")]


def test_a_client_with_links_or_servers_of_its_own_has_a_view_of_its_own() -> None:
    views = world()
    web, own, db = (views.of_client(f"172.18.0.{number}") for number in (3, 4, 2))

    assert {"172.18.0.2"} == addresses(ask(web, "sql"))
    assert (("10.0.0.53",), ()) == (own.servers, db.servers)
    assert db is views.of_client("172.18.0.99")


def test_clients_of_one_view_share_it() -> None:
    """And so its ready replies."""
    views = world()

    assert views.of_client("172.18.0.2") is views.of_client("172.18.0.77") is views.pinned(("mynet",), None)


def test_the_memory_of_clients_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views_module, "_MAX_CLIENTS", 10)
    views = world()
    for number in range(100):
        views.of_client(f"172.18.1.{number}")

    assert len(views.by_client) <= 10


def test_a_pinned_view_is_in_the_order_of_asking_whatever_the_order_given() -> None:
    views = world()

    assert ["mynet", "backend"] == networks(views.pinned(("backend", "mynet"), None))
    assert views.pinned(("backend", "mynet"), None) is views.pinned(("mynet", "backend"), None)


def test_a_network_that_does_not_exist_contributes_nothing() -> None:
    views = world()

    assert ["mynet"] == networks(views.pinned(("nowhere", "mynet"), None))
    assert [] == networks(views.pinned(("nowhere",), None))


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("db", ["mynet", "backend"]),
        ("DB.", ["mynet", "backend"]),
        ("vault", ["backend"]),
        ("database", []),
        ("nobody", []),
        ("", []),
        ("a b", []),
        ("ü", []),
    ],
)
def test_an_endpoint_is_found_on_its_networks_by_its_container_name(endpoint: str, expected: list[str]) -> None:
    """An alias is somebody else's word for it; what cannot be a name is nobody's."""
    assert expected == list(world().networks_of(endpoint))
    assert world().pinned(("mynet",), endpoint).tables


def test_of_networks_that_differ_in_letter_case_the_one_asked_first_has_the_suffix() -> None:
    views = views_of(
        '[networks.Net.endpoints.x]\naddresses = ["10.0.0.1"]\n[networks.net.endpoints.x]\naddresses = ["10.0.0.2"]\n'
    )

    assert {"10.0.0.1"} == addresses(ask(views.host, "x.net")) == addresses(ask(views.host, "x.NET"))


@pytest.mark.parametrize(
    ("names", "internal"),
    [(("backend",), True), (("backend", "mynet"), False), (("mynet",), False), ((), True)],
)
def test_a_view_is_internal_when_all_its_networks_are(names: tuple[str, ...], internal: bool) -> None:
    assert internal == world().pinned(names, None).is_internal


def test_gateways_are_those_of_the_first_network_that_has_any() -> None:
    fallback = (ipaddress.ip_address("172.17.0.1"),)
    views = views_of(WORLD, settings=ViewSettings(fallback_gateways=fallback))

    assert ["172.18.0.1", "fd00:18::1"] == list(map(str, views.pinned(("corp.net", "mynet"), None).gateways))
    assert fallback == views.pinned(("corp.net",), None).gateways


def test_new_views_share_the_tables_of_networks_that_did_not_change() -> None:
    before = world()
    after = views_module.Views(before.snapshot, before.zones, ViewSettings(ttl=5), before)

    assert all(after.tables[name] is table for name, table in before.tables.items())
    assert ["db. 5 A 172.18.0.2"] == ask(after.host, "db").answer


def test_new_views_begin_without_ready_replies() -> None:
    """What they were made from may have changed."""
    before = world()
    after = views_module.Views(before.snapshot, before.zones, before.settings, before)

    assert not any(table is other for table in before.host.ready for other in after.host.ready)


def test_every_view_that_was_made_is_known_to_the_counters() -> None:
    views = world()
    views.of_client("172.18.0.3")
    views.pinned(("backend",), None)

    made = [views.host, views.of_client("172.18.0.3"), views.pinned(("backend",), None), views.stranger]

    assert made == list(views.all_made())


@pytest.mark.parametrize(
    ("subnet", "apex"),
    [
        ("172.18.0.0/16", "18.172.in-addr.arpa."),
        ("10.20.16.0/20", "20.10.in-addr.arpa."),
        ("10.0.0.0/8", "10.in-addr.arpa."),
        ("172.16.0.0/12", "172.in-addr.arpa."),
        ("0.0.0.0/0", "in-addr.arpa."),
        ("192.0.2.1/32", "1.2.0.192.in-addr.arpa."),
        ("fd00:18::/64", "0.0.0.0.0.0.0.0.8.1.0.0.0.0.d.f.ip6.arpa."),
        ("fd00::/8", "d.f.ip6.arpa."),
        ("fc00::/7", "f.ip6.arpa."),
    ],
)
def test_the_reverse_zone_of_a_subnet_is_its_prefix_in_whole_labels(subnet: str, apex: str) -> None:
    assert apex == to_text(reverse_apex(ipaddress.ip_network(subnet)))


def test_the_serial_is_the_registrys() -> None:
    assert 1 == world().host.serial
    assert from_text("mynet") in world().host.suffixes


def test_a_container_that_is_known_by_its_id_is_on_all_of_its_networks() -> None:
    """As with Docker, whichever of its addresses it asks from; a name alone may be two containers'."""
    text = """
[networks.a]
subnets = ["10.0.0.0/24"]
[networks.a.endpoints.web]
id = "{id}0123456789"
addresses = ["10.0.0.2"]
[networks.a.endpoints.other]
addresses = ["10.0.0.3"]
[networks.cut]
subnets = ["10.1.0.0/24"]
internal = true
[networks.cut.endpoints.web]
id = "{id}0123456789"
addresses = ["10.1.0.2"]
[networks.cut.endpoints.other]
addresses = ["10.1.0.3"]
"""
    views = views_of(text.replace("{id}", "abcdefabcdef"))

    assert [["a", "cut"], ["a", "cut"], ["a"], ["cut"]] == [
        networks(views.of_client(client)) for client in ("10.0.0.2", "10.1.0.2", "10.0.0.3", "10.1.0.3")
    ]
    assert [False, True] == [views.of_client(client).is_internal for client in ("10.1.0.2", "10.1.0.3")]


def test_on_a_link_a_client_has_the_networks_whose_subnets_hold_our_addresses_there() -> None:
    views = world()
    client = ip_address("fe80::77")
    subnet = next(iter(views.tables["mynet"].network.subnets))

    view = views.on_link(client, (ip_address("192.0.2.1"), subnet[1]))
    assert (["mynet"], False) == (networks(view), view.is_host)
    for ours in ((), (ip_address("192.0.2.1"),)):
        stranger = views.on_link(client, ours)
        assert ([], False, True, True) == (
            networks(stranger),
            stranger.is_host,
            stranger.is_internal,
            stranger.is_stranger,
        )


def test_upstreams_replies_about_a_name_that_is_known_now_go_too() -> None:
    view = views_of(WORLD).host
    table = LaneTable(0)
    view.passing.add(table)
    names = ("www.example.org", "ftp.example.org")
    for name in names:
        table.put(fold(from_text(name)), 1, 1, b"\x81\x80", b"\0\1\0\0\0\0", (b"x",), (1, 0, "cache"), (), 0, 0)

    view.forget([fold(from_text("www.example.org"))])

    assert 1 == len(table)
