"""One page of metrics from those of several processes: what each of them counts is added up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

FEEDERS = ("pydns_build", "pydns_registry_entries", "pydns_faults", "pydns_reload_", "pydns_source_")
"""Families of what the feeder reads for all: these are its own."""
GREATEST = ("pydns_forward_looping",)
"""Families that are a yes or no: yes when one of them says so."""
ONE_OF = ("process_start_time_seconds", "process_max_fds")
"""Families of the process that are the feeder's."""
GROWING = ("counter", "histogram")
"""Kinds that may never become less: what a worker that has ended had counted is kept."""

_Key = tuple[str, tuple[tuple[str, str], ...]]


def summed(feeders: Iterable[Metric], workers: Iterable[Iterable[Metric]]) -> list[Metric]:
    """The families of the feeder, with those of the workers added where each counts for itself."""
    families = {family.name: family for family in feeders}
    values: dict[str, dict[_Key, float]] = {name: _values(family) for name, family in families.items()}
    for worker in workers:
        for family in worker:
            if family.name.startswith(FEEDERS) or family.name in ONE_OF:
                continue
            families.setdefault(family.name, family)
            known = values.setdefault(family.name, {})
            for key, value in _values(family).items():
                is_greatest = family.name in GREATEST
                known[key] = max(known.get(key, 0.0), value) if is_greatest else known.get(key, 0.0) + value
    return [_family(family, values[name]) for name, family in families.items()]


def growing(families: Iterable[Metric]) -> list[Metric]:
    """Those of which something has to be kept when the process is gone."""
    return [family for family in families if family.type in GROWING]


def total(families: Iterable[Metric], name: str) -> float:
    """The sum of all samples of one name."""
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


def _values(family: Metric) -> dict[_Key, float]:
    return {(sample.name, tuple(sample.labels.items())): sample.value for sample in family.samples}


def _family(family: Metric, values: Mapping[_Key, float]) -> Metric:
    from prometheus_client.metrics_core import Metric

    made = Metric(family.name, family.documentation, family.type, family.unit)
    for (name, labels), value in values.items():
        made.add_sample(name, dict(labels), value)
    return made
