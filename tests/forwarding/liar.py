"""An upstream that lies in every way that is known, on loopback; the first label of the name asked says how.

What comes after the lie is in its table: nothing, or the right reply a moment later. `Liar.is_honest` ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any

import dns.flags
import dns.message
import dns.rrset

from tests.forwarding.background import Background
from tests.scenarios.upstream import bound_pair

RIGHT = "192.0.2.1"
WRONG = "203.0.113.66"
VICTIM = "victim.example."
FLOOD = 10_000
_QR, _OPCODE_STATUS = 0x8000, 0x1000

Lies = Callable[[dns.message.Message, bytes], list[bytes]]
"""Of the query and the right reply: what is sent in place of it."""


def right_reply(query: dns.message.Message) -> dns.message.Message:
    """What an honest server says."""
    reply = dns.message.make_response(query, recursion_available=True)
    reply.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", RIGHT))
    return reply


def _flags(reply: bytes, change: Callable[[int], int]) -> bytes:
    return reply[:2] + change(int.from_bytes(reply[2:4], "big")).to_bytes(2, "big") + reply[4:]


def _counts(reply: bytes, questions: int, answers: int, others: int = 0) -> bytes:
    numbers = (questions, answers, others, others)
    return reply[:4] + b"".join(number.to_bytes(2, "big") for number in numbers) + reply[12:]


def _wrong(query: dns.message.Message, **changes: Any) -> bytes:
    """A reply with a forged address, and with other things changed too."""
    reply = dns.message.make_response(query, recursion_available=True)
    name = changes.get("owner", query.question[0].name)
    reply.answer.append(dns.rrset.from_text(name, 60, "IN", "A", WRONG))
    if "name" in changes:
        reply.question = [
            dns.rrset.RRset(dns.name.from_text(changes["name"]), query.question[0].rdclass, dns.rdatatype.A)
        ]
    reply.id = query.id ^ changes.get("id", 0)
    return reply.to_wire()


def _with_records(query: dns.message.Message, *texts: str) -> bytes:
    reply = dns.message.make_response(query, recursion_available=True)
    for text in texts:
        name, rtype, rdata = text.format(name=query.question[0].name).split(None, 2)
        reply.answer.append(dns.rrset.from_text(name, 60, "IN", rtype, rdata))
    return reply.to_wire()


def _with_more(query: dns.message.Message, strings: int) -> bytes:
    """The right reply, and so many strings of 255 octets that nobody has asked for."""
    reply = right_reply(query)
    text = " ".join(f'"{"x" * 255}"' for _ in range(strings))
    reply.additional.append(dns.rrset.from_text("more.example.", 60, "IN", "TXT", text))
    return reply.to_wire(max_size=65535)


def _behind(query: dns.message.Message, octets: bytes, counts: tuple[int, int, int] = (1, 0, 0)) -> bytes:
    """Our question, and any octets behind it that are said to be so many records."""
    head = dns.message.make_response(query, recursion_available=True)
    head.use_edns(False)
    wire = head.to_wire()
    return wire[:6] + b"".join(count.to_bytes(2, "big") for count in counts) + wire[12:] + octets


_A = b"\0\1\0\1\0\0\0\x3c\0\4\xcb\0\x71\x42"
_OPT = b"\0\0\x29\x04\xd0\0\0\0\0"

IGNORED: dict[str, Lies] = {
    "wrong-id": lambda query, right: [_wrong(query, id=1)],
    "wrong-name": lambda query, right: [_wrong(query, name=VICTIM, owner=VICTIM)],
    "wrong-type": lambda query, right: [right.replace(b"\0\0\1\0\1", b"\0\0\x1c\0\1", 1)],
    "wrong-class": lambda query, right: [right.replace(b"\0\0\1\0\1", b"\0\0\1\0\3", 1)],
    "a-query": lambda query, right: [_flags(_wrong(query), lambda flags: flags & ~_QR)],
    "echo": lambda query, right: [query.to_wire()],
    "no-question": lambda query, right: [_counts(right[:12], 0, 0)],
    "empty": lambda query, right: [b""],
    "noise": lambda query, right: [random.Random(1).randbytes(300)],
}
"""What nobody can tell from a forgery: it is as if it had not come."""

UNUSABLE: dict[str, Lies] = {
    "own-id-noise": lambda query, right: [right[:2] + b"\x84\0" + random.Random(2).randbytes(300)],
    "short": lambda query, right: [right[:7]],
    "other-opcode": lambda query, right: [_flags(_wrong(query), lambda flags: flags | _OPCODE_STATUS)],
    "two-questions": lambda query, right: [_counts(right, 2, 1)],
    "cut": lambda query, right: [_counts(right, 1, 1)[:-3]],
    "too-many-records": lambda query, right: [_counts(right, 1, 65535)],
    "pointer-to-itself": lambda query, right: [
        _behind(query, (0xC000 | (len(_behind(query, b"")))).to_bytes(2, "big") + _A)
    ],
    "pointer-beyond": lambda query, right: [_behind(query, b"\xff\xff" + _A)],
    "label-of-no-kind": lambda query, right: [_behind(query, b"\x80abc\0" + _A)],
    "two-opts": lambda query, right: [_behind(query, 2 * (_OPT + b"\0\0"), (0, 0, 2))],
    "opt-in-answer": lambda query, right: [_behind(query, _OPT + b"\0\0", (1, 0, 0))],
    "option-cut": lambda query, right: [_behind(query, _OPT + b"\0\5\0\x0f\0\x09x", (0, 0, 1))],
    "bare-servfail": lambda query, right: [right[:2] + b"\x81\x82" + bytes(8)],
}
"""What is the server's own, and of no use."""

