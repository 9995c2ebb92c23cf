"""Runs ``nft`` and ``iptables``: finds them, bounds their time, and turns what they complain of into one line.

A child acts in the network namespace of the thread that starts it, so this is called in the namespace's thread.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import IO

from msgspec import Struct

from resolver.errors import AttachError

TIMEOUT_S = 10.0
HURRIED_S = 2.0
"""The limit of each command once pydns stops."""
_LOOK_S = 0.5
"""How soon a command that runs notices that it has less time now."""
LOCK_WAIT_S = 5
"""How long an iptables command waits for the lock that all iptables-legacy commands of a host share, in seconds."""

_SYSTEM_DIRECTORIES = ("/usr/sbin", "/sbin", "/usr/bin", "/bin")  # often not on the PATH of cron jobs and plain users


class OutOfDescriptors(AttachError):
    """The limit of open files is reached: whatever is tried instead would fail as well."""


class GivenUp(AttachError):
    """pydns stops, and the time for that is over: the command was not started."""


class _Hurry(Struct):
    end: float | None = None
    """When no command is started any more (time.monotonic); None for as long as pydns does not stop."""


_hurry = _Hurry()


def hurry(within_s: float) -> None:
    """pydns stops: from now on a command has ``HURRIED_S`` seconds, and after ``within_s`` seconds none is started."""
    _hurry.end = time.monotonic() + within_s


def refuse_descriptors(error: OSError) -> None:
    """Raises OutOfDescriptors when that is what the error is about."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        what = "this process has" if error.errno == errno.EMFILE else "the machine has"
        raise OutOfDescriptors(
            f"{what} too many open files; raise the limit (LimitNOFILE= of the service, ulimit -n, fs.file-max)"
        ) from error


class Outcome(Struct, frozen=True):
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
    """Run a command to its end, at most ``TIMEOUT_S`` seconds; never raises for what the command does.

    Raises GivenUp after `hurry`, OutOfDescriptors when there are no more files for the pipes.
    """
    if _hurry.end is not None and time.monotonic() > _hurry.end:
        raise GivenUp("the time for stopping is over")
    try:
        with _file_of(stdin) as given:
            running = subprocess.Popen(
                argv,
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "LC_ALL": "C"},
                process_group=0,  # Ctrl-C is for us: a command that dies half-way would leave its work half done
            )
    except OSError as error:
        refuse_descriptors(error)
        return Outcome(-1, "", f"cannot be run: {error.strerror}")
    with running:
        try:
            output, errors = _communicate(running)
        except subprocess.TimeoutExpired as late:
            running.kill()
            return Outcome(-1, "", f"no end after {late.timeout:g} s")
        except BaseException:
            running.kill()
            raise
    said = [line.strip() for line in errors.decode(errors="replace").splitlines()]
    complaint = next((line for line in said if line and not line.startswith("#")), "")
    return Outcome(running.returncode, output.decode(errors="replace"), complaint or f"exit {running.returncode}")


def _file_of(text: str) -> IO[bytes]:
    """A file to read it from: a pipe would have to be filled while the command runs."""
    file = os.fdopen(os.memfd_create("pydns-rules", os.MFD_CLOEXEC), "w+b")
    try:
        file.write(text.encode())
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def _communicate(running: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """What it writes; TimeoutExpired, with the limit that held, when it takes too long."""
    began = time.monotonic()
    while True:
        limit_s = TIMEOUT_S if _hurry.end is None else min(HURRIED_S, TIMEOUT_S)
        remaining_s = began + limit_s - time.monotonic()
        if remaining_s <= 0:
            raise subprocess.TimeoutExpired(running.args, limit_s)
        with suppress(subprocess.TimeoutExpired):
            return running.communicate(timeout=min(remaining_s, _LOOK_S))
