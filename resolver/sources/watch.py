"""Tells when files may have changed: watchdog on the directories they lie in, and a look at files with two paths.

A directory's watch sees a write, a rename over the file, and a symlink that is swapped (every directory that a chain of
links runs through is watched). It does not see a write through another path of the same file, as with a bind mount of
one file or a hard link: such files are compared ten times a second. An event says no more than "look again": who is
told reads the files and compares.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent, FileSystemEventHandler
    from watchdog.observers.api import BaseObserver, ObservedWatch

log = logging.getLogger(__name__)

QUIET_S = 0.04
"""How long nothing may happen before the files are read: a writer's events come in a burst."""
LATEST_S = 0.15
"""When they are read at the latest, should the events never stop."""
UNCLOSED_S = 0.6
"""When files are looked at that were written to and stay open: their writer may never close them."""
RECHECK_S = 5.0
"""How often they are looked at without any event: file systems exist that send none (NFS, vboxsf)."""
POLL_S = 0.1
"""How often files with two paths are compared."""
SETTLED_S = 0.03
"""How long a file must not have been written to before it is read."""
EMPTY_S = 0.15
"""The same for one that is empty: most likely its writer has just begun."""
PATIENCE_S = 0.5
"""How long a writer who does not stop is waited for; as long again for a moment in which no file is empty."""
_MAX_LINKS = 40
_ESCAPED = re.compile(r"\\([0-7]{3})")

Identity = tuple[int, int]
"""Device and inode: what a watch really hangs on."""
State = tuple[int, int, int]
"""Inode, size, time of the last write in nanoseconds."""


class FileWatch:
    """Calls back on the event loop when any of a set of paths may have changed."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        self._observer: BaseObserver | None = None
        self._watches: dict[Path, tuple[ObservedWatch, Identity]] = {}
        self._files: frozenset[Path] = frozenset()
        self._compared: dict[Path, State | None] = {}
        """Files with two paths, as they were found last."""
        self._first_event_at: float | None = None
        self._unclosed: asyncio.TimerHandle | None = None
        self._is_unclosed = False
        self._timer: asyncio.TimerHandle | None = None
        self._recheck = loop.call_later(RECHECK_S, self._look_again)
        self._poll: asyncio.TimerHandle | None = None

    def follow(self, paths: Iterable[Path]) -> None:
        """Watch what these paths lead to now; called again after every change, since links and inodes move.

        Blocks, and may be called on any one thread at a time. watchdog is imported by the first call.
        """
        if self._observer is None:
            self._observer = _observer()
        folders: set[Path] = set()
        files: set[Path] = set()
        for path in paths:
            for place in places_of(path):
                (folders if place.is_dir() else files).add(place)
        self._files = frozenset(files)
        mounts = _mount_points()
        self._compared = {
            file: self._compared.get(file, _state(file)) for file in files if _has_two_paths(file, mounts)
        }
        if self._compared and self._poll is None:
            self._loop.call_soon_threadsafe(self._compare)
        wanted = {folder: _identity(folder) for folder in folders}
        for place, (watch, known) in list(self._watches.items()):
            if wanted.get(place) != known:
                del self._watches[place]
                try:
                    self._observer.unschedule(watch)
                except (KeyError, OSError):
                    log.debug("the watch on %s had ended by itself", place)
        for place, identity in wanted.items():
            if identity is None or place in self._watches:
                continue
            try:
                watch = self._observer.schedule(_handler(self._on_event, self._on_write), str(place))
            except OSError as error:
                log.warning("%s cannot be watched: %s; it is looked at every %g s", place, error.strerror, RECHECK_S)
                continue
            self._watches[place] = (watch, identity)

    def stop(self) -> None:
        """End the watch and its threads."""
        for timer in (self._timer, self._recheck, self._poll, self._unclosed):
            if timer is not None:
                timer.cancel()
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(timeout=1)
            self._observer = None

    def await_writers(self, patience_s: float = PATIENCE_S) -> None:
        """Wait until nobody is writing any of the files, in case somebody is, and for a bounded time; blocks."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline and self.is_being_written():
            time.sleep(SETTLED_S / 2)
        while time.monotonic() < deadline + patience_s and any(_is_being_written(file, 0) for file in self._files):
            time.sleep(0.001)

    def is_being_written(self) -> bool:
        """Whether any of the files has just been written to."""
        return any(_is_being_written(file, SETTLED_S) for file in self._files)

    def _compare(self) -> None:
        if self._poll is not None:
            self._poll.cancel()
        self._poll = self._loop.call_later(POLL_S, self._compare) if self._compared else None
        for file, known in list(self._compared.items()):
            found = _state(file)
            if found != known:
                self._compared[file] = found
                self._settle()

    def _on_event(self) -> None:
        """On watchdog's thread."""
        try:
            self._loop.call_soon_threadsafe(self._settle)
        except RuntimeError:
            log.debug("a file changed while the loop was closing")

    def _on_write(self) -> None:
        """On watchdog's thread, and as often as somebody writes."""
        if self._is_unclosed:
            return
        self._is_unclosed = True
        try:
            self._loop.call_soon_threadsafe(self._settle_unclosed)
        except RuntimeError:
            log.debug("a file was written to while the loop was closing")

    def _settle_unclosed(self) -> None:
        self._unclosed = self._loop.call_later(UNCLOSED_S, self._fire)

    def _settle(self) -> None:
        now = self._loop.time()
        if self._first_event_at is None:
            self._first_event_at = now
        if self._timer is not None:
            self._timer.cancel()
        due = min(now + QUIET_S, self._first_event_at + LATEST_S)
        self._timer = self._loop.call_at(due, self._fire)

    def _fire(self) -> None:
        if self._unclosed is not None:
            self._unclosed.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._first_event_at = self._timer = self._unclosed = None
        self._is_unclosed = False
        self._callback()

    def _look_again(self) -> None:
        self._recheck = self._loop.call_later(RECHECK_S, self._look_again)
        self._callback()


