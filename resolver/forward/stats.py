"""What is counted of each upstream: plain numbers, read when metrics are scraped."""

from __future__ import annotations

from collections import Counter

from resolver.counters import Histogram
from resolver.forward.failures import Failure


class UpstreamStats:
    """The counters of one upstream since the start."""

    __slots__ = (
        "asked_at",
        "connections",
        "failures",
        "ignored",
        "latency",
        "looping",
        "not_asked",
        "other_case",
        "requests",
        "reused",
    )

    def __init__(self) -> None:
        self.requests = 0
        """Queries sent, each try its own; without those of our own by which loops are found."""
        self.asked_at = float("-inf")
        """When the last of them was sent."""
        self.failures: Counter[Failure] = Counter()
        """Tries that came to nothing, by reason; one that ran out of time is counted when its look-up ends."""
        self.not_asked = 0
        """Queries that it was spared because too many waited for it already; no requests, and no failures."""
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

    def ask(self, now: float) -> None:
        """A query is sent."""
        self.requests += 1
        self.asked_at = now

    def spare(self) -> None:
        """What was just counted as a request was none."""
        self.requests -= 1
        self.not_asked += 1
