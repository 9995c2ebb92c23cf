"""Which Linux capabilities this thread has, and giving up all but a few (capabilities(7)).

Capabilities belong to a thread: what is given up on one stays with the others. A child of uid 0 gets its parent's whole
bounding set back on exec, so that set is cut as well.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

from resolver.errors import AttachError

NUMBERS = {
    "CAP_DAC_OVERRIDE": 1,
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_SETPCAP": 8,
    "CAP_NET_BIND_SERVICE": 10,
    "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
}
"""The capabilities that pydns has to do with, by their numbers in linux/capability.h."""

_VERSION_3 = 0x20080522
_PR_CAPBSET_READ, _PR_CAPBSET_DROP = 23, 24
_PR_CAP_AMBIENT, _AMBIENT_RAISE, _AMBIENT_CLEAR_ALL = 47, 2, 4
_THREAD = Path("/proc/thread-self/status")
_TASKS = Path("/proc/self/task")


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def missing(wanted: Iterable[str], status: Path = _THREAD) -> list[str]:
    """Those of ``wanted`` that the calling thread does not have in effect, in their order."""
    effective = _mask(status)
    return [name for name in wanted if not effective >> NUMBERS[name] & 1]


def require(wanted: Iterable[str], purpose: str) -> None:
    """Raise AttachError when one of ``wanted`` is missing: ``{purpose} needs …``."""
    if lacking := missing(wanted):
        names = " and ".join(lacking)
        raise AttachError(f"{purpose} needs {names}; run as root, or give the process {names}")


def keep_only(wanted: Iterable[str]) -> None:
    """Give up every capability but ``wanted``, for the calling thread and what it starts.

    Of ``wanted``, what the thread does not have is not gained. Without CAP_SETPCAP the bounding set stays, from which
    children of uid 0 get theirs back. Raises AttachError when the kernel refuses.
    """
    held = _mask(_THREAD, "CapPrm:")
    keep = sum(1 << NUMBERS[name] for name in set(wanted)) & held
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)
    if held >> NUMBERS["CAP_SETPCAP"] & 1:
        number = 0
        while libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0) >= 0:
            if not keep >> number & 1:
                _checked(libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0), "the bounding set")
            number += 1
    # An ordinary user's children have only what is ambient; root's have what the bounding set leaves.
    ambient = keep if os.geteuid() != 0 else 0
    _checked(libc.prctl(_PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL, 0, 0, 0), "the ambient set")
    header = _Header(_VERSION_3, 0)
    halves = ((part & 0xFFFFFFFF, part >> 32) for part in (keep, keep, ambient))
    data = (_Data * 2)(*(_Data(*words) for words in zip(*halves, strict=True)))
    _checked(libc.capset(ctypes.byref(header), ctypes.byref(data)), "the capability sets")
    for number in (bit for bit in range(64) if ambient >> bit & 1):
        _checked(libc.prctl(_PR_CAP_AMBIENT, _AMBIENT_RAISE, number, 0, 0), "the ambient set")


def can_gain_beyond(allowed: Iterable[str], status: Path = _THREAD) -> bool:
    """True when a child of uid 0 would get more than ``allowed``: the bounding set has it."""
    return bool(_mask(status, "CapBnd:") & ~sum(1 << NUMBERS[name] for name in set(allowed)))


def holders(beyond: Iterable[str], tasks: Path = _TASKS) -> list[str]:
    """The names of this process's threads that have more in effect than ``beyond`` allows."""
    allowed = sum(1 << NUMBERS[name] for name in set(beyond))
    found: list[str] = []
    for task in tasks.iterdir():
        try:
            if _mask(task / "status") & ~allowed:
                found.append((task / "comm").read_text().strip())
        except OSError:  # the thread has just ended
            continue
    return sorted(found)


def _mask(status: Path, field: str = "CapEff:") -> int:
    for line in status.read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1], 16)
    return 0


def _checked(result: int, what: str) -> None:
    if result != 0:
        raise AttachError(f"{what} cannot be reduced: {os.strerror(ctypes.get_errno())}")
