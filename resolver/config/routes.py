"""[[forward.routes]]: from what is written to `Route` values, every fault reported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from resolver.config.schema import RouteSpec
from resolver.config.upstreams import upstreams_of
from resolver.forward.routes import Route, Target, suffixes_of_prefix
from resolver.forward.upstreams import Upstream
from resolver.intake.convert import Report, to_struct
from resolver.intake.toml import Path
from resolver.sources.base import parse_name, parse_subnet
from resolver.wire.name import ROOT, WireName, fold, from_text

_WORDS = (Target.NEVER, Target.REFUSE, Target.DEFAULT)
_FIX = 'write suffix = "corp.example" or cidr = "10.0.0.0/8"'

Note = Callable[[str, str, str], None]
"""Called with the key, what is wrong with it, and how to mend it."""


def routes_of(entries: Sequence[Any], report: Report) -> tuple[Route, ...]:
    """The routes; ``report`` is told of each entry that makes no sense, which is left out."""
    found: list[Route] = []
    taken: dict[WireName, str] = {}
    for index, entry in enumerate(entries):
        place = ("forward", "routes", str(index))
        route = _route(entry, place, report)
        if route is None:
            continue
        for suffix in route.suffixes:
            if suffix in taken:
                report(place, f"{route.shown} has a route already, that for {taken[suffix]}", "leave one of them out")
                break
            taken[suffix] = route.shown
        found.append(route)
    return tuple(found)


def _route(entry: Any, place: Path, report: Report) -> Route | None:
    faults: list[Path] = []

    def told(path: Path, message: str, fix: str) -> None:
        faults.append(path)
        report(path, message, fix)

    def note(key: str, message: str, fix: str) -> None:
        told((*place, key), message, fix)

    spec = to_struct(entry, RouteSpec, place, told)
    if faults:
        return None
    suffixes = _suffixes(spec, note)
    target, upstreams = _target(spec, note)
    return None if faults else Route(spec.suffix or spec.cidr or "", suffixes, target, upstreams)


def _suffixes(spec: RouteSpec, note: Note) -> tuple[WireName, ...]:
    if (spec.suffix is None) == (spec.cidr is None):
        note("suffix", "a route needs a suffix or a cidr, one of both", _FIX)
        return ()
    if spec.cidr is not None:
        prefix = parse_subnet(spec.cidr, partial(note, "cidr"))
        return () if prefix is None else suffixes_of_prefix(prefix)
    assert spec.suffix is not None
    if spec.suffix == ".":
        return (ROOT,)
    name = parse_name(spec.suffix.removeprefix("~").removeprefix("."), partial(note, "suffix"))
    return () if name is None else (fold(from_text(name)),)


def _target(spec: RouteSpec, note: Note) -> tuple[Target, tuple[Upstream, ...]]:
    words = [word for word in spec.upstreams if word in _WORDS]
    if words and len(spec.upstreams) > 1:
        note("upstreams", f"{words[0]!r} stands beside others", f'write upstreams = ["{words[0]}"] alone')
    if words:
        return Target(words[0]), ()
    if not spec.upstreams:
        note("upstreams", "a route needs an upstream", 'write upstreams = ["10.1.1.53"], or ["never"] for NXDOMAIN')
    fix = 'write it like 10.1.1.53, or "never", "refuse" or "default"'
    return Target.UPSTREAMS, upstreams_of(spec.upstreams, partial(note, "upstreams"), fix)
