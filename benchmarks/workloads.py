"""What servers are asked: each workload as questions, as a file for dnsperf, and what good answers to it are."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import dns.edns
import dns.message
import dns.reversename

from benchmarks.peers.files import Registry
from benchmarks.peers.names import AARDVARK_NAME, BALANCER, LIMIT

Question = tuple[str, str]
"""A name and the word for a type."""

SUFFIX = "mynet"
"""The network's name: what lies below it is known to exist or not."""
SUFFIXES = {AARDVARK_NAME: "dns.podman"}
"""Who has another one."""
HOT = 100
FRESH = 400_000
"""Names that exist nowhere, for one turn: dnsperf begins anew when it has asked them all."""
COOKIES = 200_000
"""Queries with a random cookie each, for one turn."""
TCP_CONNECTIONS = 5
UDP_SIZE = 1232


@dataclass(frozen=True, slots=True)
class Workload:
    """A way to ask."""

    name: str
    title: str
    questions: Callable[[Registry, random.Random, str], Iterator[Question]]
    """From the names, chance and the suffix to what is asked, in order; finite."""
    rcode: str = "NOERROR"
    """Of every answer, but for the limit's, which looks at nothing."""
    flags: tuple[str, ...] = ()
    """Of dnsperf."""
    has_cookies: bool = False
    is_once: bool = False
    """Every question is asked once, and in the first round only."""
    is_fresh: bool = False
    """Other questions in each round."""
    least: int = 1
    """How many names it takes."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Servers that it is no measure of, and why."""

    def write(self, path: Path, registry: Registry, seed: str, suffix: str) -> list[str]:
        """Write the questions where dnsperf is to find them; returns the flags that lead it there."""
        chance = random.Random(seed)
        asked = self.questions(registry, chance, suffix)
        if self.has_cookies:
            path.write_bytes(b"".join(struct.pack("!H", len(each)) + each for each in _with_cookies(asked, chance)))
            return ["-B", *self.flags]
        path.write_text("".join(f"{name} {kind}\n" for name, kind in asked))
        return [*self.flags, *(("-n", "1") if self.is_once else ())]


def _hot(registry: Registry, *_: object) -> Iterator[Question]:
    return ((name, "A") for name, _ in islice(registry.addresses(), HOT))


def _all(registry: Registry, chance: random.Random, _: str) -> Iterator[Question]:
    numbers = list(range(1, registry.count + 1))
    chance.shuffle(numbers)
    return ((f"n{number}", "A") for number in numbers)


def _absent(_: Registry, chance: random.Random, suffix: str) -> Iterator[Question]:
    return ((f"x{chance.getrandbits(48):012x}.{suffix}", "A") for _ in range(FRESH))


def _mixed(registry: Registry, chance: random.Random, _: str) -> Iterator[Question]:
    """getaddrinfo() asks for A and AAAA together; one look-up in ten is getnameinfo()'s."""
    known = list(islice(registry.addresses(), HOT))
    for number in range(10 * HOT):
        name, address = chance.choice(known)
        if number % 10 == 0:
            yield dns.reversename.from_address(address).to_text(omit_final_dot=True), "PTR"
        else:
            yield name, "A"
            yield name, "AAAA"


def _with_cookies(asked: Iterator[Question], chance: random.Random) -> Iterator[bytes]:
    """As dig sends them: AD, EDNS with 1232 octets, and a cookie of eight octets that nobody has seen (RFC 7873)."""
    hot = [_dig(name, kind) for name, kind in asked]
    return (chance.choice(hot) + chance.randbytes(8) for _ in range(COOKIES))


def _dig(name: str, kind: str) -> bytes:
    """A query of dig's up to its cookie, which comes last."""
    query = dns.message.make_query(name, kind, id=0)
    query.flags |= dns.flags.AD
    query.use_edns(0, 0, UDP_SIZE, options=[dns.edns.GenericOption(dns.edns.OptionType.COOKIE, bytes(8))])
    return query.to_wire()[:-8]


_CACHE = "a miss in its cache is its backend's work"
_NO_TCP = "no TCP"
WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(
            "first",
            "every name for the first time",
            _all,
            is_once=True,
            least=1_000,
            left_out={BALANCER: _CACHE},
        ),
        Workload("hot", "hot names", _hot),
        Workload("all", "all names, in no order", _all, least=1_000),
        Workload("nxdomain", "random names that do not exist", _absent, "NXDOMAIN", is_fresh=True,
                 left_out={BALANCER: _CACHE}),
        Workload("mixed", "A and AAAA in pairs, one PTR in ten", _mixed,
                 left_out={AARDVARK_NAME: "it has PTR for a container's own network only"}),
        Workload("cookies", "EDNS with random cookies, as dig", _hot, has_cookies=True, is_fresh=True),
        Workload("tcp", "TCP, connections kept", _hot, flags=("-m", "tcp", "-c", str(TCP_CONNECTIONS)),
                 left_out={LIMIT: _NO_TCP, AARDVARK_NAME: _NO_TCP,
                           "dnsmasq": "it closes a connection after 100 queries, and what is under way is lost"}),
    )
}  # fmt: skip
