"""Loops: an upstream that asks us, directly or by way of others, is found out by a question of our own and left out.

The way of dnsmasq's ``--dns-loop-detect``: each upstream is asked for TXT of a random label below ``test.`` (reserved
by RFC 6761 6.2, so nobody's name; ``system`` for A, which is what it can be asked). When that question comes to one of
our listeners, that upstream leads back to us. One *place* is an upstream as seen from one network namespace.

| what happens                                         | what is done                                                  |
|------------------------------------------------------|---------------------------------------------------------------|
| the server starts, or its set of upstreams changes   | everything is forgotten, and each of them is probed           |
| a look-up meets another place for the first time     | it is probed: a container's own servers                       |
| an upstream that is down is probed by the forwarder  | it is probed here as well: a loop made later looks like that  |
| a probe comes back                                   | NXDOMAIN, and its place is muted: look-ups leave it out       |
| a look-up would ask a muted place, 1 s, 2 s … 30 s   | it is probed again                                            |
| after the last probe                                 |                                                               |
| that probe ends without having come back             | the place is in use again                                     |
| every upstream of a look-up is muted                 | SERVFAIL with the extended error 22, or a stale answer        |

A probe is awaited for 10 s after its end, so one that took its time counts as well. When nobody asks, nothing is sent.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Hashable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from resolver.forward.memory import MAX_UPSTREAMS
from resolver.forward.upstreams import Transport, Upstream
from resolver.wire.constants import CLASS_IN, EDE_NO_REACHABLE_AUTHORITY, TXT, A
from resolver.wire.name import WireName
from resolver.wire.query import Query

if TYPE_CHECKING:
    from resolver.forward.forwarder import Forwarder, Outcome
    from resolver.forward.transports import SocketFactory

log = logging.getLogger(__name__)

PAUSE_FIRST_S = 1.0
PAUSE_MOST_S = 30.0
LINGER_S = 10.0
"""How long after its end a probe may still come back."""
MAX_AWAITED = 4096
_HEADER = b"\0\0\1\0\0\1\0\0\0\0\0\0"  # RD, one question
_LABEL_OCTETS = 8
_SHOWN = 4

_Place = tuple[Upstream, "SocketFactory | None"]


class _Probe:
    """One question to one place."""

    __slots__ = ("key", "place", "returned")

    def __init__(self, key: WireName, place: _Place) -> None:
        self.key = key
        self.place = place
        self.returned = False


class _Muted:
    """When a place that is left out is probed again."""

    __slots__ = ("pause_s", "probe_at")

    def __init__(self, now: float) -> None:
        self.pause_s = PAUSE_FIRST_S
        self.probe_at = now + PAUSE_FIRST_S


class Loops:
    """Which places lead back to us. Made and used on one running loop; to begin with it is off."""

    def __init__(self, forwarder: Forwarder) -> None:
        self.is_on = False
        self.awaited: dict[WireName, _Probe] = {}
        """Folded names of probes that may come back: as long as there are none, `came_back` need not be asked."""
        self._forwarder = forwarder
        self._loop = asyncio.get_running_loop()
        self._seen: dict[_Place, None] = {}
        self._muted: dict[_Place, _Muted] = {}
        self._watched: Hashable = None
        self._last: Sequence[Upstream] = ()
        self._last_inside: SocketFactory | None = None
        forwarder.suspects = self._suspect

    def watch(self, upstreams: Iterable[Upstream], in_namespace: SocketFactory, listeners: Hashable = None) -> None:
        """These are the server's upstreams from now on, and these its listeners.

        When either is not what it was, what is known is of no worth, and each upstream is probed.
        """
        if not self.is_on:
            self._forget()
            self._watched = None
            return
        upstreams = tuple(dict.fromkeys(upstreams))
        watched = (frozenset(upstreams), in_namespace, listeners)
        if watched != self._watched:
            self._watched = watched
            self._forget()
            self._meet(upstreams, in_namespace)

    def usable(self, upstreams: Sequence[Upstream], in_namespace: SocketFactory) -> Sequence[Upstream]:
        """The upstreams without those that lead back to us; those that were never met before are probed."""
        if upstreams is not self._last or in_namespace is not self._last_inside:
            self._meet(upstreams, in_namespace)
            self._last, self._last_inside = upstreams, in_namespace
        if not self._muted:
            return upstreams
        return tuple(upstream for upstream in upstreams if not self._is_muted(_place(upstream, in_namespace)))

    def came_back(self, key: WireName) -> bool:
        """Whether a question, by its folded name, is one of our probes; if so its place is muted from now on."""
        probe = self.awaited.get(key)
        if probe is None:
            return False
        probe.returned = True
        upstream = probe.place[0]
        if self.is_on and probe.place in self._seen and probe.place not in self._muted:
            self._muted[probe.place] = _Muted(self._loop.time())
            self._forwarder.stats_of(upstream).looping += 1
            log.warning(
                "upstream %s%s leads back to pydns and is not asked until it does so no more: take pydns out of the "
                "servers that it asks, or it out of those that pydns asks",
                upstream,
                " in the namespace" if upstream.in_namespace else "",
            )
        return True

    def leave(self, in_namespace: SocketFactory) -> None:
        """Nobody asks from inside that namespace any more."""
        for place in [place for place in self._seen if place[1] is in_namespace]:
            del self._seen[place]
            self._unmute(place)
        if self._last_inside is in_namespace:
            self._last, self._last_inside = (), None

    def _forget(self) -> None:
        for place in list(self._muted):
            self._unmute(place)
        self._seen.clear()
        self._last, self._last_inside = (), None

    def _meet(self, upstreams: Sequence[Upstream], in_namespace: SocketFactory) -> None:
        for upstream in upstreams:
            place = _place(upstream, in_namespace)
            if place not in self._seen:
                if len(self._seen) >= MAX_UPSTREAMS:
                    oldest = next(iter(self._seen))
                    del self._seen[oldest]
                    self._unmute(oldest)
                self._seen[place] = None
                self._probe(place)

    def _suspect(self, upstream: Upstream, in_namespace: SocketFactory) -> None:
        if self.is_on:
            self._probe(_place(upstream, in_namespace))

    def _is_muted(self, place: _Place) -> bool:
        muted = self._muted.get(place)
        if muted is None:
            return False
        now = self._loop.time()
        if now >= muted.probe_at:
            muted.pause_s = min(2 * muted.pause_s, PAUSE_MOST_S)
            muted.probe_at = now + muted.pause_s
            self._probe(place)
        return True

    def _unmute(self, place: _Place) -> None:
        if self._muted.pop(place, None) is not None:
            self._forwarder.stats_of(place[0]).looping -= 1

    def _probe(self, place: _Place) -> None:
        if len(self.awaited) >= MAX_AWAITED:
            return
        upstream, inside = place
        query = _question(A if upstream.transport is Transport.SYSTEM else TXT)
        probe = self.awaited[query.key] = _Probe(query.key, place)
        # Not at once: what a client waits for goes first.
        self._loop.call_soon(self._forwarder.try_out, query, upstream, partial(self._ended, probe), inside)

    def _ended(self, probe: _Probe, outcome: Outcome) -> None:
        """The probe's place has answered, or has not: if it led back to us, the question was here before."""
        self._loop.call_later(LINGER_S, self.awaited.pop, probe.key, None)
        if not probe.returned and probe.place in self._muted:
            self._unmute(probe.place)
            log.info("upstream %s leads back to pydns no more and is asked again", probe.place[0])


def looping_error(upstreams: Sequence[Upstream]) -> tuple[int, str]:
    """The extended error of a look-up all of whose upstreams lead back to us: INFO-CODE and EXTRA-TEXT (RFC 8914)."""
    shown = ", ".join(map(str, upstreams[:_SHOWN]))
    more = f" and {len(upstreams) - _SHOWN} more" if len(upstreams) > _SHOWN else ""
    return EDE_NO_REACHABLE_AUTHORITY, f"every upstream leads back to pydns: {shown}{more}"


def _place(upstream: Upstream, in_namespace: SocketFactory) -> _Place:
    return upstream, in_namespace if upstream.in_namespace else None


def _question(qtype: int) -> Query:
    label = secrets.token_hex(_LABEL_OCTETS).encode()
    name = WireName(bytes((len(label),)) + label + b"\4test\0")
    question = name + qtype.to_bytes(2, "big") + CLASS_IN.to_bytes(2, "big")
    wire = _HEADER + question
    return Query(wire, name, name, qtype, CLASS_IN, len(wire), None)
