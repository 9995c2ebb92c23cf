"""Which parts of the name space are closed: where what a view's dictionaries do not hold does not exist."""

from __future__ import annotations

from typing import Any, NamedTuple

from resolver.pipeline.chain import Chain
from resolver.pipeline.stages import InternalNames
from resolver.views import View
from resolver.wire.name import WireName, is_below


class Closed(NamedTuple):
    """The folded names that may exist at or below a suffix."""

    whole: tuple[dict[Any, Any], ...]
    """Names as they stand."""
    below: dict[Any, Any]
    """Names without the suffix."""


def closed_below(chain: Chain, view: View, suffix: WireName) -> Closed | None:
    """What may exist below a network's name in a view, but names with an underscore; None when only the chain can tell.

    That is so as soon as anything but plain names has a say there: wildcards, links, an asker's own hosts file, another
    network, zone or internal zone above or below the suffix.
    """
    internal = next((stage for stage in chain.stages if isinstance(stage, InternalNames)), None)
    own = view.by_suffix.get(suffix)
    if internal is None or own is None or view.hosts.has_wildcards or any(table.has_wildcards for table in view.tables):
        return None
    if any(view.links.values()) or view.extra_hosts:
        return None
    others = [*internal.zones, *(zone.apex for zone in view.zones), *(name for name in view.suffixes if name != suffix)]
    if any(is_below(other, suffix) or is_below(suffix, other) for other in others):
        return None
    return Closed((view.hosts.names, *(table.names for table in view.tables)), own.names)
