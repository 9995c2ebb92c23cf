"""Keeps what is served up to date: one reading at a time, on a thread, while answering goes on.

A file system may hang for hours (NFS). Whatever is read is waited for `READING_S`; then the others go on without it,
and it counts as soon as its reading ends.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from resolver.errors import Fault, PydnsError

if TYPE_CHECKING:
    from resolver.sources.watch import FileWatch
    from resolver.sources.writers import Writers

log = logging.getLogger(__name__)

_T = TypeVar("_T")

_READINGS = 3
PATIENCE_S, _AGAIN_S = 0.5, 0.05
"""How long a writer who does not stop is waited for, before the first reading and before another one."""
TRY_AGAIN_S = 5.0
"""After a reading that failed for want of something that the system may have again, as open files."""
READING_S = 5.0
"""How long one input is waited for."""
_WATCH = "the watch on files"


async def on_thread(work: Callable[[], _T]) -> _T:
    """As `asyncio.to_thread`, but on a thread that the end of the process does not wait for."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def settle(outcome: _T | None, error: Exception | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(cast(_T, outcome))

    def run() -> None:
        outcome, error = None, None
        try:
            outcome = work()
        except Exception as raised:
            error = raised
        with suppress(RuntimeError):  # the loop has been closed: nobody wants to know any more
            loop.call_soon_threadsafe(settle, outcome, error)

    threading.Thread(target=run, name="reload", daemon=True).start()
    return await done


async def in_time(work: Callable[[], _T]) -> _T:
    """The same, for `READING_S` at most; then PydnsError is raised."""
    try:
        return await asyncio.wait_for(on_thread(work), READING_S)
    except TimeoutError:
        raise PydnsError(f"it has not been read within {READING_S:g} s: its file system may hang") from None


class Input(Protocol):
    """Files that are read as one."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every path whose change can make a difference."""

    def refresh(self) -> bool:
        """Read again whatever has changed; True when that made a difference. Blocks."""


