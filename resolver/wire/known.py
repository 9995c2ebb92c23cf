"""What is to be said of names that are known, so that their replies can be made where their queries are received.

A reply about one address differs from another's in nothing but its octets. So the lane need not be handed each reply:
it is told once for a view in which dictionaries names are looked for, and makes the reply from what it finds there. It
is Python that decides what is plain enough for that (pipeline/plain.py, docs/adr/0025).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any, NamedTuple

from resolver.wire.constants import AAAA, CLASS_IN, HTTPS, PTR, A
from resolver.wire.name import IPAddress, WireName

if TYPE_CHECKING:
    from resolver.wire.reply import Answer

Names = tuple[dict[Any, Any], ...]
"""Dictionaries by folded name."""
Label = tuple[int, int, str]
"""(type, rcode, stage): what hits are counted under."""

RECORDS: dict[int, tuple[type | None, int]] = {A: (IPv4Address, 4), AAAA: (IPv6Address, 16), HTTPS: (None, 0)}
"""What stub resolvers and browsers ask about names: the class of the addresses that answer it, and their octets."""
REVERSE = b"\4arpa\0" + struct.pack("!HH", PTR, CLASS_IN)
"""How the question for a reverse name ends."""
RECORD = struct.Struct("!HHIH")
"""Type, class, TTL and size of the data."""

ASIDE, ENDPOINTS, HOSTS = range(3)
"""What a step's names are: to be left to the pipeline; tuples of things with ``addresses`` and ``ttl``, of which one
alone is plain; tuples of things with one ``address`` each."""
OF_SUFFIX = 4
"""Added to that where the SOA of a negative answer is the suffix's, not the name's own."""


class Step(NamedTuple):
    """Where names are looked for."""

    suffix: WireName | None
    """Folded; the names are there without it. None: as they stand."""
    names: dict[Any, Any] | None
    """By folded name. None: what is at or below the suffix is left to the pipeline."""
    kind: int
    ttl: int
    """Seconds, where what is found there says nothing else."""


class Known(NamedTuple):
    """The names of a view that have a plain answer."""

    steps: tuple[Step, ...]
    """The first one that has a name counts."""
    joins: bool
    """True: a name that several steps have is not plain."""
    stage: str
    """Whose answers they are, for the counters."""
    serial: int
    negative_ttl: int
    """Seconds."""
    reverse_stage: str = ""
    """Whose answers reverse names are that no step has."""
    holder_of: Callable[[IPAddress], tuple[WireName, int, Any] | None] | None = None
    """The PTR target of an address and its TTL in seconds, where anybody has it. None: the pipeline has to be asked."""


def soa_record(answer: Answer) -> bytes:
    """The one record of a negative answer, with its owner written out."""
    (soa,) = answer.authority
    (rdata,) = soa.rdatas
    return bytes(soa.owner + RECORD.pack(soa.rtype, CLASS_IN, soa.ttl, len(rdata)) + rdata)
