"""Ready replies: in turn, bounded, every hit counted, fit for whoever asks (docs/adr/0001, 0020)."""

from __future__ import annotations

import ipaddress
import time

import dns.flags
import dns.message
import dns.rrset
import pytest

from resolver import compiled
from resolver.wire import ready
from resolver.wire.constants import AD, CD, RD, A
from resolver.wire.lane import LaneTable
from resolver.wire.name import fold, from_text
from resolver.wire.query import Query, scan
from resolver.wire.ready import MAX_KEY_SIZE, PlainTable, ReadyTable
from resolver.wire.reply import Answer, pack
from resolver.wire.rrset import address_rrset, soa_rrset
from tests.unit.asking import ID, opt, query

LABEL = (1, 0, "registry")
COOKIE = b"\0\x0a\0\x08"


@pytest.fixture(params=[PlainTable, lambda: LaneTable(0)], ids=["python", "compiled"])
def table(request: pytest.FixtureRequest) -> ReadyTable:
    made: ReadyTable = request.param()
    return made


def answer_of(asked: Query, *last_octets: int) -> Answer:
    addresses = tuple(ipaddress.ip_address(f"172.18.0.{octet}") for octet in last_octets)
    return Answer(0, (address_rrset(asked.qname, A, 600, addresses),))


def keep(table: ReadyTable, asked: Query, *last_octets: int, turn: int = 0, variants: int = 16) -> None:
    table.add(asked, pack(asked, answer_of(asked, *last_octets), asked.udp_limit(), variants), turn, LABEL)


def told(reply: bytes | None) -> list[str]:
    assert reply is not None
    message = dns.message.from_wire(reply)
    assert message.id == ID
    return [rdata.to_text().removeprefix("172.18.0.") for rrset in message.answer for rdata in rrset]


def first(reply: bytes | None) -> str:
    return told(reply)[0]


def counted(table: ReadyTable) -> int:
    return sum(hits for _, hits in table.take_hits())


def test_the_lane_was_compiled() -> None:
    """A test machine has a compiler, so what is tested here is both kinds of table."""
    assert compiled.lane is not None


def test_the_orders_of_the_records_come_in_turn(table: ReadyTable) -> None:
    asked = query("db", "A")
    keep(table, asked, 1, 2, 3, turn=1)

    assert ["2", "3", "1", "2"] == [first(table.look_up(asked.wire)) for _ in range(4)]


def test_hits_are_taken_once(table: ReadyTable) -> None:
    asked = query("db", "A")
    keep(table, asked, 1)
    assert table.look_up(asked.wire) == table.look_up(asked.wire)

    assert [(LABEL, 2)] == list(table.take_hits())
    assert [] == list(table.take_hits())


def test_what_was_never_kept_is_not_found(table: ReadyTable) -> None:
    keep(table, query("db", "A"), 1)

    assert [None] * 4 == [
        table.look_up(asked.wire)
        for asked in (query("dc", "A"), query("db", "AAAA"), query("db", "A", rclass=3), query("db.db", "A"))
    ]


@pytest.mark.parametrize("flags", [0, RD, CD, RD | AD | CD])
def test_flags_come_back_as_the_slow_path_has_them(table: ReadyTable, flags: int) -> None:
    asked = query("db", "A", flags=flags)
    keep(table, asked, 1)

    assert asked.wire[:2] + pack(asked, answer_of(asked, 1), 512, 1).variants[0] == table.look_up(asked.wire)


def test_a_random_cookie_does_not_lose_it(table: ReadyTable) -> None:
    keep(table, query("db", "A", edns=opt(rdata=COOKIE + b"12345678")), 1)

    reply = table.look_up(query("db", "A", edns=opt(rdata=COOKIE + b"abcdefgh")).wire)

    assert ["1"] == told(reply)
    assert reply is not None
    assert opt() == reply[-11:]


