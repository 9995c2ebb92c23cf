"""Replies about plain names made at the octets of their queries, without a look at anything else (docs/adr/0025).

It is what resolver/_lane.c does, for the lane in Python: the usual query has one of a few headers, one question, and an
OPT without options or with a cookie. Whatever is not so is left to the pipeline, and so is a name that is not plain.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any

from resolver.wire.constants import (
    AD,
    CD,
    CLASS_IN,
    EDNS_UDP_SIZE,
    HEADER_SIZE,
    MAX_LABEL_SIZE,
    MAX_NAME_SIZE,
    MIN_UDP_SIZE,
    NOERROR,
    OPT,
    PTR,
    QR,
    RA,
    RD,
    SOA,
)
from resolver.wire.known import ASIDE, HOSTS, OF_SUFFIX, RECORD, RECORDS, Known, Label, Names
from resolver.wire.name import ROOT, IPAddress, WireName, is_below, reverse_address
from resolver.wire.rrset import soa_rrset

COOKIE_SIZE = 8
"""Octets of a client cookie (RFC 7873 4)."""
COOKIE_HEAD = b"\0\x0a\0\x08"
"""What stands before it: the option's code and its length."""

_TYPE_CLASS = struct.Struct("!HH")
_FLAGS_AND_COUNTS = struct.Struct("!HHHHH")
_OPT = struct.Struct("!BHHIH")
_POINTER = 0xC000
_CLASSES = frozenset(kind for kind, _ in RECORDS.values())
_PAYLOAD = slice(3, 5)
_UNDERSCORE = ord("_")


class _Said:
    """What is said of one type."""

    __slots__ = ("hits", "kind", "label", "octets", "qtype")

    def __init__(self, qtype: int, rcode: int, stage: str) -> None:
        self.kind, self.octets = RECORDS.get(qtype, (None, 0))
        self.qtype = qtype
        self.label = (qtype, rcode, stage)
        self.hits = 0


_Made = tuple[_Said, int, bytes]
"""Under what it is counted, how many answers there are, and the one record."""


def _heads() -> dict[bytes, tuple[int, int]]:
    """From the flags and counts of the usual queries to the flags of the reply and whether there is an OPT."""
    asked = [rd | ad | cd for rd in (0, RD) for ad in (0, AD) for cd in (0, CD)]
    return {
        _FLAGS_AND_COUNTS.pack(flags, 1, 0, 0, opts): (QR | RA | flags & ~AD, opts)
        for flags in asked
        for opts in (0, 1)
    }


def _opts() -> dict[bytes, tuple[int, bytes]]:
    """From an OPT but for its payload and the octets of a cookie to its size and the OPT of the reply."""
    made: dict[bytes, tuple[int, bytes]] = {}
    for do in (0, 0x8000):
        for options, size in ((b"", 0), (COOKIE_HEAD, len(COOKIE_HEAD) + COOKIE_SIZE)):
            opt = _OPT.pack(0, OPT, 0, do, size)
            key = opt[: _PAYLOAD.start] + opt[_PAYLOAD.stop :] + options
            made[key] = len(opt) + size, _OPT.pack(0, OPT, EDNS_UDP_SIZE, do, 0)
    return made


_HEADS = _heads()
_OPTS = _opts()
_OPT_END = 11 + len(COOKIE_HEAD)


