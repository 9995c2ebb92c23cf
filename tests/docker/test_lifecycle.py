"""Names come and go with their containers in pydns as they do in Docker's own resolver."""

from __future__ import annotations

import pytest

from tests.docker.beside import Beside
from tests.docker.daemon import Daemon
from tests.docker.image import BASE
from tests.docker.lifecycle import STEPS, Step, agrees, settles, watched

pytestmark = pytest.mark.root

SOON_S = 2.0
"""Generous: the machine is shared. The report says how long it really took."""

KNOWN = {
    "run": {"subject A", "sub A", "sub.life A", "host-1 A"},
    "pause": {"subject A", "sub A"},
    "stop": set[str](),
    "start": {"subject A", "sub A"},
    "kill": set[str](),
    "rename": {"renamed A", "renamed.life A", "sub A"},
    "disconnect": set[str](),
    "connect, which loses the alias": {"subject A", "host-1 A"},
    "connect with another alias": {"subject A", "later A", "later.life A"},
    "connect to a network that the asker is not on": {"subject A", "later A"},
    "run another one with the same alias": {"second A", "later A"},
    "create without a start": {"subject A"},
    "start what was created": {"third A"},
    "end by itself": {"subject A", "third A"},
    "remove one that runs": {"subject A"},
    "remove the last": set[str](),
}
"""Some of what Docker knows then, so that the steps are what they are called."""


@pytest.fixture(scope="module")
def steps(daemon: Daemon) -> dict[str, Step]:
    with watched(daemon) as lifecycle:
        return {step.title: step for step in lifecycle.steps()}


@pytest.mark.parametrize("title", STEPS)
def test_pydns_agrees_with_docker_after_each_step(steps: dict[str, Step], title: str) -> None:
    assert steps[title].disagreed == ()
    assert steps[title].took_s < SOON_S


@pytest.mark.parametrize("title", KNOWN)
def test_the_step_had_its_effect(steps: dict[str, Step], title: str) -> None:
    known = set(steps[title].known)
    assert KNOWN[title] <= known
    if not KNOWN[title]:
        assert not any(question.endswith(" A") for question in known)


def test_a_name_of_another_network_never_shows(steps: dict[str, Step]) -> None:
    for step in steps.values():
        assert not any(".beyond" in question or question.startswith("far") for question in step.known)


def test_a_link_follows_the_name_of_its_target(daemon: Daemon) -> None:
    daemon.docker("network", "create", "linked")
    run = ("run", "--detach", "--network", "linked", "--name")
    daemon.docker(*run, "target", BASE)
    daemon.docker(*run, "asker", "--link", "target:its-alias", BASE)
    addresses = {
        name: daemon.get(f"/containers/{name}/json")["NetworkSettings"]["Networks"]["linked"]["IPAddress"]
        for name in ("target", "asker")
    }
    with Beside(daemon, "asker", addresses["asker"]) as beside:
        beside.wait_ready()
        for words, is_known in (
            (("version",), True),
            (("rename", "target", "moved"), False),
            (("rename", "moved", "target"), True),
            (("stop", "target"), False),
            (("start", "target"), True),
        ):
            daemon.docker(*words)
            docker, pydns = settles(beside, "its-alias")
            assert agrees(docker, pydns), words
            assert (pydns.answers == {f"its-alias. 600 A {addresses['target']}"}) is is_known, words
            assert agrees(*settles(beside, "target")), words
