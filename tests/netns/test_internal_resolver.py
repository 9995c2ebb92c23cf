"""A resolver that sits on an internal network itself: who is only there may have it asked, and nobody else.

`inner` is a namespace of its own on vault, with a dnsmasq that knows corp.test. The host has an address on every bridge
and the world's upstream behind it, so whatever leaks would arrive there.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.world import READY_WITHIN_S, UPSTREAM, Process, World, parse_dig, registry_text, wait_until

pytestmark = pytest.mark.root

INNER = "172.20.0.53"
SECRET = "172.20.0.2"
GATEWAY = "172.20.0.1"
_ASKED = re.compile(r"query\[\S+\] (?P<name>\S+) from (?P<source>\S+)")


class Inner:
    """The resolver on vault, and what it was asked."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._log = world.tmp / "inner.log"
        self.process: Process

    def start(self) -> None:
        name, host = self._world.namespace("inner"), self._world.namespace("host")
        for words in (
            f"netns add {name}",
            f"-n {host} link add v-inner type veth peer name eth0 netns {name}",
            f"-n {host} link set v-inner master br-vault up",
            f"-n {name} link set lo up",
            f"-n {name} address add {INNER}/16 dev eth0",
            f"-n {name} link set eth0 up",
        ):
            subprocess.run(["ip", *words.split()], check=True, capture_output=True)
        self.process = self._world.start_in(
            "inner",
            *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root", "--group=root"),
            *("--no-resolv", "--no-hosts", "--no-poll", "--bind-interfaces", f"--listen-address={INNER}"),
            *("--log-queries", f"--log-facility={self._log}", "--local=/corp.test/"),
            "--host-record=api.corp.test,10.20.0.9",
        )
        wait_until(lambda: "NOERROR" in self._dig("api.corp.test"), READY_WITHIN_S, f"dnsmasq answers at {INNER}")

    def _dig(self, name: str) -> str:
        return self._world.run("inner", "dig", "+tries=1", "+time=1", f"@{INNER}", name, check=False).stdout

    def sources_of(self, name: str) -> set[str]:
        """Who has asked for a name."""
        return {hit["source"] for hit in _ASKED.finditer(self._log.read_text()) if hit["name"] == name}

    def close(self) -> None:
        subprocess.run(["ip", "netns", "delete", self._world.namespace("inner")], check=False, capture_output=True)


@pytest.fixture(scope="module")
def inner(world: World) -> Iterator[Inner]:
    made = Inner(world)
    try:
        made.start()
        yield made
    finally:
        made.close()


def config(world: World, name: str, *, endpoint: str = "", network: str = "", more: str = "") -> Path:
    """A configuration where `secret` or vault has these `dns`."""
    registry = world.tmp / f"{name}-networks.toml"
    text = registry_text()
    for heading, servers in (("[networks.vault.endpoints.secret]", endpoint), ("[networks.vault]", network)):
        if servers:
            assert heading in text
            text = text.replace(f"{heading}\n", f"{heading}\ndns = [{servers}]\n")
    registry.write_text(text)
    path = world.write_config(name, registry)
    path.write_text(path.read_text() + more)
    return path


def nothing_has_left(world: World, *names: str) -> bool:
    return not world.upstream_names() & set(names)


def test_the_resolver_on_the_internal_network_is_asked_and_nobody_else(world: World, inner: Inner) -> None:
    """moby#47822: `--dns` of a container on an internal network. It is asked from inside."""
    made = world.sidecar("secret", config=config(world, "endpoint", endpoint=f'"{UPSTREAM}", "{INNER}"'))
    try:
        assert world.ask("secret", "api.corp.test").rdata == ["10.20.0.9"]
        elsewhere = world.ask("secret", "leak-1.example.test")
        assert elsewhere.status == "REFUSED", "of the inner one: it knows nobody to ask"
        assert world.ask("secret", "ledger").rdata == ["172.20.0.3"]
    finally:
        made.end()
    assert inner.sources_of("api.corp.test") >= {SECRET}
    assert inner.sources_of("leak-1.example.test") == {SECRET}
    assert nothing_has_left(world, "leak-1.example.test", "api.corp.test")