class Freshness:
    """Waits for files, daemons and SIGHUP to say that something is another, has it read, and then published."""

    def __init__(
        self,
        inputs: Sequence[Input],
        merge: Callable[[], bool],
        take_over: Callable[[], Awaitable[bool]],
        publish: Callable[[int], None],
        keep_up: Callable[[], bool] = lambda: False,
        writers: Writers | None = None,
    ) -> None:
        """``keep_up`` takes over at once, on the loop, the little that a live source says anew; False where it cannot.

        ``merge`` takes over what live sources say, without a look at files, True when it made a difference;
        ``take_over`` loads the configuration (False: the last one stays); ``publish`` is told how loudly to log;
        ``writers`` are what the inputs read files by, so that none is waited for."""
        self._inputs = inputs
        self._merge = merge
        self._take_over = take_over
        self._publish = publish
        self._keep_up = keep_up
        self._writers = writers
        self._is_followed = False
        """A watch tells of what is written from now on."""
        self._stale = asyncio.Event()
        self._is_hung_up = False
        self._are_files_stale = False
        self._watch: FileWatch | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._under_way: set[str] = set()
        self._hung: set[str] = set()
        """What has been waited for in vain."""
        self._is_late_change = False

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What is not read now because its file system does not answer."""
        return tuple(_hangs(what) for what in sorted(self._hung))

    def hang_up(self) -> None:
        """Everything is to be read anew, the configuration too."""
        self._is_hung_up = True
        self._stale.set()

    def files_changed(self) -> None:
        """Files may say something else now."""
        self._are_files_stale = True
        self._stale.set()

    def source_changed(self) -> None:
        """A live source says something else now."""
        self._stale.set()

    def stop(self) -> None:
        """Watch no longer; idempotent."""
        if self._watch is not None:
            self._watch.stop()

    async def keep(self) -> None:
        """Read anew whatever has changed, until cancelled."""
        from resolver.sources.watch import FileWatch

        self._loop = asyncio.get_running_loop()
        self._watch = FileWatch(self._loop, self.files_changed, self._writers)
        self.files_changed()  # for what changed between the first reading and the first watch
        while True:
            hung_up, self._is_hung_up = self._is_hung_up, False
            files, self._are_files_stale = self._are_files_stale or hung_up, False
            self._stale.clear()
            try:
                if not files and self._keep_up():
                    pass
                elif not hung_up or await self._take_over():
                    # A daemon's event does not wait for files: it is served within milliseconds.
                    began = self._loop.time()
                    changed = await on_thread(self._refresh if files else self._merge)
                    if changed or hung_up:
                        self._publish(logging.INFO if files else logging.DEBUG)
                    if files:
                        self._watch.took(self._loop.time() - began)
            except OSError as error:
                why = error.strerror or error
                log.error("a reload failed, and is tried again: %s; the last good state serves on", why)
                self._loop.call_later(TRY_AGAIN_S, self.hang_up if hung_up else self.files_changed)
            except Exception:
                log.exception("a reload failed; the last good state serves on")
            await self._stale.wait()

    def _refresh(self) -> bool:
        watch = self._watch
        assert watch is not None
        self._in_time(_WATCH, lambda: watch.follow(self._paths()))
        changed, self._is_late_change = self._is_late_change, False
        if self._is_followed and self._writers is not None:
            changed |= self._read()
        else:
            changed |= self._read_patiently(watch)
            self._is_followed = True
        if changed:
            self._in_time(_WATCH, lambda: watch.follow(self._paths()))
        return changed

    def _read_patiently(self, watch: FileWatch) -> bool:
        """Read what nobody can have told of yet: it may be half-written, and its writer may have ended long ago."""
        changed = False
        patience_s = PATIENCE_S
        for _ in range(_READINGS):  # what is written to while it is read is read once more before it is served
            self._in_time(_WATCH, partial(watch.await_writers, patience_s))
            patience_s = _AGAIN_S  # who writes without end is not waited for again
            changed |= self._read()
            if not self._in_time(_WATCH, watch.is_being_written):
                break
        return changed

    def _read(self) -> bool:
        changed = False
        for one in self._inputs:
            what = ", ".join(map(str, one.paths))
            changed |= bool(self._in_time(what, one.refresh) if what else one.refresh())
        return changed

    def _in_time(self, what: str, work: Callable[[], bool | None]) -> bool | None:
        """What the work has brought; None when it takes too long, or its last turn still does: its end calls again."""
        if what in self._under_way:
            return None
        outcome: list[bool | None] = []
        raised: list[Exception] = []
        ended = threading.Event()
        self._under_way.add(what)
        given_up = threading.Event()

        def run() -> None:
            try:
                outcome.append(work())
            except Exception as error:
                raised.append(error)
            ended.set()
            if given_up.is_set():
                self._ended_late(what, outcome, raised)

        threading.Thread(target=run, name="reading", daemon=True).start()
        if not ended.wait(READING_S):
            self._hung.add(what)
            given_up.set()
            if not ended.is_set():
                log.warning("%s", _hangs(what))
                return None
            self._hung.discard(what)
        self._under_way.discard(what)
        if raised:
            raise raised[0]
        return outcome[0]

    def _ended_late(self, what: str, outcome: list[bool | None], raised: list[Exception]) -> None:
        """On the thread of a reading that had been given up."""
        assert self._loop is not None
        log.info("%s can be read again", what)
        for error in raised:
            log.error("%s: the reading failed", what, exc_info=error)
        self._is_late_change |= bool(raised or outcome[0])
        self._hung.discard(what)
        self._under_way.discard(what)
        with suppress(RuntimeError):  # the loop has been closed
            self._loop.call_soon_threadsafe(self.files_changed)

    def _paths(self) -> list[Path]:
        return [path for one in self._inputs for path in one.paths]


def _hangs(what: str) -> Fault:
    effect = "what it said last counts on, the rest is kept up to date"
    return Fault(what, f"has not been read within {READING_S:g} s: its file system may hang", effect, is_warning=True)
