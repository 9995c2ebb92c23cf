"""The agent over a real daemon's containers: taken over, on the default bridge, as they come, move and go."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.docker.daemon import Daemon
from tests.docker.image import BASE
from tests.docker.upstream import FOR_DOCKER, FOR_PYDNS, MARKS
from tests.netns.fleet import PYDNS
from tests.netns.world import Process, wait_until

pytestmark = pytest.mark.root

GET = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=5).read().decode())"
READY_WITHIN_S = 20.0
_serial = itertools.count()


class Agent:
    """A `pydns agent` on what the daemon takes for the host."""

    def __init__(self, daemon: Daemon, *flags: str, config: str = "") -> None:
        self._daemon = daemon
        self._status = 0
        path = daemon.folder / f"agent-{next(_serial)}.toml"
        path.with_suffix(".resolv").write_text(f"nameserver {FOR_PYDNS}\n")
        path.write_text(
            f'[forward]\nresolv_conf = "{path.with_suffix(".resolv")}"\n[metrics]\nlisten = "127.0.0.1:9153"\n'
            f'[docker]\nhost = "{daemon.url}"\n{config}'
        )
        self._command = (PYDNS, "agent", "-c", str(path), *flags)
        self.start()

    def start(self) -> None:
        self.process: Process = self._daemon.start_on_host(*self._command)
        wait_until(self._is_ready_or_ended, READY_WITHIN_S, "the agent is ready")
        assert self.process.poll() is None, self.process.stderr_text()

    def _is_ready_or_ended(self) -> bool:
        return self.process.poll() is not None or "pydns: ready:" in self.process.stderr_text()

    def states(self) -> dict[str, str]:
        """How far each container has come, by its name."""
        rows = json.loads(self._daemon.on_host(sys.executable, "-c", GET, "http://127.0.0.1:9153/agent"))
        return {row["namespace"].removeprefix("container "): row["state"] for row in rows}

    def wait_for(self, name: str, state: str | None) -> None:
        wait_until(lambda: self.states().get(name) == state, 10, f"{name} is {state}")


Start = Callable[..., Agent]


@pytest.fixture
def clean(daemon: Daemon) -> Iterator[Daemon]:
    yield daemon
    daemon.clear()


@pytest.fixture
def start(clean: Daemon) -> Iterator[Start]:
    """Starts agents; they end before the containers do."""
    started: list[Agent] = []

    def start_one(*flags: str, config: str = "") -> Agent:
        started.append(Agent(clean, *flags, config=config))
        return started[-1]

    yield start_one
    for agent in started:
        agent.process.end()


def run(daemon: Daemon, name: str, *flags: str) -> None:
    daemon.docker("run", "--detach", "--name", name, *flags, BASE)


def ask(daemon: Daemon, container: str, name: str, *flags: str) -> str:
    return daemon.inside(container, "dig", "+short", "+tries=1", "+time=2", *flags, "@127.0.0.11", name, check=False)


def address_of(daemon: Daemon, container: str, network: str) -> str:
    found = daemon.get(f"/containers/{container}/json")["NetworkSettings"]["Networks"][network]["IPAddress"]
    assert isinstance(found, str)
    return found


def resolv_conf(daemon: Daemon, container: str) -> str:
    return daemon.docker("exec", container, "cat", "/etc/resolv.conf")


def test_user_networks_are_dockers_unless_taken_over(clean: Daemon, start: Start) -> None:
    clean.docker("network", "create", "one")
    run(clean, "app", "--network", "one")
    agent = start()

    assert agent.states() == {"app": "not wanted"}
    assert (
        FOR_DOCKER in {asked.server for asked in clean.upstream.asked} or ask(clean, "app", "x.example") == MARKS["A"]
    )
    assert agent.process.stop() == 0


def test_taken_over_and_given_back(clean: Daemon, start: Start) -> None:
    """TXT of a container's name tells who answers: Docker forwards it."""
    clean.docker("network", "create", "one")
    clean.docker("network", "create", "two")
    run(clean, "app", "--network", "one")
    run(clean, "back", "--network", "one", "--network-alias", "bee")
    run(clean, "cut", "--network", "two")
    assert ask(clean, "app", "back", "TXT") == MARKS["TXT"]
    before = resolv_conf(clean, "app")
    agent = start("--takeover")

    assert agent.states() == {"app": "attached", "back": "attached", "cut": "attached"}
    assert ask(clean, "app", "back", "TXT") == ""
    assert ask(clean, "app", "bee") == address_of(clean, "back", "one")
    assert ask(clean, "app", "cut") == ""
    assert ask(clean, "app", "away.example") == MARKS["A"]
    assert "away.example" in clean.upstream.names(FOR_PYDNS)
    assert "away.example" not in clean.upstream.names(FOR_DOCKER)
    assert "nameserver 127.0.0.11" in resolv_conf(clean, "app")

    assert agent.process.stop() == 0
    assert ask(clean, "app", "back", "TXT") == MARKS["TXT"]
    assert ask(clean, "app", "back") == address_of(clean, "back", "one")
    assert resolv_conf(clean, "app") == before


