"""Any bytes: a verdict, never an exception, never a hang; and a reply that a client can read (design.md 2).

The invariant, for each message:

- it is met with silence (less than a header, more than a message, a response), or is answered with one reply;
- dnspython parses the reply; it has the message's id, opcode, RD and CD; QR=1, RA=1, AD=0, Z=0; AA only for a zone of
  ours;
- a query that could be read has its question echoed octet by octet, an OPT record exactly when it had one, with its DO;
  the reply is no larger than the client takes, over UDP and over TCP, in each order of its records;
- or it is to be forwarded, and what is to be asked is a name that fits a message.

``corpus/*.hex`` are messages that were thought of, or that once broke something: a line with the expected outcome and
why it is interesting, then the octets. Mutations of them are the rest; PYDNS_FUZZ_S says for how many seconds, and
PYDNS_FUZZ_SEED where they begin, so that a failure comes again.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.pipeline.outcome import Forward
from resolver.wire.constants import AA, AD, CD, FORMERR, MAX_MESSAGE_SIZE, NOTIMP, OPCODE_MASK, QR, RA, RD, rcode_name
from resolver.wire.query import Query, Verdict, scan
from resolver.wire.reply import error_reply, pack
from tests.unit.asking import CHAIN, views_of, zone_of
from tests.unit.pipeline.worlds import HOSTS, WORLD

CORPUS = Path(__file__).parent / "corpus"
SECONDS = float(os.environ.get("PYDNS_FUZZ_S", "4"))
SEED = int(os.environ.get("PYDNS_FUZZ_SEED", "0"))

ZONE = """\
* CNAME db.mynet.
@ MX 10 mail
far CNAME www.example.org.
sub NS ns.sub
ns.sub A 192.0.2.54
big TXT "{}"
dname DNAME a-name-that-makes-of-a-long-one-one-that-is-too-long.example.org.
""".format('" "'.join(["x" * 250] * 8))
MANY = "".join(
    f'[networks.mynet.endpoints.many{number}]\naddresses = ["172.18.1.{number}"]\naliases = ["many"]\n'
    for number in range(1, 60)
)
VIEW = views_of(WORLD, MANY, hosts_text=HOSTS, zones=[zone_of("lab.example", ZONE)]).pinned(("mynet",), "web")


def outcome_of(wire: bytes) -> str:
    """The rcode of the reply, ``silence`` or ``forward``; asserts the invariant on the way."""
    query = scan(wire)
    if query is Verdict.SILENCE:
        assert len(wire) < 12 or len(wire) > MAX_MESSAGE_SIZE or wire[2] & 0x80
        return "silence"
    if isinstance(query, Verdict):
        rcode = NOTIMP if query is Verdict.NOTIMP else FORMERR
        reply = error_reply(wire, rcode)
        check_reply(wire, reply)
        assert len(reply) == 12
        return rcode_name(rcode)
    outcome = CHAIN.resolve(query, VIEW).outcome
    if isinstance(outcome, Forward):
        assert len(outcome.question.qname) <= 255
        return "forward"
    for limit in (query.udp_limit(), MAX_MESSAGE_SIZE):
        for variant in pack(query, outcome.answer, limit, 4).variants:
            reply = wire[:2] + variant
            message = check_reply(wire, reply)
            check_echo(query, reply, message)
            assert len(reply) <= limit
            assert message.rcode() == outcome.answer.rcode
    return rcode_name(outcome.answer.rcode)


def check_reply(wire: bytes, reply: bytes) -> dns.message.Message:
    asked, said = (int.from_bytes(octets[2:4], "big") for octets in (wire, reply))
    assert reply[:2] == wire[:2]
    assert said & (QR | RA | AD | 0x40) == QR | RA
    echoed = OPCODE_MASK | RD | CD
    assert said & echoed == asked & echoed
    return dns.message.from_wire(reply)


def check_echo(query: Query, reply: bytes, message: dns.message.Message) -> None:
    assert reply[12 : query.question_end] == query.wire[12 : query.question_end]
    assert (message.edns == 0) == (query.edns is not None)
    if query.edns is not None:
        assert bool(message.ednsflags & 0x8000) == query.edns.do
        assert message.payload == 1232
    if message.flags & AA:
        key = bytes(query.key)
        assert key.endswith((b"\x03lab\x07example\0", b"\x06docker\x08internal\0"))


def read(path: Path) -> tuple[str, bytes]:
    comment, _, octets = path.read_text().partition("\n")
    assert comment.startswith("# "), f"{path.name} has no comment"
    return comment[2:].partition(":")[0], bytes.fromhex(octets)


FILES = sorted(CORPUS.glob("*.hex"))
SEEDS = [read(path)[1] for path in FILES]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_message_of_the_corpus_has_its_outcome(path: Path) -> None:
    expected, wire = read(path)

    assert expected == outcome_of(wire)


def test_the_corpus_has_every_outcome() -> None:
    expected = {read(path)[0] for path in FILES}

    assert {"silence", "FORMERR", "NOTIMP", "REFUSED", "BADVERS", "NOERROR", "NXDOMAIN", "forward"} <= expected


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_message_of_the_corpus_may_end_anywhere(path: Path) -> None:
    _, wire = read(path)
    for size in range(min(len(wire), 400)):
        outcome_of(wire[:size])


@given(st.binary(max_size=120))
def test_octets_of_no_meaning(octets: bytes) -> None:
    outcome_of(octets)
    outcome_of(b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + octets)
    outcome_of(b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x02db\0\0\x01\0\x01" + octets)


@pytest.mark.timeout(60)
def test_mutations_of_the_corpus() -> None:
    """One slow message would show: none may take five seconds, on whatever machine."""
    chance = random.Random(SEED)
    began = time.perf_counter()
    count = 0
    while (now := time.perf_counter()) - began < SECONDS:
        wire = mutated(chance)
        try:
            outcome_of(wire)
        except Exception as error:
            pytest.fail(f"message {count} of seed {SEED}: {type(error).__name__}: {error}\n{wire.hex()}")
        assert time.perf_counter() - now < 5, wire.hex()
        count += 1

    assert count > 100 * SECONDS


def mutated(chance: random.Random, seed: bytes | None = None) -> bytes:
    wire = bytearray(chance.choice(SEEDS) if seed is None else seed)
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        place = chance.randrange(len(wire) + 1)
        match chance.randrange(8):
            case 0 if place < len(wire):
                wire[place] ^= 1 << chance.randrange(8)
            case 1 if place < len(wire):
                wire[place] = chance.choice((0, 1, 0x3F, 0x40, 0x7F, 0x80, 0xC0, 0xFF))
            case 2:
                wire[place:place] = chance.randbytes(chance.randrange(1, 9))
            case 3:
                del wire[place : place + chance.randrange(1, 9)]
            case 4:
                wire[place:place] = wire[place : place + chance.randrange(1, 40)]
            case 5:
                other = chance.choice(SEEDS)
                wire[place:] = other[chance.randrange(len(other) + 1) :]
            case 6 if len(wire) >= 12:
                wire[chance.choice((5, 7, 9, 11))] = chance.choice((0, 1, 2, 255))
            case 7 if len(wire) >= 12:
                wire[2], wire[3] = chance.choice(((1, 0), (0, 0), (1, 0x10), chance.randbytes(2)))
    return bytes(wire)
