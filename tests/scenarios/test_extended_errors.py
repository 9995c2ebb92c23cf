"""Every extended error (RFC 8914) of docs/troubleshooting.md, from a running server, as a client reads it."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator

import dns.edns
import dns.message
import dns.rcode
import dns.rrset
import pytest

from tests.scenarios.conftest import Serve
from tests.scenarios.live import Live, answers, ask, over_udp, until
from tests.scenarios.upstream import SILENCE, Asked, Rule, Say, Upstream

INTERNAL = """
[networks.blue]
subnets = ["127.2.0.0/16"]
internal = true
[networks.blue.endpoints.data]
addresses = ["127.2.0.5"]
dns = ["192.0.2.53"]
[networks.blue.endpoints.plain]
addresses = ["127.2.0.6"]
"""
CIRCLE = """$ORIGIN static.example.
$TTL 300
@ IN SOA ns hostmaster 1 3600 600 86400 60
@ IN NS ns
ns IN A 192.0.2.53
one IN CNAME two
two IN CNAME one
away IN CNAME told.example.
blocked IN CNAME x.onion.
"""
ROUTES = """
[[forward.routes]]
suffix = "onion"
upstreams = ["never"]
[[forward.routes]]
suffix = "ads.example"
upstreams = ["refuse"]
"""

Errors = list[tuple[int, str]]


def told(live: Live, name: str, rtype: str = "A", *, source: str = "", rclass: str = "IN") -> tuple[str, Errors]:
    """The rcode, and the codes and texts of the extended errors."""
    return read(over_udp(live.at, ask(name, rtype, use_edns=0, rdclass=rclass), source=source))


def read(reply: dns.message.Message) -> tuple[str, Errors]:
    return dns.rcode.to_text(reply.rcode()), [(int(error.code), error.text or "") for error in reply.extended_errors()]


@pytest.fixture
def world() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


def telling(code: int, text: str, rcode: dns.rcode.Rcode = dns.rcode.NOERROR) -> Say:
    """An upstream with an extended error of its own, and one more option that is nobody else's."""

    def raw(query: dns.message.Message) -> list[bytes]:
        reply = dns.message.make_response(query, recursion_available=True)
        reply.set_rcode(rcode)
        if rcode == dns.rcode.NOERROR:
            reply.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", "192.0.2.1"))
        cookie = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678abcdefgh")
        reply.use_edns(0, options=[cookie, dns.edns.EDEOption(dns.edns.EDECode.make(code), text)])
        return [reply.to_wire()]

    return Say(raw=raw)


def test_an_upstreams_own_is_kept_from_the_cache_too_and_behind_an_alias(serve: Serve) -> None:
    with Upstream(telling(4, "forged by law")) as upstream:
        live = serve(upstreams=[str(upstream)], zones={"static.zone": CIRCLE})
        for _ in range(2):
            reply = live.udp("told.example.", use_edns=0)
            assert read(reply) == ("NOERROR", [(4, "forged by law")])
            assert [option.otype for option in reply.options] == [dns.edns.OptionType.EDE]
        assert upstream.times_asked("told.example") == 1
        assert told(live, "away.static.example.") == ("NOERROR", [(4, "forged by law")])
        assert live.udp("told.example.").edns == -1, "who does not speak EDNS is not spoken to in it"


def test_an_upstreams_error_comes_with_its_reason_and_then_from_the_cache(serve: Serve) -> None:
    """13, Cached Error, beside what the upstream has said."""
    with Upstream(telling(6, "bogus", dns.rcode.SERVFAIL)) as upstream:
        live = serve(upstreams=[str(upstream)], settings={"cache": {"servfail_ttl": 5}})
        assert told(live, "bogus.example.") == ("SERVFAIL", [(6, "bogus")])
        asked = upstream.times_asked("bogus.example")
        assert told(live, "bogus.example.") == ("SERVFAIL", [(6, "bogus"), (13, "")])
        assert upstream.times_asked("bogus.example") == asked


def test_nobody_can_be_reached(serve: Serve) -> None:
    """22 for silence and for nobody, 23 where the network says no."""
    with Upstream(SILENCE) as silent, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        closed.close()
        for upstreams, code, text in (
            ([], 22, "no upstream is configured"),
            ([str(silent)], 22, f"{silent} timed out"),
            ([f"127.0.0.1:{port}"], 23, f"127.0.0.1:{port} refused"),
        ):
            live = serve(upstreams=upstreams)
            assert told(live, "far.example.") == ("SERVFAIL", [(code, text)])
            live.kill()


def fading(is_well: list[bool]) -> Rule:
    """Good for a second, and then out of order."""

    def raw(query: dns.message.Message) -> list[bytes]:
        reply = dns.message.make_response(query, recursion_available=True)
        reply.set_rcode(dns.rcode.NXDOMAIN)
        soa = "ns.example. h.example. 1 2 3 4 1"
        reply.authority.append(dns.rrset.from_text("example.", 1, "IN", "SOA", soa))
        return [reply.to_wire()]

    def rule(asked: Asked) -> Say:
        if not is_well:
            return Say(rcode=dns.rcode.SERVFAIL)
        return Say(raw=raw) if asked.name.startswith("no") else Say(("{name} 1 IN A 192.0.2.1",))

    return rule


