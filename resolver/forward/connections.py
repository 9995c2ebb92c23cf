"""Kept connections by upstream: which one a query takes, and what becomes of it when that one ends.

| what happens                         | what is done                                                                  |
|--------------------------------------|-------------------------------------------------------------------------------|
| a query                              | it takes the first connection with fewer than 100 outstanding that has not    |
|                                      | been silent for 1 s while somebody waited; else a new one, at most 16 to one  |
|                                      | upstream; else that with the fewest                                           |
| nobody waits on one for 20 s         | it is closed                                                                  |
| it ends and had brought replies      | who waits is asked for once more on a fresh one, at once, and again as long   |
|                                      | as each brings a reply; it is no failure                                      |
| it ends and had brought nothing      | a failure of everybody who waits                                              |
| what it has sent is not acknowledged | it has ended                                                                  |
| it is not established within 5 s, or | it has ended                                                                  |
| of no use and nobody waits           |                                                                               |
| it ends before all is answered       | for 60 s no more are put on one at a time than it has answered                |
| more than 256 in all                 | the one that was idle for the longest is closed                               |
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from resolver.forward.failures import NO_CONNECTION, Failure
from resolver.forward.stats import UpstreamStats
from resolver.forward.streams import Channel, Connection, StreamExchange
from resolver.forward.transports import Listener, Poller, SocketFactory
from resolver.forward.upstreams import Upstream

IDLE_S = 20.0
"""A connection that nobody uses is closed after so many seconds: before most servers do it."""
OUTSTANDING = 100
"""So many queries wait on one connection before there is a further one."""
CONNECTIONS_EACH = 16
CONNECTIONS = 256
CONNECT_S = 5.0
"""A connection that is not established after so long will not be: every look-up that wanted it is over."""
_SWEEP_S = 0.25
_REMEMBERED_S = 60.0
_GONE = NO_CONNECTION | {Failure.TIMEOUT}

MOST_WAITING = 1024
"""Queries on a connection when there can be no other one: of a server that says nothing to any of them."""
_Key = tuple[Upstream, SocketFactory]


class Connections:
    """Every connection, by upstream and by the namespace from which it is asked."""

    def __init__(self, poller: Poller, channel_of: Callable[[Upstream], Channel | None]) -> None:
        """``channel_of`` makes what lies between a new connection's socket and its messages; None for nothing."""
        self._poller = poller
        self._channel_of = channel_of
        self._kept: dict[_Key, list[Connection]] = {}
        self._at_a_time: dict[Upstream, tuple[int, float]] = {}
        """Of servers that end a connection before all is answered: how many they answer, and until when it counts."""
        self._sweeper: asyncio.TimerHandle | None = None
        self._is_closed = False

    def __len__(self) -> int:
        return sum(map(len, self._kept.values()))

    def open(
        self, upstream: Upstream, query: bytes, listener: Listener, factory: SocketFactory, stats: UpstreamStats
    ) -> StreamExchange:
        """Ask ``upstream``, which has an address; ``stats`` count what connections it takes."""
        exchange = StreamExchange(query, listener, factory)
        opened = self._place(upstream, exchange)
        stats.connections += opened
        stats.reused += exchange.connection is not None and not opened
        return exchange

    def leave(self, factory: SocketFactory) -> None:
        """Nobody asks from inside that namespace any more."""
        self._drop([connection for (_, at), kept in self._kept.items() if at == factory for connection in kept])

    def close_all(self, of: Callable[[Upstream], bool] = lambda upstream: True) -> None:
        """Close the connections to such upstreams; who waits on one is told that it is closed."""
        self._drop([connection for kept in self._kept.values() for connection in kept if of(connection.upstream)])

    def close(self) -> None:
        """Close everything, for good."""
        self._is_closed = True
        self.close_all()
        if self._sweeper is not None:
            self._sweeper.cancel()

    def _drop(self, connections: list[Connection]) -> None:
        for connection in connections:
            for exchange in connection.waiting.values():
                if exchange is not None:
                    exchange.is_second, exchange.replies_before = True, connection.replies
            connection.end(Failure.DISCONNECTED)

    def _place(self, upstream: Upstream, exchange: StreamExchange) -> bool:
        """Put an exchange on a connection; whether a new one was opened for it."""
        now = self._poller.loop.time()
        key = (upstream, exchange.factory)
        connection = self._pick(self._kept.get(key, []), exchange, now)
        is_new = connection is None
        if connection is not None and len(connection.waiting) >= MOST_WAITING:
            exchange.break_soon(self._poller.loop.call_soon, Failure.NO_SOCKET)
            return False
        if connection is None:
            if not self._make_room():
                exchange.break_soon(self._poller.loop.call_soon, Failure.NO_SOCKET)
                return False
            connection = Connection(
                self._poller, upstream, exchange.factory, self._channel_of(upstream), self._connection_ended
            )
            self._kept.setdefault(key, []).append(connection)
            if self._sweeper is None:
                self._sweeper = self._poller.loop.call_later(_SWEEP_S, self._sweep)
        connection.send(exchange, now)
        if is_new:
            connection.start()
        return is_new

    def _pick(self, kept: list[Connection], exchange: StreamExchange, now: float) -> Connection | None:
        """The connection for an exchange; None for a new one."""
        if not kept:
            return None
        most = OUTSTANDING
        if self._at_a_time and (known := self._at_a_time.get(kept[0].upstream)) is not None and now < known[1]:
            most = known[0]
        fewest: Connection | None = None
        for connection in kept:
            if connection.is_quiet(now) or (exchange.is_second and connection.replies):
                continue
            if len(connection.waiting) < most:
                return connection
            if fewest is None or len(connection.waiting) < len(fewest.waiting):
                fewest = connection
        if len(kept) < CONNECTIONS_EACH:
            return None
        return fewest or kept[-1]

    def _make_room(self) -> bool:
        if len(self) < CONNECTIONS:
            return True
        idle = [connection for kept in self._kept.values() for connection in kept if not connection.waiting]
        if not idle:
            return False
        min(idle, key=lambda connection: connection.idle_since).end(Failure.DISCONNECTED)
        return True

    def _connection_ended(
        self, connection: Connection, left: list[StreamExchange], failure: Failure, reason: str
    ) -> None:
        key = (connection.upstream, connection.factory)
        kept = self._kept[key]
        kept.remove(connection)
        if not kept:
            del self._kept[key]
        is_gone = failure in _GONE and connection.replies and not self._is_closed
        if is_gone and any(connection.replies > exchange.replies_before for exchange in left):
            until = self._poller.loop.time() + _REMEMBERED_S
            self._at_a_time[connection.upstream] = (connection.replies, until)
        for exchange in left:
            if is_gone and (connection.replies > exchange.replies_before or not exchange.is_second):
                exchange.is_second = True
                self._place(connection.upstream, exchange)
            else:
                exchange.break_soon(self._poller.loop.call_soon, failure, reason)

    def _sweep(self) -> None:
        """Close what is idle, and end what is dead."""
        self._sweeper = None
        now = self._poller.loop.time()
        for connection in [connection for kept in self._kept.values() for connection in kept]:
            if not connection.is_established or not (connection.replies or any(connection.waiting.values())):
                if now - connection.opened_at > CONNECT_S:
                    connection.end(Failure.TIMEOUT)
            elif not connection.waiting:
                if now - connection.idle_since > IDLE_S:
                    connection.end(Failure.DISCONNECTED)
            elif connection.is_dead() or (not any(connection.waiting.values()) and now - connection.heard_at > IDLE_S):
                connection.end(Failure.DISCONNECTED)
        self._at_a_time = {upstream: known for upstream, known in self._at_a_time.items() if now < known[1]}
        if self._kept and self._sweeper is None:
            self._sweeper = self._poller.loop.call_later(_SWEEP_S, self._sweep)
