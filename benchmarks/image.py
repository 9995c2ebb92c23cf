"""What the image weighs, and how soon a container of it answers, in each of its three ways.

    python -m benchmarks.image [--rounds 5]

The image is built in a dockerd of the tests' own, without a network, and run from the files in deploy/compose. The time
is from `docker run` to the first answer; how much of it is Docker's own, a container of busybox shows. Memory is the
process's after that answer: alone (PSS), and with what it shares (RSS). Every figure is a median. Needs root; nothing
is asserted.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.docker.beside import Resolver
from tests.docker.compose import DEPLOY, IMAGE, Project, build, variables
from tests.docker.daemon import Daemon
from tests.docker.image import BASE
from tests.docker.upstream import FOR_PYDNS, MARKS

ANSWER_WITHIN_S = 0.25
START_WITHIN_S = 30.0
LOOPBACK, BRIDGE = "127.0.0.11", "172.17.0.1"


@dataclass(slots=True)
class Way:
    """What was measured of one way to run it."""

    seconds: list[float] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)
    pss_mb: list[float] = field(default_factory=list)

    def row(self) -> str:
        """As cells of a table."""
        memory = (f"{median(figures):.0f} MB" if figures else "" for figures in (self.rss_mb, self.pss_mb))
        return " | ".join((f"{median(self.seconds):.2f} s", *memory))


class SilenceError(Exception):
    """No answer came in time."""


def first_answer(resolver: Resolver, name: str) -> None:
    """Ask until pydns answers: what comes from the world's upstream, Docker has sent there."""
    deadline = time.monotonic() + START_WITHIN_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):  # nobody is there yet
            answers = resolver.look_up(name, "A", within_s=ANSWER_WITHIN_S).answers
            if answers and not any(MARKS["A"] in answer for answer in answers):
                return
        time.sleep(0.002)
    raise SilenceError(f"no answer for {name} within {START_WITHIN_S:g} s")


def note(way: Way, daemon: Daemon, project: Project, resolver: Resolver, name: str) -> None:
    """Start pydns, and note the time to its first answer and its memory then."""
    began = time.monotonic()
    project.up("dns")
    first_answer(resolver, name)
    way.seconds.append(time.monotonic() - began)
    rollup = Path(f"/proc/{daemon.pid_of(project.container('dns'))}/smaps_rollup").read_text().splitlines()
    kilobytes = {line.split()[0]: int(line.split()[1]) for line in rollup[1:]}
    way.rss_mb.append(kilobytes["Rss:"] / 1024)
    way.pss_mb.append(kilobytes["Pss:"] / 1024)


def once(daemon: Daemon, ways: dict[str, Way]) -> None:
    """Run each way once."""
    environment = variables(daemon) | {"UPSTREAM": FOR_PYDNS, "PUBLISH": f"{BRIDGE}:53"}
    with Project(daemon, DEPLOY / "sidecar.yaml", environment, "bench") as project:
        began = time.monotonic()
        project.up("web")
        ways["busybox, for comparison"].seconds.append(time.monotonic() - began)
        inside = Resolver(daemon.netns_of("web"), LOOPBACK)
        note(ways["sidecar"], daemon, project, inside, "host.docker.internal")
    with Project(daemon, DEPLOY / "agent.yaml", environment, "bench") as project:
        for name in ("one", "two"):
            daemon.docker("run", "--detach", "--name", name, BASE)
        note(ways["agent"], daemon, project, Resolver(daemon.netns_of("one"), LOOPBACK), "two")
    with Project(daemon, DEPLOY / "server.yaml", environment, "bench") as project:
        daemon.docker("network", "create", "bench-net")
        daemon.docker("run", "--detach", "--name", "one", "--network", "bench-net", BASE)
        note(ways["server"], daemon, project, Resolver(f"/run/netns/{daemon.host_netns}", BRIDGE), "one")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.image")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    if os.geteuid() != 0:
        print("benchmarks.image: it starts a dockerd, so it needs root", file=sys.stderr)
        return 1
    ways = {name: Way() for name in ("sidecar", "agent", "server", "busybox, for comparison")}
    with Daemon() as daemon:
        began = time.monotonic()
        build(daemon)
        built_s = time.monotonic() - began
        for _ in range(rounds):
            once(daemon, ways)
        size = daemon.get(f"/images/{IMAGE}/json")["Size"]
        own = sum(layer["Size"] for layer in daemon.get(f"/images/{IMAGE}/history")[:-1])
    print(f"{os.cpu_count()} cores, kernel {platform.release()}, {rounds} rounds; built in {built_s:.0f} s\n")
    print(
        f"The image: {size / 1e6:.0f} MB, of which the base {(size - own) / 1e6:.0f} MB and pydns {own / 1e6:.1f} MB\n"
    )
    print("| | `docker run` to first answer | RSS | PSS |\n|---|---|---|---|")
    for name, way in ways.items():
        print(f"| {name} | {way.row()} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
