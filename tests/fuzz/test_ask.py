"""What the compiled part says of a reply is what Python says; and no bytes make it touch what is not its own."""

from __future__ import annotations

import random
import time
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from resolver._ask import read
from resolver._ask import scan as scan_compiled
from resolver.forward.cache import CacheSettings, Entry, entry_of, plain_entry
from resolver.forward.replies import Accept, fit, is_referral, verify
from resolver.forward.shared import shareable
from resolver.wire.constants import NOERROR, NXDOMAIN
from resolver.wire.query import Query, scan, scan_any
from tests.fuzz.sanitized import fed
from tests.fuzz.test_any_bytes import SECONDS, SEED, SEEDS

SETTINGS = (CacheSettings(), CacheSettings(min_ttl=60, max_ttl=300), CacheSettings(max_ttl=10))
LIMITS = (512, 1232, 65535)


def exchange(
    rtype: str, *records: str, rcode: int = 0, edns: bool | None = None, flags: int = 0
) -> tuple[bytes, bytes]:
    """A query for www.example.org and a reply: records are ``SECTION OWNER TTL TYPE RDATA``."""
    query = dns.message.make_query("www.Example.org.", rtype, use_edns=edns)
    reply = dns.message.make_response(query, recursion_available=True)
    reply.set_rcode(dns.rcode.Rcode.make(rcode))
    reply.flags |= flags
    for record in records:
        section, owner, ttl, kind, rdata = record.split(maxsplit=4)
        rrset = dns.rrset.from_text(owner, int(ttl), "IN", kind, rdata)
        reply.sections[int(section)].append(rrset)
    return query.to_wire(), reply.to_wire()


SOA = "2 example.org. 900 SOA ns.example.org. root.example.org. 1 2 3 4 300"
EXCHANGES = [
    exchange("A", "1 www.example.org. 300 A 192.0.2.1"),
    exchange("A", *(f"1 www.example.org. {ttl} A 192.0.2.{ttl}" for ttl in (1, 59, 60, 200))),
    exchange("A", "1 www.example.org. 300 A 192.0.2.1", edns=True),
    exchange("A", "1 www.example.org. 300 A 192.0.2.1", flags=dns.flags.AA | dns.flags.AD, edns=True),
    exchange("A", "1 www.example.org. 300 CNAME web.example.net.", "1 web.example.net. 20 A 192.0.2.1"),
    exchange(
        "AAAA",
        "1 www.example.org. 300 CNAME a.example.org.",
        "1 a.example.org. 20 CNAME b.example.org.",
        "1 b.example.org. 40 AAAA 2001:db8::1",
        "2 example.org. 86400 NS ns.example.org.",
        "3 ns.example.org. 3600 A 192.0.2.53",
        edns=True,
    ),
    exchange("AAAA", "1 www.example.org. 300 CNAME a.example.org.", SOA),
    exchange("A", "1 other.example.org. 300 A 192.0.2.1"),
    exchange("ANY", "1 www.example.org. 300 TXT hello", "1 www.example.org. 30 A 192.0.2.1"),
    exchange("A", SOA),
    exchange("A", "2 example.net. 900 SOA ns.example.org. root.example.org. 1 2 3 4 300", SOA, "2 . 5 NS ns.", rcode=3),
    exchange("A", "2 example.org. 60 SOA ns.example.org. root.example.org. 1 2 3 4 4294967295"),
    exchange("A", "1 www.example.org. 30 CNAME a.example.net.", SOA.replace("example.org.", "example.net."), rcode=3),
    exchange("A", "2 . 86400 SOA a.root-servers.net. nstld.verisign-grs.com. 1 2 3 4 86400", rcode=3),
    exchange("A", SOA, rcode=3, edns=True),
    exchange("A", rcode=2),
    exchange("A", "2 example.org. 300 NS ns.example.org."),
    exchange("MX", "1 www.example.org. 0 MX 10 mail.example.org."),
    exchange("A", "1 www.example.org. 2147483647 A 192.0.2.1", flags=dns.flags.TC),
]
EXCHANGES += [(query, reply[:3] + bytes((reply[3] & 0x7F,)) + reply[4:]) for query, reply in EXCHANGES]  # without RA


def query_of(wire: bytes) -> Query:
    query = scan(wire)
    assert isinstance(query, Query)
    return query


def others_for(query: Query) -> list[bytes]:
    """Other ways to ask the same: in other letters and flags, with and without EDNS."""
    wire, end = query.wire, query.question_end
    plain = wire[:2] + b"\0\x30" + wire[4:10] + b"\0\0" + wire[12:end].swapcase()
    plain = plain[: end - 4] + wire[end - 4 : end]
    return [plain, *(plain[:11] + b"\1" + plain[12:] + opt(flags) for flags in (0, 0x8000))]


def opt(flags: int) -> bytes:
    return b"\0\0\x29\x10\0\0\0" + flags.to_bytes(2, "big") + b"\0\0"


def told(entry: Entry | None) -> object:
    if entry is None:
        return None
    return entry.name, entry.qtype, entry.rcode, entry.reply, entry.ttl, entry.size, entry._ttls