class Maker:
    """Makes the replies of one view."""

    def __init__(self) -> None:
        self._steps: tuple[tuple[WireName | None, dict[Any, Any] | None, int, int], ...] = ()
        self._joins = False
        self._said: dict[bytes, _Said] = {}
        self._negative: tuple[bytes, bytes] = (b"", b"")
        self._denied: dict[bytes, tuple[_Said, WireName, bytes, Names, dict[Any, Any]]] = {}
        """By type and class, and the folded suffix."""
        self._retired: list[_Said] = []
        self._holder_of: Callable[[IPAddress], tuple[WireName, int, Any] | None] | None = None
        self._said_of_address = _Said(PTR, NOERROR, "")
        self.last: tuple[WireName, Label] = (ROOT, (0, 0, ""))
        """The folded name and the label of the last reply."""

    def know(self, known: Known) -> None:
        """As `ReadyTable.know`."""
        soa = soa_rrset(ROOT, known.serial, known.negative_ttl)
        self._negative = (RECORD.pack(SOA, CLASS_IN, known.negative_ttl, 0)[:-2], soa.rdatas[0][len(ROOT) :])
        self._steps, self._joins = known.steps, known.joins
        self._retired.extend(self._said.values())
        self._said = {_TYPE_CLASS.pack(qtype, CLASS_IN): _Said(qtype, NOERROR, known.stage) for qtype in RECORDS}
        self._holder_of = known.holder_of
        self._said_of_address = _Said(PTR, NOERROR, known.reverse_stage)
        self._retired.append(self._said_of_address)
        if known.holder_of is not None:
            self._said[_TYPE_CLASS.pack(PTR, CLASS_IN)] = _Said(PTR, NOERROR, known.stage)

    def deny(self, suffix: WireName, label: Label, soa: bytes, whole: Names, below: dict[Any, Any]) -> None:
        """As `ReadyTable.deny`; ``soa`` is the record."""
        qtype, rcode, stage = label
        key = _TYPE_CLASS.pack(qtype, CLASS_IN) + suffix
        self._denied[key] = _Said(qtype, rcode, stage), suffix, soa, whole, below

    def take_hits(self) -> Iterable[tuple[Label, int]]:
        """As `ReadyTable.take_hits`."""
        for said in (*self._retired, *self._said.values(), *(denied[0] for denied in self._denied.values())):
            if hits := said.hits:
                said.hits = 0
                yield said.label, hits
        self._retired = [self._said_of_address]

    def reply(self, wire: bytes) -> bytes | None:
        """The whole reply to a message about a plain name; None for every other one. Counts a hit."""
        head = _HEADS.get(wire[2:HEADER_SIZE])
        end = wire.find(b"\0", HEADER_SIZE) + 1
        if head is None or not end:
            return None
        flags, opts = head
        kind = wire[end : end + 4]
        rest = wire[end + 4 :]
        opt = b""
        if opts:
            found = _OPTS.get(rest[: _PAYLOAD.start] + rest[_PAYLOAD.stop : _OPT_END])
            if found is None or len(rest) != found[0]:
                return None
            opt = found[1]
        elif rest:
            return None
        key = WireName(wire[HEADER_SIZE:end].lower())
        said = self._said.get(kind)
        made = None if said is None else self._find(said, key, wire)
        if made is None and self._denied:
            made = self._deny(kind, key)
        if made is None:
            return None
        said, answers, body = made
        counts = _FLAGS_AND_COUNTS.pack(flags | said.label[1], 1, answers, 1 - answers, opts)
        reply = b"".join((wire[:2], counts, wire[HEADER_SIZE : end + 4], body, opt))
        if len(reply) > MIN_UDP_SIZE:
            return None
        said.hits += 1
        self.last = key, said.label
        return reply

    def _find(self, said: _Said, key: WireName, wire: bytes) -> _Made | None:
        """What is said of a name; None where the pipeline has to decide."""
        if key[1:2] == b"_":
            return None
        found = None
        for suffix, names, kind, ttl in self._steps:
            head = key
            if suffix is not None:
                if not key.endswith(suffix) or not is_below(key, suffix):
                    continue
                if names is None:
                    break
                head = WireName(key[: -len(suffix)] + b"\0")
                if len(head) == 1:
                    continue
            if names is None or (found and kind == HOSTS):
                break
            value = names.get(head)
            if value is None:
                continue
            if kind == ASIDE or found:
                return None
            found = value, suffix, kind, ttl
            if not self._joins:
                break
        else:
            if found is None and said.qtype == PTR:
                return self._pointer(key)
        return None if found is None else self._record(said, *found, key, wire)

    def _record(
        self, said: _Said, value: Any, suffix: WireName | None, kind: int, ttl: int, key: WireName, wire: bytes
    ) -> _Made | None:
        if kind == HOSTS:
            addresses = [host.address for host in value]
        else:
            if len(value) != 1:
                return None
            (endpoint,) = value
            addresses = endpoint.addresses
            if endpoint.ttl is not None:
                ttl = endpoint.ttl
        wanted: list[Any] = [address for address in addresses if type(address) is said.kind]
        if len(wanted) == 1:
            return said, 1, b"\xc0\x0c" + RECORD.pack(said.qtype, CLASS_IN, ttl, said.octets) + wanted[0].packed
        if wanted or not all(type(address) in _CLASSES for address in addresses):
            return None
        offset = HEADER_SIZE
        if kind & OF_SUFFIX and suffix is not None:
            offset += len(key) - len(suffix)
        apex = wire[offset : HEADER_SIZE + len(key)]
        if offset > HEADER_SIZE and apex != suffix:  # it is not as it is written there
            return None
        before, after = self._negative
        rdata = apex + after
        return said, 0, (_POINTER | offset).to_bytes(2, "big") + before + len(rdata).to_bytes(2, "big") + rdata

    def _pointer(self, key: WireName) -> _Made | None:
        """Whose a reverse name's address is; None where the pipeline has to decide."""
        address = reverse_address(key)
        holder = None if address is None or self._holder_of is None else self._holder_of(address)
        if holder is None:
            return None
        target, ttl, _ = holder
        return self._said_of_address, 1, b"\xc0\x0c" + RECORD.pack(PTR, CLASS_IN, ttl, len(target)) + target

    def _deny(self, kind: bytes, key: WireName) -> _Made | None:
        """That there is no such name, if that is known here; a name with a service's label is not judged."""
        position = 0
        while 0 < (size := key[position]) <= MAX_LABEL_SIZE and key[position + 1] != _UNDERSCORE:
            position += 1 + size
            if position >= len(key):
                break
            denied = self._denied.get(kind + key[position:])
            if denied is None:
                continue
            said, suffix, soa, whole, below = denied
            is_there = key[: -len(suffix)] + b"\0" in below or any(key in names for names in whole)
            return None if is_there or len(key) > MAX_NAME_SIZE else (said, 0, soa)
        return None
