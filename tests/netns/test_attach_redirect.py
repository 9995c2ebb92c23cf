"""The redirect in real namespaces, by each firewall: it answers, is repaired, is taken over, and is gone afterwards."""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from resolver.attach.attachment import Attachment
from resolver.attach.netns import NamespaceThread, bring_loopback_up, locate
from resolver.errors import AttachError

pytestmark = pytest.mark.root

T = TypeVar("T")
Sockets = tuple[socket.socket, socket.socket]

FIREWALLS = ["nftables", "iptables-nft", "iptables-legacy"]
QUERY = bytes.fromhex("1234 0100 0001 0000 0000 0000") + b"\2db\0\0\1\0\1"
OURS, THEIRS, WILDCARD = 0, 5, 4
"""The response codes by which the test's servers tell who answered."""

_numbers = itertools.count()


class Lab:
    """One namespace with its own name, servers in it, and what a program inside sees; gone at the end."""

    def __init__(self) -> None:
        self.name = f"pydns-{os.getpid()}-{next(_numbers)}"
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> Lab:
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self._undo.callback(subprocess.run, ["ip", "netns", "delete", self.name], check=True)
        self.thread = NamespaceThread(locate(self.name), "test")
        self._undo.callback(self.thread.close)
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def run(self, *argv: str, stdin: str = "") -> str:
        done = subprocess.run(
            ["nsenter", f"--net=/run/netns/{self.name}", *argv], input=stdin, capture_output=True, text=True
        )
        assert done.returncode == 0, (argv, done.stderr)
        return done.stdout

    def inside(self, function: Callable[..., T], *args: object) -> T:
        return self.thread.call(function, *args)

    def attach(self, firewall: str = "auto") -> Attachment:
        attachment = Attachment.open(self.name, firewall=firewall)
        self._undo.callback(attachment.close)
        return attachment

    def serve(self, sockets: Sockets, rcode: int = OURS) -> None:
        """Answer on the sockets until the end of the test; echoes the question with ``rcode``."""
        reading, writing = os.pipe()
        thread = threading.Thread(target=_answer, args=(sockets, rcode, reading), daemon=True)
        thread.start()
        self._undo.callback(os.close, reading)
        self._undo.callback(thread.join, 5)
        self._undo.callback(os.close, writing)

    def attach_and_serve(self, firewall: str = "auto") -> Attachment:
        attachment = self.attach(firewall)
        self.serve((attachment.udp.dup(), attachment.tcp.dup()))
        attachment.install()
        return attachment

    def answers(self, address: str = "127.0.0.11") -> set[int]:
        """Who answers at port 53 of ``address``, over UDP and TCP."""
        return {self.inside(_ask, kind, address) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)}

    def rules(self) -> str:
        """Every rule of the namespace, as all three firewalls show them."""
        nft = self.run("nft", "-s", "list", "ruleset")
        return nft + self.run("iptables-legacy", "-t", "nat", "-S") + self.run("iptables-legacy", "-S")


def _answer(sockets: Sockets, rcode: int, stop: int) -> None:
    udp, tcp = sockets
    with udp, tcp:
        while stop not in (ready := select.select([udp.fileno(), tcp.fileno(), stop], [], [])[0]):
            with contextlib.suppress(OSError):
                if udp.fileno() in ready:
                    query, client = udp.recvfrom(4096)
                    udp.sendto(_reply(query, rcode), client)
                if tcp.fileno() in ready:
                    connection, _ = tcp.accept()
                    with connection:
                        connection.settimeout(2)
                        framed = connection.recv(4096)
                        connection.sendall(framed[:2] + _reply(framed[2:], rcode))


def _reply(query: bytes, rcode: int) -> bytes:
    return query[:2] + bytes([query[2] | 0x80, rcode]) + query[4:]


def _ask(kind: socket.SocketKind, address: str) -> int:
    with socket.socket(socket.AF_INET, kind) as client:
        client.settimeout(2)
        client.connect((address, 53))
        framed = kind == socket.SOCK_STREAM
        client.sendall(len(QUERY).to_bytes(2, "big") + QUERY if framed else QUERY)
        return client.recv(4096)[2 if framed else 0 :][3] & 0xF


