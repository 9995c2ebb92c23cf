"""What came back to a question as one value, so that Docker's answer and pydns's can be held against each other.

Compared are: the rcode with its extended bits; the opcode and every flag of the header; the question, unless it is an
exact echo; every record of the three sections with its owner in the letter case of the message, its TTL and its data;
the OPT record with its size, DO and options; whether the id is the query's; silence, and after how many seconds a
connection was closed; and who was asked upstream over what, in the order in which each was asked first.

Not compared, and why: *the order of addresses that the resolver knows itself* (Docker shuffles them at random, so they
are sorted; a forwarded answer keeps its order); *the size in octets and name compression* (Docker's own answers are not
compressed; what a size does to an answer shows in TC and the records); *elapsed time* (how fast is a benchmark's
matter); *the id of the query that went upstream* (pydns makes its own). Where the recording itself cuts a long answer
short, what it has of the records is compared, and their number. A SOA record that pydns makes is written as
``SOA pydns``: its owner and TTL are compared, its serial and timers are the unit tests' matter.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype

from tests.golden.recorded import Case
from tests.golden.topology import World

_FLAGS = (("qr", 0x8000), ("aa", 0x400), ("tc", 0x200), ("rd", 0x100), ("ra", 0x80), ("z", 0x40), ("ad", 0x20))
_CD = ("cd", 0x10)
_SECTIONS = ("answer", "authority", "additional")
_LONG = 60
_MANY = 10
Rename = Callable[[str], str]
_OUR_MAILBOX = "hostmaster.invalid."


@dataclass(frozen=True)
class Told:
    """One message, or what stands in its place."""

    what: str
    """The rcode, or ``silence``, or ``closed after 8 s``."""
    opcode: int = 0
    flags: tuple[str, ...] = ()
    question: str | None = None
    """None for an exact echo."""
    answer: tuple[str, ...] = ()
    authority: tuple[str, ...] = ()
    additional: tuple[str, ...] = ()
    answers: int = 0
    """How many records the answer has."""
    is_whole: bool = True
    """False where only the beginnings of the answer's first records are known."""
    opt: str = ""
    has_id: bool = True
    asked: tuple[str, ...] = ()

    def is_like(self, other: Told) -> bool:
        """Whether both say the same, as far as this one is known."""
        if replace(self, answer=(), is_whole=True) != replace(other, answer=()):
            return False
        if self.is_whole:
            return self.answer == other.answer
        return all(theirs.startswith(mine) for mine, theirs in zip(self.answer, other.answer, strict=False))

    def __str__(self) -> str:
        parts = [" ".join((self.what, *self.flags))]
        if self.opcode:
            parts.append(f"opcode: {self.opcode}")
        if self.question is not None:
            parts.append(f"question: {self.question or 'none'}")
        for section in _SECTIONS:
            if records := getattr(self, section):
                shown = [_shortened(record) for record in records[:_MANY]]
                more = self.answers - len(shown) if section == "answer" else 0
                parts.append(f"{section}: {' / '.join(shown)}" + (f" and {more} more" if more > 0 else ""))
        if self.opt:
            parts.append(f"opt: {self.opt}")
        if not self.has_id:
            parts.append("another id")
        if self.asked:
            parts.append(f"asked: {', '.join(self.asked)}")
        return "; ".join(parts)


def _shortened(record: str) -> str:
    if len(record) <= _LONG + 20:
        return record
    return f"{record[:_LONG]}… ({len(record)}, {zlib.crc32(record.encode()):08x})"


def in_words(told: Sequence[Told]) -> str:
    """All that came back, on one line."""
    return " || ".join(map(str, told))