def test_what_only_looks_like_a_cookie_is_not_answered_for_one(table: ReadyTable) -> None:
    """Its OPT says that there is no option, and behind it stands something all the same."""
    keep(table, query("db", "A", edns=opt(rdata=COOKIE + b"12345678")), 1)
    wire = query("db", "A", edns=opt() + COOKIE + b"12345678").wire

    assert table.look_up(wire) is None
    assert table.look_up(query("db", "A", edns=opt(rdata=COOKIE + b"12345678")).wire[:-8]) is None


def test_the_compiled_table_has_one_entry_for_every_way_to_ask() -> None:
    table = LaneTable(0)
    keep(table, query("db.mynet", "A"), 1)
    ways = [
        query("DB.myNet", "A", flags=0),
        query("db.mynet", "A", flags=RD | CD, edns=opt(payload=4096, do=True)),
        query("db.MYNET", "A", edns=opt(payload=512, rdata=b"\0\x0c\0\x03abc\xff\xff\0\0")),
    ]

    for asked in ways:
        expected = asked.wire[:2] + pack(asked, answer_of(asked, 1), 1232, 1).variants[0]
        assert expected == table.look_up(asked.wire)
    assert 1 == len(table)


@pytest.mark.parametrize(
    "edns",
    [
        opt(version=1),
        opt(owner=b"\1a\0"),
        opt() + b"\0",
        opt(rdata=b"\0\x0a\0\x09" + b"12345678"),
        opt(rdata=b"\0\x0a\0"),
        opt()[:-1],
    ],
    ids=["version", "owner", "trailing", "option too long", "option cut", "cut"],
)
def test_what_is_not_plain_goes_to_python(edns: bytes) -> None:
    table = LaneTable(0)
    asked = query("db", "A")
    keep(table, asked, 1)
    wire = asked.wire[:11] + b"\1" + asked.wire[12:] + edns

    assert table.look_up(wire) is None
    assert ["1"] == told(table.look_up(asked.wire))


@pytest.mark.parametrize(
    "octets", [{2: 0x81}, {2: 0x29}, {2: 0x05}, {2: 0x03}, {3: 0x80}, {3: 0x40}, {3: 0x03}, {5: 2}, {7: 1}]
)
def test_neither_does_it_answer_other_headers(octets: dict[int, int]) -> None:
    table = LaneTable(0)
    asked = query("db", "A")
    keep(table, asked, 1)
    wire = bytearray(asked.wire)
    for place, value in octets.items():
        wire[place] = value

    assert table.look_up(bytes(wire)) is None


def test_a_reply_that_is_too_large_for_the_client_goes_to_python() -> None:
    table = LaneTable(0)
    roomy = query("many", "A", edns=opt(payload=1232))
    keep(table, roomy, *range(60))

    assert 60 == len(told(table.look_up(roomy.wire)))
    assert table.look_up(query("many", "A").wire) is None
    assert table.look_up(query("many", "A", edns=opt(payload=600)).wire) is None


def test_a_reply_that_leaves_something_out_is_not_kept() -> None:
    """A client with more room would get it, too."""
    table = LaneTable(0)
    asked = query("many", "A")
    keep(table, asked, *range(60))

    assert (0, None) == (len(table), table.look_up(asked.wire))


def test_over_tcp_there_is_room_for_all() -> None:
    table = LaneTable(65535)
    asked = query("many", "A")
    table.add(asked, pack(asked, answer_of(asked, *range(200)), 65535, 1), 0, LABEL)

    assert 200 == len(told(table.look_up(asked.wire)))


def test_a_name_is_dropped_with_all_its_types() -> None:
    table = LaneTable(0)
    for name in ("db", "web"):
        for qtype in ("A", "AAAA", "TXT"):
            keep(table, query(name, qtype), 1)
    assert table.look_up(query("db", "TXT").wire) is not None

    table.drop(b"\2db\0")

    assert 3 == len(table)
    assert table.look_up(query("db", "TXT").wire) is None
    assert ["1"] == told(table.look_up(query("web", "TXT").wire))
    assert 2 == counted(table)


