"""A network namespace with nothing but loopback, for the length of a measurement."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Callable
from typing import Self, TypeVar

T = TypeVar("T")
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


def _setns(path: str) -> None:
    with open(path, "rb") as handle:
        if _LIBC.setns(handle.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {path}")


class Namespace:
    """A named namespace, made on entry and deleted on exit (root)."""

    def __init__(self) -> None:
        self.name = f"pydns-bench-{os.getpid()}"

    def __enter__(self) -> Self:
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        subprocess.run(["ip", "-n", self.name, "link", "set", "lo", "up"], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["ip", "netns", "delete", self.name], check=True)

    def inside(self, make: Callable[[], T]) -> T:
        """Return what `make` returns, called with this thread inside the namespace: a socket made so stays there."""
        with open("/proc/thread-self/ns/net", "rb") as home:
            _setns(f"/run/netns/{self.name}")
            try:
                return make()
            finally:
                _setns(f"/proc/thread-self/fd/{home.fileno()}")
