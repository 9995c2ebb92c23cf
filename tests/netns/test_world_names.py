"""What a container sees through 127.0.0.11, asked with the tools that people use: dig, kdig, glibc, musl."""

from __future__ import annotations

import ipaddress
import socket
import struct

import dns.message
import dns.rcode
import pytest

from tests.netns.world import CONTAINERS, POOL, Sidecar, World

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("sidecars")]


def test_dig_db_prints_the_transcript_of_every_article(world: World) -> None:
    """NOERROR, flags qr rd ra, `db. 600 IN A`, from 127.0.0.11#53."""
    reply = world.ask("web", "db")

    assert reply.status == "NOERROR"
    assert reply.flags == ("qr", "rd", "ra")
    assert reply.answer == ("db. 600 IN A 172.18.0.2",)
    assert (reply.authority, reply.additional) == ((), ())
    assert reply.server == "127.0.0.11#53"


@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
@pytest.mark.parametrize(
    ("asker", "name", "qtype", "record"),
    [
        ("web", "db", "A", "db. 600 IN A 172.18.0.2"),
        ("web", "db", "AAAA", "db. 600 IN AAAA fd00:18::2"),
        ("db", "web", "A", "web. 600 IN A 172.18.0.3"),
        ("db", "web", "AAAA", "web. 600 IN AAAA fd00:18::3"),
        ("web", "web", "A", "web. 600 IN A 172.18.0.3"),
        ("db", "cache", "A", "cache. 600 IN A 172.19.0.3"),
        ("cache", "db", "A", "db. 600 IN A 172.19.0.2"),
        ("secret", "ledger", "A", "ledger. 600 IN A 172.20.0.3"),
    ],
)
def test_neighbours_resolve(world: World, asker: str, name: str, qtype: str, record: str, transport: str) -> None:
    reply = world.ask(asker, transport, name, qtype)

    assert (reply.status, reply.answer) == ("NOERROR", (record,))


@pytest.mark.parametrize(
    "name", ["database", "db-1", CONTAINERS["db"].id[:12], "anything.db"], ids=["alias", "hostname", "id", "wildcard"]
)
@pytest.mark.parametrize("suffix", ["", ".mynet"])
def test_every_name_of_an_endpoint_resolves_bare_and_with_its_network(world: World, name: str, suffix: str) -> None:
    reply = world.ask("web", name + suffix)

    assert (reply.status, reply.answer) == ("NOERROR", (f"{name}{suffix}. 600 IN A 172.18.0.2",))


def test_the_name_of_a_network_chooses_among_several(world: World) -> None:
    assert world.ask("db", "db.mynet").rdata == ["172.18.0.2"]
    assert world.ask("db", "db.backend").rdata == ["172.19.0.2"]


def test_a_name_known_on_two_networks_comes_from_the_dual_stack_one(world: World) -> None:
    """Networks are ordered as Docker does it; only the first that knows the name answers."""
    assert world.ask("db", "database").rdata == ["172.18.0.2"]


@pytest.mark.parametrize("name", ["DB", "Db.MyNet", "DATABASE"])
def test_names_fold_case_and_the_answer_keeps_the_askers(world: World, name: str) -> None:
    assert world.ask("web", name).answer == (f"{name}. 600 IN A 172.18.0.2",)


@pytest.mark.parametrize(
    ("asker", "name"),
    [
        ("web", "cache"),
        ("web", "cache.backend"),
        ("web", "db.backend"),
        ("cache", "web"),
        ("cache", "web.mynet"),
        ("web", "secret"),
        ("secret", "db"),
        ("secret", "web"),
        ("cache", "pool"),
    ],
)
def test_a_network_that_is_not_shared_does_not_exist(world: World, asker: str, name: str) -> None:
    """And its names do not leak to the upstream."""
    reply = world.ask(asker, name)

    assert (reply.status, reply.answer) == ("NXDOMAIN", ())
    assert name not in world.upstream_names()


def test_an_address_of_a_network_that_is_not_shared_has_no_name(world: World) -> None:
    assert world.ask("web", "-x", "172.19.0.3").rdata == []


def test_a_link_alias_is_private_to_the_asker(world: World) -> None:
    """db calls cache `redis`; nobody else does."""
    assert world.ask("db", "redis").answer == ("redis. 600 IN A 172.19.0.3",)
    assert world.ask("cache", "redis").status == "NXDOMAIN"
    assert world.ask("web", "redis").status == "NXDOMAIN"


@pytest.mark.parametrize("qtype", ["TXT", "MX", "SRV", "HTTPS", "NS", "SOA", "TYPE65280"])
def test_another_type_of_a_known_name_is_nodata(world: World, qtype: str) -> None:
    """NOERROR, no answer, one SOA (RFC 2308 2.2), and never forwarded."""
    reply = world.ask("web", "db", qtype)

    assert (reply.status, reply.answer, len(reply.authority)) == ("NOERROR", (), 1)
    assert " IN SOA " in reply.authority[0]
    assert "db" not in world.upstream_names()


