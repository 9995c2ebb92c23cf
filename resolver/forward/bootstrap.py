"""Where an upstream is that is known by name only: its addresses, looked up at plain servers and kept for their time.

| what happens                                     | what is done                                                      |
|--------------------------------------------------|-------------------------------------------------------------------|
| the first query                                  | A and AAAA are asked for at the bootstrap servers; the query      |
|                                                  | waits, and all that come meanwhile                                |
| the addresses are fresh                          | they are given at once; in the last tenth of their time they are  |
|                                                  | looked up again beside it                                         |
| their time is over                               | they are looked up; after 0.4 s the old ones are given            |
| the look-up brings none                          | the last good ones are given, else there is none; whoever asks    |
|                                                  | within 2 s hears the same, unless there are other servers by then |
| an address fails, or is silent for 0.3 s         | the next one is tried first from now on, until it is heard of     |

The servers are those of the configuration, else the host's; they have addresses, so no look-up leads back here.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from resolver.forward.failures import Failure
from resolver.forward.policy import DEFAULT_OPTIONS, ForwardOptions
from resolver.forward.transports import Exchange, Listener, SocketFactory
from resolver.forward.upstreams import Upstream
from resolver.wire.name import WireName, from_text
from resolver.wire.query import Query, Verdict, scan

if TYPE_CHECKING:
    from resolver.forward.outcomes import Outcome

log = logging.getLogger(__name__)

MIN_TTL_S = 30.0
MAX_TTL_S = 3600.0
"""Addresses are kept as long as their TTL says, but within these bounds."""
EARLY = 0.1
"""In this last part of their time a query has them looked up again, and does not wait for it."""
PATIENCE_S = 0.4
"""How long a query waits for new addresses while there are old ones."""
TOGETHER_S = 0.2
"""How long the first answer waits for that of the other family."""
RETRY_S = 2.0
"""For so long a look-up that brought nothing is not repeated."""
SILENT_S = 0.3
"""An address that has owed a reply for so long is tried after the others."""

_MAX_KNOWN = 1024
_A, _AAAA = 1, 28
_HEADER = b"\0\0\1\0\0\1\0\0\0\0\0\0"  # RD, one question
_IN = b"\0\1"

Known = Callable[[tuple[str, ...]], None]
"""Told the addresses of a name, best first; none when there is no telling."""


class Resolve(Protocol):
    """`Forwarder.resolve`."""

    def __call__(
        self,
        query: Query,
        upstreams: Sequence[Upstream],
        over_tcp: bool,
        done: Callable[[Outcome], None],
        options: ForwardOptions = ...,
        in_namespace: SocketFactory = ...,
        /,
    ) -> None:
        """Look up; ``done`` is called once."""


Start = Callable[[Upstream, Listener], Exchange]
"""Begin the exchange with an upstream that has an address; it never tells its listener anything before it returns."""


class Bootstrap:
    """The addresses of every named upstream. Made and used on one running loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, resolve: Resolve) -> None:
        self.servers: tuple[Upstream, ...] = ()
        """Who is asked; each has an address. May be set anew at any time."""
        self.in_namespace: SocketFactory | None = None
        """Makes the sockets for those of them that are `Upstream.in_namespace`."""
        self._usable: Callable[[tuple[Upstream, ...]], tuple[Upstream, ...]] = lambda upstreams: upstreams
        self._at: dict[tuple[Upstream, tuple[str, ...]], tuple[Upstream, ...]] = {}
        self._loop = loop
        self._resolve = resolve
        self._names: dict[str, _Name] = {}

    def addresses_of(self, upstream: Upstream, known: Known) -> None:
        """Tell the addresses of a named upstream, at once when they are known; ``known`` is called once."""
        self._name_of(upstream).tell(known)

    def address_in_use(self, upstream: Upstream) -> str | None:
        """The address of a named upstream that is asked now; None before the first look-up."""
        name = self._names.get(upstream.name) if upstream.is_named else None
        return None if name is None else next(iter(name.ordered()), None)

    def open(self, upstream: Upstream, start: Start, listener: Listener) -> NamedExchange:
        """An exchange with a named upstream, at its first address that answers; ``start`` makes one for an address."""
        return NamedExchange(self, self._name_of(upstream), upstream, start, listener)

    def leave_out(self, usable: Callable[[tuple[Upstream, ...]], tuple[Upstream, ...]]) -> None:
        """Go by what ``usable`` leaves of upstreams with addresses: it knows whom we may not ask, ourselves."""
        self._usable = usable
        self._at.clear()

    def at(self, upstream: Upstream, addresses: tuple[str, ...]) -> tuple[Upstream, ...]:
        """A named upstream at each of these addresses that may be asked."""
        found = self._at.get((upstream, addresses))
        if found is None:
            if len(self._at) >= _MAX_KNOWN:
                self._at.clear()
            found = self._usable(tuple(replace(upstream, address=address) for address in addresses))
            self._at[upstream, addresses] = found
        return found

    def close(self) -> None:
        """Nobody waits any more."""
        for name in self._names.values():
            name.close()

    def _name_of(self, upstream: Upstream) -> _Name:
        name = self._names.get(upstream.name)
        if name is None:
            name = self._names[upstream.name] = _Name(self, upstream.name)
        return name


