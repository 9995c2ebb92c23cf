"""The world itself: it is what it says, it is closed to the outside, and it leaves nothing behind."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.netns.world import (
    BIG_TXT,
    UPSTREAM,
    UPSTREAM_PROGRAMS,
    UpstreamQuery,
    World,
    WorldError,
    parse_dig,
    registry_text,
)

pytestmark = pytest.mark.root

_LISTEN = """
import socket, sys
family, address = (socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET), sys.argv[1]
with socket.create_server((address, 7000), family=family) as server:
    print("listening", file=sys.stderr, flush=True)
    server.accept()[0].sendall(b"hello")
"""
_CONNECT = """
import socket, sys
with socket.create_connection((sys.argv[1], 7000), timeout=2) as client:
    print(client.recv(5).decode())
"""


@pytest.mark.parametrize(
    ("asker", "owner", "address"),
    [
        ("web", "db", "172.18.0.2"),
        ("web", "db", "fd00:18::2"),
        ("cache", "db", "172.19.0.2"),
        ("web", "host", "172.18.0.1"),
        ("web", "host", "fd00:18::1"),
        ("secret", "host", "172.20.0.1"),
    ],
)
def test_neighbours_and_gateways_are_reachable(world: World, asker: str, owner: str, address: str) -> None:
    server = world.start_in(owner, sys.executable, "-c", _LISTEN, address)
    world.wait(lambda: "listening" in server.stderr_text(), f"a server in {owner}")

    assert world.run(asker, sys.executable, "-c", _CONNECT, address).stdout == "hello\n"
    assert server.wait(5) == 0


@pytest.mark.parametrize(
    ("asker", "address"), [("web", "172.19.0.3"), ("secret", "172.18.0.2"), ("web", "198.51.100.1")]
)
def test_other_networks_and_the_outside_are_not_reachable(world: World, asker: str, address: str) -> None:
    """The host routes nothing between its bridges and has no way out."""
    tried = world.run(asker, sys.executable, "-c", _CONNECT, address, check=False)

    assert tried.returncode == 1
    assert "hello" not in tried.stdout


def test_the_host_of_the_world_has_no_device_but_its_own(world: World) -> None:
    """Its namespace holds bridges and the outer ends of veth pairs: no uplink."""
    listing = world.host_run("ip", "-brief", "link").stdout

    assert {"lo", "br", "v0", "v1"} == {line.split()[0].split("-")[0] for line in listing.splitlines()}


@pytest.mark.parametrize("program", UPSTREAM_PROGRAMS)
def test_each_upstream_serves_the_same_names(program: str) -> None:
    with World(upstream=program) as world:
        at = f"@{UPSTREAM}"

        assert world.ask("web", at, "www.example.test").rdata == ["192.0.2.80"]
        assert world.ask("web", at, "www.example.test", "AAAA").rdata == ["2001:db8::80"]
        assert world.ask("web", at, "www.example.test", "TXT").rdata == ['"hello from the upstream"']
        assert world.ask("web", at, "nothere.example.test").status == "NXDOMAIN"
        assert world.ask("web", at, "www.example.org").status == "REFUSED"
        cut = world.ask("web", at, "+notcp", "+bufsize=512", "+ignore", "big.example.test", "TXT")
        assert (cut.status, "tc" in cut.flags) == ("NOERROR", True)
        assert sorted(f'"{text}"' for text in BIG_TXT) == world.ask("web", at, "big.example.test", "TXT").rdata


@pytest.mark.parametrize("program", ["dnsmasq", "unbound"])
def test_the_upstream_s_log_shows_who_asked_for_what(program: str) -> None:
    with World(upstream=program) as world:
        assert world.upstream_queries() == []
        world.dig("web", f"@{UPSTREAM}", "WWW.example.test", "AAAA")

        assert [UpstreamQuery("172.18.0.3", "www.example.test", "AAAA")] == world.upstream_queries()
        assert {"www.example.test"} == world.upstream_names()


def test_an_internal_network_does_not_reach_the_upstream(world: World) -> None:
    assert "network unreachable" in world.dig("secret", "+tries=1", "+time=1", f"@{UPSTREAM}", "www.example.test")


def test_a_container_sees_its_own_resolv_conf_and_hosts(world: World) -> None:
    """What `ip netns exec` binds, not the machine's files."""
    path = world.resolv_conf_of("web")
    path.write_text("nameserver 127.0.0.11\n")
    try:
        seen = world.run("web", "cat", "/etc/resolv.conf", "/etc/hosts").stdout
    finally:
        path.unlink()

    assert seen == "nameserver 127.0.0.11\n127.0.0.1 localhost\n::1 localhost ip6-localhost\n# web\n"


