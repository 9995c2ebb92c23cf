"""Datagrams of look-ups in their usual course, of both kinds, against servers on loopback."""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from resolver import compiled
from resolver.forward.datagrams import Datagrams, PlainDatagrams, new_datagrams, place_of
from resolver.forward.upstreams import Transport, Upstream
from tests.unit.forward.scripted import closed_port

WITHIN_S = 5


class Server:
    """A socket that answers what a test says."""

    def __init__(self, address: str) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind((address, 0))
        self.socket.settimeout(WITHIN_S)
        place = place_of(Upstream(address, self.socket.getsockname()[1]))
        assert place is not None
        self.place = place

    def heard(self) -> tuple[bytes, tuple[str, int]]:
        message, peer = self.socket.recvfrom(512)
        return message, peer


@pytest.fixture(params=["127.0.0.1", "::1"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    made = Server(request.param)
    yield made
    made.socket.close()


@pytest.fixture(params=["compiled", "python"])
def datagrams(request: pytest.FixtureRequest) -> Iterator[Datagrams]:
    made = new_datagrams() if request.param == "compiled" else PlainDatagrams()
    yield made
    made.close()


def taken(datagrams: Datagrams, count: int = 1) -> list[tuple[object, bytes | int]]:
    found: list[tuple[object, bytes | int]] = []
    while len(found) < count:
        assert select.select([datagrams], [], [], WITHIN_S)[0], "nothing has come"
        found += [(owner, message) for owner, message, _ in datagrams.take()]
    return found


def descriptors() -> set[int]:
    return {int(entry) for entry in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{entry}")}


def bound_ports() -> set[int]:
    """Every UDP port that is taken in this namespace."""
    lines = [line for name in ("udp", "udp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {int(line.split()[1].rpartition(":")[2], 16) for line in lines}


def test_it_was_compiled() -> None:
    """A test machine has a compiler, so what is tested here is both kinds."""
    assert compiled.ask is not None
    assert not isinstance(new_datagrams(), PlainDatagrams)


def test_each_reply_comes_to_who_asked(datagrams: Datagrams, server: Server) -> None:
    numbers = {owner: datagrams.ask(server.place, owner.encode(), owner) for owner in ("one", "two", "three")}
    assert 3 == len(datagrams)
    for _ in range(3):
        message, peer = server.heard()
        server.socket.sendto(message.upper(), peer)

    assert {("one", b"ONE"), ("two", b"TWO"), ("three", b"THREE")} == set(taken(datagrams, 3))
    for number in numbers.values():
        datagrams.end(number)
    assert 0 == len(datagrams)
    assert [] == datagrams.take()


def test_a_port_is_nobodys_as_soon_as_its_query_is_over(datagrams: Datagrams, server: Server) -> None:
    """Also where the socket is kept: what comes late, or is sent by somebody who has found the port, is not heard."""
    datagrams.ask(server.place, b"stays", "stays")
    server.heard()
    number = datagrams.ask(server.place, b"first", "first")
    _, peer = server.heard()
    server.socket.sendto(b"first reply", peer)
    server.socket.sendto(b"and one more", peer)
    assert [("first", b"first reply")] == taken(datagrams)
    assert peer[1] in bound_ports()

    datagrams.end(number)

    assert peer[1] not in bound_ports()
    datagrams.ask(server.place, b"second", "second")
    _, other = server.heard()
    server.socket.sendto(b"late", peer)
    server.socket.sendto(b"second reply", other)
    assert [("second", b"second reply")] == taken(datagrams)


def test_each_query_has_a_port_of_chance(datagrams: Datagrams, server: Server) -> None:
    """Whether its socket is a new one or was kept; the first ones are on their way so that some are."""
    datagrams.ask(server.place, b"stays", "stays")
    ports = [server.heard()[1][1]]
    for _ in range(60):
        number = datagrams.ask(server.place, b"query", "query")
        message, peer = server.heard()
        ports.append(peer[1])
        server.socket.sendto(message, peer)
        taken(datagrams)
        datagrams.end(number)

    assert len(set(ports)) > 55, "two of 60 in some 28,000 are the same now and then, not more"
    steps = [after - before for before, after in pairwise(ports)]
    assert len(set(steps)) > 50, "no two steps from one to the next are alike"


def test_few_descriptors_are_kept_and_not_that_of_the_last_query(server: Server) -> None:
    datagrams = new_datagrams()
    before = len(list(Path("/proc/self/fd").iterdir()))
    numbers = [datagrams.ask(server.place, b"query", "query") for _ in range(200)]
    for number in numbers[:-1]:
        datagrams.end(number)

    assert 1 + 64 == len(list(Path("/proc/self/fd").iterdir())) - before
    for number in [datagrams.ask(server.place, b"query", "query") for _ in range(64)]:
        datagrams.end(number)
    assert 1 + 64 == len(list(Path("/proc/self/fd").iterdir())) - before
    datagrams.end(numbers[-1])
    assert 64 >= len(list(Path("/proc/self/fd").iterdir())) - before
    datagrams.close()
    datagrams.close()
    assert len(list(Path("/proc/self/fd").iterdir())) < before


def test_a_kept_socket_to_which_something_comes_is_let_go_of(server: Server) -> None:
    """What another processor was at when the port was let go of: it would keep the loop awake."""
    datagrams = new_datagrams()
    known = descriptors()
    stays = datagrams.ask(server.place, b"stays", "stays")
    busy = descriptors() - known
    numbers = [datagrams.ask(server.place, b"query", "query") for _ in range(3)]
    ours = sorted(descriptors() - known - busy)
    for number in numbers:
        datagrams.end(number)
    with socket.socket(fileno=os.dup(ours[1])) as same:
        same.bind((server.socket.getsockname()[0], 0))
        server.socket.sendto(b"too late", same.getsockname())
    assert select.select([datagrams], [], [], WITHIN_S)[0]

    assert [] == datagrams.take()

    assert not select.select([datagrams], [], [], 0.05)[0]
    assert {ours[0], ours[2]} == descriptors() - known - busy
    again = [datagrams.ask(server.place, b"query", "query") for _ in range(3)]
    assert 3 == len(descriptors() - known - busy)
    for number in (stays, *again):
        datagrams.end(number)
    datagrams.close()


def test_an_icmp_error_is_heard_and_its_socket_is_not_kept(datagrams: Datagrams, server: Server) -> None:
    stays = datagrams.ask(server.place, b"stays", "stays")
    nobody = place_of(closed_port("127.0.0.1"))
    assert nobody is not None
    number = datagrams.ask(nobody, b"query", "query")

    assert [("query", errno.ECONNREFUSED)] == taken(datagrams)

    datagrams.end(number)
    assert not select.select([datagrams], [], [], 0.05)[0]
    datagrams.end(stays)


def test_a_socket_is_handed_over_with_what_waits_in_it(datagrams: Datagrams, server: Server) -> None:
    number = datagrams.ask(server.place, b"query", "query")
    message, peer = server.heard()

    with socket.socket(fileno=datagrams.hand_over(number)) as sock:
        assert 0 == len(datagrams)
        server.socket.sendto(b"to its new owner", peer)
        assert select.select([sock], [], [], WITHIN_S)[0]
        assert b"to its new owner" == sock.recv(512)
        assert not os.get_blocking(sock.fileno())
    assert [] == datagrams.take()
    assert b"query" == message


def test_what_cannot_be_sent_is_an_error_and_leaves_nothing(datagrams: Datagrams, server: Server) -> None:
    with pytest.raises(OSError, match="too long"):
        datagrams.ask(server.place, bytes(70_000), "nobody")

    assert 0 == len(datagrams)


@pytest.mark.parametrize(
    "upstream",
    [
        Upstream("10.0.0.53", transport=Transport.TCP),
        Upstream("10.0.0.53", transport=Transport.TLS),
        Upstream("", transport=Transport.SYSTEM),
        Upstream("10.0.0.53", in_namespace=True),
        Upstream("fe80::1%eth0"),
    ],
    ids=str,
)
def test_who_is_not_asked_by_a_mere_datagram_has_no_place(upstream: Upstream) -> None:
    assert place_of(upstream) is None