def test_ipv6_of_an_endpoint_without_it_is_nodata(world: World) -> None:
    reply = world.ask("cache", "db", "AAAA")

    assert (reply.status, reply.answer) == ("NOERROR", ())


@pytest.mark.parametrize(
    ("asker", "address", "name"),
    [
        ("web", "172.18.0.2", "db.mynet."),
        ("web", "fd00:18::2", "db.mynet."),
        ("web", "172.18.0.3", "web.mynet."),
        ("cache", "172.19.0.2", "db.backend."),
        ("secret", "172.20.0.3", "ledger.vault."),
    ],
)
def test_an_address_tells_its_name(world: World, asker: str, address: str, name: str) -> None:
    reply = world.ask(asker, "-x", address)

    assert (reply.status, reply.rdata) == ("NOERROR", [name])


@pytest.mark.parametrize("address", ["172.18.0.99", "fd00:18::99"])
def test_an_unused_address_of_the_subnet_is_nxdomain(world: World, address: str) -> None:
    reply = world.ask("web", "-x", address)

    assert (reply.status, len(reply.authority)) == ("NXDOMAIN", 1)
    assert ipaddress.ip_address(address).reverse_pointer not in world.upstream_names()


@pytest.mark.parametrize(
    ("service", "port"), [("_5432._tcp.db", 5432), ("_9187._tcp.db", 9187), ("_metrics._tcp.db", 9187)]
)
def test_srv_tells_the_port_and_the_addresses_of_its_target(world: World, service: str, port: int) -> None:
    """The service name exists, so db's wildcard alias `*.db` does not stand in for it (RFC 4592 2.2.1)."""
    reply = world.ask("web", service, "SRV")

    assert reply.status == "NOERROR"
    priority, weight, shown_port, target = reply.rdata[0].split()
    assert (priority, weight, shown_port, target.split(".")[0]) == ("0", "0", str(port), "db")
    assert f"{target} 600 IN A 172.18.0.2" in reply.additional
    assert f"{target} 600 IN AAAA fd00:18::2" in reply.additional


@pytest.mark.parametrize(
    ("asker", "name", "qtype", "address"),
    [
        ("web", "host.docker.internal", "A", "172.18.0.1"),
        ("web", "host.docker.internal", "AAAA", "fd00:18::1"),
        ("web", "gateway.docker.internal", "A", "172.18.0.1"),
        ("db", "host.docker.internal", "A", "172.18.0.1"),
        ("cache", "host.docker.internal", "A", "172.19.0.1"),
        ("secret", "host.docker.internal", "A", "172.20.0.1"),
    ],
)
def test_docker_internal_is_the_askers_own_gateway(
    world: World, asker: str, name: str, qtype: str, address: str
) -> None:
    reply = world.ask(asker, name, qtype)

    assert (reply.status, reply.rdata) == ("NOERROR", [address])
    assert reply.flags == ("qr", "aa", "rd", "ra")


def test_an_unknown_name_below_docker_internal_is_nxdomain_and_stays_here(world: World) -> None:
    reply = world.ask("web", "nothere.docker.internal")

    assert (reply.status, len(reply.authority)) == ("NXDOMAIN", 1)
    assert not any(name.endswith("docker.internal") for name in world.upstream_names())


def test_a_static_zone_answers_with_authority(world: World) -> None:
    reply = world.ask("web", "nas.home.test")

    assert (reply.status, reply.answer) == ("NOERROR", ("nas.home.test. 300 IN A 192.0.2.10",))
    assert reply.flags == ("qr", "aa", "rd", "ra")
    assert world.ask("web", "nothere.home.test").status == "NXDOMAIN"
    assert not any(name.endswith("home.test") for name in world.upstream_names())


def test_an_answer_too_big_for_the_client_is_cut_and_tcp_has_all(world: World) -> None:
    """60 addresses: TC=1 and what fits in 512 octets; dig asks again by TCP and gets them all."""
    cut = world.ask("web", "+notcp", "+noedns", "+ignore", "pool")
    whole = world.ask("web", "+noedns", "pool")

    assert (cut.status, "tc" in cut.flags) == ("NOERROR", True)
    assert 20 <= len(cut.answer) < 60
    assert set(cut.rdata) < set(POOL)
    assert ("tc" in whole.flags, whole.rdata) == (False, sorted(POOL))


def test_a_client_with_edns_gets_all_in_one_datagram(world: World) -> None:
    reply = world.ask("web", "+notcp", "+bufsize=1232", "+ignore", "pool")

    assert ("tc" in reply.flags, reply.rdata) == (False, sorted(POOL))


def test_the_order_of_addresses_changes_from_answer_to_answer(world: World) -> None:
    first = {world.ask("web", "pool").answer[0] for _ in range(8)}

    assert len(first) > 1


