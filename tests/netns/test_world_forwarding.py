"""Names of the world outside, through a real upstream server behind the host."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import dns.message
import dns.rcode
import pytest

from tests.netns.world import BIG_TXT, UPSTREAM, UPSTREAM_PROGRAMS, World

pytestmark = pytest.mark.root

_BIG = sorted(f'"{text}"' for text in BIG_TXT)


@pytest.fixture(scope="module", params=UPSTREAM_PROGRAMS)
def any_world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A world for each real upstream server, with a sidecar in web."""
    with World(upstream=request.param) as made:
        made.sidecar("web")
        yield made


def test_an_external_name_resolves(any_world: World) -> None:
    assert any_world.ask("web", "www.example.test").answer == ("www.example.test. 120 IN A 192.0.2.80",)
    assert any_world.ask("web", "www.example.test", "AAAA").rdata == ["2001:db8::80"]
    assert any_world.ask("web", "www.example.test", "TXT").rdata == ['"hello from the upstream"']


def test_an_external_name_resolves_by_tcp(any_world: World) -> None:
    reply = any_world.ask("web", "+tcp", "www.example.test")

    assert (reply.status, reply.rdata) == ("NOERROR", ["192.0.2.80"])


def test_nxdomain_of_the_upstream_is_relayed(any_world: World) -> None:
    reply = any_world.ask("web", "nothere.example.test")

    assert (reply.status, reply.answer) == ("NXDOMAIN", ())


def test_a_forwarded_reply_offers_recursion_and_is_not_ours(any_world: World) -> None:
    flags = any_world.ask("web", "www.example.test").flags

    assert {"qr", "rd", "ra"} <= set(flags)


def test_a_big_external_answer_is_cut_for_udp(any_world: World) -> None:
    """TC=1 in 512 octets, for the client to ask again by TCP."""
    cut = any_world.ask("web", "+notcp", "+bufsize=512", "+ignore", "big.example.test", "TXT")

    assert (cut.status, "tc" in cut.flags) == ("NOERROR", True)
    assert len(cut.answer) < len(_BIG)


@pytest.mark.parametrize("how", ["+notcp", "+tcp"])
def test_a_big_external_answer_is_whole_by_tcp(any_world: World, how: str) -> None:
    """Plain dig comes back by TCP by itself."""
    whole = any_world.ask("web", how, "big.example.test", "TXT")

    assert (whole.status, "tc" in whole.flags, whole.rdata) == ("NOERROR", False, _BIG)


def test_a_datagram_is_never_larger_than_the_client_takes(any_world: World) -> None:
    """512 octets without EDNS (RFC 1035 4.2.1)."""
    query = dns.message.make_query("big.example.test.", "TXT")
    with any_world.socket("web", socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect(("127.0.0.11", 53))
        client.send(query.to_wire())
        datagram = client.recv(65535)

    assert len(datagram) <= 512
    reply = dns.message.from_wire(datagram, ignore_trailing=False, raise_on_truncation=False)
    assert (reply.id, reply.rcode()) == (query.id, dns.rcode.NOERROR)


@pytest.mark.usefixtures("sidecars")
def test_glibc_resolves_an_external_name(world: World) -> None:
    lines = world.run("web", "getent", "ahosts", "www.example.test").stdout.splitlines()

    assert {line.split()[0] for line in lines} == {"192.0.2.80", "2001:db8::80"}


@pytest.mark.usefixtures("sidecars")
def test_an_alias_in_a_zone_of_ours_is_followed_upstream(world: World) -> None:
    reply = world.ask("web", "outside.home.test")

    assert reply.answer == (
        "outside.home.test. 300 IN CNAME www.example.test.",
        "www.example.test. 120 IN A 192.0.2.80",
    )


@pytest.mark.usefixtures("sidecars")
def test_the_internal_network_is_silent_outside(world: World) -> None:
    """SERVFAIL with 'Prohibited' (RFC 8914 4.19), at once, and the upstream never hears of it."""
    reply = world.ask("secret", "+tries=1", "+time=2", "only-secret-asks.example.test")

    assert (reply.status, reply.answer) == ("SERVFAIL", ())
    assert reply.ede.startswith("18 (Prohibited)")
    assert "only-secret-asks.example.test" not in world.upstream_names()


@pytest.mark.usefixtures("sidecars")
def test_the_internal_network_still_knows_its_neighbours(world: World) -> None:
    assert world.ask("secret", "ledger").rdata == ["172.20.0.3"]
    assert world.ask("secret", "-x", "172.20.0.2").rdata == ["secret.vault."]


@pytest.mark.usefixtures("sidecars")
def test_a_single_label_stays_here(world: World) -> None:
    reply = world.ask("web", "nosuchcontainer")

    assert (reply.status, len(reply.authority)) == ("NXDOMAIN", 1)
    assert "nosuchcontainer" not in world.upstream_names()


@pytest.mark.usefixtures("sidecars")
def test_servers_of_the_host_are_asked_from_the_hosts_network(world: World) -> None:
    world.dig("web", "from-the-host.example.test")

    sources = {query.source for query in world.upstream_queries() if query.name == "from-the-host.example.test"}
    assert sources == {UPSTREAM}  # the host itself: its own address is the nearest to it


def test_servers_given_to_a_container_are_asked_from_its_network() -> None:
    """The ones in its own resolv.conf; the host's would not even answer here."""
    with World() as world:
        world.resolv_conf_of("web").write_text(f"nameserver {UPSTREAM}\n")
        elsewhere = world.tmp / "elsewhere.conf"
        elsewhere.write_text("nameserver 10.99.0.99\n")
        world.sidecar("web", config=world.write_config("elsewhere", world.registry, elsewhere))
        reply = world.ask("web", "www.example.test")

        assert (reply.status, reply.rdata) == ("NOERROR", ["192.0.2.80"])
        assert {query.source for query in world.upstream_queries()} == {"172.18.0.3"}


def test_an_upstream_from_the_command_line_is_asked_instead() -> None:
    with World() as world:
        elsewhere = world.tmp / "elsewhere.conf"
        elsewhere.write_text("nameserver 10.99.0.99\n")
        config = world.write_config("elsewhere", world.registry, elsewhere)
        world.sidecar("web", config=config, upstream=[UPSTREAM])

        assert world.ask("web", "www.example.test").rdata == ["192.0.2.80"]


def test_a_dead_upstream_costs_less_than_the_patience_of_a_stub() -> None:
    """The next server answers; with none alive it is SERVFAIL with an extended error before 5 s are over."""
    with World() as world:
        dead = world.tmp / "dead.conf"
        dead.write_text(f"nameserver 10.99.0.98\nnameserver {UPSTREAM}\n")
        world.sidecar("web", config=world.write_config("dead", world.registry, dead))
        all_dead = world.tmp / "all-dead.conf"
        all_dead.write_text("nameserver 10.99.0.98\nnameserver 10.99.0.99\n")
        world.sidecar("cache", config=world.write_config("all-dead", world.registry, all_dead))
        second = world.ask("web", "+tries=1", "+time=5", "www.example.test")
        none = world.ask("cache", "+tries=1", "+time=5", "www.example.test")

        assert (second.status, second.rdata) == ("NOERROR", ["192.0.2.80"])
        assert none.status == "SERVFAIL"
        assert none.ede
        assert world.ask("cache", "db").rdata == ["172.19.0.2"]
