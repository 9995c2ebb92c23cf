"""Attach, stay, leave: rules and resolv.conf in a real namespace, whatever happens to either side."""

from __future__ import annotations

import os
import re
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dns.message
import dns.rcode
import pytest

from tests.netns.world import UPSTREAM, Sidecar, World, WorldError

pytestmark = pytest.mark.root

_FLAVOURS = ("nftables", "iptables-nft", "iptables-legacy")
_WAIT = ("--wait", "10")  # iptables-legacy has one lock for the whole machine
_LIST = {
    "nftables": ("nft", "--stateless", "list", "ruleset"),
    "iptables-nft": ("iptables-nft-save", "-t", "nat"),
    "iptables-legacy": ("iptables-legacy-save", "-t", "nat"),
}
_FLUSH = {
    "nftables": ("nft", "flush", "ruleset"),
    "iptables-nft": ("iptables-nft", *_WAIT, "-t", "nat", "-F"),
    "iptables-legacy": ("iptables-legacy", *_WAIT, "-t", "nat", "-F"),
}
_DNAT = re.compile(r"(?:dnat (?:ip )?to|--to-destination) 127\.0\.0\.11:(\d+)")
_SNAT = re.compile(r"(?:snat (?:ip )?to|--to-source) \S*:53\b")
_CAP_NET_ADMIN, _CAP_NET_RAW = 1 << 12, 1 << 13
_OWN_RESOLV_CONF = f"# mine\nsearch corp.test\nnameserver {UPSTREAM}\noptions timeout:3"  # no newline at its end


def rules(world: World, flavour: str, container: str = "web") -> list[str]:
    """Return the rules and the chains that someone made, without counters and the built-in empty frame."""
    listed = world.run(container, *_LIST[flavour]).stdout.splitlines()
    if flavour == "nftables":
        return listed
    return [line.split(" [")[0] for line in listed if re.match(r"-A |:\S+ - ", line)]


def ports(world: World, flavour: str) -> list[str]:
    """Return the ports that the rules send 127.0.0.11:53 to."""
    return sorted(_DNAT.findall("\n".join(rules(world, flavour))))


def resolves_both_ways(world: World) -> bool:
    """Say whether `db` resolves in web by UDP and by TCP now."""
    return all(world.ask("web", "+tries=1", "+time=1", how, "db").rdata == ["172.18.0.2"] for how in ("+notcp", "+tcp"))


@pytest.fixture
def start(world: World) -> Iterator[Callable[..., Sidecar]]:
    """Start sidecars in the module's world; each test leaves web as it found it."""
    started: list[Sidecar] = []

    def start_one(container: str = "web", **options: str | Path | bool | list[str] | None) -> Sidecar:
        started.append(world.sidecar(container, **options))
        return started[-1]

    yield start_one
    for sidecar in started:
        sidecar.end()
    for flavour in ("iptables-legacy", "iptables-nft", "nftables"):  # the last takes the frame of the second
        world.run("web", *_FLUSH[flavour])
    world.resolv_conf_of("web").unlink(missing_ok=True)


Start = Callable[..., Sidecar]


@pytest.mark.parametrize("flavour", _FLAVOURS)
def test_the_rules_do_what_dockers_do(world: World, start: Start, flavour: str) -> None:
    """DNAT of 127.0.0.11:53 to a port of ours for each protocol, SNAT of its replies back to port 53."""
    start(firewall=flavour)
    listed = "\n".join(rules(world, flavour))
    found = ports(world, flavour)

    assert resolves_both_ways(world)
    assert len(found) == 2
    assert len(_SNAT.findall(listed)) == 2
    answers = {
        how: [world.ask("web", how, "+tries=1", "+time=1", "-p", port, "@127.0.0.11", "db").rdata for port in found]
        for how in ("+notcp", "+tcp")
    }
    assert all(["172.18.0.2"] in by_port for by_port in answers.values())


