"""What a benchmark takes for a figure, and what it says of a run that is none."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
import time

import pytest

from benchmarks.dnsperf import Run
from benchmarks.figures import at
from benchmarks.forward_cpu import HITS, MISSES, Figures
from benchmarks.forward_cpu import table as cpu_table
from benchmarks.forward_latency import Waits
from benchmarks.meter import process_cpu_s


def run(answered: int = 1000, lost: int = 0, cpu_us: float = 10.0, **rcodes: int) -> Run:
    """A run of 100 queries a second."""
    return Run(answered, lost, 100.0, cpu_us, rcodes or {"NOERROR": answered})


@pytest.mark.parametrize(
    ("of", "fault"),
    [
        (run(), None),
        (run(lost=1), None),
        (run(lost=2), "2 of 1002 lost"),
        (run(answered=0), "no answer at all"),
        (run(NOERROR=999, SERVFAIL=1), "answered with NOERROR 999, SERVFAIL 1"),
    ],
)
def test_a_run_counts_when_all_was_answered_well(of: Run, fault: str | None) -> None:
    assert of.fault() == fault


def test_a_workload_says_which_rcode_is_right() -> None:
    assert run(NXDOMAIN=1000).wrong("NXDOMAIN") is None
    assert run(NXDOMAIN=999, NOERROR=1).wrong("NXDOMAIN") == "answered with NXDOMAIN 999, NOERROR 1"
    assert run(NXDOMAIN=1000).wrong() == "answered with NXDOMAIN 1000"


@pytest.mark.parametrize(
    ("kind", "asked", "counts"), [(MISSES, 1000, True), (MISSES, 900, False), (HITS, 0, True), (HITS, 100, False)]
)
def test_a_miss_must_reach_the_upstream_and_a_hit_must_not(kind: str, asked: int, counts: bool) -> None:
    figures = Figures()
    figures.add(kind, run(), asked)
    assert figures.is_valid is counts
    assert ("invalid" in figures.cells()) is not counts


def test_the_ratio_is_the_median_of_the_rounds_ratios() -> None:
    ours, theirs = ({MISSES: Figures(), HITS: Figures()} for _ in range(2))
    for one, other in ((20, 10), (90, 10), (10, 10)):
        ours[MISSES].add(MISSES, run(cpu_us=one), 1000)
        theirs[MISSES].add(MISSES, run(cpu_us=other), 1000)
        for figures in (ours, theirs):
            figures[HITS].add(HITS, run(), 0)
    assert "| pydns | 20.0 | 100 | 2.00 | 10.0 | 100 | 1.00 |" in cpu_table({"pydns": ours, "dnsmasq": theirs})


def test_waits_count_a_failure_as_the_longest() -> None:
    seen: list[tuple[float | None, int | None]] = [(0.001 * number, 0) for number in range(1, 99)]
    waits = Waits.of([*seen, (None, None), (0.002, 2)])
    assert waits.at(0.5) == pytest.approx(0.050)
    assert waits.at(0.98) == pytest.approx(0.098)
    assert waits.at(0.99) == math.inf
    assert waits.failures == {"no answer": 1, "SERVFAIL": 1}
    assert waits.as_json()["max"] is None


def test_percentiles_of_few() -> None:
    assert at((1.0, 2.0, 3.0), 0.5) == 2.0
    assert at((1.0,), 0.999) == 1.0
    assert math.isnan(at((), 0.5))


def test_the_cpu_of_a_process_has_its_threads_and_its_ended_children() -> None:
    before = process_cpu_s(os.getpid())

    def spin() -> None:
        end = time.thread_time() + 0.1
        while time.thread_time() < end:
            pass

    thread = threading.Thread(target=spin)
    thread.start()
    thread.join()
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.2: pass"], check=True)
    assert 0.27 < process_cpu_s(os.getpid()) - before < 20