def test_getent_hosts_finds_a_neighbour(world: World) -> None:
    """Glibc's stub resolver, by the resolv.conf that the sidecar wrote."""
    assert world.run("web", "getent", "hosts", "db").stdout.split() == ["fd00:18::2", "db"]
    assert world.run("cache", "getent", "hosts", "db").stdout.split() == ["172.19.0.2", "db"]
    assert world.run("web", "getent", "hosts", "172.18.0.2").stdout.split() == ["172.18.0.2", "db.mynet"]


def test_getent_ahosts_finds_both_families(world: World) -> None:
    lines = world.run("web", "getent", "ahosts", "db").stdout.splitlines()

    assert {line.split()[0] for line in lines} == {"172.18.0.2", "fd00:18::2"}


def test_getent_gives_up_on_an_unknown_name_at_once(world: World) -> None:
    assert world.run("web", "getent", "hosts", "nothere", check=False, within_s=2).returncode == 2


def test_getent_finds_sixty_addresses(world: World) -> None:
    """Glibc asks again by TCP, or with EDNS, when the datagram was cut."""
    lines = world.run("web", "getent", "ahostsv4", "pool").stdout.splitlines()

    assert {line.split()[0] for line in lines} == set(POOL)


@pytest.mark.parametrize(
    ("name", "addresses"),
    [
        ("db", {"172.18.0.2", "fd00:18::2"}),
        ("database.mynet", {"172.18.0.2", "fd00:18::2"}),
        ("host.docker.internal", {"172.18.0.1", "fd00:18::1"}),
        ("www.example.test", {"192.0.2.80", "2001:db8::80"}),
    ],
)
def test_musl_resolves_too(world: World, musl_gai: str, name: str, addresses: set[str]) -> None:
    assert set(world.run("web", musl_gai, name).stdout.split()) == addresses


def test_musl_takes_one_family_and_gives_up_on_an_unknown_name(world: World, musl_gai: str) -> None:
    """An endpoint without IPv6 is NODATA there: musl must not take it for a failure of both families."""
    assert world.run("cache", musl_gai, "db").stdout.split() == ["172.19.0.2"]
    assert world.run("web", musl_gai, "db", "6").stdout.split() == ["fd00:18::2"]
    assert world.run("web", musl_gai, "nothere", check=False, within_s=2).returncode == 2


def test_kdig_asks_several_questions_over_one_connection(world: World) -> None:
    """A connection serves more than one query (RFC 7766 6.2.1)."""
    said = world.run(
        "web", "kdig", "+tcp", "+keepopen", "@127.0.0.11", "db", "A", "nothere", "A", "db.mynet", "AAAA"
    ).stdout

    statuses = [line.split("status: ")[1].split(";")[0] for line in said.splitlines() if "status: " in line]
    assert statuses == ["NOERROR", "NXDOMAIN", "NOERROR"]
    assert said.count(";; From 127.0.0.11@53(TCP)") == 3
    assert "WARNING" not in said
    assert "172.18.0.2" in said
    assert "fd00:18::2" in said


@pytest.mark.parametrize("cut", [None, 1, 3, 40], ids=["one-segment", "in-length", "in-header", "in-second"])
def test_queries_written_together_are_all_answered(world: World, cut: int | None) -> None:
    """Two framed queries in one segment, or cut anywhere, get two framed replies (RFC 7766 6.2.1.1, 8)."""
    queries = [dns.message.make_query(name, "A") for name in ("db.", "web.")]
    stream = b"".join(struct.pack(">H", len(wire)) + wire for wire in (query.to_wire() for query in queries))
    with world.socket("web", socket.SOCK_STREAM) as client:
        client.settimeout(5)
        client.connect(("127.0.0.11", 53))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in (stream[:cut], stream[cut:] if cut else b""):
            client.sendall(part)
        reader = client.makefile("rb")
        with reader:
            replies = [dns.message.from_wire(reader.read(*struct.unpack(">H", reader.read(2)))) for _ in queries]

    found = {reply.id: (reply.rcode(), reply.answer[0][0].to_text()) for reply in replies}
    assert found == {
        queries[0].id: (dns.rcode.NOERROR, "172.18.0.2"),
        queries[1].id: (dns.rcode.NOERROR, "172.18.0.3"),
    }


def test_the_reply_comes_from_the_address_that_was_asked(world: World) -> None:
    """A connected datagram socket sees it: it came from 127.0.0.11:53, not from the port behind."""
    query = dns.message.make_query("db.", "A")
    with world.socket("web", socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect(("127.0.0.11", 53))
        client.send(query.to_wire())
        reply = dns.message.from_wire(client.recv(4096))

    assert (reply.id, reply.rcode()) == (query.id, dns.rcode.NOERROR)


def test_each_container_has_its_own_view_at_once(world: World, sidecars: dict[str, Sidecar]) -> None:
    """Four sidecars run beside each other; `db` is another address, or nothing, by who asks."""
    seen = {name: tuple(world.ask(name, "db").rdata) for name in sidecars}

    assert seen == {"web": ("172.18.0.2",), "db": ("172.18.0.2",), "cache": ("172.19.0.2",), "secret": ()}
    assert all(sidecar.poll() is None for sidecar in sidecars.values())
