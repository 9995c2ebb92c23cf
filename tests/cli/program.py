"""The program as a user runs it: a process, its output, its exit status."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.scenarios.live import ROOT

PYDNS = str(Path(sys.executable).parent / "pydns")
SHIPPED = ROOT / "zones"
ENDS_WITHIN_S = 30.0

TWO = """\
[networks.front]
subnets = ["10.1.0.0/24"]
gateways = ["10.1.0.1"]

[networks.front.endpoints.web]
addresses = ["10.1.0.2"]
id = "abcdefabcdef0011"
hostname = "w"
aliases = ["www", "*.web"]
links = { cache = "redis" }
dns = ["127.0.0.88"]
ports = ["80/tcp"]

[networks.front.endpoints.cache]
addresses = ["10.1.0.3"]

[networks.back]
subnets = ["10.2.0.0/24"]
internal = true

[networks.back.endpoints.db]
addresses = ["10.2.0.2"]
"""


def environment(**more: str) -> dict[str, str]:
    """The environment without what would configure pydns, and with ``more``."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PYDNS_")} | more


def pydns(
    *arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run it to its end; there is never a traceback."""
    done = subprocess.run(
        [PYDNS, *arguments],
        cwd=cwd,
        env=environment(**(env or {})),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=ENDS_WITHIN_S,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def complaint(*arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """What it says on its way to exit status 2."""
    done = pydns(*arguments, cwd=cwd, env=env)
    assert (2, "") == (done.returncode, done.stdout), done
    return done.stderr
