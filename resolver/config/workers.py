"""``server.workers``: how many processes answer (`workers` has them)."""

from __future__ import annotations

import os

from resolver.sources.base import Complain

AUTO = "auto"
MOST = 64
"""Processes; each has its own cache and its own upstream connections."""
_FIX = f'write a number from 1 to {MOST}, or "{AUTO}" for one for each CPU that pydns may use'


def workers_of(given: object, complain: Complain) -> int:
    """The number, from a number or from text as flags have it; 1 after a complaint."""
    if given == AUTO:
        return min(len(os.sched_getaffinity(0)), MOST)
    text = str(given) if isinstance(given, int | str) else ""
    if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MOST:
        return int(text)
    complain(f"{given!r} is no number of processes", _FIX)
    return 1
