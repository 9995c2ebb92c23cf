"""Prometheus metrics, sampled when somebody scrapes (docs/metrics.md lists them).

Names and labels are in CoreDNS's manner, so that its dashboards are quickly adapted; no label grows with names or
clients. The components only count; nothing of prometheus_client is imported before the first scrape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct, field

from resolver import __version__
from resolver.counters import BUCKETS_S, OTHER_TYPE, TRANSPORT_LABELS, Histogram, ServerStats, SourceCounts
from resolver.wire.constants import rcode_name, type_name

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric


class ReloadCounts(Protocol):
    """How reloads of one kind of input went."""

    successes: int
    failures: int
    last_success: float


class UpstreamCounts(Protocol):
    """What one upstream was asked and how it did."""

    requests: int
    connections: int
    reused: int
    other_case: int
    not_asked: int
    looping: int
    latency: Histogram

    @property
    def failures(self) -> Mapping[Any, int]:
        """By reason, a string."""


class AgentCounts(Struct, frozen=True):
    """How an agent does with its namespaces."""

    attached: int = 0
    """Those attached now."""
    failing: int = 0
    """Those that ought to be and could not be, so far."""
    failures: int = 0
    """Attempts that failed."""
    durations: Histogram = field(default_factory=Histogram)
    """From the first look at a namespace to its being served."""


class CacheCounts(Protocol):
    """What the cache of upstreams' replies holds and did."""

    size: int
    hits: int
    misses: int
    stale_hits: int
    prefetches: int
    evictions: int

    def __len__(self) -> int:
        """How many replies there are."""


class GuardCounts(Protocol):
    """What the rebinding guard did."""

    blocked: int


class LookupCounts(Protocol):
    """Look-ups before they come to an upstream."""

    shared: int

    @property
    def refused(self) -> Mapping[Any, int]:
        """Those turned away, by the bound that they met."""

    @property
    def cache(self) -> CacheCounts:
        """The cache."""

    @property
    def guard(self) -> GuardCounts:
        """The rebinding guard."""


class Readings(Protocol):
    """Where the figures are read; the composition root gives it."""

    def server(self) -> ServerStats:
        """The server's counters, the hits of ready replies included."""

    def in_flight(self) -> int:
        """Queries that wait for an upstream now."""

    def upstreams(self) -> Mapping[str, UpstreamCounts]:
        """Counters by upstream address."""

    def lookups(self) -> LookupCounts:
        """The cache and the look-ups that are shared."""

    def registry_size(self) -> Mapping[str, int]:
        """How many there are of each kind of thing."""

    def reloads(self) -> Mapping[str, ReloadCounts]:
        """By kind of input."""

    def sources(self) -> Mapping[str, SourceCounts]:
        """How the daemons do that tell what exists, by source."""

    def faults(self) -> int:
        """How many things are wrong with the files now."""

    def repairs(self) -> int | None:
        """How often redirect rules were put back; None when there is no namespace to look after."""

    def agent(self) -> AgentCounts | None:
        """How an agent does with its namespaces; None when there is no agent."""


