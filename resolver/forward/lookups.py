"""Look-ups as the server asks for them: from the cache, with others who ask the same, else by the forwarder.

| what happens                                     | what the client gets                                              |
|--------------------------------------------------|-------------------------------------------------------------------|
| the cache has it                                 | it, with its TTLs counted down; a popular name is fetched anew    |
|                                                  | shortly before its time is over                                   |
| the same question is under way                   | what comes of that one                                            |
| a reply comes                                    | it, and it is kept                                                |
| no usable reply, or none for 1.8 s, and the      | the stale one, with the extended error "Stale Answer" (RFC 8767   |
| cache has one whose time is over                 | 5); the look-up goes on, for the cache                            |
| the same within 30 s after that                  | the stale one, at once                                            |
| no usable reply                                  | what `Outcome` says                                               |
| too many wait already                            | REFUSED                                                           |

A look-up that is shared is one look-up: the memory of its upstreams hears of it once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from dataclasses import replace
from functools import partial

from resolver.forward.cache import RECHECK_S, Cache, CacheSettings, Entry
from resolver.forward.forwarder import TOO_MANY, Done, Forwarder, Outcome, no_namespace
from resolver.forward.policy import DEFAULT_OPTIONS, ForwardOptions
from resolver.forward.shared import key_of, shareable
from resolver.forward.transports import SocketFactory
from resolver.forward.upstreams import Upstream
from resolver.wire.constants import EDE_STALE_ANSWER, NOERROR, NXDOMAIN, RCODE_MASK
from resolver.wire.query import Query

WAITING_FOR_EACH = 8
"""How many may wait, together, for each look-up that may be under way."""
_AT_A_TIME = 256
"""So many who waited are told at once; then the listeners have their turn."""
PATIENCE_S = 1.8
"""How long a client waits for an upstream while there is a stale answer (RFC 8767 5: the client response timer)."""


class Lookups:
    """The way of every forwarded query."""

    def __init__(self, forwarder: Forwarder, settings: CacheSettings | None = None) -> None:
        self.forwarder = forwarder
        self.cache = Cache(settings or CacheSettings())
        self.shared = 0
        """Queries that were answered by somebody else's look-up."""
        self.waiting = 0
        """Queries that wait for a look-up now."""
        self._under_way: dict[Hashable, _Shared] = {}
        self._loop = asyncio.get_running_loop()

    def resolve(
        self,
        query: Query,
        upstreams: Sequence[Upstream],
        over_tcp: bool,
        done: Done,
        options: ForwardOptions = DEFAULT_OPTIONS,
        in_namespace: SocketFactory = no_namespace,
    ) -> None:
        """As `Forwarder.resolve`; ``done`` is called once, perhaps before this returns."""
        key = key_of(query, upstreams, in_namespace)
        if key is None:
            self.forwarder.resolve(query, upstreams, over_tcp, done, options, in_namespace)
            return
        now = self._loop.time()
        entry = self.cache.get(key, now)
        if entry is not None:
            done(Outcome(entry.counted_down(now), None, None, is_cached=True))
            if not self.cache.is_worth_fetching(entry, now):
                return
            done = _nobody
        shared = self._under_way.get((key, over_tcp))
        stale = self.cache.stale(key, now)
        if stale is not None and done is not _nobody and (now < stale.failed_at + RECHECK_S):
            self.cache.stale_hits += 1
            done(_stale_outcome(stale))
            return
        if self.waiting >= WAITING_FOR_EACH * self.forwarder.max_in_flight:
            self.forwarder.turned_away += 1
            done(TOO_MANY if stale is None else _stale_outcome(stale))
            return
        if shared is not None:
            if done is not _nobody:
                self.shared += 1
                shared.add(done)
            return
        shared = self._under_way[key, over_tcp] = _Shared(self, key, query, stale, done)
        ended = partial(self._ended, shared, over_tcp)
        self.forwarder.resolve(query, upstreams, over_tcp, ended, options, in_namespace)

    def close(self) -> None:
        """End every look-up; later ones end at once."""
        self.forwarder.close()

    def _ended(self, shared: _Shared, over_tcp: bool, outcome: Outcome) -> None:
        self._under_way.pop((shared.key, over_tcp), None)
        reply = None if outcome.reply is None else shareable(shared.query, outcome.reply)
        if reply is not None:
            outcome = replace(outcome, reply=reply)
            if shared.generation == self.cache.generation:
                self.cache.put(shared.key, shared.query, reply, self._loop.time())
        shared.end(outcome)


class _Shared:
    """One look-up and everybody who waits for it."""

    __slots__ = ("_lookups", "_stale", "_timer", "_waiting", "generation", "key", "query")

    def __init__(self, lookups: Lookups, key: Hashable, query: Query, stale: Entry | None, done: Done) -> None:
        self.key = key
        self.query = query
        self.generation = lookups.cache.generation
        self._lookups = lookups
        self._stale = stale
        self._waiting: list[Done] = []
        self._timer = None if stale is None else lookups._loop.call_later(PATIENCE_S, self._lose_patience)
        self.add(done)

    def add(self, done: Done) -> None:
        """One more waits."""
        self._waiting.append(done)
        self._lookups.waiting += 1

    def end(self, outcome: Outcome) -> None:
        """Tell everybody."""
        if self._timer is not None:
            self._timer.cancel()
        is_usable = outcome.reply is not None and outcome.reply[3] & RCODE_MASK in (NOERROR, NXDOMAIN)
        if self._stale is not None and not is_usable:
            self._fall_back(self._stale)
        else:
            self._tell(outcome)

    def _lose_patience(self) -> None:
        assert self._stale is not None
        self._fall_back(self._stale)

    def _fall_back(self, stale: Entry) -> None:
        stale.failed_at = self._lookups._loop.time()
        self._lookups.cache.stale_hits += sum(done is not _nobody for done in self._waiting)
        self._tell(_stale_outcome(stale))

    def _tell(self, outcome: Outcome) -> None:
        waiting, self._waiting = self._waiting, []
        self._lookups.waiting -= len(waiting)
        self._tell_some(waiting, outcome)

    def _tell_some(self, waiting: list[Done], outcome: Outcome) -> None:
        for done in waiting[:_AT_A_TIME]:
            done(outcome)
        if rest := waiting[_AT_A_TIME:]:
            self._lookups._loop.call_soon(self._tell_some, rest, outcome)


def _stale_outcome(entry: Entry) -> Outcome:
    return Outcome(entry.stale(), None, (EDE_STALE_ANSWER, ""), is_cached=True)


def _nobody(outcome: Outcome) -> None:
    """Waits for a look-up that is made for the cache alone."""
