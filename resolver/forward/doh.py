"""DNS over HTTPS: queries posted to a server of RFC 8484, over one kept HTTP/2 connection for each upstream.

Only the upstream's own host is ever contacted: there are no redirects, no proxies and no cookies here. A query has id 0
on its way (RFC 8484 4.1), and its own again in the reply. A query whose connection ends before its reply is posted once
more, over a new connection: to look a name up twice does no harm, and servers close connections whenever they like.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

from resolver.forward.certificates import expected_name
from resolver.forward.failures import Failure
from resolver.forward.stats import UpstreamStats
from resolver.forward.transports import Listener
from resolver.forward.upstreams import DEFAULT_PORTS, Transport, Upstream
from resolver.wire.constants import HEADER_SIZE

if TYPE_CHECKING:
    from resolver.forward.http2 import Http2Connection, Request, Response

_CLIENTS = 64
_CONTENT_TYPE = b"application/dns-message"
_ID_ZERO = b"\0\0"


class HttpsClients:
    """The connections to every DoH upstream. Made and used on one running loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, context: Callable[[], ssl.SSLContext]) -> None:
        """``context`` makes the TLS settings, of ours alone: called once, when somebody is asked for the first time."""
        self._loop = loop
        self._make_context = context
        self._context: ssl.SSLContext | None = None
        self._clients: dict[Upstream, _Client] = {}
        self._is_closed = False

    def open(self, upstream: Upstream, query: bytes, listener: Listener, stats: UpstreamStats) -> HttpsExchange:
        """Post a query to an upstream that has an address; the listener hears what becomes of it, later.

        ``stats`` count what connections it takes.
        """
        exchange = HttpsExchange(self._loop, query, listener)
        if self._is_closed:
            exchange.lost(Failure.DISCONNECTED)
            return exchange
        client = self._clients.get(upstream)
        if client is None:
            if len(self._clients) >= _CLIENTS:  # addresses of a named upstream come and go
                self._clients = {known: client for known, client in self._clients.items() if client.is_connected}
            client = self._clients[upstream] = _Client(self._loop, upstream, self._tls())
        opened = client.post(exchange)
        stats.connections += opened
        stats.reused += not opened
        return exchange

    def close(self) -> None:
        """Close every connection; what is under way ends in a failure, later ones do so, too."""
        self._is_closed = True
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = self._make_context()
            self._context.set_alpn_protocols(["h2"])
        return self._context


class HttpsExchange:
    """One query and its response: a `Request` of the connection's."""

    __slots__ = ("_id", "_listener", "_loop", "body", "is_closed", "refusals", "was_resent")

    def __init__(self, loop: asyncio.AbstractEventLoop, query: bytes, listener: Listener) -> None:
        self.body = _ID_ZERO + query[2:]
        self.is_closed = False
        self.refusals = 0
        self.was_resent = False
        """True when one connection has ended before its response."""
        self._id = query[:2]
        self._loop = loop
        self._listener = listener

    def close(self) -> None:
        """End the exchange; the listener hears no more of it."""
        self.is_closed = True

    def responded(self, response: Response) -> None:
        """A whole response came: the message in it, or why there is none."""
        body = bytes(response.body)
        kind = response.content_type.partition(b";")[0].strip().lower()
        if response.status != 200:
            self._break(Failure.HTTP_ERROR, f"status {response.status}")
        elif kind != _CONTENT_TYPE:
            self._break(Failure.MALFORMED, "it is no DNS message")
        elif len(body) < HEADER_SIZE or body[:2] != _ID_ZERO:
            self._break(Failure.MALFORMED, "")
        else:
            self.is_closed = True
            self._listener.received(self._id + body[2:])

    def lost(self, failure: Failure, reason: str = "") -> None:
        """There will be no response."""
        if not self.is_closed:
            # Not at once: it may have been opened only now, by a listener that has not heard of it yet.
            self._loop.call_soon(self._break, failure, reason)

    def _break(self, failure: Failure, reason: str) -> None:
        if not self.is_closed:
            self.is_closed = True
            self._listener.broke(failure, reason)


class _Client:
    """One upstream: its connection, or the next one."""

    def __init__(self, loop: asyncio.AbstractEventLoop, upstream: Upstream, context: ssl.SSLContext) -> None:
        self._loop = loop
        self._upstream = upstream
        self._context = context
        self._server_name = host = expected_name(upstream)
        authority = f"[{host}]" if ":" in host else host
        if upstream.port != DEFAULT_PORTS[Transport.HTTPS]:
            authority += f":{upstream.port}"
        self._headers = (
            (b":method", b"POST"),
            (b":scheme", b"https"),
            (b":authority", authority.encode()),
            (b":path", upstream.path.encode()),
            (b"accept", _CONTENT_TYPE),
            (b"content-type", _CONTENT_TYPE),
        )
        self._connection: Http2Connection | None = None
        self._is_closed = False

    @property
    def is_connected(self) -> bool:
        """True while there is a connection, or one is being made."""
        return self._connection is not None and not self._connection.is_over

    def post(self, exchange: Request) -> bool:
        """Send a query over the connection that is there, else over a new one; whether it is a new one."""
        connection = self._connection
        is_new = connection is None or connection.is_over or connection.is_slow
        if connection is None or is_new:  # who waits for a slow one still may have it
            from resolver.forward.http2 import Http2Connection

            connection = self._connection = Http2Connection(self._loop, self._headers, self._lost)
            upstream = self._upstream
            connection.connect(upstream.address, upstream.port, self._context, self._server_name)
        connection.submit(exchange)
        return is_new

    def close(self) -> None:
        """Close the connection, and make no other."""
        self._is_closed = True
        if self._connection is not None:
            self._connection.end(Failure.DISCONNECTED)

    def _lost(self, connection: Http2Connection, requests: list[Request], failure: Failure, reason: str) -> None:
        for exchange in requests:
            may_resend = connection.was_open and failure is not Failure.MALFORMED and not self._is_closed
            if may_resend and isinstance(exchange, HttpsExchange) and not exchange.was_resent:
                exchange.was_resent = True
                self.post(exchange)
            else:
                exchange.lost(failure, reason)
