"""Loops: an upstream that asks us, directly or by way of others, is found out by a question of our own and left out.

The way of dnsmasq's ``--dns-loop-detect``: each upstream is asked for TXT of a random label below ``test.`` (reserved
by RFC 6761 6.2, so nobody's name; ``system`` for A, which is what it can be asked), and that of a route below the
route's suffix. When that question comes to one of our listeners, and whoever asks it would have it asked of that same
upstream, that upstream leads back to us. One *place* is an upstream as seen from one network namespace, for the names
of one route or for all others.

| what happens                                         | what is done                                                  |
|------------------------------------------------------|---------------------------------------------------------------|
| the server starts, or has other listeners            | everything is forgotten, and each upstream is probed          |
| other upstreams are the server's, or a route's       | those that are new are probed, those that are gone forgotten  |
| a look-up meets another place for the first time     | it is probed: a container's own servers                       |
| an upstream that is down is probed by the forwarder  | it is probed here as well: a loop made later looks like that  |
| a probe comes back in a view that asks its place     | NXDOMAIN, and its place is muted: look-ups leave it out       |
| it comes back in another one: a container's own      | NXDOMAIN                                                      |
| server, which asks us, where others are asked for it |                                                               |
| a look-up would ask a muted place, 1 s, 2 s … 30 s   | it is probed again                                            |
| after the last probe                                 |                                                               |
| that probe ends without having come back             | the place is in use again                                     |
| every upstream of a look-up is muted                 | SERVFAIL with the extended error 22, or a stale answer        |

A probe is awaited for 10 s after its end, so one that took its time counts as well. When nobody asks, nothing is sent.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from resolver.forward.memory import MAX_UPSTREAMS
from resolver.forward.upstreams import Transport, Upstream
from resolver.wire.constants import CLASS_IN, EDE_NO_REACHABLE_AUTHORITY, MAX_NAME_SIZE, TXT, A
from resolver.wire.name import ROOT, WireName, suffixes_of, to_text
from resolver.wire.query import Query

if TYPE_CHECKING:
    from resolver.forward.forwarder import Forwarder
    from resolver.forward.outcomes import Outcome
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

SUFFIXES = (WireName(b"\4test\0"), WireName(b"\7example\0"))
"""Where probes may lie that are no route's, by preference (RFC 6761)."""
_ALL_OTHERS = WireName(b"")

