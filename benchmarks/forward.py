"""Forwarding beside others: CPU of misses and hits, and a stub's waits when packets are lost or a server is dead.

    python -m benchmarks.forward [--rounds 3] [--seconds 2] [--only cpu|latency] [--json FILE]

Needs root: everything is in network namespaces without a way out, which go at the end. In the CPU part each forwarder
has one core and an upstream that answers at once; dnsperf drives one at a time to saturation, in turns, so a drift of
the machine's speed meets all. In the latency part two upstreams answer after --rtt milliseconds. Nothing is asserted,
but a run whose answers were wrong, or whose misses were hits, is shown as invalid.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks import forward_cpu, forward_latency
from benchmarks.errors import BenchError
from benchmarks.lab import Lab
from benchmarks.machine import cores, machine, missing
from benchmarks.peers.forwarders import MAKES, Make, is_here, pydns_with
from benchmarks.peers.names import lanes

TOOLS = ("dnsperf", "dnsmasq", "unbound", "knotd", "ip", "nft", "nsenter", "setpriv", "taskset")
CPU_PEERS = ("dnsmasq", "unbound", "dnsdist")
LATENCY_PEERS = ("dnsmasq", "dnsmasq --all-servers", "unbound")


def _peers(pydns: str, names: tuple[str, ...]) -> dict[str, Make]:
    ours = {name: pydns_with(pydns, lane) for name, lane in lanes(pydns).items()}
    if names == LATENCY_PEERS:  # a lane makes no difference to who waits for upstreams
        ours = {"pydns": next(iter(ours.values()))}
    return ours | {name: MAKES[name] for name in names if is_here(name)}


def _ended(*_: object) -> None:
    sys.exit(143)  # by way of everything that is to be taken away


def main() -> int:
    """Measure, print Markdown, and write the JSON if asked for it; 0 when everything was measured and was valid."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each forwarder in the CPU part (3)")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one turn (2)")
    parser.add_argument("--rate", type=float, default=100.0, help="queries a second to each in the latency part (100)")
    parser.add_argument("--span", type=float, default=20.0, help="seconds of asking under each condition (20)")
    parser.add_argument("--rtt", type=float, default=10.0, help="milliseconds to the upstreams and back (10)")
    parser.add_argument("--only", choices=("cpu", "latency"), help="one part only")
    parser.add_argument("--no-docker", action="store_true", help="leave Docker's resolver out")
    parser.add_argument("--pydns", default=str(Path(sys.executable).with_name("pydns")), help="the program to measure")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("benchmarks.forward: it makes network namespaces, so it needs root", file=sys.stderr)
        return 2
    if absent := missing((*TOOLS, options.pydns)):
        print(f"benchmarks.forward: not installed: {', '.join(absent)}", file=sys.stderr)
        return 2
    with_docker = not options.no_docker and options.only != "cpu"
    if with_docker and shutil.which("dockerd") is None:
        print("benchmarks.forward: there is no dockerd here, so Docker's resolver is left out", file=sys.stderr)
        with_docker = False
    signal.signal(signal.SIGTERM, _ended)
    signal.signal(signal.SIGHUP, _ended)
    pydns = str(Path(options.pydns).absolute())
    told = machine(["dnsmasq", "unbound", "knotd", *(p for p in ("dnsdist", "dockerd") if shutil.which(p))])
    print(", ".join(f"{key} {value}" for key, value in told.items()), flush=True)
    results: dict[str, object] = {"machine": told, "options": {k: v for k, v in vars(options).items() if k != "json"}}
    is_valid = True
    try:
        with tempfile.TemporaryDirectory(prefix="pydns-bench-") as name:
            folder = Path(name)
            folder.chmod(0o755)
            with Lab(folder, cores()[2], options.rtt) as lab:
                if options.only != "latency":
                    cpu = forward_cpu.measure(lab, _peers(pydns, CPU_PEERS), options.rounds, options.seconds)
                    is_valid = all(figures.is_valid for kinds in cpu.values() for figures in kinds.values())
                    results["cpu"] = {n: {k: f.as_json() for k, f in kinds.items()} for n, kinds in cpu.items()}
                    print(
                        f"\n{options.rounds} rounds of {options.seconds:g} s, medians\n\n{forward_cpu.table(cpu)}",
                        flush=True,
                    )
                if options.only != "cpu":
                    waits = forward_latency.measure(
                        lab,
                        _peers(pydns, LATENCY_PEERS),
                        options.rate,
                        options.span,
                        with_docker,
                        forward_latency.CONDITIONS,
                    )
                    results["latency"] = {c: {n: w.as_json() for n, w in each.items()} for c, each in waits.items()}
                    queries = round(options.rate * options.span)
                    print(f"\n{queries} queries to each at {options.rate:g}/s, two upstreams {options.rtt:g} ms away\n")
                    print(forward_latency.table(waits))
    except BenchError as error:
        print(f"benchmarks.forward: {error}", file=sys.stderr)
        is_valid = False
        results["error"] = str(error)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0 if is_valid else 1


if __name__ == "__main__":
    sys.exit(main())
