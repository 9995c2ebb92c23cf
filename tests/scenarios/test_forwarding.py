"""Names of the world, asked of upstreams that behave, and of upstreams that do not."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from tests.scenarios.conftest import Serve
from tests.scenarios.live import Live, Stream, answers, ask, has_flag, is_clean, over_udp, reason, udp_bytes, until
from tests.scenarios.upstream import ADDRESS, SILENCE, Asked, Say, Upstream

LOOK_UP_WITHIN_S = 4.5

ZONE = """$ORIGIN static.example.
$TTL 300
@ IN SOA ns hostmaster 1 3600 600 86400 60
@ IN NS ns
ns IN A 192.0.2.53
away IN CNAME there.example.org.
gone IN CNAME nothing.example.org.
large IN CNAME large.example.org.
db IN CNAME db.mynet.
"""
MANY = tuple(f"{{name}} 60 IN A 198.51.100.{number}" for number in range(1, 201))


def codes(reply: dns.message.Message) -> list[int]:
    """The codes of the extended errors."""
    return [int(option.code) for option in reply.extended_errors()]


@pytest.fixture
def good() -> Iterator[Upstream]:
    with Upstream(ADDRESS) as upstream:
        yield upstream


@pytest.mark.parametrize(
    "bad",
    [
        Say(rcode=dns.rcode.SERVFAIL),
        Say(rcode=dns.rcode.REFUSED),
        Say(rcode=dns.rcode.NOTIMP),
        SILENCE,
        Say(raw=lambda query: [query.to_wire()[:2] + b"\x81\x80garbage"]),
    ],
    ids=["SERVFAIL", "REFUSED", "NOTIMP", "silence", "garbage"],
)
def test_the_next_upstream_answers_for_one_that_fails(serve: Serve, good: Upstream, bad: Say) -> None:
    with Upstream(bad) as failing:
        live = serve(upstreams=[str(failing), str(good)])
        began = time.monotonic()
        assert answers(live.udp("one.example.")) == ["192.0.2.1"]
        assert time.monotonic() - began < (3 if bad is SILENCE else 1)
        assert failing.times_asked("one.example") >= 1
        with live.tcp() as stream:
            assert answers(stream.ask("two.example.")) == ["192.0.2.1"]


@pytest.mark.parametrize("kind", ["silent", "nobody", "refusing", "none"])
def test_when_every_upstream_is_dead_there_is_servfail_with_the_reason(serve: Serve, kind: str) -> None:
    """Within 4.5 s, before a stub resolver gives up, and registry names never notice."""
    with Upstream(SILENCE) as silent, Upstream(Say(rcode=dns.rcode.REFUSED)) as refusing:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
            closed.bind(("127.0.0.1", 0))
            nobody = f"127.0.0.1:{closed.getsockname()[1]}"
        upstreams = {"silent": [str(silent)] * 1, "nobody": [nobody], "refusing": [str(refusing)], "none": []}[kind]
        live = serve(upstreams=upstreams)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(LOOK_UP_WITHIN_S)
            sock.connect(live.at)
            began = time.monotonic()
            sock.send(ask("far.example.", use_edns=0).to_wire())
            assert answers(live.udp("db.")) == ["172.18.0.2"]
            reply = dns.message.from_wire(sock.recv(4096))
        assert time.monotonic() - began < LOOK_UP_WITHIN_S
        if kind == "refusing":
            assert reply.rcode() == dns.rcode.REFUSED
        else:
            assert reply.rcode() == dns.rcode.SERVFAIL
            assert codes(reply) == [23 if kind == "nobody" else 22]
            assert all(str(upstream) in reason(reply) for upstream in upstreams)


def test_an_answer_larger_than_the_client_takes_is_cut_and_whole_over_tcp(serve: Serve) -> None:
    with Upstream(Say(MANY)) as upstream:
        live = serve(upstreams=[str(upstream)])
        for query, limit in (
            (ask("many.example."), 512),
            (ask("many.example.", use_edns=0, payload=1232), 1232),
        ):
            octets = udp_bytes(live.at, query)
            reply = dns.message.from_wire(octets)
            assert len(octets) <= limit
            assert has_flag(reply, dns.flags.TC)
        with live.tcp() as stream:
            reply = stream.ask("many.example.")
        assert not has_flag(reply, dns.flags.TC)
        assert len(answers(reply)) == len(MANY)


def test_a_truncated_reply_of_the_upstream_is_asked_again_over_tcp(serve: Serve) -> None:
    """A client with room for it gets the whole answer over UDP and never learns."""
    with Upstream(Say(MANY[:50], truncated=True)) as upstream:
        live = serve(upstreams=[str(upstream)])
        reply = live.udp("many.example.", use_edns=0, payload=4096)
        assert len(answers(reply)) == 50
        assert not has_flag(reply, dns.flags.TC)
        assert list(dict.fromkeys(asked.over_tcp for asked in upstream.asked)) == [False, True]


def zone_rule(asked: Asked) -> Say:
    """What lies behind the aliases of the zone."""
    if asked.name.startswith("nothing"):
        return Say(rcode=dns.rcode.NXDOMAIN)
    return Say(MANY) if asked.name.startswith("large") else ADDRESS


def test_an_alias_in_a_zone_is_followed_upstream_and_joined(serve: Serve) -> None:
    with Upstream(zone_rule) as upstream:
        live = serve(upstreams=[str(upstream)], zones={"static.zone": ZONE})
        for _ in range(2):
            reply = live.udp("AWAY.static.example.")
            assert reply.question[0].name.to_text() == "AWAY.static.example."
            assert answers(reply) == ["there.example.org.", "192.0.2.1"]
            assert [rrset.name.to_text() for rrset in reply.answer] == ["AWAY.static.example.", "there.example.org."]
        assert upstream.distinct() == ["there.example.org"]
        assert live.count("pydns_cache_hits_total") == 1, "the second time from the cache"
        gone = live.udp("gone.static.example.")
        assert (gone.rcode(), answers(gone)) == (dns.rcode.NXDOMAIN, ["nothing.example.org."])
        assert answers(live.udp("db.static.example.")) == ["db.mynet.", "172.18.0.2"]
        large = live.udp("large.static.example.")
        assert has_flag(large, dns.flags.TC)
        with live.tcp() as stream:
            assert len(answers(stream.ask("large.static.example."))) == 1 + len(MANY)
        assert is_clean(live.stderr), live.stderr


def test_an_alias_that_leads_where_nobody_answers_is_shown_with_the_reason(serve: Serve) -> None:
    live = serve(zones={"static.zone": ZONE})
    reply = live.udp("away.static.example.", use_edns=0)
    assert (reply.rcode(), answers(reply), codes(reply)) == (dns.rcode.SERVFAIL, ["there.example.org."], [22])


@pytest.mark.parametrize("rcode", [dns.rcode.BADCOOKIE, dns.rcode.BADVERS, dns.rcode.YXDOMAIN])
def test_an_error_at_the_end_of_an_alias_stays_an_error(serve: Serve, rcode: dns.rcode.Rcode) -> None:
    """An extended rcode has bits in the OPT record; without them it would be NOERROR or another one."""

    def refuse(query: dns.message.Message) -> list[bytes]:
        reply = dns.message.make_response(query)
        reply.use_edns(0)
        reply.set_rcode(rcode)
        return [reply.to_wire()]

    with Upstream(Say(raw=refuse)) as upstream:
        live = serve(upstreams=[str(upstream)], zones={"static.zone": ZONE})
        for name in ("away.static.example.", "there.example.org."):
            assert live.udp(name, use_edns=0).rcode() == rcode
            assert live.udp(name).rcode() == (dns.rcode.SERVFAIL if rcode > 15 else rcode)


def test_a_truncated_reply_behind_an_alias_stays_truncated(serve: Serve) -> None:
    """The upstream's TCP port is closed, so TC=1 is all that there is: the client must be told that more exists."""
    with Upstream(Say(truncated=True)) as upstream:
        upstream.close_tcp()
        live = serve(upstreams=[str(upstream)], zones={"static.zone": ZONE})
        assert has_flag(live.udp("there.example.org."), dns.flags.TC)
        assert has_flag(live.udp("away.static.example."), dns.flags.TC)


