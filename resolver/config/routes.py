"""[[forward.routes]]: from what is written to `Route` values, every fault reported."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from resolver.config.schema import RouteSpec
from resolver.config.upstreams import upstreams_of
from resolver.forward.routes import Route, Target, suffixes_of_prefix
from resolver.forward.upstreams import Upstream
from resolver.intake.convert import Report, to_struct
from resolver.intake.toml import Path
from resolver.sources.base import parse_name, parse_subnet
from resolver.wire.name import ROOT, WireName, fold, from_text, suffixes_of

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
    bare = spec.suffix.removeprefix("~")
    if bare == ".":
        return (ROOT,)
    inner = bare.strip("/")
    if "/" in bare:  # dnsmasq's way; a label may well have one, and then would match nothing that is ever asked
        fix = f'write suffix = "{inner}"' if "/" not in inner else "write a route for each"
        note("suffix", f"{spec.suffix!r} has a slash", fix)
        return ()
    if bare.startswith("*."):
        covers = f'write suffix = "{bare[2:]}": it covers the name itself and everything below it'
        note("suffix", f"{spec.suffix!r} has a *", covers)
        return ()
    name = parse_name(bare.removeprefix("."), partial(note, "suffix"))
    return () if name is None else (fold(from_text(name)),)


def _target(spec: RouteSpec, note: Note) -> tuple[Target, tuple[Upstream, ...]]:
    words = [word.lower() for word in spec.upstreams if word.lower() in _WORDS]
    if words and len(spec.upstreams) > 1:
        note("upstreams", f"{words[0]!r} stands beside others", f'write upstreams = ["{words[0]}"] alone')
    if words:
        return Target(words[0]), ()
    if not spec.upstreams:
        note("upstreams", "a route needs an upstream", 'write upstreams = ["10.1.1.53"], or ["never"] for NXDOMAIN')
    fix = 'write it like 10.1.1.53, or "system", "never", "refuse" or "default"'
    return Target.UPSTREAMS, upstreams_of(spec.upstreams, partial(note, "upstreams"), fix)


def idle_routes(routes: Sequence[Route], internal_zones: Iterable[str]) -> list[tuple[str, str]]:
    """Each route whose names are answered here before routes are looked at: that it never counts, and what to do."""
    found = []
    zones = {fold(from_text(zone)): zone for zone in internal_zones}
    for route in routes:
        above = next((zones[zone] for suffix in route.suffixes for zone in suffixes_of(suffix) if zone in zones), None)
        if above is not None:
            message = f"the route for {route.shown} never counts: {above} is answered here (internal.zones)"
            found.append((message, "leave the route out, or the zone"))
    return found
