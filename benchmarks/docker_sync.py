"""What a Docker daemon's containers cost: a full sync, a sync in which nothing has changed, and an event.

    python -m benchmarks.docker_sync [--containers 1000]

The daemon is a fake one in a process of its own (tests/unit/sources/docker/fake_daemon.py), which answers as Docker
20.10 did, 6 kB for an inspect. On a machine whose cores it shares, its own work is part of the wall time, so the CPU
time of pydns is stated beside it. Events are timed through a real ``pydns serve``: from the write of a ``start`` to the
first answer over UDP that has the address, asked every half millisecond, and from a ``die`` to the first that has not.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from resolver.registry.store import Store
from resolver.sources.docker.settings import DaemonSettings
from resolver.sources.docker.source import DockerSource
from resolver.views import Views, ViewSettings
from resolver.zones.model import ZoneSet
from tests.scenarios.live import Live, answers
from tests.unit.sources.docker.fake_daemon import FakeDaemon
from tests.unit.sources.docker.recordings import container, many, of_container, place

SYNCS = 5
EVENTS = 100


def daemon_process(at: str, count: int, orders: Connection) -> None:
    """The fake daemon: starts and ends containers as it is told through the pipe."""

    async def main() -> None:
        networks, containers = many(count)
        async with FakeDaemon(Path(at), networks=networks, containers=containers) as daemon:
            loop = asyncio.get_running_loop()
            orders.send(daemon.requests)
            while (order := await loop.run_in_executor(None, orders.recv)) is not None:
                what, number = order
                name = f"late{number}"
                if what == "requests":
                    orders.send(daemon.requests)
                    continue
                if what == "start":
                    daemon.put(container(name, {"bulk0": place("bulk0", f"10.0.200.{number % 250 + 1}", "late")}))
                daemon.emit(of_container(what, name))
                orders.send(time.monotonic())

    asyncio.run(main())


class Daemon:
    """The process of the fake daemon."""

    def __init__(self, count: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.socket = Path(self.folder.name) / "docker.sock"
        context = multiprocessing.get_context("spawn")
        self._orders, theirs = context.Pipe()
        self._process = context.Process(target=daemon_process, args=(str(self.socket), count, theirs), daemon=True)

    def __enter__(self) -> Daemon:
        self._process.start()
        self._orders.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._orders.send(None)
        self._process.join(10)
        self.folder.cleanup()

    def order(self, what: str, number: int = 0) -> Any:
        """What the process says to an order: the monotonic time of an event, or the counts of requests."""
        self._orders.send((what, number))
        return self._orders.recv()


def syncs(daemon: Daemon) -> list[tuple[str, float, float]]:
    """(what, wall, CPU) in milliseconds, medians."""

    async def first() -> tuple[float, float, DockerSource]:
        source = DockerSource(DaemonSettings("docker", f"unix://{daemon.socket}"))
        wall, cpu = time.perf_counter(), time.process_time()
        await source.start(lambda: None)
        return (time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3, source

    async def main() -> list[tuple[str, float, float]]:
        firsts, agains, views = [], [], []
        for _ in range(SYNCS):
            wall, cpu, source = await first()
            firsts.append((wall, cpu))
            begun, cpu_begun = time.perf_counter(), time.process_time()
            await source._sync()
            agains.append(((time.perf_counter() - begun) * 1e3, (time.process_time() - cpu_begun) * 1e3))
            assert source.contribution is not None
            store = Store()
            begun, cpu_begun = time.perf_counter(), time.process_time()
            store.replace([source.contribution])
            Views(store.snapshot, ZoneSet(), ViewSettings())
            views.append(((time.perf_counter() - begun) * 1e3, (time.process_time() - cpu_begun) * 1e3))
            await source.stop()
        return [
            (what, statistics.median(wall for wall, _ in found), statistics.median(cpu for _, cpu in found))
            for what, found in (
                ("first full sync", firsts),
                ("full sync in which nothing has changed", agains),
                ("merge and compile all names", views),
            )
        ]

    return asyncio.run(main())


def events(daemon: Daemon) -> list[tuple[str, list[float]]]:
    """Milliseconds from an event to the answer that shows it."""
    with tempfile.TemporaryDirectory() as folder:
        live = Live(Path(folder), registry={}, settings={"docker": {"host": f"unix://{daemon.socket}"}})
        with live:
            started, died = [], []
            before = daemon.order("requests")
            cpu = _cpu_s(live.process.pid)
            for number in range(EVENTS):
                name, address = f"late{number}.", f"10.0.200.{number % 250 + 1}"
                at = daemon.order("start", number)
                started.append((_when(live, name, {address}) - at) * 1e3)
                at = daemon.order("die", number)
                died.append((_when(live, name, set()) - at) * 1e3)
            print(f"requests for {2 * EVENTS} events: {sum((daemon.order('requests') - before).values())}")
            per_event_ms = (_cpu_s(live.process.pid) - cpu) * 1e3 / 2 / EVENTS
            print(f"CPU of pydns per event, the queries that poll included: {per_event_ms:.1f} ms")
            return [("start → resolvable", started), ("die → gone", died)]


def _when(live: Live, name: str, addresses: set[str]) -> float:
    while set(answers(live.udp(name))) != addresses:
        time.sleep(0.0005)
    return time.monotonic()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--containers", type=int, default=1000)
    count = parser.parse_args().containers
    with Daemon(count) as daemon:
        print(f"| {count} containers | wall, ms | CPU of pydns, ms |\n|---|---|---|")
        for what, wall, cpu in syncs(daemon):
            print(f"| {what} | {wall:.0f} | {cpu:.0f} |")
        print()
        for what, found in events(daemon):
            tail = sorted(found)[int(len(found) * 0.99)]
            print(f"| {what} | median {statistics.median(found):.1f} ms | p99 {tail:.1f} ms |")


if __name__ == "__main__":
    main()
