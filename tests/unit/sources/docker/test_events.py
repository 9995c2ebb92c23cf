"""What each event of a daemon means."""

from __future__ import annotations

import pytest

from resolver.sources.docker.events import Event, Kind, read_event
from tests.unit.sources.docker.recordings import docker, event, of_container, of_network, podman, whole_id

WEB, NET = whole_id("web"), whole_id("net mynet")


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("start", Kind.CHANGED),
        ("rename", Kind.RENAMED),
        ("die", Kind.GONE),
        ("died", Kind.GONE),
        ("destroy", Kind.GONE),
        ("remove", Kind.GONE),
    ],
)
def test_of_a_container(action: str, kind: Kind) -> None:
    assert read_event(of_container(action, "web")) == Event(kind, container=WEB)


@pytest.mark.parametrize(
    "action",
    [
        *("create", "stop", "kill", "pause", "unpause", "update", "restart", "oom", "attach", "resize", "init"),
        *("exec_create: /bin/sh -c true", "exec_start: true", "exec_die", "cleanup"),
    ],
)
def test_what_changes_no_name_means_nothing(action: str) -> None:
    assert read_event(of_container(action, "web")) is None


@pytest.mark.parametrize(
    "raw",
    [
        *(None, [], 7, b"{bad", {}, {"Type": "container", "Actor": {"ID": WEB}}, of_container("", "web")),
        *({**of_container("start", "web"), "Actor": None}, {**of_network("connect", "mynet"), "Actor": {"ID": 7}}),
        *({**of_container("health_status: healthy", "web"), "Actor": "web"}, {"Action": ["start"], "Actor": {}}),
    ],
)
def test_what_may_matter_and_does_not_say_what_it_is_about(raw: object) -> None:
    assert read_event(raw) == Event(Kind.NONSENSE)


def test_what_is_about_nobody_by_its_nature_is_in_order() -> None:
    assert read_event(event("container", "prune", "", {"reclaimed": "0"})) is None
    assert read_event(event("volume", "create", "")) is None


def test_of_health() -> None:
    told = Event(Kind.HEALTH, container=WEB, status="unhealthy")
    assert read_event(of_container("health_status: unhealthy", "web")) == told
    assert read_event(of_container("health_status", "web", health_status="unhealthy")) == told
    assert read_event(of_container("health_status", "web")) == Event(Kind.CHANGED, container=WEB)


def test_of_a_network() -> None:
    assert read_event(of_network("create", "mynet")) == Event(Kind.NETWORK, network=NET)
    assert read_event(of_network("destroy", "mynet")) == Event(Kind.NETWORK_GONE, network=NET)
    for action, kind in (("connect", Kind.CONNECTED), ("disconnect", Kind.DISCONNECTED)):
        assert read_event(of_network(action, "mynet", "web")) == Event(kind, container=WEB, network=NET)
        # Podman: the actor is the container
        assert read_event(event("network", action, WEB, {"name": "web"})) == Event(Kind.CONNECTED, container=WEB)
    assert read_event(event("network", "create", "x", scope="swarm")) is None


def test_of_a_service() -> None:
    assert read_event(event("service", "update", "x", {"name": "svc"}, scope="swarm")) == Event(Kind.SERVICES)


def test_the_recorded_streams() -> None:
    for recorded in (docker(), podman()):
        told = [told for raw in recorded["events"] if (told := read_event(raw)) is not None]
        assert {Kind.CHANGED, Kind.GONE, Kind.CONNECTED} <= {event.kind for event in told}
        assert len(told) < len(recorded["events"])
