"""Names that a server holds itself: every peer on the same 10, 10,000 and 1,000,000, beside what the machine allows.

    python -m benchmarks.names [--counts 10,10000] [--rates 5000,20000] [--rounds 3] [--seconds 2] [--json FILE]

All servers of a count run at once, each on a port of its own and together on one core; dnsperf drives one at a time
from another, in turns: to saturation, and at fixed rates, where it notes each answer's time. The limit is a C loop that
answers without looking (benchmarks/peers/echo.c). Figures are medians, ratios the medians of the rounds' ratios; whose
answers were wrong has none.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.dnsperf import Run, drive
from benchmarks.errors import BenchError
from benchmarks.machine import cores, machine, missing
from benchmarks.peers import names as peers
from benchmarks.servers import Server, free_port

SATURATED = 0
"""The rate that stands for as many as it can."""
SHARES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


@dataclass(slots=True)
class Figures:
    """What one server did."""

    first_answer_s: float
    rss_mb: float = 0.0
    runs: dict[int, list[Run]] = field(default_factory=dict)
    """By rate."""
    faults: list[str] = field(default_factory=list)

    def cpu_us(self, rate: int) -> float:
        """CPU of the server for each answered query."""
        return median(run.cpu_us for run in self.runs[rate])

    def wait_us(self, rate: int, share: float) -> float:
        """The time within which so large a share was answered; median over the rounds."""
        return median(at(run.waits, share) for run in self.runs[rate]) * 1e6

    def as_json(self) -> dict[str, object]:
        """For the file of results."""
        told: dict[str, object] = {"first_answer_s": round(self.first_answer_s, 3), "rss_mb": round(self.rss_mb, 1)}
        if self.faults:
            return told | {"faults": self.faults}
        for rate, runs in self.runs.items():
            shares = {} if rate == SATURATED else SHARES
            waits = {f"{name}_us": round(self.wait_us(rate, share)) for name, share in shares.items()}
            told["saturated" if rate == SATURATED else str(rate)] = {
                "cpu_us": round(self.cpu_us(rate), 3),
                "cpu_us_by_round": [round(run.cpu_us, 3) for run in runs],
                "qps": round(median(run.qps for run in runs)),
                "lost": sum(run.lost for run in runs),
                **waits,
            }
        return told


def at(waits: Sequence[float], share: float) -> float:
    """The time within which so large a share of ``waits``, which are in order, was over; NaN of none."""
    return waits[max(math.ceil(share * len(waits)) - 1, 0)] if waits else math.nan


def measure(
    makes: Mapping[str, peers.Make],
    registry: peers.Registry,
    rates: Sequence[int],
    rounds: int,
    seconds: float,
    backend_port: int,
) -> dict[str, Figures]:
    """Start everybody, then drive one at a time; who does not start is left out, with a word."""
    server_core, client_core, _ = cores()
    results: dict[str, Figures] = {}
    servers: list[Server] = []
    try:
        for name, make in makes.items():
            port = backend_port if name == peers.BACKEND else free_port()
            server = peers.holder(name, make, port, registry, server_core)
            try:
                results[name] = Figures(server.start())
            except BenchError as error:
                print(f"left out with {registry.count} names: {error}", file=sys.stderr, flush=True)
                continue
            servers.append(server)
        for number in range(rounds):
            for rate in (SATURATED, *rates):
                more = ("-Q", str(rate), "-v") if rate else ()
                for server in servers[:: 1 if number % 2 == 0 else -1]:
                    run = drive(server, registry.queries, seconds, client_core, (), *more)
                    figures = results[server.name]
                    if fault := run.wrong():
                        figures.faults.append(fault)
                    figures.runs.setdefault(rate, []).append(run)
        for server in servers:
            results[server.name].rss_mb = server.memory_kb()["rss"] / 1024
    finally:
        for server in servers:
            server.stop()
    return results


def _ratio(ours: Sequence[Run], theirs: Sequence[Run] | None) -> str:
    if theirs is None:
        return ""
    return f"{median(one.cpu_us / other.cpu_us for one, other in zip(ours, theirs, strict=True)):.2f}"


def table(results: Mapping[str, Figures], rates: Sequence[int]) -> str:
    """As Markdown; the ratios are of CPU at saturation, to the limit and to pydns."""
    head = ["", "CPU µs", f"× {peers.LIMIT}", f"× {peers.PYDNS}", "queries/s", "lost"]
    head += [f"at {rate:,}/s: CPU µs, {', '.join(SHARES)} µs" for rate in rates]
    head += ["RSS MB", "first answer s"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    base = {name: results[name].runs[SATURATED] for name in (peers.LIMIT, peers.PYDNS) if name in results}
    for name, figures in results.items():
        start = [f"{figures.rss_mb:,.0f}", f"{figures.first_answer_s:.2f}"]
        if figures.faults:
            cells = [name, f"invalid: {figures.faults[0]}", *[""] * (len(head) - 4), *start]
        else:
            cells = [name, *_figures(figures, base, rates), *start]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _figures(figures: Figures, base: Mapping[str, Sequence[Run]], rates: Sequence[int]) -> Iterator[str]:
    runs = figures.runs[SATURATED]
    yield f"{figures.cpu_us(SATURATED):.2f}"
    for other in (peers.LIMIT, peers.PYDNS):
        yield _ratio(runs, base.get(other))
    yield f"{median(run.qps for run in runs):,.0f}"
    yield str(sum(run.lost for each in figures.runs.values() for run in each))
    for rate in rates:
        waits = ", ".join(f"{figures.wait_us(rate, share):,.0f}" for share in SHARES.values())
        yield f"{figures.cpu_us(rate):.1f}; {waits}"


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",") if number]


def main() -> int:
    """Measure, print Markdown, and write the JSON if asked for it; 0 when everybody gave right answers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=_numbers, default=[10, 10_000, 1_000_000], help="names (10,10000,1000000)")
    parser.add_argument("--rates", type=_numbers, default=[5_000, 20_000], help="queries a second (5000,20000)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each server (3)")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one turn (2)")
    parser.add_argument("--only", type=lambda text: text.split(","), help="servers, by name (all that are installed)")
    parser.add_argument("--pydns", default=str(Path(sys.executable).with_name("pydns")), help="the program to measure")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args()
    if absent := missing(("dnsperf", "taskset", "setpriv", options.pydns)):
        print(f"benchmarks.names: not installed: {', '.join(absent)}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by way of everything that is to be ended
    pydns = str(Path(options.pydns).absolute())
    backend_port = free_port()
    makes = peers.peers(pydns, backend_port)
    if options.only:
        makes = {name: make for name, make in makes.items() if name in options.only}
    told = machine([name for name in makes if name not in (peers.LIMIT, peers.PYDNS)])
    print(", ".join(f"{key} {value}" for key, value in told.items()), flush=True)
    found: dict[str, object] = {}
    are_right = True
    try:
        for count in options.counts:
            with tempfile.TemporaryDirectory(prefix="pydns-bench-") as folder:
                Path(folder).chmod(0o755)
                registry = peers.Registry(Path(folder), count)
                registry.write()
                results = measure(makes, registry, options.rates, options.rounds, options.seconds, backend_port)
            are_right = are_right and not any(figures.faults for figures in results.values())
            found[str(count)] = {name: figures.as_json() for name, figures in results.items()}
            print(f"\n{count:,} names, {options.rounds} rounds of {options.seconds:g} s\n")
            print(table(results, options.rates), flush=True)
    except BenchError as error:
        print(f"benchmarks.names: {error}", file=sys.stderr)
        return 1
    if options.json:
        options.json.write_text(json.dumps({"machine": told, "names": found}, indent=2) + "\n")
    return 0 if are_right else 1


if __name__ == "__main__":
    sys.exit(main())
