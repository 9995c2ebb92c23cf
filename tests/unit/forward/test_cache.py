"""What is kept of upstreams' replies, for how long, and in how much memory; the clock is a number."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver._ask import read
from resolver.forward.cache import ENTRY_SIZE, Cache, CacheSettings, entry_of
from resolver.forward.replies import Accept, verify
from resolver.forward.shared import key_of, shareable
from resolver.forward.transports import own_sockets
from resolver.forward.upstreams import Upstream
from resolver.wire.name import fold, from_text
from resolver.wire.query import Query
from tests.unit.forward.test_replies import ID, answer, ask, query_of

A = Upstream("192.0.2.53")
SOA = "ns.example.org. hostmaster.example.org. 1 7200 900 1209600 {minimum}"


def rrset(ttl: int, rtype: str = "A", *texts: str, name: str = "www.example.org.") -> dns.rrset.RRset:
    return dns.rrset.from_text(name, ttl, "IN", rtype, *(texts or ("192.0.2.1",)))


def soa(ttl: int, minimum: int) -> dns.rrset.RRset:
    return rrset(ttl, "SOA", SOA.format(minimum=minimum), name="example.org.")


def reply_to(
    query: Query, *answers: dns.rrset.RRset, authority: tuple[dns.rrset.RRset, ...] = (), rcode: int = 0
) -> bytes:
    message = answer(query, *answers, rcode=rcode)
    message.authority.extend(authority)
    return message.to_wire()


def lifetime(reply: bytes, query: Query, settings: CacheSettings | None = None) -> int | None:
    entry = entry_of(query, reply, settings or CacheSettings())
    return None if entry is None else entry.ttl


OWN, BEFORE = b"\xc0\x0c", 0xC000


def record(owner: bytes, rtype: int, rdata: bytes) -> bytes:
    return owner + struct.pack("!HHIH", rtype, 1, 300, len(rdata)) + rdata


def led_round(query: Query) -> bytes:
    """Each owner leads through thousands of pointers."""
    start = query.question_end + 12
    chain = b"\0" + b"".join(struct.pack("!H", BEFORE | at) for at in (start, *range(start + 1, 16_380, 2)))
    first = record(OWN, 16, chain)
    count = (65_507 - query.question_end - len(first)) // 12
    last = struct.pack("!H", BEFORE | start + len(chain) - 2)
    counts = struct.pack("!4H", 1, 1 + count, 0, 0)
    return (
        query.wire[:2]
        + b"\x81\x80"
        + counts
        + query.wire[12 : query.question_end]
        + first
        + record(last, 1, b"") * count
    )


def of_many_zones(query: Query) -> bytes:
    """Thousands of aliases, and thousands of SOA records, none of which is of a zone of theirs."""
    aliases = [record(OWN, 5, b"\4" + b"%04d" % number + b"\0") for number in range(2000)]
    soas = [record(b"\1x\0", 6, b"")] * 1800
    counts = struct.pack("!4H", 1, len(aliases), len(soas), 0)
    return query.wire[:2] + b"\x81\x80" + counts + query.wire[12 : query.question_end] + b"".join(aliases + soas)


def with_many_soas(query: Query) -> bytes:
    """One SOA that counts, and thousands that do not."""
    own = record(OWN, 6, bytes(2) + struct.pack("!5I", 1, 2, 3, 4, 300))
    counts = struct.pack("!4H", 1, 0, 5801, 0)
    wire = query.wire
    return wire[:2] + b"\x81\x83" + counts + wire[12 : query.question_end] + own + record(b"\0", 6, b"") * 5800


def cached(*names: str, settings: CacheSettings | None = None, ttl: int = 60) -> Cache:
    cache = Cache(settings or CacheSettings())
    for name in names:
        query = query_of(ask(name))
        cache.put(name, query, reply_to(query, rrset(ttl, name=name)), 0.0)
    return cache


def ttls(wire: bytes) -> list[int]:
    message = dns.message.from_wire(wire)
    return [rrset.ttl for section in (message.answer, message.authority) for rrset in section]


# For how long


@pytest.mark.parametrize(
    ("settings", "expected"),
    [(CacheSettings(), 60), (CacheSettings(min_ttl=120), 120), (CacheSettings(max_ttl=30), 30)],
)
def test_records_are_kept_for_the_smallest_ttl_within_the_bounds(settings: CacheSettings, expected: int) -> None:
    query = query_of(ask())
    reply = reply_to(query, rrset(300, "CNAME", "there.example.org."), rrset(60, name="there.example.org."))

    assert expected == lifetime(reply, query, settings)


@pytest.mark.parametrize("rcode", [dns.rcode.NXDOMAIN, dns.rcode.NOERROR])
@pytest.mark.parametrize(("ttl", "minimum", "expected"), [(900, 60, 60), (30, 600, 30), (86400, 86400, 3600)])
def test_that_there_is_nothing_is_kept_as_the_soa_says(rcode: int, ttl: int, minimum: int, expected: int) -> None:
    """RFC 2308 5: the smaller of its TTL and its MINIMUM; and that is the TTL which goes out."""
    query = query_of(ask())
    reply = reply_to(query, authority=(soa(ttl, minimum),), rcode=rcode)
    entry = entry_of(query, reply, CacheSettings())

    assert entry is not None
    assert expected == entry.ttl
    assert [expected] == ttls(entry.counted_down(0.0))


def test_a_cname_to_nothing_is_kept_for_the_shorter_of_both() -> None:
    query = query_of(ask())
    reply = reply_to(query, rrset(20, "CNAME", "gone.example.org."), authority=(soa(900, 60),), rcode=3)

    assert 20 == lifetime(reply, query)


def test_the_soa_behind_a_cname_is_held_as_well() -> None:
    query = query_of(ask())
    reply = reply_to(query, rrset(900, "CNAME", "gone.example.org."), authority=(soa(9000, 60),), rcode=3)
    entry = entry_of(query, reply, CacheSettings())

    assert entry is not None
    assert [900, 60] == ttls(entry.counted_down(0.0))


def test_records_of_another_name_are_no_answer() -> None:
    query = query_of(ask())
    astray = rrset(60, name="www.example.com.")
    led = (rrset(60, "CNAME", "a.example.com."), rrset(60, "CNAME", "b.example.com.", name="a.example.com."))

    assert lifetime(reply_to(query, astray), query) is None
    assert lifetime(reply_to(query, rrset(60, "CNAME", "a.example.com."), astray), query) is None
    assert 60 == lifetime(reply_to(query, *led, rrset(60, name="b.example.com.")), query)


def test_what_is_told_from_memory_is_not_authoritative() -> None:
    query = query_of(ask())
    said = answer(query, rrset(60))
    said.flags |= dns.flags.AA
    entry = entry_of(query, said.to_wire(), CacheSettings())

    assert entry is not None
    for told in (entry.counted_down(entry.stored_at), entry.stale()):
        assert dns.message.from_wire(told).flags == said.flags & ~dns.flags.AA


@pytest.mark.parametrize("make", [led_round, of_many_zones, with_many_soas])
def test_no_message_takes_long_to_be_looked_through(make: Callable[[Query], bytes]) -> None:
    """Nobody else is answered meanwhile."""
    query = query_of(ask())
    reply = make(query)
    assert len(reply) <= 65_507
    assert isinstance(verify(query, int.from_bytes(query.wire[:2], "big"), reply), Accept)
    facts = read(query.wire, reply)
    assert facts is not None
    began = time.thread_time()

    Cache(CacheSettings()).put("it", query, reply, 0.0, facts=facts)
    Cache(CacheSettings()).put("it", query, reply, 0.0)

    assert time.thread_time() - began < 0.1


def test_what_is_not_to_be_kept() -> None:
    query = query_of(ask())
    truncated = answer(query, rrset(60))
    truncated.flags |= dns.flags.TC
    referral = (rrset(60, "NS", "ns.example.org.", name="example.org."),)

    assert lifetime(truncated.to_wire(), query) is None
    assert lifetime(reply_to(query), query) is None, "NODATA without a SOA"
    assert lifetime(reply_to(query, rcode=3), query) is None, "NXDOMAIN without a SOA"
    assert lifetime(reply_to(query, authority=referral), query) is None
    for other in ("example.com.", "ple.org.", "a.www.example.org."):
        soa_of_others = rrset(60, "SOA", SOA.format(minimum=60), name=other)
        assert lifetime(reply_to(query, authority=(soa_of_others,)), query) is None, "another zone's SOA"
    assert lifetime(reply_to(query, rrset(0)), query) is None
    assert lifetime(reply_to(query, rrset(60), rcode=5), query) is None
    assert lifetime(answer(query, rcode=16, payload=1232).to_wire(), query) is None, "an extended rcode"


@pytest.mark.parametrize(("configured", "expected"), [(2, 2), (600, 5), (0, None)])
def test_a_servfail_is_kept_for_a_moment(configured: int, expected: int | None) -> None:
    """RFC 2308 7.1 allows five minutes, RFC 9520 asks for 1 s at least; more than 5 s keep a mended name away."""
    query = query_of(ask())

    assert expected == lifetime(reply_to(query, rcode=2), query, CacheSettings(servfail_ttl=configured))


def test_ttls_are_counted_down_and_end() -> None:
    cache = cached("www.example.org.")
    entry = cache.get("www.example.org.", 17.9)

    assert entry is not None
    assert [43] == ttls(entry.counted_down(17.9))
    assert cache.get("www.example.org.", 60.0) is None
    assert (1, 1) == (cache.hits, cache.misses)


def test_a_ttl_with_its_highest_bit_set_is_none() -> None:
    """RFC 2181 8: it is to be treated as zero; as held within 31 bits it is no longer than `max_ttl`."""
    query = query_of(ask())
    reply = bytearray(reply_to(query, rrset(60)))
    at = bytes(reply).index((60).to_bytes(4, "big"))
    reply[at] = 0x80

    assert 60 == lifetime(bytes(reply), query)


# Stale, popular, failed


def test_what_is_over_may_be_given_for_want_of_better() -> None:
    cache = cached("www.example.org.", settings=CacheSettings(stale_s=100))
    entry = cache.stale("www.example.org.", 159.0)

    assert entry is not None
    assert [30] == ttls(entry.stale())
    assert cache.stale("www.example.org.", 161.0) is None


def test_a_servfail_does_not_take_the_place_of_what_is_known() -> None:
    cache = cached("www.example.org.")
    query = query_of(ask("www.example.org."))
    cache.put("www.example.org.", query, reply_to(query, rcode=2), 61.0)

    assert cache.stale("www.example.org.", 62.0) is not None
    assert cache.get("www.example.org.", 62.0) is None


def test_a_popular_name_is_fetched_once_in_the_last_tenth_of_its_time() -> None:
    cache = cached("www.example.org.", ttl=100)
    asked = []
    for now in (1.0, 2.0, 89.0, 91.0, 92.0):
        entry = cache.get("www.example.org.", now)
        assert entry is not None
        asked.append(cache.is_worth_fetching(entry, now))
    rare = cached("www.example.org.", ttl=100)
    entry = rare.get("www.example.org.", 95.0)

    assert [False, False, False, True, False] == asked
    assert entry is not None
    assert not rare.is_worth_fetching(entry, 95.0)


def test_an_answer_that_cannot_be_kept_takes_the_old_one_away() -> None:
    for newer in ((), (rrset(0),)):
        cache = cached("www.example.org.")
        query = query_of(ask("www.example.org."))
        cache.put("www.example.org.", query, reply_to(query, *newer), 61.0)

        assert cache.stale("www.example.org.", 62.0) is None


# How much


def test_what_was_not_asked_for_the_longest_goes_first() -> None:
    names = [f"n{number}.example.org." for number in range(5)]
    room = cached(names[0]).size
    cache = cached(*names[:3], settings=CacheSettings(size=3 * room))
    assert cache.get(names[0], 1.0) is not None
    query = query_of(ask(names[3]))
    cache.put(names[3], query, reply_to(query, rrset(60, name=names[3])), 1.0)

    assert [True, False, True, True] == [cache.get(name, 2.0) is not None for name in names[:4]]
    assert (3, 1) == (len(cache), cache.evictions)
    assert cache.size <= 3 * room

    cache.resize(CacheSettings(size=room))
    assert 1 == len(cache)


def test_an_answer_larger_than_the_cache_is_not_kept() -> None:
    assert 0 == len(cached("www.example.org.", settings=CacheSettings(size=ENTRY_SIZE)))
    assert 0 == len(cached("www.example.org.", settings=CacheSettings(size=0)))


def test_a_name_and_all_below_it_can_be_forgotten() -> None:
    cache = cached("example.org.", "www.example.org.", "example.com.", "myexample.org.")

    assert 2 == cache.flush(fold(from_text("example.org")))
    assert [b"\7example\3com\0", b"\x09myexample\3org\0"] == [entry.name for entry in cache.entries()]
    assert 2 == cache.flush()
    assert (0, 0) == (len(cache), cache.size)


# What may be shared


def key(message: dns.message.Message, *upstreams: Upstream) -> object:
    return key_of(query_of(message), upstreams or (A,), own_sockets)


def test_what_changes_the_reply_is_another_question() -> None:
    plain = ask()
    keys = [key(plain), key(ask("other.example.org.")), key(ask(rtype="AAAA")), key(ask(payload=1232))]
    keys += [key(ask(flags=dns.flags.DO)), key(plain, Upstream("192.0.2.54")), key(plain, A, A)]
    for flag in (dns.flags.CD, dns.flags.AD, dns.flags.RD):
        flagged = ask()
        flagged.flags ^= flag
        keys.append(key(flagged))

    assert len(keys) == len(set(keys))


def test_letter_case_id_and_udp_size_make_no_other_question() -> None:
    shouted = ask("WWW.Example.ORG.", payload=512)
    shouted.id = 7

    assert key(ask(payload=4096)) == key(shouted)


def test_upstreams_inside_namespaces_are_others_in_each() -> None:
    inside = Upstream("192.0.2.53", in_namespace=True)
    query = query_of(ask())

    def one(*_: object) -> None: ...

    def other(*_: object) -> None: ...

    assert key_of(query, (inside,), one) != key_of(query, (inside,), other)
    assert key_of(query, (A,), one) == key_of(query, (A,), other)


@pytest.mark.parametrize(
    ("option", "is_shared"),
    [
        (dns.edns.CookieOption(b"12345678", b""), True),
        (dns.edns.GenericOption(dns.edns.OptionType.make(12), bytes(20)), True),
        (dns.edns.ECSOption("192.0.2.0", 24), False),
        (dns.edns.GenericOption(dns.edns.OptionType.make(3), b""), False),
        (dns.edns.GenericOption(dns.edns.OptionType.make(65001), b"x"), False),
    ],
    ids=["cookie", "padding", "client subnet", "nsid", "unknown"],
)
def test_an_option_that_may_change_the_answer_is_for_its_client_alone(option: dns.edns.Option, is_shared: bool) -> None:
    message = ask()
    message.use_edns(0, options=[option])

    assert is_shared == (key(message) is not None)
    if is_shared:
        assert key(ask(payload=1232)) == key(message)


def test_of_the_upstreams_options_only_extended_errors_are_for_everybody() -> None:
    query = query_of(ask(payload=1232))
    reply = answer(query, rrset(60))
    told = dns.edns.EDEOption(dns.edns.EDECode.STALE_ANSWER, "old")
    reply.use_edns(0, options=[dns.edns.CookieOption(b"12345678", b"87654321"), told])
    shared = shareable(query, reply.to_wire() + b"behind the last record")

    assert shared is not None
    message = dns.message.from_wire(shared)
    assert [told] == list(message.options)
    assert isinstance(verify(query, ID, shared), Accept)


@given(st.data())
def test_whatever_was_accepted_can_be_kept_or_not_and_never_raises(data: st.DataObject) -> None:
    query = query_of(ask(payload=1232))
    whole = bytearray(reply_to(query, rrset(60, "MX", "10 mail.example.org."), authority=(soa(60, 60),)))
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(2, len(whole) - 1))] = data.draw(st.integers(0, 255))
    if not isinstance(verify(query, ID, bytes(whole)), Accept):
        return
    shared = shareable(query, bytes(whole))
    if shared is not None and (entry := entry_of(query, shared, CacheSettings())) is not None:
        assert isinstance(verify(query, ID, entry.counted_down(10.0)), Accept)
        assert 0 < entry.ttl <= 86400


def test_what_is_provisional_takes_the_place_of_nothing_that_is_known_and_is_never_stale() -> None:
    cache = cached("www.example.org.")
    query = query_of(ask("www.example.org."))
    nothing = reply_to(query, authority=(soa(60, 2),), rcode=dns.rcode.NXDOMAIN)

    for now in (30.0, 61.0):  # good, and stale
        cache.put("www.example.org.", query, nothing, now, is_provisional=True)
        assert [dns.rcode.NOERROR] == [entry.rcode for entry in cache.entries()]
    cache.put("other", query, nothing, 0.0, is_provisional=True)
    assert cache.get("other", 1.0) is not None
    assert cache.stale("other", 3.0) is None
    cache.put("other", query, reply_to(query, rrset(60)), 3.0, is_provisional=True)
    assert (found := cache.get("other", 4.0)) is not None
    assert dns.rcode.NOERROR == found.rcode
