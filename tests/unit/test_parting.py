"""Former views are taken apart, and what the present ones share with them stays."""

from __future__ import annotations

import ipaddress

from resolver.parting import PIECE, part_with
from resolver.registry.model import Contribution, Endpoint, Host, Network
from resolver.registry.store import Store
from resolver.views import Views, ViewSettings
from resolver.wire.name import fold, from_text
from resolver.zones.model import ZoneSet

WITHIN_S = 30.0


def at(number: int) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(0x0A000000 + number)


def network(name: str, count: int) -> Network:
    return Network(name, endpoints=tuple(Endpoint(f"{name}{number}", (at(number),)) for number in range(count)))


def test_what_is_shared_stays_and_the_rest_goes() -> None:
    store, kept = Store(), network("kept", 5)
    hosts = tuple(Host(at(number), (f"host{number}",)) for number in range(2 * PIECE + 1))
    store.replace([Contribution("one", (kept, network("gone", 2 * PIECE + 1)), hosts)])
    former = Views(store.snapshot, ZoneSet(), ViewSettings())
    store.replace([Contribution("one", (kept,), hosts[:3])])
    present = Views(store.snapshot, ZoneSet(), ViewSettings(), former)
    gone, of_hosts = former.tables["gone"], former.hosts

    thread = part_with(former, present)
    thread.join(WITHIN_S)

    assert not thread.is_alive()
    assert [0, 0, 0, 0] == [len(gone.names), len(gone.by_address), len(of_hosts.names), len(of_hosts.by_address)]
    assert present.host.find(fold(from_text("kept4"))) is not None
    assert present.host.find(fold(from_text("host2"))) is not None


def test_views_with_everything_in_common_lose_nothing() -> None:
    store = Store()
    store.replace([Contribution("one", (network("kept", 5),), (Host(at(1), ("host1",)),))])
    former = Views(store.snapshot, ZoneSet(), ViewSettings())
    present = Views(store.snapshot, ZoneSet(), ViewSettings(ttl=5), former)

    part_with(former, present).join(WITHIN_S)

    assert present.host.find(fold(from_text("host1"))) is not None
    assert present.host.find(fold(from_text("kept1"))) is not None
