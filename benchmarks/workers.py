"""`python -m benchmarks.workers`: what `pydns serve --workers N` answers a second, with 1 and more.

The load needs CPUs as well, and answers from the compiled lane cost no more than dnsperf's questions: on a machine of
two cores a second worker then only takes from dnsperf. Unknown names, which are decided in Python each time, show what
it brings.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import meter
from benchmarks.dnsperf import Run, drive
from benchmarks.errors import BenchError
from benchmarks.servers import ending_with_us

NAMES = 100
CLIENTS = 40
"""Ports that dnsperf asks from: the kernel deals them out."""
UNDER_WAY = 1000
"""Queries at once; of few, all would soon wait for the one worker that has no CPU just now."""
WITHIN_S = 30.0
UNKNOWN = 300_000
WORKLOADS: dict[str, tuple[str, tuple[str, ...]]] = {
    "hot names over UDP": ("NOERROR", ()),
    "hot names over TCP": ("NOERROR", ("-m", "tcp")),
    "unknown names over UDP": ("NXDOMAIN", ()),
}
"""What is expected, and further flags of dnsperf's."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server, for as long as it is measured."""

    process: subprocess.Popen[bytes]
    port: int
    address: str = "127.0.0.1"

    def cpu_s(self) -> float:
        """User and system time of all its processes so far."""
        return meter.cpu_s(self.process.pid)


@contextmanager
def serving(folder: Path, workers: int) -> Iterator[Running]:
    """A `pydns serve` with so many workers."""
    registry, log, conf = folder / "networks.toml", folder / "log", folder / "resolv.conf"
    lines = ['[networks.bench]\nsubnets = ["10.0.0.0/8"]']
    lines += [f'[networks.bench.endpoints.n{number}]\naddresses = ["10.0.0.{number + 1}"]' for number in range(NAMES)]
    registry.write_text("\n".join(lines) + "\n")
    conf.write_text("# nobody\n")
    command = [*ending_with_us(), sys.executable, "-m", "resolver.cli.main", "serve", "--listen", "127.0.0.1:0"]
    command += ["--registry", str(registry), "--resolv-conf", str(conf), "--metrics", "off", "--workers", str(workers)]
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=stderr, start_new_session=True)
    try:
        deadline = time.monotonic() + WITHIN_S
        while " ready: " not in (said := log.read_text()):
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"pydns is not ready:\n{said}")
            time.sleep(0.01)
        yield Running(process, int(said.partition("127.0.0.1:")[2].split()[0]))
    finally:
        process.terminate()
        process.wait(WITHIN_S)


def measured(folder: Path, workers: int, workload: str, seconds: float) -> Run:
    """One run; raises BenchError when it is no measurement."""
    rcode, flags = WORKLOADS[workload]
    names, prefix = (NAMES, "n") if rcode == "NOERROR" else (UNKNOWN, "nobody-")
    queries = folder / "queries"
    queries.write_text("".join(f"{prefix}{number} A\n" for number in range(names)))
    flags = ("-c", str(CLIENTS), "-q", str(UNDER_WAY), *flags)
    with serving(folder, workers) as server:
        drive(server, queries, 1.0, None, (), *flags)
        run = drive(server, queries, seconds, None, (), *flags)
    if fault := run.wrong(rcode):
        raise BenchError(f"{workers} workers: {fault}")
    return run


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers", description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved; medians are printed")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run")
    given = parser.parse_args()
    print(f"{len(os.sched_getaffinity(0))} CPUs, shared by dnsperf and the server; medians of {given.rounds} rounds")
    with tempfile.TemporaryDirectory() as folder:
        for workload in WORKLOADS:
            runs: dict[int, list[Run]] = {workers: [] for workers in given.workers}
            for _ in range(given.rounds):
                for workers, found in runs.items():
                    found.append(measured(Path(folder), workers, workload, given.seconds))
            for workers, found in runs.items():
                qps, cpu_us = median(run.qps for run in found), median(run.cpu_us for run in found)
                print(f"{workload}, workers = {workers}: {qps:,.0f} queries/s, {cpu_us:.1f} µs of CPU each")


if __name__ == "__main__":
    main()
