"""A server whose answers are given by worker processes: it reads and follows everything, and tells them.

All that an operator sees comes from here: the log lines about what was read, faults, and the pages over HTTP.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from resolver import garbage
from resolver.app import Server
from resolver.assembly import tcp_limits
from resolver.config.schema import Settings
from resolver.forward.transports import SocketFactory
from resolver.server.listeners import Address
from resolver.server.state import Pin
from resolver.wire.name import IPAddress
from resolver.workers.inputs import Inputs, News, inputs_of, news_between
from resolver.workers.pool import Pool
from resolver.workers.sockets import Pair, SocketGroups

if TYPE_CHECKING:
    from resolver.ops.http import HttpServer


class Feeder(Server):
    """The parent of the workers; it answers no query itself."""

    def __init__(
        self,
        settings: Settings,
        load_settings: Callable[[], Settings],
        *,
        pin: Pin | None = None,
        fallback_gateways: Callable[[], tuple[IPAddress, ...]] = tuple,
    ) -> None:
        super().__init__(settings, load_settings, pin=pin, fallback_gateways=fallback_gateways)
        self.pool = Pool(settings.workers, self, self.content)
        self._inputs: Inputs | None = None
        self._last_news: tuple[Inputs, Inputs, News | None] | None = None
        self._groups: SocketGroups

    async def open(self, namespace_sockets: SocketFactory | None = None) -> None:
        """As `Server.open`; no worker is there yet."""
        await super().open(namespace_sockets)
        self.listeners = self._groups = SocketGroups(self.responder, tcp_limits(self.settings), self.pool.count)
        self.swapped = self.pool.catch_up

    async def bind(self) -> None:
        """As `Server.bind`, for all workers; those that are there go over to the new sockets."""
        await super().bind()
        self.pool.catch_up()
        await self.pool.caught_up()

    async def start(self) -> None:
        """Have the workers answer. Raises StartError."""
        garbage.expect_little()
        await self.pool.start()

    async def close(self) -> None:
        """End the workers, who answer what is in flight, and close everything."""
        await self.pool.end()
        await super().close()

    def http_server(self, sock: socket.socket) -> HttpServer:
        """What answers operators."""
        from resolver.workers.pages import http_server

        return http_server(sock, self, self.pool)

    def inputs(self) -> Inputs:
        """What workers are to answer from; the same object while nothing changes."""
        before, now = self._inputs, inputs_of(self)
        if before is not None:
            news = news_between(before, now)
            if news is None:
                return before
            self._last_news = before, now, news
        self._inputs = now
        return now

    def news(self, before: Inputs, after: Inputs) -> News | None:
        """What to tell who has heard the one, of the other."""
        last = self._last_news
        if last is None or last[0] is not before or last[1] is not after:
            self._last_news = last = before, after, news_between(before, after)
        return last[2]

    def pairs_of(self, place: int) -> Mapping[Address, Pair]:
        """The sockets of a worker, by its place from 0."""
        return self._groups.pairs_of(place)

    def _set_up_forwarding(self) -> None:
        super()._set_up_forwarding()
        self.lookups.loops.is_on = False  # each worker looks for loops; this process could not hear its own probes
