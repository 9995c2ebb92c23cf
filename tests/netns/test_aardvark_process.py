"""`pydns aardvark` as a process: forking, exit status, pid file, descriptors, signals, its listeners."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import select
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import pytest

from resolver.aardvark import Aardvark
from resolver.cli import aardvark as cli_aardvark
from tests.cli.program import PYDNS, pydns
from tests.netns.aardvark import OURS, DropIn, Folder, Oracle, await_reply, network_file, subreaper
from tests.netns.world import World, in_namespace
from tests.scenarios.live import ROOT

pytestmark = pytest.mark.root

WRAPPER = ROOT / "deploy" / "aardvark-dns"
ADDRESSES = (("web", "172.18.0.1"), ("web", "fd00:18::1"), ("cache", "172.19.0.1"), ("secret", "172.20.0.1"))


@pytest.fixture(scope="module", autouse=True)
def _reap() -> Iterator[None]:
    with subreaper():
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "aardvark-dns")
    made.write_world()
    return made


def listening(world: World) -> set[str]:
    """Every socket at port 53 in the host's namespace but the upstream's and the oracles'."""
    lines = world.host_run("ss", "-Hlnut", "sport = :53").stdout.splitlines()
    sockets = {f"{line.split()[0]} {line.split()[4]}" for line in lines}
    return {each for each in sockets if " 10.99.0.53:" not in each and " 127." not in each}


def free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


def sockets_of(*addresses: str) -> set[str]:
    return {f"{protocol} {address}:53" for protocol in ("udp", "tcp") for address in addresses}


ALL = sockets_of("172.18.0.1", "[fd00:18::1]", "172.19.0.1", "172.20.0.1")


def test_the_parent_ends_when_every_socket_is_bound(world: World, folder: Folder) -> None:
    with DropIn(world, folder) as server:
        bound = listening(world)
        assert (server.parent.returncode, server.parent.stdout, server.parent.stderr) == (0, "", "")
        assert bound == ALL
        for how in ("+notcp", "+tcp"):
            for container, address in ADDRESSES:
                reply = server.answers(world, container, address, how, container)
                assert (reply.status, len(reply.rdata)) == ("NOERROR", 1)


def test_the_pid_file_is_the_number_of_a_session_of_its_own(world: World, folder: Folder) -> None:
    with DropIn(world, folder) as server:
        assert server.pid is not None
        assert (folder.path / "aardvark.pid").read_text() == str(server.pid)
        assert os.getsid(server.pid) == server.pid
        assert sorted(os.listdir(folder.path)) == ["aardvark.pid", "backend", "mynet", "vault%int"]


def test_nothing_of_the_caller_stays_open(world: World, folder: Folder) -> None:
    """The lock of netavark and the pipes of conmon would be held for as long as we run."""
    reading, writing = os.pipe()
    with DropIn(world, folder, pass_fds=[writing]) as server:
        os.close(writing)
        ready, _, _ = select.select([reading], [], [], 5)
        assert ready
        assert os.read(reading, 1) == b""
        os.close(reading)
        places = {number: os.readlink(f"/proc/{server.pid}/fd/{number}") for number in (0, 1, 2)}
        assert set(places.values()) == {os.devnull}
        assert os.readlink(f"/proc/{server.pid}/cwd") == "/"


@pytest.mark.parametrize(("kind", "protocol"), [(socket.SOCK_DGRAM, "udp"), (socket.SOCK_STREAM, "tcp")])
def test_a_taken_port_is_said_and_nothing_stays(
    world: World, folder: Folder, kind: socket.SocketKind, protocol: str
) -> None:
    def take() -> socket.socket:
        taken = socket.socket(socket.AF_INET, kind)
        taken.bind(("172.19.0.1", 53))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        return taken

    with in_namespace(world.host, take), DropIn(world, folder, may_fail=True) as server:
        said = server.parent.stderr
        left = listening(world)
    reason = "IO error: Address already in use (os error 98)"
    assert (server.parent.returncode, folder.pid) == (1, None)
    assert f"Error starting server failed to bind {protocol} listener on 172.19.0.1:53: {reason}\n" in said
    assert said.endswith("Error from child process\n")
    assert left == {f"{protocol} 172.19.0.1:53"}