def each_once(asked: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Who was asked over what, in the order in which each was asked first."""
    return tuple(dict.fromkeys(f"{server} {protocol}" for server, protocol in asked))


def silence(asked: tuple[str, ...] = ()) -> Told:
    """Nothing came."""
    return Told("silence", asked=asked)


def closed(after_s: float, asked: tuple[str, ...] = ()) -> Told:
    """The connection was closed with nothing said."""
    return Told(f"closed after {after_s:.0f} s", asked=asked)


def recorded(case: Case, world: World) -> tuple[Told, ...]:
    """What Docker said in a case."""
    seen = [(entry["server"], entry["proto"]) for entry in case.upstream if entry["ev"] == "query"]
    last = len(case.responses) - 1
    return tuple(
        _recorded(response, each_once(seen) if at == last else (), case, world)
        for at, response in enumerate(case.responses)
    )


def _recorded(response: dict[str, Any], asked: tuple[str, ...], case: Case, world: World) -> Told:
    match response.get("result"):
        case "timeout":
            return silence(asked)
        case "tcp-closed":
            return closed(response["elapsed_ms"] / 1000, asked)
        case None:
            pass
        case other:
            return Told(str(other), asked=asked)
    lines = {
        section: [world.expand(" ".join(map(str, record))) for record in response[section]] for section in _SECTIONS
    }
    question = [world.expand(" ".join(entry)) for entry in response["question"]]
    opt = response["opt"]
    is_whole = not response.get("answer_truncated_in_json")
    known = tuple(line if is_whole else line.rstrip(".") for line in lines["answer"])
    return Told(
        what=response["rcode"],
        opcode=response["opcode"],
        flags=tuple(response["flags"]),
        question=_unless_echo(question, case.queries),
        answer=known if asked or not is_whole else tuple(sorted(known)),
        authority=tuple(lines["authority"]),
        additional=tuple(lines["additional"]),
        answers=response["counts"][1],
        is_whole=is_whole,
        opt=_opt(opt["size"], opt["do"], opt["version"], opt["options"]) if opt else "",
        has_id=response["id_matches"] or len(case.wires) > 1,  # the record compares with the first of several
        asked=asked,
    )


def read(reply: bytes, queries: Sequence[bytes], asked: tuple[str, ...], rename: Rename = str) -> Told:
    """What a message of pydns says to one of some queries; ``rename`` gives addresses in it their recorded names."""
    message = dns.message.from_wire(_as_query(reply), one_rr_per_rrset=True)
    sections = [tuple(_lines(section)) for section in (message.answer, message.authority, message.additional)]
    question = [" ".join((q.name.to_text(), _type(q.rdtype), _class(q.rdclass))) for q in message.question]
    opt = ""
    if message.edns >= 0:
        options = [[int(option.otype), option.to_wire().hex()] for option in message.options]
        opt = rename(_opt(message.payload, bool(message.ednsflags & dns.flags.DO), message.edns, options))
    return Told(
        what=dns.rcode.to_text(message.rcode()),
        opcode=reply[2] >> 3 & 0xF,
        flags=tuple(name for name, bit in (*_FLAGS, _CD) if message.flags & bit),
        question=_unless_echo(question, queries),
        answer=sections[0] if asked else tuple(sorted(sections[0])),
        authority=sections[1],
        additional=sections[2],
        answers=len(sections[0]),
        opt=opt,
        has_id=reply[:2] in [query[:2] for query in queries],
        asked=asked,
    )


def _as_query(wire: bytes) -> bytes:
    """The message with opcode 0: dnspython reads the sections of an UPDATE or NOTIFY in other ways."""
    return wire[:2] + bytes(octet & 0x87 for octet in wire[2:3]) + wire[3:]


def _unless_echo(question: list[str], queries: Sequence[bytes]) -> str | None:
    """The question of a reply, or None where it is one of these queries'."""
    return None if any(question == _question_of(query) for query in queries) else ", ".join(question)


def _question_of(query: bytes) -> list[str]:
    """The question of a query; none where it cannot be read."""
    try:
        message = dns.message.from_wire(_as_query(query), question_only=True, ignore_trailing=True)
    except dns.exception.DNSException:
        return []
    return [" ".join((q.name.to_text(), _type(q.rdtype), _class(q.rdclass))) for q in message.question]


def _lines(section: Iterable[Any]) -> Iterable[str]:
    for rrset in section:
        for rdata in rrset:
            text = rdata.to_text()
            if _OUR_MAILBOX in text:
                text = "pydns"
            kind = f"{_class(rrset.rdclass)} {_type(rrset.rdtype)}"
            yield f"{rrset.name.to_text()} {rrset.ttl} {kind} {text}"


def _opt(size: int, do: bool, version: int, options: Sequence[Sequence[Any]]) -> str:
    words = [str(size)] + ["do"] * do + [f"version {version}"] * (version > 0)
    return " ".join(words + [_option(int(code), bytes.fromhex(data)) for code, data in options])


def _option(code: int, data: bytes) -> str:
    if code == dns.edns.EDE:
        return f'ede {int.from_bytes(data[:2], "big")} "{data[2:].decode()}"'
    return f"{code}={data.hex()}"


def _type(rtype: int) -> str:
    return dns.rdatatype.to_text(dns.rdatatype.RdataType.make(rtype))


def _class(rclass: int) -> str:
    return dns.rdataclass.to_text(dns.rdataclass.RdataClass.make(rclass))
