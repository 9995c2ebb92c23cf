"""Network namespaces for the length of a measurement, without a way out of them."""

from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Self, TypeVar

from benchmarks.errors import BenchError

T = TypeVar("T")
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)
_PREFIX = "pydns-bench-"
_NAMED = Path("/run/netns")
_serial = itertools.count()


def _setns(path: str) -> None:
    with open(path, "rb") as handle:
        if _LIBC.setns(handle.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {path}")


def run(*command: str, given: str | None = None) -> str:
    """Run a tool to its end and return what it printed; BenchError with its words when it fails."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def sweep() -> None:
    """Delete the namespaces of benchmarks that were killed before they could; each is named by its process."""
    for path in _NAMED.glob(f"{_PREFIX}*-*"):
        pid = path.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            run("ip", "netns", "delete", path.name)


class Namespace:
    """A named namespace with nothing but loopback, made on entry and deleted on exit (root)."""

    def __init__(self) -> None:
        self.name = f"{_PREFIX}{os.getpid()}-{next(_serial)}"

    def __enter__(self) -> Self:
        try:
            run("ip", "netns", "add", self.name)
            self.ip("link set lo up")
        except BaseException:  # a signal, too
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if (_NAMED / self.name).exists():
            run("ip", "netns", "delete", self.name)

    @property
    def enter(self) -> tuple[str, ...]:
        """The words before a command that run it in here; they become the command, so its pid is theirs."""
        return ("nsenter", f"--net={_NAMED / self.name}")

    def ip(self, *lines: str) -> None:
        """Carry out lines of ip(8) in here."""
        run("ip", "-n", self.name, "-batch", "-", given="\n".join(lines) + "\n")

    def inside(self, make: Callable[[], T]) -> T:
        """Return what `make` returns, called with this thread inside the namespace: a socket made so stays there."""
        with open("/proc/thread-self/ns/net", "rb") as home:
            _setns(str(_NAMED / self.name))
            try:
                return make()
            finally:
                _setns(f"/proc/thread-self/fd/{home.fileno()}")