def test_a_second_one_for_the_same_folder_leaves_the_first_alone(world: World, folder: Folder) -> None:
    with DropIn(world, folder) as first:
        with DropIn(world, folder, may_fail=True) as second:
            assert second.parent.returncode == 1
            assert "failed to bind udp listener on [fd00:18::1]:53: IO error: Address already in use" in (
                second.parent.stderr
            )
        assert folder.pid == first.pid
        assert first.answers(world, "web", "172.18.0.1", "db").status == "NOERROR"


def test_an_address_that_is_not_there_is_said(world: World, folder: Folder) -> None:
    folder.write(mynet="172.18.0.99\n")
    with DropIn(world, folder, may_fail=True) as server:
        assert server.parent.returncode == 1
        reason = "IO error: Cannot assign requested address (os error 99)"
        assert f"failed to bind udp listener on 172.18.0.99:53: {reason}" in server.parent.stderr


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "has no network file, so there is nothing to listen at"),
        ({"mynet": ""}, "mynet: is empty, and so has no address to listen at; what the file said last stays"),
    ],
)
def test_without_a_network_there_is_nothing_to_serve(
    world: World, tmp_path: Path, files: dict[str, str], said: str
) -> None:
    folder = Folder(tmp_path / "none")
    folder.write(**files)
    with DropIn(world, folder, may_fail=True) as server:
        assert (server.parent.returncode, folder.pid) == (1, None)
        assert said in server.parent.stderr


def test_a_bad_search_domain_is_refused(world: World, folder: Folder) -> None:
    with DropIn(world, folder, more=["--filter-search-domain", "two words"], may_fail=True) as server:
        assert server.parent.returncode == 1
        assert "--filter-search-domain: 'two words' has a space" in server.parent.stderr


@pytest.mark.parametrize("why", ["terminate", "last network"])
def test_it_ends_in_order(world: World, folder: Folder, why: str) -> None:
    with DropIn(world, folder) as server:
        if why == "terminate":
            server.terminate()
        else:
            for name in ("mynet", "backend", "vault%int"):
                folder.remove(name)
            server.hang_up()
        assert server.ended() == 0
        assert folder.pid is None
        assert listening(world) == set()


def test_a_network_that_comes_at_the_last_moment_is_served(tmp_path: Path) -> None:
    """netavark has found our number before we took it away, and tells us of its new file."""
    folder = Folder(tmp_path / "aardvark-dns")
    folder.write(blue="127.0.0.41\n")
    port = free_port("127.0.0.42")
    arrived: list[str] = []

    class Late(Aardvark):
        def _remove_pid(self) -> None:
            super()._remove_pid()
            if not arrived:
                arrived.append("red")
                folder.write(red="127.0.0.42\n0a 127.0.0.43  late\n")

    async def main() -> dns.message.Message:
        server = Late(folder.path, port, None, tmp_path / "resolv.conf")
        ready = asyncio.Event()
        running = asyncio.get_running_loop().create_task(server.run(ready.set))
        await ready.wait()
        folder.remove("blue")
        os.kill(os.getpid(), signal.SIGHUP)
        query = dns.message.make_query("late.", "A")
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(dns.exception.Timeout, OSError):
                    reply = await asyncio.to_thread(dns.query.udp, query, "127.0.0.42", 0.2, port)
                    break
        assert folder.pid == os.getpid()
        os.kill(os.getpid(), signal.SIGTERM)
        await running
        return reply

    reply = asyncio.run(main())
    assert [rdata.to_text() for rrset in reply.answer for rdata in rrset] == ["127.0.0.43"]
    assert folder.pid is None


def test_a_pid_file_of_somebody_else_is_left(world: World, folder: Folder) -> None:
    with DropIn(world, folder) as server:
        (folder.path / "aardvark.pid").write_text("1")
        server.terminate()
        assert server.ended() == 0
        assert folder.pid == 1