@pytest.mark.parametrize("flavour", _FLAVOURS)
def test_flushed_rules_are_back_within_2_s(world: World, start: Start, flavour: str) -> None:
    start(firewall=flavour)
    before = rules(world, flavour)
    for _ in range(2):
        world.run("web", *_FLUSH[flavour])
        took = world.wait(lambda: resolves_both_ways(world), "the flushed rules repaired")

        assert took <= 2.0
        assert rules(world, flavour) == before


@pytest.mark.parametrize("flavour", ["iptables-nft", "iptables-legacy"])
def test_deleted_chains_are_back_within_2_s(world: World, start: Start, flavour: str) -> None:
    """Flush, then delete the chains: what a firewall's own restart does."""
    start(firewall=flavour)
    before = rules(world, flavour)
    world.run("web", flavour, *_WAIT, "-t", "nat", "-F")
    world.run("web", flavour, *_WAIT, "-t", "nat", "-X")
    took = world.wait(lambda: resolves_both_ways(world), "the deleted chains repaired")

    assert took <= 2.0
    assert rules(world, flavour) == before


@pytest.mark.parametrize("flavour", _FLAVOURS)
def test_sigterm_ends_it_within_2_s_and_leaves_nothing(world: World, start: Start, flavour: str) -> None:
    """Exit 0, no rule left, a resolv.conf that was not there is not there again."""
    before = rules(world, flavour)
    sidecar = start(firewall=flavour)
    assert resolves_both_ways(world)
    began = time.monotonic()
    code = sidecar.stop()
    took = time.monotonic() - began

    assert (code, took <= 2.0) == (0, True)
    assert rules(world, flavour) == before
    assert "127.0.0.11" not in "".join(world.run("web", *listing).stdout for listing in _LIST.values())
    assert not world.resolv_conf_of("web").exists()


@pytest.mark.parametrize("flavour", _FLAVOURS)
def test_after_sigkill_the_next_start_takes_over(world: World, start: Start, flavour: str) -> None:
    """As many rules as before, the same ports (conntrack entries stay good), the first resolv.conf put back."""
    world.resolv_conf_of("web").write_text(_OWN_RESOLV_CONF)
    before = rules(world, flavour)
    first = start(firewall=flavour)
    with_one = rules(world, flavour)
    dead_ports = ports(world, flavour)
    assert first.kill9() == -9
    assert ports(world, flavour) == dead_ports
    second = start(firewall=flavour)

    assert resolves_both_ways(world)
    assert len(rules(world, flavour)) == len(with_one)
    assert ports(world, flavour) == dead_ports
    assert second.stop() == 0
    assert rules(world, flavour) == before
    assert world.resolv_conf_of("web").read_text() == _OWN_RESOLV_CONF


def test_automatic_choice_is_nftables_where_nft_is(world: World, start: Start) -> None:
    start(firewall="auto")

    assert "table ip pydns" in world.run("web", "nft", "list", "tables").stdout
    assert resolves_both_ways(world)


def test_plain_iptables_is_whatever_the_machine_calls_so(world: World, start: Start) -> None:
    sidecar = start(firewall="iptables")

    assert resolves_both_ways(world)
    assert "127.0.0.11" in world.run("web", "iptables-save", "-t", "nat").stdout
    assert sidecar.stop() == 0
    assert "127.0.0.11" not in world.run("web", "iptables-save", "-t", "nat").stdout


@pytest.mark.parametrize("flavour", _FLAVOURS)
@pytest.mark.parametrize("others", ["iptables-nft", "iptables-legacy"])
def test_rules_of_others_and_dockers_own_chains_are_left_alone(
    world: World, start: Start, flavour: str, others: str
) -> None:
    for rule in (
        "-N DOCKER_OUTPUT",
        "-A DOCKER_OUTPUT -d 127.0.0.11/32 -p tcp -m tcp --dport 9999 -j DNAT --to-destination 127.0.0.11:9998",
        "-A OUTPUT -d 127.0.0.11/32 -p tcp -m tcp --dport 9999 -j DOCKER_OUTPUT",
        "-A OUTPUT -d 192.0.2.1/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 127.0.0.1:8080",
    ):
        world.run("web", others, *_WAIT, "-t", "nat", *rule.split())
    before = rules(world, others)
    try:
        sidecar = start(firewall=flavour)
        during = rules(world, others)

        assert resolves_both_ways(world)
        assert [line for line in during if line in before] == before
        assert sidecar.stop() == 0
        assert rules(world, others) == before
    finally:
        world.run("web", others, *_WAIT, "-t", "nat", "-F")
        world.run("web", others, *_WAIT, "-t", "nat", "-X")


