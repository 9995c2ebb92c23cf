"""Brings what is attached in line with what ought to be: each target on its own, again after a failure.

A target has one piece of work under way at most, attaching or letting go; what it should become may change meanwhile
and is looked at when that is done. Nothing here knows how attaching is done.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from enum import Enum
from typing import Any, Protocol

from msgspec import Struct

from resolver.agent.targets import Identity, Key, Wanted
from resolver.attach.attachment import ServedAlready
from resolver.counters import Histogram
from resolver.errors import AttachError

log = logging.getLogger(__name__)

FIRST_RETRY_S = 0.25
LONGEST_RETRY_S = 60.0
CLOSE_S = 12.0
"""How long letting go of everything may take; firewall commands give up before (`command.hurry`)."""
AT_ONCE = 8
"""How many namespaces are attached to at the same time."""


class NotThere(AttachError):
    """The namespace's process does not exist; perhaps it has just ended, and its end will be told."""


class Phase(Enum):
    """How far a target has come."""

    ATTACHING = "attaching"
    ATTACHED = "attached"
    LEAVING = "leaving"
    FAILED = "failed"
    LEFT = "left alone"
    ENDED = "ended"


class Held(Protocol):
    """A namespace that is served."""

    def restate(self, wanted: Wanted) -> None:
        """Serve another view from now on."""

    async def close(self, *, drain: bool = True) -> None:
        """Let go of it; never raises."""


Attach = Callable[[Wanted, Identity | None, Callable[[], None]], Awaitable[Held]]
"""Attaches to the namespace with that identity and to no other (None: to none at all, but it says what is wrong), or
raises AttachError; the third argument is to be called when the namespace's process has ended."""


class Counts(Struct):
    """How the agent has done so far."""

    attached: int = 0
    """Namespaces attached now."""
    failing: int = 0
    """Namespaces that ought to be and could not be, so far."""
    failures: int = 0
    """Attempts that failed."""


class _Entry(Struct, eq=False):
    wanted: Wanted
    is_wanted: bool = True
    phase: Phase = Phase.ATTACHING
    held: Held | None = None
    task: asyncio.Task[None] | None = None
    retry: asyncio.TimerHandle | None = None
    attempts: int = 0
    reason: str = ""
    identity: Identity | None = None


