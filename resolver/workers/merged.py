"""What several workers say of their upstreams and their caches, as one server would say it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

_STATES = ("looping", "up", "down", "unknown")
"""The first of these that a worker says is what all of them say: one that has had an answer knows better."""

Told = dict[str, Any]


def upstreams_of_all(told: Sequence[Told]) -> Told:
    """Every upstream once, with what was counted added up; the rest is by who has asked it most."""
    by_address: dict[tuple[str, bool], list[Told]] = {}
    for one in told:
        for upstream in one["upstreams"]:
            by_address.setdefault((upstream["address"], upstream["in_namespace"]), []).append(upstream)
    return {
        "upstreams": [_upstream(each) for each in by_address.values()],
        "routes": told[0]["routes"] if told else [],
    }


def _upstream(told: Sequence[Told]) -> Told:
    state = min((upstream["state"] for upstream in told), key=_STATES.index)
    speaker = max((one for one in told if one["state"] == state), key=lambda one: int(one["requests"]))
    failures: Counter[str] = Counter()
    for one in told:
        failures.update(one["failures"])
    return {
        **speaker,
        "for_everybody": any(one["for_everybody"] for one in told),
        "requests": sum(one["requests"] for one in told),
        "not_asked": sum(one["not_asked"] for one in told),
        "failures": dict(failures),
    }


def cache_of_all(told: Sequence[Told]) -> Told:
    """What all caches hold; an answer that several have is there several times, each with its own time left."""
    counted = ("octets", "octets_at_most", "hits", "misses", "shared")
    return {
        **{key: sum(one[key] for one in told) for key in counted},
        "entries": [entry for one in told for entry in one["entries"]],
    }
