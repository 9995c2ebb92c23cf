"""The ways to ask an upstream, as one: whatever its transport, an exchange is opened here.

| upstream              | how it is asked                                                                              |
|-----------------------|----------------------------------------------------------------------------------------------|
| ``10.0.0.53``         | a datagram with a socket of its own (`transports`); where its owner wants TCP, as the next   |
| ``tcp://10.0.0.53``   | on a kept connection (`connections`)                                                         |
| ``tls://10.0.0.53``   | the same with TLS (`tls`)                                                                    |
| ``https://10.0.0.53`` | over HTTP/2 (`doh`)                                                                          |
| ``system``            | by the host's name service (`system`)                                                        |
| a name in its place   | its address is looked up first (`bootstrap`), then as above; the next address is tried when  |
|                       | one cannot be reached                                                                        |

What costs memory is imported when it is first needed.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from resolver.forward.bootstrap import Bootstrap
from resolver.forward.connections import Connections
from resolver.forward.stats import UpstreamStats
from resolver.forward.streams import Channel
from resolver.forward.transports import Exchange, Listener, Poller, SocketFactory, UdpExchange
from resolver.forward.upstreams import Transport, Upstream

if TYPE_CHECKING:
    from ssl import SSLContext

    from resolver.forward.doh import HttpsClients
    from resolver.forward.system import SystemResolver
    from resolver.forward.tls import Tls


class Exchanges:
    """Opens exchanges; keeps the connections that they share. Made and used on one running loop."""

    def __init__(self, poller: Poller, bootstrap: Bootstrap) -> None:
        self._bootstrap = bootstrap
        self._poller = poller
        self._authorities: str | None = None
        self._connections = Connections(poller, self._channel_of)
        self._tls: Tls | None = None
        self._https: HttpsClients | None = None
        self._system: SystemResolver | None = None

    @property
    def connections(self) -> int:
        """How many connections over TCP and TLS are kept now."""
        return len(self._connections)

    def trust(self, authorities: str | None) -> None:
        """Whose certificates count from now on: certificates in PEM, None for the system's."""
        if authorities == self._authorities:
            return
        self._authorities = authorities
        self._tls = None
        self._connections.close_all(lambda upstream: upstream.transport is Transport.TLS)
        if self._https is not None:
            self._https.close()
            self._https = None

    def open(
        self,
        upstream: Upstream,
        query: bytes,
        listener: Listener,
        factory: SocketFactory,
        over_tcp: bool,
        stats: UpstreamStats,
        client: Hashable | None = None,
    ) -> Exchange:
        """Send ``query`` to ``upstream``; the listener hears what becomes of it.

        ``over_tcp`` has a datagram server asked by TCP; ``factory`` makes the sockets, ``stats`` count the connections.
        ``client`` is whose share of what is scarce it counts to, None for nobody's.
        """
        transport = upstream.transport
        if upstream.is_named:
            return self._open_named(upstream, query, listener, factory, over_tcp, stats)
        if transport is Transport.UDP and not over_tcp:
            exchange = UdpExchange(self._poller, upstream, query, listener)
            exchange.start(factory)
            return exchange
        if transport is Transport.HTTPS:
            return self._clients().open(upstream, query, listener, stats)
        if transport is Transport.SYSTEM:
            if self._system is None:
                from resolver.forward.system import SystemResolver

                self._system = SystemResolver(self._poller.loop)
            return self._system.open(query, listener, client)
        return self._connections.open(upstream, query, listener, factory, stats)

    def go_on(self, upstream: Upstream, descriptor: int, listener: Listener) -> Exchange:
        """The exchange whose query has been sent already, by a datagram from that socket."""
        exchange = UdpExchange(self._poller, upstream, b"", listener)
        exchange.go_on(descriptor)
        return exchange

    def leave(self, factory: SocketFactory) -> None:
        """Nobody asks from inside that namespace any more."""
        self._connections.leave(factory)

    def close(self) -> None:
        """Close what is kept. The exchanges have been closed before."""
        self._connections.close()
        if self._https is not None:
            self._https.close()
        if self._system is not None:
            self._system.close()

    def _channel_of(self, upstream: Upstream) -> Channel | None:
        if upstream.transport is not Transport.TLS:
            return None
        if self._tls is None:
            from resolver.forward.tls import Tls

            self._tls = Tls(self._authorities)
        return self._tls.channel(upstream)

    def _clients(self) -> HttpsClients:
        if self._https is None:
            from resolver.forward.doh import HttpsClients

            self._https = HttpsClients(self._poller.loop, self._context)
        return self._https

    def _context(self) -> SSLContext:
        from resolver.forward.tls import new_context

        return new_context(self._authorities)

    def _open_named(
        self,
        upstream: Upstream,
        query: bytes,
        listener: Listener,
        factory: SocketFactory,
        over_tcp: bool,
        stats: UpstreamStats,
    ) -> Exchange:
        def start(at: Upstream, told: Listener) -> Exchange:
            return self.open(at, query, told, factory, over_tcp, stats)

        return self._bootstrap.open(upstream, start, listener)
