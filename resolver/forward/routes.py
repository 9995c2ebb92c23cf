"""Split DNS: which upstreams are asked for a name, by its longest suffix that has a route. No I/O.

A route for addresses is one for their reverse names: a prefix that ends within a label becomes as many suffixes as it
takes (at most 128 for IPv4, 8 for IPv6).
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Iterable, Iterator

from msgspec import Struct

from resolver.forward.upstreams import Upstream
from resolver.wire.name import WireName, fold, from_text, lineage_of

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_BITS_OF_A_LABEL = {4: 8, 6: 4}


class Target(enum.StrEnum):
    """What becomes of the names of a route."""

    UPSTREAMS = "upstreams"
    """The route's own upstreams are asked, and no others."""
    DEFAULT = "default"
    """Everybody's upstreams are asked: an exception from a route further up."""
    NEVER = "never"
    """NXDOMAIN."""
    REFUSE = "refuse"
    """REFUSED."""


class Route(Struct, frozen=True):
    """Where the names below a suffix lead."""

    shown: str
    """The suffix or the prefix as it was written, for people."""
    suffixes: tuple[WireName, ...]
    """Folded."""
    target: Target
    upstreams: tuple[Upstream, ...] = ()


class Routes:
    """Every route by its suffix."""

    def __init__(self, routes: Iterable[Route] = ()) -> None:
        self._by_suffix = {suffix: route for route in routes for suffix in route.suffixes}

    def __iter__(self) -> Iterator[Route]:
        """Each route that counts, once."""
        return iter({id(route): route for route in self._by_suffix.values()}.values())

    def find(self, key: WireName) -> Route | None:
        """The route of a folded name: that of its longest suffix that has one; None when there is none."""
        if not self._by_suffix:
            return None
        for suffix in lineage_of(key):
            if (route := self._by_suffix.get(suffix)) is not None:
                return route
        return None


def suffixes_of_prefix(prefix: IPNetwork) -> tuple[WireName, ...]:
    """The reverse names below which all addresses of a prefix lie, and no others (RFC 1035 3.5, RFC 3596 2.5)."""
    step = _BITS_OF_A_LABEL[prefix.version]
    whole = -(-prefix.prefixlen // step) * step
    found = []
    for part in prefix.subnets(new_prefix=whole):
        labels = part.network_address.reverse_pointer.split(".")
        found.append(fold(from_text(".".join(labels[-2 - whole // step :]))))
    return tuple(found)
