"""How a look-up ended, as it is told to who asked for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from resolver.forward.cache import Lasting
from resolver.forward.datagrams import Facts
from resolver.forward.replies import with_ttl_at_most
from resolver.forward.shares import Bound
from resolver.forward.steps import Finish
from resolver.forward.upstreams import Upstream
from resolver.wire.constants import EDE_NOT_READY, EDE_OTHER
from resolver.wire.query import Query


class Outcome(NamedTuple):
    """How a look-up ended: a reply to relay, or what to say in place of one."""

    reply: bytes | None
    """What the upstream sent, verified; its id is ours of that query: `replies.fit` makes it the client's."""
    upstream: Upstream | None
    """Whose reply it is."""
    ede: tuple[int, str] | None
    """The extended error of our own SERVFAIL or REFUSED (RFC 8914), or one to add to the reply."""
    refused: bool = False
    """True when the look-up was turned away because too many are under way."""
    is_cached: bool = False
    """True when nobody was asked for it."""
    lasting: Lasting | None = None
    """How long the reply may be given out again as it is, but for its TTLs."""
    is_provisional: bool = False
    """True when the reply says that there is nothing, and a server before the one that said so was not heard."""
    overtaken: tuple[Upstream, ...] = ()
    """Who was asked first and has not answered yet: they may know better."""
    facts: Facts | None = None
    """What is known of the reply as it is, if anything."""


TURNED_AWAY: Final = {
    bound: Outcome(None, None, (EDE_OTHER, text), refused=True)
    for bound, text in (
        (Bound.ALL, "too many look-ups are under way (forward.max_in_flight)"),
        (Bound.SHARE, "too many look-ups of this client are under way, its share of forward.max_in_flight"),
        (Bound.CLIENT, "too many look-ups of this client are under way (forward.max_in_flight_per_client)"),
    )
}
STOPPING: Final = Outcome(None, None, (EDE_NOT_READY, "the resolver is stopping"))

Done = Callable[[Outcome], None]


def outcome_of(query: Query, finish: Finish) -> Outcome:
    """The outcome of a look-up that its policy has ended."""
    reply, upstream, ede, ttl_at_most, overtaken = finish
    if reply is None or ttl_at_most is None:
        return Outcome(reply, upstream, ede)
    held = with_ttl_at_most(query, reply, ttl_at_most)
    return Outcome(held, upstream, ede, is_provisional=True, overtaken=overtaken)
