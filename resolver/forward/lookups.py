"""Look-ups as the server asks for them: from the cache, with others who ask the same, else by the forwarder.

| what happens                                     | what the client gets                                              |
|--------------------------------------------------|-------------------------------------------------------------------|
| AAAA, with the option `no-aaaa`                  | that there is none; nobody is asked                               |
| the cache has it                                 | it, with its TTLs counted down; a popular name is fetched anew    |
|                                                  | shortly before its time is over                                   |
| the same question is under way                   | what comes of that one                                            |
| a reply comes                                    | it, and it is kept                                                |
| one that says there is nothing, of a later       | it, for 2 s (`policy`); those before are asked on, and what they  |
| upstream, and those before it are silent         | say takes its place                                               |
| no usable reply, or none for 1.8 s, and the      | the stale one, with the extended error "Stale Answer" (RFC 8767   |
| cache has one whose time is over                 | 5); the look-up goes on, for the cache                            |
| the same within 30 s after that                  | the stale one, at once                                            |
| no usable reply                                  | what `Outcome` says                                               |
| too many wait already, or too many of its own    | REFUSED (`shares`)                                                |
| an upstream leads back to us                     | what the others say (`loops`)                                     |
| NXDOMAIN of DNS, where the host's name service   | NODATA if that one knows the name (`existence`)                   |
| is an upstream but cannot be asked for this type |                                                                   |

A look-up that is shared is one look-up: the memory of its upstreams hears of it once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Mapping, Sequence
from functools import partial

from resolver.forward.cache import RECHECK_S, Cache, CacheSettings, Entry, Lasting
from resolver.forward.existence import Existence
from resolver.forward.forwarder import Forwarder, no_namespace
from resolver.forward.loops import Loops, looping_error
from resolver.forward.outcomes import TURNED_AWAY, Done, Outcome
from resolver.forward.policy import DEFAULT_OPTIONS, ForwardOptions
from resolver.forward.rebinding import RebindingGuard
from resolver.forward.replies import nothing_for
from resolver.forward.shared import key_of, shareable
from resolver.forward.shares import Bound, Shares
from resolver.forward.system_names import names_last
from resolver.forward.transports import SocketFactory
from resolver.forward.upstreams import Upstream
from resolver.wire.constants import (
    AAAA,
    EDE_CACHED_ERROR,
    EDE_OTHER,
    EDE_STALE_ANSWER,
    EDE_STALE_NXDOMAIN,
    NOERROR,
    NXDOMAIN,
    RCODE_MASK,
    SERVFAIL,
)
from resolver.wire.query import Query

WAITING_FOR_EACH = 8
"""How many may wait, together, for each look-up that may be under way."""
_CACHED_ERROR = (EDE_CACHED_ERROR, "")
_NO_AAAA = (EDE_OTHER, "nobody is asked for AAAA (options no-aaaa in resolv.conf)")
_GUARDED = "guarded"
"""Part of a key: what was kept unguarded is nothing to guarded look-ups."""
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
        self.loops = Loops(forwarder)
        """Which upstreams lead back to us."""
        self._existence = Existence(forwarder)
        self._waits = Shares(forwarder.refused)
        self._under_way: dict[Hashable, _Shared] = {}
        self._loop = asyncio.get_running_loop()
        self.guard = RebindingGuard(self._loop.time)

    def resolve(
        self,
        query: Query,
        upstreams: Sequence[Upstream],
        over_tcp: bool,
        done: Done,
        options: ForwardOptions = DEFAULT_OPTIONS,
        in_namespace: SocketFactory = no_namespace,
        client: Hashable | None = None,
    ) -> None:
        """As `Forwarder.resolve`; ``done`` is called once, perhaps before this returns."""
        if options.no_aaaa and query.qtype == AAAA:
            done(Outcome(nothing_for(query), None, _NO_AAAA))
            return
        key = key_of(query, upstreams, in_namespace)
        if key is None:
            if options.is_guarded:
                done = partial(self.guard.pass_on, query, done)
            self._ask(query, upstreams, over_tcp, done, options, in_namespace, client)
            return
        if options.is_guarded:
            key = (key, _GUARDED)
        now = self._loop.time()
        entry = self.cache.get(key, now)
        if entry is not None:
            is_error = entry.rcode == SERVFAIL
            ede, lasting = (_CACHED_ERROR, None) if is_error else (None, Lasting(self.cache, entry, now))
            done(Outcome(entry.counted_down(now), None, ede, is_cached=True, lasting=lasting))
            if not self.cache.is_worth_fetching(entry, now):
                return
            done = _nobody
        shared = self._under_way.get((key, over_tcp))
        stale = self.cache.stale(key, now)
        if stale is not None and done is not _nobody and (now < stale.failed_at + RECHECK_S):
            self.cache.stale_hits += 1
            done(_stale_outcome(stale))
            return
        if shared is not None and done is _nobody:
            return
        forwarder = self.forwarder
        places, most = WAITING_FOR_EACH * forwarder.max_in_flight, WAITING_FOR_EACH * forwarder.max_per_client
        if (bound := self._waits.take(client, places, most)) is not None:
            done(TURNED_AWAY[bound] if stale is None else _stale_outcome(stale))
            return
        if shared is not None:
            self.shared += 1
            shared.add(done, client)
            return
        shared = _Shared(self, key, query, stale, over_tcp, options, in_namespace, (done, client))
        self._under_way[key, over_tcp] = shared
        shared.ask(upstreams, shared.ended, client)

    @property
    def generation(self) -> int:
        """Grows when something was flushed."""
        return self.cache.generation

    @property
    def waiting(self) -> int:
        """Queries that wait for a look-up now."""
        return self._waits.taken

    @property
    def refused(self) -> Mapping[Bound, int]:
        """Queries that were turned away, by the bound that they met."""
        return self.forwarder.refused

    def _ask(
        self,
        query: Query,
        upstreams: Sequence[Upstream],
        over_tcp: bool,
        done: Done,
        options: ForwardOptions,
        in_namespace: SocketFactory,
        client: Hashable | None,
    ) -> None:
        """Ask those of the upstreams that do not lead back to us."""
        loops = self.loops
        if loops.is_on and not loops.passes(upstreams, in_namespace):
            usable = self.loops.usable(upstreams, in_namespace, query.key)
            if upstreams and not usable:
                done(Outcome(None, None, looping_error(upstreams)))
                return
            upstreams = usable
        asked = self._existence if len(upstreams) > 1 and names_last(upstreams, query) else self.forwarder
        asked.resolve(query, upstreams, over_tcp, done, options, in_namespace, client)

    def close(self) -> None:
        """End every look-up; later ones end at once."""
        self.forwarder.close()

    def _keep(self, shared: _Shared, outcome: Outcome) -> Outcome:
        """The outcome as everybody may have it, in the cache if it may be kept."""
        reply, facts = outcome.reply, outcome.facts
        if reply is None:
            return outcome
        made = shareable(shared.query, reply) if facts is None else reply
        if made is None:
            return outcome
        if shared.generation == self.cache.generation:
            now = self._loop.time()
            is_provisional = outcome.is_provisional
            self.cache.put(shared.key, shared.query, made, now, is_provisional=is_provisional, facts=facts)
        return outcome if made == reply else outcome._replace(reply=made)


class _Shared:
    """One look-up and everybody who waits for it."""

    __slots__ = (
        "_in_namespace",
        "_lookups",
        "_options",
        "_over_tcp",
        "_stale",
        "_timer",
        "_waiting",
        "generation",
        "key",
        "query",
    )

    def __init__(
        self,
        lookups: Lookups,
        key: Hashable,
        query: Query,
        stale: Entry | None,
        over_tcp: bool,
        options: ForwardOptions,
        in_namespace: SocketFactory,
        first: tuple[Done, Hashable | None],
    ) -> None:
        self.key = key
        self.query = query
        self.generation = lookups.cache.generation
        self._lookups = lookups
        self._stale = stale
        self._over_tcp = over_tcp
        self._options = options
        self._in_namespace = in_namespace
        self._waiting = [first]
        self._timer = None if stale is None else lookups._loop.call_later(PATIENCE_S, self._lose_patience)

    def ask(self, upstreams: Sequence[Upstream], done: Done, client: Hashable | None) -> None:
        """Ask its question of these, for the share of that client."""
        if self._options.is_guarded:
            done = partial(self._lookups.guard.pass_on, self.query, done)
        self._lookups._ask(self.query, upstreams, self._over_tcp, done, self._options, self._in_namespace, client)

    def ended(self, outcome: Outcome) -> None:
        """It is over."""
        lookups = self._lookups
        lookups._under_way.pop((self.key, self._over_tcp), None)
        outcome = lookups._keep(self, outcome)
        self._end(outcome)
        if outcome.overtaken:
            self.ask(outcome.overtaken, self._heard_late, None)

    def _heard_late(self, outcome: Outcome) -> None:
        """Those who were overtaken have been asked on: their answer is the better one, their failure is none."""
        if outcome.reply is not None and outcome.reply[3] & RCODE_MASK in (NOERROR, NXDOMAIN):
            self._lookups._keep(self, outcome)

    def add(self, done: Done, client: Hashable | None) -> None:
        """One more waits, in a place that ``client`` has taken."""
        self._waiting.append((done, client))

    def _end(self, outcome: Outcome) -> None:
        """Tell everybody."""
        if self._timer is not None:
            self._timer.cancel()
        reply = outcome.reply
        is_usable = reply is not None and reply[3] & RCODE_MASK in (NOERROR, NXDOMAIN)
        if self._stale is None or is_usable:
            self._tell(outcome)
        else:
            self._fall_back(self._stale)

    def _lose_patience(self) -> None:
        assert self._stale is not None
        left_s = self._stale.left_s(self._lookups._loop.time())
        if left_s > 0:  # fetched ahead of time: nobody waits before it is over
            self._timer = self._lookups._loop.call_later(left_s + PATIENCE_S, self._lose_patience)
        else:
            self._fall_back(self._stale)

    def _fall_back(self, stale: Entry) -> None:
        now = self._lookups._loop.time()
        if stale.left_s(now) <= 0:
            stale.failed_at = now
        self._lookups.cache.stale_hits += sum(done is not _nobody for done, _ in self._waiting)
        self._tell(_stale_outcome(stale))

    def _tell(self, outcome: Outcome) -> None:
        waiting, self._waiting = self._waiting, []
        for _, client in waiting:
            self._lookups._waits.give_back(client)
        if len(waiting) == 1:
            waiting[0][0](outcome)
        else:
            self._tell_some(waiting, outcome)

    def _tell_some(self, waiting: list[tuple[Done, Hashable | None]], outcome: Outcome) -> None:
        for done, _ in waiting[:_AT_A_TIME]:
            done(outcome)
        if rest := waiting[_AT_A_TIME:]:
            self._lookups._loop.call_soon(self._tell_some, rest, outcome)


def _stale_outcome(entry: Entry) -> Outcome:
    code = EDE_STALE_NXDOMAIN if entry.rcode == NXDOMAIN else EDE_STALE_ANSWER
    return Outcome(entry.stale(), None, (code, ""), is_cached=True)


def _nobody(outcome: Outcome) -> None:
    """Waits for a look-up that is made for the cache alone."""