def test_containers_come_move_and_go(clean: Daemon, start: Start) -> None:
    clean.docker("network", "create", "one")
    clean.docker("network", "create", "two")
    run(clean, "app", "--network", "one")
    agent = start("--takeover")
    run(clean, "late", "--network", "two")
    wait_until(lambda: agent.states().get("late") == "attached", 5, "late is attached")
    late = address_of(clean, "late", "two")
    wait_until(lambda: ask(clean, "late", "late") == late, 5, "late is served")
    assert ask(clean, "app", "late") == ""

    clean.docker("network", "connect", "two", "app")
    wait_until(lambda: ask(clean, "app", "late") == late, 5, "app sees late")
    clean.docker("network", "disconnect", "two", "app")
    wait_until(lambda: ask(clean, "app", "late") == "", 5, "app sees late no more")

    clean.docker("restart", "--time", "2", "late")
    wait_until(lambda: agent.states().get("late") == "attached", 5, "late is attached again")
    wait_until(lambda: ask(clean, "late", "late", "TXT") == "", 5, "late is served again")
    clean.docker("rm", "--force", "late")
    agent.wait_for("late", None)
    assert "Traceback" not in agent.process.stderr_text()
    assert "pydns failed by itself" not in agent.process.stderr_text()


def test_a_shared_namespace_is_attached_once_and_host_and_none_never(clean: Daemon, start: Start) -> None:
    clean.docker("network", "create", "one")
    run(clean, "app", "--network", "one")
    run(clean, "guest", "--network", "container:app")
    run(clean, "hosted", "--network", "host")
    run(clean, "alone", "--network", "none")
    agent = start("--takeover")

    assert agent.states() == {"app": "attached"}
    assert ask(clean, "guest", "app") == address_of(clean, "app", "one")


def test_own_servers_are_asked_from_inside(clean: Daemon, start: Start) -> None:
    clean.docker("network", "create", "one")
    run(clean, "app", "--network", "one", "--dns", FOR_DOCKER)
    agent = start("--takeover")

    assert agent.states() == {"app": "attached"}
    assert ask(clean, "app", "own-server.example") == MARKS["A"]
    assert "own-server.example" in clean.upstream.names(FOR_DOCKER)
    assert "own-server.example" not in clean.upstream.names(FOR_PYDNS)


def test_the_default_bridge_is_served_when_asked_for(clean: Daemon, start: Start) -> None:
    run(clean, "plain")
    run(clean, "other")
    before = resolv_conf(clean, "plain")
    assert f"nameserver {FOR_DOCKER}" in before
    agent = start()
    assert agent.states() == {}
    agent.process.stop()
    agent = start(config="serve_default_bridge = true\n")

    assert agent.states() == {"plain": "attached", "other": "attached"}
    assert "nameserver 127.0.0.11" in resolv_conf(clean, "plain")
    assert clean.docker("exec", "plain", "nslookup", "other").count(address_of(clean, "other", "bridge")) == 1
    assert ask(clean, "plain", "former-server.example") == MARKS["A"]
    assert "former-server.example" in clean.upstream.names(FOR_DOCKER)

    assert agent.process.stop() == 0
    assert resolv_conf(clean, "plain") == before


def test_a_killed_agent_is_followed_by_one_that_knows_its_work(clean: Daemon, start: Start) -> None:
    clean.docker("network", "create", "one")
    run(clean, "app", "--network", "one")
    run(clean, "plain")
    before = {name: resolv_conf(clean, name) for name in ("app", "plain")}
    agent = start("--takeover", config="serve_default_bridge = true\n")
    assert agent.states() == {"app": "attached", "plain": "attached"}
    agent.process.kill9()
    agent.start()

    assert ask(clean, "app", "app", "TXT") == ""
    assert ask(clean, "plain", "plain") == address_of(clean, "plain", "bridge")
    assert agent.process.stop() == 0
    assert {name: resolv_conf(clean, name) for name in before} == before
    assert ask(clean, "app", "app", "TXT") == MARKS["TXT"]
    assert Path(f"/proc/{clean.pid_of('app')}").exists()


def test_a_killed_agent_is_followed_by_one_that_is_not_to_take_over(clean: Daemon, start: Start) -> None:
    clean.docker("network", "create", "one")
    run(clean, "app", "--network", "one")
    before = resolv_conf(clean, "app")
    start("--takeover").process.kill9()
    assert "connection refused" in ask(clean, "app", "app", "TXT")
    agent = start()

    assert agent.states() == {"app": "not wanted"}
    assert ask(clean, "app", "app", "TXT") == MARKS["TXT"]
    assert resolv_conf(clean, "app") == before