def test_the_compiled_tables_are_bounded_together_and_what_is_asked_for_stays() -> None:
    assert compiled.lane is not None
    table, other = LaneTable(0), LaneTable(0)
    wanted = query("wanted", "A")
    keep(table, wanted, 1)
    compiled.lane.limit(1 << 18)
    try:
        for number in range(10_000):
            keep(table, query(f"name-{number}", "A"), 1)
            if number % 100 == 0:
                assert ["1"] == told(table.look_up(wanted.wire))
        assert 500 < len(table) < 10_000
        assert table.octets <= 1 << 18
        for number in range(10_000):
            keep(other, query(f"name-{number}", "A"), 1)
        assert 1 << 15 < other.octets <= 1 << 16  # the other one has all, and this one has its share
    finally:
        compiled.lane.limit(64 << 20)
    assert 100 == counted(table)


def test_the_table_in_python_is_bounded_and_the_oldest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready, "MAX_ENTRIES", 3)
    table = PlainTable()
    questions = [query(f"name-{number}", "A") for number in range(5)]
    for asked in questions:
        keep(table, asked, 1)
        assert ["1"] == told(table.look_up(asked.wire))

    assert [asked.wire[2:] for asked in questions[2:]] == list(table)
    assert (5, 0) == (counted(table), counted(table))


def test_entries_that_were_never_hit_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready, "MAX_ENTRIES", 1)
    table = PlainTable()
    for number in range(100):
        keep(table, query(f"name-{number}", "A"), 1)

    assert [] == table.retired


def test_a_long_key_is_not_kept() -> None:
    """A client that puts 64 KiB behind its question must not fill the memory with it."""
    table = PlainTable()
    asked = scan(query("db", "A").wire + bytes(MAX_KEY_SIZE))
    assert isinstance(asked, Query)
    keep(table, asked, 1)

    assert 0 == len(table)


def test_the_longest_name_with_a_cookie_is_kept() -> None:
    assert (12 - 2) + 255 + 4 + 11 + 4 == MAX_KEY_SIZE


def names_of(texts: tuple[str, ...]) -> dict[bytes, None]:
    return dict.fromkeys(map(from_text, texts))


def denying(*, below: tuple[str, ...] = (), whole: tuple[str, ...] = ()) -> LaneTable:
    table = LaneTable(0)
    suffix = fold(from_text("mynet"))
    assert table.wants_denial(suffix, A)
    assert not table.wants_denial(suffix, A)
    answer = Answer(3, authority=(soa_rrset(suffix, 7, 10),))
    table.deny(
        suffix,
        (A, 3, "forward"),
        answer,
        ({from_text(name): () for name in whole},),
        dict.fromkeys(map(from_text, below)),
    )
    return table


def test_below_a_denied_suffix_nothing_exists_but_what_is_known() -> None:
    table = denying(below=("db", "a.b"), whole=("alias.mynet",))

    for name in ("x.mynet", "X.y.MYNET", "db.db.mynet", "b.mynet"):
        asked = query(name, "A", edns=opt(do=True))
        answer = Answer(3, authority=(soa_rrset(fold(from_text("mynet")), 7, 10),))
        reply = table.look_up(asked.wire)
        assert reply is not None
        expected = asked.wire[:2] + pack(asked, answer, 1232, 1).variants[0]
        assert dns.message.from_wire(expected).to_text().lower() == dns.message.from_wire(reply).to_text().lower()
    assert [None] * 8 == [
        table.look_up(query(name, "A").wire)
        for name in ("db.mynet", "A.b.mynet", "alias.mynet", "mynet", "mynet.x", "_x._tcp.mynet", "a._x.mynet", ".")
    ]
    assert table.look_up(query("x.mynet", "AAAA").wire) is None
    assert [((A, 3, "forward"), 4)] == list(table.take_hits())


