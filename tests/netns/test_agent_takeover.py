"""An agent where Docker's own resolver answers already: left to it, or taken over and given back."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from resolver.attach.netns import bring_loopback_up
from tests.netns.fleet import Fleet
from tests.netns.test_attach_redirect import FIREWALLS, OURS, QUERY, THEIRS, Lab, docker_rules, listen
from tests.netns.world import wait_until

pytestmark = pytest.mark.root


class Program:
    """What never closes its socket: the kernel remembers where its packets went."""

    def __init__(self, lab: Lab) -> None:
        self._socket = lab.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._socket.settimeout(1)
        self._socket.connect(("127.0.0.11", 53))

    def asks(self) -> int | None:
        """The response code of whoever answers; None when nobody does."""
        try:
            self._socket.send(QUERY)
            return self._socket.recv(4096)[3] & 0xF
        except OSError:
            return None

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with Fleet() as made:
        made.registry.write_text('[networks.front]\n[networks.front.endpoints.db]\naddresses = ["10.77.1.1"]\n')
        yield made


@pytest.fixture(params=FIREWALLS)
def docker(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A namespace in which somebody serves as Docker does, with rules of each layout."""
    with Lab() as lab:
        lab.inside(bring_loopback_up)
        sockets = lab.inside(listen, "127.0.0.11")
        lab.serve(sockets, THEIRS)
        docker_rules(lab, request.param, sockets[0].getsockname()[1], sockets[1].getsockname()[1])
        assert lab.answers() == {THEIRS}
        yield lab


def rule(lab: Lab) -> str:
    return f'[[agent.namespaces]]\nnetns = "{lab.name}"\nnetworks = ["front"]\n'


def test_it_is_left_alone_unless_told_to_take_over(fleet: Fleet, docker: Lab) -> None:
    before = docker.rules()
    agent = fleet.agent(config=fleet.config(rule(docker)))

    assert agent.states() == {docker.name: "left alone"}
    assert agent.reason(docker.name) == (
        "it has a resolver of its own at 127.0.0.11, which is left to it; takeover = true takes its place"
    )
    assert agent.metric("pydns_agent_attach_failures_total") == 0
    assert docker.answers() == {THEIRS}
    assert docker.rules() == before


def test_taken_over_and_given_back_to_programs_that_keep_their_socket(fleet: Fleet, docker: Lab) -> None:
    before = docker.rules()
    program = Program(docker)
    assert program.asks() == THEIRS
    agent = fleet.agent("--takeover", config=fleet.config(rule(docker)))

    assert docker.answers() == {OURS}
    assert program.asks() == OURS
    assert agent.stop() == 0
    assert docker.answers() == {THEIRS}
    assert program.asks() == THEIRS
    assert docker.rules() == before
    program.close()


def test_a_killed_agent_is_followed_by_one_that_gives_it_back(fleet: Fleet, docker: Lab) -> None:
    """The next one is not told to take over: what the killed one left would lead to a dead port for ever."""
    before = docker.rules()
    resolv_conf = Path("/etc/netns") / docker.name / "resolv.conf"
    program = Program(docker)
    agent = fleet.agent("--takeover", config=fleet.config(rule(docker)))
    assert program.asks() == OURS
    agent.kill9()
    assert "nameserver 127.0.0.11\n" in resolv_conf.read_text()
    second = fleet.agent(config=fleet.config(rule(docker)))

    assert second.states() == {docker.name: "left alone"}
    assert docker.answers() == {THEIRS}
    assert program.asks() == THEIRS
    assert docker.rules() == before
    assert not resolv_conf.exists()
    program.close()


def test_rules_that_docker_lays_anew_do_not_come_before_ours(fleet: Fleet, docker: Lab) -> None:
    """As after a restart of dockerd: its jump goes first."""
    fleet.agent("--takeover", config=fleet.config(rule(docker)))
    for command in ("iptables-nft", "iptables-legacy"):
        for chain in ("OUTPUT", "POSTROUTING"):
            docker.run(command, "--wait", "-t", "nat", "-I", chain, "-d", "127.0.0.11", "-j", "RETURN")

    wait_until(lambda: docker.answers() == {OURS}, 5, "ours come first")
