"""What `pydns aardvark` answers, and whom: the file protocol in a world of real namespaces."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.netns.aardvark import DropIn, Folder, network_file, subreaper
from tests.netns.world import CONTAINERS, DigReply, World

pytestmark = pytest.mark.root

MYNET, MYNET6, BACKEND, VAULT = "172.18.0.1", "fd00:18::1", "172.19.0.1", "172.20.0.1"
SHARED = "aa 172.18.0.71  shared,one\n", "bb 172.19.0.72  shared,two\n"

Ask = Callable[..., DigReply]


@pytest.fixture(scope="module", autouse=True)
def _reap() -> Iterator[None]:
    with subreaper():
        yield


@pytest.fixture(scope="module")
def serving(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DropIn]:
    folder = Folder(tmp_path_factory.mktemp("names") / "aardvark-dns")
    folder.write_world()
    folder.write(mynet=network_file("mynet") + SHARED[0], backend=network_file("backend") + SHARED[1])
    with DropIn(world, folder) as server:
        assert server.parent.returncode == 0, server.parent.stderr
        yield server


@pytest.fixture
def ask(world: World, serving: DropIn) -> Ask:
    return lambda container, server, *question: serving.answers(world, container, server, *question)


@pytest.mark.parametrize("server", [MYNET, MYNET6])
@pytest.mark.parametrize("how", ["+notcp", "+tcp"])
def test_every_name_of_a_container_has_its_addresses_and_ttl_0(ask: Ask, server: str, how: str) -> None:
    for name in ("db", "database", CONTAINERS["db"].id[:12], "DB", "db.dns.podman", "Database.DNS.Podman"):
        assert ask("web", server, how, name).answer == (f"{name}. 0 IN A 172.18.0.2",)
        assert ask("web", server, how, name, "AAAA").answer == (f"{name}. 0 IN AAAA fd00:18::2",)


def test_who_is_on_two_networks_is_answered_from_both(ask: Ask) -> None:
    """At whichever address it asks, by whichever of its own."""
    assert ask("db", MYNET, "cache").rdata == ["172.19.0.3"]
    assert ask("db", BACKEND, "web").rdata == ["172.18.0.3"]
    assert ask("db", MYNET6, "shared").rdata == ["172.18.0.71", "172.19.0.72"]
    assert ask("web", MYNET, "shared").rdata == ["172.18.0.71"]


def test_other_networks_names_are_unknown(world: World, ask: Ask) -> None:
    assert ask("web", MYNET, "cache.dns.podman").status == "NXDOMAIN"
    assert ask("cache", BACKEND, "web.dns.podman").status == "NXDOMAIN"
    # Another network's listener does not make it one's own.
    assert ask("db", BACKEND, "secret.dns.podman").status == "NXDOMAIN"


def test_the_search_domain_is_never_forwarded(world: World, ask: Ask) -> None:
    for name in ("nothere.dns.podman", "dns.podman", "a.b.dns.podman"):
        reply = ask("web", MYNET, name)
        assert (reply.status, len(reply.authority)) == ("NOERROR" if name == "dns.podman" else "NXDOMAIN", 1)
    assert not {name for name in world.upstream_names() if name.endswith("dns.podman")}


def test_a_known_name_without_such_a_record_is_not_forwarded(world: World, ask: Ask) -> None:
    for name, rtype in (("cache", "AAAA"), ("cache", "MX"), ("cache.dns.podman", "TXT")):
        reply = ask("cache", BACKEND, name, rtype)
        assert (reply.status, reply.answer, len(reply.authority)) == ("NOERROR", (), 1)
    assert not {"cache", "cache.dns.podman"} & world.upstream_names()


def test_a_networks_name_is_no_part_of_dns(world: World, ask: Ask) -> None:
    """A network called `test` would otherwise take the whole top-level domain away."""
    ask("web", MYNET, "db.mynet")
    assert "db.mynet" in world.upstream_names()


def test_reverse_names_are_all_names(ask: Ask) -> None:
    expected = sorted(["db.", "database.", f"{CONTAINERS['db'].id[:12]}."])
    assert ask("web", MYNET, "-x", "172.18.0.2").rdata == expected
    assert ask("web", MYNET6, "-x", "fd00:18::2").rdata == expected
    assert ask("db", MYNET, "-x", "172.19.0.3").rdata == sorted(["cache.", f"{CONTAINERS['cache'].id[:12]}."])
    assert ask("secret", VAULT, "-x", "172.20.0.2").status == "NOERROR"
    assert ask("web", MYNET, "-x", "172.18.0.2", "-t", "TXT").answer == ()


def test_reverse_names_of_others_are_forwarded(world: World, ask: Ask) -> None:
    ask("web", MYNET, "-x", "172.19.0.3")
    ask("host", MYNET, "-x", "172.18.0.2")  # nobody's container: it is told names, and no more
    assert {"3.0.19.172.in-addr.arpa", "2.0.18.172.in-addr.arpa"} <= world.upstream_names()


def test_a_stranger_sees_the_network_of_the_address_it_asks(ask: Ask) -> None:
    """The host itself, from its bridge's own address."""
    assert ask("host", MYNET, "db").rdata == ["172.18.0.2"]
    assert ask("host", BACKEND, "db").rdata == ["172.19.0.2"]
    assert ask("host", VAULT, "secret").rdata == ["172.20.0.2"]
    assert ask("host", BACKEND, "web.dns.podman").status == "NXDOMAIN"
    assert ask("host", VAULT, "www.example.test").rdata == ["192.0.2.80"]


def test_who_is_only_on_internal_networks_gets_nothing_from_outside(world: World, ask: Ask) -> None:
    reply = ask("secret", VAULT, "secret-asks.example.test")
    assert (reply.status, reply.answer) == ("NXDOMAIN", ())
    assert reply.ede.startswith("18 (Prohibited)")
    assert "secret-asks.example.test" not in world.upstream_names()
    assert ask("secret", VAULT, "secret").rdata == ["172.20.0.2"]


def test_the_rest_is_forwarded_by_the_querys_own_transport(world: World, ask: Ask) -> None:
    assert ask("web", MYNET, "www.example.test").answer == ("www.example.test. 120 IN A 192.0.2.80",)
    assert ask("web", MYNET6, "+tcp", "www.example.test", "AAAA").rdata == ["2001:db8::80"]
    assert len(ask("web", MYNET, "+tcp", "big.example.test", "TXT").rdata) == 24
    ask("web", MYNET, "barename")
    assert "barename" in world.upstream_names()
