"""What large registries cost: to load, to change, and what others notice of that.

    python -m benchmarks.registry [--names 10000,1000000] [--json results.json]

Files are read by a real ``pydns serve``; a container of the JSON counts as two names, for it has its short id as
well. Changes of a live source are made inside a server process, where a source of its own says N endpoints on networks
of 62,500 each, and changes the address of one at a time; from its call of ``changed`` to the end of the take-over is
what is timed. Meanwhile another process asks for other names, one question after the other.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import ipaddress
import json
import multiprocessing
import platform
import re
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from resolver.app import Server
from resolver.cli.options import settings_loader
from resolver.counters import SourceCounts
from resolver.errors import Fault
from resolver.registry.model import Contribution, Endpoint, Network
from resolver.registry.roll import Roll
from tests.scenarios import live as scenarios
from tests.scenarios.live import At, Live, answers, ask

PER_NETWORK = 62_500
MOST_TOML = 10_000
RATES = (0, 1, 100, 1000)
SECONDS = 5.0
HOT = 50
scenarios.READY_WITHIN_S = 300.0
scenarios.ANSWER_WITHIN_S = 60.0

Row = dict[str, Any]


def address_of(number: int, turn: int = 0) -> str:
    """Where a name is; another address for each turn, on the same network."""
    network, host = divmod(number, PER_NETWORK)
    host += 2
    return f"{10 + 100 * (turn % 2)}.{network}.{host >> 8}.{host & 255}"


def hosts_file(names: int, changed: int = -1) -> str:
    """A hosts file of so many names; one may have another address."""
    return "".join(f"{address_of(n, n == changed)} name{n}\n" for n in range(names))


def inspected(names: int, changed: int = -1) -> str:
    """The JSON of half as many containers."""
    networks = []
    for first in range(0, names // 2, PER_NETWORK):
        containers = {
            hashlib.sha256(b"%d" % n).hexdigest(): {
                "Name": f"name{n}",
                "EndpointID": hashlib.sha256(b"at %d" % n).hexdigest(),
                "MacAddress": "02:42:0a:00:00:02",
                "IPv4Address": f"{address_of(n, n == changed)}/8",
                "IPv6Address": "",
            }
            for n in range(first, min(first + PER_NETWORK, names // 2))
        }
        networks.append({"Name": f"net{first}", "Driver": "bridge", "IPAM": {"Config": []}, "Containers": containers})
    return json.dumps(networks, indent=1)


def toml(names: int, changed: int = -1) -> str:
    """A TOML file of so many endpoints."""
    return "".join(
        f'[networks.net.endpoints.name{n}]\naddresses = ["{address_of(n, n == changed)}"]\n' for n in range(names)
    )


FORMATS: dict[str, Callable[..., str]] = {"big.hosts": hosts_file, "big.json": inspected, "big.toml": toml}


def memory_mb(pid: int) -> dict[str, float]:
    """Resident memory now, and at its peak."""
    status = Path(f"/proc/{pid}/status").read_text()
    return {key: int(re.search(rf"{key}:\s+(\d+)", status)[1]) / 1024 for key in ("VmRSS", "VmHWM")}  # type: ignore[index]


@contextmanager
def probed(at: At, names: list[str]) -> Iterator[list[float]]:
    """Milliseconds of each question about other names, asked one after the other all the while."""
    took: list[float] = []
    is_over = threading.Event()
    wires = [ask(name).to_wire() for name in names]

    def probe() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(60)
            sock.connect(at)
            while not is_over.is_set():
                for wire in wires:
                    began = time.perf_counter()
                    sock.send(wire)
                    sock.recv(4096)
                    took.append((time.perf_counter() - began) * 1e3)
                    time.sleep(0.0005)

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield took
    finally:
        is_over.set()
        thread.join()


def spread(took: list[float]) -> Row:
    """Median, 99th percentile and maximum."""
    ordered = sorted(took)
    return {
        "p50": round(statistics.median(ordered), 3),
        "p99": round(ordered[int(len(ordered) * 0.99)], 3),
        "max": round(ordered[-1], 3),
        "count": len(ordered),
    }


def of_file(kind: str, names: int) -> Row:
    """Start with a file, and change one line of it."""
    make = FORMATS[kind]
    with tempfile.TemporaryDirectory() as folder:
        live = Live(Path(folder), registry={kind: make(names)})
        began = time.perf_counter()
        with live:
            assert answers(live.udp("name7.")) == [address_of(7)]
            row: Row = {"what": kind, "names": names, "first_answer_s": round(time.perf_counter() - began, 2)}
            row |= {key: round(value) for key, value in memory_mb(live.process.pid).items()}
            text = make(names, 8)
            others = [f"name{n}" for n in range(100, 100 + HOT)]
            with probed(live.at, others) as quiet:
                time.sleep(2)
            with probed(live.at, others) as took:
                at = scenarios.replace(live.registry / kind, text)
                while answers(live.udp("name8.")) != [address_of(8, 1)]:
                    time.sleep(0.002)
                row["changed_s"] = round(time.monotonic() - at, 2)
            row |= {"quiet_ms": spread(quiet), "meanwhile_ms": spread(took)}
            row["VmHWM_after"] = round(memory_mb(live.process.pid)["VmHWM"])
            return row


class Many:
    """A live source of many endpoints, one of which is another from time to time."""

    def __init__(self, names: int) -> None:
        self.name = "many"
        self.counts = SourceCounts()
        self.faults: tuple[Fault, ...] = ()
        self.asked = 0.0
        self._turns = 0
        self._networks = [
            Network(
                f"net{first}",
                endpoints=Roll(
                    Endpoint(f"name{n}", (ipaddress.ip_address(address_of(n)),))
                    for n in range(first, min(first + PER_NETWORK, names))
                ),
            )
            for first in range(0, names, PER_NETWORK)
        ]
        self.contribution: Contribution | None = Contribution("many", tuple(self._networks))
        self._changed: Callable[[], None] = lambda: None

    async def start(self, changed: Callable[[], None]) -> None:
        """Hear whom to tell."""
        self._changed = changed

    async def stop(self) -> None:
        """Nothing was begun."""

    def change(self) -> None:
        """Give one endpoint another address."""
        self._turns += 1
        place = self._turns % len(self._networks)
        network = self._networks[place]
        index = HOT + self._turns // 2 % (len(network.endpoints) - HOT)
        number = place * PER_NETWORK + index
        fresh = Endpoint(f"name{number}", (ipaddress.ip_address(address_of(number, self._turns)),))
        assert isinstance(network.endpoints, Roll)
        self._networks[place] = replace(network, endpoints=network.endpoints.splice(index, index + 1, (fresh,)))
        self.contribution = Contribution("many", tuple(self._networks))
        self.asked = time.perf_counter()
        self._changed()


def server_process(config: str, names: int, orders: Connection) -> None:
    """A server with a source of its own, which changes as it is told through the pipe."""

    async def main() -> None:
        load = settings_loader(Path(config))
        server, source = Server(load(), load), Many(names)
        server.content.live = (source,)
        await server.open()
        await server.bind()
        serving = asyncio.get_running_loop().create_task(server.serve("the benchmark's"))
        loop = asyncio.get_running_loop()
        orders.send(server.listeners.addresses[0].port)
        while (rate := await loop.run_in_executor(None, orders.recv)) is not None:
            took: list[float] = []

            def swapped(took: list[float] = took) -> None:
                took.append((time.perf_counter() - source.asked) * 1e3)

            server.swapped = swapped
            end, due, cpu = loop.time() + SECONDS, loop.time(), time.process_time()
            while loop.time() < end:
                if rate:
                    source.change()
                    due += 1 / rate
                await asyncio.sleep(max(due - loop.time(), 0) if rate else 0.1)
            orders.send((took, time.process_time() - cpu))
        server.stop()
        await serving
        await server.close()

    asyncio.run(main())


def of_source(names: int) -> list[Row]:
    """A live source of so many names at several rates of change."""
    context = multiprocessing.get_context("spawn")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        config = Live(Path(folder), registry={}).config
        orders, theirs = context.Pipe()
        process = context.Process(target=server_process, args=(str(config), names, theirs), daemon=True)
        process.start()
        at = At("127.0.0.1", orders.recv())
        for rate in RATES:
            with probed(at, [f"name{n}" for n in range(HOT)]) as others:
                orders.send(rate)
                took, cpu = orders.recv()
            row: Row = {"what": "live source", "names": names, "changes_per_s": rate, "cpu_s_per_s": cpu / SECONDS}
            rows.append(row | {"others_ms": spread(others), "taken_over_ms": spread(took) if took else None})
        rows[0] |= {key: round(value) for key, value in memory_mb(process.pid or 0).items()}
        orders.send(None)
        process.join(30)
    return rows


def main() -> None:
    """Print tables, and write JSON where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", default="10000,1000000", help="how many, with commas")
    parser.add_argument("--json", type=Path, help="where to write the results")
    asked = parser.parse_args()
    sizes = [int(text) for text in asked.names.split(",")]
    rows: list[Row] = []
    print("| file | names | first answer, s | RSS, MB | peak, MB | change → answer, s | others p99 quiet / changing |")
    print("|---|---|---|---|---|---|---|")
    for names in sizes:
        for kind in FORMATS:
            if kind == "big.toml" and names > MOST_TOML:
                continue
            row = of_file(kind, names)
            rows.append(row)
            both = f"{row['quiet_ms']['p99']} / {row['meanwhile_ms']['p99']} (max {row['meanwhile_ms']['max']})"
            cells = (row["first_answer_s"], row["VmRSS"], row["VmHWM"], row["changed_s"], both)
            print(f"| {kind} | {names} | " + " | ".join(map(str, cells)) + " |", flush=True)
    print("\n| live source | changes/s | taken over, ms: p50 / p99 / max | others, ms: p50 / p99 / max | CPU |")
    print("|---|---|---|---|---|")
    for names in sizes:
        for row in of_source(names):
            rows.append(row)
            told = [
                "–" if found is None else " / ".join(str(found[key]) for key in ("p50", "p99", "max"))
                for found in (row["taken_over_ms"], row["others_ms"])
            ]
            print(
                f"| {names} | {row['changes_per_s']} | {told[0]} | {told[1]} | {row['cpu_s_per_s']:.0%} |", flush=True
            )
    if asked.json is not None:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        ).stdout.strip()
        machine = {"machine": platform.platform(), "python": platform.python_version(), "commit": commit}
        asked.json.write_text(json.dumps({**machine, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
