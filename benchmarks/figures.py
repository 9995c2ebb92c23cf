"""What the parts of the benchmark find, in the form in which it is kept: one row for each server and way to ask it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.dnsperf import Run

SATURATED = 0
"""The rate that stands for as many as it can."""
MOST_LOST = 0.01
"""Of what was answered: whoever asks only as fast as answers come loses none."""
SHARES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


@dataclass(slots=True)
class Row:
    """One server under one workload: its runs, one a round."""

    part: str
    """What it was held in or asked through: ``names``, ``changes``, ``forward``, ``dnat``."""
    workload: str
    size: int
    """How many names there were."""
    server: str
    rate: int = SATURATED
    """Queries a second, or `SATURATED`."""
    changes: int = 0
    """Changes a second meanwhile that were meant to be made."""
    runs: list[Run] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    more: dict[str, list[float]] = field(default_factory=dict)
    """Further figures by round."""

    def add(self, run: Run, fault: str | None) -> None:
        """Count a run, or why it is none; one at full speed that lost queries, not just its last ones, is none."""
        if fault is None and self.rate == SATURATED and run.lost > run.answered * MOST_LOST:
            fault = f"{run.lost} of {run.answered + run.lost} lost"
        if fault is None:
            self.runs.append(run)
        else:
            self.faults.append(fault)

    def as_json(self) -> dict[str, object]:
        """For the file of results; a row that has faults has no figures."""
        told: dict[str, object] = {
            "part": self.part,
            "workload": self.workload,
            "size": self.size,
            "server": self.server,
            "rate": self.rate,
            "changes": self.changes,
        }
        if self.faults or not self.runs:
            return told | {"faults": self.faults or ["it was not driven"]}
        told |= {
            "cpu_us": round(median(run.cpu_us for run in self.runs), 3),
            "cpu_us_by_round": [round(run.cpu_us, 3) for run in self.runs],
            "qps": round(median(run.qps for run in self.runs)),
            "answered": sum(run.answered for run in self.runs),
            "lost": sum(run.lost for run in self.runs),
        }
        if all(run.waits for run in self.runs):
            for name, share in SHARES.items():
                told[f"{name}_us"] = round(median(at(run.waits, share) for run in self.runs) * 1e6)
        told |= {key: round(median(each), 4) for key, each in self.more.items() if each}
        return told


@dataclass(frozen=True, slots=True)
class Start:
    """How a server came up, and what it weighs."""

    size: int
    server: str
    first_answer_s: float
    """From exec to the first answer."""
    rss_mb: float
    """After all the asking."""

    def as_json(self) -> dict[str, object]:
        """For the file of results."""
        return {
            "size": self.size,
            "server": self.server,
            "first_answer_s": round(self.first_answer_s, 3),
            "rss_mb": round(self.rss_mb, 1),
        }


@dataclass(slots=True)
class Found:
    """All that was found."""

    rows: list[Row] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    """Who or what was not measured, and why."""

    @property
    def is_valid(self) -> bool:
        """No pydns gave a wrong answer; what a peer cannot do is told, and is no failure of the measurement."""
        return not any(row.faults for row in self.rows if row.server.startswith("pydns"))

    def as_json(self) -> dict[str, object]:
        """For the file of results."""
        return {
            "rows": [row.as_json() for row in self.rows],
            "starts": [start.as_json() for start in self.starts],
            "left_out": self.left_out,
        }


def at(waits: Sequence[float], share: float) -> float:
    """The time within which so large a share of ``waits``, which are in order, was over; NaN of none."""
    return waits[max(math.ceil(share * len(waits)) - 1, 0)] if waits else math.nan