class Keeper:
    """Attaches to what is wanted, lets go of what is not. Used on one running loop."""

    def __init__(
        self, attach: Attach, identify: Callable[[Wanted], Identity | None], never: Identity | None = None
    ) -> None:
        """``identify`` tells a target's namespace (None: there is none); ``never`` is the one that we run in."""
        self._attach = attach
        self._identify = identify
        self._never = never
        self._loop = asyncio.get_running_loop()
        self._entries: dict[Key, _Entry] = {}
        self._taken: dict[Identity, _Entry] = {}
        """By namespace, the target for which it is, or is being, attached."""
        self._free = asyncio.Semaphore(AT_ONCE)
        self._failures = 0
        self.durations = Histogram()
        """From the first look at a namespace to its being served, in seconds."""

    @property
    def counts(self) -> Counts:
        """The figures of now."""
        phases = [entry.phase for entry in self._entries.values()]
        return Counts(phases.count(Phase.ATTACHED), phases.count(Phase.FAILED), self._failures)

    @property
    def held(self) -> frozenset[Key]:
        """The keys of what is attached."""
        return frozenset(key for key, entry in self._entries.items() if entry.held is not None)

    def has_taken(self, identity: Identity) -> bool:
        """True when the namespace is attached, or is being attached, for some target."""
        return identity in self._taken

    def report(self) -> Iterator[tuple[Wanted, str, str]]:
        """Each target, how far it has come, and why no further."""
        for entry in self._entries.values():
            yield entry.wanted, entry.phase.value, entry.reason

    def want(self, wanted: Mapping[Key, Wanted]) -> None:
        """Attach to exactly these from now on."""
        for key, entry in list(self._entries.items()):
            if key not in wanted:
                entry.is_wanted = False
                self._step(entry)
        for key, target in wanted.items():
            known = self._entries.get(key)
            if known is None:
                known = self._entries[key] = _Entry(target)
            elif known.is_wanted and known.wanted == target:
                continue
            elif known.wanted != target and known.phase in (Phase.FAILED, Phase.LEFT):
                known.attempts = 0
                self._cancel_retry(known)
            known.wanted, known.is_wanted = target, True
            self._step(known)

    async def settled(self, patience_s: float) -> None:
        """Wait until each target has been tried once, or until nothing has come of any for so long."""
        waiting = {entry.task for entry in self._entries.values() if entry.task is not None}
        while waiting:
            done, waiting = await asyncio.wait(waiting, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                log.warning("going on without waiting for %d namespaces that take long", len(waiting))
                return

    async def close(self, within_s: float = CLOSE_S) -> list[str]:
        """Let go of everything, all at once; the labels of what still was not let go of after so long."""
        self.want({})
        deadline = self._loop.time() + within_s
        while tasks := [entry.task for entry in self._entries.values() if entry.task is not None]:
            remaining_s = deadline - self._loop.time()
            if remaining_s <= 0:
                return [entry.wanted.label for entry in self._entries.values()]
            await asyncio.wait(tasks, timeout=remaining_s)
        return []

    def _step(self, entry: _Entry) -> None:
        """Whatever is to be done next about a target, unless something is under way."""
        if entry.task is not None:
            return
        if not entry.is_wanted or entry.phase is Phase.ENDED:
            self._cancel_retry(entry)
            if entry.held is not None:
                self._start(entry, self._let_go(entry, entry.held))
            elif not entry.is_wanted:
                self._entries.pop(entry.wanted.key, None)
        elif entry.held is not None:
            entry.held.restate(entry.wanted)
        elif entry.retry is None:
            self._start(entry, self._try(entry))

    def _start(self, entry: _Entry, work: Coroutine[Any, Any, None]) -> None:
        entry.task = self._loop.create_task(work)
        entry.task.add_done_callback(lambda task: self._done(entry, task))

    def _done(self, entry: _Entry, task: asyncio.Task[None]) -> None:
        entry.task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s: pydns failed by itself", entry.wanted.label, exc_info=error)
            self._failed(entry, str(error))
        if entry.held is None or not entry.is_wanted or entry.phase is Phase.ENDED:
            self._step(entry)

    async def _try(self, entry: _Entry) -> None:
        async with self._free:
            if not entry.is_wanted:
                return
            entry.phase = Phase.ATTACHING
            wanted, started = entry.wanted, self._loop.time()
            try:
                if not self._take(entry):
                    return
                entry.held = await self._attach(wanted, entry.identity, lambda: self._ended(entry))
            except (AttachError, OSError) as error:
                self._give_back(entry)
                if isinstance(error, ServedAlready):
                    self._leave(entry, str(error))
                else:
                    self._failed(entry, str(error), is_news=not isinstance(error, NotThere) or entry.attempts > 0)
                return
        took_s = self._loop.time() - started
        self.durations.observe(took_s)
        log.debug("%s: attached in %.1f ms", wanted.label, 1000 * took_s)
        if entry.attempts:
            log.info("%s is served now", wanted.label)
        entry.attempts, entry.reason = 0, ""
        if entry.phase is not Phase.ENDED:
            entry.phase = Phase.ATTACHED
        if entry.wanted != wanted:
            entry.held.restate(entry.wanted)

    def _take(self, entry: _Entry) -> bool:
        """Claim the target's namespace for it; False when it is the host's or another target's."""
        identity = self._identify(entry.wanted)
        if identity is None:
            return True  # attaching will say what is wrong
        other = self._taken.setdefault(identity, entry)
        if identity == self._never:
            del self._taken[identity]
            self._leave(entry, "it is the namespace that pydns itself runs in")
        elif other is not entry:
            self._leave(entry, f"its namespace is that of {other.wanted.label}")
        else:
            entry.identity = identity
            return True
        return False

    def _give_back(self, entry: _Entry) -> None:
        if entry.identity is None:
            return
        if self._taken.get(entry.identity) is entry:
            del self._taken[entry.identity]
        entry.identity = None

    async def _let_go(self, entry: _Entry, held: Held) -> None:
        has_ended = entry.phase is Phase.ENDED
        if not has_ended:
            entry.phase = Phase.LEAVING
        try:
            await held.close(drain=not has_ended)
        except Exception:
            log.exception("%s: pydns failed by itself while it let go", entry.wanted.label)
        entry.held = None
        self._give_back(entry)
        log.info("%s is let go", entry.wanted.label)
        for other in list(self._entries.values()):
            if other.phase is Phase.LEFT and other.is_wanted:  # perhaps for the sake of this one
                self._cancel_retry(other)
                self._step(other)

    def _ended(self, entry: _Entry) -> None:
        """The namespace's process is no more; whoever told us to attach will say so, too, sooner or later."""
        entry.phase = Phase.ENDED
        self._step(entry)

    def _leave(self, entry: _Entry, reason: str) -> None:
        if reason != entry.reason:
            log.info("%s is left alone: %s", entry.wanted.label, reason)
        entry.phase, entry.reason = Phase.LEFT, reason
        self._retry_in(entry, LONGEST_RETRY_S)

    def _failed(self, entry: _Entry, reason: str, *, is_news: bool = True) -> None:
        self._failures += 1
        entry.attempts += 1
        entry.phase = Phase.FAILED
        if is_news and reason != entry.reason and entry.is_wanted:
            entry.reason = reason
            log.error("%s is not served, which is tried again: %s", entry.wanted.label, reason)
        self._retry_in(entry, min(FIRST_RETRY_S * 2 ** min(entry.attempts - 1, 16), LONGEST_RETRY_S))

    def _retry_in(self, entry: _Entry, delay_s: float) -> None:
        self._cancel_retry(entry)
        if entry.is_wanted:
            delay_s = min(delay_s * random.uniform(0.75, 1.25), LONGEST_RETRY_S)
            entry.retry = self._loop.call_later(delay_s, self._retry, entry)

    def _retry(self, entry: _Entry) -> None:
        entry.retry = None
        self._step(entry)

    def _cancel_retry(self, entry: _Entry) -> None:
        if entry.retry is not None:
            entry.retry.cancel()
            entry.retry = None
