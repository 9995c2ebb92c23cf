"""Keeps what is served up to date: one reading at a time, on a thread, while answering goes on."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

if TYPE_CHECKING:
    from resolver.sources.watch import FileWatch

log = logging.getLogger(__name__)

_T = TypeVar("_T")

_READINGS = 3


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
    ) -> None:
        """``merge`` takes over what live sources say, without a look at files, True when it made a difference;

        ``take_over`` loads the configuration (False: the last one stays); ``publish`` is told how loudly to log."""
        self._inputs = inputs
        self._merge = merge
        self._take_over = take_over
        self._publish = publish
        self._stale = asyncio.Event()
        self._is_hung_up = False
        self._are_files_stale = False
        self._watch: FileWatch | None = None

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

        self._watch = FileWatch(asyncio.get_running_loop(), self.files_changed)
        self.files_changed()  # for what changed between the first reading and the first watch
        while True:
            hung_up, self._is_hung_up = self._is_hung_up, False
            files, self._are_files_stale = self._are_files_stale or hung_up, False
            self._stale.clear()
            try:
                if not hung_up or await self._take_over():
                    # A daemon's event does not wait for files: it is served within milliseconds.
                    changed = await on_thread(self._refresh if files else self._merge)
                    if changed or hung_up:
                        self._publish(logging.INFO if files else logging.DEBUG)
            except Exception:
                log.exception("a reload failed; the last good state serves on")
            await self._stale.wait()

    def _refresh(self) -> bool:
        assert self._watch is not None
        self._watch.follow(self._paths())
        changed = False
        for _ in range(_READINGS):  # what is written to while it is read is read once more before it is served
            self._watch.await_writers()
            for one in self._inputs:
                changed |= one.refresh()
            if not self._watch.is_being_written():
                break
        if changed:
            self._watch.follow(self._paths())
        return changed

    def _paths(self) -> list[Path]:
        return [path for one in self._inputs for path in one.paths]
