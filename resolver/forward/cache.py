"""Replies of upstreams, kept for as long as they say (RFC 1035, RFC 2308, RFC 8767). No I/O and no clock.

What is kept is the reply itself and where its TTLs stand in it: a hit is a copy with the TTLs counted down. Memory is
bounded in octets; when it is full what was not asked for the longest goes first (LRU).

| what                                            | for how long                                                    |
|-------------------------------------------------|-----------------------------------------------------------------|
| records                                         | the smallest TTL of the answer, between `min_ttl` and `max_ttl` |
| NXDOMAIN, NODATA with a SOA                     | the smaller of its TTL and its MINIMUM, at most                 |
|                                                 | `max_negative_ttl` (RFC 2308 5)                                 |
| the same without a SOA of a zone that the name  | not                                                             |
| is in, a referral                               |                                                                 |
| SERVFAIL                                        | `servfail_ttl`, at most 5 s (RFC 2308 7.1)                      |
| any other rcode, TC                             | not                                                             |
| what is provisional (`policy`)                  | by its TTL; not in the place of what is known and good, or      |
|                                                 | stale, and never given out stale itself                         |
| anything but SERVFAIL, when its time is over    | `stale_s` longer, given out with a TTL of 30 s when no upstream |
|                                                 | has a better answer; for 30 s after that has failed, at once    |
|                                                 | (RFC 8767 5)                                                    |
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Hashable, Iterator

from msgspec import Struct

from resolver.errors import WireError
from resolver.forward.datagrams import Facts
from resolver.wire.constants import AA, ANY, CNAME, NOERROR, NXDOMAIN, OPT, RCODE_MASK, SERVFAIL, SOA, TC
from resolver.wire.name import WireName, is_below
from resolver.wire.query import Query
from resolver.wire.records import Record, name_at, records_of

ENTRY_SIZE = 600
"""Octets that an entry takes beside its reply, keys and objects of Python's included, as measured."""
STALE_TTL = 30
PREFETCH_SHARE = 0.1
"""A popular name is fetched anew in the last tenth of its time."""
PREFETCH_AGAIN_S = 5.0
"""After how many seconds the same is tried once more, when nothing has come of it."""
POPULAR_HITS = 3
MAX_SERVFAIL_TTL = 5
RECHECK_S = 30.0
"""How long after a look-up for a stale answer has failed nobody waits for another one."""

_NEVER = float("-inf")
_COUNTS = struct.Struct("!HHH")
_NUMBER = struct.Struct("!H")
_TTL = struct.Struct("!I")
_AA_OCTET = AA >> 8
_QNAME_POINTER = b"\xc0\x0c"
"""The name of the question, as nearly every first record has it (RFC 1035 4.1.4)."""


class CacheSettings(Struct, frozen=True):
    """How much is kept, and for how long; times in seconds."""

    size: int = 4 << 20
    """Octets; 0 keeps nothing."""
    min_ttl: int = 0
    max_ttl: int = 86400
    max_negative_ttl: int = 3600
    servfail_ttl: int = 2
    stale_s: int = 3600
    """How long after its time an answer may still be given when upstreams fail; 0 for never."""
    prefetch: bool = True


class Entry:
    """One reply."""

    __slots__ = (
        "_ttls",
        "failed_at",
        "fetch_at",
        "hits",
        "is_provisional",
        "is_ready",
        "name",
        "qtype",
        "rcode",
        "reply",
        "size",
        "stored_at",
        "ttl",
    )

    def __init__(
        self, name: WireName, qtype: int, rcode: int, reply: bytes, ttls: tuple[tuple[int, int], ...], ttl: int
    ) -> None:
        self.name = name
        self.qtype = qtype
        self.rcode = rcode
        self.reply = reply
        self.ttl = ttl
        """Seconds for which it is good."""
        self.stored_at = 0.0
        self.failed_at = _NEVER
        """When upstreams were last asked for a fresh one in vain, its time being over."""
        self.fetch_at = _NEVER
        """Before then it is not fetched ahead of time: that was begun just now."""
        self.hits = 0
        self.is_provisional = False
        """It says that there is nothing, and a server that may know more was not heard."""
        self.is_ready = False
        """Given out without the cache being asked, so that not every hit has been counted."""
        self.size = len(reply) + ENTRY_SIZE + 16 * len(ttls)
        self._ttls = ttls

    def left_s(self, now: float) -> float:
        """Seconds for which it is still good; negative when its time is over."""
        return self.stored_at + self.ttl - now

    def counted_down(self, now: float) -> bytes:
        """The reply with its TTLs as they are now."""
        age = int(now - self.stored_at)
        reply = bytearray(self.reply)
        for offset, ttl in self._ttls:
            _TTL.pack_into(reply, offset, ttl - age if ttl > age else 0)
        return bytes(reply)

    def stale(self) -> bytes:
        """The reply when its time is over: with TTLs that have it asked for again soon (RFC 8767 4)."""
        reply = bytearray(self.reply)
        for offset, _ in self._ttls:
            _TTL.pack_into(reply, offset, STALE_TTL)
        return bytes(reply)


