"""The host's own name service as an upstream: blocking calls on a few threads, exchanges on the loop.

Which job is next is settled on the loop alone; a thread takes one job, blocks for as long as the C library does, and
hands back what was found. A module of the name service that hangs holds its thread, and nothing else: the same question
joins the job that is under way, other questions wait in a queue that is bounded, the threads are daemons, for which the
end of the process does not wait (those of `concurrent.futures` it would wait for).
"""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING

from resolver.forward.failures import Failure
from resolver.forward.system_names import (
    Ask,
    Calls,
    Found,
    ask_of,
    cannot_ask,
    look_up,
    reply_of,
    take_names_as_they_are,
)
from resolver.wire.constants import CLASS_IN, EDE_OTHER, SERVFAIL
from resolver.wire.query import Query, Verdict, scan

if TYPE_CHECKING:
    from resolver.forward.transports import Listener

log = logging.getLogger(__name__)

THREADS = 32
"""So many questions are asked at once; a thread is started when none is idle."""
WAITING = 512
"""So many more may wait for a thread."""

_BROKEN = Found(SERVFAIL, ede=(EDE_OTHER, "the host's name service: internal error"))


class SystemResolver:
    """The host's name service. Made and used on one loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        threads: int = THREADS,
        waiting: int = WAITING,
        calls: Calls | None = None,
    ) -> None:
        if calls is None:
            take_names_as_they_are()
        self._loop = loop
        self._calls = calls or Calls()
        self._max_threads = threads
        self._max_waiting = waiting
        self._threads = 0
        self._idle = 0
        self._handed_over: SimpleQueue[_Job | None] = SimpleQueue()
        self._running: dict[Ask, _Job] = {}
        self._waiting: dict[Ask, _Job] = {}  # in the order in which they came
        self._is_closed = False

    @property
    def busy(self) -> int:
        """How many threads wait for the name service."""
        return len(self._running)

    @property
    def queued(self) -> int:
        """How many questions wait for a thread."""
        return len(self._waiting)

    def open(self, query: bytes, listener: Listener) -> SystemExchange:
        """Ask ``query``, a whole DNS message, for ``listener``, who hears of it later, on the loop.

        A question that the name service cannot be asked has a reply, too, which says so. When too many wait it is
        `Failure.BUSY`.
        """
        scanned = scan(query)
        exchange = SystemExchange(self, listener, None if isinstance(scanned, Verdict) else scanned)
        if isinstance(scanned, Verdict) or self._is_closed:
            self._loop.call_soon(exchange.settle, None)
            return exchange
        ask = ask_of(scanned.key, scanned.qtype) if scanned.qclass == CLASS_IN else None
        if ask is None:
            self._loop.call_soon(exchange.settle, cannot_ask(scanned))
            return exchange
        job = self._running.get(ask) or self._waiting.get(ask)
        if job is None:
            job = self._begin(ask)
        if job is None:
            self._loop.call_soon(exchange.settle, None)
        else:
            exchange.job = job
            job.exchanges[exchange] = None
        return exchange

    def close(self) -> None:
        """Tell nobody any more, and let every thread end that is not blocked. May be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        for job in (*self._running.values(), *self._waiting.values()):
            for exchange in list(job.exchanges):
                exchange.close()
        self._waiting.clear()
        for _ in range(self._threads):
            self._handed_over.put(None)

    def forget(self, job: _Job) -> None:
        """Nobody asks for it any more: what waits is dropped, what a thread is at cannot be stopped."""
        if self._waiting.get(job.ask) is job:
            del self._waiting[job.ask]

    def _begin(self, ask: Ask) -> _Job | None:
        """A new job, on a thread or in the queue; None when both are full."""
        job = _Job(ask)
        if self._idle or self._grow():
            self._run(job)
        elif self._threads and len(self._waiting) < self._max_waiting:
            self._waiting[ask] = job
        else:
            return None
        return job

    def _grow(self) -> bool:
        if self._threads >= self._max_threads:
            return False
        try:
            threading.Thread(target=self._work, name=f"pydns-system-{self._threads}", daemon=True).start()
        except RuntimeError:  # the kernel gives no more: those that are there will do
            return False
        self._threads += 1
        self._idle += 1
        return True

    def _run(self, job: _Job) -> None:
        self._idle -= 1
        self._running[job.ask] = job
        self._handed_over.put(job)

    def _work(self) -> None:
        """What a thread does."""
        while (job := self._handed_over.get()) is not None:
            try:
                found = look_up(job.ask, self._calls)
            except Exception:
                log.exception("the name service could not be asked for %s", job.ask)
                found = _BROKEN
            with suppress(RuntimeError):  # the loop has been closed: nobody wants to know any more
                self._loop.call_soon_threadsafe(self._ended, job, found)

    def _ended(self, job: _Job, found: Found) -> None:
        del self._running[job.ask]
        self._idle += 1
        if self._waiting and not self._is_closed:
            self._run(self._waiting.pop(next(iter(self._waiting))))
        for exchange in list(job.exchanges):
            exchange.settle(found)


class SystemExchange:
    """One query that waits for its job."""

    __slots__ = ("_listener", "_query", "_resolver", "is_closed", "job")

    def __init__(self, resolver: SystemResolver, listener: Listener, query: Query | None) -> None:
        self._resolver = resolver
        self._listener = listener
        self._query = query
        self.job: _Job | None = None
        self.is_closed = False

    def close(self) -> None:
        """Wait no longer; the listener hears no more of it."""
        self.is_closed = True
        job, self.job = self.job, None
        if job is not None:
            job.exchanges.pop(self, None)
            if not job.exchanges:
                self._resolver.forget(job)

    def settle(self, found: Found | None) -> None:
        """Tell the listener, unless it wants to know no more; None: nothing was asked."""
        if self.is_closed:
            return
        if found is None or self._query is None:
            self.close()
            self._listener.broke(Failure.BUSY)
        else:
            self.job = None
            self._listener.received(reply_of(self._query, found))


class _Job:
    """One question to the name service, and everybody who wants to know."""

    __slots__ = ("ask", "exchanges")

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.exchanges: dict[SystemExchange, None] = {}
