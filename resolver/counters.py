"""Counters of the server, as plain numbers; ops reads them when somebody scrapes."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence

from msgspec import Struct

from resolver.wire.constants import TYPE_NAMES

UDP4, UDP6, TCP4, TCP6 = range(4)
TRANSPORT_LABELS = (("udp", "1"), ("udp", "2"), ("tcp", "1"), ("tcp", "2"))
"""(proto, family) as CoreDNS labels them: family 1 is IPv4, 2 is IPv6 (IANA address family numbers)."""

BUCKETS_S = tuple(0.00025 * 2**n for n in range(16))
"""Upper bounds of the duration histogram in seconds, as CoreDNS has them."""

OTHER_TYPE = 0


class Histogram:
    """Counts by duration; `counts` has one place more than there are bounds."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0

    def observe(self, duration_s: float, times: int = 1) -> None:
        """Count ``times`` events that took ``duration_s`` seconds each."""
        self.counts[bisect_left(BUCKETS_S, duration_s)] += times
        self.sum_s += duration_s * times

    def add(self, counts: Sequence[int], sum_s: float) -> None:
        """Count what was counted elsewhere, by the same bounds."""
        for place, count in enumerate(counts):
            self.counts[place] += count
        self.sum_s += sum_s


class ServerStats:
    """What was asked and what was answered."""

    __slots__ = ("collectors", "dropped", "duration", "failures", "requests", "responses", "unsent")

    def __init__(self) -> None:
        self.requests: Counter[tuple[int, int]] = Counter()
        """By (transport, type); a type without a mnemonic counts as `OTHER_TYPE`, so that labels stay few."""
        self.responses: Counter[tuple[int, str]] = Counter()
        """By (rcode, stage)."""
        self.duration = Histogram()
        self.dropped = 0
        """Messages that got no answer: too short, or answers themselves."""
        self.unsent = 0
        """Replies that the kernel would not send."""
        self.failures = 0
        """Queries that met an error of our own and were answered with SERVFAIL."""

        self.collectors: set[Callable[[], None]] = set()
        """Each adds what it has counted by itself."""

    def collect(self) -> None:
        """Take in what others have counted; to be called before the figures are read."""
        for collector in self.collectors:
            collector()

    def count_request(self, transport: int, qtype: int) -> None:
        """One query came in."""
        self.requests[transport, qtype if qtype in TYPE_NAMES else OTHER_TYPE] += 1

    def count_ready(self, transport: int, qtype: int, rcode: int, stage: str, hits: int) -> None:
        """So many queries were answered with a ready reply; their durations are counted where they left."""
        self.requests[transport, qtype if qtype in TYPE_NAMES else OTHER_TYPE] += hits
        self.responses[rcode, stage] += hits


class SourceCounts(Struct):
    """How a source that is told of changes has done so far."""

    is_up: bool = False
    """True while its daemon answers."""
    events: int = 0
    """Events taken over."""
    syncs: int = 0
    """Full syncs that came through."""
    failures: int = 0
    """Connections and full syncs that failed."""
    skipped: int = 0
    """Things that made no sense and were left out."""
    last_sync: float = 0.0
    """Unix time of the last full sync in seconds; 0 before the first one."""
    sync_s: float = 0.0
    """How long the last full sync took, in seconds."""
