"""What a benchmark has started ends with it, also when it is killed at the worst moment."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.servers import ending_with_us
from tests.benchmarks.test_they_run import ROOT

_BENCHMARK = """
import sys
from pathlib import Path
from benchmarks.servers import Server, udp_to
folder, forks = Path(sys.argv[1]), sys.argv[2] == "forks"
script = "setsid sleep 600 & echo $! > pid; sleep 0.1" if forks else "echo $$ > pid; exec sleep 600"
Server(
    "peer", ["sh", "-c", script], 9, udp_to("127.0.0.1", 9), folder / "log",
    pid_file=folder / "pid" if forks else None,
).start()
"""


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.parametrize("kind", ["stays", "forks"])
def test_a_peer_ends_with_a_benchmark_that_is_killed(tmp_path: Path, kind: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", _BENCHMARK, str(tmp_path), kind], cwd=ROOT)
    try:
        deadline = time.monotonic() + 20
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        peer = int((tmp_path / "pid").read_text())
        assert is_running(peer)
    finally:
        process.kill()
        process.wait()
    deadline = time.monotonic() + 20
    while is_running(peer):
        assert time.monotonic() < deadline, "the peer has survived"
        time.sleep(0.01)


def test_a_peer_is_not_begun_when_the_benchmark_has_ended_before(tmp_path: Path) -> None:
    """As between the fork and the moment in which the kernel is told to end the one with the other."""
    begun = tmp_path / "begun"
    subprocess.run([*ending_with_us(), "touch", str(begun)], check=True)
    assert begun.exists()
    begun.unlink()
    words = ending_with_us()
    assert str(os.getpid()) == words[-1]
    done = subprocess.run(["sh", "-c", '"$@"; exit $?', "sh", *words, "touch", str(begun)], check=False)
    assert 1 == done.returncode, "its parent is another one than who began it"
    assert not begun.exists()
