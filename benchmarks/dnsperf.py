"""One run of dnsperf against one server, and what it says of it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.errors import BenchError
from benchmarks.machine import pinned
from benchmarks.servers import ending_with_us

END_WITHIN_S = 60.0
"""After its time dnsperf waits for the last answers."""
_EACH = re.compile(r"^> [A-Z]{2}\S* \S+ \S+ ([\d.]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Run:
    """What dnsperf counted, and the CPU that the server took meanwhile."""

    answered: int
    lost: int
    qps: float
    cpu_us: float
    """Of the server, for each answered query."""
    rcodes: dict[str, int]
    waits: tuple[float, ...] = ()
    """Seconds to each answer in order, if they were asked for."""

    def wrong(self, rcode: str = "NOERROR") -> str | None:
        """What was wrong with the answers that came; None when all had this rcode."""
        if not self.answered:
            return "no answer at all"
        if self.rcodes != {rcode: self.answered}:
            return "answered with " + ", ".join(f"{found} {count}" for found, count in self.rcodes.items())
        return None

    def fault(self) -> str | None:
        """Why this run is no measurement of good answers to all that was asked; None when it is one."""
        if wrong := self.wrong():
            return wrong
        if self.lost > self.answered / 1000:
            return f"{self.lost} of {self.answered + self.lost} lost"
        return None


class Asked(Protocol):
    """What can be driven: a `Server`, or what runs already and is none of ours."""

    @property
    def address(self) -> str:
        """Where it answers, as seen by who asks."""

    @property
    def port(self) -> int:
        """Its port there."""

    def cpu_s(self) -> float:
        """User and system time so far."""


def drive(
    server: Asked, queries: Path, seconds: float, core: int | None, inside: Sequence[str] = (), *more: str
) -> Run:
    """Saturate ``server`` for ``seconds`` with the lines of ``queries``; ``more`` are further flags of dnsperf's.

    With ``-v`` the answers' times are noted one by one.
    """
    command = [
        *inside,
        *ending_with_us(),
        *pinned(core),
        "dnsperf",
        "-s",
        server.address,
        "-p",
        str(server.port),
        "-d",
        str(queries),
    ]
    command += ["-l", f"{seconds:g}", *more]
    before = server.cpu_s()
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + END_WITHIN_S,
        )
    except subprocess.TimeoutExpired:  # it does not come to an end with a server that takes no connection
        return Run(0, 0, 0.0, 0.0, {})
    spent = server.cpu_s() - before

    def figure(pattern: str) -> float:
        found = re.search(pattern, done.stdout)
        if found is None:
            raise BenchError(f"dnsperf printed no {pattern!r}:\n{done.stdout}{done.stderr}")
        return float(found.group(1))

    answered = int(figure(r"Queries completed:\s+(\d+)"))
    line = re.search(r"Response codes:(.*)", done.stdout)
    rcodes = {rcode: int(count) for rcode, count in re.findall(r"([A-Z]\w*) (\d+)", line.group(1) if line else "")}
    lost = int(figure(r"Queries lost:\s+(\d+)"))
    waits = tuple(sorted(map(float, _EACH.findall(done.stdout))))  # none without -v
    qps = figure(r"Queries per second:\s+([\d.]+)")
    return Run(answered, lost, qps, spent / max(answered, 1) * 1e6, rcodes, waits)
