"""One HTTP/2 connection over TLS that carries many queries at once (RFC 9113), by the library h2.

h2 knows the protocol and touches no socket; the bytes come from an asyncio protocol, so a reply is told the moment it
is there, whatever other queries wait for (docs/adr/0015). The library is imported here, and this module only when
somebody asks an ``https://`` upstream.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from msgspec import Struct, field

from resolver.forward.failures import Failure
from resolver.forward.tls import reason_of
from resolver.forward.transports import failure_of
from resolver.wire.constants import MAX_MESSAGE_SIZE

CONNECT_S = 4.0
"""For a connection and its handshake; the look-up that wanted it is over then, or nearly."""
IDLE_S = 60.0
"""How long a connection that nobody uses is kept."""
STREAMS_BEFORE_SETTINGS = 100
"""How many requests a new connection carries before the server has said how many it takes (RFC 9113 6.5.2)."""
STREAMS = 512
"""The most at once, however many it takes: a response that never ends holds memory."""
REFUSALS = 5
"""How often a server may refuse to look at one request, each time after a longer pause."""
REFUSAL_PAUSE_S = 0.02
DOUBTFUL_S = 1.0
"""After such a silence the server is asked for a sign of life beside the next query; it has as long to give it."""

_OUR_SETTINGS = {
    h2.settings.SettingCodes.ENABLE_PUSH: 0,
    h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: 16384,
}
_CONFIG = h2.config.H2Configuration(client_side=True, header_encoding=None)
_BROKEN = (h2.exceptions.H2Error, ValueError, IndexError, KeyError)  # whatever a library makes of a liar's bytes

Headers = Sequence[tuple[bytes, bytes]]


class Response(Struct):
    """What a server said to one request."""

    status: int = 0
    content_type: bytes = b""
    body: bytearray = field(default_factory=bytearray)


class Request(Protocol):
    """A query on its way, as a connection sees it."""

    body: bytes
    """What is posted."""
    is_closed: bool
    """True when nobody wants the response any more."""
    refusals: int
    """How often the server has refused to look at it."""

    def responded(self, response: Response) -> None:
        """The response is whole."""

    def lost(self, failure: Failure, reason: str = "") -> None:
        """There will be no response, and another connection would not do better."""


Lost = Callable[["Http2Connection", list[Request], Failure, str], None]
"""Told when a connection ends: the requests that had no response, why, and more about it in a few words."""


class Http2Connection(asyncio.Protocol):
    """From the attempt to connect to the end; requests may be given to it before it is there."""

    def __init__(self, loop: asyncio.AbstractEventLoop, headers: Headers, lost: Lost) -> None:
        self.is_over = False
        """True when it takes no more requests."""
        self.was_open = False
        """True when it once could carry requests: what fails later may do better on a new connection."""
        self._loop = loop
        self._headers = headers
        self._lost = lost
        self._http: h2.connection.H2Connection | None = None
        self._transport: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._queue: deque[Request] = deque()
        self._open: dict[int, tuple[Request, Response]] = {}
        self._heard_at = self._used_at = loop.time()
        self._doubt: asyncio.TimerHandle | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._is_flushing = False
        self._most = STREAMS_BEFORE_SETTINGS
        self._began_at = loop.time()

    @property
    def is_slow(self) -> bool:
        """True when the connection should have been there by now."""
        return not self.was_open and self._loop.time() - self._began_at > DOUBTFUL_S

    def connect(self, host: str, port: int, context: ssl.SSLContext, server_name: str) -> None:
        """Begin; what comes of it the requests hear."""
        self._connecting = self._loop.create_task(self._connect(host, port, context, server_name))

    def submit(self, request: Request) -> None:
        """Send a request as soon as it can be sent."""
        self._queue.append(request)
        if self._http is not None:
            if self._loop.time() - self._heard_at > DOUBTFUL_S and self._doubt is None:
                self._http.ping(bytes(8))
                self._doubt = self._loop.call_later(DOUBTFUL_S, self.end, Failure.TIMEOUT, "")
            self._pump()

    def end(self, failure: Failure, reason: str = "") -> None:
        """Close at once; whoever waits is told through `Lost`."""
        if self.is_over:
            return
        self.is_over = True
        for timer in (self._doubt, self._idle):
            if timer is not None:
                timer.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
        if self._transport is not None:
            self._transport.abort()
        waiting = [request for request, _ in self._open.values()] + list(self._queue)
        self._open.clear()
        self._queue.clear()
        self._lost(self, [request for request in waiting if not request.is_closed], failure, reason)

    async def _connect(self, host: str, port: int, context: ssl.SSLContext, server_name: str) -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._loop.create_connection(
                    lambda: self,
                    host,
                    port,
                    ssl=context,
                    server_hostname=server_name,
                    ssl_handshake_timeout=CONNECT_S,
                    ssl_shutdown_timeout=1.0,
                )
        except OSError as error:  # TimeoutError and every error of ssl are some
            self._connecting = None
            self.end(*failure_of_connecting(error))
        except ValueError as error:  # what ssl says of a name that it does not take
            self._connecting = None
            self.end(Failure.NO_TLS, str(error))
        self._connecting = None

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is through: the certificate is good."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self.is_over:
            transport.abort()
            return
        tls = transport.get_extra_info("ssl_object")
        if tls is None or tls.selected_alpn_protocol() != "h2":
            self.end(Failure.HTTP_ERROR, "it does not speak HTTP/2")
            return
        self.was_open = True
        self._http = h2.connection.H2Connection(_CONFIG)
        self._http.local_settings = h2.settings.Settings(client=True, initial_values=_OUR_SETTINGS)
        self._http.initiate_connection()
        self._heard_at = self._used_at = self._loop.time()
        self._idle = self._loop.call_later(IDLE_S, self._look_whether_idle)
        self._pump()

    def data_received(self, data: bytes) -> None:
        """Hand the octets to h2, and to the requests what it makes of them."""
        if self._http is None or self.is_over:
            return
        try:
            events = self._http.receive_data(data)
        except _BROKEN:
            self._flush()
            self.end(Failure.MALFORMED)
            return
        if events:  # octets alone are no sign of life: h2 waits for the end of a frame, however long it says it is
            self._heard_at = self._loop.time()
            if self._doubt is not None:
                self._doubt.cancel()
                self._doubt = None
        try:
            for event in events:
                self._take(event)
        except _BROKEN:
            self.end(Failure.MALFORMED)
        self._pump()

    def connection_lost(self, exc: Exception | None) -> None:
        """The server has closed, or the network has."""
        self.end(Failure.DISCONNECTED)

    # Requests out, responses in

    def _pump(self) -> None:
        """Send whatever may be sent now."""
        if self.is_over:
            return
        http = self._http
        assert http is not None
        try:
            while self._queue:
                request = self._queue[0]
                if not request.is_closed:
                    if not self._has_room(http, len(request.body)):
                        break
                    self._post(http, request)
                self._queue.popleft()
        except h2.exceptions.H2Error:
            self._flush()
            self.end(Failure.DISCONNECTED)
            return
        self._flush_soon()

    def _has_room(self, http: h2.connection.H2Connection, size: int) -> bool:
        """Whether the server takes one more request now (RFC 9113 5.1.2, 5.2)."""
        if min(http.outbound_flow_control_window, http.remote_settings.initial_window_size) < size:
            return False
        most = min(self._most, http.remote_settings.max_concurrent_streams)
        if http.open_outbound_streams < most:
            return True
        # Nobody waits for these; they are not cancelled sooner, for a server may take many resets for an attack.
        for stream in [stream for stream, (request, _) in self._open.items() if request.is_closed]:
            del self._open[stream]
            http.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
        return http.open_outbound_streams < most

    def _post(self, http: h2.connection.H2Connection, request: Request) -> None:
        stream = http.get_next_available_stream_id()
        size = b"%d" % len(request.body)
        http.send_headers(stream, [*self._headers, (b"content-length", size)])
        http.send_data(stream, request.body, end_stream=True)
        self._open[stream] = request, Response()
        self._used_at = self._loop.time()

    def _flush_soon(self) -> None:
        # Once in a turn of the loop: many queries are one write then. A connection that is lost says so a turn or two
        # later, and asyncio would log who writes on until then.
        if not self._is_flushing:
            self._is_flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        assert self._http is not None
        self._is_flushing = False
        if self._transport is not None and not self.is_over and (octets := self._http.data_to_send()):
            self._transport.write(octets)

    def _take(self, event: h2.events.Event) -> None:
        if self.is_over:
            return
        match event:
            case h2.events.ResponseReceived():
                self._note(event.stream_id, event.headers)
            case h2.events.DataReceived():
                self._collect(event.stream_id, event.data or b"", event.flow_controlled_length or 0)
            case h2.events.StreamEnded():
                if (found := self._open.pop(event.stream_id, None)) is not None and not found[0].is_closed:
                    found[0].responded(found[1])
            case h2.events.StreamReset():
                self._was_reset(event.stream_id, event.error_code)
            case h2.events.RemoteSettingsChanged():
                self._most = STREAMS
            case h2.events.ConnectionTerminated():
                self.end(Failure.DISCONNECTED)

    def _note(self, stream: int | None, headers: Headers | None) -> None:
        found = self._open.get(stream or 0)
        if found is None:
            return
        response = found[1]
        for name, value in headers or ():
            if name == b":status":
                response.status = int(value) if len(value) == 3 and value.isdigit() else 0
            elif name == b"content-type":
                response.content_type = value

    def _collect(self, stream: int | None, octets: bytes, credit: int) -> None:
        assert self._http is not None
        assert stream is not None
        self._http.acknowledge_received_data(credit, stream)
        found = self._open.get(stream)
        if found is None:
            return
        request, response = found
        response.body += octets
        if len(response.body) > MAX_MESSAGE_SIZE:
            del self._open[stream]
            if not request.is_closed:
                request.lost(Failure.MALFORMED)
            with contextlib.suppress(h2.exceptions.ProtocolError):  # it may have ended with the same octets
                self._http.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)

    def _was_reset(self, stream: int | None, code: int | None) -> None:
        found = self._open.pop(stream or 0, None)
        if found is None or found[0].is_closed:
            return
        request = found[0]
        if code != h2.errors.ErrorCodes.REFUSED_STREAM:
            request.lost(Failure.HTTP_ERROR, "it has reset the request")
        elif request.refusals >= REFUSALS:
            request.lost(Failure.HTTP_ERROR, "it refuses requests")
        else:  # it was not looked at (RFC 9113 8.7), so it may be put again; a pause lets others end before
            request.refusals += 1
            self._loop.call_later(REFUSAL_PAUSE_S * request.refusals, self._put_again, request)

    def _put_again(self, request: Request) -> None:
        if self.is_over:
            self._lost(self, [] if request.is_closed else [request], Failure.DISCONNECTED, "")
        else:
            self._queue.append(request)
            self._pump()

    def _look_whether_idle(self) -> None:
        left_s = self._used_at + IDLE_S - self._loop.time()
        if left_s <= 0 and all(request.is_closed for request, _ in self._open.values()):
            assert self._http is not None
            assert self._transport is not None
            self._http.close_connection()
            self._flush()
            self._transport.close()
            self._transport = None
            self.end(Failure.DISCONNECTED)
        else:
            self._idle = self._loop.call_later(max(left_s, DOUBTFUL_S), self._look_whether_idle)


def failure_of_connecting(error: OSError) -> tuple[Failure, str]:
    """Why there is no connection, and more about it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Failure.BAD_CERTIFICATE, error.verify_message.rstrip(".")
    if isinstance(error, TimeoutError):
        return Failure.TIMEOUT, ""
    if isinstance(error, ssl.SSLError):
        return Failure.NO_TLS, reason_of(error)
    if isinstance(error, ConnectionResetError):
        return Failure.NO_TLS, "it has closed the connection before TLS was there"
    return failure_of(error.errno), ""