def test_a_server_on_every_address_of_the_container_keeps_working(world: World, start: Start) -> None:
    """It owns 0.0.0.0:53; only 127.0.0.11 is ours."""
    own = world.start_in(
        "web",
        *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root"),
        *("--no-resolv", "--no-hosts", "--local=/inside.test/", "--host-record=own.inside.test,192.0.2.99"),
    )

    def ask_own(asker: str, address: str) -> list[str]:
        return world.ask(asker, "+tries=1", "+time=1", f"@{address}", "own.inside.test").rdata

    places = [("web", "127.0.0.1"), ("web", "172.18.0.3"), ("db", "172.18.0.3")]
    try:
        world.wait(lambda: ask_own("web", "127.0.0.1"), "the container's own server")
        start()

        assert [ask_own(*place) for place in places] == [["192.0.2.99"]] * 3
        assert resolves_both_ways(world)
    finally:
        own.end()


def test_resolv_conf_keeps_search_and_options_and_names_the_former_servers(world: World, start: Start) -> None:
    path = world.resolv_conf_of("web")
    path.write_text(_OWN_RESOLV_CONF)
    inode = path.stat().st_ino
    sidecar = start()
    text = path.read_text()
    directives = [line.split() for line in text.splitlines() if line and line[0] not in "#;"]
    comments = "\n".join(line for line in text.splitlines() if line.startswith(("#", ";")))

    assert [words for words in directives if words[0] == "nameserver"] == [["nameserver", "127.0.0.11"]]
    assert ["search", "corp.test"] in directives
    options = {option for words in directives if words[0] == "options" for option in words[1:]}
    assert options == {"timeout:3", "ndots:0"}
    assert UPSTREAM in comments
    assert path.stat().st_ino == inode
    assert sidecar.stop() == 0
    assert path.read_text() == _OWN_RESOLV_CONF
    assert path.stat().st_ino == inode


def test_a_program_that_holds_resolv_conf_bound_sees_the_change(world: World, start: Start) -> None:
    """Containers bind the file, so it is written in place: a new file in its stead would not be seen."""
    world.resolv_conf_of("web").write_text(_OWN_RESOLV_CONF)
    watcher = world.start_in(
        "web", "sh", "-c", "cat /etc/resolv.conf; until grep 127.0.0.11 /etc/resolv.conf; do sleep 0.05; done"
    )
    world.wait(lambda: "corp.test" in watcher.stdout_text(), "the former file")
    start()

    assert watcher.wait(5) == 0
    assert "nameserver 127.0.0.11" in watcher.stdout_text()


def test_another_resolv_conf_can_be_named(world: World, start: Start) -> None:
    path = world.tmp / "rootfs-resolv.conf"
    path.write_text(_OWN_RESOLV_CONF)
    sidecar = start(resolv_conf=path)

    assert "nameserver 127.0.0.11" in path.read_text()
    assert not world.resolv_conf_of("web").exists()
    assert sidecar.stop() == 0
    assert path.read_text() == _OWN_RESOLV_CONF


def test_resolv_conf_can_be_left_alone(world: World, start: Start) -> None:
    world.resolv_conf_of("web").write_text(_OWN_RESOLV_CONF)
    start(no_resolv_conf=True)

    assert world.resolv_conf_of("web").read_text() == _OWN_RESOLV_CONF
    assert world.ask("web", "@127.0.0.11", "db").rdata == ["172.18.0.2"]


