"""The upstream servers of the recording on loopback: what one does is in the first label of the name it is asked.

``servfail.ex.test`` is answered with SERVFAIL by every server, ``nx-ok-ok.mix.test`` with NXDOMAIN by the first of
three. The recording's 10.53.0.N is 127.53.0.N here, its 127.0.0.1 is 127.53.0.8 and its fd53::1 is ::1, all at one port
of the kernel's choice. Nobody listens for 10.53.0.5; 203.0.113.53 is never connected to: `refusing` stands for a kernel
without a route.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, Self

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from resolver.forward.upstreams import Upstream
from tests.golden.zone import LIMITED_TO, SOA, records

SILENT, CLOSED, REFUSING, FAILING = "10.53.0.4", "10.53.0.5", "10.53.0.6", "10.53.0.7"
UNREACHABLE = "203.0.113.53"
LOCAL = {f"10.53.0.{number}": f"127.53.0.{number}" for number in range(1, 8)} | {
    "127.0.0.1": "127.53.0.8",
    "fd53::1": "::1",
}
_NUMBER = {"10.53.0.1": 1, "10.53.0.2": 2, "10.53.0.3": 3}
_UDP_SIZE = 1232
_MOST_UDP = 4096

Message = dns.message.Message
Sent = list[tuple[float, bytes]]
"""After how many seconds which messages are sent."""
Asker = tuple[str, int]


class Asked(NamedTuple):
    """A server was asked."""

    server: str
    """By its address in the recording."""
    protocol: str


class Upstreams:
    """All of the servers; an asker is known by the address and port that it asks from."""

    def __init__(self) -> None:
        self.askers: dict[Asker, list[Asked]] = {}
        """Who is to be told apart, and whom it has asked."""
        self.port = 0
        self._closers: list[Callable[[], object]] = []
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for server, pair in self._bind().items():
            if pair is None:
                continue
            udp, tcp = pair
            transport, _ = await loop.create_datagram_endpoint(partial(_Udp, self, server, udp), sock=udp)

            async def serve(reader: Any, writer: Any, server: str = server) -> None:
                await self._serve(server, reader, writer)

            listener = await asyncio.start_server(serve, sock=tcp, backlog=512)
            self._closers += [transport.close, listener.close]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: object, at: TracebackType | None) -> None:
        for close in self._closers:
            close()
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    def local(self, upstreams: Iterable[Upstream]) -> tuple[Upstream, ...]:
        """Where upstreams of the recording are here, as the host reaches them."""
        return tuple(Upstream(LOCAL.get(upstream.address, upstream.address), self.port) for upstream in upstreams)

    def inside(self, upstreams: Iterable[Upstream]) -> tuple[Upstream, ...]:
        """The same as a container reaches them: nobody listens on its own 127.0.0.1."""
        return self.local(Upstream(CLOSED) if at.address.startswith("127.") else at for at in upstreams)

    def as_recorded(self, text: str) -> str:
        """``text`` with the servers' addresses in the recording in place of those here."""
        for server, address in LOCAL.items():
            for here, there in (
                (f"{address}:{self.port}", f"{server}:53"),
                (f"[{address}]:{self.port}", f"[{server}]:53"),
            ):
                text = text.replace(here, there)
        return text

    def _bind(self) -> dict[str, tuple[socket.socket, socket.socket] | None]:
        """A pair of sockets for each server, at one port at which nobody is on the address without a server."""
        for _ in range(100):
            port = 0
            made: dict[str, tuple[socket.socket, socket.socket] | None] = {}
            with contextlib.ExitStack() as undo:
                try:
                    for server, address in LOCAL.items():
                        family = socket.AF_INET6 if ":" in address else socket.AF_INET
                        udp = undo.enter_context(socket.socket(family, socket.SOCK_DGRAM))
                        udp.bind((address, port))
                        port = udp.getsockname()[1]
                        tcp = undo.enter_context(socket.socket(family, socket.SOCK_STREAM))
                        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                        tcp.bind((address, port))
                        made[server] = udp, tcp
                except OSError:
                    continue
                closed = made[CLOSED]
                undo.pop_all()
                assert closed is not None
                for sock in closed:
                    sock.close()
                self.port = port
                return made | {CLOSED: None}
        raise AssertionError("no port is free on every address")

    async def _serve(self, server: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                wire = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                for after_s, message in self.replies(wire, server, writer.get_extra_info("peername"), over_tcp=True):
                    await asyncio.sleep(after_s)
                    writer.write(len(message).to_bytes(2, "big") + message)
                await writer.drain()
        self._writers.discard(writer)
        writer.close()

    def replies(self, wire: bytes, server: str, asker: Any, *, over_tcp: bool) -> Sent:
        """What a server sends to one query."""
        known = self.askers.get((asker[0], asker[1]))
        if known is not None:
            known.append(Asked(server, "tcp" if over_tcp else "udp"))
        if server == SILENT:
            return []
        try:
            query = dns.message.from_wire(wire, ignore_trailing=True)
        except dns.exception.DNSException:
            return [(0, wire[:2] + b"\x80\x01" + bytes(8))]  # FORMERR, and nothing else
        return _Conversation(query, server, over_tcp).replies()


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, upstreams: Upstreams, server: str, sock: socket.socket) -> None:
        self._upstreams = upstreams
        self._server = server
        self._sock = sock

    def datagram_received(self, data: bytes, addr: Any) -> None:
        for after_s, message in self._upstreams.replies(data, self._server, addr, over_tcp=False):
            asyncio.get_running_loop().call_later(after_s, self._send, message, addr)

    def _send(self, message: bytes, addr: Any) -> None:
        with contextlib.suppress(OSError):  # the asker may be gone, and asyncio sends no empty datagram
            self._sock.sendto(message, addr)