def listen(address: str, port: int = 0) -> Sockets:
    """A UDP and a TCP socket in the calling thread's namespace."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((address, port))
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    tcp.bind((address, port))
    tcp.listen()
    return udp, tcp


def docker_rules(lab: Lab, firewall: str, udp: int, tcp: int) -> None:
    """What dockerd lays into a container's namespace (research/docker-embedded-dns.md 3)."""
    if firewall == "nftables":
        lab.run("nft", "-f", "-", stdin=DOCKER_NFT.format(udp=udp, tcp=tcp))
        return
    to = "127.0.0.11"
    for rule in (
        "-N DOCKER_OUTPUT",
        "-N DOCKER_POSTROUTING",
        f"-I OUTPUT -d {to} -j DOCKER_OUTPUT",
        f"-I POSTROUTING -d {to} -j DOCKER_POSTROUTING",
        f"-I DOCKER_OUTPUT -d {to} -p udp --dport 53 -j DNAT --to-destination {to}:{udp}",
        f"-I DOCKER_POSTROUTING -s {to} -p udp --sport {udp} -j SNAT --to-source :53",
        f"-I DOCKER_OUTPUT -d {to} -p tcp --dport 53 -j DNAT --to-destination {to}:{tcp}",
        f"-I DOCKER_POSTROUTING -s {to} -p tcp --sport {tcp} -j SNAT --to-source :53",
    ):
        lab.run(firewall, "--wait", "-t", "nat", *rule.split())


DOCKER_NFT = """
table ip docker-dns {{
  chain dns-dnat {{
    type nat hook output priority -100; policy accept;
    ip daddr 127.0.0.11 udp dport 53 counter dnat to 127.0.0.11:{udp}
    ip daddr 127.0.0.11 tcp dport 53 counter dnat to 127.0.0.11:{tcp}
  }}
  chain dns-snat {{
    type nat hook postrouting priority 100; policy accept;
    ip saddr 127.0.0.11 udp sport {udp} counter snat to 127.0.0.11:53
    ip saddr 127.0.0.11 tcp sport {tcp} counter snat to 127.0.0.11:53
  }}
}}
"""

SOMEONE_ELSES_NFT = """
table inet theirs { chain in { type filter hook input priority 0; tcp dport 9999 counter drop; }; }
table ip theirs { chain out { type nat hook output priority -100; ip daddr 192.0.2.1 dnat to 127.0.0.1; }; }
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


@pytest.mark.parametrize("firewall", FIREWALLS)
def test_dig_is_answered_over_udp_and_tcp(lab: Lab, firewall: str) -> None:
    """dig checks that the reply comes from 127.0.0.11#53, so both directions are translated."""
    lab.attach_and_serve(firewall)
    for transport in ("+notcp", "+tcp"):
        text = lab.run("dig", "@127.0.0.11", "db", transport, "+tries=1", "+time=2")

        assert "status: NOERROR" in text
        assert "SERVER: 127.0.0.11#53(127.0.0.11)" in text


@pytest.mark.parametrize("firewall", FIREWALLS)
def test_rules_of_others_are_the_same_after_close(lab: Lab, firewall: str) -> None:
    lab.run("nft", "-f", "-", stdin=SOMEONE_ELSES_NFT)
    for command in ("iptables-nft", "iptables-legacy"):
        lab.run(command, "-t", "nat", "-A", "OUTPUT", "-d", "192.0.2.9", "-j", "DNAT", "--to-destination", "127.0.0.1")
        lab.run(command, "-t", "nat", "-A", "POSTROUTING", "-m", "comment", "--comment", "a b", "-j", "RETURN")
    before = lab.rules()
    attachment = lab.attach_and_serve(firewall)

    assert lab.answers() == {OURS}
    assert lab.rules() != before
    attachment.close()
    attachment.close()
    assert lab.rules() == before


