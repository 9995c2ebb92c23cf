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
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from resolver.errors import PydnsError

log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_OPEN = Path("/proc/self/fd")
CRASHED = 70
"""Exit status after an error of our own (EX_SOFTWARE in sysexits.h)."""


_SOUND, _NOT_SOUND = b"1", b"0"


class NotNow(PydnsError):
    """A copy made right now would be of no use; one that is made in a moment will be."""


def fork(live: Callable[[], int], keeps: Iterable[int]) -> int:
    """The process id of a copy that does ``live`` and ends with what that returns; raises OSError, or NotNow.

    The copy has only the descriptors that it ``keeps``, beside standard input and outputs. Signals wait in it until it
    calls `heed_signals`. To be called from the event loop, when nothing that the copy needs is half done on a thread.
    """
    gc.collect()
    gc.freeze()  # nothing of the feeder's is to be freed in the copy: it would close descriptors that mean others there
    keeps = {0, 1, 2, *keeps}
    heard, said = os.pipe()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        pid = os.fork()
        if pid == 0:
            is_sound = not _are_others_importing()
            os.write(said, _SOUND if is_sound else _NOT_SOUND)
            if not is_sound:
                os._exit(0)
            _be_the_copy(live, keeps)
        os.close(said)
        said = -1
        if os.read(heard, 1) != _SOUND:
            os.waitpid(pid, 0)
            raise NotNow("a module was being imported")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for end in (heard, said):
            if end >= 0:
                os.close(end)
    return pid


def _are_others_importing() -> bool:
    """Whether another thread was in the middle of an import, which in the copy will never end.

    How importlib marks a module that is not whole yet, and who has the lock on one, is its own affair; there is no
    other way to know.
    """
    if any(getattr(getattr(module, "__spec__", None), "_initializing", False) for module in list(sys.modules.values())):
        return True
    locks = getattr(sys.modules.get("_frozen_importlib"), "_module_locks", {})
    return any(getattr(lock(), "owner", None) is not None for lock in list(locks.values()))


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
