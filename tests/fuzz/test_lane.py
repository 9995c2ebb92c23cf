"""The compiled lane says what Python says, or nothing; and no bytes make it read or write where it should not."""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from pathlib import Path

import dns.message
import pytest

from resolver.pipeline.closed import closed_below
from resolver.pipeline.outcome import Reply
from resolver.pipeline.plain import plain_in
from resolver.pipeline.stages import negative
from resolver.wire.constants import NXDOMAIN
from resolver.wire.lane import LaneTable
from resolver.wire.name import from_text
from resolver.wire.query import Query, scan
from resolver.wire.ready import PlainTable
from resolver.wire.reply import compose, pack
from tests.fuzz.sanitized import fed
from tests.fuzz.test_any_bytes import CORPUS, SECONDS, SEED, SEEDS, VIEW, mutated
from tests.unit.asking import CHAIN, header, opt, question, views_of
from tests.unit.pipeline.worlds import WORLD

MAX_VARIANTS = 16
BACKEND = from_text("backend")
COOKIE = b"\0\x0a\0\x08cookies!"


def replies_of_python(query: Query) -> tuple[set[bytes], LaneTable | None]:
    """Each reply that Python may give to a query, and a table with nothing else in it, if it may be kept."""
    decision = CHAIN.resolve(query, VIEW)
    outcome = decision.outcome
    if not isinstance(outcome, Reply) or not outcome.keep:
        return set(), None
    packed = pack(query, outcome.answer, query.udp_limit(), MAX_VARIANTS)
    table = LaneTable(0)
    table.add(query, packed, 0, (query.qtype, 0, decision.stage))
    return {query.wire[:2] + variant for variant in packed.variants}, table


def read_out(reply: bytes) -> str:
    return dns.message.from_wire(reply).to_text().lower()


def test_what_the_lane_says_python_says_too() -> None:
    """To the very query, and to every mutation of it that the lane takes for the same question."""
    chance = random.Random(SEED)
    seeds = [(wire, query) for wire in SEEDS if isinstance(query := scan(wire), Query)]
    known = [(wire, replies_of_python(query)[1]) for wire, query in seeds]
    tables = [(wire, table) for wire, table in known if table]
    assert len(tables) > 15
    ends = time.monotonic() + SECONDS
    answered = 0
    while time.monotonic() < ends:
        seed, table = chance.choice(tables)
        wire = bytearray(mutated(chance, seed) if chance.randrange(4) else seed)
        if len(wire) > 20:  # what nearly every client varies
            wire[2] ^= chance.choice((0, 1))
            wire[3] ^= chance.choice((0, 0x10, 0x20, 0x30))
        reply = table.look_up(bytes(wire))
        if reply is None:
            continue
        query = scan(bytes(wire))
        assert isinstance(query, Query), wire.hex()
        expected, _ = replies_of_python(query)
        # By the octets, or read: how names are compressed depends on the letter case of the question.
        assert reply in expected or read_out(reply) in map(read_out, expected), (
            f"{wire.hex()}\nlane {reply.hex()}\npython {[one.hex() for one in expected]}"
        )
        answered += 1
    assert answered > 50 * SECONDS


@pytest.mark.parametrize("table", [LaneTable(0), PlainTable()], ids=["compiled", "python"])
def test_what_is_made_of_the_registry_the_chain_says_too(table: LaneTable | PlainTable) -> None:
    """To the corpus, questions about names of the registry, and mutations of all of them."""
    chance = random.Random(SEED)
    view = views_of(WORLD, hosts_text="192.0.2.80 printer.example.org printer\n").pinned(("backend",), None)
    closed, known = closed_below(CHAIN, view, BACKEND), plain_in(CHAIN, view)
    assert closed is not None
    assert known is not None
    table.know(known)
    for rtype in (1, 28, 65):
        answer = negative(NXDOMAIN, BACKEND, view)
        table.deny(BACKEND, (rtype, NXDOMAIN, "forward"), answer, closed.whole, closed.below)
    names = ("vault", "Safe", "db", "rich", "vault.backend", "nobody.backend", "a.b.backend", "printer", "backend")
    ways = [header() + question(name, rtype) for name in names for rtype in ("A", "AAAA", "HTTPS")]
    ways += [header(additionals=1) + wire[12:] + opt(rdata=rdata) for wire in ways for rdata in (b"", COOKIE)]
    answered = Counter[int]()
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends:
        wire = chance.choice(ways) if chance.randrange(2) else chance.choice(SEEDS)
        wire = mutated(chance, wire) if chance.randrange(4) else wire
        reply = table.look_up(wire)
        if reply is None:
            continue
        query = scan(wire)
        assert isinstance(query, Query), wire.hex()
        outcome = CHAIN.resolve(query, view).outcome
        assert isinstance(outcome, Reply), wire.hex()
        said = compose(query, outcome.answer, query.udp_limit())
        assert reply == said or read_out(reply) == read_out(said), f"{wire.hex()}\n{reply.hex()}\n{said.hex()}"
        answered[reply[3] & 15] += 1
    assert min(answered[0], answered[NXDOMAIN]) > 50 * SECONDS


@pytest.mark.timeout(120)
def test_no_bytes_make_it_touch_what_is_not_its_own(tmp_path: Path) -> None:
    """Built with AddressSanitizer and UBSan, and fed with the corpus, its mutations and odd tables."""
    assert "answered" in fed("_lane", "lane_driver.py", CORPUS, tmp_path)


def test_it_leaves_no_memory_behind() -> None:
    """Each object that the lane takes is let go of again."""
    label = (1, 0, f"stage {SEED}")
    before = sys.getrefcount(label)
    for _ in range(3):
        table = LaneTable(0)
        for number in range(100):
            name = f"name-{number % 50}".encode()
            table.put(bytes([len(name)]) + name + b"\0", 1, 0, b"\0\0", bytes(6), (b"x",), label, (), 0, 0)
        assert len(table) == 50
        told = (((1, None, 0, label),), b"\0\0", bytes(8), b"", False)
        with pytest.raises(ValueError, match="know"):
            table.put_known(*told, ((b"", {}, 1, 0),))
        for kind in (1, 2):
            held: dict[bytes, object] = {b"\2up\0": (label,)}
            table.put_known(*told, ((None, held, kind, 0),))
            assert table.look_up(bytes.fromhex("beef01000001000000000000") + b"\2up\0\0\1\0\1") is None
        del told, held
        table.drop(b"\6name-1\0")
        assert table.take_hits() == []
    del table

    assert before == sys.getrefcount(label)
