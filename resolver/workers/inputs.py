"""What a worker works from, in the place of files and daemons: all that its feeder has read, and what is new of it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from msgspec import structs

from resolver.config.schema import Settings
from resolver.forward.resolvconf import ResolvConf
from resolver.registry.model import Contribution
from resolver.resolved.routing import Imported
from resolver.server.state import Pin
from resolver.views import ViewSettings
from resolver.workers.splices import Delta, applied, difference
from resolver.zones.model import ZoneSet

if TYPE_CHECKING:
    from resolver.app import Server


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that answers are made from, at one moment."""

    settings: Settings
    """Without the files and daemons, which are the feeder's to read."""
    view_settings: ViewSettings
    pin: Pin | None
    conf: ResolvConf
    is_resolved: bool
    imported: Imported | None
    zones: ZoneSet
    contributions: tuple[Contribution, ...]


@dataclass(frozen=True, slots=True)
class News:
    """What differs between two moments."""

    values: dict[str, Any]
    """By the name of the field."""
    contributions: Delta | None


def inputs_of(server: Server) -> Inputs:
    """What a server has read."""
    content = server.content
    settings = structs.replace(server.settings, registry_files=(), zone_paths=(), daemons=(), aardvark=None)
    return Inputs(
        settings,
        content.settings,
        server.pin,
        server.resolv_conf.conf,
        server.resolv_conf.is_resolved,
        server.resolved.imported,
        content.zones,
        content.contributions,
    )


def news_between(before: Inputs, after: Inputs) -> News | None:
    """What to send to who has ``before``; None for nothing."""
    values = {}
    for field in fields(Inputs):
        was, now = getattr(before, field.name), getattr(after, field.name)
        if field.name != "contributions" and was is not now and was != now:
            values[field.name] = now
    delta = difference(before.contributions, after.contributions)
    return News(values, delta) if values or delta is not None else None


def updated(before: Inputs, news: News) -> Inputs:
    """The moment that the news are of."""
    values = dict(news.values)
    if news.contributions is not None:
        values["contributions"] = applied(before.contributions, news.contributions)
    return replace(before, **values)