def test_a_servers_address_elsewhere_is_refused_at_once(world: World, inner: Inner) -> None:
    routes = f'[[forward.routes]]\nsuffix = "example.test"\nupstreams = ["{UPSTREAM}"]\n'
    made = world.sidecar("secret", config=config(world, "outside", endpoint=f'"{UPSTREAM}"', more=routes))
    try:
        reply = world.ask("secret", "+tries=1", "+time=3", "leak-2.example.test")
    finally:
        made.end()
    assert (reply.status, reply.ede[:15]) == ("SERVFAIL", "18 (Prohibited)")
    assert "its servers are not on them" in reply.ede
    assert nothing_has_left(world, "leak-2.example.test")


def test_the_servers_of_the_containers_own_resolv_conf_count(world: World, inner: Inner) -> None:
    file = world.resolv_conf_of("secret")
    file.parent.mkdir(parents=True, exist_ok=True)
    before = file.read_text() if file.exists() else None
    file.write_text(f"nameserver {UPSTREAM}\nnameserver {INNER}\n")
    try:
        made = world.sidecar("secret")
        try:
            assert world.ask("secret", "api.corp.test").rdata == ["10.20.0.9"]
            assert world.ask("secret", "leak-3.example.test").status == "REFUSED"
        finally:
            made.end()
    finally:
        if before is None:
            file.unlink()
        else:
            file.write_text(before)
    assert inner.sources_of("leak-3.example.test") == {SECRET}
    assert nothing_has_left(world, "leak-3.example.test", "api.corp.test")


def test_a_server_on_the_host_asks_from_its_own_address_there(world: World, inner: Inner) -> None:
    """The same process forwards for others to the world's upstream, and never for this one."""
    served = config(
        world,
        "serve",
        network=f'"{INNER}", "{UPSTREAM}"',
        more=f'[server]\nlisten = ["{GATEWAY}:53"]\n[metrics]\nlisten = "off"\n',
    )
    process = world.start_on_host(*world.program, "serve", "-c", str(served))
    try:

        def from_the_host(name: str) -> str:
            """Of an address in nobody's subnet: with the gateway's it would be on vault as well."""
            words = ("dig", "+tries=1", "+time=2", "-b", UPSTREAM, f"@{GATEWAY}", name)
            return world.host_run(*words, check=False).stdout

        wait_until(lambda: "NOERROR" in from_the_host("www.example.test"), READY_WITHIN_S, "pydns serves")
        assert world.ask("secret", f"@{GATEWAY}", "api.corp.test").rdata == ["10.20.0.9"]
        assert world.ask("secret", f"@{GATEWAY}", "leak-4.example.test").status == "REFUSED"
        assert parse_dig(from_the_host("seen.example.test")).status == "NXDOMAIN"
    finally:
        process.end()
    assert inner.sources_of("leak-4.example.test") == {GATEWAY}
    assert inner.sources_of("seen.example.test") == set()
    assert world.upstream_names() >= {"seen.example.test", "www.example.test"}
    assert nothing_has_left(world, "leak-4.example.test", "api.corp.test")


def test_an_agent_does_as_a_sidecar(world: World, inner: Inner) -> None:
    """With the rebinding guard on: whoever is inside has private addresses, and may say them."""
    label = world.namespace("secret")
    agent = f'[agent]\nresolv_conf = false\n[[agent.namespaces]]\nnetns = "{label}"\nendpoint = "secret"\n'
    more = f'rebinding_guard = true\n[metrics]\nlisten = "off"\n{agent}'
    path = config(world, "agent", endpoint=f'"{UPSTREAM}", "{INNER}"', more=more)
    process = world.start_on_host(*world.program, "agent", "-c", str(path))
    try:

        def answers() -> bool:
            return world.ask("secret", "+tries=1", "+time=1", "@127.0.0.11", "api.corp.test").rdata == ["10.20.0.9"]

        wait_until(answers, READY_WITHIN_S, "the agent serves")
        assert world.ask("secret", "@127.0.0.11", "leak-5.example.test").status == "REFUSED"
    finally:
        process.end()
    assert inner.sources_of("leak-5.example.test") == {SECRET}
    assert nothing_has_left(world, "leak-5.example.test", "api.corp.test")