def agree(wire: bytes, reply: bytes) -> bool:
    """Whether it is a plain reply to the compiled part; then Python finds the same in it."""
    facts = read(wire, reply)
    if facts is None:
        return False
    query = query_of(wire)
    shown = f"{wire.hex()} {reply.hex()}"
    verdict = verify(query, int.from_bytes(wire[:2], "big"), reply)
    assert verdict == Accept(facts[0], truncated=False), shown
    assert facts[0] in (NOERROR, NXDOMAIN), shown
    assert not is_referral(query, reply), shown
    assert shareable(query, reply) == reply, shown
    for settings in SETTINGS:
        expected = entry_of(query, reply, settings)
        if facts[3] >= 0:
            assert told(plain_entry(query, reply, facts, settings)) == told(expected), shown
    for client in (query, *map(query_of, others_for(query))):
        for limit in LIMITS:
            assert fit(client, reply, limit, None, facts) == fit(client, reply, limit), shown
    return True


@pytest.mark.parametrize("number", range(len(EXCHANGES)))
def test_python_finds_the_same_in_a_reply(number: int) -> None:
    wire, reply = EXCHANGES[number]
    verdict = verify(query_of(wire), int.from_bytes(wire[:2], "big"), reply)
    assert isinstance(verdict, Accept)
    is_plain = verdict.rcode in (NOERROR, NXDOMAIN) and not verdict.truncated and not is_referral(query_of(wire), reply)
    has_referrals_looks = not reply[7] and reply[9] and not reply[3] & 0x80

    assert agree(wire, reply) == (is_plain and not has_referrals_looks)


def test_what_was_asked_for_is_known_through_its_aliases_and_that_there_is_nothing_by_the_soa() -> None:
    least = [facts[3] for facts in (read(*one) for one in EXCHANGES[:11]) if facts is not None]

    assert [300, 1, 300, 300, 20, 20, 300, -1, 30, 300, 300] == least


@pytest.mark.parametrize(("pointers", "least"), [(127, 20), (128, -1)])
def test_a_name_has_as_many_pointers_as_python_follows(pointers: int, least: int) -> None:
    wire, reply = exchange("A", "1 www.example.org. 300 CNAME web.example.net.", "1 web.example.net. 20 A 192.0.2.1")
    alias, end = len(wire) + 12, len(reply) + 12  # where the first record's data are, and the third one's
    chain = b"".join((0xC000 | to).to_bytes(2, "big") for to in (alias, *range(end, end + 2 * pointers - 4, 2)))
    text = b"\xc0\x0c\0\x10\0\1\0\0\1\0" + len(chain).to_bytes(2, "big") + chain
    owner = (0xC000 | end + len(chain) - 2).to_bytes(2, "big")
    whole = reply[:7] + b"\4" + reply[8:] + text + owner + b"\0\1\0\1\0\0\0\x28\0\4abcd"

    facts = read(wire, whole)

    assert facts is not None
    assert least == facts[3]
    assert agree(wire, whole)


def mutated(chance: random.Random, wire: bytes) -> bytes:
    octets = bytearray(wire)
    for _ in range(chance.randrange(4)):
        place = chance.randrange(len(octets)) if octets else 0
        match chance.randrange(6):
            case 0 | 1 if octets:
                octets[place] = chance.choice((0, 1, 5, 6, 12, 41, 0x3F, 0xC0, 0xFF, octets[place] ^ 0x20))
            case 2:
                del octets[place:]
            case 3:
                octets[place:place] = b"\xc0\x0c\0\1\0\1\0\0\0\7\0\4abcd"
            case 4:
                octets += chance.choice((bytes(3), bytes.fromhex("00002904d0000080000000")))
            case 5 if len(octets) >= 12:
                octets[chance.choice((3, 5, 7, 9, 11))] = chance.randrange(5)
    return bytes(octets)


def test_python_finds_the_same_in_whatever_is_read_at_all() -> None:
    chance = random.Random(SEED)
    ends = time.monotonic() + SECONDS
    plain = other = 0
    while time.monotonic() < ends:
        wire, reply = chance.choice(EXCHANGES)
        if agree(wire, mutated(chance, reply)):
            plain += 1
        else:
            other += 1
    assert plain > 100 * SECONDS
    assert other > 100 * SECONDS


def test_python_finds_the_same_in_whatever_query_is_read_at_all() -> None:
    chance = random.Random(SEED)
    seeds = [*SEEDS, *(wire for wire, _ in EXCHANGES)]
    ends = time.monotonic() + SECONDS
    read_here = 0
    while time.monotonic() < ends:
        wire = mutated(chance, chance.choice(seeds))
        found = scan_compiled(Query, wire)
        if found is not None:
            read_here += 1
            assert (Query, scan_any(wire)) == (type(found), found), wire.hex()
    assert read_here > 100 * SECONDS


@pytest.mark.timeout(120)
def test_no_bytes_make_it_touch_what_is_not_its_own(tmp_path: Path) -> None:
    """Built with AddressSanitizer and UBSan: it reads mutated replies, and has sockets ended in every order."""
    seeds = tmp_path / "exchanges"
    seeds.write_text("".join(f"{wire.hex()} {reply.hex()}\n" for wire, reply in EXCHANGES))

    assert "taken" in fed("_ask", "ask_driver.py", seeds, tmp_path)
