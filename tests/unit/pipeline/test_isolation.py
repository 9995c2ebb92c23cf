"""Whatever the registry holds: a view never answers with what is known outside its networks only."""

from __future__ import annotations

import ipaddress

from hypothesis import assume, given
from hypothesis import strategies as st

from resolver.pipeline.outcome import Forward, Reply
from resolver.registry.model import Contribution, Endpoint, Host, IPNetwork, Network, Port
from resolver.registry.store import Store
from resolver.views import Views, ViewSettings
from resolver.wire.constants import AAAA, ANY, PTR, SRV, A
from resolver.wire.name import IPAddress, WireName, from_labels, from_text, reverse_name
from resolver.zones.model import ZoneSet
from tests.unit.asking import CHAIN, query

NAMES = st.sampled_from(["a", "b", "c", "a.b", "B", "x.c", "n1", "a.n2"])
ADDRESSES = st.sampled_from(
    [f"10.{net}.0.{host}" for net in range(3) for host in range(3)] + ["fd00::1", "fd00::2"]
).map(ipaddress.ip_address)
SUBNETS: list[tuple[IPNetwork, ...]] = [
    (),
    (ipaddress.ip_network("10.0.0.0/16"),),
    (ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00::/64")),
    (ipaddress.ip_network("10.0.0.0/8"),),
]
ENDPOINTS = st.builds(
    Endpoint,
    NAMES,
    st.lists(ADDRESSES, min_size=1, max_size=2).map(tuple),
    aliases=st.lists(NAMES | NAMES.map(lambda name: f"*.{name}"), max_size=3).map(tuple),
    links=st.lists(st.tuples(NAMES, NAMES), max_size=2).map(tuple),
    ports=st.just((Port(80, "tcp"),)),
)
NETWORKS = st.builds(
    Network,
    st.sampled_from(["n1", "n2", "N1", "a.n2", "b"]),
    subnets=st.sampled_from(SUBNETS),
    gateways=st.lists(ADDRESSES, max_size=1).map(tuple),
    internal=st.booleans(),
    priority=st.integers(0, 1),
    endpoints=st.lists(ENDPOINTS, max_size=3).map(tuple),
)
LABELS = st.sampled_from(
    [b"a", b"b", b"c", b"B", b"x", b"n1", b"n2", b"N1", b"_80", b"_tcp", b"docker", b"internal", b"host"]
)
HOSTS = (Host(ipaddress.ip_address("192.0.2.1"), ("c", "*.b")),)


@given(
    networks=st.lists(NETWORKS, max_size=4),
    with_hosts=st.booleans(),
    seen=st.sets(st.sampled_from(["n1", "n2", "N1", "a.n2", "b"])),
    endpoint=st.none() | NAMES,
    names=st.lists(st.lists(LABELS, min_size=1, max_size=4), max_size=6),
    asked=st.lists(ADDRESSES, max_size=3),
)
def test_no_view_answers_with_an_address_or_a_name_of_other_networks_only(
    networks: list[Network],
    with_hosts: bool,
    seen: set[str],
    endpoint: str | None,
    names: list[list[bytes]],
    asked: list[IPAddress],
) -> None:
    """A view is structural: a stage has only the view, so it cannot leak (design.md 2)."""
    store = Store()
    store.replace([Contribution("x", tuple(networks), HOSTS if with_hosts else ())])
    view = Views(store.snapshot, ZoneSet(), ViewSettings()).pinned(tuple(seen), endpoint)
    visible = [network for name, network in store.snapshot.networks.items() if name in seen]
    allowed = {
        address.packed
        for network in visible
        for address in (*network.gateways, *(one for e in network.endpoints for one in e.addresses))
    } | {host.address.packed for host in (HOSTS if with_hosts else ())}
    targets = {
        bytes(from_text(f"{endpoint.name}.{network.name}")) for network in visible for endpoint in network.endpoints
    } | {bytes(from_text("c"))}

    questions: list[WireName] = [*map(from_labels, names), *map(reverse_name, asked)]
    for name in questions:
        for rtype in (A, AAAA, PTR, SRV, ANY):
            outcome = CHAIN.resolve(query(name, rtype), view).outcome
            if isinstance(outcome, Forward):
                assert not outcome.chased
                continue
            check(outcome, allowed, targets)


def check(outcome: Reply, allowed: set[bytes], targets: set[bytes]) -> None:
    for rrset in (*outcome.answer.answer, *outcome.answer.additional):
        for rdata in rrset.rdatas:
            if rrset.rtype in (A, AAAA):
                assert rdata in allowed
            elif rrset.rtype == PTR:
                assert rdata in targets
            elif rrset.rtype == SRV:
                assert rdata[6:] in targets


@given(networks=st.lists(NETWORKS, min_size=1, max_size=4), client=ADDRESSES)
def test_a_client_is_on_exactly_the_networks_whose_subnets_hold_it(networks: list[Network], client: IPAddress) -> None:
    store = Store()
    store.replace([Contribution("x", tuple(networks))])
    views = Views(store.snapshot, ZoneSet(), ViewSettings())
    expected = [network.name for network in store.snapshot.networks.values() if network.holds(client)]
    assume(expected)

    assert expected == [table.network.name for table in views.of_address(client).tables]