RELAYED: dict[str, Lies] = {
    "junk-behind": lambda query, right: [right + b"\xff" * 40],
    "other-case": lambda query, right: [right.replace(b"other-case", b"OTHER-case", 1)],
    "oversized": lambda query, right: [_with_more(query, 20)],
    "poison": lambda query, right: [
        _with_records(query, "{name} A " + RIGHT, f"{VICTIM} A {WRONG}", f"example. NS {VICTIM}")
    ],
}
"""What holds the right answer, and something beside it."""

USELESS: dict[str, Lies] = {
    "only-another": lambda query, right: [_with_records(query, f"{VICTIM} A {WRONG}")],
    "alias-loop": lambda query, right: [_with_records(query, "{name} CNAME b.{name}", "b.{name} CNAME {name}")],
    "alias-to-itself": lambda query, right: [_with_records(query, "{name} CNAME {name}")],
    "nothing-at-all": lambda query, right: [_behind(query, b"", (0, 0, 0))],
    "soa-of-others": lambda query, right: [
        _behind(query, b"\5other\4test\0\0\6\0\1\0\0\x0e\x10\0\x16\0\0" + b"\0\0\x0e\x10" * 5, (0, 1, 0))
    ],
}
"""Well-formed, about the question, and not what it says: a client sees no address, and it must not last."""


def mutant(query: dns.message.Message) -> bytes:
    """A reply with a few octets that are others; which ones is in the name, so that a failure comes again.

    It has records of many types, so that there is something to spoil. With an even number the question stays whole.
    """
    name = query.question[0].name
    chance = random.Random(name.to_text())
    records = (
        "{name} CNAME b.example.",
        "b.example. MX 10 {name}",
        "b.example. SRV 1 2 3 {name}",
        "b.example. A 192.0.2.9",
    )
    texts = chance.sample(records, 3)
    octets = bytearray(_with_records(query, *texts))
    first = len(query.to_wire()) if int(name.labels[0][-1:]) % 2 == 0 else 2
    for _ in range(chance.choice((1, 2, 8, 40))):
        octet = chance.choice((0, 1, 0x3F, 0x80, 0xC0, 0xFF, chance.randrange(256)))
        octets[chance.randrange(first, len(octets))] = octet
    return bytes(octets)


OVER_TCP = ("tc-loop", "tcp-slowly", "tcp-closed", "tcp-reset", "tcp-half", "tcp-zeros", "tcp-huge", "tcp-wrong-id")
ELSEWHERE = ("other-port", "other-address", "flood")


