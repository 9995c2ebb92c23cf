"""EDNS is between neighbours: what pydns passes on, what it keeps to itself, and upstreams that cannot bear it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from tests.forwarding.client import by_udp, codes, status
from tests.forwarding.conftest import Serve
from tests.scenarios.live import Live, answers, is_clean, until
from tests.scenarios.upstream import ADDRESS, SILENCE, Asked, Say, Upstream

OptionType = dns.edns.OptionType
COOKIE, KEEPALIVE, PADDING = OptionType.COOKIE, OptionType.make(11), OptionType.PADDING
EDE, UNKNOWN = OptionType.EDE, OptionType.make(65001)
HOP = (
    dns.edns.GenericOption(COOKIE, b"01234567"),
    dns.edns.GenericOption(KEEPALIVE, b""),
    dns.edns.GenericOption(PADDING, b"\0" * 20),
)
HOP_BACK = (
    dns.edns.GenericOption(COOKIE, b"0123456789abcdef"),
    dns.edns.GenericOption(KEEPALIVE, b"\0\x64"),
    dns.edns.GenericOption(PADDING, b"\0" * 20),
)
MINE = dns.edns.GenericOption(UNKNOWN, b"from the client")
YOURS = dns.edns.GenericOption(UNKNOWN, b"from the upstream")
ERROR = dns.edns.EDEOption(dns.edns.EDECode.STALE_ANSWER, "it is old")
OUR_SIZE = 1232
NOISE_S = 1.5
"""What a loaded machine may add."""


def replying(change: Callable[[dns.message.Message], None], *records: str) -> Say:
    """An answer that was changed before it is sent."""

    def reply(query: dns.message.Message) -> list[bytes]:
        made = dns.message.make_response(query, recursion_available=True)
        made.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", "192.0.2.1"))
        change(made)
        return [made.to_wire()]

    return Say(raw=reply)


def rule(asked: Asked) -> Say:
    """The first label says what becomes of the EDNS of a query."""
    has_edns = asked.message.edns >= 0
    match re.split(r"[.-]", asked.name)[0]:
        case "options":
            return replying(lambda reply: reply.use_edns(0, 0, 4096, options=[*HOP_BACK, YOURS, ERROR]))
        case "badvers":
            return replying(lambda reply: reply.set_rcode(dns.rcode.BADVERS))
        case "formerr" if has_edns:
            return replying(_format_error)
        case "drops" if has_edns:
            return SILENCE
        case "forgets":
            return replying(lambda reply: reply.use_edns(False))
    return ADDRESS


def _format_error(reply: dns.message.Message) -> None:
    """As RFC 6891 7 has it of a server that has never heard of EDNS."""
    reply.use_edns(False)
    reply.answer.clear()
    reply.set_rcode(dns.rcode.FORMERR)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream(rule) as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def dropped(upstream: Upstream, serve: Serve) -> Iterator[Future[tuple[Live, dns.message.Message, float]]]:
    """A query with EDNS that nobody answers, asked while the other tests run: its pydns, its reply, and the time."""
    live = serve(upstreams=[str(upstream)])

    def ask_in_vain() -> tuple[Live, dns.message.Message, float]:
        began = time.monotonic()
        return live, by_udp(live.at, "drops-4.example.", use_edns=0), time.monotonic() - began

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(ask_in_vain)


@pytest.fixture(scope="module")
def live(upstream: Upstream, serve: Serve) -> Live:
    return serve(upstreams=[str(upstream)])


def sent(upstream: Upstream, name: str) -> dns.message.Message:
    """The last query for a name."""
    return [asked.message for asked in upstream.asked if asked.name == name.rstrip(".")][-1]


def option_codes(message: dns.message.Message) -> list[int]:
    """The codes of its options, in their order."""
    return [int(option.otype) for option in message.options]


def test_an_unknown_option_goes_both_ways_and_those_between_neighbours_do_not(live: Live, upstream: Upstream) -> None:
    name = "options-unknown.example."
    for number in range(2):
        reply = by_udp(live.at, name, use_edns=0, options=[*HOP, MINE])

        assert option_codes(sent(upstream, name)) == [UNKNOWN]
        assert sent(upstream, name).options[0].to_wire() == b"from the client"
        assert option_codes(reply) == [UNKNOWN, EDE], "in the order in which they came"
        assert reply.options[0].to_wire() == b"from the upstream"
        assert answers(reply) == ["192.0.2.1"]
        assert upstream.times_asked(name.rstrip(".")) >= number + 1, "nobody else's answer is given for it"


def test_options_between_neighbours_make_no_other_question(live: Live, upstream: Upstream) -> None:
    """A client's cookie is no reason to ask again; of the upstream's options the cache keeps its errors."""
    name = "options-cached.example."
    for options in ([], list(HOP), []):
        reply = by_udp(live.at, name, use_edns=0, options=options)
        assert (codes(reply), option_codes(reply)) == ([3], [EDE])
    assert option_codes(sent(upstream, name)) == []
    assert by_udp(live.at, name).edns == -1


@pytest.mark.parametrize("payload", [512, 1232, 4096])
def test_the_upstream_is_told_our_size(live: Live, upstream: Upstream, payload: int) -> None:
    name = f"size-{payload}.example."
    reply = by_udp(live.at, name, use_edns=0, payload=payload)

    assert sent(upstream, name).payload == OUR_SIZE
    assert reply.payload == OUR_SIZE


def test_badvers_of_the_upstream_is_told(live: Live) -> None:
    """It came with version 0, so it says as much as SERVFAIL; only who has EDNS can be told."""
    assert status(by_udp(live.at, "badvers.example.", use_edns=0)) == "BADVERS"
    assert status(by_udp(live.at, "badvers.example.")) == "SERVFAIL"


def test_an_upstream_that_leaves_edns_out_is_no_matter(live: Live) -> None:
    reply = by_udp(live.at, "forgets.example.", use_edns=0)

    assert (answers(reply), reply.edns, reply.payload) == (["192.0.2.1"], 0, OUR_SIZE)


@contextmanager
def with_opts_of_ours(serve: Serve, *upstreams: Upstream) -> Iterator[Live]:
    """A pydns whose resolv.conf says edns0, so that plain queries leave it with an OPT."""
    live = serve()
    live.resolv_conf.write_text("options edns0\n")
    live.tables["forward"]["upstreams"] = [str(upstream) for upstream in upstreams]
    live.write_config()
    live.hang_up()
    yield live


def adds_an_opt(live: Live, upstream: Upstream) -> bool:
    """Whether a plain query gets an OPT on its way."""
    name = f"adds-{time.monotonic_ns()}.example."
    return bool(answers(by_udp(live.at, name))) and sent(upstream, name).edns == 0


def test_an_upstream_that_knows_no_edns(serve: Serve, upstream: Upstream, live: Live) -> None:
    """What pydns has added it takes back (RFC 6891 6.2.2); what the client has said is for the client to take back."""
    assert status(by_udp(live.at, "formerr-1.example.", use_edns=0)) == "FORMERR"
    assert answers(by_udp(live.at, "formerr-1.example.")) == ["192.0.2.1"]
    with with_opts_of_ours(serve, upstream) as adding:
        until(lambda: adds_an_opt(adding, upstream))  # others ask that upstream meanwhile, with EDNS
        assert answers(by_udp(adding.at, "formerr-2.example.")) == ["192.0.2.1"]
    assert [asked.message.edns for asked in upstream.asked if asked.name == "formerr-2.example"][:2] == [0, -1]


def test_another_upstream_answers_for_one_that_knows_no_edns(serve: Serve, upstream: Upstream) -> None:
    with Upstream(ADDRESS) as good:
        live = serve(upstreams=[str(upstream), str(good)])
        for name in ("formerr-3.example.", "drops-3.example."):
            assert answers(by_udp(live.at, name, use_edns=0)) == ["192.0.2.1"]
        assert is_clean(live.stderr), live.stderr


def test_an_upstream_that_drops_edns_is_told_from_a_dead_one_by_plain_queries(
    dropped: Future[tuple[Live, dns.message.Message, float]],
) -> None:
    """With EDNS there is an answer in time that says what it is; without there is what was asked for, at once."""
    live, reply, took = dropped.result()
    assert took < 4.5 + NOISE_S
    assert (status(reply), codes(reply)) == ("SERVFAIL", [22])
    began = time.monotonic()
    assert answers(by_udp(live.at, "drops-4.example.")) == ["192.0.2.1"]
    assert time.monotonic() - began < NOISE_S
