"""pydns with a daemon's containers beside its registry, one of which gets another address as often as it is told.

The daemon is the tests' fake one, in a process on the core of who asks; it says what Docker 20.10 said: an event, and
6 kB when it is asked about the container.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
from collections.abc import Iterator
from multiprocessing.connection import Connection

from benchmarks.changers import Changer, address_of
from benchmarks.errors import BenchError
from benchmarks.machine import cores
from benchmarks.peers.files import Registry
from benchmarks.peers.names import CHURN, in_lane
from benchmarks.servers import Server, free_port, udp_to
from tests.unit.sources.docker.fake_daemon import FakeDaemon
from tests.unit.sources.docker.recordings import container, network, of_container, place

NAME = "pydns by Docker's events"
_READY_WITHIN_S = 20.0


def _daemon(orders: Connection, core: int | None) -> None:
    if core is not None:
        os.sched_setaffinity(0, {core})

    async def main() -> None:
        found = [network(CHURN, "172.20.0.0/15", "172.21.0.1")]
        async with FakeDaemon(networks=found, containers=[_at(0)]) as daemon:
            orders.send(daemon.host)
            loop = asyncio.get_running_loop()
            while (number := await loop.run_in_executor(None, orders.recv)) is not None:
                daemon.put(_at(number))
                daemon.emit(of_container("start", CHURN))
                orders.send(None)

    with contextlib.suppress(EOFError):  # who gives the orders has been killed
        asyncio.run(main())


def _at(number: int) -> dict[str, object]:
    return container(CHURN, {CHURN: place(CHURN, address_of(number), CHURN)})


@contextlib.contextmanager
def with_daemon(pydns: str, registry: Registry, within_s: float) -> Iterator[tuple[Server, Changer]]:
    """A pydns that has come up, and what changes the container's address."""
    folder = registry.folder / "docker"
    folder.mkdir()
    context = multiprocessing.get_context("spawn")
    orders, theirs = context.Pipe()
    daemon = context.Process(target=_daemon, args=(theirs, cores()[1]), daemon=True)

    def change(number: int) -> None:
        orders.send(number)
        orders.recv()

    with contextlib.ExitStack() as stack:
        stack.callback(orders.close)
        daemon.start()
        stack.callback(daemon.join)
        stack.callback(daemon.terminate)
        theirs.close()
        if not orders.poll(_READY_WITHIN_S):
            raise BenchError("the fake Docker daemon did not start")
        port = free_port()
        command = [*in_lane(""), pydns, "serve", "--listen", f"127.0.0.1:{port}", "--registry", str(registry.toml)]
        command += ["--docker", orders.recv(), "--upstream", "127.0.0.1:1", "--metrics", "off"]
        probe = udp_to("127.0.0.1", port)
        server = Server(NAME, command, port, probe, folder / "log", cores()[0], start_within_s=within_s)
        stack.callback(server.stop)
        server.start()
        yield server, change
