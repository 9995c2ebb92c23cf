"""As a container asks: 127.0.0.11 in a namespace, led by DNAT to whoever answers (root).

Docker's resolver is a real dockerd's, which has the names as aliases of one container; pydns is a sidecar, with its
own redirect; the limit is the C loop behind the same kind of rule. dnsperf runs inside the namespace.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from benchmarks import meter
from benchmarks.dnsperf import Asked, drive
from benchmarks.docker_resolver import AT, named_resolver
from benchmarks.errors import BenchError
from benchmarks.figures import SATURATED, Found, Row
from benchmarks.machine import cores
from benchmarks.names import Turns, shortly
from benchmarks.netns import Namespace, run, sweep
from benchmarks.peers.files import Registry
from benchmarks.peers.names import LIMIT, echo, in_lane, lanes
from benchmarks.servers import Server, free_port, udp_to

DOCKER = "dockerd"
NAMES = 10
_RULE = """\
table ip bench {{
    chain out {{
        type nat hook output priority -100;
        ip daddr {at} udp dport 53 dnat to 127.0.0.1:{port}
    }}
}}
"""


class Resolver(Asked, Protocol):
    """Who answers in a namespace."""

    @property
    def name(self) -> str:
        """What it is called in the tables."""


@dataclass(frozen=True, slots=True)
class Dockerd:
    """The process of a daemon that somebody else keeps."""

    pid: int
    name: str = DOCKER
    address: str = AT
    port: int = 53

    def cpu_s(self) -> float:
        """Of dockerd alone: its containerd answers no names."""
        return meter.process_cpu_s(self.pid)


@dataclass(frozen=True, slots=True)
class Place:
    """Who answers, and the words that lead into the namespace in which it is asked."""

    resolver: Resolver
    enter: tuple[str, ...]


@contextlib.contextmanager
def _limit(registry: Registry) -> Iterator[Place]:
    folder = registry.folder / "dnat-limit"
    folder.mkdir()
    with Namespace() as home:
        port = free_port()
        run(*home.enter, "nft", "-f", "-", given=_RULE.format(at=AT, port=port))
        command = echo(folder, port, registry)
        server = _server(LIMIT, command, home, folder / "log", home.enter)
        try:
            server.start()
            yield Place(server, home.enter)
        finally:
            server.stop()


@contextlib.contextmanager
def _sidecar(name: str, lane: str, pydns: str, registry: Registry) -> Iterator[Place]:
    with Namespace() as home:
        command = [*in_lane(lane), pydns, "sidecar", "--netns", home.name, "--network", "mynet", "--no-resolv-conf"]
        command += ["--registry", str(registry.toml), "--metrics", "off", "--upstream", "127.0.0.1:1"]
        server = _server(name, command, home, registry.folder / f"{name.replace(' ', '-')}.log", ())
        try:
            server.start()
            yield Place(server, home.enter)
        finally:
            server.stop()


def _server(name: str, command: list[str], home: Namespace, log: Path, inside: tuple[str, ...]) -> Server:
    probe = lambda: home.inside(udp_to(AT, 53))  # noqa: E731
    return Server(name, command, 53, probe, log, cores()[0], inside, address=AT)


@contextlib.contextmanager
def _docker(registry: Registry) -> Iterator[Place]:
    with named_resolver([name for name, _ in registry.addresses()]) as (pid, enter):
        if (core := cores()[0]) is not None:
            for task in os.listdir(f"/proc/{pid}/task"):
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(int(task), {core})
        yield Place(Dockerd(pid), enter)


def measure(pydns: str, folder: Path, turns: Turns, with_docker: bool, found: Found) -> None:
    """Drive everybody for ten names, in turns, to saturation and at the first of the rates."""
    sweep()
    registry = Registry(folder, NAMES)
    registry.write()
    with contextlib.ExitStack() as stack:
        makes: dict[str, Callable[[], contextlib.AbstractContextManager[Place]]] = {}
        if shutil.which("gcc"):
            makes[LIMIT] = partial(_limit, registry)
        for name, lane in lanes(pydns).items():
            makes[name] = partial(_sidecar, name, lane, pydns, registry)
        if with_docker:
            makes[DOCKER] = partial(_docker, registry)
        places: list[Place] = []
        for name, make in makes.items():
            try:
                places.append(stack.enter_context(make()))
            except BenchError as error:
                found.left_out[f"{name} behind DNAT"] = shortly(error)
                print(f"left out: {name} behind DNAT: {error}", file=sys.stderr, flush=True)
        drive_all(places, registry, turns, found)


def drive_all(places: Sequence[Place], registry: Registry, turns: Turns, found: Found) -> None:
    """The rows of everybody who is there."""
    rates = (SATURATED, *turns.rates[:1])
    rows = {
        (rate, place.resolver.name): Row("dnat", "hot", NAMES, place.resolver.name, rate)
        for rate in rates
        for place in places
    }
    found.rows += rows.values()
    for number in range(turns.rounds):
        for rate in rates:
            for place in places[:: 1 if number % 2 == 0 else -1]:
                more = ["-Q", str(rate), "-v"] if rate else []
                asked = drive(place.resolver, registry.queries, turns.seconds, cores()[1], place.enter, *more)
                rows[rate, place.resolver.name].add(asked, asked.wrong())
