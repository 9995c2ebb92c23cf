"""The guided tour ends well, and leaves nothing behind however it ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.netns import demo
from tests.netns.world import wait_until

pytestmark = pytest.mark.root

_DEMO = (sys.executable, "-m", "tests.netns.demo")
_ROOT = Path(__file__).parents[2]


def _left_by(pid: int) -> list[str]:
    folders = (Path("/run/netns"), Path("/etc/netns"), Path(tempfile.gettempdir()))
    return [str(path) for folder in folders for path in folder.glob(f"pyd{pid}x*")]


def test_the_tour_ends_with_every_answer_as_told() -> None:
    done = subprocess.run(_DEMO, cwd=_ROOT, capture_output=True, text=True, check=False, timeout=80)

    assert (done.returncode, done.stderr) == (0, ""), done.stdout[-2000:]
    assert "web$ dig db\n" in done.stdout
    assert "Everything is taken away" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_tour_can_be_interrupted(number: signal.Signals, tmp_path: Path) -> None:
    with open(tmp_path / "out", "wb") as out:
        running = subprocess.Popen(_DEMO, cwd=_ROOT, stdout=out, stderr=out)
    wait_until(lambda: "web$ dig db" in (tmp_path / "out").read_text(), 30, "the tour has begun")
    running.send_signal(number)

    assert running.wait(30) == 1
    assert "demo: interrupted; left behind: nothing" in (tmp_path / "out").read_text()
    assert _left_by(running.pid) == []


def test_the_tour_needs_root(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert demo.main() == 1
    assert capsys.readouterr().err == "demo: making namespaces needs root\n"


def test_the_tour_names_the_tools_it_misses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda tool: None if tool in ("nft", "dig") else which(tool))

    assert demo.main() == 1
    assert capsys.readouterr().err == "demo: missing tools: dig, nft\n"