def test_only_a_reply_to_our_question_is_believed(serve: Serve) -> None:
    """Replies with another id or another question are passed over; the right one behind them counts."""

    def forge(query: dns.message.Message) -> list[bytes]:
        def reply(name: str, address: str, id_shift: int) -> bytes:
            made = dns.message.make_response(query)
            made.id = (query.id + id_shift) & 0xFFFF
            made.question = ask(name).question
            made.answer.append(dns.rrset.from_text(name, 60, "IN", "A", address))
            return made.to_wire()

        asked = query.question[0].name.to_text()
        return [
            reply(asked, "203.0.113.1", 1),
            reply("other.example.", "203.0.113.2", 0),
            query.to_wire(),
            b"",
            reply(asked, "192.0.2.1", 0),
        ]

    with Upstream(Say(raw=forge)) as upstream:
        live = serve(upstreams=[str(upstream)])
        for number in range(5):
            assert answers(live.udp(f"name-{number}.example.")) == ["192.0.2.1"]


def test_ids_and_ports_of_upstream_queries_cannot_be_foretold(serve: Serve, good: Upstream) -> None:
    live = serve(upstreams=[str(good)])
    for number in range(60):
        live.udp(f"name-{number}.example.", id=number)
    assert len({asked.message.id for asked in good.asked}) > 50
    assert len({asked.source_port for asked in good.asked}) > 40
    assert not {asked.message.id for asked in good.asked} <= set(range(60))