_Place = tuple[Upstream, "SocketFactory | None", WireName]
"""The last one is the suffix of a route, or empty."""


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
        self.mark = b""
        """What the labels of probes begin with: digits by which other processes of this server know them."""
        self.suffix = SUFFIXES[0]
        """Below which names are probed that are no route's."""
        self._routed: dict[WireName, tuple[WireName, frozenset[Upstream]]] = {}
        """By each suffix of a route its first one, and its upstreams."""
        self._forwarder = forwarder
        self._loop = asyncio.get_running_loop()
        self._seen: dict[_Place, None] = {}
        self._muted: dict[_Place, _Muted] = {}
        self._watched: Hashable = None
        self._named: dict[_Place, None] = {}
        self._last: Sequence[Upstream] = ()
        self._last_inside: SocketFactory | None = None
        self._last_below = _ALL_OTHERS
        forwarder.suspects = self._suspect

    def watch(
        self,
        upstreams: Iterable[Upstream],
        in_namespace: SocketFactory,
        listeners: Hashable = None,
        routes: Mapping[tuple[WireName, ...], Iterable[Upstream]] | None = None,
    ) -> None:
        """These are the server's upstreams from now on, these its listeners, and these the routes, by their suffixes.

        What is known of one that stays is kept: it is probed again when it is down, or leads back to us.
        """
        if not self.is_on:
            self._forget()
            self._watched = None
            return
        watched = (in_namespace, listeners, self.suffix)
        if watched != self._watched:
            self._watched = watched
            self._forget()
        upstreams = tuple(dict.fromkeys(upstreams))
        routed = {
            suffix: (suffixes[0], frozenset(those)) for suffixes, those in (routes or {}).items() for suffix in suffixes
        }
        self._routed = routed
        named = dict.fromkeys(self._place(one, in_namespace, _ALL_OTHERS) for one in upstreams)
        for suffixes, those in (routes or {}).items():
            named.update(dict.fromkeys(self._place(one, in_namespace, suffixes[0]) for one in those))
        former, self._named = self._named, named
        for place in former.keys() - named.keys():
            self._seen.pop(place, None)
            self._unmute(place)
        for place in named:
            if place not in former:  # also one that a look-up has met: it may lead elsewhere now
                self._see(place)
        if former.keys() != named.keys():
            self._last, self._last_inside = (), None

    def passes(self, upstreams: Sequence[Upstream], in_namespace: SocketFactory) -> bool:
        """Whether these are all usable, as is known without a look at the name: as those of the last question were."""
        is_last = upstreams is self._last and in_namespace is self._last_inside and self._last_below is _ALL_OTHERS
        return is_last and not self._routed and not self._muted

    def usable(
        self, upstreams: Sequence[Upstream], in_namespace: SocketFactory, key: WireName = ROOT
    ) -> Sequence[Upstream]:
        """The upstreams for a folded name without those that lead back to us; those never met before are probed."""
        below = self._route_of(key)
        if upstreams is not self._last or in_namespace is not self._last_inside or below is not self._last_below:
            self._meet(upstreams, in_namespace, below)
            self._last, self._last_inside, self._last_below = upstreams, in_namespace, below
        if not self._muted:
            return upstreams
        return tuple(one for one in upstreams if not self._is_muted(self._place(one, in_namespace, below)))

    def came_back(self, key: WireName, to: Iterable[Upstream], in_namespace: SocketFactory) -> bool:
        """Whether a question, by its folded name, is one of our probes and would be asked of that same place again.

        ``to`` are those whom its asker has asked for it. If so the place is muted from now on.
        """
        probe = self.awaited.get(key)
        if probe is None or not self._leads_on(probe.place, key, to, in_namespace):
            return False
        probe.returned = True
        upstream, _, below = probe.place
        if self.is_on and probe.place in self._seen and probe.place not in self._muted:
            self._muted[probe.place] = _Muted(self._loop.time())
            self._forwarder.stats_of(upstream).looping += 1
            log.warning(
                "upstream %s%s leads back to pydns%s and is not asked until it does so no more: take pydns out of the "
                "servers that it asks, or it out of those that pydns asks",
                upstream,
                " in the namespace" if upstream.in_namespace else "",
                _for_names(below),
            )
        return True

    def _leads_on(self, place: _Place, key: WireName, to: Iterable[Upstream], in_namespace: SocketFactory) -> bool:
        """Whether these, or who is asked for the address of one of them, are the same place."""
        below = self._route_of(key)
        bootstrap = self._forwarder.bootstrap
        return any(
            place == self._place(one, in_namespace, below) or (one.is_named and place[0] in bootstrap.servers)
            for one in to
        )

    def _route_of(self, key: WireName) -> WireName:
        if not self._routed:
            return _ALL_OTHERS
        return next((self._routed[suffix][0] for suffix in suffixes_of(key) if suffix in self._routed), _ALL_OTHERS)

    def _place(self, upstream: Upstream, in_namespace: SocketFactory, below: WireName) -> _Place:
        is_routed = below in self._routed and upstream in self._routed[below][1]
        return upstream, in_namespace if upstream.in_namespace else None, below if is_routed else _ALL_OTHERS

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
        self._routed = {}
        self._named = {}
        self._last, self._last_inside = (), None

    def _meet(self, upstreams: Sequence[Upstream], in_namespace: SocketFactory, below: WireName = _ALL_OTHERS) -> None:
        for upstream in upstreams:
            place = self._place(upstream, in_namespace, below)
            if place not in self._seen:
                self._see(place)

    def _see(self, place: _Place) -> None:
        if place not in self._seen and len(self._seen) >= MAX_UPSTREAMS:
            oldest = next(iter(self._seen))
            del self._seen[oldest]
            self._unmute(oldest)
        self._seen[place] = None
        self._probe(place)

    def _suspect(self, upstream: Upstream, in_namespace: SocketFactory) -> None:
        if self.is_on:
            inside = in_namespace if upstream.in_namespace else None
            for place in [place for place in self._seen if place[:2] == (upstream, inside)]:
                self._probe(place)

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
        upstream, inside, below = place
        qtype = A if upstream.transport is Transport.SYSTEM else TXT
        query = probe_below(below or self.suffix, qtype, self.mark)
        if len(query.qname) > MAX_NAME_SIZE:
            return
        probe = self.awaited[query.key] = _Probe(query.key, place)
        # Not at once: what a client waits for goes first.
        self._loop.call_soon(self._forwarder.try_out, query, upstream, partial(self._ended, probe), inside)

    def _ended(self, probe: _Probe, outcome: Outcome) -> None:
        """The probe's place has answered, or has not: if it led back to us, the question was here before."""
        self._loop.call_later(LINGER_S, self.awaited.pop, probe.key, None)
        if not probe.returned and probe.place in self._muted:
            self._unmute(probe.place)
            upstream, _, below = probe.place
            log.info("upstream %s leads back to pydns no more%s and is asked again", upstream, _for_names(below))


def looping_error(upstreams: Sequence[Upstream]) -> tuple[int, str]:
    """The extended error of a look-up all of whose upstreams lead back to us: INFO-CODE and EXTRA-TEXT (RFC 8914)."""
    shown = ", ".join(map(str, upstreams[:_SHOWN]))
    more = f" and {len(upstreams) - _SHOWN} more" if len(upstreams) > _SHOWN else ""
    return EDE_NO_REACHABLE_AUTHORITY, f"every upstream leads back to pydns: {shown}{more}"


def _for_names(below: WireName) -> str:
    return f" for names below {to_text(below)}" if below else ""


def probe_below(suffix: WireName, qtype: int = TXT, mark: bytes = b"") -> Query:
    """A question for a name that nobody has, below a folded suffix; its first label begins with the ``mark``."""
    label = mark + os.urandom(_LABEL_OCTETS).hex().encode()
    name = WireName(bytes((len(label),)) + label + suffix)
    question = name + qtype.to_bytes(2, "big") + CLASS_IN.to_bytes(2, "big")
    wire = _HEADER + question
    return Query(wire, name, name, qtype, CLASS_IN, len(wire), None)
