"""What is counted of each upstream: plain numbers, read when metrics are scraped."""

from __future__ import annotations

from collections import Counter

from resolver.counters import Histogram
from resolver.forward.failures import Failure


class UpstreamStats:
    """The counters of one upstream since the start."""

    __slots__ = ("failures", "ignored", "latency", "requests")

    def __init__(self) -> None:
        self.requests = 0
        """Queries sent, each try its own."""
        self.failures: Counter[Failure] = Counter()
        """Tries that came to nothing, by reason; one that ran out of time is counted when its look-up ends."""
        self.ignored = 0
        """Messages that were no reply to what was asked."""
        self.latency = Histogram()
        """From a query's departure to its reply, whatever the reply says."""
