"""The folder that netavark writes for aardvark-dns: a file for each network; the last good state of each is kept.

`AardvarkFolder` reads it whenever it is told to, `AardvarkSource` watches it for ``pydns serve``.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct, structs

from resolver.counters import SourceCounts
from resolver.errors import Fault
from resolver.registry.model import Contribution
from resolver.sources.aardvark_file import NetworkFile, read
from resolver.sources.files import read_text
from resolver.sources.octets import Read, Unfinished, read_octets
from resolver.sources.watch import FileWatch
from resolver.sources.writers import Writers

PID_FILE = "aardvark.pid"


class Folder(Struct, frozen=True):
    """What the folder says now, and what is wrong with some of it."""

    files: tuple[NetworkFile, ...]
    """One for each file that could be read at least once and is still there, by file name."""
    faults: tuple[Fault, ...]
    is_empty: bool
    """True when there is no network file at all, good or bad."""


class AardvarkFolder:
    """The network files of one folder, and the last good state of each."""

    def __init__(self, path: Path, read: Read = read_octets) -> None:
        self.path = path
        self._read = read
        self._texts: dict[str, str] = {}
        self._good: dict[str, NetworkFile] = {}
        self._faults: dict[str, tuple[Fault, ...]] = {}

    def refresh(self) -> Folder:
        """Read again every file whose text has changed; one that has vanished takes its network along.

        A folder that is not there has no networks, and says so; one that cannot be listed keeps what it had.
        """
        faults: tuple[Fault, ...] = ()
        names = sorted(self._texts.keys() | self._faults.keys())
        try:
            names = sorted(name for name in os.listdir(self.path) if _is_network_file(name))
        except FileNotFoundError:
            names = []
            faults = (Fault(str(self.path), "is not there, and so there are no networks in it", is_warning=True),)
        except OSError as error:
            fix = "check the path and its permissions"
            faults = (Fault(str(self.path), f"cannot be listed: {error.strerror}", fix),)
        names = [name for name in names if self._reload(name)]
        for name in self._faults.keys() - set(names):
            self._forget(name)
        faults += tuple(fault for name in names for fault in self._faults.get(name, ()))
        return Folder(tuple(self._good[name] for name in names if name in self._good), faults, not names)

    def _reload(self, name: str) -> bool:
        """Read a file; False when it has vanished after the folder was listed."""
        path = self.path / name
        place = os.fsencode(path).decode("utf-8", "backslashreplace")
        try:
            text, fault = read_text(path, self._read)
        except Unfinished:
            return True
        if fault is not None:
            self._texts.pop(name, None)
            self._faults[name] = (replace(fault, place=place),)
            return os.path.lexists(path)
        if self._texts.get(name) != text:
            self._texts[name] = text
            outcome = read(text, place, name)
            self._faults[name] = outcome.faults
            if outcome.file is not None:
                self._good[name] = _like(self._good.get(name), outcome.file)
        return True

    def _forget(self, name: str) -> None:
        self._faults.pop(name)
        self._texts.pop(name, None)
        self._good.pop(name, None)


class AardvarkSource:
    """The folder as a `LiveSource`: watched, and read when something in it changes."""

    def __init__(self, path: Path) -> None:
        self.name = f"aardvark {path}"
        self.contribution: Contribution | None = None
        self.faults: tuple[Fault, ...] = ()
        self.counts = SourceCounts()
        self._writers = Writers()
        self._folder = AardvarkFolder(path, self._writers.read)
        self._watch: FileWatch | None = None
        self._reading: asyncio.Task[None] | None = None
        self._is_stale = False
        self._changed: Callable[[], None] = lambda: None

    async def start(self, changed: Callable[[], None]) -> None:
        """Read the folder, and call ``changed`` whenever it says something else from now on."""
        self._changed = changed
        self._take(await asyncio.to_thread(self._read))
        self._watch = FileWatch(asyncio.get_running_loop(), self._wake, self._writers)
        self._wake()  # for what changes before the watch is there

    async def stop(self) -> None:
        """Watch no more; idempotent."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.stop()
        if self._reading is not None:
            self._reading.cancel()
            with suppress(asyncio.CancelledError):
                await self._reading

    def _wake(self) -> None:
        self._is_stale = True
        if self._watch is not None and (self._reading is None or self._reading.done()):
            self._reading = asyncio.get_running_loop().create_task(self._follow(self._watch))

    async def _follow(self, watch: FileWatch) -> None:
        while self._is_stale:
            self._is_stale = False
            folder, took_s = await asyncio.to_thread(self._look, watch)
            watch.took(took_s)
            if self._take((folder, took_s)):
                self.counts.events += 1
                self._changed()

    def _look(self, watch: FileWatch) -> tuple[Folder, float]:
        watch.follow([self._folder.path])
        return self._read()

    def _read(self) -> tuple[Folder, float]:
        started = time.perf_counter()
        return self._folder.refresh(), time.perf_counter() - started

    def _take(self, outcome: tuple[Folder, float]) -> bool:
        """Go by what was read; True when it is something new."""
        folder, took_s = outcome
        before = self.contribution, self.faults
        networks = tuple(file.network for file in folder.files)
        if self.contribution is None or self.contribution.networks != networks:
            self.contribution = Contribution(self.name, networks)
        self.faults = folder.faults
        errors = sum(not fault.is_warning for fault in folder.faults)
        self.counts.is_up = not errors
        self.counts.failures += bool(errors) and self.faults != before[1]
        self.counts.syncs += not errors
        self.counts.skipped = len(folder.faults)
        self.counts.sync_s = took_s
        self.counts.last_sync = datetime.now(UTC).timestamp()
        return (self.contribution, self.faults) != before


def _like(before: NetworkFile | None, after: NetworkFile) -> NetworkFile:
    """The same file, with the former objects for what has not changed: by these is found out what has."""
    if before is None:
        return after
    known = {endpoint.name: endpoint for endpoint in before.network.endpoints}
    endpoints = tuple(
        was if (was := known.get(now.name)) == now and was.origin == now.origin else now
        for now in after.network.endpoints
    )
    return structs.replace(after, network=replace(after.network, endpoints=endpoints))


def _is_network_file(name: str) -> bool:
    return name != PID_FILE and not name.startswith(".")