def test_the_server_stays_in_the_network_of_the_host(world: World, start: Start) -> None:
    """Only its sockets at 127.0.0.11 are inside: its metrics are the host's to read, not the container's."""
    sidecar = start(metrics="127.0.0.1:19153")
    get = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:19153/%s', timeout=5).read().decode())"

    assert os.stat(f"/proc/{sidecar.pid}/ns/net").st_ino == os.stat(f"/run/netns/{world.host}").st_ino
    assert "# TYPE " in world.host_run(sys.executable, "-c", get % "metrics").stdout
    assert world.host_run(sys.executable, "-c", get % "readyz").returncode == 0
    assert "refused" in world.run("web", sys.executable, "-c", get % "metrics", check=False).stderr


def test_a_registry_is_named_on_the_command_line_too(world: World, start: Start) -> None:
    config = world.tmp / "without-registry.toml"
    config.write_text(f'[forward]\nresolv_conf = "{world.resolv_conf}"\n')
    start(config=config, registry=world.registry)

    assert resolves_both_ways(world)


def test_a_namespace_is_named_by_its_path_too(world: World, start: Start) -> None:
    sidecar = start(netns=f"/run/netns/{world.namespace('web')}", no_resolv_conf=True)

    assert world.ask("web", "@127.0.0.11", "db").rdata == ["172.18.0.2"]
    assert sidecar.stop() == 0


def test_a_namespace_is_named_by_a_process_in_it_too(world: World, start: Start) -> None:
    inside = world.start_in("web", "sleep", "1000")
    try:
        world.wait(lambda: os.readlink(f"/proc/{inside.pid}/ns/net") != os.readlink("/proc/self/ns/net"), "it is in")
        sidecar = start(netns=str(inside.pid), no_resolv_conf=True)

        assert world.ask("web", "@127.0.0.11", "db").rdata == ["172.18.0.2"]
        assert sidecar.stop() == 0
    finally:
        inside.end()


@pytest.mark.parametrize("flavour", _FLAVOURS)
def test_only_the_capabilities_it_needs_are_kept(world: World, start: Start, flavour: str) -> None:
    """Every thread of it and of its helpers: CAP_NET_ADMIN and CAP_NET_RAW at most."""
    sidecar = start(firewall=flavour)
    assert resolves_both_ways(world)

    kept = sidecar.thread_capabilities()
    assert kept
    assert [hex(bits) for _, bits in kept if bits & ~(_CAP_NET_ADMIN | _CAP_NET_RAW)] == []


def test_without_privileges_it_says_which_one_is_missing(world: World) -> None:
    """One line, exit 2, nothing touched."""
    refused = world.start_on_host(
        *("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"),
        *world.sidecar_command("web"),
    )

    assert refused.wait(10) == 2
    assert len(refused.stderr_text().splitlines()) == 1
    assert re.search(r"\bCAP_[A-Z_]+", refused.stderr_text())
    assert not world.resolv_conf_of("web").exists()


def test_a_namespace_that_is_not_there_is_one_line_and_exit_2(world: World) -> None:
    with pytest.raises(WorldError, match=r"ended with 2; it said:\n.*nosuchnamespace.*\n?\Z"):
        world.sidecar("web", netns="nosuchnamespace", no_resolv_conf=True)


