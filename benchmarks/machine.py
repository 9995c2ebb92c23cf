"""On what a benchmark ran: the machine, the kernel, the versions and the commit, to be kept with every figure."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

_VERSION = {
    "dnsmasq": ("dnsmasq", "--version"),
    "unbound": ("unbound", "-V"),
    "knotd": ("knotd", "--version"),
    "nsd": ("nsd", "-v"),
    "dnsdist": ("dnsdist", "--version"),
    "aardvark-dns": ("/usr/lib/podman/aardvark-dns", "--version"),
    "dockerd": ("dockerd", "--version"),
    "coredns": ("coredns", "-version"),
}


def _said(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    except OSError:
        return ""
    return "" if done.returncode not in (0, 1) else (done.stdout + done.stderr).strip()


def version(program: str) -> str:
    """The version that a server says it has, ``unknown`` when it is not here or says none."""
    found = re.search(r"\d+\.\d+(?:\.\d+)*", _said(_VERSION[program]))
    return found.group() if found else "unknown"


def machine(programs: Sequence[str]) -> dict[str, object]:
    """The machine, and the versions of ``programs``."""
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    commit = _said(["git", "rev-parse", "HEAD"]) or "unknown"
    return {
        "cpu": cpu.group(1) if cpu else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        **{program: version(program) for program in programs},
        "commit": commit + (" + changes" if _said(["git", "status", "--porcelain"]) else ""),
    }


def pydns_version(program: str) -> str:
    """What a pydns says of itself: its version, and which fast lane it has."""
    return _said([program, "--version"]).removeprefix("pydns, version ") or "unknown"


def missing(tools: Sequence[str]) -> list[str]:
    """Those of ``tools`` that are not installed."""
    return [tool for tool in tools if shutil.which(tool) is None]


def cores() -> tuple[int | None, int | None, int | None]:
    """A core for the server, one for who asks and one for the upstream; on two cores the last two share one.

    None where there is one core only: then nothing is pinned.
    """
    found = sorted(os.sched_getaffinity(0))
    if len(found) == 1:
        return None, None, None
    return found[0], found[1], found[min(2, len(found) - 1)]


def pinned(core: int | None) -> list[str]:
    """The words before a command that keep it on a core."""
    return [] if core is None else ["taskset", "--cpu-list", str(core)]