def test_names_come_and_go_with_a_hangup(world: World, folder: Folder) -> None:
    with DropIn(world, folder) as server:
        text = network_file("mynet")
        folder.write(mynet=text + f"{'f' * 64} 172.18.0.77  New,other\n")
        server.hang_up()
        await_reply(lambda: server.answers(world, "web", "172.18.0.1", "new"), lambda reply: bool(reply.answer))
        assert server.answers(world, "web", "172.18.0.1", "OTHER").rdata == ["172.18.0.77"]
        folder.write(mynet=text)
        server.hang_up()
        await_reply(lambda: server.answers(world, "web", "172.18.0.1", "other"), lambda reply: not reply.answer)


def test_listeners_follow_the_files(world: World, folder: Folder) -> None:
    folder.remove("backend")
    with DropIn(world, folder) as server:
        assert listening(world) == ALL - sockets_of("172.19.0.1")
        folder.write(backend=network_file("backend"))
        server.hang_up()
        world.wait(lambda: listening(world) == ALL, "the new listener")
        folder.write(mynet=network_file("mynet").replace(",fd00:18::1", ""))
        folder.remove("vault%int")
        server.hang_up()
        world.wait(lambda: listening(world) == sockets_of("172.18.0.1", "172.19.0.1"), "the old listeners' end")
        assert server.answers(world, "cache", "172.19.0.1", "db").rdata == ["172.19.0.2"]


def test_an_address_that_moves_to_another_network_is_served_on(world: World, folder: Folder) -> None:
    """As when a network is made anew under another name."""
    with DropIn(world, folder) as server:
        folder.remove("backend")
        folder.write(anew="172.19.0.1\naa 172.19.0.3  cache\nbb 172.19.0.9  fresh\n")
        server.hang_up()
        reply = await_reply(
            lambda: server.answers(world, "cache", "172.19.0.1", "fresh"), lambda reply: bool(reply.answer)
        )
        assert reply.rdata == ["172.19.0.9"]
        assert listening(world) == ALL


def test_an_address_that_comes_late_is_bound_late(world: World, folder: Folder) -> None:
    """The networks that can be served are, and the other one as soon as it can be."""
    with DropIn(world, folder) as server:
        folder.write(late="172.18.0.98\naa 172.18.0.3  web\ncc 172.18.0.96  slow\n")
        server.hang_up()
        await_reply(lambda: server.answers(world, "web", "172.18.0.1", "slow"), lambda reply: bool(reply.answer))
        world.host_run("ip", "address", "add", "172.18.0.98/16", "dev", "br-mynet")
        try:
            world.wait(lambda: sockets_of("172.18.0.98") <= listening(world), "the late listener")
        finally:
            world.host_run("ip", "address", "delete", "172.18.0.98/16", "dev", "br-mynet")


def test_a_new_ipv6_address_is_waited_for(world: World, folder: Folder) -> None:
    """For a second or two the kernel looks for others who have it, and lets nobody bind it."""
    folder.write(mynet="fd00:18::99\n0a 172.18.0.3  web\n")
    add = "ip address add fd00:18::99/64 dev br-mynet && ip address show to fd00:18::99"
    try:
        assert "tentative" in world.host_run("sh", "-c", add).stdout
        with DropIn(world, folder) as server:
            assert server.answers(world, "host", "fd00:18::99", "web").rdata == ["172.18.0.3"]
    finally:
        world.host_run("ip", "address", "delete", "fd00:18::99/64", "dev", "br-mynet")


def test_a_listen_address_may_be_link_local(world: World, folder: Folder) -> None:
    listed = world.host_run("ip", "-o", "-6", "address", "show", "dev", "br-mynet", "scope", "link").stdout
    address = f"{listed.split()[3].partition('/')[0]}%br-mynet"
    folder.write(mynet=f"{address}\n0a 172.18.0.3  web\n")
    with DropIn(world, folder) as server:
        assert server.answers(world, "host", address, "web").rdata == ["172.18.0.3"]
        assert server.answers(world, "host", address, "+tcp", "web").rdata == ["172.18.0.3"]


