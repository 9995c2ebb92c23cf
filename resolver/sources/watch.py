"""Tells when files may have changed: watchdog on the directories they lie in, and a look at files with two paths.

A directory's watch sees a write, a rename over the file, and a symlink that is swapped (every directory that a chain of
links runs through is watched). It does not see a write through another path of the same file, as with a bind mount of
one file or a hard link: such files are compared ten times a second, and so are those in a folder that cannot be watched
(what comes and goes there is seen every few seconds). An event says no more than "look again": who is
told reads the files and compares, by `Writers.read`, which keeps off files that are being written.

A file that is known and was closed after writing, or replaced by another, is complete: that is told at once. Of what
comes, goes and changes names the end is waited for: half of it is not worth reading.
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

from resolver.sources.writers import EMPTY_S, PATIENCE_S, SETTLED_S, State, Writers, state_of

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent, FileSystemEventHandler
    from watchdog.observers.api import BaseObserver, ObservedWatch

log = logging.getLogger(__name__)

QUIET_S = 0.04
"""How long nothing may happen before the files are read: a writer's events come in a burst."""
LATEST_S = 0.15
"""When they are read at the latest, should the events never stop."""
APART_S = 0.06
"""Complete files are told of at once, but not sooner than that after the last time."""
SHARE, REST_S = 16, 0.12
"""Nor is more than one part in so many of the time spent on reading them, where that takes no longer rest than that."""
UNCLOSED_S = 0.6
"""When files are looked at that were written to and stay open: their writer may never close them."""
RECHECK_S = 5.0
"""How often they are looked at without any event: file systems exist that send none (NFS, vboxsf)."""
POLL_S = 0.1
"""How often files with two paths are compared."""
_MAX_LINKS = 40
_ESCAPED = re.compile(r"\\([0-7]{3})")

Identity = tuple[int, int]
"""Device and inode: what a watch really hangs on."""