def test_flags_travel_both_ways(serve: Serve) -> None:
    """RD and CD are the client's; AD comes back to those who can want it; AA of an upstream is not ours to drop."""
    with Upstream(Say(ADDRESS.records, flags=int(dns.flags.AD))) as upstream:
        live = serve(upstreams=[str(upstream)])
        for number, flags in enumerate((0, dns.flags.RD, dns.flags.CD, dns.flags.AD, dns.flags.RD | dns.flags.CD)):
            reply = live.udp(f"name-{number}.example.", flags=flags)
            sent = upstream.asked[-1].message.flags
            assert sent & (dns.flags.RD | dns.flags.CD) == flags & (dns.flags.RD | dns.flags.CD)
            assert reply.flags & (dns.flags.RD | dns.flags.CD) == flags & (dns.flags.RD | dns.flags.CD)
            assert has_flag(reply, dns.flags.RA)
            assert has_flag(reply, dns.flags.AD) == bool(flags & dns.flags.AD)
        assert has_flag(live.udp("signed.example.", use_edns=0, want_dnssec=True), dns.flags.AD)


def test_over_the_limit_of_look_ups_refused_says_why_and_names_are_answered(serve: Serve) -> None:
    with Upstream(lambda asked: ADDRESS if asked.name.startswith("now") else SILENCE) as upstream:
        live = serve(upstreams=[str(upstream)], settings={"forward": {"max_in_flight": 40}})
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(live.at)
            for number in range(20):
                sock.send(ask(f"name-{number}.example.").to_wire())
            until(lambda: live.count("pydns_forward_in_flight") == 20)
            reply = live.udp("one-too-many.example.", use_edns=0)
            assert reply.rcode() == dns.rcode.REFUSED
            assert "too many look-ups of this client" in reason(reply)
            assert answers(live.udp("now-another.example.", source="127.0.0.2")) == ["192.0.2.1"]
            assert live.count("pydns_forward_refused_total", bound="share") == 1
            assert answers(live.udp("db.")) == ["172.18.0.2"]
        until(lambda: live.count("pydns_forward_in_flight") == 0)
        assert answers(live.udp("now.example.")) == ["192.0.2.1"]


