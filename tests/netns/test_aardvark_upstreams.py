"""Whom `pydns aardvark` asks for everything else, and what its options and its environment change."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.aardvark import DropIn, Folder, Oracle, await_reply, network_file, subreaper
from tests.netns.world import UPSTREAM, World

pytestmark = pytest.mark.root

MYNET, MYNET6, BACKEND, VAULT = "172.18.0.1", "fd00:18::1", "172.19.0.1", "172.20.0.1"


@pytest.fixture(scope="module", autouse=True)
def _reap() -> Iterator[None]:
    with subreaper():
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "aardvark-dns")
    made.write_world()
    return made


def test_the_containers_servers_come_first_then_its_networks_then_resolv_conf(world: World, folder: Folder) -> None:
    folder.write(
        mynet=network_file("mynet", servers="127.0.0.92", own={"db": "127.0.0.91"}),
        backend=network_file("backend", servers="127.0.0.93"),
    )
    with (
        Oracle(world, "127.0.0.91", "192.0.2.91"),
        Oracle(world, "127.0.0.92", "192.0.2.92") as of_mynet,
        Oracle(world, "127.0.0.93", "192.0.2.93"),
        DropIn(world, folder) as server,
    ):
        assert server.answers(world, "db", MYNET, "any.example.test").rdata == ["192.0.2.91"]
        assert server.answers(world, "web", MYNET, "any.example.test").rdata == ["192.0.2.92"]
        assert server.answers(world, "web", MYNET6, "+tcp", "tcp.example.test").rdata == ["192.0.2.92"]
        assert server.answers(world, "cache", BACKEND, "any.example.test").rdata == ["192.0.2.93"]
        assert server.answers(world, "host", MYNET, "www.example.test").rdata == ["192.0.2.80"]
        assert (of_mynet.names("udp"), of_mynet.names("tcp")) == (["any.example.test"], ["tcp.example.test"])


def test_who_is_on_two_networks_asks_the_servers_of_both(world: World, folder: Folder) -> None:
    """The first one is silent here, so the second one of the union is asked."""
    folder.write(
        mynet=network_file("mynet", servers="127.0.0.92"), backend=network_file("backend", servers="127.0.0.93")
    )
    with (
        Oracle(world, "127.0.0.92", "192.0.2.92"),
        Oracle(world, "127.0.0.93", None) as silent,
        DropIn(world, folder) as server,
    ):
        assert server.answers(world, "db", MYNET, "both.example.test").rdata == ["192.0.2.92"]
        assert {"both.example.test"} >= set(silent.names())


def test_servers_of_an_internal_network_are_ignored(world: World, folder: Folder) -> None:
    text = network_file("vault%int", servers="127.0.0.92", own={"secret": "127.0.0.92"})
    folder.write(vault_int=text)
    with Oracle(world, "127.0.0.92", "192.0.2.92") as oracle, DropIn(world, folder) as server:
        assert server.answers(world, "secret", VAULT, "any.example.test").status == "NXDOMAIN"
        assert oracle.heard == []


def test_three_servers_of_resolv_conf_are_asked(world: World, folder: Folder, tmp_path: Path) -> None:
    """And when none of them answers that is said, in place of silence."""
    conf = tmp_path / "resolv.conf"
    servers = [f"127.0.0.{number}" for number in (94, 95, 96, 97)]
    conf.write_text("options timeout:1 attempts:1\n" + "".join(f"nameserver {server}\n" for server in servers))
    with (
        Oracle(world, servers[0], None) as first,
        Oracle(world, servers[1], None) as second,
        Oracle(world, servers[2], None) as third,
        Oracle(world, servers[3], "192.0.2.97") as fourth,
        DropIn(world, folder, resolv_conf=conf) as server,
    ):
        reply = server.answers(world, "web", MYNET, "+time=6", "any.example.test")
        assert (reply.status, bool(reply.ede)) == ("SERVFAIL", True)
        assert all(oracle.names() for oracle in (first, second, third))
        assert fourth.heard == []


def test_resolv_conf_is_followed_as_often_as_it_is_replaced(world: World, folder: Folder, tmp_path: Path) -> None:
    """By a rename over it, which takes an inode's watch away with the first one; by a write in place, too."""
    conf = tmp_path / "etc" / "resolv.conf"
    conf.parent.mkdir()
    conf.write_text(f"nameserver {UPSTREAM}\n")
    with (
        Oracle(world, "127.0.0.98", "192.0.2.98"),
        Oracle(world, "127.0.0.99", "192.0.2.99"),
        DropIn(world, folder, more=["--resolv-conf", str(conf)]) as server,
    ):

        def served_by(address: str) -> None:
            await_reply(
                lambda: server.answers(world, "web", MYNET, "www.example.test"),
                lambda reply: reply.rdata == [address],
            )

        served_by("192.0.2.80")
        for address, answer in (("127.0.0.98", "192.0.2.98"), ("127.0.0.99", "192.0.2.99"), (UPSTREAM, "192.0.2.80")):
            fresh = conf.with_name("fresh")
            fresh.write_text(f"nameserver {address}\n")
            os.replace(fresh, conf)
            served_by(answer)
        conf.write_text("nameserver 127.0.0.98\n")
        served_by("192.0.2.98")


