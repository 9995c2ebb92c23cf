"""Who has workers, and who says that it has none."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from resolver.cli.options import answer_alone
from resolver.config.load import load


def test_a_sidecar_and_an_agent_say_that_they_answer_alone(caplog: pytest.LogCaptureFixture) -> None:
    settings = load(None)
    for who in ("a sidecar", "an agent"):
        answer_alone(settings, who)
        assert caplog.records == []
    with caplog.at_level(logging.WARNING):
        answer_alone(replace(settings, workers=2), "a sidecar")
    (record,) = caplog.records
    assert record.getMessage() == "server.workers is for `pydns serve`: a sidecar answers in one process, here too"


def test_one_process_imports_nothing_of_several() -> None:
    modules = "resolver.cli.serve, resolver.app, resolver.operate"
    code = f"import sys, {modules}; print([name for name in sys.modules if 'workers' in name])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "['resolver.config.workers']\n"


def test_help_and_check_know_the_flag(tmp_path: Path) -> None:
    pydns = [sys.executable, "-m", "resolver.cli.main"]
    for command in ("serve", "check"):
        told = subprocess.run([*pydns, command, "--help"], capture_output=True, text=True, check=True)
        assert "--workers N" in told.stdout
        assert "PYDNS_WORKERS" in told.stdout
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.99\n")
    options = ["--resolv-conf", str(tmp_path / "resolv.conf"), "--workers"]
    good = subprocess.run([*pydns, "check", *options, "auto"], capture_output=True, text=True, check=False)
    assert good.returncode == 0, good.stdout + good.stderr
    bad = subprocess.run([*pydns, "check", *options, "lots"], capture_output=True, text=True, check=False)
    assert bad.returncode == 1
    assert "--workers: 'lots' is no number of processes" in bad.stdout + bad.stderr


def test_no_more_processes_may_be_started(tmp_path: Path) -> None:
    """One line; root has no limit of processes that could be met, so the system call is said to fail."""
    (tmp_path / "resolv.conf").write_text("# nobody\n")
    code = (
        "import errno, os\n"
        "from resolver.cli.main import main\n"
        "def fork(): raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))\n"
        "os.fork = fork\n"
        "main()\n"
    )
    options = ["--listen", "127.0.0.1:0", "--metrics", "off", "--workers", "2"]
    told = subprocess.run(
        [sys.executable, "-c", code, "serve", *options, "--resolv-conf", str(tmp_path / "resolv.conf")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert told.returncode == 2, told.stderr
    said = "pydns: a worker process cannot be started: Resource temporarily unavailable"
    assert told.stderr.splitlines()[-1] == said
    assert "Traceback" not in told.stderr
