"""What a forwarded query and a cache hit cost each forwarder, and whether they were what they are said to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.dnsperf import Run, drive
from benchmarks.lab import FAST, Lab
from benchmarks.machine import cores
from benchmarks.peers.forwarders import Make, forwarder
from benchmarks.servers import Server
from benchmarks.stub import DOMAIN

HOT_NAMES = 100
NAMES_A_SECOND = 60_000
"""More than anyone can forward, so that no name comes twice."""
FIRST_PORT = 5301
MISSES, HITS = "misses", "hits"


@dataclass(slots=True)
class Figures:
    """The runs of one server and kind that were what they should be, and why others were not."""

    runs: list[Run] = field(default_factory=list)
    forwarded: list[float] = field(default_factory=list)
    """How many queries the upstream got for each answered one."""
    faults: list[str] = field(default_factory=list)

    def add(self, kind: str, run: Run, asked: int) -> None:
        """Judge a run after which the upstream had been asked so often."""
        share = asked / max(run.answered, 1)
        fault = run.fault()
        if fault is None and kind == MISSES and share < 0.999:
            fault = f"the upstream got {share:.3f} queries for each: not all were misses"
        if fault is None and kind == HITS and share > 0.001:
            fault = f"the upstream got {share:.4f} queries for each: not all were hits"
        if fault is not None:
            self.faults.append(fault)
        else:
            self.runs.append(run)
            self.forwarded.append(share)

    @property
    def is_valid(self) -> bool:
        """Most of the runs were."""
        return len(self.runs) > len(self.faults)

    @property
    def cpu_us(self) -> float:
        """The median of the server's CPU for each answered query."""
        return median(run.cpu_us for run in self.runs)

    def as_json(self) -> dict[str, object]:
        """For the file of results."""
        told: dict[str, object] = {"valid": self.is_valid, "faults": self.faults}
        if self.is_valid:
            told |= {
                "cpu_us": round(self.cpu_us, 2),
                "cpu_us_by_round": [round(run.cpu_us, 2) for run in self.runs],
                "qps": round(median(run.qps for run in self.runs)),
                "lost": sum(run.lost for run in self.runs),
                "upstream_queries_per_answer": round(median(self.forwarded), 4),
            }
        return told

    def cells(self) -> str:
        """CPU and rate as cells of a table."""
        if not self.is_valid:
            return f"invalid: {self.faults[0]} | "
        return f"{self.cpu_us:.1f} | {median(run.qps for run in self.runs):,.0f}"


Results = dict[str, dict[str, Figures]]


def measure(lab: Lab, makes: Mapping[str, Make], rounds: int, seconds: float) -> Results:
    """Run every forwarder at once, and drive them to saturation one by one, in turns."""
    server_core, client_core, _ = cores()
    servers = [
        forwarder(name, make, lab.folder, FIRST_PORT + number, [FAST], lab.home, server_core)
        for number, (name, make) in enumerate(makes.items())
    ]
    hot = _names(lab.folder / "hot", "hot", HOT_NAMES)
    results: Results = {server.name: {MISSES: Figures(), HITS: Figures()} for server in servers}

    def turn(server: Server, kind: str, names: Path, *once: str) -> None:
        before = lab.asked()
        run = drive(server, names, seconds, client_core, lab.home.enter, *once)
        results[server.name][kind].add(kind, run, lab.asked() - before)

    try:
        for server in servers:
            server.start()
        for number in range(rounds):
            fresh = _names(lab.folder / "fresh", f"r{number}", int(NAMES_A_SECOND * seconds))
            for server in servers[:: 1 if number % 2 == 0 else -1]:
                turn(server, MISSES, fresh, "-n", "1")
            for server in servers[:: 1 if number % 2 == 0 else -1]:
                drive(server, hot, 1, client_core, lab.home.enter, "-n", "1")  # so that it has them
                turn(server, HITS, hot)
    finally:
        for server in servers:
            server.stop()
    return results


def _names(path: Path, prefix: str, count: int) -> Path:
    path.write_text("".join(f"{prefix}-{number}.{DOMAIN} A\n" for number in range(count)))
    return path


def table(results: Results, yardstick: str = "dnsmasq") -> str:
    """The figures as Markdown; ratios are to ``yardstick``, median of the rounds' ratios."""
    x = f"× {yardstick}"
    lines = [f"| | a miss, CPU µs | misses/s | {x} | a hit, CPU µs | hits/s | {x} |", "|---|---|---|---|---|---|---|"]
    for name, figures in results.items():
        cells = (
            f"{figures[kind].cells()} | {_ratio(figures[kind], results.get(yardstick, {}).get(kind))}"
            for kind in (MISSES, HITS)
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _ratio(ours: Figures, theirs: Figures | None) -> str:
    if theirs is None or not (ours.is_valid and theirs.is_valid):
        return ""
    pairs = zip(ours.runs, theirs.runs, strict=False)  # fewer where a round was invalid
    return f"{median(one.cpu_us / other.cpu_us for one, other in pairs):.2f}"
