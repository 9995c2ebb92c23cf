"""systemd-resolved, followed while it is wanted: its last good word, and what is wrong with it now."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from resolver.content import Reloads
from resolver.errors import Fault
from resolver.resolved.routing import SHOWN_AS, Imported, imported

if TYPE_CHECKING:
    from resolver.resolved.bus import Bus
    from resolver.resolved.links import LinkWatch

log = logging.getLogger(__name__)

RESOLVED = "resolved"
START_S = 0.3
"""How long a start waits for the first word; until it comes resolv.conf's own servers are asked."""
LOOK_S = 1.0
"""How often it is read again without a sign: some changes may have none."""
SETTLE_S = 0.1
"""How long after a sign it is read once more: the kernel tells us and resolved at the same time."""
APART_S = 0.05
"""Between two readings at the least: signs come in bursts."""
PAUSE_S = 0.5
"""Between attempts to reach the bus."""
FOLDER = Path("/run/systemd/resolve")
"""resolved rewrites what is in it: the files for changed servers and domains, those in netif for anything of a link."""


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
        self._bus: Bus | None = None
        self._links: LinkWatch | None = None
        self._loop: asyncio.AbstractEventLoop
        self._written: tuple[int, ...] = ()

    async def start(self, changed: Callable[[], None], *, wanted: bool) -> None:
        """Begin on the running loop; ``changed`` is called there when it says something else.

        Returns with its first word, or after `START_S` at the latest.
        """
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self.want(wanted)
        if self._task is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._first.wait(), START_S)

    def want(self, wanted: bool) -> None:
        """Follow it, or no longer; on the loop."""
        if wanted and self._task is None:
            self._first.clear()
            self._task = self._loop.create_task(self._follow())
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
        """Where something is written when something of it changes; netif may be looked into by root alone."""
        if self._task is None:
            return ()
        return tuple(folder for folder in (FOLDER, FOLDER / "netif") if os.access(folder, os.R_OK))

    def refresh(self) -> bool:
        """As `take`, after a look at what it has written: it is read soon when that has changed. On any thread."""
        if self._task is not None and (written := _written()) != self._written:
            self._written = written
            with suppress(RuntimeError):  # the loop has been closed
                self._loop.call_soon_threadsafe(self.look)
        return self.take()

    def take(self) -> bool:
        """True when it has said something else since this was asked last."""
        is_new, self._is_new = self._is_new, False
        return is_new

    def look(self) -> None:
        """Something may have changed: read it at once; on the loop."""
        if self._bus is not None:
            self._bus.look()

    async def _follow(self) -> None:
        from resolver.resolved.links import LinkWatch

        self._links = links = LinkWatch(self.look)
        try:
            while True:
                try:
                    await self._listen()
                except Exception as error:
                    self._failed(error)
                await asyncio.sleep(PAUSE_S)
        finally:
            links.close()

    async def _listen(self) -> None:
        """Read again and again, until the bus is gone."""
        from resolver.resolved.bus import Bus, NoAnswerYet

        self._bus = bus = await Bus.open()
        is_told = True
        try:
            while True:
                next_at = self._loop.time() + APART_S
                try:
                    await self._read(bus)
                except NoAnswerYet as error:
                    self._failed(error)
                is_told = await bus.news(SETTLE_S if is_told else LOOK_S)
                await asyncio.sleep(next_at - self._loop.time())
        finally:
            self._bus = None
            bus.close()

    async def _read(self, bus: Bus) -> None:
        facts = await bus.read()
        if self._links is not None:
            self._links.wanted = facts.links.keys()
        found = imported(facts)
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

    def _failed(self, error: Exception) -> None:
        """Note why it cannot be read."""
        from resolver.resolved.bus import NoAnswer

        if not isinstance(error, NoAnswer):
            log.error("%s could not be read", SHOWN_AS, exc_info=error)
        effect = "the servers of resolv.conf are asked" if self.imported is None else "what it said last counts on"
        fault = _no_answer(error, effect)
        self.faults = (fault,)
        if not self._is_away:
            self._is_away = True
            self.reloads.count(success=False)
            log.warning("%s", fault)
        self._first.set()


def _warn(fault: Fault) -> None:
    log.warning("%s", fault)


def read_once(told: Callable[[Fault], None] = _warn) -> Imported | None:
    """What it says now, for a command that is no server; None when it cannot be read, and ``told`` why. Blocks."""
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
        told(_no_answer(error, "the servers of resolv.conf are asked"))
        return None


def _written() -> tuple[int, ...]:
    """When something in resolved's folders was replaced last, in nanoseconds; anybody may ask that."""
    found = []
    for folder in (FOLDER, FOLDER / "netif"):
        with suppress(OSError):
            found.append(folder.stat().st_mtime_ns)
    return tuple(found)


def _no_answer(error: Exception, effect: str) -> Fault:
    return Fault(SHOWN_AS, f"cannot be read: {error}", f"{effect}; see forward.resolved", is_warning=True)


def _nothing_left() -> Fault:
    effect = "those that it named before are asked on"
    return Fault(SHOWN_AS, "names no server any more", f"see resolvectl status; {effect}", is_warning=True)
