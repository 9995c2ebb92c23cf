"""The rebinding guard between forwarder and cache: what is kept back, counted, logged now and then."""

from __future__ import annotations

import asyncio
import logging

import dns.message
import dns.rrset
import pytest
from msgspec.structs import replace

from resolver.forward.forwarder import Forwarder
from resolver.forward.lookups import Lookups
from resolver.forward.outcomes import Outcome
from resolver.forward.rebinding import LOG_EVERY_S, RebindingGuard
from resolver.forward.upstreams import Upstream
from resolver.wire.query import Query
from tests.unit.forward.scripted import ScriptedServer, scripted
from tests.unit.forward.test_forwarder import query_of
from tests.unit.forward.test_lookups import ONCE

UPSTREAM = Upstream("192.0.2.53")
GUARDED = replace(ONCE, is_guarded=True)


def outcome_of(query: Query, address: str) -> Outcome:
    reply = dns.message.make_response(dns.message.from_wire(query.wire), recursion_available=True)
    reply.answer.append(dns.rrset.from_text(reply.question[0].name, 60, "IN", "A", address))
    return Outcome(reply.to_wire(), UPSTREAM, None)


def test_the_client_is_told_why_and_the_log_says_it_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    now = 100.0
    guard = RebindingGuard(lambda: now)
    told: list[Outcome] = []
    query = query_of("evil")
    with caplog.at_level(logging.WARNING):
        for _ in range(50):
            guard.pass_on(query, told.append, outcome_of(query, "192.168.1.1"))
        now += LOG_EVERY_S
        guard.pass_on(query, told.append, outcome_of(query, "192.168.1.1"))

    assert (51, {(15, "192.168.1.1 is a private address (rebinding guard)")}) == (
        guard.blocked,
        {outcome.ede for outcome in told},
    )
    first, second = (record.getMessage() for record in caplog.records)
    name = dns.message.from_wire(query.wire).question[0].name
    assert f"192.0.2.53:53 says that {name} A is 192.168.1.1" in first
    assert "forward.rebinding_allowed" in first
    assert "(49 more since the last such line)" in second


def test_what_is_no_reply_and_what_is_public_passes_as_it_is() -> None:
    guard = RebindingGuard(lambda: 0.0)
    told: list[Outcome] = []
    query = query_of("fine")
    passed = [Outcome(None, None, (22, "nobody")), outcome_of(query, "192.0.2.1")]
    for outcome in passed:
        guard.pass_on(query, told.append, outcome)

    assert all(one is other for one, other in zip(passed, told, strict=True))
    assert 0 == guard.blocked


def test_guarded_and_unguarded_look_ups_share_nothing() -> None:
    """What an upstream said before the guard was turned on is not given out after it."""

    async def main() -> None:
        async with scripted(ScriptedServer()) as upstreams:
            lookups = Lookups(Forwarder())
            loop = asyncio.get_running_loop()
            try:
                for options in (ONCE, GUARDED, ONCE, GUARDED):
                    answered: asyncio.Future[Outcome] = loop.create_future()
                    lookups.resolve(query_of("ok"), upstreams, False, answered.set_result, options)
                    assert (await answered).reply is not None
                assert (2, 2) == (lookups.forwarder.lookups, len(lookups.cache))
            finally:
                lookups.close()

    asyncio.run(main())
