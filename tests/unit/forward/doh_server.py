"""A DoH server on loopback, by h2's hand: the first label of the name says what it does with a query."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dns.message
import dns.rrset
import h2.config
import h2.connection
import h2.events
import h2.settings

from tests.unit.sources.docker import certificates

NAME = "dns.example"
MESSAGE = "application/dns-message"


@dataclass
class Posted:
    """One request."""

    headers: dict[str, str]
    connection: int
    body: bytes = b""


@dataclass
class DohServer:
    """What it was asked, and how it may be troubled."""

    folder: Path
    alpn: str = "h2"
    streams: int = 100
    """So many at once on a connection."""
    address: str = "127.0.0.1"
    port: int = 0
    posted: list[Posted] = field(default_factory=list)
    connections: list[_Connection] = field(default_factory=list)
    is_full_on: set[int] = field(default_factory=set)
    """Connections on which every request is refused."""
    is_deaf: bool = False
    """True: what comes is not read."""

    def authorities(self) -> ssl.SSLContext:
        """A context that trusts the server's authority."""
        return ssl.create_default_context(cafile=str(self.folder / "ca.pem"))

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.folder / "server.pem", self.folder / "server-key.pem")
        context.set_alpn_protocols([self.alpn])
        return context


class _Connection(asyncio.Protocol):
    def __init__(self, server: DohServer) -> None:
        self._server = server
        self._number = 0
        self._http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
        self._requests: dict[int, Posted] = {}
        self.resets: list[int] = []
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._number = len(self._server.connections)
        self._server.connections.append(self)
        self._http.local_settings = h2.settings.Settings(
            client=False,
            initial_values={h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: self._server.streams},
        )
        self._http.initiate_connection()
        self._flush()

    def data_received(self, data: bytes) -> None:
        if self._server.is_deaf:
            return
        for event in self._http.receive_data(data):
            match event:
                case h2.events.RequestReceived() if self._number in self._server.is_full_on:
                    self._http.reset_stream(event.stream_id, 7)
                case h2.events.RequestReceived():
                    self._requests[event.stream_id] = Posted(_as_text(event.headers), self._number)
                case h2.events.DataReceived() if event.stream_id in self._requests:
                    self._requests[event.stream_id].body += event.data
                case h2.events.StreamReset():
                    self.resets.append(event.stream_id)
                case h2.events.StreamEnded() if event.stream_id in self._requests:
                    posted = self._requests.pop(event.stream_id)
                    self._server.posted.append(posted)
                    self._answer(event.stream_id, posted)
        self._flush()

    def _flush(self) -> None:
        self.transport.write(self._http.data_to_send())

    def _send(self, stream: int, body: bytes, status: str = "200", kind: str = MESSAGE) -> None:
        if self.transport.is_closing() or stream in self.resets:
            return
        self._http.send_headers(stream, [(":status", status), ("content-type", kind)])
        if body:
            self._push(stream, body)
        else:
            self._http.end_stream(stream)

    def _push(self, stream: int, body: bytes) -> None:
        while body and not self.transport.is_closing() and stream not in self.resets:
            room = min(self._http.local_flow_control_window(stream), self._http.max_outbound_frame_size)
            if not room:
                asyncio.get_running_loop().call_later(0.01, self._push, stream, body)
                break
            self._http.send_data(stream, body[:room], end_stream=len(body) <= room)
            body = body[room:]
        self._flush()

    def _answer(self, stream: int, posted: Posted) -> None:
        query = dns.message.from_wire(posted.body)
        label = query.question[0].name.labels[0].decode()
        reply = dns.message.make_response(query)
        reply.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", "192.0.2.1"))
        good = reply.to_wire()
        match label.split("-"):
            case ["status", code]:
                self._send(stream, b"no", code, "text/plain")
            case ["html"]:
                self._send(stream, b"<html>" * 4, kind="text/html")
            case ["charset"]:
                self._send(stream, good, kind="Application/DNS-Message; charset=x")
            case ["empty"]:
                self._send(stream, b"")
            case ["short"]:
                self._send(stream, good[:11])
            case ["otherid"]:
                self._send(stream, b"\1\2" + good[2:])
            case ["oversized"]:
                self._send(stream, good + bytes(65536))
            case ["reset", code]:
                self._http.reset_stream(stream, int(code))
            case ["garbage"]:
                self._flush()
                self.transport.write(b"\0\0\1" + bytes(6) + b"x")  # DATA on stream 0
            case ["noise"] if self._number == 0:
                self._flush()
                self.transport.write(b"\xff" * 64)  # a frame of 16 MiB begins
            case ["bigstatus"]:
                self._http.send_headers(stream, [(":status", "9" * 5000), ("content-type", MESSAGE)], True)
            case ["redirect"]:
                self._http.send_headers(stream, [(":status", "302"), ("location", "https://127.0.0.1:1/")], True)
            case ["hang"]:
                pass
            case ["once", what] if sum(one.body == posted.body for one in self._server.posted) == 1:
                if what == "goaway":
                    self._http.close_connection()
                elif what == "close":
                    self.transport.abort()
                else:
                    self._http.reset_stream(stream, 7)  # REFUSED_STREAM
            case ["slow"]:
                asyncio.get_running_loop().call_later(0.5, self._send, stream, good)
            case _:
                self._send(stream, good)


def _as_text(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in headers}


@asynccontextmanager
async def doh_server(folder: Path, **options: object) -> AsyncIterator[DohServer]:
    """A server whose certificate is for `NAME` and 127.0.0.1, made in ``folder``."""
    made = certificates.make(folder / "tls", f"DNS:{NAME},IP:127.0.0.1")
    server = DohServer(made, **options)  # type: ignore[arg-type]
    listening = await asyncio.get_running_loop().create_server(
        lambda: _Connection(server), "127.0.0.1", 0, ssl=server.context()
    )
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for connection in server.connections:
            connection.transport.abort()
        await asyncio.sleep(0.01)
