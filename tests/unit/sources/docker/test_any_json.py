"""Whatever JSON a daemon sends, nothing raises, and what is made of it can be compiled and asked."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from resolver.registry.store import Store
from resolver.sources.docker.client import Version
from resolver.sources.docker.containers import fingerprint_of_listed, read_container
from resolver.sources.docker.events import read_event
from resolver.sources.docker.inventory import Inventory
from resolver.sources.docker.networks import read_network
from resolver.sources.docker.settings import DaemonSettings
from resolver.views import Views, ViewSettings
from resolver.zones.model import ZoneSet
from tests.unit.sources.docker.recordings import container as made_container
from tests.unit.sources.docker.recordings import docker, place, podman
from tests.unit.sources.docker.recordings import network as made_network

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=80),
    st.sampled_from(
        [
            *("", ".", "*", "*.a", "a..b", "x" * 300, "é", "a b", "\0", "10.0.0.1", "fd00::1%eth0", "300.1.1.1", "::"),
            *("host-gateway", "a:b:c", "db:", ":alias", "/", "0/tcp", "99999/udp", "host", "none", "container:"),
        ]
    ),
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=20), inner, max_size=3),
    max_leaves=8,
)
WHOLE = {**docker()["containers"], **{f"podman-{name}": raw for name, raw in podman()["containers"].items()}}
NETWORKS = [*docker()["networks"], *docker()["swarm_networks"], docker()["overlay"], *podman()["networks"]]


def paths(raw: object, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    found = [at]
    keys: Any = raw if isinstance(raw, dict) else range(len(raw)) if isinstance(raw, list) else ()
    for key in keys:
        found += paths(raw[key], (*at, key))  # type: ignore[index]
    return found


def mutated(draw: Callable[..., Any], raw: Any) -> Any:
    """The document with something else at a few of its places."""
    changed = copy.deepcopy(raw)
    for _ in range(draw(st.integers(1, 4))):
        places = paths(changed)
        *keys, last = draw(st.sampled_from(places)) or (None,)
        if last is None:
            return draw(ANYTHING)
        inner: Any = changed
        for key in keys:
            inner = inner[key]
        if draw(st.booleans()) and isinstance(inner, dict):
            del inner[last]
        else:
            inner[last] = draw(ANYTHING)
    return changed


@st.composite
def containers(draw: Callable[..., Any]) -> Any:
    return mutated(draw, WHOLE[draw(st.sampled_from(sorted(WHOLE)))])


@st.composite
def networks(draw: Callable[..., Any]) -> Any:
    return mutated(draw, draw(st.sampled_from(NETWORKS)))


@st.composite
def events(draw: Callable[..., Any]) -> Any:
    return mutated(draw, draw(st.sampled_from(docker()["events"][:40] + podman()["events"])))


CONTROLS = "a\nb\r\x1b[31m\x85\u2028\u202e"
"""Breaks lines, colours a terminal, turns the text around."""


@example([made_network(CONTROLS)], [made_container(CONTROLS, {CONTROLS: place(CONTROLS, CONTROLS, CONTROLS)})], True)
@example([made_network(CONTROLS, Id="")], [{"Id": CONTROLS, CONTROLS: CONTROLS}, {"Name": CONTROLS}], False)
@given(st.lists(networks(), max_size=4), st.lists(containers(), max_size=4), st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_networks_and_containers(nets: list[Any], found: list[Any], bridge: bool) -> None:
    inventory = Inventory(DaemonSettings("docker", "unix:///none", serve_default_bridge=bridge, healthy_only=bridge))
    for raw in (*docker()["networks"], *nets):
        inventory.put_network(raw)
    for raw in found:
        inventory.put_container(raw)
        for container_id in inventory.container_ids:
            list(inventory.networks_to_ask(container_id))
    inventory.publish()
    for fault in inventory.faults:
        assert fault.is_warning
        assert all(written.isprintable() for written in (str(fault), fault.message, fault.key, fault.fix))
    for net in inventory.contribution.networks:
        assert net.origin is None or net.origin.place.isprintable()
    store = Store()
    store.replace([inventory.contribution])
    views = Views(store.snapshot, ZoneSet(), ViewSettings())
    for facts in inventory.facts.values():
        assert set(facts.networks) <= set(views.tables)
        views.pinned(facts.networks, facts.name)
    for container_id in inventory.container_ids:
        inventory.drop_container(container_id)
    inventory.publish()
    assert not inventory.facts
    assert not any(net.endpoints for net in inventory.contribution.networks if net.name != "ov")


@given(containers(), networks(), events(), ANYTHING)
@settings(max_examples=150, deadline=None)
def test_any_document_where_another_one_belongs(container: Any, network: Any, event: Any, other: Any) -> None:
    for raw in (container, network, event, other):
        for read in (read_container, read_network):
            found, faults = read(raw, "docker")
            assert found is None or found.id
            assert all(str(fault).isprintable() for fault in faults)
        fingerprint_of_listed(raw)
        told = read_event(raw)
        assert told is None or told.container or told.network or told.kind.name in ("SERVICES", "NONSENSE")
        assert isinstance(Version(raw, "nonsense").path, str)