def test_a_query_in_flight_outlives_its_network(world: World, folder: Folder) -> None:
    folder.write(backend=network_file("backend", servers="127.0.0.91"))
    with Oracle(world, "127.0.0.91", None) as slow, DropIn(world, folder) as server:
        query = dns.message.make_query("late.example.test.", "A")
        with world.socket("cache", socket.SOCK_DGRAM) as client:
            client.settimeout(10)
            client.connect(("172.19.0.1", 53))
            client.send(query.to_wire())
            world.wait(lambda: slow.names(), "the query at the upstream")
            folder.remove("backend")
            server.hang_up()
            # Asked anew, the name is unknown to everybody: the reload is through.
            await_reply(lambda: server.answers(world, "web", "172.18.0.1", "cache"), lambda reply: not reply.answer)
            slow.answer = "192.0.2.91"
            reply = dns.message.from_wire(client.recv(4096))
    assert [rdata.to_text() for rrset in reply.answer for rdata in rrset] == ["192.0.2.91"]


@pytest.mark.parametrize("cut", ["", "172.18.0.1,fd00:1", "172.18.0.1\n01 172.18.0.9  x\n45 172.18", "a b c\n"])
def test_a_half_written_file_changes_nothing(world: World, folder: Folder, cut: str) -> None:
    """Its network's last good state serves on while the others follow their files."""
    with DropIn(world, folder) as server:
        folder.write(mynet=cut, backend=network_file("backend") + "dd 172.19.0.44  mark\n")
        server.hang_up()
        await_reply(lambda: server.answers(world, "cache", "172.19.0.1", "mark"), lambda reply: bool(reply.answer))
        assert server.answers(world, "web", "172.18.0.1", "web", "AAAA").rdata == ["fd00:18::3"]
        assert listening(world) == ALL
        folder.write(mynet=network_file("mynet") + "ee 172.18.0.44  whole\n")
        server.hang_up()
        await_reply(lambda: server.answers(world, "web", "172.18.0.1", "whole"), lambda reply: bool(reply.answer))


def test_the_wrapper_is_the_program_under_its_other_name(world: World, folder: Folder) -> None:
    with DropIn(world, folder, program=[str(WRAPPER)], env={"PYDNS": PYDNS}) as server:
        assert server.parent.returncode == 0
        assert server.answers(world, "web", "172.18.0.1", "db").status == "NOERROR"


def test_the_wrapper_finds_pydns_by_path() -> None:
    environment = {"PATH": f"{Path(PYDNS).parent}:/usr/bin:/bin"}
    told = subprocess.run([WRAPPER, "version"], env=environment, capture_output=True, text=True, check=True).stdout
    assert json.loads(told)["program"] == "pydns"


def test_it_says_which_program_it_is() -> None:
    command = OURS[1]
    assert set(json.loads(pydns(command, "version").stdout)) >= {"version", "commit", "build_time", "target"}
    assert pydns(command, "-V").stdout.startswith("pydns as aardvark-dns, version ")
    assert pydns(command, "--version").stdout == pydns(command, "-V").stdout


def test_it_logs_to_syslog_as_loudly_as_rust_log_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_aardvark, "SYSLOG", str(tmp_path / "log"))
    monkeypatch.setenv("RUST_LOG", "ERROR")
    root = logging.getLogger()
    before = root.handlers[:], root.level
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(tmp_path / "log"))
        log.settimeout(5)
        root.handlers[:] = []
        try:
            assert cli_aardvark.log_to_syslog()
            logging.getLogger("resolver.aardvark").warning("not heard")
            logging.getLogger("resolver.aardvark").error("a bad file")
            for handler in root.handlers:
                handler.close()
        finally:
            root.handlers[:], root.level = before
        assert log.recv(1000).decode().rstrip("\0") == f"<11>aardvark-dns[{os.getpid()}]: pydns: a bad file"


def test_run_needs_a_folder() -> None:
    done = pydns("aardvark", "run")
    assert (done.returncode, done.stdout) == (2, "")
    assert "run needs --config DIR" in done.stderr