def _rename_over(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(path)


def _in_place(path: Path, text: str) -> None:
    path.write_text(text)


def _seconds_until_known(client: socket.socket, name: str) -> float:
    began = time.monotonic()
    while time.monotonic() - began < 5:
        query = dns.message.make_query(name, "A")
        client.send(query.to_wire())
        if dns.message.from_wire(client.recv(4096)).rcode() == dns.rcode.NOERROR:
            return time.monotonic() - began
        time.sleep(0.002)
    raise WorldError(f"{name} is not served 5 s after the write")


@pytest.mark.parametrize("write", [_rename_over, _in_place])
def test_a_change_of_the_registry_is_served_within_250_ms(
    world: World, start: Start, write: Callable[[Path, str], None]
) -> None:
    """The median of five changes, from the end of the write; the names from before stay."""
    folder = world.tmp / write.__name__
    folder.mkdir()
    registry = folder / "networks.toml"
    text = world.registry.read_text()
    registry.write_text(text)
    start(config=world.write_config(f"changing{write.__name__}", registry))
    took = []
    with world.socket("web", socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect(("127.0.0.11", 53))
        for number in range(5):
            text += f'\n[networks.mynet.endpoints.fresh{number}]\naddresses = ["172.18.7.{number}"]\n'
            write(registry, text)
            took.append(_seconds_until_known(client, f"fresh{number}."))

    assert statistics.median(took) <= 0.25
    assert resolves_both_ways(world)
    assert world.ask("web", "fresh0").rdata == ["172.18.7.0"]


def test_a_broken_registry_keeps_the_last_good_names(world: World, start: Start) -> None:
    folder = world.tmp / "breaking"
    folder.mkdir()
    registry = folder / "networks.toml"
    registry.write_text(world.registry.read_text())
    sidecar = start(config=world.write_config("breaking", registry))
    registry.write_text("[networks.mynet\nsubnets = nonsense")
    world.wait(lambda: str(registry) in sidecar.stderr_text(), "a complaint that names the file")

    assert resolves_both_ways(world)
    registry.write_text(world.registry.read_text() + '\n[networks.mynet.endpoints.later]\naddresses = ["172.18.7.9"]\n')
    world.wait(lambda: world.ask("web", "later").rdata == ["172.18.7.9"], "the mended file served")


def test_a_sidecar_leaves_the_others_alone(world: World, start: Start) -> None:
    """Two at once, with different views; the end of one is nothing to the other."""
    first, second = start("web"), start("db")

    assert world.ask("web", "cache").status == "NXDOMAIN"
    assert world.ask("db", "cache").rdata == ["172.19.0.3"]
    assert first.stop() == 0
    assert world.ask("db", "web").rdata == ["172.18.0.3"]
    assert second.poll() is None


def test_a_graceful_restart_does_not_leave_a_busy_socket_deaf(world: World, start: Start) -> None:
    """The kernel remembers where it led a socket's packets; what it remembers of the time between is forgotten."""
    query = dns.message.make_query("db.", "A").to_wire()

    def answered(client: socket.socket) -> bool:
        try:
            client.send(query)
            return client.recv(512)[:2] == query[:2]
        except OSError:
            return False

    with world.socket("web", socket.SOCK_DGRAM) as client:
        client.settimeout(0.1)
        client.connect(("127.0.0.11", 53))
        first = start()
        assert answered(client)
        assert first.stop() == 0
        assert not any(answered(client) for _ in range(3))
        start()

        world.wait(lambda: answered(client), "an answer to a socket that asked all the time", 2)


def test_an_endpoints_networks_follow_the_registry(world: World, start: Start) -> None:
    """Without --network a sidecar is on the networks of its endpoint, also after that has moved."""
    registry = world.tmp / "moving" / "networks.toml"
    registry.parent.mkdir(exist_ok=True)
    text = """
[networks.old.endpoints.NAME]
addresses = ["172.30.0.1"]
[networks.old.endpoints.left]
addresses = ["172.30.0.2"]
[networks.new.endpoints.NAME2]
addresses = ["172.31.0.1"]
[networks.new.endpoints.right]
addresses = ["172.31.0.2"]
"""
    registry.write_text(text.replace("NAME2", "other").replace("NAME", "web"))
    start(config=world.write_config("moving", registry), endpoint="web", network=None)
    assert world.ask("web", "left").rdata == ["172.30.0.2"]
    assert world.ask("web", "right").status == "NXDOMAIN"

    registry.write_text(text.replace("NAME2", "web").replace("NAME", "other"))

    world.wait(lambda: world.ask("web", "right").rdata == ["172.31.0.2"], "the names of the new network", 2)
    assert world.ask("web", "left").status == "NXDOMAIN"