class _Conversation:
    """One query and what comes of it."""

    def __init__(self, query: Message, server: str, over_tcp: bool) -> None:
        self.query = query
        self.server = server
        self.over_tcp = over_tcp
        self.number = _NUMBER.get(server, 1)
        self.name = query.question[0].name.to_text()
        self.rtype = dns.rdatatype.to_text(query.question[0].rdtype)
        self.reply = dns.message.make_response(query, recursion_available=True)
        self.reply.use_edns(False)
        self.limit = 65535 if over_tcp else 512
        if query.edns >= 0:
            self.limit = self.limit if over_tcp else max(512, min(query.payload, _MOST_UDP))
            cookies = [option for option in query.options if option.otype == dns.edns.COOKIE]
            grown: list[dns.edns.Option] = [
                dns.edns.GenericOption(dns.edns.COOKIE, option.to_wire()[:8] + b"SRVCOOKI") for option in cookies
            ]
            self.reply.use_edns(0, query.ednsflags & dns.flags.DO, _UDP_SIZE, options=grown)

    def replies(self) -> Sent:
        if self.server in (REFUSING, FAILING):
            self.reply.set_rcode(dns.rcode.REFUSED if self.server == REFUSING else dns.rcode.SERVFAIL)
            return [(0, self.packed())]
        behaviour = self._behaviour()
        for apply in (self._by_rcode, self._by_flag, self._by_records, self._by_bytes):
            if (sent := apply(behaviour)) is not None:
                return sent
        return self._from_zone()

    def _behaviour(self) -> str:
        name = self.name.lower()
        first = name.partition(".")[0]
        if name.endswith(".mix.test."):
            parts = first.split("-")
            mine = parts[min(self.number, len(parts)) - 1]
            return "good" if mine == "ok" else mine
        return first if name.endswith(".ex.test.") else ""

    def packed(self) -> bytes:
        """The reply, or only its head with TC where it is larger than the asker takes."""
        wire = self.reply.to_wire(max_size=65535)
        if len(wire) <= self.limit:
            return wire
        for section in self.reply.sections[1:]:
            section.clear()
        self.reply.flags |= dns.flags.TC
        return self.reply.to_wire()

    def add(self, section: int, *lines: str) -> None:
        """Records to a section, each an RRset of its own: dnspython would shuffle them otherwise."""
        for line in lines:
            owner, ttl, rtype, rdata = line.split(None, 3)
            self.reply.sections[section].append(dns.rrset.from_text(owner, int(ttl), "IN", rtype, rdata))

    def good(self, address: str = "") -> None:
        self.add(1, f"{self.name} 60 A {address or f'192.0.2.{100 + self.number}'}")

    def soa(self) -> None:
        self.add(2, f"{'ex' if self.name.lower().endswith('ex.test.') else 'up'}.test. 60 SOA {SOA}")

    def _by_rcode(self, behaviour: str) -> Sent | None:
        rcodes = {"servfail": 2, "refused": 5, "formerr": 1, "notimp": 4, "yxdomain": 6, "notauth": 9, "badvers": 16}
        rcode = rcodes.get(behaviour)
        if behaviour in ("nx", "nxaa", "nxsoaless", "answernx"):
            rcode = 3
            if behaviour == "answernx":
                self.add(1, f"{self.name} 60 CNAME gone.ex.test.")
            if behaviour != "nxsoaless":
                self.soa()
        elif behaviour in ("nodata", "nodataaa"):
            rcode = 0
            self.soa()
        elif behaviour == "badvers":
            self.reply.use_edns(0)
        elif behaviour == "ede":
            rcode = 2
            self.reply.use_edns(
                0, 0, _UDP_SIZE, options=[dns.edns.EDEOption(dns.edns.EDECode.NETWORK_ERROR, "net err")]
            )
        if rcode is None:
            return None
        self.reply.set_rcode(dns.rcode.Rcode.make(rcode))
        if behaviour.endswith("aa"):
            self.reply.flags |= dns.flags.AA
        return [(0, self.packed())]

    def _by_flag(self, behaviour: str) -> Sent | None:
        toggled = {
            "qr0": dns.flags.QR,
            "aa": dns.flags.AA,
            "ad": dns.flags.AD,
            "ra0": dns.flags.RA,
            "rd0": dns.flags.RD,
            "z": 0x0040,
        }
        if behaviour in toggled:
            self.good()
            self.reply.flags ^= toggled[behaviour]
            return [(0, self.packed())]
        if behaviour in ("tc", "tcpart"):
            if self.over_tcp or behaviour == "tcpart":
                self.good()
            if not self.over_tcp:
                self.reply.flags |= dns.flags.TC
            return [(0, self.packed())]
        return None

    def _by_records(self, behaviour: str) -> Sent | None:
        after_s = 0.0
        if delay := re.fullmatch(r"slow(\d+)", behaviour):
            after_s = int(delay[1]) / 10
            self.good()
        elif size := re.fullmatch(r"big(\d+)", behaviour):
            self._text(int(size[1]))
        elif behaviour in ("good", "whoami"):
            texts = {"A": self.server, "TXT": f'"server={self.server} proto={"tcp" if self.over_tcp else "udp"}"'}
            if behaviour == "whoami" and self.rtype in texts:
                self.add(1, f"{self.name} 5 {self.rtype} {texts[self.rtype]}")
            elif behaviour == "good" and self.rtype == "A":
                self.good()
            else:
                self.soa()
        elif behaviour == "uc":
            self.add(1, f"{self.name.upper()} 60 A 192.0.2.30")
        elif behaviour in ("private", "loopback"):
            self.good("172.17.0.1" if behaviour == "private" else "127.0.0.1")
        elif behaviour == "extra":
            self.good()
            self.add(2, "ex.test. 60 NS ns.up.test.")
            self.add(3, "ns.up.test. 60 A 10.53.0.1")
        elif behaviour in ("noopt", "forceopt", "edeok"):
            self.good()
            stale = dns.edns.EDEOption(dns.edns.EDECode.STALE_ANSWER, "stale")
            options: list[dns.edns.Option] = [stale] if behaviour == "edeok" else []
            self.reply.use_edns(False if behaviour == "noopt" else 0, 0, _UDP_SIZE, options=options)
        else:
            return None
        return [(after_s, self.packed())]

    def _text(self, size: int) -> None:
        """TXT records of 200 octets each, in all about ``size``."""
        self.add(1, *(f'{self.name} 60 TXT "{at:03d}{"x" * 197}"' for at in range(max(1, size // LIMITED_TO))))

    def _by_bytes(self, behaviour: str) -> Sent | None:
        """Messages that no server should send."""
        head = self.query.id.to_bytes(2, "big")
        plain = {
            "timeout": [],
            "garbage": [b"\xff" * 40],
            "garbageid": [head + b"\xff" * 40],
            "short": [head + (self.query.flags & 0xFFFF).to_bytes(2, "big")],
            "hdronly": [head + b"\x81\x80" + bytes(8)],
            "empty": [b""],
        }
        if behaviour in plain:
            return [(0, message) for message in plain[behaviour]]
        if behaviour in ("overudp", "overmid"):
            self._text(2000 if behaviour == "overudp" else 1000)
            return [(0, self.reply.to_wire(max_size=65535))]
        if behaviour not in ("wrongid", "wrongidok", "wrongq", "noq", "cutrr", "twice", "trail", "badcomp"):
            return None
        self.good()
        if behaviour == "noq":
            self.reply.question.clear()
        elif behaviour == "wrongq":
            self.reply.question[:] = dns.message.make_query("other.ex.test.", self.rtype).question
        good = self.reply.to_wire()
        forged = (self.query.id + 1 & 0xFFFF).to_bytes(2, "big") + good[2:]
        if behaviour == "badcomp":
            pointer = good.index(b"\xc0\x0c", 12)
            return [(0, good[:pointer] + (0xC000 | pointer).to_bytes(2, "big") + good[pointer + 2 :])]
        sent: dict[str, Sent] = {
            "wrongid": [(0, forged)],
            "wrongidok": [(0, forged), (0.05, good)],
            "cutrr": [(0, good[:-3])],
            "twice": [(0, good), (0.01, good)],
            "trail": [(0, good + b"\0\1\2\3")],
        }
        return sent.get(behaviour, [(0, good)])

    def _from_zone(self) -> Sent:
        name = self.name.lower()
        if name.endswith((".in-addr.arpa.", ".ip6.arpa.")):
            if self.rtype == "PTR" and not name.endswith(".113.0.203.in-addr.arpa."):
                self.add(1, f"{self.name} 77 PTR ptr-from-upstream.up.test.")
            else:
                self._no_such_name()
            return [(0, self.packed())]
        known = records().get(name)
        if known is None:
            self._no_such_name()
        elif self.rtype in known:
            self.add(1, *known[self.rtype])
        else:
            self.soa()
        return [(0, self.packed())]

    def _no_such_name(self) -> None:
        self.reply.set_rcode(dns.rcode.NXDOMAIN)
        self.soa()
