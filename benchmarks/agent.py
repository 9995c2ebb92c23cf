"""What an agent costs with hundreds of real namespaces: attaching, memory, idling, its restarts (root).

    .venv/bin/python -m benchmarks.agent [--namespaces 500] [--idle 60] [--json FILE]

The namespaces have loopback and nothing else; the registry is one network with an endpoint for each. Everything is
made under names of this process and taken away again, also after a failure.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[1]
_TOOK = re.compile(r": attached in ([0-9.]+) ms$", re.MULTILINE)
_TICKS = os.sysconf("SC_CLK_TCK")


class Namespaces:
    """As many named namespaces as are asked for, and a registry that knows each."""

    def __init__(self) -> None:
        self.prefix = f"pydns-bench{os.getpid()}-"
        self.folder = Path(tempfile.mkdtemp(prefix=self.prefix))
        self.names: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # one by one by exact name; a name that is gone already is no error
        batch = "".join(f"netns delete {name}\n" for name in self.names)
        subprocess.run(["ip", "-force", "-batch", "-"], input=batch, text=True, capture_output=True, check=False)
        for name in self.names:
            shutil.rmtree(Path("/etc/netns") / name, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def grow(self, count: int) -> None:
        """Make more of them until there are so many."""
        fresh = [f"{self.prefix}{number}" for number in range(len(self.names), count)]
        self.names += fresh
        batch = "".join(f"netns add {name}\n" for name in fresh)
        subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)

    def register(self, count: int) -> Path:
        """The path of a registry with so many endpoints."""
        lines = ['[networks.bench]\nsubnets = ["10.64.0.0/16"]\ngateways = ["10.64.0.1"]\n']
        for number in range(count):
            address = f"10.64.{number // 250 + 1}.{number % 250 + 1}"
            lines.append(f'[networks.bench.endpoints."{self.prefix}{number}"]\naddresses = ["{address}"]\n')
        path = self.folder / "networks.toml"
        path.write_text("\n".join(lines))
        return path


class Agent:
    """A running `pydns agent` over the namespaces."""

    def __init__(self, namespaces: Namespaces, registry: Path) -> None:
        resolv_conf = namespaces.folder / "resolv.conf"
        resolv_conf.write_text("nameserver 127.0.0.1\n")
        self._log_path = namespaces.folder / "agent.log"
        self._log = self._log_path.open("wb")
        command = [sys.executable, "-m", "resolver", "agent", "--netns", f"{namespaces.prefix}*", "-v"]
        command += ["--registry", str(registry), "--resolv-conf", str(resolv_conf), "--metrics", "off"]
        self.started = time.monotonic()
        self._process = subprocess.Popen(command, cwd=ROOT, stderr=self._log)

    def text(self) -> str:
        return self._log_path.read_text(errors="replace")

    def wait_attached(self, count: int, within_s: float = 120.0) -> float:
        """Seconds since the start until so many have been attached."""
        self.wait_for(lambda: len(self.times()) >= count, within_s)
        return time.monotonic() - self.started

    def wait_ready(self) -> float:
        self.wait_for(lambda: "pydns: ready:" in self.text(), 120)
        return time.monotonic() - self.started

    def wait_for(self, holds: Callable[[], bool], within_s: float) -> None:
        deadline = time.monotonic() + within_s
        while not holds():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the agent did not come so far:\n{self.text()[-2000:]}")
            time.sleep(0.01)

    def times(self) -> list[float]:
        """How long each attaching took, in ms."""
        return [float(found) for found in _TOOK.findall(self.text())]

    def status(self, field: str) -> int:
        text = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.search(rf"^{field}:\s+(\d+)", text, re.MULTILINE)[1])  # type: ignore[index]

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self._process.pid}/fd").iterdir()))

    def cpu_s(self) -> float:
        """User and system time, that of its finished children too."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(int(field) for field in fields[11:15]) / _TICKS

    def stop(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Seconds that it takes to end."""
        began = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        self._process.wait(60)
        self._log.close()
        return time.monotonic() - began


def kernel_kb() -> int:
    """What the kernel holds for all of us: slabs and per-CPU memory."""
    text = Path("/proc/meminfo").read_text()
    return sum(int(found) for found in re.findall(r"^(?:Slab|Percpu):\s+(\d+)", text, re.MULTILINE))


def p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]


def measure(count: int, idle_s: float) -> dict[str, float]:
    figures: dict[str, float] = {"namespaces": count}
    few = max(count // 10, 1)
    singles = 20
    with Namespaces() as namespaces, contextlib.ExitStack() as undo:
        registry = namespaces.register(count + singles)

        def start() -> Agent:
            agent = Agent(namespaces, registry)
            undo.callback(agent.stop, signal.SIGKILL)
            return agent

        namespaces.grow(few)
        agent = start()
        agent.wait_ready()
        time.sleep(1)
        rss_few = agent.status("VmRSS")
        agent.stop()

        namespaces.grow(count)
        kernel_before = kernel_kb()
        agent = start()
        figures["start to ready, s"] = agent.wait_ready()
        bulk = agent.times()
        figures["bulk attach, median ms"], figures["bulk attach, p95 ms"] = statistics.median(bulk), p95(bulk)
        figures["CPU for the start, s"] = agent.cpu_s()
        time.sleep(1)
        figures["RSS, MB"] = agent.status("VmRSS") / 1024
        figures["RSS for each further namespace, KB"] = (agent.status("VmRSS") - rss_few) / (count - few)
        figures["kernel for each namespace attached, KB"] = (kernel_kb() - kernel_before) / count
        figures["descriptors for each namespace"] = agent.descriptors() / count
        figures["threads"] = agent.status("Threads")

        for number in range(singles):
            known = len(agent.times())
            namespaces.grow(count + number + 1)
            agent.wait_attached(known + 1)
        single = agent.times()[-singles:]
        figures["single attach, median ms"], figures["single attach, p95 ms"] = statistics.median(single), p95(single)

        before, began = agent.cpu_s(), time.monotonic()
        time.sleep(idle_s)
        figures["CPU while idle, s for each minute"] = (agent.cpu_s() - before) * 60 / (time.monotonic() - began)

        figures["SIGTERM to exit, s"] = agent.stop()
        agent = start()
        figures["start after SIGTERM to ready, s"] = agent.wait_ready()
        agent.stop(signal.SIGKILL)
        agent = start()
        figures["start after SIGKILL to ready, s"] = agent.wait_ready()
        agent.stop()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--namespaces", type=int, default=500)
    parser.add_argument("--idle", type=float, default=60.0, help="seconds of idling to measure")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    figures = measure(options.namespaces, options.idle)
    for name, value in figures.items():
        print(f"| {name} | {value:.4g} |")
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
