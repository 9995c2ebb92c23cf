"""Files as octets, without ever being held up by what stands in the place of one."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

Fingerprint = tuple[int, int]

_KINDS = {
    stat.S_IFIFO: "a FIFO, which would block",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def read_octets(path: Path) -> bytes:
    """What a file holds; what is no regular file is not opened, but for /dev/null. Raises OSError, its text a reason.

    A file system that hangs holds the caller all the same: `freshness` has a deadline for that.
    """
    _refuse(path.stat())
    # Somebody may put a FIFO there meanwhile: opened so it does not block either.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with open(descriptor, "rb") as file:
        _refuse(os.fstat(descriptor))
        return file.read()


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
