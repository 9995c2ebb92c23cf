"""What a forwarded miss costs pydns, in CPU, and whether one checkout is dearer than another; needs no root.

    python -m benchmarks.miss [--rounds 5] [--queries 20000] [TREE ...]

Each TREE is a checkout of pydns (this one by default; its `_lane` has to be built); all are driven in turns with names
that nobody has asked for, by a client that is the upstream as well, and whose core is another. What the kernel has
counted for the server is divided by the queries. The figure after it is the median of the rounds' ratios to the first.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.errors import BenchError
from benchmarks.machine import cores
from benchmarks.servers import Server, free_port, query, udp_to
from benchmarks.stub import DOMAIN

WINDOW = 64
"""Queries that are under way at a time."""
SILENCE_S = 2.0
_REPLY_FLAGS = b"\x81\x80\0\1\0\1\0\0\0\0"
_ANSWER = b"\xc0\x0c\0\1\0\1\0\0\1\x2c\0\4\xc0\0\2\1"
_START = "import sys; from resolver.cli.main import main; sys.exit(main())"


class Driver:
    """Asks, and answers what its own questions make the server ask."""

    def __init__(self) -> None:
        self._client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._upstream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for sock in (self._client, self._upstream):
            sock.setblocking(False)
            sock.bind(("127.0.0.1", 0))
        self.port = int(self._upstream.getsockname()[1])
        """Where the upstream is."""

    def answer(self) -> int:
        """Answer what has come to the upstream; how many that were."""
        count = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                message, sender = self._upstream.recvfrom(512)
                self._upstream.sendto(message[:2] + _REPLY_FLAGS + message[12:] + _ANSWER, sender)
                count += 1
        return count

    def drive(self, port: int, prefix: str, queries: int) -> None:
        """Ask for as many names, each once. Raises BenchError unless each is answered, and by the upstream."""
        sent = answered = forwarded = 0
        self._client.connect(("127.0.0.1", port))
        self.answer()  # what was asked before
        while answered < queries:
            while sent < queries and sent - answered < WINDOW:
                self._client.send(query(f"{prefix}-{sent}.{DOMAIN}", sent & 0xFFFF))
                sent += 1
            if not any(select.select((self._client, self._upstream), (), (), SILENCE_S)):
                raise BenchError(f"{queries - answered} of {queries} queries were not answered")
            forwarded += self.answer()
            with contextlib.suppress(BlockingIOError):
                while True:
                    reply = self._client.recv(512)
                    if reply[3] & 15 or not reply[7]:
                        raise BenchError(f"a reply without an answer: {reply.hex()}")
                    answered += 1
        if forwarded < queries:
            raise BenchError(f"the upstream got {forwarded} queries for {queries}")


def server(tree: Path, folder: Path, core: int | None, driver: Driver) -> Server:
    """The pydns of a checkout, not started yet, that asks the driver."""
    folder.mkdir()
    (folder / "networks.toml").write_text("")
    (folder / "resolv.conf").write_text("")
    port = free_port()
    program = f"import sys; sys.path.insert(0, {str(tree)!r}); {_START}"
    command = [sys.executable, "-c", program, "serve", "--listen", f"127.0.0.1:{port}", "--metrics", "off"]
    command += ["--registry", str(folder / "networks.toml"), "--resolv-conf", str(folder / "resolv.conf")]
    command += ["--upstream", f"127.0.0.1:{driver.port}"]

    def probe() -> socket.socket:
        driver.answer()
        return udp_to("127.0.0.1", port)()

    return Server(str(tree), command, port, probe, folder / "log", core, asks=f"ready.{DOMAIN}")


def ran_s(pid: int) -> float:
    """How long a process, with its threads, was on a core, in seconds (proc_pid_schedstat(5): nanoseconds)."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    ran_ns = 0
    for task in tasks:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended meanwhile
            ran_ns += int((task / "schedstat").read_text().split()[0])
    return ran_ns / 1e9


def measure(trees: Sequence[Path], rounds: int, queries: int) -> list[list[float]]:
    """The µs of CPU for a miss, of each tree and round."""
    server_core, client_core, _ = cores()
    if client_core is not None:
        os.sched_setaffinity(0, (client_core,))
    driver = Driver()
    costs: list[list[float]] = [[] for _ in trees]
    with tempfile.TemporaryDirectory(prefix="pydns-bench-") as name, contextlib.ExitStack() as running:
        servers = [server(tree, Path(name) / str(number), server_core, driver) for number, tree in enumerate(trees)]
        for one in servers:
            running.callback(one.stop)
            one.start()
        for number in range(-1, rounds):
            for which in range(len(servers))[:: 1 if number % 2 == 0 else -1]:
                pid = servers[which].pid
                before = ran_s(pid)
                driver.drive(servers[which].port, f"r{number}-{which}", queries)
                if number >= 0:  # the first one only warms them up
                    costs[which].append((ran_s(pid) - before) / queries * 1e6)
    return costs


def main() -> int:
    """Measure and print a line for each tree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each tree (5)")
    parser.add_argument("--queries", type=int, default=20_000, help="misses in one turn (20000)")
    parser.add_argument("trees", nargs="*", type=Path, metavar="TREE", help="checkouts to compare")
    options = parser.parse_args()
    trees = [tree.absolute() for tree in options.trees] or [Path(__file__).parent.parent]
    try:
        costs = measure(trees, options.rounds, options.queries)
    except BenchError as error:
        print(f"benchmarks.miss: {error}", file=sys.stderr)
        return 1
    for tree, own in zip(trees, costs, strict=True):
        ratio = median(one / first for one, first in zip(own, costs[0], strict=True))
        print(f"{median(own):6.1f} µs a miss ({min(own):.1f} to {max(own):.1f}), × {ratio:.3f}  {tree}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
