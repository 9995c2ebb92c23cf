"""The world beyond the daemon: a name server in its namespace whose answers show that a question has left.

Whatever is asked gets an answer with a TTL and addresses that nothing else here has, so a name that should have been
answered nearer by cannot pass unnoticed. Docker and pydns each have an address of it of their own.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from types import TracebackType
from typing import Any, NamedTuple, Self

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.netns.world import in_namespace

FOR_DOCKER = "10.53.0.1"
FOR_PYDNS = "10.53.0.2"
TTL = 111
MARKS = {
    "A": "203.0.113.53",
    "AAAA": "2001:db8::53",
    "TXT": '"left by the upstream"',
    "MX": "10 leak.upstream.test.",
    "PTR": "leak.upstream.test.",
    "SRV": "0 0 53 leak.upstream.test.",
    "HTTPS": "1 leak.upstream.test.",
    "NS": "leak.upstream.test.",
    "CNAME": "leak.upstream.test.",
    "SOA": "leak.upstream.test. hostmaster.upstream.test. 1 3600 600 86400 60",
}
"""What the upstream says of every name, by type; of other types there is nothing."""


class Asked(NamedTuple):
    """One query that came: its name without the final dot, in lower case, and whom of us it was sent to."""

    name: str
    rtype: str
    over_tcp: bool
    server: str
    source: str


class Upstream:
    """Listens on port 53 of both addresses, UDP and TCP, in a network namespace that has them."""

    def __init__(self, namespace: str) -> None:
        """The namespace is a name in /run/netns."""
        self.asked: list[Asked] = []
        self._servers: list[socketserver.BaseServer] = []
        self._undo = contextlib.ExitStack()
        self._namespace = namespace

    def __enter__(self) -> Self:
        for address in (FOR_DOCKER, FOR_PYDNS):
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                self._serve(address, kind)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._undo.close()

    def names(self, server: str) -> set[str]:
        """The names that were asked of one address so far."""
        return {asked.name for asked in self.asked if asked.server == server}

    def reply(self, wire: bytes, over_tcp: bool, server: str, source: str) -> bytes | None:
        """The answer to a message; None for one that is no query."""
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return None
        if query.flags & dns.flags.QR or query.opcode() != dns.opcode.QUERY or len(query.question) != 1:
            return None
        question = query.question[0]
        rtype = dns.rdatatype.to_text(question.rdtype)
        name = question.name.to_text(omit_final_dot=True).lower()
        self.asked.append(Asked(name, rtype, over_tcp, server, source))
        reply = dns.message.make_response(query, recursion_available=True)
        reply.flags |= query.flags & dns.flags.CD  # RFC 4035 3.2.2
        for kind in ("A", "TXT") if rtype == "ANY" else (rtype,):
            if kind in MARKS:
                reply.answer.append(dns.rrset.from_text(question.name, TTL, "IN", kind, MARKS[kind]))
        return reply.to_wire(max_size=65535)

    def _serve(self, address: str, kind: socket.SocketKind) -> None:
        def listen() -> socket.socket:
            sock = socket.socket(socket.AF_INET, kind)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address, 53))
            if kind == socket.SOCK_STREAM:
                sock.listen(64)
            return sock

        bound = in_namespace(self._namespace, listen)
        handler = type("Handler", (_Datagram if kind == socket.SOCK_DGRAM else _Stream,), {"upstream": self})
        make = socketserver.UDPServer if kind == socket.SOCK_DGRAM else socketserver.ThreadingTCPServer
        server = make((address, 53), handler, bind_and_activate=False)
        server.socket.close()
        server.socket = bound
        if isinstance(server, socketserver.ThreadingMixIn):
            server.daemon_threads = True
        server.server_address = (address, 53)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        self._undo.callback(thread.join, 5)
        self._undo.callback(server.server_close)
        self._undo.callback(server.shutdown)


class _Datagram(socketserver.BaseRequestHandler):
    upstream: Upstream

    def handle(self) -> None:
        wire, sock = self.request
        reply = self.upstream.reply(wire, False, _server(self), self.client_address[0])
        if reply is not None:
            sock.sendto(reply, self.client_address)


class _Stream(socketserver.StreamRequestHandler):
    upstream: Upstream
    timeout = 10

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while len(head := self.rfile.read(2)) == 2:
                wire = self.rfile.read(int.from_bytes(head, "big"))
                reply = self.upstream.reply(wire, True, _server(self), self.client_address[0])
                if reply is None:
                    return
                self.wfile.write(len(reply).to_bytes(2, "big") + reply)


def _server(handler: socketserver.BaseRequestHandler) -> str:
    server: Any = handler.server
    return str(server.server_address[0])
