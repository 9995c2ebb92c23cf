"""Metrics and pages of several processes as those of one."""

from __future__ import annotations

from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from resolver.workers.merged import cache_of_all, upstreams_of_all
from resolver.workers.sums import growing, summed, total


def counter(value: float, **labels: str) -> Metric:
    family = CounterMetricFamily("pydns_dns_requests", "Queries.", labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family


def gauge(name: str, value: float) -> Metric:
    return GaugeMetricFamily(name, "A gauge.", value=value)


def histogram(low: float, high: float) -> Metric:
    family = HistogramMetricFamily("pydns_dns_request_duration_seconds", "How long.")
    family.add_metric([], [("0.1", low), ("+Inf", low + high)], 0.05 * low + high)
    return family


def values(families: list[Metric]) -> dict[tuple[Any, ...], float]:
    return {(sample.name, *sorted(sample.labels.items())): sample.value for each in families for sample in each.samples}


def test_counts_are_added_label_by_label() -> None:
    found = values(summed([], [[counter(3, type="A")], [counter(4, type="A")], [counter(5, type="AAAA")]]))
    assert found == {
        ("pydns_dns_requests_total", ("type", "A")): 7,
        ("pydns_dns_requests_total", ("type", "AAAA")): 5,
    }


def test_histograms_are_added_bucket_by_bucket() -> None:
    found = summed([histogram(0, 0)], [[histogram(2, 1)], [histogram(3, 4)]])
    (family,) = found
    assert [(sample.labels.get("le"), sample.value) for sample in family.samples] == [
        ("0.1", 5),
        ("+Inf", 10),
        (None, 10),
        (None, 5.25),
    ]


def test_what_was_read_once_is_counted_once() -> None:
    names = ("pydns_registry_entries", "pydns_faults", "pydns_source_up", "process_start_time_seconds")
    workers = [[gauge(name, 99) for name in names] for _ in range(3)]
    assert set(values(summed([gauge(name, 2) for name in names], workers)).values()) == {2}


def test_a_yes_or_no_is_not_added() -> None:
    name = "pydns_forward_looping"
    assert values(summed([], [[gauge(name, 0)], [gauge(name, 1)], [gauge(name, 1)]])) == {(name,): 1}
    name = "pydns_forward_in_flight"
    assert values(summed([gauge(name, 0)], [[gauge(name, 2)], [gauge(name, 3)]])) == {(name,): 5}


def test_of_what_is_gone_its_counts_are_kept() -> None:
    kept = growing([counter(3, type="A"), gauge("pydns_cache_entries", 9), histogram(1, 1)])
    assert [family.name for family in kept] == ["pydns_dns_requests", "pydns_dns_request_duration_seconds"]
    assert total(summed(kept, [[counter(2, type="A")]]), "pydns_dns_requests_total") == 5


def upstream(address: str, state: str, requests: int, **more: Any) -> dict[str, Any]:
    return {
        "address": address,
        "in_namespace": False,
        "for_everybody": True,
        "state": state,
        "rtt_ms": None,
        "requests": requests,
        "not_asked": 0,
        "failures": {},
        **more,
    }


def test_an_upstream_that_answers_somebody_is_up() -> None:
    timeouts = {"timeout": 3}
    told = [
        {"upstreams": [upstream("a", "up", 5, rtt_ms=2.0, failures={"timeout": 1})], "routes": ["r"]},
        {
            "upstreams": [upstream("a", "unknown", 0), upstream("b", "down", 3, failures=timeouts)],
            "routes": ["r"],
        },
        {"upstreams": [upstream("a", "down", 9, failures={"timeout": 9, "refused": 1})], "routes": ["r"]},
    ]
    found = upstreams_of_all(told)
    assert found["routes"] == ["r"]
    first, second = found["upstreams"]
    assert (first["state"], first["rtt_ms"], first["requests"]) == ("up", 2.0, 14)
    assert first["failures"] == {"timeout": 10, "refused": 1}
    assert (second["address"], second["state"]) == ("b", "down")
    looping = [{"upstreams": [upstream("a", state, 0)], "routes": []} for state in ("up", "looping")]
    assert upstreams_of_all(looping)["upstreams"][0]["state"] == "looping"
    assert upstreams_of_all([]) == {"upstreams": [], "routes": []}


def test_caches_are_one_after_the_other() -> None:
    one = {"octets": 10, "octets_at_most": 100, "hits": 1, "misses": 2, "shared": 0, "entries": [{"name": "a."}]}
    assert cache_of_all([one, one]) == {
        "octets": 20,
        "octets_at_most": 200,
        "hits": 2,
        "misses": 4,
        "shared": 0,
        "entries": [{"name": "a."}, {"name": "a."}],
    }
