"""Loops through a namespace: its own server, which was there before us, asks 127.0.0.11, and that is we."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.netns.fleet import Fleet
from tests.netns.world import UPSTREAM, Process, World, parse_dig

pytestmark = pytest.mark.root

DNSMASQ = (
    *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--no-resolv", "--no-hosts"),
    *("--bind-interfaces", "--listen-address=127.0.0.1", "--user=root", "--group=root", "--cache-size=0"),
)
LEADS_BACK = (*DNSMASQ, "--server=127.0.0.11")
KNOWS = (*DNSMASQ, "--local=/example/", "--host-record=www.example,192.0.2.7")


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """Two namespaces, each with a server of its own at 127.0.0.1."""
    with Fleet() as made:
        made.add("web", "db")
        made.register({"front": ["web", "db"]})
        for name in ("web", "db"):
            made.inside(name, "ip", "link", "set", "lo", "up")
            made.resolv_conf_of(name).parent.mkdir(parents=True, exist_ok=True)
            made.resolv_conf_of(name).write_text("nameserver 127.0.0.1\n")
        yield made


def test_an_agent_finds_the_loop_of_one_namespace_and_asks_the_same_address_in_another(fleet: Fleet) -> None:
    broken = fleet.start_inside("web", *LEADS_BACK)
    fleet.start_inside("db", *KNOWS)
    agent = fleet.agent()
    ask = ("dig", "+tries=1", "+time=6", "@127.0.0.11", "www.example")

    def says_so() -> bool:
        reply = parse_dig(fleet.inside("web", *ask, check=False))
        return reply.status == "SERVFAIL" and "every upstream leads back to pydns: 127.0.0.1:53" in reply.ede

    World.wait(says_so, "the loop is found", 20)
    fleet.wait_for("db", "www.example", "192.0.2.7")
    fleet.wait_for("web", "db", "10.77.1.2")
    assert agent.metric('pydns_forward_looping{to="127.0.0.1:53 in the namespace"}') == 1
    broken.end()
    fleet.start_inside("web", *KNOWS)
    fleet.wait_for("web", "www.example", "192.0.2.7", within_s=60)
    assert agent.metric('pydns_forward_looping{to="127.0.0.1:53 in the namespace"}') == 0
    assert "leads back to pydns no more" in agent.stderr_text()


def test_a_sidecar_goes_on_with_the_second_server() -> None:
    with World() as world:
        world.resolv_conf_of("web").write_text(f"nameserver 127.0.0.1\nnameserver {UPSTREAM}\n")
        process: Process = world.start_in("web", *LEADS_BACK)
        sidecar = world.launch("web")
        sidecar.wait_ready()
        world.wait(lambda: "leads back to pydns" in sidecar.stderr_text(), "the loop is found")

        assert process.poll() is None
        assert world.ask("web", "+tries=1", "www.example.test").rdata == ["192.0.2.80"]
        assert "127.0.0.1:53 in the namespace leads back" in sidecar.stderr_text()