def test_a_flood_of_look_ups_leaves_registry_names_quick(serve: Serve) -> None:
    """3,000 queries to an upstream that says nothing; meanwhile every registry name is answered without delay."""
    with Upstream(SILENCE) as upstream:
        live = serve(upstreams=[str(upstream)])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
            flood.connect(live.at)
            flood.setblocking(False)
            delays = []
            for number in range(3000):
                flood.send(ask(f"name-{number}.example.").to_wire())
                if number % 30 == 0:
                    began = time.monotonic()
                    assert answers(live.udp("db.", "A" if number % 60 else "AAAA"))
                    delays.append(time.monotonic() - began)
            delays.sort()
            assert delays[len(delays) // 2] < 0.1
            assert delays[-1] < 1
            assert live.count("pydns_forward_in_flight") <= 1024
            assert live.count("pydns_dns_responses_total", rcode="REFUSED", stage="forward") >= 1500
        assert is_clean(live.stderr), live.stderr


def test_what_no_upstream_can_know_does_not_leave(serve: Serve, good: Upstream) -> None:
    live = serve(upstreams=[str(good)])
    for name, rtype, rcode in (
        ("single.", "A", dns.rcode.NXDOMAIN),
        ("absent.mynet.", "A", dns.rcode.NXDOMAIN),
        ("db.", "TXT", dns.rcode.NOERROR),
        ("nothing.docker.internal.", "A", dns.rcode.NXDOMAIN),
        ("9.9.18.172.in-addr.arpa.", "PTR", dns.rcode.NXDOMAIN),
    ):
        assert live.udp(name, rtype).rcode() == rcode
    assert good.asked == []
    live.udp("com.", "NS")
    live.udp("9.113.0.203.in-addr.arpa.", "PTR")
    assert good.distinct() == ["com", "9.113.0.203.in-addr.arpa"]


def test_single_labels_leave_when_the_configuration_says_so(serve: Serve, good: Upstream) -> None:
    live = serve(upstreams=[str(good)], settings={"answers": {"single_label": "forward"}})
    assert answers(live.udp("single.")) == ["192.0.2.1"]


def test_a_client_on_tcp_is_forwarded_over_tcp(serve: Serve, good: Upstream) -> None:
    live: Live = serve(upstreams=[str(good)])
    with Stream(live.at) as stream:
        assert answers(stream.ask("one.example.")) == ["192.0.2.1"]
    assert {asked.over_tcp for asked in good.asked} == {True}
    assert answers(over_udp(live.at, ask("two.example."))) == ["192.0.2.1"]
    assert list(dict.fromkeys((asked.name, asked.over_tcp) for asked in good.asked)) == [
        ("one.example", True),
        ("two.example", False),
    ]


def test_names_go_where_their_route_leads(serve: Serve, good: Upstream) -> None:
    with Upstream(Say(("{name} 60 IN A 198.51.100.7",))) as corp:
        live = serve(upstreams=[str(good)], settings={})
        live.config.write_text(
            live.config.read_text()
            + f'[[forward.routes]]\nsuffix = "corp.example"\nupstreams = ["{corp}"]\n'
            + '[[forward.routes]]\nsuffix = "onion"\nupstreams = ["never"]\n'
        )
        live.hang_up()
        until(lambda: live.udp("a.onion.").rcode() == dns.rcode.NXDOMAIN)
        asked_before = good.times_asked("a.onion")

        assert answers(live.udp("git.corp.example.")) == ["198.51.100.7"]
        assert answers(live.udp("www.example.")) == ["192.0.2.1"]
        assert corp.distinct() == ["git.corp.example"]
        assert live.udp("b.onion.").rcode() == dns.rcode.NXDOMAIN
        assert (asked_before, 0, 0) == tuple(map(good.times_asked, ("a.onion", "b.onion", "git.corp.example")))
        told = live.page("/explain?name=git.corp.example&type=A").text
        assert f'"upstreams": [\n    "{corp}"\n  ]' in told
        assert "the route for corp.example" in told
