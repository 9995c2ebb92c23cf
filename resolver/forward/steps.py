"""What a look-up's policy says is to be done next (`policy`), and the tries it is done with."""

from __future__ import annotations

from typing import NamedTuple

from resolver.forward.upstreams import Upstream


class Try:
    """One query to one upstream."""

    __slots__ = ("edns0", "is_late", "over_tcp", "sent_at", "upstream")

    def __init__(self, upstream: Upstream, over_tcp: bool, edns0: bool, sent_at: float) -> None:
        self.upstream = upstream
        self.sent_at = sent_at
        self.over_tcp = over_tcp
        """A datagram server is asked by TCP."""
        self.edns0 = edns0
        """An OPT of ours is to be added if the client sent none."""
        self.is_late = False
        """Its time is over."""


class Send(NamedTuple):
    """Make this try; if nothing happens, `Lookup.woke` is to be called at ``wake_at``."""

    attempt: Try
    wake_at: float


class Wait(NamedTuple):
    """Nothing is to be done before ``wake_at``."""

    wake_at: float


class Finish(NamedTuple):
    """The look-up is over: relay ``reply`` of ``upstream``, or, without one, say SERVFAIL with ``ede``."""

    reply: bytes | None
    upstream: Upstream | None
    ede: tuple[int, str] | None
    ttl_at_most: int | None = None
    """Seconds for which the reply may be gone by, whatever it says itself: a server before this one may know more."""
    overtaken: tuple[Upstream, ...] = ()
    """Servers before this one that were asked and may answer yet."""


Step = Send | Wait | Finish
