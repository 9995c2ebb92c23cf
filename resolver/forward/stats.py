"""What is counted of each upstream: plain numbers, read when metrics are scraped."""

from __future__ import annotations

from collections import Counter

from resolver.counters import Histogram
from resolver.forward.failures import Failure


class UpstreamStats:
    """The counters of one upstream since the start."""

    __slots__ = ("connections", "failures", "ignored", "latency", "looping", "other_case", "requests", "reused")

    def __init__(self) -> None:
        self.requests = 0
        """Queries sent, each try its own."""
        self.failures: Counter[Failure] = Counter()
        """Tries that came to nothing, by reason; one that ran out of time is counted when its look-up ends."""
        self.ignored = 0
        """Messages that were no reply to what was asked."""
        self.other_case = 0
        """Replies that did not repeat the letter case of our question: of a server that folds it, or forged."""
        self.connections = 0
        """Connections that were opened to it."""
        self.reused = 0
        """Queries that went out on a connection that was there."""
        self.looping = 0
        """In how many places, we or a namespace, it is not asked now because it leads back to us."""
        self.latency = Histogram()
        """From a query's departure to its reply, whatever the reply says."""
