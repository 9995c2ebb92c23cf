"""One agent for several namespaces: each sees its networks, they come and go, one that is broken harms no other."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from resolver.attach.attachment import Attachment
from tests.netns.fleet import Fleet
from tests.netns.world import in_namespace, wait_until

pytestmark = pytest.mark.root

NETWORKS = {"front": ["web", "db"], "back": ["db", "cache"]}
KEPT = 1 << 21 | 1 << 12 | 1 << 13 | 1 << 1 | 1 << 19
"""CAP_SYS_ADMIN, NET_ADMIN, NET_RAW, DAC_OVERRIDE, SYS_PTRACE."""


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with Fleet() as made:
        made.add("web", "db", "cache")
        made.register(NETWORKS)
        yield made


def test_each_namespace_has_the_view_of_exactly_its_networks(fleet: Fleet) -> None:
    agent = fleet.agent()

    assert set(agent.states().values()) == {"attached"}
    assert agent.metric("pydns_agent_attached") == 3
    assert agent.metric("pydns_agent_attach_duration_seconds_count") == 3
    assert fleet.ask("web", "db") == ["10.77.1.2"]
    assert fleet.ask("web", "cache") == []
    assert fleet.ask("db", "web") == ["10.77.1.1"]
    assert fleet.ask("db", "cache") == ["10.77.2.2"]
    assert fleet.ask("cache", "web") == []
    assert "nameserver 127.0.0.11\n" in fleet.resolv_conf_of("cache").read_text()


def test_a_list_with_networks_and_an_endpoint(fleet: Fleet) -> None:
    config = fleet.config(
        "[agent]\nresolv_conf = false\n"
        f'[[agent.namespaces]]\nnetns = "{fleet.full("web")}"\nnetworks = ["back"]\n'
        f'[[agent.namespaces]]\nnetns = "/run/netns/{fleet.full("db")}"\nendpoint = "{fleet.full("cache")}"\n'
    )
    agent = fleet.agent(config=config)

    assert set(agent.states()) == {fleet.full("web"), f"/run/netns/{fleet.full('db')}"}
    assert fleet.ask("web", "cache") == ["10.77.2.2"]
    assert fleet.ask("web", "web") == []
    assert fleet.ask("db", "db") == ["10.77.2.1"]
    assert not fleet.resolv_conf_of("web").exists()


def test_namespaces_that_appear_are_served_and_those_that_go_are_let_go(fleet: Fleet) -> None:
    fleet.register(NETWORKS | {"late": ["new"]})
    agent = fleet.agent()
    fleet.add("new")
    fleet.wait_for("new", "new", "10.77.3.1")
    fleet.delete("new")
    wait_until(lambda: agent.metric("pydns_agent_attached") == 3, 10, "new is let go")
    fleet.add("new")

    fleet.wait_for("new", "new", "10.77.3.1")
    assert agent.poll() is None


def test_a_namespace_that_the_registry_does_not_know_waits_for_it(fleet: Fleet) -> None:
    fleet.add("other")
    agent = fleet.agent()
    assert agent.states()[fleet.full("other")] == "not wanted"
    fleet.register(NETWORKS | {"late": ["other"]})

    fleet.wait_for("other", "other", "10.77.3.1")


def test_a_container_that_moves_to_another_network_sees_the_other_names(fleet: Fleet) -> None:
    fleet.agent()
    assert fleet.ask("web", "cache") == []
    fleet.register({"front": ["db"], "back": ["db", "cache", "web"]})

    fleet.wait_for("web", "cache", "10.77.2.2")
    assert fleet.ask("web", "db") == ["10.77.2.1"]


def test_a_container_that_leaves_the_registry_is_cut_off(fleet: Fleet) -> None:
    agent = fleet.agent()
    fleet.register({"front": ["db"], "back": ["db", "cache"]})

    fleet.wait_for("web", "db")
    assert agent.states()[fleet.full("web")] == "attached"


def test_damaged_rules_are_put_back(fleet: Fleet) -> None:
    agent = fleet.agent()
    before = fleet.rules("db")
    fleet.inside("db", "nft", "flush", "ruleset")

    fleet.wait_for("db", "web", "10.77.1.1")
    wait_until(lambda: agent.metric("pydns_redirect_repairs_total") == 1, 5, "the repair is counted")
    assert fleet.rules("db") == before


@pytest.mark.parametrize("firewall", ["iptables-nft", "iptables-legacy"])
def test_the_other_firewalls(fleet: Fleet, firewall: str) -> None:
    """With a repair, a killed run that is taken over, and nothing left at the end."""
    agent = fleet.agent("--firewall", firewall)
    assert fleet.ask("web", "db") == ["10.77.1.2"]
    fleet.inside("web", firewall, "--wait", "-t", "nat", "-F")
    fleet.wait_for("web", "db", "10.77.1.2")
    left = fleet.rules("db")
    agent.kill9()
    second = fleet.agent("--firewall", firewall)
    assert fleet.rules("db") == left
    assert fleet.ask("db", "cache") == ["10.77.2.2"]
    assert second.stop() == 0
    assert not any("PYDNS" in fleet.rules(name) for name in ("web", "db", "cache"))


def test_sigterm_lets_go_of_everything_in_time(fleet: Fleet) -> None:
    before = {name: fleet.rules(name) for name in ("web", "db", "cache")}
    fleet.resolv_conf_of("web").parent.mkdir(parents=True)
    fleet.resolv_conf_of("web").write_text("nameserver 10.0.0.1\n")
    agent = fleet.agent()
    assert fleet.rules("web") != before["web"]
    began = time.monotonic()

    assert agent.stop() == 0
    assert time.monotonic() - began < 4
    assert {name: fleet.rules(name) for name in before} == before
    assert fleet.resolv_conf_of("web").read_text() == "nameserver 10.0.0.1\n"
    assert not fleet.resolv_conf_of("db").exists()


def test_a_killed_agent_is_taken_over_with_its_ports(fleet: Fleet) -> None:
    agent = fleet.agent()
    left = {name: fleet.rules(name) for name in ("web", "db", "cache")}
    agent.kill9()
    second = fleet.agent()

    assert second.metric("pydns_agent_attached") == 3
    assert {name: fleet.rules(name) for name in left} == left
    assert fleet.ask("web", "db") == ["10.77.1.2"]
    second.stop()
    assert not any("pydns" in fleet.rules(name) for name in left)
    assert not fleet.resolv_conf_of("web").exists()


def test_what_a_killed_agent_left_goes_where_nothing_is_wanted_any_more(fleet: Fleet) -> None:
    """But what belongs to somebody who lives stays."""
    before = fleet.rules("web")
    fleet.agent().kill9()
    assert fleet.rules("web") != before
    with Attachment.open(fleet.full("cache")) as alive:
        alive.install()
        theirs = fleet.rules("cache")
        fleet.register({"front": ["db"]})
        agent = fleet.agent()
        assert agent.states()[fleet.full("db")] == "attached"
        assert fleet.rules("web") == before
        assert not fleet.resolv_conf_of("web").exists()
        assert fleet.rules("cache") == theirs
        assert "another pydns" not in agent.stderr_text()
    assert fleet.ask("db", "db") == ["10.77.1.1"]


def test_what_another_agent_left_is_left_to_its_next_start(fleet: Fleet) -> None:
    def of(name: str) -> Path:
        return fleet.config(f'[[agent.namespaces]]\nnetns = "{fleet.full(name)}"\n')

    web = of("web")
    fleet.agent(config=web).kill9()
    left = fleet.rules("web")
    assert "pydns" in left
    assert fleet.agent(config=of("db")).stop() == 0
    assert fleet.rules("web") == left
    assert fleet.resolv_conf_of("web").exists()
    assert fleet.agent(config=web).stop() == 0
    assert "pydns" not in fleet.rules("web")
    assert list((fleet.tmp / "run").iterdir()) == []


def test_stopping_does_not_wait_for_firewall_commands_that_hang(fleet: Fleet) -> None:
    names = [f"many{number}" for number in range(12)]
    fleet.add(*names)
    fleet.register({"front": names})
    hang, folder = fleet.tmp / "hang", fleet.tmp / "bin"
    folder.mkdir()
    nft = folder / "nft"
    nft.write_text(f'#!/bin/sh\n[ -e {hang} ] && exec sleep 1000\nexec /usr/sbin/nft "$@"\n')
    nft.chmod(0o755)
    agent = fleet.launch(path=str(folder))
    agent.wait_ready()
    assert agent.metric("pydns_agent_attached") == len(names)
    hang.touch()

    assert agent.stop(25) == 0  # two seconds for each command, and no more than nine in all; without limits 20
    said = [line for line in agent.stderr_text().splitlines() if "the next start takes" in line]
    assert len(said) == 1
    assert "and 4 more; the next start takes them over or away" in said[0]
    assert not any(fleet.resolv_conf_of(name).exists() for name in names)
    hang.unlink()
    assert fleet.agent().stop() == 0
    assert not any("pydns" in fleet.rules(name) for name in names)


def test_only_what_attaching_needs_is_kept(fleet: Fleet) -> None:
    agent = fleet.agent()
    held = {bits for _, bits in agent.thread_capabilities()}

    assert held == {KEPT}
    fleet.register(NETWORKS | {"late": ["new"]})
    fleet.add("new")
    fleet.wait_for("new", "new", "10.77.3.1")


def test_broken_namespaces_are_named_and_tried_again_beside_good_ones(fleet: Fleet) -> None:
    file = fleet.tmp / "file"
    file.touch()
    rules = "".join(f'[[agent.namespaces]]\nnetns = "{fleet.full(name)}"\n' for name in ("web", "db"))
    config = fleet.config(f'{rules}[[agent.namespaces]]\nnetns = "{file}"\nnetworks = ["front"]\n')
    with Attachment.open(fleet.full("web")):  # another pydns, as far as the agent can tell
        agent = fleet.agent(config=config)
        label = fleet.full("web")
        assert agent.states() == {label: "failed", fleet.full("db"): "attached", str(file): "failed"}
        assert f"another pydns already serves 127.0.0.11 in this network namespace (pid {os.getpid()})" in agent.reason(
            label
        )
        assert "is not a network namespace" in agent.reason(str(file))
        assert fleet.ask("db", "web") == ["10.77.1.1"]
        wait_until(lambda: agent.metric("pydns_agent_attach_failures_total") >= 4, 10, "it is tried again")
        said = [line for line in agent.stderr_text().splitlines() if "is not served" in line]
        assert len(said) == 2
    fleet.wait_for("web", "db", "10.77.1.2", within_s=20)
    assert "Traceback" not in agent.stderr_text()


def test_two_entries_for_one_namespace_attach_to_it_once(fleet: Fleet) -> None:
    path = f"/run/netns/{fleet.full('web')}"
    entries = f'[[agent.namespaces]]\nnetns = "{fleet.full("web")}"\n[[agent.namespaces]]\nnetns = "{path}"\n'
    agent = fleet.agent(config=fleet.config(f'{entries}networks = ["back"]\n'))

    assert agent.states() == {fleet.full("web"): "attached", path: "left alone"}
    assert agent.reason(path) == f"its namespace is that of {fleet.full('web')}"
    assert fleet.ask("web", "cache") == []


def test_sigterm_while_it_is_still_attaching(fleet: Fleet) -> None:
    names = [f"many{number}" for number in range(30)]
    fleet.add(*names)
    fleet.register({"front": names})
    agent = fleet.launch()
    wait_until(lambda: "leads to ports" in agent.stderr_text(), 10, "the first is attached")

    assert agent.stop(8) == 0
    assert not any("pydns" in fleet.rules(name) for name in names)
    assert "Traceback" not in agent.stderr_text()


def test_the_agents_own_namespace_is_never_touched(fleet: Fleet) -> None:
    config = fleet.config('[[agent.namespaces]]\nnetns = "/proc/self/ns/net"\nnetworks = ["front"]\n')
    agent = fleet.agent(config=config)

    assert agent.states() == {"/proc/self/ns/net": "left alone"}
    assert agent.reason("/proc/self/ns/net") == "it is the namespace that pydns itself runs in"


def test_an_upstream_inside_one_namespace_does_not_wait_for_the_firewall_of_another(fleet: Fleet) -> None:
    """nft hangs in one namespace; in another a query goes out to a server that only that one reaches."""
    fleet.resolv_conf_of("db").parent.mkdir(parents=True)
    fleet.resolv_conf_of("db").write_text("nameserver 127.0.0.2\noptions timeout:2\n")
    slow = os.stat(f"/run/netns/{fleet.full('web')}").st_ino
    script = fleet.tmp / "bin" / "nft"
    script.parent.mkdir()
    script.write_text(
        f'#!/bin/sh\n[ "$(readlink /proc/self/ns/net)" = "net:[{slow}]" ] && exec sleep 600\nexec /usr/sbin/nft "$@"\n'
    )
    script.chmod(0o755)
    agent = fleet.launch(path=str(script.parent))
    fleet.wait_for("db", "web", "10.77.1.1")

    def listen() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.2", 53))
        sock.settimeout(10)
        return sock

    with in_namespace(fleet.full("db"), listen) as upstream:
        asking = fleet.start_inside("db", "dig", "+short", "+tries=1", "+time=5", "@127.0.0.11", "away.example")
        query, client = upstream.recvfrom(4096)
        end = query.index(b"\0", 12) + 5
        answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x0a\1\2\3"
        upstream.sendto(query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + query[12:end] + answer, client)
        assert asking.wait(10) == 0
    assert asking.stdout_text().split() == ["10.1.2.3"]
    assert agent.poll() is None


def answer_all(sock: socket.socket, last_octet: int) -> None:
    """Give every A question the address 10.1.2.X, until an empty datagram comes or nobody asks any more."""
    with sock, contextlib.suppress(OSError):
        while True:
            query, client = sock.recvfrom(4096)
            if not query:
                return
            end = query.index(b"\0", 12) + 5
            answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x0a\1\2" + bytes((last_octet,))
            sock.sendto(query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + query[12:end] + answer, client)


def test_an_address_inside_one_namespace_is_another_server_than_inside_the_next(fleet: Fleet) -> None:
    """What one answers is never told to a container that would have asked the other."""

    def listen() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.2", 53))
        sock.settimeout(20)
        return sock

    for name in ("web", "db"):
        fleet.resolv_conf_of(name).parent.mkdir(parents=True)
        fleet.resolv_conf_of(name).write_text("nameserver 127.0.0.2\n")
    fleet.agent()
    with contextlib.ExitStack() as undo:
        for last_octet, name in enumerate(("web", "db"), 1):
            sock = in_namespace(fleet.full(name), listen)
            thread = threading.Thread(target=answer_all, args=(sock, last_octet), daemon=True)
            thread.start()
            undo.callback(thread.join, 25)
            undo.callback(sock.sendto, b"", ("127.0.0.2", 53))
        for _ in range(3):
            assert fleet.ask("web", "same.example") == ["10.1.2.1"]
            assert fleet.ask("db", "same.example") == ["10.1.2.2"]


def test_nobody_says_what_to_attach_to(fleet: Fleet) -> None:
    agent = fleet.launch(config=fleet.config())

    assert agent.wait(10) == 2
    assert "nobody says which namespaces to attach to (give --docker URL" in agent.stderr_text()


def test_a_reload_takes_over_another_list(fleet: Fleet) -> None:
    rule = '[[agent.namespaces]]\nnetns = "{}"\n'
    config = fleet.config(rule.format(fleet.full("web")))
    agent = fleet.agent(config=config)
    assert set(agent.states()) == {fleet.full("web")}
    text = config.read_text().replace(fleet.full("web"), fleet.full("db"))
    Path(config).write_text(text)
    agent.signal(signal.SIGHUP)

    fleet.wait_for("db", "web", "10.77.1.1")
    fleet.wait_for("web", "db")
    assert "pydns" not in fleet.rules("web")