class _Name:
    """What is known of one name."""

    def __init__(self, bootstrap: Bootstrap, name: str) -> None:
        self.addresses: tuple[str, ...] = ()
        """Those that answered last come first."""
        self.doubts: dict[str, float] = {}
        """Since when each address owes a reply."""
        self._bootstrap = bootstrap
        self._loop = bootstrap._loop
        self._name = name
        self._queries = tuple(_query_for(from_text(name), qtype) for qtype in (_A, _AAAA))
        self._waiting: list[Known] = []
        self._fresh_until = self._early_from = float("-inf")
        self._retry_at = self._patient_until = float("-inf")
        self._asked: tuple[Upstream, ...] = ()
        self._round = 0
        self._left = 0
        """Answers that the look-up under way still lacks."""
        self._found: list[tuple[str, int]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._is_missing = False

    def tell(self, known: Known) -> None:
        """As `Bootstrap.addresses_of`."""
        now = self._loop.time()
        if now < self._fresh_until:
            if now >= self._early_from and not self._left and now >= self._retry_at:
                self._look_up()
            known(self.best())
        elif now < self._retry_at and self._asked == self._bootstrap.servers and not self._left:
            known(self.best())
        else:
            if not self._left:
                self._patient_until = now + PATIENCE_S
                self._waiting.append(known)
                if self.addresses:
                    self._timer = self._loop.call_at(self._patient_until, self._tell_all)
                self._look_up()
            elif self.addresses and now >= self._patient_until:
                known(self.best())
            else:
                self._waiting.append(known)

    def ordered(self) -> tuple[str, ...]:
        """The addresses as they are to be tried."""
        if not self.doubts:
            return self.addresses
        doubtful = [address for address in self.addresses if self._is_doubtful(address)]
        return (*(address for address in self.addresses if address not in doubtful), *doubtful)

    def best(self) -> tuple[str, ...]:
        """The same, for a try: when there is none without doubt, another one is first next time."""
        ordered = self.addresses = self.ordered()
        if ordered and self._is_doubtful(ordered[0]):
            self.addresses = (*ordered[1:], ordered[0])
        return ordered

    def _is_doubtful(self, address: str) -> bool:
        since = self.doubts.get(address)
        return since is not None and since < self._loop.time() - SILENT_S

    def close(self) -> None:
        """End the timer; who waits is told by nobody."""
        self._waiting.clear()
        self._stop_timer()

    def _look_up(self) -> None:
        bootstrap = self._bootstrap
        self._round += 1
        self._found = []
        self._asked = bootstrap.servers
        self._left = len(self._queries)
        for query in self._queries:
            answered = partial(self._answered, self._round, query)
            if self._asked and bootstrap.in_namespace is not None:
                bootstrap._resolve(query, self._asked, False, answered, DEFAULT_OPTIONS, bootstrap.in_namespace)
            elif self._asked:
                bootstrap._resolve(query, self._asked, False, answered)
            else:
                answered(None)

    def _answered(self, turn: int, query: Query, outcome: Outcome | None) -> None:
        if turn != self._round:
            return
        self._left -= 1
        self._found += _addresses_in(query, outcome.reply if outcome is not None else None)
        if not self._left:
            self._settle()
        elif self._found:
            self._stop_timer()
            self._timer = self._loop.call_later(TOGETHER_S, self._settle)

    def _settle(self) -> None:
        """Go by what was found; an answer that comes later adds to it."""
        now = self._loop.time()
        found = dict(self._found)
        if found:
            # In their old order: servers that turn theirs with each answer must not cost a connection each time.
            kept = tuple(address for address in self.addresses if address in found)
            addresses = (*kept, *(address for address in found if address not in kept))
            if set(addresses) != set(self.addresses):
                log.info("%s is at %s", self._name, ", ".join(addresses))
            self.addresses = addresses
            self.doubts = {address: since for address, since in self.doubts.items() if address in found}
            ttl_s = min(max(float(min(found.values())), MIN_TTL_S), MAX_TTL_S)
            self._fresh_until = now + ttl_s
            self._early_from = now + (1 - EARLY) * ttl_s
            self._is_missing = False
        else:
            self._retry_at = now + RETRY_S
            self._say_missing()
        self._tell_all()

    def _say_missing(self) -> None:
        if self._is_missing:
            return
        self._is_missing = True
        asked = ", ".join(map(str, self._asked)) or "nobody, for there is no bootstrap server"
        kept = f"asked on at {', '.join(self.addresses)}" if self.addresses else "not asked"
        log.warning("%s could not be looked up (asked: %s); it is %s", self._name, asked, kept)

    def _tell_all(self) -> None:
        self._stop_timer()
        waiting, self._waiting = self._waiting, []
        for known in waiting:
            known(self.best())

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class NamedExchange:
    """One query to a named upstream: its addresses in turn, until one of them brings something."""

    __slots__ = ("_bootstrap", "_inner", "_left", "_listener", "_name", "_start", "_tried", "_upstream", "is_closed")

    def __init__(self, bootstrap: Bootstrap, name: _Name, upstream: Upstream, start: Start, listener: Listener) -> None:
        self.is_closed = False
        """True when the listener hears no more of it."""
        self._bootstrap = bootstrap
        self._name = name
        self._upstream = upstream
        self._start = start
        self._listener = listener
        self._inner: Exchange | None = None
        self._left: Iterator[Upstream] = iter(())
        self._tried = ""
        name.tell(self._known)

    def received(self, message: bytes) -> None:
        """It answers at this address."""
        self._name.doubts.pop(self._tried, None)
        self._listener.received(message)

    def broke(self, failure: Failure, reason: str = "") -> None:
        """It does not at this one; at the next, if there is one."""
        self._name.doubts[self._tried] = float("-inf")
        if not self._try_next():
            self.is_closed = True
            self._listener.broke(failure, reason)

    def close(self) -> None:
        """End the exchange; the listener hears no more of it."""
        self.is_closed = True
        if self._inner is not None:
            self._inner.close()

    def _known(self, addresses: tuple[str, ...]) -> None:
        if self.is_closed:
            return
        self._left = iter(self._bootstrap.at(self._upstream, addresses))
        if not self._try_next():
            self._bootstrap._loop.call_soon(self._has_no_address)

    def _try_next(self) -> bool:
        upstream = next(self._left, None)
        if upstream is None:
            return False
        self._tried = upstream.address
        self._name.doubts.setdefault(upstream.address, self._bootstrap._loop.time())
        self._inner = self._start(upstream, self)
        return True

    def _has_no_address(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self._listener.broke(Failure.NO_ADDRESS)


def _query_for(name: WireName, qtype: int) -> Query:
    query = scan(_HEADER + name + qtype.to_bytes(2, "big") + _IN)
    assert not isinstance(query, Verdict)
    return query


def _addresses_in(query: Query, reply: bytes | None) -> list[tuple[str, int]]:
    """The addresses that a reply gives for its question, by way of aliases too, with their TTL in seconds."""
    if reply is None:
        return []
    import dns.exception
    import dns.message

    try:
        message = dns.message.from_wire(reply)
        if not isinstance(message, dns.message.QueryMessage):
            return []
        chain = message.resolve_chaining()
    except (dns.exception.DNSException, ValueError):
        return []
    if chain.answer is None or chain.answer.rdtype != query.qtype:
        return []
    found = []
    for rdata in chain.answer:
        address = ipaddress.ip_address(rdata.to_text())
        if not (address.is_multicast or address.is_unspecified):
            found.append((str(address), chain.minimum_ttl))
    return found