VANDALS: dict[str, list[str]] = {
    "nft flush ruleset": ["nftables", "iptables-nft"],
    "nft delete table ip pydns": ["nftables"],
    "nft flush chain ip pydns output": ["nftables"],
    "nft delete chain ip pydns postrouting": ["nftables"],
    "nft insert rule ip pydns output accept": ["nftables"],
    "{command} -t nat -F": ["iptables-nft", "iptables-legacy"],
    "{command} -t nat -F PYDNS_OUTPUT": ["iptables-nft", "iptables-legacy"],
    "{command} -t nat -D PYDNS_POSTROUTING 2": ["iptables-nft", "iptables-legacy"],
    "{command} -t nat -D OUTPUT -d 127.0.0.11 -j PYDNS_OUTPUT": ["iptables-nft", "iptables-legacy"],
    "{command} -t nat -D POSTROUTING -d 127.0.0.11 -j PYDNS_POSTROUTING": ["iptables-nft", "iptables-legacy"],
    "{command} -t nat -A OUTPUT -d 127.0.0.11 -j PYDNS_OUTPUT": ["iptables-nft", "iptables-legacy"],
    "{command} -t nat -R PYDNS_OUTPUT 1 -p udp -j RETURN": ["iptables-nft", "iptables-legacy"],
}


@pytest.mark.parametrize(
    ("firewall", "vandal"), [(firewall, vandal) for vandal, targets in VANDALS.items() for firewall in targets]
)
def test_what_someone_does_to_the_rules_is_heard_and_undone(lab: Lab, firewall: str, vandal: str) -> None:
    attachment = lab.attach_and_serve(firewall)
    before = lab.rules()
    assert not attachment.check()
    lab.run(*vandal.format(command=firewall).split())

    if attachment.changes is not None:
        assert select.select([attachment.changes], [], [], 2)[0]
        assert attachment.drain()
        assert attachment.poll_interval_s == 15
    else:
        assert attachment.poll_interval_s == 1
    assert attachment.check()
    assert attachment.repairs == 1
    assert lab.answers() == {OURS}
    assert lab.rules() == before
    assert not attachment.drain()
    assert not attachment.check()


@pytest.mark.parametrize("firewall", ["iptables-nft", "iptables-legacy"])
def test_a_rule_put_before_ours_is_seen(lab: Lab, firewall: str) -> None:
    """As dockerd's jump is, when it starts after us."""
    attachment = lab.attach_and_serve(firewall)
    shadow = ("OUTPUT", "-d", "127.0.0.11", "-j", "RETURN")
    lab.run(firewall, "-t", "nat", "-I", *shadow)

    assert attachment.check()
    assert lab.answers() == {OURS}
    lab.run(firewall, "-t", "nat", "-C", *shadow)


@pytest.mark.parametrize("dockers", FIREWALLS)
@pytest.mark.parametrize("firewall", FIREWALLS)
def test_ours_comes_before_dockers_and_leaves_it_working(lab: Lab, firewall: str, dockers: str) -> None:
    lab.inside(bring_loopback_up)
    sockets = lab.inside(listen, "127.0.0.11")
    lab.serve(sockets, THEIRS)
    docker_rules(lab, dockers, sockets[0].getsockname()[1], sockets[1].getsockname()[1])
    lab.run("iptables-nft", "-t", "nat", "-N", "KEEPS_THE_TABLE")
    lab.run("iptables-nft", "-t", "nat", "-A", "OUTPUT", "-j", "KEEPS_THE_TABLE")
    lab.run("iptables-nft", "-t", "nat", "-A", "POSTROUTING", "-j", "KEEPS_THE_TABLE")
    assert lab.answers() == {THEIRS}
    before = lab.rules()
    attachment = lab.attach_and_serve(firewall)

    assert lab.answers() == {OURS}
    attachment.close()
    assert lab.answers() == {THEIRS}
    assert lab.rules() == before