class PydnsCollector:
    """Turns readings into metric families."""

    def __init__(self, readings: Readings) -> None:
        self._readings = readings

    def collect(self) -> Iterator[Metric]:
        """Every family, in the order of docs/metrics.md."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

        readings = self._readings
        yield InfoMetricFamily("pydns_build", "The version of pydns.", value={"version": __version__})
        yield from self._server(readings.server())
        yield GaugeMetricFamily(
            "pydns_forward_in_flight", "Queries that wait for an upstream.", value=readings.in_flight()
        )
        yield from self._upstreams(readings.upstreams())
        yield from self._cache(readings.lookups())

        size = GaugeMetricFamily("pydns_registry_entries", "What the registry and the zones hold.", labels=["kind"])
        for kind, count in readings.registry_size().items():
            size.add_metric([kind], count)
        yield size
        yield GaugeMetricFamily("pydns_faults", "Faults in the files now, warnings too.", value=readings.faults())
        yield from self._reloads(readings.reloads())
        yield from self._sources(readings.sources())
        if (repairs := readings.repairs()) is not None:
            yield CounterMetricFamily(
                "pydns_redirect_repairs", "How often redirect rules were found damaged and put back.", value=repairs
            )
        if (agent := readings.agent()) is not None:
            yield from self._agent(agent)

    def _agent(self, counts: AgentCounts) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        yield GaugeMetricFamily("pydns_agent_attached", "Namespaces that are attached now.", value=counts.attached)
        yield GaugeMetricFamily(
            "pydns_agent_failing", "Namespaces that could not be attached so far.", value=counts.failing
        )
        yield CounterMetricFamily(
            "pydns_agent_attach_failures", "Attempts to attach that failed.", value=counts.failures
        )
        yield _histogram(
            "pydns_agent_attach_duration_seconds",
            "From the first look at a namespace to its being served.",
            [],
            {(): counts.durations},
        )

    def _server(self, stats: ServerStats) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily

        requests = CounterMetricFamily(
            "pydns_dns_requests", "Queries by protocol, address family and type.", labels=["proto", "family", "type"]
        )
        for (transport, qtype), count in sorted(stats.requests.copy().items()):
            requests.add_metric(
                [*TRANSPORT_LABELS[transport], "other" if qtype == OTHER_TYPE else type_name(qtype)], count
            )
        yield requests
        responses = CounterMetricFamily(
            "pydns_dns_responses",
            "Replies by response code and by the stage that made them.",
            labels=["rcode", "stage"],
        )
        for (rcode, stage), count in sorted(stats.responses.copy().items()):
            responses.add_metric([rcode_name(rcode), stage], count)
        yield responses
        yield _histogram(
            "pydns_dns_request_duration_seconds",
            "From a query's arrival to its reply.",
            [],
            {(): stats.duration},
        )
        yield CounterMetricFamily(
            "pydns_dns_dropped", "Messages that get no answer: too short, or no queries.", value=stats.dropped
        )
        yield CounterMetricFamily("pydns_dns_unsent", "Replies that the kernel would not send.", value=stats.unsent)
        yield CounterMetricFamily("pydns_panics", "Queries that met an error of pydns itself.", value=stats.failures)

    def _upstreams(self, upstreams: Mapping[str, UpstreamCounts]) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        requests = CounterMetricFamily("pydns_forward_requests", "Queries sent, by upstream.", labels=["to"])
        failures = CounterMetricFamily(
            "pydns_forward_failures", "Queries that an upstream failed, by reason.", labels=["to", "reason"]
        )
        opened = CounterMetricFamily(
            "pydns_forward_connections", "Connections that were opened for queries, by upstream.", labels=["to"]
        )
        reused = CounterMetricFamily(
            "pydns_forward_connection_reuses", "Queries that took a connection that was there.", labels=["to"]
        )
        other_case = CounterMetricFamily(
            "pydns_forward_other_case", "Replies ignored for not repeating the letter case sent.", labels=["to"]
        )
        not_asked = CounterMetricFamily(
            "pydns_forward_not_asked", "Queries that an upstream was spared: too many waited for it.", labels=["to"]
        )
        looping = GaugeMetricFamily(
            "pydns_forward_looping", "1 while an upstream is not asked because it leads back to pydns.", labels=["to"]
        )
        for to, counts in upstreams.items():
            looping.add_metric([to], float(counts.looping > 0))
            requests.add_metric([to], counts.requests)
            opened.add_metric([to], counts.connections)
            reused.add_metric([to], counts.reused)
            other_case.add_metric([to], counts.other_case)
            not_asked.add_metric([to], counts.not_asked)
            for reason, count in sorted(dict(counts.failures).items()):
                failures.add_metric([to, reason], count)
        yield requests
        yield failures
        yield opened
        yield reused
        yield other_case
        yield not_asked
        yield looping
        yield _histogram(
            "pydns_forward_request_duration_seconds",
            "From a query's departure to the upstream's reply.",
            ["to"],
            {(to,): counts.latency for to, counts in upstreams.items()},
        )

    def _cache(self, lookups: LookupCounts) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        cache = lookups.cache
        yield GaugeMetricFamily("pydns_cache_entries", "Upstreams' replies that are kept.", value=len(cache))
        yield GaugeMetricFamily("pydns_cache_size_bytes", "What they take, as the cache reckons.", value=cache.size)
        for name, documentation, count in (
            ("hits", "Questions that the cache has answered.", cache.hits),
            ("misses", "Questions that it had no answer to, or none that was still good.", cache.misses),
            ("served_stale", "Questions answered with what was over, for want of better.", cache.stale_hits),
            ("prefetch", "Popular answers that were fetched before their time was over.", cache.prefetches),
            ("evictions", "Answers that had to go to make room.", cache.evictions),
        ):
            yield CounterMetricFamily(f"pydns_cache_{name}", documentation, value=count)
        yield CounterMetricFamily(
            "pydns_forward_shared", "Questions answered by a look-up that was under way already.", value=lookups.shared
        )
        refused = CounterMetricFamily(
            "pydns_forward_refused", "Questions turned away because of too many look-ups, by bound.", labels=["bound"]
        )
        for bound in ("all", "share", "client"):
            refused.add_metric([bound], lookups.refused.get(bound, 0))
        yield refused
        yield CounterMetricFamily(
            "pydns_rebinding_blocked",
            "Replies with private addresses that were not passed on.",
            value=lookups.guard.blocked,
        )

    def _reloads(self, reloads: Mapping[str, ReloadCounts]) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        successes = CounterMetricFamily("pydns_reload_successes", "Reloads taken over, by input.", labels=["input"])
        failures = CounterMetricFamily(
            "pydns_reload_failures", "Reloads with a fault, after which the last good state serves.", labels=["input"]
        )
        at = GaugeMetricFamily(
            "pydns_reload_timestamp_seconds", "When an input was last taken over, as Unix time.", labels=["input"]
        )
        for name, counts in reloads.items():
            successes.add_metric([name], counts.successes)
            failures.add_metric([name], counts.failures)
            at.add_metric([name], counts.last_success)
        yield from (successes, failures, at)

    def _sources(self, sources: Mapping[str, SourceCounts]) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        families: list[tuple[GaugeMetricFamily | CounterMetricFamily, Callable[[SourceCounts], float]]] = [
            (
                GaugeMetricFamily("pydns_source_up", "1 while a source's daemon answers.", labels=["source"]),
                lambda counts: float(counts.is_up),
            ),
            (
                CounterMetricFamily("pydns_source_events", "Events taken over.", labels=["source"]),
                lambda counts: counts.events,
            ),
            (
                CounterMetricFamily("pydns_source_syncs", "Full syncs that came through.", labels=["source"]),
                lambda counts: counts.syncs,
            ),
            (
                CounterMetricFamily(
                    "pydns_source_sync_failures", "Connections and full syncs that failed.", labels=["source"]
                ),
                lambda counts: counts.failures,
            ),
            (
                CounterMetricFamily(
                    "pydns_source_skipped", "Things that made no sense and were left out.", labels=["source"]
                ),
                lambda counts: counts.skipped,
            ),
            (
                GaugeMetricFamily(
                    "pydns_source_last_sync_timestamp_seconds",
                    "When the last full sync came through, as Unix time.",
                    labels=["source"],
                ),
                lambda counts: counts.last_sync,
            ),
            (
                GaugeMetricFamily(
                    "pydns_source_sync_duration_seconds", "How long the last full sync took.", labels=["source"]
                ),
                lambda counts: counts.sync_s,
            ),
        ]
        for family, read in families:
            for name, counts in sources.items():
                family.add_metric([name], read(counts))
            yield family


def _histogram(
    name: str, documentation: str, labels: list[str], histograms: Mapping[tuple[str, ...], Histogram]
) -> Metric:
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(name, documentation, labels=labels)
    for values, histogram in histograms.items():
        counts = list(histogram.counts)
        total = 0
        buckets = []
        for bound, count in zip((*BUCKETS_S, inf), counts, strict=True):
            total += count
            buckets.append(("+Inf" if bound == inf else str(bound), float(total)))
        family.add_metric(list(values), buckets, histogram.sum_s)
    return family


def registry_of(readings: Readings) -> CollectorRegistry:
    """A Prometheus registry with our metrics and those of the process."""
    from prometheus_client import CollectorRegistry, ProcessCollector

    registry = CollectorRegistry(auto_describe=False)
    registry.register(PydnsCollector(readings))
    ProcessCollector(registry=registry)
    return registry
