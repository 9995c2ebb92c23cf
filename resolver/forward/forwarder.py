"""Forwarding: policy, transports and replies joined on the running loop, with one timer for each look-up.

The server hands over a query with the upstreams of its view and gets exactly one `Outcome`. What is decided stands in
`policy`, what is sent and believed in `replies`; nothing is logged here for a single query.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from functools import partial

from resolver.forward.bootstrap import Bootstrap
from resolver.forward.certificates import Verdicts
from resolver.forward.exchanges import Exchanges
from resolver.forward.failures import Failure
from resolver.forward.memory import MAX_UPSTREAMS, Memory
from resolver.forward.outcomes import STOPPING, TURNED_AWAY, Done, Outcome
from resolver.forward.overtaken import Overtaken
from resolver.forward.policy import DEFAULT_OPTIONS, ForwardOptions
from resolver.forward.probe import Probe
from resolver.forward.running import Running
from resolver.forward.shares import Bound, Shares
from resolver.forward.stats import UpstreamStats
from resolver.forward.transports import Poller, SocketDone, SocketFactory, own_sockets
from resolver.forward.upstreams import Upstream
from resolver.forward.usual import Usual
from resolver.wire.query import Query

MAX_IN_FLIGHT = 1024
FORMER_S = 600.0
"""So long nobody has asked an upstream that nobody names, and it is not listed any more."""
_IDS_AT_A_TIME = 256
_TWICE = ForwardOptions(attempts=2)


def no_namespace(family: socket.AddressFamily, kind: socket.SocketKind, done: SocketDone) -> None:
    """The `SocketFactory` of a forwarder that was given no namespace."""
    done(OSError(errno.ENOSYS, "no namespace to make sockets in"))


class Forwarder:
    """Look-ups under way, and what is counted of them. Made and used on one running loop."""

    generation = 0
    """It remembers no replies, so that none is ever flushed."""

    def __init__(
        self,
        *,
        sockets: SocketFactory = own_sockets,
        max_in_flight: int = MAX_IN_FLIGHT,
    ) -> None:
        self.max_in_flight = max_in_flight
        self.max_per_client = 0
        """How many of these one client may have, whatever its share is; 0 for no such bound."""
        self.stats: dict[Upstream, UpstreamStats] = {}
        self.named: frozenset[Upstream] = frozenset()
        """Those of the configuration and the host; who else is asked an asker has named."""
        self.forgotten = 0
        """Upstreams whose counters had to make room for those of others."""
        self.lookups = 0
        """Look-ups begun."""
        self.refused: Counter[Bound] = Counter()
        """Look-ups refused because too many were under way."""
        self.suspects: Callable[[Upstream, SocketFactory], None] = lambda upstream, in_namespace: None
        """Told of an upstream that is down whenever it is probed."""
        self._places = Shares(self.refused)
        self.memory = Memory()
        """How long each upstream takes, and which are down."""
        self._memories: dict[SocketFactory, Memory] = {}
        """The same of upstreams inside namespaces: one address is another server in each."""
        self._sockets = sockets
        self._loop = asyncio.get_running_loop()
        self._poller = Poller(self._loop)
        self.bootstrap = Bootstrap(self._loop, self.resolve)
        """Where named upstreams are; who is to be asked for that is set there."""
        self.exchanges = Exchanges(self._poller, self.bootstrap)
        """The ways to ask; what is configured of them is set there."""
        self.certificates = Verdicts()
        self.case_randomization = False
        """Questions go out over UDP in random letter case, and count only when they come back so."""
        self._under_way: set[Running] = set()
        self._usual = Usual(self, self._loop)
        self._probes: set[Probe] = set()
        self.overtaken = Overtaken(self._loop)
        """Tries of look-ups that are over, which may be answered yet."""
        self._ids: list[int] = []
        self._is_closed = False

    @property
    def in_flight(self) -> int:
        """How many look-ups are under way."""
        return len(self._under_way) + len(self._usual)

    @property
    def turned_away(self) -> int:
        """How many look-ups were refused because too many were under way."""
        return self.refused.total()

    def counts(self) -> dict[str, UpstreamStats]:
        """The counters by upstream, as metrics label it, without former ones; may be called from another thread."""
        counts: dict[str, UpstreamStats] = {}
        for upstream, stats in ({named: UpstreamStats() for named in self.named} | self.stats.copy()).items():
            if self.is_former(upstream, stats):
                continue
            label = str(upstream)
            counts[f"{label} in the namespace" if label in counts else label] = stats
        return counts

    def is_former(self, upstream: Upstream, stats: UpstreamStats) -> bool:
        """Whether nobody names it any more, as far as is known, and nobody has asked it for a while."""
        return upstream not in self.named and stats.asked_at < self._loop.time() - FORMER_S and not stats.looping

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
        """Look ``query`` up at ``upstreams``; ``over_tcp`` says that the client came by TCP.

        ``in_namespace`` makes the sockets for those that are `Upstream.in_namespace`; ``client`` is whose share of the
        look-ups this one counts to, None for nobody's.
        ``done`` is called once, in less than 4.5 s, perhaps before this returns. Failures are outcomes: nothing is
        raised.
        """
        if self._is_closed:
            done(STOPPING)
            return
        if (bound := self._places.take(client, self.max_in_flight, self.max_per_client)) is not None:
            done(TURNED_AWAY[bound])
            return
        self.lookups += 1
        now = self._loop.time()
        if (
            upstreams
            and not over_tcp
            and self._sockets is own_sockets
            and self._usual.begin(query, upstreams, done, options, in_namespace, client, now)
        ):
            return
        memory = self.memory
        if upstreams and upstreams[0].in_namespace:
            memory = self._memories.get(in_namespace) or self._memories.setdefault(in_namespace, Memory())
        for upstream in memory.due(upstreams, now, fastest=options.order == "fastest"):
            self._probes.add(Probe(self, memory, query, upstream, in_namespace, now))
            if memory.is_down(upstream):
                self.suspects(upstream, in_namespace)
        ended = partial(self.ended, client, done)
        Running(self, memory, query, upstreams, over_tcp, ended, options, in_namespace, now, client)

    def try_out(self, query: Query, upstream: Upstream, done: Done, in_namespace: SocketFactory | None) -> None:
        """Ask one upstream a question of our own, twice at most; what comes of it is not counted, nor remembered."""
        if not self._is_closed:
            now = self._loop.time()
            factory = in_namespace or no_namespace
            Running(self, Memory(), query, (upstream,), False, done, _TWICE, factory, now, is_counted=False)

    def memory_of(self, upstream: Upstream) -> Memory:
        """The memory in which an upstream is; of one inside namespaces that of the first that has asked it."""
        if upstream.in_namespace:
            for memory in self._memories.values():
                if upstream in memory.health:
                    return memory
        return self.memory

    def leave(self, in_namespace: SocketFactory) -> None:
        """Nobody asks from inside that namespace any more."""
        self._memories.pop(in_namespace, None)
        self.exchanges.leave(in_namespace)

    def close(self) -> None:
        """End every look-up at once, with an outcome that says so; later ones end so, too. May be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        for running in list(self._under_way):
            running.finish(STOPPING)
        self._usual.close()
        for probe in list(self._probes):
            probe.end()
        self.overtaken.close()
        self.bootstrap.close()
        self.exchanges.close()
        self._poller.close()

    def note(self, upstream: Upstream, failure: Failure, reason: str) -> None:
        """Tell people of a failure that needs them."""
        if failure is Failure.BAD_CERTIFICATE:
            self.certificates.bad(upstream, reason)

    def ended(self, client: Hashable | None, done: Done, outcome: Outcome) -> None:
        """A look-up is over that has taken a place for ``client``."""
        self._places.give_back(client)
        done(outcome)

    def stats_of(self, upstream: Upstream) -> UpstreamStats:
        """The counters of an upstream, to begin with zero."""
        stats = self.stats.get(upstream)
        if stats is None:
            if len(self.stats) >= MAX_UPSTREAMS:
                del self.stats[next(iter(self.stats))]
                self.forgotten += 1
            stats = self.stats[upstream] = UpstreamStats()
        return stats

    def new_id(self) -> int:
        """An id that nobody can foretell (RFC 5452 9.2)."""
        if not self._ids:
            self._ids.extend(struct.unpack(f"!{_IDS_AT_A_TIME}H", os.urandom(2 * _IDS_AT_A_TIME)))
        return self._ids.pop()
