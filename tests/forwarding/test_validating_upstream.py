"""In front of an unbound that validates: its verdicts reach those who asked for them only, out of the cache as well."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import dns.flags
import dns.message
import pytest

from tests.forwarding import zones
from tests.forwarding.client import AD, CD, DO, at_once, codes, fetch, status, types
from tests.forwarding.conftest import Serve
from tests.scenarios.live import At, Live, answers, has_flag, is_clean, until

RD = dns.flags.RD
BOGUS = f"changed.{zones.BROKEN}"
DNSSEC_BOGUS, CACHED_ERROR = 6, 13
ASKERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "EDNS": {"use_edns": 0},
    "AD": {"flags": RD | AD},
    "DO": {"want_dnssec": True},
    "CD": {"flags": RD | CD},
    "CD DO": {"flags": RD | CD, "want_dnssec": True},
}


@pytest.fixture(scope="module", params=["cached", "uncached"])
def live(request: pytest.FixtureRequest, validating: At, serve: Serve) -> Live:
    size = {"cached": 4 << 20, "uncached": 0}[request.param]
    return serve(upstreams=[f"{validating.host}:{validating.port}"], settings={"cache": {"size": size}})


@pytest.mark.parametrize("order", list(permutations(ASKERS))[::97], ids=lambda order: "-".join(order).replace(" ", "+"))
def test_a_verdict_is_for_those_who_asked_for_it(live: Live, order: tuple[str, ...]) -> None:
    """AD comes to who set AD or DO (RFC 6840 5.8); CD has no verdict and no error (RFC 4035 3.2.2)."""
    good = f"{'x'.join(asker[0] for asker in order).lower()}.wild.{zones.NSEC}"
    for _ in range(2):
        for asker in order:
            options = ASKERS[asker]
            reply = fetch(live.at, good, **options)
            wants_verdict = asker in ("AD", "DO")
            assert answers(reply)[0] == "192.0.2.85"
            if "CD" not in asker:  # what unbound knows already it may say to CD as well
                assert has_flag(reply, AD) == wants_verdict, f"{asker}: {reply}"
            elif "DO" not in asker:
                assert not has_flag(reply, AD), f"{asker}: {reply}"
            assert has_flag(reply, CD) == ("CD" in asker)
            assert ("RRSIG" in types(reply.answer)) == ("DO" in asker)
            assert bool(reply.ednsflags & DO) == ("DO" in asker)
            bogus = fetch(live.at, BOGUS, **options)
            assert status(bogus) == ("NOERROR" if "CD" in asker else "SERVFAIL"), f"{asker}: {bogus}"
            assert (answers(bogus)[:1] == ["192.0.2.186"]) == ("CD" in asker)
            assert not has_flag(bogus, AD)
    assert is_clean(live.stderr), live.stderr


def test_askers_at_the_same_time_are_not_mixed_up(live: Live) -> None:
    """A question under way is asked once for those only who may have the same answer."""

    def asked(given: tuple[str, int]) -> str:
        asker, number = given
        for name, address in ((f"at-once-{number // 4}.wild.{zones.NSEC}", "192.0.2.85"), (BOGUS, "192.0.2.186")):
            reply = fetch(live.at, name, **ASKERS[asker])
            is_good = "CD" in asker or name != BOGUS
            right = (
                status(reply) == ("NOERROR" if is_good else "SERVFAIL")
                and answers(reply)[:1] == ([address] if is_good else [])
                and ("RRSIG" in types(reply.answer)) == (is_good and "DO" in asker)
                and bool(reply.ednsflags & DO) == ("DO" in asker)
                and has_flag(reply, CD) == ("CD" in asker)
                and ("CD" in asker or has_flag(reply, AD) == (asker in ("AD", "DO") and name != BOGUS))
            )
            if not right:
                return f"{asker}: {reply}"
        return ""

    everybody = [(asker, number) for number in range(20) for asker in ASKERS]
    assert [text for text in at_once(asked, everybody, 48) if text] == []


def test_the_reason_of_the_upstream_reaches_the_client(live: Live) -> None:
    """RFC 8914: 6 is "DNSSEC Bogus"; from the cache as well, and not to a client without EDNS."""

    def comes_twice() -> bool:
        before = live.count("pydns_cache_hits_total")
        for _ in range(2):
            reply = fetch(live.at, BOGUS, use_edns=0)
            assert (status(reply), codes(reply)[0]) == ("SERVFAIL", DNSSEC_BOGUS), str(reply)
            assert set(codes(reply)[1:]) <= {CACHED_ERROR}
        return live.count("pydns_cache_hits_total") > before

    if live.tables["cache"]["size"]:
        until(comes_twice)  # a SERVFAIL is kept for two seconds only: the first time they may have been over
    else:
        assert not comes_twice()
    assert fetch(live.at, BOGUS).edns == -1


def test_a_verdict_does_not_outlive_the_cached_answer(live: Live) -> None:
    """The same question asked again and again is counted down together with its signatures."""
    name = f"count.wild.{zones.NSEC3}"
    first = fetch(live.at, name, want_dnssec=True)
    later = until(lambda: _counted_down(live, name, first), 10, 0.2)
    assert later is not None
    assert has_flag(later, AD)
    assert {rrset.ttl for rrset in later.answer} == {later.answer[0].ttl}, "a set and its signature are as old"


def _counted_down(live: Live, name: str, first: dns.message.Message) -> dns.message.Message | None:
    reply = fetch(live.at, name, want_dnssec=True)
    return reply if reply.answer[0].ttl < first.answer[0].ttl else None
