"""`serve` at every address: a container that asks from its link-local address sees what its link's network sees."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.netns.world import READY_WITHIN_S, DigReply, Sidecar, World, parse_dig

pytestmark = pytest.mark.root

SAME = "fe80::77"
"""What each container calls itself on its own link."""


@pytest.fixture(scope="module", params=["lane", "python", "tcp"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A server on [::], each container with the same link-local address, and a link that is no network's."""
    with World() as made:
        config = made.tmp / "serve.toml"
        config.write_text(made.config.read_text() + '[server]\nlisten = ["[::]:53"]\n[metrics]\nlisten = "off"\n')
        made.transport = "+tcp" if request.param == "tcp" else "+notcp"  # type: ignore[attr-defined]
        lane = ("env", "PYDNS_LANE=python") if request.param == "python" else ()
        for bridge in ("mynet", "backend", "vault", "uplink"):
            made.host_run("ip", "address", "add", "fe80::1/64", "dev", f"br-{bridge}", "nodad")
        made.host_run(
            *("ip", "link", "add", "v9", "type", "veth", "peer", "name", "eth9", "netns", made.namespace("cache"))
        )
        made.host_run("ip", "link", "set", "v9", "master", "br-uplink", "up")
        made.run("cache", "ip", "link", "set", "eth9", "up")
        for container, device in (("web", "eth0"), ("secret", "eth0"), ("cache", "eth9")):
            made.run(container, "ip", "-6", "address", "flush", "dev", device, "scope", "link")
            made.run(container, "ip", "address", "add", f"{SAME}/64", "dev", device, "nodad")
        server = made._start(Sidecar, [*made._on_host(), *lane, *made.program, "serve", "-c", str(config)])
        server.wait_ready(READY_WITHIN_S)
        yield made


def ask(world: World, container: str, name: str, device: str = "eth0", *more: str) -> DigReply:
    transport = world.transport  # type: ignore[attr-defined]
    return world.ask(container, "+tries=1", "+time=3", transport, f"@fe80::1%{device}", name, *more)


def test_an_internal_container_gets_nowhere_and_sees_its_own_network(world: World) -> None:
    world.wait(lambda: ask(world, "secret", "secret").status == "NOERROR", "it is served")
    for _ in range(3):
        outside = ask(world, "secret", "www.example.test")
        assert ("SERVFAIL", ()) == (outside.status, outside.answer)
        assert "18 (Prohibited): (this client is only on internal networks" in outside.ede
        assert ask(world, "secret", "secret").rdata == ["172.20.0.2"]
        assert ask(world, "secret", "db").status == "NXDOMAIN"


def test_the_same_address_on_another_link_is_another_client(world: World) -> None:
    for _ in range(3):
        assert ask(world, "web", "db").rdata == ["172.18.0.2"]
        assert ask(world, "web", "www.example.test").rdata == ["192.0.2.80"]
        assert ask(world, "web", "secret").status == "NXDOMAIN"
        assert ask(world, "secret", "db").status == "NXDOMAIN"
        assert ask(world, "secret", "www.example.test").status == "SERVFAIL"


def test_on_the_link_of_no_network_nothing_is_seen_or_forwarded(world: World) -> None:
    world.wait(lambda: ask(world, "cache", "db", "eth9").status == "NXDOMAIN", "it is served")
    for _ in range(3):
        assert ask(world, "cache", "secret", "eth9").status == "NXDOMAIN"
        outside = ask(world, "cache", "www.example.test", "eth9")
        assert outside.status == "SERVFAIL"
        assert "18 (Prohibited): (this client has a link-local address, on a link of no known network" in outside.ede


def test_our_own_link_local_address_is_the_host(world: World) -> None:
    transport = world.transport  # type: ignore[attr-defined]
    for name, expected in (("db", "172.18.0.2"), ("secret", "172.20.0.2"), ("www.example.test", "192.0.2.80")):
        words = ("dig", "+tries=1", "+time=3", transport, "@fe80::1%br-vault", name)
        assert expected in parse_dig(world.host_run(*words).stdout).rdata