def test_a_server_may_be_link_local(world: World, folder: Folder, tmp_path: Path) -> None:
    """Its scope stays with it: without one the address means nothing."""
    listed = world.host_run("ip", "-o", "-6", "address", "show", "dev", "br-mynet", "scope", "link").stdout
    address = listed.split()[3].partition("/")[0]
    conf = tmp_path / "resolv.conf"
    conf.write_text(f"nameserver {address}%br-mynet\n")
    with DropIn(world, folder, resolv_conf=conf) as server:
        reply = server.answers(world, "web", MYNET, "www.example.test")
    # Nobody listens there. That it was asked, with its scope, is what the extended error says.
    assert (reply.status, f"[{address}%br-mynet]:53 refused" in reply.ede) == ("SERVFAIL", True)


def test_our_own_address_in_resolv_conf_is_not_asked(world: World, folder: Folder, tmp_path: Path) -> None:
    conf = tmp_path / "resolv.conf"
    conf.write_text(f"nameserver {MYNET}\nnameserver {UPSTREAM}\n")
    with DropIn(world, folder, resolv_conf=conf) as server:
        assert server.answers(world, "web", MYNET, "www.example.test").rdata == ["192.0.2.80"]


def test_nothing_is_forwarded_when_the_environment_says_so(world: World, folder: Folder) -> None:
    with DropIn(world, folder, env={"AARDVARK_NO_PROXY": ""}) as server:
        assert server.answers(world, "web", MYNET, "www.example.test").status == "NXDOMAIN"
        assert server.answers(world, "web", MYNET, "db").status == "NOERROR"


def test_the_search_domain_is_an_option(world: World, folder: Folder) -> None:
    with DropIn(world, folder, more=["--filter-search-domain", ".lab.test"]) as server:
        assert server.answers(world, "web", MYNET, "db.lab.test").rdata == ["172.18.0.2"]
        assert server.answers(world, "web", MYNET, "nothere.lab.test").status == "NXDOMAIN"
        server.answers(world, "web", MYNET, "forwarded.dns.podman")
        assert "forwarded.dns.podman" in world.upstream_names()


def test_a_container_that_was_left_behind_does_not_hide_the_one_that_lives(world: World, folder: Folder) -> None:
    """Both addresses answer for the name, as with aardvark-dns, and the new one is somebody."""
    folder.write(mynet=network_file("mynet") + "0a 172.18.0.81  twin\n" + "0b 172.18.0.3  twin\n")
    with DropIn(world, folder) as server:
        assert server.answers(world, "web", MYNET, "twin").rdata == ["172.18.0.3", "172.18.0.81"]
