"""What a hot answer costs beside dnsmasq, what a server weighs, and how soon it answers.

    python -m benchmarks.hot [--rounds 5] [--seconds 4] [--json FILE]

Both servers hold the same names and run at once, each on a port of its own; dnsperf drives one at a time to saturation,
in turns, so a drift of the machine's speed meets both. Where there are two cores the servers have one and dnsperf the
other. CPU is user and system time of the server's whole session from /proc; every figure is a median. Nothing is
asserted: this program tells.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from benchmarks.dnsperf import Run, drive
from benchmarks.errors import BenchError
from benchmarks.machine import cores, machine, missing
from benchmarks.netns import Namespace
from benchmarks.servers import Server, free_port, udp_to

NAMES = 100
ADDRESS = "172.18.1.{}"


def _write_names(folder: Path) -> None:
    numbers = range(1, NAMES + 1)
    registry = ['[networks.mynet]\nsubnets = ["172.18.0.0/16"]\ngateways = ["172.18.0.1"]\n']
    registry += [f'[networks.mynet.endpoints.n{n}]\naddresses = ["{ADDRESS.format(n)}"]\n' for n in numbers]
    (folder / "networks.toml").write_text("\n".join(registry))
    (folder / "hosts").write_text("".join(f"{ADDRESS.format(n)} n{n}\n" for n in numbers))
    (folder / "queries").write_text("".join(f"n{n} A\n" for n in numbers))


def _serve(pydns: str, folder: Path, core: int | None, extra: Sequence[str] = ()) -> tuple[Server, int]:
    """A standalone pydns and the port of its metrics."""
    port, metrics = free_port(), free_port()
    command = [pydns, "serve", "--listen", f"127.0.0.1:{port}", "--registry", str(folder / "networks.toml")]
    command += ["--metrics", f"127.0.0.1:{metrics}", *extra]
    return Server("pydns", command, port, udp_to("127.0.0.1", port), folder / "pydns.log", core), metrics


def _dnsmasq(folder: Path, core: int | None) -> Server:
    port = free_port()
    command = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=", f"--port={port}"]
    command += ["--listen-address=127.0.0.1", "--bind-interfaces", "--no-resolv", "--no-hosts", "--local-ttl=600"]
    command += [f"--addn-hosts={folder / 'hosts'}"]
    return Server("dnsmasq", command, port, udp_to("127.0.0.1", port), folder / "dnsmasq.log", core)


def hot(pydns: str, folder: Path, rounds: int, seconds: int) -> dict[str, object]:
    """CPU of a hot answer, pydns and dnsmasq in turns."""
    server_core, client_core, _ = cores()
    servers = [_serve(pydns, folder, server_core)[0], _dnsmasq(folder, server_core)]
    runs: dict[str, list[Run]] = {server.name: [] for server in servers}
    try:
        for server in servers:
            server.start()
        for number in range(rounds):
            for server in servers[:: 1 if number % 2 == 0 else -1]:
                run = drive(server, folder / "queries", seconds, client_core)
                if fault := run.fault():
                    raise BenchError(f"{server.name}: {fault}")
                runs[server.name].append(run)
    finally:
        for server in servers:
            server.stop()
    result: dict[str, object] = {"rounds": rounds, "seconds": seconds, "pinned": server_core is not None}
    print(f"hot answers over UDP, {rounds} rounds of {seconds} s, {NAMES} names")
    print(f"  {'':9} {'µs CPU/query':>13} {'queries/s':>10} {'lost':>6}")
    for name, each in runs.items():
        cpu, qps, lost = median(r.cpu_us for r in each), median(r.qps for r in each), sum(r.lost for r in each)
        print(f"  {name:9} {cpu:13.2f} {qps:10,.0f} {lost:6}")
        by_round = [round(r.cpu_us, 3) for r in each]
        result[name] = {"cpu_us": round(cpu, 3), "qps": round(qps), "lost": lost, "cpu_us_by_round": by_round}
    ratio = median(ours.cpu_us / theirs.cpu_us for ours, theirs in zip(*runs.values(), strict=True))
    print(f"  pydns costs {ratio:.2f} × dnsmasq (median of the rounds' ratios)")
    return result | {"ratio": round(ratio, 3)}


def weigh(kind: str, make: Callable[[], tuple[Server, str]], starts: int) -> dict[str, object]:
    """Exec to first answer, and the memory of the last start before and after a scrape."""
    times_ms: list[float] = []
    first: dict[str, int] = {}
    scraped: dict[str, int] = {}
    for number in range(starts + 1):  # one more, uncounted, that leaves byte code and a warm page cache
        server, metrics = make()
        try:
            seconds = server.start()
            if number:
                times_ms.append(seconds * 1e3)
            if number == starts:
                first = server.memory_kb()
                with urllib.request.urlopen(metrics, timeout=5) as page:
                    page.read()
                scraped = server.memory_kb()
        finally:
            server.stop()
    print(f"{kind}: exec to first answer {median(times_ms):.0f} ms (median of {starts}, {min(times_ms):.0f}", end="")
    print(f"–{max(times_ms):.0f}); MB after it: RSS {first['rss'] / 1024:.1f}, Pss {first['pss'] / 1024:.1f}", end="")
    print(f"; after a scrape: RSS {scraped['rss'] / 1024:.1f}, Pss {scraped['pss'] / 1024:.1f}")
    times = {"median_ms": round(median(times_ms), 1), "each_ms": [round(each, 1) for each in times_ms]}
    return {"first_answer": times, "kb_after_first_answer": first, "kb_after_scrape": scraped}


def _sidecar(pydns: str, folder: Path, namespace: Namespace) -> tuple[Server, str]:
    metrics = f"127.0.0.1:{free_port()}"
    command = [pydns, "sidecar", "--netns", namespace.name, "--network", "mynet", "--no-resolv-conf"]
    command += ["--registry", str(folder / "networks.toml"), "--metrics", metrics]

    def probe() -> socket.socket:
        return namespace.inside(udp_to("127.0.0.11", 53))

    return Server("sidecar", command, 53, probe, folder / "sidecar.log"), f"http://{metrics}/metrics"


def _standalone(pydns: str, folder: Path) -> tuple[Server, str]:
    server, metrics = _serve(pydns, folder, None)
    return server, f"http://127.0.0.1:{metrics}/metrics"


def main() -> int:
    """Measure, print, and write the JSON if asked for it; 0 when everything could be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each server (5)")
    parser.add_argument("--seconds", type=int, default=4, help="length of one turn (4)")
    parser.add_argument("--starts", type=int, default=7, help="starts that are timed (7)")
    parser.add_argument("--pydns", default=str(Path(sys.executable).with_name("pydns")), help="the program to measure")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args()
    if absent := missing(("dnsperf", "dnsmasq", "taskset", options.pydns)):
        print(f"benchmarks.hot: not here: {', '.join(absent)} (make bench installs what it needs)", file=sys.stderr)
        return 2
    pydns = str(Path(options.pydns).absolute())
    told = machine(["dnsmasq"])
    results: dict[str, object] = {"machine": told}
    print(", ".join(f"{key} {value}" for key, value in told.items()))
    try:
        with tempfile.TemporaryDirectory(prefix="pydns-bench-") as name:
            folder = Path(name)
            folder.chmod(0o755)
            _write_names(folder)
            results["hot"] = hot(pydns, folder, options.rounds, options.seconds)
            results["serve"] = weigh("serve", lambda: _standalone(pydns, folder), options.starts)
            if os.geteuid() == 0:
                with Namespace() as namespace:
                    make = lambda: _sidecar(pydns, folder, namespace)  # noqa: E731
                    results["sidecar"] = weigh("sidecar", make, options.starts)
            else:
                print("sidecar: not measured, it needs root")
    except BenchError as error:
        print(f"benchmarks.hot: {error}", file=sys.stderr)
        return 1
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
