"""Files as octets, without ever being held up by what stands in the place of one."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

Fingerprint = tuple[int, int]

_KINDS = {
    stat.S_IFIFO: "a FIFO, which would block",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Unfinished(OSError):
    """Somebody is writing the file just now: what it said before counts until he has ended."""


Read = Callable[[Path], bytes]
"""What a file holds; raises OSError, and `Unfinished` for one whose former state is to stay."""


def read_octets(path: Path) -> bytes:
    """What a file holds; what is no regular file is not opened, but for /dev/null. Raises OSError, its text a reason.

    A file system that hangs holds the caller all the same: `freshness` has a deadline for that.
    """
    return read_watchfully(path)[0]


def read_watchfully(path: Path) -> tuple[bytes, int | None]:
    """The same, and the time of its last write in nanoseconds; None when that was meanwhile."""
    _refuse(path.stat())
    # Somebody may put a FIFO there meanwhile: opened so it does not block either.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with open(descriptor, "rb") as file:
        before = os.fstat(descriptor)
        _refuse(before)
        octets = file.read()
        after = os.fstat(descriptor)
        is_steady = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
        return octets, after.st_mtime_ns if is_steady else None


def fingerprint(octets: bytes) -> Fingerprint:
    """What tells two contents apart for as long as this process runs."""
    # hashlib would bring OpenSSL along; Python's own hash has 64 bits and a key that each process makes anew.
    return len(octets), hash(octets)


def _refuse(status: os.stat_result) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if kind == stat.S_IFREG or (kind == stat.S_IFCHR and status.st_rdev == os.stat(os.devnull).st_rdev):
        return
    raise OSError(errno.EINVAL, f"it is {_KINDS.get(kind, 'not a regular file')}")
