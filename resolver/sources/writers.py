"""Who is writing which file just now, as far as inotify's events tell, and readings that keep off half a file.

A file that was closed after writing, or moved to its place, is complete and is read at once, however young it is. One
that was written to and is still open is not: what it said before stays. An event comes a little after what it tells of,
so a reading of a young file waits for the event of its own closing: all that happened before has been heard by then.

Where no event tells of a file's end (a bind mount of a single file, NFS) one that was written to a moment ago counts as
unfinished.
"""

from __future__ import annotations

import errno
import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from resolver.sources.octets import Unfinished, read_octets, read_watchfully

SETTLED_S = 0.03
"""How long a file must not have been written to when nobody has told of its end."""
EMPTY_S = 0.15
"""The same for one that is empty: most likely its writer has just begun."""
OPEN_S = 0.5
"""The same for one that is open, as its writer may never close it; and for one that has lost what it held: no event
tells of that before it is done, which takes long on a busy machine."""
PATIENCE_S = 0.5
"""How long a file that no event tells of is kept off while it never settles; then it is read as it is."""
OPEN_PATIENCE_S = 5.0
"""The same for one that is written to again and again."""
_OWN_EVENT_S = 0.25
"""How long the event of one's own closing is waited for."""
_LOST_S = 1.0
"""An event that has not come for so long is lost, and is waited for no more."""
_CLOCKS_S = 0.02
"""File systems count time in steps."""
_MANY = 256

State = tuple[int, int, int]
"""Inode, size, time of the last write in nanoseconds."""


class Writers:
    """What events have told of files, by absolute path without links; told on watchdog's thread, asked on others."""

    def __init__(self) -> None:
        self.are_told = False
        """Before anybody watches, files are read as they are: nothing could be told of them, and nothing is there yet
        that could stay."""
        self.look_again: Callable[[float], None] = lambda _: None
        """Called with the seconds after which a file that was kept off is worth another reading."""
        self.silent: frozenset[str] = frozenset()
        """Files of which no event tells."""
        self._lock = threading.Condition()
        self._open: set[str] = set()
        self._ended: dict[str, float] = {}
        """When a file was closed after writing or moved to its place (Unix time)."""
        self._unheard: dict[str, float] = {}
        """Files that were read here, and of the end of that nothing has been heard yet."""
        self._was_open: dict[str, bool] = {}
        """Whether a file was written to during its reading, or was open to a writer when that ended."""
        self._touched: set[str] = set()
        """Files that were written to since the last reading of each began."""
        self._empty_since: dict[str, tuple[float, int | None]] = {}
        """Since when a file is as it was found last, and the time of its last write."""
        self._filled: set[str] = set()
        """Files that held something when they were read last: who cuts one down to nothing seldom leaves it at that."""
        self._refused: dict[str, float] = {}
        """Since when files are kept off, by the monotonic clock."""

    def written(self, path: str) -> None:
        """The file was created or written to."""
        with self._lock:
            self._open.add(path)
            if path in self._unheard:
                self._touched.add(path)

    def ended(self, path: str) -> None:
        """The file was closed after writing, or moved to its place."""
        now = _now()
        with self._lock:
            self._open.discard(path)
            if len(self._ended) > _MANY:
                self._ended = {file: end for file, end in self._ended.items() if now - end < OPEN_S}
            self._ended[path] = now

    def gone(self, path: str) -> None:
        """The file was deleted or moved away."""
        with self._lock:
            self._open.discard(path)
            self._ended.pop(path, None)

    def was_read(self, path: str) -> None:
        """Somebody who only read the file has closed it."""
        with self._lock:
            if path in self._unheard:
                del self._unheard[path]
                # Who has ended since may have written the rest only after it was read.
                self._was_open[path] = path in self._open or path in self._touched
                self._lock.notify_all()

    def read(self, path: Path) -> bytes:
        """What a file holds; raises Unfinished while somebody is writing it, and any other OSError as `read_octets`.

        Who writes without end is kept off for `OPEN_PATIENCE_S` at most. To be called on one thread at a time.
        """
        if not self.are_told:
            return read_octets(path)
        real = os.path.realpath(path)
        state = state_of(real)
        is_young = state is not None and _age(state[2]) < OPEN_S
        if is_young:
            self._hear_of(real)  # of the last reading: its end must not be taken for that of this one
        with self._lock:
            if is_young and real in self._unheard and real not in self.silent:
                if time.monotonic() - self._unheard[real] > _LOST_S:
                    del self._unheard[real]
                self._refuse(real)
            self._unheard[real] = time.monotonic()
            self._touched.discard(real)
        try:
            octets, written = read_watchfully(path)
        except OSError:
            with self._lock:
                self._unheard.pop(real, None)  # what was not opened is not closed either
            raise
        now = time.monotonic()
        # A file loses its content a little before that is written anywhere.
        since, when = self._empty_since.get(real, (now, None))
        if octets or when != written:
            since = now
        self._empty_since[real] = (since, written)
        is_emptied = not octets and now - since < (OPEN_S if real in self._filled else EMPTY_S)
        if not is_emptied and written is not None and _age(written) >= OPEN_S:
            self._note(real, octets)
            return octets
        is_settled = is_young and real in self.silent and not self.is_unfinished(real)
        was_open = self._hear_of(real) if is_young else None
        if is_emptied or written is None or was_open or (was_open is None and not is_settled):
            self._refuse(real)
        self._refused.pop(real, None)
        self._note(real, octets)
        return octets

    def _note(self, path: str, octets: bytes) -> None:
        (self._filled.add if octets else self._filled.discard)(path)

    def _hear_of(self, path: str) -> bool | None:
        """Wait for the event of our own last reading; whether the file was open to a writer then, None if unheard."""
        with self._lock:
            if path not in self.silent:
                self._lock.wait_for(lambda: path not in self._unheard, _OWN_EVENT_S)
            return self._was_open.pop(path, None)

    def is_unfinished(self, path: str) -> bool:
        """Whether somebody seems to be writing the file."""
        state = state_of(path)
        if state is None:
            return False
        age_s = _age(state[2])
        with self._lock:
            if path in self._open:
                return age_s < OPEN_S
            if age_s >= (SETTLED_S if state[1] else EMPTY_S):
                return False
            return not state[1] or path not in self._ended or self._ended[path] < state[2] / 1e9 - _CLOCKS_S

    def _refuse(self, path: str) -> None:
        """Raise Unfinished unless that was done long enough."""
        now = time.monotonic()
        if now - self._refused.setdefault(path, now) < (PATIENCE_S if path in self.silent else OPEN_PATIENCE_S):
            self.look_again(OPEN_S if path in self._open else SETTLED_S)
            raise Unfinished(errno.EAGAIN, "somebody is writing it", path)


def state_of(path: str | Path) -> State | None:
    """What tells two contents of a file apart most of the time; None when it is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _now() -> float:
    return time.clock_gettime(time.CLOCK_REALTIME)


def _age(written_ns: int) -> float:
    """Seconds since a file's last write; infinite for one that is dated in the future, but for the steps of clocks."""
    age_s = _now() - written_ns / 1e9
    return max(age_s, 0.0) if age_s >= -_CLOCKS_S else math.inf