def upstreams_reply(asked: Query, ttl: int = 100, flags: int = 0) -> bytes:
    message = dns.message.make_response(dns.message.from_wire(asked.wire), recursion_available=True)
    name = message.question[0].name
    message.answer.append(dns.rrset.from_text(name, ttl, "IN", "CNAME", "www.example.org."))
    message.answer.append(dns.rrset.from_text("www.example.org.", ttl // 2, "IN", "A", "192.0.2.1"))
    message.flags |= flags | asked.flags & CD
    return message.to_wire()


def pass_on(table: LaneTable, asked: Query, reply: bytes, ago_s: int = 0) -> None:
    """For a minute since so many seconds ago."""
    now = time.monotonic()
    table.pass_on(asked, reply, now - ago_s, now - ago_s + 60, LABEL)


@pytest.mark.parametrize(
    "asked",
    [
        query("example.org", "A"),
        query("example.org", "A", flags=RD | AD),
        query("example.org", "A", flags=RD | CD, edns=opt(do=True)),
    ],
    ids=["plain", "AD", "DO and CD"],
)
def test_an_upstreams_reply_is_for_those_who_ask_alike(asked: Query) -> None:
    table = LaneTable(0)
    reply = upstreams_reply(asked)
    pass_on(table, asked, reply)

    assert reply == table.look_up(asked.wire)
    shouted = query("EXAMPLE.org", "A", flags=asked.flags, edns=asked.wire[asked.question_end :] or None)
    assert (
        table.look_up(shouted.wire)
        == reply[:12] + shouted.wire[12 : shouted.question_end] + reply[asked.question_end :]
    )
    others = [
        query("example.org", "A", flags=0),
        query("example.org", "A", flags=RD | CD),
        query("example.org", "A", edns=opt()),
        query("example.org", "A", flags=RD | CD | AD, edns=opt(do=True)),
        query("example.org", "AAAA"),
    ]
    assert [None] * 5 == [table.look_up(other.wire) for other in others]
    assert 2 == counted(table)


def test_its_ttls_are_counted_down_until_its_time_is_over() -> None:
    table = LaneTable(0)
    asked = query("example.org", "A")
    pass_on(table, asked, upstreams_reply(asked), 30)

    reply = table.look_up(asked.wire)

    assert reply is not None
    assert [70, 20] == [rrset.ttl for rrset in dns.message.from_wire(reply).answer]
    pass_on(table, asked, upstreams_reply(asked), 55)
    reply = table.look_up(asked.wire)
    assert reply is not None
    assert [45, 0] == [rrset.ttl for rrset in dns.message.from_wire(reply).answer]
    pass_on(table, asked, upstreams_reply(asked), 61)
    assert table.look_up(asked.wire) is None


def test_what_has_a_time_can_be_forgotten_all_at_once() -> None:
    table = LaneTable(0)
    asked, own = query("example.org", "A"), query("db", "A")
    keep(table, own, 1)
    pass_on(table, asked, upstreams_reply(asked), 0)
    assert 2 == len(table)

    table.drop_expiring()

    assert table.look_up(asked.wire) is None
    assert ["1"] == told(table.look_up(own.wire))


def test_a_truncated_reply_is_not_kept() -> None:
    table = LaneTable(0)
    asked = query("example.org", "A")
    pass_on(table, asked, upstreams_reply(asked, flags=dns.flags.TC), 0)

    assert 0 == len(table)


def test_it_is_not_for_a_query_whose_options_an_upstream_may_answer() -> None:
    table = LaneTable(0)
    asked = query("example.org", "A", edns=opt())
    pass_on(table, asked, upstreams_reply(asked))

    for ending in (b"\0\x0a\0\x08abcdefgh", b"\0\x0b\0\0", b"\0\x0c\0\2\0\0", b"\0\x08\0\4\0\1\0\0"):
        assert table.look_up(query("example.org", "A", edns=opt(rdata=ending)).wire) is not None
    for odd in (b"\0\3\0\0", b"\0\x0d\0\0", b"\xfd\xe9\0\0", b"\0\x0a\0\x08abcdefgh\0\3\0\0"):
        assert table.look_up(query("example.org", "A", edns=opt(rdata=odd)).wire) is None
