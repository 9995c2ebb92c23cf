"""The daemon of these tests: cut off from the machine and the world, and gone without a trace whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docker import remains
from tests.docker.daemon import Daemon, DaemonError
from tests.docker.image import BASE
from tests.docker.upstream import FOR_DOCKER, MARKS
from tests.netns.world import wait_until
from tests.scenarios.live import ROOT

pytestmark = pytest.mark.root

CRASHING = """\
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # who starts the tests may have it ignored
from tests.docker.daemon import Daemon
daemon = Daemon().__enter__()
daemon.docker("run", "--detach", "--name", "left", "--network", "none", "pydns-test/base")
print(daemon.folder, flush=True)
time.sleep(600)
"""


def links() -> str:
    return subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout


def test_a_container_is_asked_from_this_machine_and_answers_from_docker(daemon: Daemon) -> None:
    daemon.docker("network", "create", "asked-net")
    daemon.docker("run", "--detach", "--name", "asked", "--network", "asked-net", BASE)
    address = daemon.get("/containers/asked/json")["NetworkSettings"]["Networks"]["asked-net"]["IPAddress"]
    assert daemon.inside("asked", "dig", "+short", "@127.0.0.11", "asked") == address
    assert address in daemon.docker("exec", "asked", "nslookup", "asked")
    assert f"inet {address}/" in daemon.inside("asked", "ip", "address", "show", "eth0")


def test_what_leaves_a_container_meets_the_marked_upstream_over_udp_and_tcp(daemon: Daemon) -> None:
    daemon.docker("network", "create", "leaking-net")
    daemon.docker("run", "--detach", "--name", "leaking", "--network", "leaking-net", BASE)
    dig = ("dig", "+short", "@127.0.0.11", "away.example")
    assert daemon.inside("leaking", *dig) == MARKS["A"]
    assert daemon.inside("leaking", *dig, "+tcp", "TXT") == MARKS["TXT"]
    seen = {(asked.rtype, asked.over_tcp) for asked in daemon.upstream.asked if asked.name == "away.example"}
    assert seen == {("A", False), ("TXT", True)}
    assert "away.example" in daemon.upstream.names(FOR_DOCKER)


def test_there_is_no_way_out_of_the_daemons_network(daemon: Daemon) -> None:
    for family in ("-4", "-6"):
        assert "default" not in daemon.on_host("ip", family, "route", "show", "table", "all")
    assert "upstream" in daemon.on_host("ip", "-o", "link")


def test_the_machine_sees_nothing_of_it_but_its_name(daemon: Daemon) -> None:
    bridge = f"br-{daemon.docker('network', 'create', 'unseen')[:12]}"
    assert bridge in daemon.on_host("ip", "-o", "link")
    assert bridge not in links()
    assert str(daemon.folder) not in Path("/proc/self/mountinfo").read_text()
    assert daemon.name in os.listdir("/run/netns")
    key = Path("/etc/docker/key.json")  # that of another dockerd may be there
    assert not key.exists() or key.stat().st_mtime < (daemon.folder / "daemon.json").stat().st_mtime


def test_a_failing_command_says_what_docker_said(daemon: Daemon) -> None:
    with pytest.raises(DaemonError, match="No such container: nobody"):
        daemon.docker("start", "nobody")
    with pytest.raises(DaemonError, match=r"404 .*No such container: nobody"):
        daemon.get("/containers/nobody/json")


def test_a_daemon_that_was_stopped_or_killed_starts_again_with_what_it_had() -> None:
    with Daemon() as second:
        second.docker("network", "create", "kept")
        second.docker("run", "--detach", "--name", "restarted", "--restart", "always", "--network", "kept", BASE)
        for end in (second.stop, second.kill):
            end()
            with pytest.raises(OSError, match=r"refused|No such file"):
                second.get("/_ping")
            second.start()
            wait_until(lambda: second.get("/containers/restarted/json")["State"]["Running"], 20, "it runs again")
            answer = second.inside("restarted", "dig", "+short", "@127.0.0.11", "restarted")
            networks = second.get("/containers/restarted/json")["NetworkSettings"]["Networks"]
            assert answer == networks["kept"]["IPAddress"]
        second.clear()
        assert second.get("/containers/json?all=1") == []
        assert {network["Name"] for network in second.get("/networks")} == {"bridge", "host", "none"}


def test_nothing_is_left_of_a_daemon_that_was_closed() -> None:
    with Daemon() as second:
        second.docker("network", "create", "--internal", "inner")
        second.docker("run", "--detach", "--name", "running", "--network", "inner", BASE)
        second.docker("run", "--detach", "--name", "paused", BASE)
        second.docker("pause", "paused")
        assert len(remains.processes(second.name)) >= 4
    assert remains.left(second.folder) == []


def test_nothing_is_left_of_a_daemon_that_died_first() -> None:
    with Daemon() as second:
        second.docker("run", "--detach", "--name", "running", BASE)
        os.kill(second.pid, signal.SIGKILL)
    assert remains.left(second.folder) == []


def test_a_daemon_that_cannot_start_says_why_and_leaves_nothing() -> None:
    second = Daemon("--no-such-option")
    with pytest.raises(DaemonError, match=r"(?s)ended with .*no-such-option"):
        second.__enter__()
    assert remains.left(second.folder) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_the_next_run_takes_away_what_a_killed_one_has_left(how: signal.Signals) -> None:
    run = subprocess.Popen([sys.executable, "-c", CRASHING], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    with run.stdout:
        folder = Path(run.stdout.readline().strip())
    assert remains.left(folder) != []
    assert folder.name not in remains.sweep(folder.parent)  # its owner lives
    assert f"process {run.pid}" not in remains.left(folder)
    run.send_signal(how)
    run.wait(30)
    if how == signal.SIGINT:
        assert remains.left(folder) == []
    else:
        remains.sweep(folder.parent)
        wait_until(lambda: not folder.exists(), 10, "the sweep of this run, or of another one on the machine")
    assert remains.left(folder) == []


def test_the_last_daemon_takes_away_what_another_one_made_for_all(tmp_path: Path) -> None:
    mount_point = tmp_path / "etc-docker"
    mount_point.mkdir()
    first, second = (tmp_path / f"{remains.PREFIX}{number}" for number in (1, 2))
    for folder in (first, second):
        folder.mkdir()
    (first / remains.MADE).write_text(str(mount_point))
    remains.remove(first)
    assert mount_point.exists()
    remains.remove(second)
    assert list(tmp_path.iterdir()) == []
