"""The benchmarks run at all, with tiny parameters, and take everything away that they made."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.errors import BenchError
from benchmarks.forward_latency import Condition, measure
from benchmarks.lab import Lab
from benchmarks.peers.forwarders import MAKES, pydns_with
from benchmarks.servers import Server, free_port, udp_to

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


def test_names_held(tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    words = ("--counts=10", "--rates=500", "--rounds=1", "--seconds=0.3", "--only=C echo,pydns,dnsmasq")
    process = bench(tmp_path, "benchmarks.names", *words, f"--json={found}")
    shown, said = process.communicate(timeout=80)
    assert process.returncode == 0, shown + said
    for name, figures in json.loads(found.read_text())["names"]["10"].items():
        assert "faults" not in figures, f"{name}: {figures}\n{said}"
        assert figures["saturated"]["qps"] > 0, name
        assert figures["500"]["p99_us"] > 0, name


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    port = free_port()
    command = ["sh", "-c", "echo no such thing >&2; exit 3"]
    server = Server("broken", command, port, udp_to("127.0.0.1", port), tmp_path / "log")
    with pytest.raises(BenchError, match="broken gave no answer:\nno such thing"):
        server.start()
    assert server.process is None
