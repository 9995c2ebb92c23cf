"""The host's own name service as an upstream: blocking calls on a few threads, exchanges on the loop.

Which job is next is settled on the loop alone; a thread takes one job, blocks for as long as the C library does, and
hands back what was found.

| what happens                                  | what is done                                                         |
|-----------------------------------------------|----------------------------------------------------------------------|
| the same is asked while it is under way, for  | the query joins that job                                             |
| A, AAAA or another type                       |                                                                      |
| it was asked in the last second               | what was found then                                                  |
| a client holds as many threads as are free    | its further jobs wait in a queue of its own, as many as its share is |
| (`shares`), or there is none                  | (`shares`, once more)                                                |
| a thread is free again                        | the first of the client that holds the fewest, these in turn         |
| nobody waits for a queued job any more        | it is dropped                                                        |
| nobody waits for a running job any more       | it cannot be stopped: it goes on counting against whoever began it   |
| queue or share is full                        | `Failure.BUSY`: nothing was asked                                    |

So a module of the name service that hangs holds its thread, and who asks for such names at most half of them. The
threads are daemons, for which the end of the process does not wait (those of `concurrent.futures` it would wait for).
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Hashable
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING

from resolver.forward.failures import Failure
from resolver.forward.shares import Shares
from resolver.forward.system_names import (
    NO_SUCH_NAME,
    Ask,
    Calls,
    Found,
    ask_for,
    ask_of,
    cannot_ask,
    is_multicast,
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
KEPT_S = 1.0
"""So long what was found serves whoever asks next: of A and AAAA of one name one follows the other."""
_MAX_KEPT = 512
_OURSELVES = object()

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
        self._waiting: dict[Hashable, dict[Ask, _Job]] = {}  # by client; each in the order in which they came
        self._kept: dict[Ask, tuple[float, Found]] = {}  # with the end of their time, in that order
        self._on_threads = Shares()
        self._in_queue = Shares()
        self._is_closed = False

    @property
    def busy(self) -> int:
        """How many threads wait for the name service."""
        return len(self._running)

    @property
    def queued(self) -> int:
        """How many questions wait for a thread."""
        return self._in_queue.taken

    def open(self, query: bytes, listener: Listener, client: Hashable | None = None) -> SystemExchange:
        """Ask ``query``, a whole DNS message, for ``listener``, who hears of it later, on the loop.

        ``client`` is whose share of threads and queue it counts to; all that is nobody's, None, counts as one's.

        A question that the name service cannot be asked has a reply, too, which says so. When too many wait it is
        `Failure.BUSY`.
        """
        scanned = scan(query)
        exchange = SystemExchange(self, listener, None if isinstance(scanned, Verdict) else scanned)
        if isinstance(scanned, Verdict) or self._is_closed:
            self._loop.call_soon(exchange.settle, None)
            return exchange
        ask = _ask_of(scanned)
        if not isinstance(ask, Ask):
            self._loop.call_soon(exchange.settle, ask)
            return exchange
        kept = self._kept.get(ask)
        if kept is not None and kept[0] > self._loop.time():
            self._loop.call_soon(exchange.settle, kept[1])
            return exchange
        job = self._running.get(ask) or self._begin(ask, _OURSELVES if client is None else client)
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
        waiting = [job for jobs in self._waiting.values() for job in jobs.values()]
        for job in (*self._running.values(), *waiting):
            for exchange in list(job.exchanges):
                exchange.close()
        for _ in range(self._threads):
            self._handed_over.put(None)

    def forget(self, job: _Job) -> None:
        """Nobody asks for it any more: what waits is dropped, what a thread is at cannot be stopped."""
        if self._waiting.get(job.client, {}).get(job.ask) is job:
            self._unqueue(job)

    def _begin(self, ask: Ask, client: Hashable) -> _Job | None:
        """A job, on a thread or in the queue; None when both are full, or the client's share of them."""
        job = self._waiting.get(client, {}).get(ask)
        if job is not None:
            return job
        job = _Job(ask, client)
        if self._start(job):
            return job
        if not self._threads or self._in_queue.take(client, self._max_waiting) is not None:
            return None
        self._waiting.setdefault(client, {})[ask] = job
        return job

    def _start(self, job: _Job) -> bool:
        """Give it a thread, if one is to be had for its client."""
        if self._on_threads.take(job.client, self._max_threads) is not None:
            return False
        if not self._idle and not self._grow():
            self._on_threads.give_back(job.client)
            return False
        self._run(job)
        return True

    def _unqueue(self, job: _Job) -> None:
        jobs = self._waiting[job.client]
        del jobs[job.ask]
        if not jobs:
            del self._waiting[job.client]
        self._in_queue.give_back(job.client)

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
        for jobs in list(self._waiting.values()):  # whoever else waits to ask the same needs to wait no longer
            queued = jobs.get(job.ask)
            if queued is not None:
                self._unqueue(queued)
                for exchange in queued.exchanges:
                    exchange.job = job
                job.exchanges |= queued.exchanges
        self._idle -= 1
        self._running[job.ask] = job
        self._handed_over.put(job)

    def _go_on(self) -> None:
        """Give threads that are free to whoever waits and holds the fewest."""
        while self._waiting:
            client = min(self._waiting, key=self._on_threads.held)
            if not self._start(next(iter(self._waiting[client].values()))):
                return

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
        self._on_threads.give_back(job.client)
        if not self._is_closed:
            self._keep(job.ask, found)
            if job.client in self._waiting:
                self._waiting[job.client] = self._waiting.pop(job.client)  # behind those that hold as few
            self._go_on()
        for exchange in list(job.exchanges):
            exchange.settle(found)

    def _keep(self, ask: Ask, found: Found) -> None:
        now = self._loop.time()
        self._kept.pop(ask, None)
        while self._kept:
            oldest = next(iter(self._kept))
            if self._kept[oldest][0] > now and len(self._kept) < _MAX_KEPT:
                break
            del self._kept[oldest]
        self._kept[ask] = now + KEPT_S, found


def _ask_of(query: Query) -> Ask | Found:
    """What a query is to the name service; what is said to one that it cannot be asked."""
    if query.qclass != CLASS_IN:
        return cannot_ask(query)
    ask = ask_of(query.key, query.qtype)
    if ask is not None:
        return ask
    if is_multicast(query.key):
        return ask_for(query.key) or NO_SUCH_NAME
    return cannot_ask(query)


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

    __slots__ = ("ask", "client", "exchanges")

    def __init__(self, ask: Ask, client: Hashable) -> None:
        self.ask = ask
        self.client = client
        """Whose share it counts to."""
        self.exchanges: dict[SystemExchange, None] = {}