class Lasting:
    """For how long a reply of the cache is good without the cache being asked again."""

    __slots__ = ("_cache", "_entry", "as_of", "until")

    def __init__(self, cache: Cache, entry: Entry, now: float) -> None:
        self._cache = cache
        self._entry = entry
        self.as_of = entry.stored_at + int(now - entry.stored_at)
        """When its TTLs were as they are."""
        self.until = entry.stored_at + entry.ttl
        """Until when nobody need ask; then comes the time in which it may be fetched anew."""
        if cache.settings.prefetch:
            self.until -= entry.ttl * PREFETCH_SHARE

    def hold(self) -> None:
        """It is given out from now on without the cache being asked."""
        self._entry.is_ready = True

    def count(self, hits: int) -> None:
        """So many were answered with it."""
        self._entry.hits += hits
        self._cache.hits += hits


class Cache:
    """Replies by what `shared.key_of` says of their questions."""

    def __init__(self, settings: CacheSettings) -> None:
        self.settings = settings
        self.size = 0
        """Octets that are taken now."""
        self.hits = 0
        self.misses = 0
        self.stale_hits = 0
        self.prefetches = 0
        self.evictions = 0
        self.generation = 0
        """Grows when something is flushed: what was asked for before is not kept after it."""
        self._entries: OrderedDict[Hashable, Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable, now: float) -> Entry | None:
        """The entry of a question that is still good; counts a hit or a miss."""
        entry = self._entries.get(key)
        if entry is None or entry.stored_at + entry.ttl <= now:
            self.misses += 1
            return None
        self._entries.move_to_end(key)
        entry.hits += 1
        self.hits += 1
        return entry

    def is_worth_fetching(self, entry: Entry, now: float) -> bool:
        """Whether an entry is popular and soon over, so that it is to be fetched before anybody has to wait."""
        is_popular = entry.hits >= POPULAR_HITS or entry.is_ready
        if not self.settings.prefetch or now < entry.fetch_at or not is_popular or entry.rcode == SERVFAIL:
            return False
        if entry.left_s(now) > entry.ttl * PREFETCH_SHARE:
            return False
        entry.fetch_at = now + PREFETCH_AGAIN_S
        self.prefetches += 1
        return True

    def stale(self, key: Hashable, now: float) -> Entry | None:
        """The entry of a question whose time is over, while it may be given out for want of a better one."""
        entry = self._entries.get(key)
        if entry is None or entry.rcode == SERVFAIL or entry.is_provisional:
            return None
        return None if entry.left_s(now) + self.settings.stale_s < 0 else entry

    def put(
        self,
        key: Hashable,
        query: Query,
        reply: bytes,
        now: float,
        *,
        is_provisional: bool = False,
        facts: Facts | None = None,
    ) -> None:
        """Keep a reply, which `shared.shareable` has made, if it may be kept; ``facts`` are known of it."""
        if is_provisional and self.stale(key, now) is not None:
            return
        if facts is not None and facts[3] >= 0:
            entry = plain_entry(query, reply, facts, self.settings)
        else:
            entry = entry_of(query, reply, self.settings)
        if entry is not None:
            entry.is_provisional = is_provisional
        if entry is None or entry.size > self.settings.size:
            flags = int.from_bytes(reply[2:4], "big")
            if not flags & TC and flags & RCODE_MASK in (NOERROR, NXDOMAIN):
                self._drop(key)  # what was known is no longer true
            return
        if entry.rcode == SERVFAIL and self.stale(key, now) is not None:
            return  # what is known is better than that it cannot be had just now
        entry.stored_at = now
        former = self._entries.pop(key, None)
        self._entries[key] = entry
        self.size += entry.size - (former.size if former is not None else 0)
        if self.size > self.settings.size:
            self._shrink()

    def resize(self, settings: CacheSettings) -> None:
        """Go by other settings from now on."""
        self.settings = settings
        self._shrink()

    def flush(self, below: WireName | None = None) -> int:
        """Forget everything, or every name at or below a folded one; how many entries that were."""
        self.generation += 1
        keys = [key for key, entry in self._entries.items() if below is None or is_below(entry.name, below)]
        for key in keys:
            self._drop(key)
        return len(keys)

    def entries(self) -> Iterator[Entry]:
        """Every entry, what was not asked for the longest first."""
        return iter(list(self._entries.values()))

    def items(self) -> Iterator[tuple[Hashable, Entry]]:
        """The same with what they are kept by."""
        return iter(list(self._entries.items()))

    def _drop(self, key: Hashable) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.size -= entry.size

    def _shrink(self) -> None:
        while self.size > self.settings.size:
            _, entry = self._entries.popitem(last=False)
            self.size -= entry.size
            self.evictions += 1


