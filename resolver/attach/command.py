"""Runs ``nft`` and ``iptables``: finds them, bounds their time, and turns what they complain of into one line.

A child acts in the network namespace of the thread that starts it, so this is called in the namespace's thread.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

TIMEOUT_S = 10.0
LOCK_WAIT_S = 5
"""How long an iptables command waits for the lock that all iptables-legacy commands of a host share, in seconds."""

_SYSTEM_DIRECTORIES = ("/usr/sbin", "/sbin", "/usr/bin", "/bin")  # often not on the PATH of cron jobs and plain users


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    status: int
    output: str
    complaint: str
    """The first line of its standard error that says something; ``""`` if none does."""

    @property
    def ok(self) -> bool:
        """True when it ended with 0; what it wrote to standard error then is a warning."""
        return self.status == 0


def find(name: str) -> str | None:
    """The full path of a command, or None when it is not installed."""
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), *_SYSTEM_DIRECTORIES)))


def run(argv: Sequence[str], stdin: str = "") -> Outcome:
    """Run a command to its end, at most ``TIMEOUT_S`` seconds; never raises for what the command does."""
    try:
        done = subprocess.run(
            argv,
            input=stdin.encode(),
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
            process_group=0,  # Ctrl-C is for us: a command that dies half-way would leave its work half done
        )
    except subprocess.TimeoutExpired:
        return Outcome(-1, "", f"no end after {TIMEOUT_S:g} s")
    except OSError as error:
        return Outcome(-1, "", f"cannot be run: {error.strerror}")
    said = [line.strip() for line in done.stderr.decode(errors="replace").splitlines()]
    complaint = next((line for line in said if line and not line.startswith("#")), "")
    return Outcome(done.returncode, done.stdout.decode(errors="replace"), complaint or f"exit {done.returncode}")