class FileWatch:
    """Calls back on the event loop when any of a set of paths may have changed."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None], writers: Writers | None = None
    ) -> None:
        """``writers`` are told of every event, and ask for another look."""
        self._loop = loop
        self._callback = callback
        self._writers = Writers() if writers is None else writers
        self._writers.look_again = self._ask_again
        self._observer: BaseObserver | None = None
        self._watches: dict[Path, tuple[ObservedWatch, tuple[Identity, bool]]] = {}
        """With what each hangs on, and whether files in it are read."""
        self._unwatched: frozenset[Path] = frozenset()
        """Folders that the kernel would not watch: there are limits for each user (inotify(7))."""
        self._files: frozenset[str] = frozenset()
        self._compared: dict[Path, State | None] = {}
        """Files with two paths, as they were found last."""
        self._above: frozenset[str] = frozenset()
        """Folders in which nothing counts but these:"""
        self._counted: frozenset[str] = frozenset()
        self._followed: tuple[Path, ...] | None = None
        """What is watched as it is; None when a link or an inode may be another."""
        self._underway: set[str] = set()
        """What has come, or is gone, since files were told of last, and is not complete."""
        self._is_due = False
        self._rests_until = 0.0
        self._again: asyncio.TimerHandle | None = None
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
        paths = tuple(paths)
        if self._followed == paths and all(
            _identity(place) == known for place, (_, (known, _)) in self._watches.items()
        ):
            return
        self._followed = paths  # at once: what is heard of meanwhile is for another time
        folders: set[Path] = set()
        files: set[Path] = set()
        full: set[Path] = set()
        for path in map(Path, map(os.path.abspath, paths)):
            found = {place: place.is_dir() for place in places_of(path)}
            folders.update(place for place, is_folder in found.items() if is_folder)
            files.update(place for place, is_folder in found.items() if not is_folder)
            # Where links lead through, every member counts; else those of a folder that is meant itself.
            full.update((path,) if os.path.realpath(path) == str(path) else found)
        self._files = frozenset(map(str, files))
        self._above = frozenset(map(str, folders - full))
        self._counted = frozenset(map(str, folders | files | full))
        read = full | {file.parent for file in files}
        self._hang_on({folder: (_identity(folder), folder in read) for folder in folders})
        mounts = _mount_points()
        self._compared = {
            file: self._compared.get(file, state_of(file))
            for file in files
            if file.parent in self._unwatched or _has_two_paths(file, mounts)
        }
        if self._compared and self._poll is None:
            self._loop.call_soon_threadsafe(self._compare)
        self._writers.silent = frozenset(map(str, self._compared))
        self._writers.are_told = True

    def _hang_on(self, wanted: dict[Path, tuple[Identity | None, bool]]) -> None:
        """Watch these folders and no other ones; those that cannot be are noted, and warned of once."""
        for place, (watch, known) in list(self._watches.items()):
            if wanted.get(place) != known:
                del self._watches[place]
                assert self._observer is not None
                try:
                    self._observer.unschedule(watch)
                except (KeyError, OSError):
                    log.debug("the watch on %s had ended by itself", place)
        unwatched: set[Path] = set()
        for place, (identity, is_read) in wanted.items():
            if identity is None or place in self._watches:
                continue
            try:
                if self._observer is None:
                    self._observer = _observer()
                watch = self._observer.schedule(_handler(self), str(place), event_filter=_wanted_events(is_read))
            except OSError as error:
                unwatched.add(place)
                if place not in self._unwatched:
                    log.warning(
                        "%s cannot be watched: %s; it is looked at every %g s", place, error.strerror, RECHECK_S
                    )
                continue
            self._watches[place] = (watch, (identity, is_read))
        self._unwatched = frozenset(unwatched)

    def stop(self) -> None:
        """End the watch and its threads."""
        for timer in (self._timer, self._recheck, self._poll, self._unclosed, self._again):
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
        while time.monotonic() < deadline + patience_s and any(_is_young(file, 0) for file in self._files):
            time.sleep(0.001)

    def is_being_written(self) -> bool:
        """Whether any of the files has just been written to, whatever events tell."""
        return any(_is_young(file, SETTLED_S) for file in self._files)

    def took(self, seconds: float) -> None:
        """How long the files have just been read: the longer, the later they are told of again."""
        self._rests_until = self._loop.time() + min(max((SHARE - 1) * seconds, APART_S), REST_S)

    def _compare(self) -> None:
        if self._poll is not None:
            self._poll.cancel()
        self._poll = self._loop.call_later(POLL_S, self._compare) if self._compared else None
        for file, known in list(self._compared.items()):
            found = state_of(file)
            if found != known:
                self._compared[file] = found
                self._settle()

    def on_event(self, event: FileSystemEvent) -> None:
        """What watchdog has heard, on its thread."""
        kind = event.event_type
        path, target = map(self._ours, (os.fsdecode(event.src_path), os.fsdecode(event.dest_path)))
        if not path and not target:
            return
        if kind == "closed_no_write":
            self._writers.was_read(path)
        elif kind == "modified" and not event.is_directory:
            self._writers.written(path)
            self._on_write()
        elif kind == "created":
            self._writers.written(path)
            self._hear_later(path, False)
        elif kind == "closed":
            self._writers.ended(path)
            if not (self._is_due and path in self._files):
                self._hear_later(path, True)
        elif kind == "deleted":
            self._writers.gone(path)
            self._hear_later(path, False)
        elif kind == "moved":
            if path:
                self._writers.gone(path)
                self._hear_later(path, path not in self._files)
            if target:
                self._writers.ended(target)
                self._hear_later(target, True)

    def _ours(self, path: str) -> str:
        """The path, unless it is nobody's."""
        return "" if os.path.dirname(path) in self._above and path not in self._counted else path

    def _hear_later(self, path: str, is_end: bool) -> None:
        if not is_end or path not in self._files or os.path.islink(path):
            self._followed = None
        self._call(self._hear, path, is_end)

    def _call(self, heed: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(heed, *arguments)
        except RuntimeError:
            log.debug("a file changed while the loop was closing")

    def _on_write(self) -> None:
        """On watchdog's thread, and as often as somebody writes."""
        if not self._is_unclosed:
            self._is_unclosed = True
            self._call(self._settle_unclosed)

    def _ask_again(self, delay_s: float) -> None:
        """On the thread of a reading."""
        self._call(self._look_soon, delay_s)

    def _look_soon(self, delay_s: float) -> None:
        if self._again is None:
            self._again = self._loop.call_later(delay_s, self._fire)

    def _hear(self, path: str, is_end: bool) -> None:
        (self._underway.discard if is_end else self._underway.add)(path)
        if is_end and path in self._files and not self._underway:
            self._is_due = True
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(max(self._loop.time(), self._rests_until), self._fire)
        elif not self._is_due:
            self._settle()

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
        for timer in (self._unclosed, self._timer, self._again):
            if timer is not None:
                timer.cancel()
        self._first_event_at = self._timer = self._unclosed = self._again = None
        self._is_unclosed = self._is_due = False
        self._underway.clear()
        self._rests_until = self._loop.time() + APART_S
        self._callback()

    def _look_again(self) -> None:
        self._followed = None
        self._recheck = self._loop.call_later(RECHECK_S, self._look_again)
        self._callback()


def _observer() -> BaseObserver:
    """A running observer; the import of watchdog takes some 50 ms."""
    from watchdog.observers.inotify import InotifyObserver

    with suppress(ImportError):
        from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper

        # A file that is moved away is reported at once, and not held back for half a second in case it turns up again.
        InotifyMoveEventGrouper.delay = 0.0
    # What is moved into a folder is told apart from what is begun there.
    observer = InotifyObserver(generate_full_events=True)
    observer.start()
    return observer


def _handler(watch: FileWatch) -> FileSystemEventHandler:
    from watchdog.events import FileSystemEventHandler

    class Handler(FileSystemEventHandler):
        def dispatch(self, event: FileSystemEvent) -> None:
            watch.on_event(event)

    return Handler()


def _wanted_events(is_read: bool) -> list[type[FileSystemEvent]]:
    """What is to be heard of a folder: what comes and goes, and where files are read what is written to and closed.

    Not the opening of files, our own above all; but the end of a reading, which tells that ours is heard of.
    """
    from watchdog import events

    names = [events.FileCreatedEvent, events.FileMovedEvent, events.FileDeletedEvent]
    folders = [events.DirCreatedEvent, events.DirMovedEvent, events.DirDeletedEvent]
    writing = [events.FileModifiedEvent, events.FileClosedEvent, events.FileClosedNoWriteEvent] if is_read else []
    return [*names, *folders, *writing]


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


def _is_young(file: str, settled_s: float) -> bool:
    state = state_of(file)
    if state is None:
        return False
    age_s = time.clock_gettime(time.CLOCK_REALTIME) - state[2] / 1e9
    return 0 <= age_s < (settled_s if state[1] else EMPTY_S)


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