def test_a_socket_made_in_a_container_stays_there(world: World) -> None:
    with world.socket("web", socket.SOCK_DGRAM) as inside:
        inside.bind(("172.18.0.3", 0))

        assert inside.getsockname()[0] == "172.18.0.3"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside, pytest.raises(OSError, match="assign"):
        outside.bind(("172.18.0.3", 0))


def test_two_worlds_stand_side_by_side() -> None:
    with World() as one, World() as other:
        assert one.ask("web", f"@{UPSTREAM}", "www.example.test").rdata == ["192.0.2.80"]
        assert {"www.example.test"} == one.upstream_names()
        assert set() == other.upstream_names()


def test_nothing_is_left_of_a_world() -> None:
    """Not a namespace, not a file, not a process; closing twice does no harm."""
    had_folder = Path("/etc/netns").exists()
    with World() as gone:
        sleeper = gone.start_in("web", "sleep", "1000")
        assert gone.remains()
    gone.close()

    assert gone.remains() == []
    assert sleeper.poll() == -15
    assert had_folder or not Path("/etc/netns").exists()
    assert gone.prefix not in subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout


def test_a_world_that_fails_half_way_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = World()

    def fail(_container: object) -> None:
        assert broken.remains()
        raise WorldError("half-way")

    monkeypatch.setattr(broken, "_wire", fail)
    with pytest.raises(WorldError, match="half-way"):
        broken.__enter__()

    assert broken.remains() == []


def test_a_sidecar_that_cannot_start_is_told_with_its_own_words() -> None:
    program = ["sh", "-c", "echo no such thing >&2; exit 2", "sh"]
    words = r"ended with 2; it said:\nno such thing"
    with World(program=program) as world, pytest.raises(WorldError, match=words):
        world.sidecar("web")


def test_the_options_of_a_sidecar_become_words(world: World) -> None:
    words = world.sidecar_command("db", firewall="nftables", no_resolv_conf=True, endpoint=None, upstream=["a", "b"])

    assert " ".join(words) == (
        f"{world.program[0]} sidecar --netns {world.prefix}-db --network mynet --network backend --metrics off"
        f" -c {world.config} --firewall nftables --no-resolv-conf --upstream a --upstream b"
    )


def test_a_sidecar_by_pid_or_path_must_not_find_the_machine_s_resolv_conf(world: World) -> None:
    with pytest.raises(WorldError, match="machine's own"):
        world.sidecar_command("web", netns="1234")


def test_the_registry_is_toml_with_every_endpoint() -> None:
    text = registry_text()

    assert text.count('aliases = ["pool"]') == 60
    assert text.index("[networks.backend.endpoints.db]") < text.index('links = { cache = "redis" }')
    assert text.count("links = ") == 1


def test_a_dig_transcript_is_read_in_parts() -> None:
    reply = parse_dig(
        ";; ->>HEADER<<- opcode: QUERY, status: SERVFAIL, id: 1\n"
        ";; flags: qr rd ra; QUERY: 1, ANSWER: 1, AUTHORITY: 0, ADDITIONAL: 1\n\n"
        ";; OPT PSEUDOSECTION:\n; EDNS: version: 0, flags:; udp: 1232\n; EDE: 18 (Prohibited)\n"
        ";; QUESTION SECTION:\n;db.\t\tIN\tA\n\n;; ANSWER SECTION:\ndb.\t\t600\tIN\tA\t172.18.0.2\n\n"
        ";; Query time: 0 msec\n;; SERVER: 127.0.0.11#53(127.0.0.11) (UDP)\n"
    )

    assert (reply.status, reply.flags, reply.server) == ("SERVFAIL", ("qr", "rd", "ra"), "127.0.0.11#53")
    assert (reply.answer, reply.authority, reply.additional) == (("db. 600 IN A 172.18.0.2",), (), ())
    assert (reply.rdata, reply.ede) == (["172.18.0.2"], "18 (Prohibited)")


def test_the_capabilities_of_every_thread_and_descendant_are_seen(world: World) -> None:
    """What the sidecar's own test relies on."""
    shell = world.start_on_host(
        *("setpriv", "--bounding-set=-all,+net_admin", "--inh-caps=-all"),
        *("sh", "-c", "sleep 1000 & echo started; wait"),
    )
    world.wait(lambda: "started" in shell.stdout_text(), "the shell's child")

    assert [bits for _, bits in shell.thread_capabilities()] == [1 << 12, 1 << 12]