def _observer() -> BaseObserver:
    """A running observer; the import of watchdog takes some 50 ms."""
    from watchdog.observers import Observer

    with suppress(ImportError):
        from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper

        # A file that is moved away is reported at once, and not held back for half a second in case it turns up again.
        InotifyMoveEventGrouper.delay = 0.0
    observer = Observer()
    observer.start()
    return observer


def _handler(callback: Callable[[], None], written: Callable[[], None]) -> FileSystemEventHandler:
    """Passes on what may have changed content: opening and reading, our own above all, changes nothing.

    A write counts when it ends (``closed``), so that half a file is not read; ``written`` hears of the others.
    """
    from watchdog.events import FileSystemEventHandler

    class Handler(FileSystemEventHandler):
        def dispatch(self, event: FileSystemEvent) -> None:
            if event.event_type in ("closed", "moved", "deleted", "created"):
                callback()
            elif event.event_type == "modified" and not event.is_directory:
                written()

    return Handler()


def places_of(path: Path) -> set[Path]:
    """Every directory in which a change can make ``path`` mean something else, and the file itself."""
    places: set[Path] = set()
    current = Path(os.path.abspath(path))
    with suppress(OSError):  # what vanishes meanwhile or cannot be looked into is watched as far as it goes
        for _ in range(_MAX_LINKS):
            hop = _first_link(current)
            if hop is None:
                break
            link, rest = hop
            places.add(link.parent)
            current = Path(os.path.normpath(link.parent / os.readlink(link) / rest))
        if current.is_dir():
            places |= {current, current.parent}  # the parent: the folder itself may be replaced
            for member in current.iterdir():
                if member.is_symlink() and not member.is_dir():
                    places |= places_of(member)
                elif member.is_file():
                    places.add(member)
            return places
    return places | {current, current.parent}


def _first_link(path: Path) -> tuple[Path, Path] | None:
    """The first component of an absolute path that is a symbolic link, and what comes after it."""
    walked = Path(path.anchor)
    parts = path.parts[1:]
    for index, part in enumerate(parts):
        walked /= part
        if walked.is_symlink():
            return walked, Path(*parts[index + 1 :])
    return None


def _identity(place: Path) -> Identity | None:
    try:
        status = place.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _state(file: Path) -> State | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _is_being_written(file: Path, settled_s: float) -> bool:
    try:
        status = file.stat()
    except OSError:
        return False
    age_s = time.clock_gettime(time.CLOCK_REALTIME) - status.st_mtime
    return 0 <= age_s < (settled_s if status.st_size else EMPTY_S)


def _has_two_paths(file: Path, mounts: frozenset[str]) -> bool:
    try:
        return str(file) in mounts or file.stat().st_nlink > 1
    except OSError:
        return False


def _mount_points() -> frozenset[str]:
    """Where something is mounted in our mount namespace, single files too (proc_pid_mountinfo(5))."""
    try:
        table = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return frozenset()
    return frozenset(
        _ESCAPED.sub(lambda octal: chr(int(octal[1], 8)), line.split(" ")[4]) for line in table.splitlines()
    )
