"""How long a stub resolver waits, and how often in vain, while packets are lost or the first upstream is silent.

Every forwarder has the same two upstreams, and all are asked at once, each at the same modest rate, for names that
nobody asked before; so all meet the same network. A query is not repeated: what is shown is what becomes of a stub's
first five seconds.
"""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.docker_resolver import AT, docker_resolver
from benchmarks.errors import BenchError
from benchmarks.lab import FAR, Lab
from benchmarks.peers.forwarders import Make, forwarder
from benchmarks.stub import WAIT_S, Seen

DOCKER = "dockerd"
FIRST_PORT = 5401
_ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Condition:
    """What the network does to the upstreams while names are asked."""

    title: str
    loss: float = 0.0
    """The share of packets lost in each direction."""
    first_is_silent: bool = False
    from_the_start: bool = True
    """False: it falls silent when a quarter of the time is over."""


CONDITIONS = (
    Condition("no loss"),
    Condition("1 % loss each way", loss=0.01),
    Condition("5 % loss each way", loss=0.05),
    Condition("the first upstream falls silent", first_is_silent=True, from_the_start=False),
    Condition("the first upstream is silent", first_is_silent=True),
)


@dataclass(frozen=True, slots=True)
class Waits:
    """How long answers took, in seconds and in order; infinity stands for none that a stub could use."""

    seconds: tuple[float, ...]
    failures: dict[str, int]

    @classmethod
    def of(cls, seen: Sequence[Seen]) -> Waits:
        """From what a stub has noted."""
        took: list[float] = []
        failures: dict[str, int] = {}
        for seconds, rcode in seen:
            if seconds is not None and rcode == 0:
                took.append(seconds)
                continue
            took.append(math.inf)
            reason = "no answer" if rcode is None else {2: "SERVFAIL", 5: "REFUSED"}.get(rcode, f"rcode {rcode}")
            failures[reason] = failures.get(reason, 0) + 1
        return cls(tuple(sorted(took)), failures)

    def at(self, share: float) -> float:
        """The time within which so large a share of the queries was answered."""
        return self.seconds[min(math.ceil(share * len(self.seconds)), len(self.seconds)) - 1]

    def figures(self) -> dict[str, float]:
        """The percentiles that are shown, in ms."""
        return {name: self.at(share) * 1e3 for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))}

    def as_json(self) -> dict[str, object]:
        """For the file of results; null where there was no answer."""
        told: dict[str, object] = {"queries": len(self.seconds), "failures": self.failures}
        return told | {k: None if math.isinf(ms) else round(ms, 2) for k, ms in self.figures().items()}

    def cells(self) -> str:
        """As cells of a table."""
        shown = ("none" if math.isinf(ms) else f"{ms:,.0f} ms" for ms in self.figures().values())
        failed = sum(self.failures.values())
        kinds = f" ({', '.join(sorted(self.failures))})" if failed else ""
        return " | ".join((*shown, f"{failed / len(self.seconds):.1%}{kinds}"))


Results = dict[str, dict[str, Waits]]


@dataclass(frozen=True, slots=True)
class Group:
    """Servers that are asked from the same network."""

    names: tuple[str, ...]
    at: tuple[str, ...]
    inside: tuple[str, ...]


def measure(
    lab: Lab, makes: Mapping[str, Make], rate: float, seconds: float, with_docker: bool, conditions: Sequence[Condition]
) -> Results:
    """What stubs see of each server under each condition; servers keep what they learn from one to the next."""
    lab.trouble()
    with contextlib.ExitStack() as undo:
        groups = [undo.enter_context(_forwarders(lab, makes))]
        if with_docker:
            try:
                inside = undo.enter_context(docker_resolver(lab, FAR))
                groups.append(Group((DOCKER,), (f"{AT}:53",), inside))
            except BenchError as error:
                print(f"left out: {error}", file=sys.stderr, flush=True)
        results: Results = {}
        for number, condition in enumerate(conditions):
            results[condition.title] = _under(condition, lab, groups, rate, seconds, f"c{number}")
    return results


@contextlib.contextmanager
def _forwarders(lab: Lab, makes: Mapping[str, Make]) -> Iterator[Group]:
    servers = [
        forwarder(name, make, lab.folder, FIRST_PORT + number, FAR, lab.home, None)
        for number, (name, make) in enumerate(makes.items())
    ]
    try:
        for server in servers:
            server.start()
        at = tuple(f"127.0.0.1:{server.port}" for server in servers)
        yield Group(tuple(server.name for server in servers), at, lab.home.enter)
    finally:
        for server in servers:
            server.stop()


def _under(
    condition: Condition, lab: Lab, groups: Sequence[Group], rate: float, seconds: float, prefix: str
) -> dict[str, Waits]:
    lab.trouble(condition.loss, first_is_silent=condition.first_is_silent and condition.from_the_start)
    results: dict[str, Waits] = {}
    with contextlib.ExitStack() as undo:
        stubs = []
        for group in groups:
            words = [*group.inside, sys.executable, "-m", "benchmarks.stub", f"{rate:g}", f"{seconds:g}", prefix]
            stub = subprocess.Popen([*words, *group.at], cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
            undo.callback(stub.wait)
            undo.callback(stub.kill)
            stubs.append(stub)
        if not condition.from_the_start:
            time.sleep(seconds / 4)
            lab.trouble(condition.loss, first_is_silent=condition.first_is_silent)
        for group, stub in zip(groups, stubs, strict=True):
            said, _ = stub.communicate()
            if stub.returncode:
                raise BenchError(f"the stub for {', '.join(group.names)} ended with {stub.returncode}")
            results |= {name: Waits.of(seen) for name, seen in zip(group.names, json.loads(said), strict=True)}
    return results


def table(results: Results) -> str:
    """The waits as Markdown, one table for all conditions."""
    lines = ["| | | p50 | p90 | p99 | longest | failed |", "|---|---|---|---|---|---|---|"]
    for title, servers in results.items():
        for number, (name, waits) in enumerate(servers.items()):
            lines.append(f"| {'' if number else title} | {name} | {waits.cells()} |")
    return "\n".join(lines) + f"\n\nFailed: no answer within {WAIT_S:g} s, or one without an address."
