"""systemd-resolved, followed while it is wanted: its last good word, and what is wrong with it now."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from resolver.content import Reloads
from resolver.errors import Fault
from resolver.resolved.routing import SHOWN_AS, Imported, imported

if TYPE_CHECKING:
    from resolver.resolved.bus import Bus

log = logging.getLogger(__name__)

RESOLVED = "resolved"
START_S = 0.3
"""How long a start waits for the first word; until it comes resolv.conf's own servers are asked."""
LOOK_S = 1.0
"""How often it is read again: of a changed domain, default route or link nobody tells."""
PAUSE_S, LONGEST_PAUSE_S = 0.25, 5.0
"""Between attempts, doubled after each."""


class Resolved:
    """One systemd-resolved, that of the host."""

    def __init__(self) -> None:
        self.imported: Imported | None = None
        """Its last good word; None before the first one, and while it is not wanted."""
        self.faults: tuple[Fault, ...] = ()
        self.reloads = Reloads()
        self._changed: Callable[[], None] = lambda: None
        self._task: asyncio.Task[None] | None = None
        self._first: asyncio.Event = asyncio.Event()
        self._is_new = False
        self._is_away = False

    async def start(self, changed: Callable[[], None], *, wanted: bool) -> None:
        """Begin on the running loop; ``changed`` is called there when it says something else.

        Returns with its first word, or after `START_S` at the latest.
        """
        self._changed = changed
        self.want(wanted)
        if self._task is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._first.wait(), START_S)

    def want(self, wanted: bool) -> None:
        """Follow it, or no longer; on the loop."""
        if wanted and self._task is None:
            self._first.clear()
            self._task = asyncio.get_running_loop().create_task(self._follow())
        elif not wanted and self._task is not None:
            self._task.cancel()
            self._task = None
            self.imported, self.faults, self._is_away = None, (), False

    async def stop(self) -> None:
        """Hear no more; idempotent."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """No file is to be watched for it."""
        return ()

    def refresh(self) -> bool:
        """True when it has said something else since this was asked last."""
        is_new, self._is_new = self._is_new, False
        return is_new

    async def _follow(self) -> None:
        pause_s = PAUSE_S
        while True:
            try:
                await self._listen()
            except Exception as error:
                if self._failed(error):
                    pause_s = PAUSE_S  # it has answered meanwhile
            self._first.set()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _listen(self) -> None:
        """Read again and again, until it cannot be read."""
        from resolver.resolved.bus import Bus

        bus = await Bus.open()
        try:
            while True:
                await self._read(bus)
                await bus.news(LOOK_S)
        finally:
            bus.close()

    async def _read(self, bus: Bus) -> None:
        found = imported(await bus.read())
        is_kept = found.is_empty and self.imported is not None and not self.imported.is_empty
        faults = (_nothing_left(),) if is_kept else ()
        if is_news := (self._is_away or faults != self.faults or (not is_kept and found != self.imported)):
            self.reloads.count(success=not is_kept)
            if self._is_away:
                log.info("%s answers", SHOWN_AS)
            for fault in faults:
                log.warning("%s", fault)
        self.faults, self._is_away = faults, False
        if not is_kept and found != self.imported:
            self.imported = found
            self._is_new = True
        self._first.set()
        if is_news:
            self._changed()

    def _failed(self, error: Exception) -> bool:
        """Note why it cannot be read; True when it could be until now."""
        from resolver.resolved.bus import NoAnswer

        if not isinstance(error, NoAnswer):
            log.error("%s could not be read", SHOWN_AS, exc_info=error)
        effect = "the servers of resolv.conf are asked" if self.imported is None else "what it said last counts on"
        fault = _no_answer(error, effect)
        self.faults = (fault,)
        was_away, self._is_away = self._is_away, True
        if not was_away:
            self.reloads.count(success=False)
            log.warning("%s", fault)
        return not was_away


def read_once() -> Imported | None:
    """What it says now, for a command that is no server; None, after a warning, when it cannot be read. Blocks."""
    from resolver.resolved.bus import Bus, NoAnswer

    async def read() -> Imported:
        bus = await Bus.open()
        try:
            return imported(await bus.read())
        finally:
            bus.close()

    try:
        return asyncio.run(read())
    except NoAnswer as error:
        log.warning("%s", _no_answer(error, "the servers of resolv.conf are asked"))
        return None


def _no_answer(error: Exception, effect: str) -> Fault:
    return Fault(SHOWN_AS, f"cannot be read: {error}", f"{effect}; see forward.resolved", is_warning=True)


def _nothing_left() -> Fault:
    effect = "those that it named before are asked on"
    return Fault(SHOWN_AS, "names no server any more", f"see resolvectl status; {effect}", is_warning=True)
