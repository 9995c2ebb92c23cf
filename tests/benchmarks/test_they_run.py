"""The benchmarks run at all, with tiny parameters, and take everything away that they made."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.changers import CHANGERS
from benchmarks.docker_churn import NAME as BY_EVENTS
from benchmarks.errors import BenchError
from benchmarks.forward_latency import Condition, measure
from benchmarks.lab import Lab
from benchmarks.peers.forwarders import MAKES, pydns_with
from benchmarks.peers.names import AARDVARK_NAME
from benchmarks.servers import Server, free_port, udp_to
from benchmarks.workloads import WORKLOADS

ROOT = Path(__file__).resolve().parents[2]
PYDNS = str(Path(sys.executable).with_name("pydns"))
_PREFIX = "pydns-bench-"


def namespaces_of(pid: int) -> list[str]:
    """Those that a benchmark of this process id has made."""
    return [path.name for path in Path("/run/netns").glob(f"{_PREFIX}{pid}-*")]


def bench(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Start one that keeps its files in a folder below this one."""
    return subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.root
def test_cpu_of_forwarding(tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    process = bench(tmp_path, "benchmarks.forward", "--only=cpu", "--rounds=1", "--seconds=0.3", f"--json={found}")
    shown, said = process.communicate(timeout=80)
    assert process.returncode == 0, shown + said
    results = json.loads(found.read_text())
    for name in ("pydns", "dnsmasq", "unbound"):
        kinds = results["cpu"][name]
        assert kinds["misses"]["upstream_queries_per_answer"] >= 0.999, name
        assert kinds["hits"]["upstream_queries_per_answer"] <= 0.001, name
        assert f"| {name} | " in shown
    assert results["machine"]["kernel"] == os.uname().release
    assert namespaces_of(process.pid) == []


@pytest.mark.root
def test_waits_with_a_silent_first_upstream(tmp_path: Path) -> None:
    makes = {"pydns": pydns_with(PYDNS), "dnsmasq": MAKES["dnsmasq"]}
    conditions = (Condition("fine"), Condition("silent", first_is_silent=True))
    with Lab(tmp_path, None, 10.0) as lab:
        results = measure(lab, makes, 20, 1.0, False, conditions)
    for name in makes:
        fine = results["fine"][name]
        assert len(fine.seconds) == 20
        assert fine.failures == {}
        assert fine.seconds[0] >= 0.010, "the relay holds replies back"
    assert results["silent"]["pydns"].failures == {}
    assert namespaces_of(os.getpid()) == []


def test_workers(tmp_path: Path) -> None:
    process = bench(tmp_path, "benchmarks.workers", "--rounds=1", "--seconds=0.3", "--workers", "1", "2")
    shown, said = process.communicate(timeout=80)
    assert process.returncode == 0, shown + said
    for workload in ("hot names over UDP", "hot names over TCP", "unknown names over UDP"):
        for workers in (1, 2):
            assert f"{workload}, workers = {workers}: " in shown
    assert list(tmp_path.iterdir()) == []


@pytest.mark.root
def test_it_cleans_up_when_it_is_told_to_end(tmp_path: Path) -> None:
    process = bench(tmp_path, "benchmarks.forward", "--only=cpu")
    deadline = time.monotonic() + 30
    while len(namespaces_of(process.pid)) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(namespaces_of(process.pid)) == 2
    process.send_signal(signal.SIGTERM)
    shown, said = process.communicate(timeout=30)
    assert process.returncode == 143, shown + said
    assert namespaces_of(process.pid) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.root
def test_what_a_killed_one_has_left_the_next_takes_away(tmp_path: Path) -> None:
    process = bench(tmp_path, "benchmarks.forward", "--only=cpu")
    deadline = time.monotonic() + 30
    while len(namespaces_of(process.pid)) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.communicate(timeout=30)
    assert namespaces_of(process.pid) != []
    with Lab(tmp_path, None, 1.0):
        assert namespaces_of(process.pid) == []


def whole(*words: str) -> tuple[int, dict[str, Any], str]:
    """Run the benchmark: its exit status, its results, and all that it said.

    Its folder is a short one: knotd and dockerd put sockets there, whose paths are limited.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = folder / "found.json"
        process = bench(folder, "benchmarks", "--rounds=1", "--seconds=0.3", "--rates=500", *words, f"--json={found}")
        shown, said = process.communicate(timeout=80)
        assert namespaces_of(process.pid) == []
        results = json.loads(found.read_text())
        assert list(folder.iterdir()) == [found]
        return process.returncode, results, shown + said


def test_names_held() -> None:
    words = ("--parts=names", "--sizes=10,1000", "--only=C echo,pydns,pydns in Python,dnsmasq")
    status, results, said = whole(*words)
    assert status == 0, said
    assert not [row for row in results["rows"] if "faults" in row], said
    for size, workloads in ((10, {"hot"}), (1000, set(WORKLOADS))):
        rows = [row for row in results["rows"] if row["size"] == size]
        for server in ("pydns", "pydns in Python", "dnsmasq"):
            found = {row["workload"] for row in rows if row["server"] == server and row["cpu_us"] > 0}
            assert found == workloads - ({"tcp"} if server == "dnsmasq" else set()), f"{server}, {size} names"
    assert all(row["p99_us"] > 0 for row in results["rows"] if row["rate"])
    assert {start["size"] for start in results["starts"]} == {10, 1000}
    assert "| pydns | " in said
    assert results["left_out"]["C echo, tcp"] == "no TCP"


def test_a_registry_that_changes() -> None:
    peers = [name for name in CHANGERS if name != AARDVARK_NAME]
    words = ("--parts=changes", "--sizes=100", "--changes=50", f"--only={','.join(peers)}")
    status, results, said = whole(*words)
    assert status == 0, said
    assert {row["server"] for row in results["rows"]} == {*peers, BY_EVENTS}
    for row in results["rows"]:
        assert row["changes_made"] > 10, row
        assert row["seen_ms"] >= 0, row


@pytest.mark.root
def test_through_dnat() -> None:
    status, results, said = whole("--parts=dnat,starts", "--starts=1")
    assert (status, results["left_out"]) == (0, {}), said
    at_full_speed = {row["server"]: row for row in results["rows"] if row["rate"] == 0}
    assert set(at_full_speed) == {"C echo", "pydns", "pydns in Python", "dockerd"}
    assert all(row["cpu_us"] > 0 for row in at_full_speed.values())
    assert {weight["kind"] for weight in results["pydns"]} == {"pydns serve", "pydns sidecar"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_all_of_it_ends_when_it_is_told_to(number: signal.Signals, tmp_path: Path) -> None:
    process = bench(tmp_path, "benchmarks", "--parts=names", "--sizes=10", "--seconds=30", "--only=C echo,pydns")
    deadline = time.monotonic() + 30
    while not (started := children(process.pid, "dnsperf")) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert started
    servers = children(process.pid, "serve") + children(process.pid, "echo")
    process.send_signal(number)
    shown, said = process.communicate(timeout=30)
    assert process.returncode == 128 + number, shown + said
    assert servers
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in (*started, *servers)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    process = bench(tmp_path, "benchmarks", "--pydns=/nowhere/pydns")
    assert "/nowhere/pydns" in process.communicate(timeout=30)[1]
    assert process.returncode == 2
    process = bench(tmp_path, "benchmarks", "--parts=hot")
    assert "unknown: hot; there are names" in process.communicate(timeout=30)[1]
    assert process.returncode == 2


def test_a_server_that_is_not_up_in_time_is_left_out(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    program = broken / "pydns"
    program.write_text("#!/bin/sh\necho no such thing >&2\nexit 3\n")
    program.chmod(0o755)
    words = ("--parts=names", "--sizes=10", f"--pydns={program}", "--only=pydns in Python,dnsmasq")
    status, results, said = whole(*words)
    assert status == 0, said
    assert "no such thing" in results["left_out"]["pydns in Python, 10 names"]
    assert {row["server"] for row in results["rows"]} == {"dnsmasq"}


def children(pid: int, named: str) -> list[int]:
    """The child processes of one that run a program of this name."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        return [int(one) for one in listed.read_text().split() if named in Path(f"/proc/{one}/cmdline").read_text()]
    except OSError:
        return []


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    port = free_port()
    command = ["sh", "-c", "echo no such thing >&2; exit 3"]
    server = Server("broken", command, port, udp_to("127.0.0.1", port), tmp_path / "log")
    with pytest.raises(BenchError, match="broken gave no answer:\nno such thing"):
        server.start()
    assert server.process is None


def test_a_server_that_is_too_late_is_ended(tmp_path: Path) -> None:
    port = free_port()
    log = tmp_path / "log"
    server = Server("late", ["sleep", "60"], port, udp_to("127.0.0.1", port), log, start_within_s=0.3)
    with pytest.raises(BenchError, match=r"late gave no answer within 0.3 s"):
        server.start()
    assert server.process is None
    assert not server.is_alive