@pytest.mark.parametrize("firewall", FIREWALLS)
def test_a_server_on_all_addresses_keeps_the_others(lab: Lab, firewall: str) -> None:
    lab.inside(bring_loopback_up)
    lab.run("ip", "address", "add", "192.0.2.1/32", "dev", "lo")
    lab.serve(lab.inside(listen, "0.0.0.0", 53), WILDCARD)
    attachment = lab.attach_and_serve(firewall)

    assert lab.answers() == {OURS}
    assert lab.answers("127.0.0.1") == lab.answers("192.0.2.1") == {WILDCARD}
    attachment.close()
    assert lab.inside(_ask, socket.SOCK_STREAM, "127.0.0.11") == WILDCARD


KILLED = """
import sys
from resolver.attach.attachment import Attachment
a = Attachment.open(sys.argv[1], firewall=sys.argv[2])
a.install()
print(a.redirect.udp_port, a.redirect.tcp_port, flush=True)
sys.stdin.read()
"""


def attach_and_kill(lab: Lab, firewall: str) -> tuple[int, int]:
    """Let another process attach, kill it, and return the ports that its rules still name."""
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, lab.name, firewall], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        udp, tcp = process.stdout.readline().split()
        with pytest.raises(AttachError, match=rf"another pydns already serves 127\.0\.0\.11 .*pid {process.pid}\b"):
            Attachment.open(lab.name)
        process.kill()
    return int(udp), int(tcp)


@pytest.mark.parametrize("firewall", FIREWALLS)
def test_a_killed_run_is_taken_over_with_its_ports(lab: Lab, firewall: str) -> None:
    clean = lab.rules()
    ports = attach_and_kill(lab, firewall)
    left = lab.rules()
    attachment = lab.attach_and_serve(firewall)

    assert (attachment.redirect.udp_port, attachment.redirect.tcp_port) == ports
    assert lab.answers() == {OURS}
    assert lab.rules() == left
    attachment.close()
    assert "pydns" not in lab.rules().lower()
    if firewall != "iptables-nft":  # which leaves its empty table nat, as iptables always does
        assert lab.rules() == clean


def test_a_killed_run_whose_ports_are_taken_gets_others(lab: Lab) -> None:
    ports = attach_and_kill(lab, "nftables")
    sockets = lab.inside(listen, "127.0.0.11", ports[0])
    lab.serve(sockets, THEIRS)
    attachment = lab.attach_and_serve()

    assert attachment.redirect.udp_port != ports[0]
    assert lab.answers() == {OURS}


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(FIREWALLS, 2)))
def test_what_a_killed_run_left_with_another_firewall_goes(lab: Lab, first: str, second: str) -> None:
    ports = attach_and_kill(lab, first)
    attachment = lab.attach_and_serve(second)

    assert (attachment.redirect.udp_port, attachment.redirect.tcp_port) == ports
    assert lab.answers() == {OURS}
    ours = [line for line in lab.rules().splitlines() if f":{ports[0]}" in line]
    assert len(ours) == 1
    attachment.close()
    assert "pydns" not in lab.rules().lower()


def test_an_attachment_that_never_installs_clears_what_a_killed_run_left(lab: Lab) -> None:
    attach_and_kill(lab, "nftables")
    lab.attach().close()

    assert "pydns" not in lab.rules()
    assert not Path(f"/etc/netns/{lab.name}").exists()


def test_plain_iptables_is_whatever_the_system_chose(lab: Lab) -> None:
    attachment = lab.attach_and_serve("iptables")

    assert attachment.firewall == "iptables"
    assert lab.answers() == {OURS}


def test_sockets_for_upstreams_are_in_the_namespace(lab: Lab) -> None:
    attachment = lab.attach()
    server, other = lab.inside(listen, "127.0.0.3", 53)
    with other, server, attachment.open_socket(socket.AF_INET, socket.SOCK_DGRAM).result(2) as client:
        client.connect(("127.0.0.3", 53))
        client.send(b"hello")

        assert server.recv(100) == b"hello"
        assert not client.getblocking()
