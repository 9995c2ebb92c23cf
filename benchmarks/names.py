"""Names that a server holds itself: every server on the same names, under each workload.

All servers of a size run at once, each on a port of its own and together on one core; dnsperf drives one at a time
from another, in turns: to saturation, and for hot names at fixed rates too, where it notes each answer's time. The
limit is a C loop that answers without looking (benchmarks/peers/echo.c). Whose answers are wrong has no figures.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.dnsperf import drive
from benchmarks.errors import BenchError
from benchmarks.figures import SATURATED, Found, Row, Start
from benchmarks.machine import cores
from benchmarks.peers import names as peers
from benchmarks.peers.files import Registry
from benchmarks.servers import Server, free_port
from benchmarks.spot_check import wrong
from benchmarks.workloads import SUFFIX, SUFFIXES, Workload

RATED = "hot"
"""The workload that is asked at fixed rates too."""


@dataclass(frozen=True, slots=True)
class Turns:
    """How often and how long each server is driven, and at which rates."""

    rounds: int
    seconds: float
    rates: Sequence[int]


def shortly(error: BenchError) -> str:
    """What happened, and the last line of what the program said."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " … ".join(dict.fromkeys((lines[0], lines[-1]))) if lines else "it did not say why"


@dataclass(slots=True)
class Held:
    """The servers of one size that have come up."""

    registry: Registry
    servers: list[Server] = field(default_factory=list)
    first_answers_s: dict[str, float] = field(default_factory=dict)

    def start(
        self,
        makes: Mapping[str, peers.Make],
        backend_port: int,
        within_s: float,
        found: Found,
        stack: contextlib.ExitStack,
    ) -> None:
        """Start everybody; who does not come up is left out, with a word. The stack ends them."""
        for name, make in makes.items():
            port = backend_port if name == peers.BACKEND else free_port()
            try:
                server = peers.holder(name, make, port, self.registry, cores()[0], within_s)
                stack.callback(server.stop)
                self.first_answers_s[name] = server.start()
            except BenchError as error:
                found.left_out[f"{name}, {self.registry.count:,} names"] = shortly(error)
                print(f"left out with {self.registry.count:,} names: {error}", file=sys.stderr, flush=True)
                continue
            self.servers.append(server)

    def weigh(self, found: Found) -> None:
        """Note how everybody came up and what it weighs now."""
        for server in self.servers:
            rss_mb = server.memory_kb()["rss"] / 1024
            found.starts.append(Start(self.registry.count, server.name, self.first_answers_s[server.name], rss_mb))


def measure(held: Held, workloads: Sequence[Workload], turns: Turns, found: Found) -> None:
    """Drive everybody under each workload, in turns."""
    rows: dict[tuple[str, int, str], Row] = {}
    for workload in workloads:
        if held.registry.count < workload.least:
            continue
        for server in held.servers:
            if why := workload.left_out.get(server.name):
                found.left_out[f"{server.name}, {workload.name}"] = why
                continue
            for rate in (SATURATED, *turns.rates) if workload.name == RATED else (SATURATED,):
                row = Row("names", workload.name, held.registry.count, server.name, rate)
                rows[workload.name, rate, server.name] = row
            if server.name != peers.LIMIT and not workload.is_once:
                suffix = SUFFIXES.get(server.name, SUFFIX)
                if fault := wrong(server, workload, held.registry, suffix):
                    row.faults.append(fault)
    found.rows += rows.values()
    for number in range(turns.rounds):
        for workload in workloads:
            if number and workload.is_once:
                continue
            with contextlib.ExitStack() as files:
                asked = Asked(workload, held.registry, number, files)
                for rate in (SATURATED, *turns.rates):
                    for server in held.servers[:: 1 if number % 2 == 0 else -1]:
                        driven = rows.get((workload.name, rate, server.name))
                        if driven is not None and not driven.faults:
                            _turn(server, driven, asked, turns.seconds)


@dataclass(slots=True)
class Asked:
    """The questions of one workload in one round, written when they are needed and removed by the stack."""

    workload: Workload
    registry: Registry
    number: int
    files: contextlib.ExitStack
    written: dict[str, tuple[Path, list[str]]] = field(default_factory=dict)

    def of(self, server: str) -> tuple[Path, list[str]]:
        """The file for one server and dnsperf's flags."""
        suffix = SUFFIXES.get(server, SUFFIX)
        if suffix not in self.written:
            path = self.registry.folder / f"asked-{self.workload.name}-{suffix}"
            self.files.callback(path.unlink, missing_ok=True)
            seed = f"{self.workload.name} {self.number if self.workload.is_fresh else 0}"
            self.written[suffix] = path, self.workload.write(path, self.registry, seed, suffix)
        return self.written[suffix]


def _turn(server: Server, row: Row, asked: Asked, seconds: float) -> None:
    path, flags = asked.of(server.name)
    if row.rate:
        flags = [*flags, "-Q", str(row.rate), "-v"]
    longest = max(seconds, 60.0) if asked.workload.is_once else seconds
    run = drive(server, path, longest, cores()[1], (), *flags)
    row.add(run, run.wrong("NOERROR" if server.name == peers.LIMIT else asked.workload.rcode))
