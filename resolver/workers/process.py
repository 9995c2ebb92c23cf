"""The birth of a worker: a copy of the feeder, which keeps what that has read and nothing that it has open.

A copy has the registry and its compiled names without reading or sending them, in the same memory until one of the two
changes it (fork(2)).
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_OPEN = Path("/proc/self/fd")
CRASHED = 70
"""Exit status after an error of our own (EX_SOFTWARE in sysexits.h)."""


def fork(live: Callable[[], int], keeps: Iterable[int]) -> int:
    """The process id of a copy that does ``live`` and ends with what that returns; raises OSError.

    The copy has only the descriptors that it ``keeps``, beside standard input and outputs. Signals wait in it until it
    calls `heed_signals`. To be called from the event loop, when nothing that the copy needs is half done on a thread.
    """
    gc.collect()
    gc.freeze()  # nothing of the feeder's is to be freed in the copy: it would close descriptors that mean others there
    keeps = {0, 1, 2, *keeps}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        pid = os.fork()
        if pid == 0:
            _be_the_copy(live, keeps)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    return pid


def heed_signals() -> None:
    """In the copy: it has its own handlers now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def _be_the_copy(live: Callable[[], int], keeps: set[int]) -> None:
    """Never returns: the frames that are above belong to the feeder."""
    status = CRASHED
    try:
        signal.set_wakeup_fd(-1)
        for name in os.listdir(_OPEN):
            if int(name) not in keeps:
                with suppress(OSError):  # that of the listing itself
                    os.close(int(name))
        asyncio._set_running_loop(None)
        status = live()
    except BaseException:
        log.exception("it has met an error of pydns itself")
    finally:
        os._exit(status)


def how_it_ended(status: int) -> str:
    """In words, from what waitpid(2) says."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"ended with {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
