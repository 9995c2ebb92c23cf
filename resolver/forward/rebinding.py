"""The guard against DNS rebinding: a name of the world that leads to an address on this side of the router.

A web page may have its own name point to 192.168.1.1 a moment after it was loaded, and talk to the router from within
the browser. So the reply does not go on, as with dnsmasq's ``--stop-dns-rebind`` and unbound's ``private-address``; the
client gets NOERROR without a record, which makes a stub resolver ask nobody else, and the reason (RFC 8914 4.16).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from resolver.forward.outcomes import Done, Outcome
from resolver.forward.private import without_private
from resolver.wire.constants import EDE_BLOCKED, type_name
from resolver.wire.name import IPAddress, to_text
from resolver.wire.query import Query

log = logging.getLogger(__name__)

LOG_EVERY_S = 10.0
"""So often at most a reply is logged; those between are counted."""


class RebindingGuard:
    """What stands between the forwarder and the cache for look-ups that are guarded."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.blocked = 0
        """Replies that were not passed on."""
        self._clock = clock
        self._logged_at = float("-inf")
        self._unlogged = 0

    def pass_on(self, query: Query, done: Done, outcome: Outcome) -> None:
        """Tell ``done`` of the outcome of a look-up, without an answer that has a private address."""
        if outcome.reply is None:
            done(outcome)
            return
        reply, address = without_private(query, outcome.reply)
        if address is None:
            done(outcome if reply is outcome.reply else outcome._replace(reply=reply, facts=None))
            return
        self._count(query, address, outcome)
        reason = f"{address} is a private address (rebinding guard)"
        done(outcome._replace(reply=reply, facts=None, ede=(EDE_BLOCKED, reason)))

    def _count(self, query: Query, address: IPAddress, outcome: Outcome) -> None:
        self.blocked += 1
        now = self._clock()
        if now < self._logged_at + LOG_EVERY_S:
            self._unlogged += 1
            return
        log.warning(
            "rebinding guard: %s says that %s %s is %s, a private address, and is not passed on%s;"
            " if it is meant, name the domain in forward.rebinding_allowed",
            outcome.upstream,
            to_text(query.qname),
            type_name(query.qtype),
            address,
            f" ({self._unlogged} more since the last such line)" if self._unlogged else "",
        )
        self._logged_at = now
        self._unlogged = 0