class Liar(Background):
    """The server, on UDP and TCP at one port."""

    def __init__(self) -> None:
        super().__init__()
        self.is_honest = False
        self._udp, self._tcp = bound_pair("127.0.0.1")
        self._udp.setblocking(False)
        self._port: int = self._udp.getsockname()[1]
        self._other_port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._other_port.bind(("127.0.0.1", 0))
        self._other_address = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._other_address.bind(("127.0.0.77", self._port))
        self._tasks: set[asyncio.Task[None]] = set()

    def __str__(self) -> str:
        return f"127.0.0.1:{self._port}"

    async def open(self) -> None:
        """Begin to listen."""
        self.loop.add_reader(self._udp, self._datagram)
        self._server = await asyncio.start_server(self._connection, sock=self._tcp, backlog=256)

    def shut(self) -> None:
        """Close every socket."""
        self.loop.remove_reader(self._udp)
        self._server.close()
        for sock in (self._udp, self._other_port, self._other_address):
            sock.close()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _datagram(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                wire, peer = self._udp.recvfrom(65535)
                self._start(self._reply(wire, peer))

    async def _reply(self, wire: bytes, peer: tuple[str, int]) -> None:
        query = dns.message.from_wire(wire)
        name = query.question[0].name
        lie = name.labels[0].decode()
        right = right_reply(query).to_wire()
        sender: socket.socket | None = {"other-port": self._other_port, "other-address": self._other_address}.get(lie)
        if lie.startswith("mutant"):
            self._udp.sendto(right if self.is_honest else mutant(query), peer)
            return
        lies = {**IGNORED, **UNUSABLE, **RELAYED, **USELESS}.get(lie.removeprefix("then-"))
        if self.is_honest or not (sender or lies or lie in OVER_TCP or lie == "flood"):
            self._udp.sendto(right, peer)
        elif sender is not None:
            sender.sendto(_wrong(query), peer)
        elif lie in OVER_TCP:
            self._udp.sendto(_flags(right, lambda flags: flags | dns.flags.TC), peer)
        elif lie == "flood":
            await self._flood(query, peer)
            self._udp.sendto(right, peer)
        elif lies is not None:
            for message in lies(query, right):
                self._udp.sendto(message, peer)
            if lie.startswith("then-"):
                await asyncio.sleep(0.01)
                self._udp.sendto(right, peer)

    async def _flood(self, query: dns.message.Message, peer: tuple[str, int]) -> None:
        forged = bytearray(_wrong(query))
        for number in range(1, FLOOD + 1):
            forged[:2] = (query.id ^ number).to_bytes(2, "big")
            with contextlib.suppress(BlockingIOError):
                self._udp.sendto(forged, peer)
            if number % 100 == 0:
                await asyncio.sleep(0)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(2), "big")
                query = dns.message.from_wire(await reader.readexactly(size))
                await self._over_tcp(query, writer)
        except (OSError, asyncio.IncompleteReadError):
            await asyncio.sleep(0.05)  # what was written has left
        finally:
            writer.transport.abort()

    async def _over_tcp(self, query: dns.message.Message, writer: asyncio.StreamWriter) -> None:
        right = right_reply(query).to_wire()
        framed = len(right).to_bytes(2, "big") + right
        lie = "" if self.is_honest else query.question[0].name.labels[0].decode()
        if lie == "tcp-reset":
            hang_up = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, hang_up)
            raise ConnectionResetError
        if lie == "tcp-closed":
            raise ConnectionResetError
        if lie == "tcp-slowly":
            for octet in framed:
                writer.write(bytes((octet,)))
                await asyncio.sleep(1)
        elif lie == "tcp-half":
            writer.write(framed[: len(framed) // 2])
            raise ConnectionResetError
        else:
            writer.write(_lie_over_tcp(lie, query, right) or framed)
        await writer.drain()


def _lie_over_tcp(lie: str, query: dns.message.Message, right: bytes) -> bytes:
    match lie:
        case "tc-loop":
            message = _flags(right, lambda flags: flags | dns.flags.TC)
        case "tcp-zeros":
            return b"\0\0" * 20
        case "tcp-huge":
            message = _with_more(query, 249)
            message += b"\xff" * (65535 - len(message))
        case "tcp-wrong-id":
            message = bytes((right[0] ^ 1,)) + right[1:]
        case _:
            return b""
    return len(message).to_bytes(2, "big") + message
