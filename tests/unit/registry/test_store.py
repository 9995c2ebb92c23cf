"""How contributions become one snapshot: the rules for what is said twice, and that nothing is lost silently."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from resolver.registry.model import Contribution, Endpoint, Host, IPNetwork, Network, Origin, Snapshot
from resolver.registry.store import Store, merge
from resolver.views import Views, ViewSettings
from resolver.wire.name import IPAddress
from resolver.zones.model import ZoneSet


def ip(text: str) -> IPAddress:
    return ipaddress.ip_address(text)


def net(*texts: str) -> tuple[IPNetwork, ...]:
    return tuple(map(ipaddress.ip_network, texts))


DB = Endpoint("db", (ip("172.18.0.2"),), origin=Origin("a.toml", 3))
WEB = Endpoint("web", (ip("172.18.0.3"),), origin=Origin("b.toml", 5))


def mynet(*endpoints: Endpoint, place: str = "a.toml", **keys: object) -> Network:
    return replace(Network("mynet", endpoints=endpoints, origin=Origin(place, 1)), **keys)  # type: ignore[arg-type]


def merged(*networks: Network, hosts: tuple[Host, ...] = ()) -> tuple[Snapshot, list[str]]:
    """Each network in a contribution of its own; warnings as ``place:line: message``."""
    contributions = [Contribution(str(index), (network,)) for index, network in enumerate(networks)]
    snapshot, warnings = merge([*contributions, Contribution("hosts", hosts=hosts)])
    assert all(warning.is_warning and warning.fix for warning in warnings)
    return snapshot, [f"{warning.place}:{warning.line}: {warning.message}" for warning in warnings]


def test_networks_are_in_the_order_in_which_they_are_asked() -> None:
    snapshot, warnings = merged(Network("c", internal=True), Network("b"), Network("a", priority=-1))

    assert (["b", "c", "a"], []) == (list(snapshot.networks), warnings)


def test_a_network_in_two_files_is_joined() -> None:
    snapshot, warnings = merged(
        mynet(DB, subnets=net("172.18.0.0/16"), gateways=(ip("172.18.0.1"),)),
        mynet(WEB, subnets=net("172.18.0.0/16", "fd00:18::/64"), gateways=(ip("172.18.0.1"), ip("fd00:18::1"))),
    )
    network = snapshot.networks["mynet"]

    assert ["db", "web"] == [endpoint.name for endpoint in network.endpoints]
    assert net("172.18.0.0/16", "fd00:18::/64") == network.subnets
    assert (ip("172.18.0.1"), ip("fd00:18::1")) == network.gateways
    assert [] == warnings


def test_of_differing_keys_the_first_counts_and_the_other_is_reported() -> None:
    snapshot, warnings = merged(
        mynet(ttl=60, priority=2, internal=True), mynet(ttl=70, priority=3, internal=True, place="b.toml")
    )
    network = snapshot.networks["mynet"]

    assert (60, 2, True) == (network.ttl, network.priority, network.internal)
    assert [
        "b.toml:1: ttl = 70 differs from 60 in a.toml:1, which counts",
        "b.toml:1: priority = 3 differs from 2 in a.toml:1, which counts",
    ] == warnings


def test_a_file_that_is_silent_on_a_key_does_not_overrule_one_that_is_not() -> None:
    """A network that one file calls internal is internal, whichever file comes first."""
    stated, silent = mynet(ttl=60, priority=2, internal=True), mynet()

    for networks in ((stated, silent), (silent, stated)):
        snapshot, warnings = merged(*networks)
        network = snapshot.networks["mynet"]
        assert (60, 2, True, []) == (network.ttl, network.priority, network.internal, warnings)


def test_the_second_endpoint_of_a_name_is_left_out_and_reported() -> None:
    """Whatever its letter case."""
    snapshot, warnings = merged(mynet(DB), mynet(replace(WEB, name="DB"), WEB, place="b.toml"))

    assert ["db", "web"] == [endpoint.name for endpoint in snapshot.networks["mynet"].endpoints]
    assert ["b.toml:5: endpoint 'DB' of network 'mynet' is already in a.toml:3; this one is left out"] == warnings


def test_a_container_may_be_on_two_networks() -> None:
    snapshot, warnings = merged(mynet(DB), Network("other", endpoints=(DB,)))

    assert (2, []) == (len(list(snapshot.endpoints())), warnings)


def test_an_address_of_two_endpoints_is_reported() -> None:
    _, warnings = merged(mynet(DB, replace(WEB, addresses=DB.addresses)))

    assert ["b.toml:5: 172.18.0.2 is also the address of 'db' (a.toml:3), which keeps the PTR"] == warnings


def test_an_alias_that_is_another_ones_container_name_is_reported() -> None:
    _, warnings = merged(mynet(DB, replace(WEB, aliases=("www", "DB"))))

    assert ["b.toml:5: 'DB' is also the container name of a.toml:3; it answers with the addresses of both"] == warnings


def test_an_alias_that_is_shared_is_no_fault() -> None:
    _, warnings = merged(mynet(replace(DB, aliases=("app",)), replace(WEB, aliases=("app",))))

    assert [] == warnings


def test_an_address_outside_the_subnets_of_another_file_is_reported() -> None:
    """Within one file it is refused already; here neither file is wrong by itself."""
    snapshot, warnings = merged(mynet(subnets=net("10.0.0.0/8"), gateways=(ip("11.0.0.1"),)), mynet(DB))

    assert 1 == len(list(snapshot.endpoints()))
    assert [
        "a.toml:3: 172.18.0.2 of 'db' is outside the subnets of network 'mynet'",
        "a.toml:1: gateway 11.0.0.1 is outside the subnets of network 'mynet'",
    ] == warnings


def test_subnets_of_two_networks_that_overlap_are_reported() -> None:
    wide = replace(Network("wide", net("172.0.0.0/8")), origin=Origin("w.toml", 1))
    inside = [replace(Network(f"in{n}", net(f"172.{n}.0.0/16")), origin=Origin("i.toml", n)) for n in (1, 2)]
    _, warnings = merged(wide, *inside, Network("apart", net("10.0.0.0/8")), Network("v6", net("::/0")))

    assert ["i.toml:1", "i.toml:2"] == [warning.partition(": ")[0] for warning in warnings]
    assert "subnet 172.1.0.0/16 of network 'in1' overlaps 172.0.0.0/8 of 'wide'" in warnings[0]


def test_networks_that_differ_in_letter_case_are_reported() -> None:
    snapshot, warnings = merged(mynet(), Network("MyNet", origin=Origin("b.toml", 1)))

    assert {"mynet", "MyNet"} == set(snapshot.networks)
    assert [
        "a.toml:1: network 'mynet' differs from 'MyNet' (b.toml:1) in letter case only; NAME.MyNet means that one"
    ] == (warnings)


def test_a_name_that_is_too_long_with_its_networks_is_reported() -> None:
    long = replace(DB, name=".".join(["a" * 60] * 4))
    _, warnings = merged(Network("n" * 20, endpoints=(long,)))

    assert 1 == len(warnings)
    assert "255 octets" in warnings[0]


def test_a_hosts_line_whose_name_is_an_endpoints_is_reported() -> None:
    host = Host(ip("192.0.2.1"), ("other", "Db"), Origin("hosts", 4))
    _, warnings = merged(mynet(DB), hosts=(host,))

    assert [
        "hosts:4: 'Db' is also a name of 'db' on network 'mynet' (a.toml:3), which comes first for those who are on it"
    ] == warnings


NAMES = st.sampled_from(["a", "A", "b", "c"])
ADDRESSES = st.sampled_from(["172.18.0.2", "172.18.0.3", "10.0.0.1", "fd00:18::2"]).map(ip)
ENDPOINTS = st.builds(
    Endpoint,
    NAMES,
    st.lists(ADDRESSES, min_size=1, max_size=2, unique=True).map(tuple),
    aliases=st.lists(NAMES, max_size=2).map(tuple),
    origin=st.builds(Origin, st.sampled_from(["x", "y"]), st.integers(1, 10**6)),
)
NETWORKS = st.builds(
    Network,
    st.sampled_from(["n", "N", "m"]),
    subnets=st.sampled_from([(), net("172.18.0.0/16"), net("10.0.0.0/8", "172.18.0.0/24")]),
    internal=st.booleans(),
    ttl=st.none() | st.integers(0, 3),
    priority=st.integers(0, 2),
    endpoints=st.lists(ENDPOINTS, max_size=3).map(tuple),
    origin=st.builds(Origin, st.sampled_from(["x", "y"]), st.integers(1, 10**6)),
)
CONTRIBUTIONS = st.lists(
    st.lists(NETWORKS, max_size=3).map(lambda networks: Contribution("?", tuple(networks))), max_size=3
)


@given(CONTRIBUTIONS)
def test_to_merge_what_was_merged_changes_nothing(contributions: list[Contribution]) -> None:
    snapshot, _ = merge(contributions)
    again, _ = merge([Contribution("all", tuple(snapshot.networks.values()))])

    assert (snapshot, list(snapshot.networks)) == (again, list(again.networks))


@given(CONTRIBUTIONS)
def test_to_say_the_same_once_more_adds_nothing(contributions: list[Contribution]) -> None:
    assert merge(contributions)[0] == merge(contributions + contributions)[0]


@given(CONTRIBUTIONS)
def test_nothing_is_lost_without_a_warning(contributions: list[Contribution]) -> None:
    """Each endpoint, and each key that somebody states, is in the snapshot or in a warning with its place."""
    snapshot, warnings = merge(contributions)
    warned = {(warning.place, warning.line) for warning in warnings}
    for contribution in contributions:
        for network in contribution.networks:
            kept = snapshot.networks[network.name]
            place = (network.origin.place, network.origin.line)
            assert set(network.subnets) <= set(kept.subnets)
            for key in ("internal", "ttl", "priority"):
                value = getattr(network, key)
                assert value in (getattr(kept, key), getattr(Network(""), key)) or place in warned
            for endpoint in network.endpoints:
                origin = (endpoint.origin.place, endpoint.origin.line)
                assert any(one is endpoint for one in kept.endpoints) or origin in warned


@given(CONTRIBUTIONS)
def test_the_order_is_that_of_asking_and_first_come_first_served(contributions: list[Contribution]) -> None:
    snapshot, _ = merge(contributions)
    networks = list(snapshot.networks.values())

    assert sorted(networks, key=Network.order) == networks
    for network in networks:
        said = [e for c in contributions for n in c.networks if n.name == network.name for e in n.endpoints]
        firsts = {endpoint.name.lower(): endpoint for endpoint in reversed(said)}
        assert [firsts[name] for name in dict.fromkeys(e.name.lower() for e in said)] == list(network.endpoints)


def test_the_serial_grows_with_a_change_only() -> None:
    store = Store()
    contribution = Contribution("a", (mynet(DB),))
    moved = Contribution("a", (mynet(replace(DB, origin=Origin("a.toml", 9))),))

    assert [True, False, False, True] == [
        store.replace(contributions)
        for contributions in ([contribution], [contribution], [moved], [Contribution("a", (mynet(WEB),))])
    ]
    assert 2 == store.snapshot.serial


def test_a_change_of_lines_alone_is_taken_over_all_the_same() -> None:
    """`pydns explain` shows them."""
    store = Store()
    store.replace([Contribution("a", (mynet(DB),))])
    store.replace([Contribution("a", (mynet(replace(DB, origin=Origin("a.toml", 9))),))])

    assert 9 == store.snapshot.networks["mynet"].endpoints[0].origin.line


def test_a_network_that_did_not_change_keeps_its_object_and_its_table() -> None:
    """docs/adr/0002: a reload compiles only what is new."""
    store = Store()
    kept, changed = Contribution("a", (mynet(DB),)), Contribution("b", (Network("other", endpoints=(WEB,)),))
    store.replace([kept, changed])
    before = Views(store.snapshot, ZoneSet(), ViewSettings())
    store.replace([kept, Contribution("b", (Network("other", endpoints=(DB,)),))])
    after = Views(store.snapshot, ZoneSet(), ViewSettings(), before)

    assert after.tables["mynet"] is before.tables["mynet"]
    assert after.tables["other"] is not before.tables["other"]


def test_a_snapshot_in_hand_does_not_change() -> None:
    store = Store()
    store.replace([Contribution("a", (mynet(DB),))])
    in_hand = store.snapshot
    store.replace([])

    assert (["mynet"], []) == (list(in_hand.networks), list(store.snapshot.networks))