def test_stale_answers_say_so(serve: Serve) -> None:
    """3 for an address, 19 for a name that did not exist."""
    is_well = [True]
    with Upstream(fading(is_well)) as upstream:
        live = serve(upstreams=[str(upstream)])
        assert told(live, "yes.example.") == ("NOERROR", [])
        assert told(live, "no.example.") == ("NXDOMAIN", [])
        is_well.clear()
        until(lambda: told(live, "yes.example.") == ("NOERROR", [(3, "")]))
        until(lambda: told(live, "no.example.") == ("NXDOMAIN", [(19, "")]))


def test_what_a_route_bans(serve: Serve, world: Upstream) -> None:
    live = serve(upstreams=[str(world)], zones={"static.zone": CIRCLE})
    live.config.write_text(live.config.read_text() + ROUTES)
    live.hang_up()
    assert told(live, "a.onion.") == ("NXDOMAIN", [(15, "onion is blocked here")])
    assert told(live, "blocked.static.example.") == ("NXDOMAIN", [(15, "onion is blocked here")])
    assert told(live, "x.ads.example.") == ("REFUSED", [(18, "names below ads.example are refused here")])
    assert [name for name in world.names() if not name.endswith(".test")] == [], "but for probes for loops"


def test_who_is_on_internal_networks_only(serve: Serve, world: Upstream) -> None:
    live = serve(upstreams=[str(world)], registry=INTERNAL, listen=("0.0.0.0:0",))
    text = "this client is only on internal networks"
    assert told(live, "x.example.", source="127.2.0.6") == ("SERVFAIL", [(18, text)])
    elsewhere = ("SERVFAIL", [(18, f"{text}, and its servers are not on them")])
    assert told(live, "x.example.", source="127.2.0.5") == elsewhere
    assert [name for name in world.names() if not name.endswith(".test")] == [], "but for probes for loops"


def test_what_is_not_offered(serve: Serve, world: Upstream) -> None:
    live = serve(upstreams=[str(world)])
    assert told(live, "version.bind.", "TXT", rclass="CH") == ("REFUSED", [(21, "only class IN is served")])
    with live.tcp() as stream:
        stream.send(ask("example.", "AXFR", use_edns=0))
        assert read(stream.receive()) == ("REFUSED", [(21, "zone transfer is not offered")])


def test_aliases_without_an_end(serve: Serve, world: Upstream) -> None:
    live = serve(upstreams=[str(world)], zones={"static.zone": CIRCLE})
    rcode, ((code, text),) = told(live, "one.static.example.")
    assert (rcode, code) == ("SERVFAIL", 0)
    assert "aliases lead in a circle" in text


def test_too_many_look_ups(serve: Serve) -> None:
    with Upstream(SILENCE) as upstream, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        live = serve(upstreams=[str(upstream)], settings={"forward": {"max_in_flight": 5}})
        sock.connect(live.at)
        for number in range(6):
            sock.send(ask(f"name-{number}.example.").to_wire())
        until(lambda: live.count("pydns_dns_responses_total", rcode="REFUSED") >= 1)
        rcode, ((code, text),) = told(live, "one-more.example.")
        assert (rcode, code) == ("REFUSED", 0)
        assert "too many" in text


def test_who_waits_while_it_stops_is_told(serve: Serve) -> None:
    with Upstream(SILENCE) as upstream, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        live = serve(upstreams=[str(upstream)])
        sock.settimeout(10)
        sock.connect(live.at)
        sock.send(ask("late.example.", use_edns=0).to_wire())
        until(lambda: live.count("pydns_forward_in_flight") == 1)
        live.send(signal.SIGTERM)
        assert read(dns.message.from_wire(sock.recv(4096))) == ("SERVFAIL", [(14, "the resolver is stopping")])


def test_a_plain_nxdomain_has_none(serve: Serve, world: Upstream) -> None:
    """A name that is not there is no error: single labels, a network's names, docker.internal."""
    live = serve(upstreams=[str(world)])
    for name in ("absent.", "absent.mynet.", "absent.docker.internal.", "99.0.18.172.in-addr.arpa."):
        assert told(live, name, "PTR" if "arpa" in name else "A") == ("NXDOMAIN", [])
    assert (told(live, "db.", "MX"), told(live, "www.example.")) == (("NOERROR", []), ("NOERROR", []))
    assert answers(live.udp("www.example.")) == ["192.0.2.1"]


def test_a_private_address_is_blocked(serve: Serve) -> None:
    with Upstream(Say(("{name} 60 IN A 10.0.0.1",))) as upstream:
        live = serve(upstreams=[str(upstream)], settings={"forward": {"rebinding_guard": True}})
        assert told(live, "evil.example.") == ("NOERROR", [(15, "10.0.0.1 is a private address (rebinding guard)")])
