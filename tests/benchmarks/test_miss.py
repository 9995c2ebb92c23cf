"""What a miss costs: every query is forwarded and answered, or there is no figure."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def measure(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.miss", "--rounds=1", "--queries=300", *words],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=80,
        check=False,
    )


def test_two_checkouts_are_measured_in_turns(tmp_path: Path) -> None:
    done = measure(tmp_path, str(ROOT), str(ROOT))

    figures = [float(cost) for cost in re.findall(r"([\d.]+) µs a miss", done.stdout)]
    assert (0, 2) == (done.returncode, len(figures)), done.stdout + done.stderr
    assert all(5 < cost < 50_000 for cost in figures)
    assert [] == list(tmp_path.iterdir())


def test_a_checkout_that_does_not_start_is_told(tmp_path: Path) -> None:
    (tmp_path / "resolver").mkdir()
    (tmp_path / "resolver" / "__init__.py").write_text("raise SystemExit('no pydns')\n")

    done = measure(tmp_path, str(tmp_path))

    assert 1 == done.returncode
    assert "gave no answer" in done.stderr
    assert "no pydns" in done.stderr