def entry_of(query: Query, reply: bytes, settings: CacheSettings) -> Entry | None:
    """The entry that a reply is worth, its TTLs held within the settings' bounds; None for one that is not to be kept.

    The reply is one that `replies.verify` has accepted.
    """
    flags = int.from_bytes(reply[2:4], "big")
    if flags & TC:
        return None
    answers, authorities, additionals = _COUNTS.unpack_from(reply, 6)
    records = records_of(reply, query.question_end, answers + authorities + additionals)
    rcode = flags & RCODE_MASK
    names, found = _chain(reply, query, records[:answers])
    is_positive = rcode == NOERROR and found
    soa = None
    if not is_positive:
        soas = (record for record in records[answers : answers + authorities] if record.rtype == SOA)
        soa = next((record for record in soas if _is_above(reply, record, names)), None)
    ttl = _lifetime(reply, rcode, is_positive, records[:answers], soa, settings)
    if ttl is None or ttl <= 0:
        return None
    ttls = []
    for record in records:
        if record.rtype != OPT:
            held = min(max(_ttl_of(record), settings.min_ttl), settings.max_ttl)
            is_bound = record.rtype == SOA and not is_positive  # it is by its SOA that a client remembers
            ttls.append((record.rdata_offset - 6, min(held, ttl) if is_bound else held))
        elif record.ttl >> 24:
            return None  # an extended rcode
    # What is told from memory is nobody's own word (RFC 1034 6.2.1).
    kept = reply if not flags & AA else reply[:2] + _NUMBER.pack(flags & ~AA) + reply[4:]
    return Entry(query.key, query.qtype, rcode, kept, tuple(ttls), ttl)


def plain_entry(query: Query, reply: bytes, facts: Facts, settings: CacheSettings) -> Entry | None:
    """The same of a reply that has what was asked for, or denies it, by what is known of it."""
    least, most = settings.min_ttl, settings.max_ttl
    rcode, _, _, ttl, ttls, soas = facts
    ttl = min(max(ttl, least), most) if soas is None else min(ttl, settings.max_negative_ttl)
    if ttl <= 0:
        return None
    for _, one in ttls:
        if not least <= one <= most:
            ttls = tuple((offset, min(max(one, least), most)) for offset, one in ttls)
            break
    if soas is not None:
        bound = frozenset(soas)  # a message has room for thousands
        ttls = tuple((offset, min(one, ttl) if offset in bound else one) for offset, one in ttls)
    octet = reply[2]
    return Entry(
        query.key,
        query.qtype,
        rcode,
        reply if not octet & _AA_OCTET else reply[:2] + bytes((octet & ~_AA_OCTET,)) + reply[3:],
        ttls,
        ttl,
    )


def _chain(reply: bytes, query: Query, answers: tuple[Record, ...]) -> tuple[set[bytes], bool]:
    """The name asked and where its CNAME records lead, and whether what was asked for stands under one of them."""
    names: set[bytes] = {query.key}
    found = False
    try:
        for record in answers:
            is_asked_for = reply.startswith(_QNAME_POINTER, record.offset)
            if not is_asked_for and name_at(reply, record.offset) not in names:
                continue
            if record.rtype == query.qtype or query.qtype == ANY:
                found = True
            elif record.rtype == CNAME:
                if len(names) > _MAX_ALIASES:
                    return names, False
                names.add(name_at(reply, record.rdata_offset))
    except (WireError, IndexError):
        return names, False
    return names, found


def _is_above(reply: bytes, record: Record, names: set[bytes]) -> bool:
    """Whether a record is of one of the names or of a name above: another zone's SOA says nothing of them."""
    try:
        owner = name_at(reply, record.offset)
    except (WireError, IndexError):
        return False
    return any(is_below(name, owner) for name in names)


def _lifetime(
    reply: bytes,
    rcode: int,
    is_positive: bool,
    answers: tuple[Record, ...],
    soa: Record | None,
    settings: CacheSettings,
) -> int | None:
    if rcode == SERVFAIL:
        return min(settings.servfail_ttl, MAX_SERVFAIL_TTL)
    if rcode not in (NOERROR, NXDOMAIN):
        return None
    ttls = [_ttl_of(record) for record in answers]
    if is_positive:
        return min(max(min(ttls), settings.min_ttl), settings.max_ttl)
    if soa is None or soa.end - soa.rdata_offset < _SOA_NUMBERS_SIZE:
        return None
    minimum: int = _TTL.unpack_from(reply, soa.end - _TTL.size)[0]
    return min(_ttl_of(soa), minimum & 0x7FFFFFFF, settings.max_negative_ttl, *ttls)


def _ttl_of(record: Record) -> int:
    return record.ttl & 0x7FFFFFFF  # RFC 2181 8


_MAX_ALIASES = 64  # a message has room for thousands, and for as many SOA records that would be held against each
_SOA_NUMBERS_SIZE = 22  # two names of at least one octet and five numbers
