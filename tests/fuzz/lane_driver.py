"""Run by test_lane.py in a process of its own: the lane at PATH, built with sanitizers, meets CORPUS for SECONDS."""

from __future__ import annotations

import contextlib
import importlib.util
import random
import select
import socket
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from types import ModuleType
from typing import Any

QUERY = bytes.fromhex("beef01000001000000000000")


def load(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("resolver._lane", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def mutated(chance: random.Random, seeds: list[bytes]) -> bytes:
    wire = bytearray(chance.choice(seeds))
    for _ in range(chance.randrange(6)):
        place = chance.randrange(len(wire) + 1)
        match chance.randrange(5):
            case 0 if place < len(wire):
                wire[place] = chance.choice((0, 1, 41, 0x3F, 0x40, 0xC0, 0xFF))
            case 1:
                wire[place:place] = chance.randbytes(chance.randrange(1, 80))
            case 2:
                del wire[place:]
            case 3 if len(wire) >= 12:
                wire[2], wire[3], wire[5], wire[11] = 1, chance.choice((0, 0x20)), 1, chance.choice((0, 1))
            case 4:
                wire += bytes.fromhex("00002904d0000080000000")
    return bytes(wire)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Say nothing of exceptions that nobody can be given."""
    told, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        yield
    finally:
        sys.unraisablehook = told


def put(chance: random.Random, table: Any, names: list[bytes]) -> None:
    bodies = tuple(chance.randbytes(chance.choice((0, 16, 400, 1300))) for _ in range(chance.choice((1, 1, 3))))
    room = min(map(len, bodies))
    ttls = tuple(chance.randrange(room) for _ in range(chance.randrange(4))) if room else ()
    now = time.monotonic_ns()
    with contextlib.suppress(ValueError):  # a TTL may be outside of another body
        table.put(
            chance.choice(names),
            chance.choice((1, 28, 65535)),
            chance.choice((0, 1, 3, 0x13)),
            chance.randbytes(2),
            chance.randbytes(6),
            bodies,
            ("label", chance.randrange(4)),
            ttls,
            now,
            chance.choice((0, now, now + 10**9)),
        )


class Endpoint:
    """As the registry has it, and sometimes not so."""

    __slots__ = ("addresses", "ttl")

    def __init__(self, chance: random.Random) -> None:
        self.addresses = tuple(address(chance) for _ in range(chance.choice((0, 1, 1, 1, 2, 9))))
        self.ttl = chance.choice((None, 0, 600, 2**31, -1, 2**70, "long"))


class Host:
    """As the registry has it, and sometimes not so."""

    def __init__(self, chance: random.Random) -> None:
        if chance.randrange(5):
            self.address = address(chance)


def address(chance: random.Random) -> Any:
    made: Any = chance.choice((IPv4Address(chance.getrandbits(32)), IPv6Address(chance.getrandbits(128)), None, 7))
    if chance.randrange(9) == 0 and hasattr(made, "_ip"):
        made._ip = chance.choice((-1, 2**32, 2**128, None, "x"))
    return made


def know(chance: random.Random, table: Any, names: list[bytes], dictionaries: list[dict[bytes, Any]]) -> None:
    suffixes = (None, None, b"\0", b"\2db\0", *names)
    steps = []
    for _ in range(chance.randrange(6)):
        kind = chance.choice((0, 1, 2)) if chance.randrange(20) else chance.choice((3, 5, 6, 9, -1))
        held = chance.choice((None, *dictionaries)) if kind == 0 else chance.choice(dictionaries)
        steps.append((chance.choice(suffixes), held, kind, chance.choice((0, 600, 2**40))))
    answers = ((1, IPv4Address, 4, "four"), (28, IPv6Address, 16, "six"), (65, None, 0, "none"))
    with contextlib.suppress(ValueError):
        table.put_known(
            answers[: chance.randrange(1, 4)],
            b"\x80\x80",
            chance.randbytes(8),
            chance.randbytes(chance.choice((0, 40, 64, 64, 65))),
            bool(chance.randrange(2)),
            tuple(steps),
        )


def turn(chance: random.Random, held: dict[bytes, Any], names: list[bytes]) -> None:
    """Another value for a name, or none any more."""
    name = chance.choice(names)
    if cut := chance.choice((0, 0, name[0] + 1)):
        name = name[:cut] + b"\0"
    made = chance.choice((Endpoint, Endpoint, Host))
    held[name] = chance.choice(((), None, *(tuple(made(chance) for _ in range(many)) for many in (1, 1, 1, 1, 2, 9))))
    if len(held) > 20:
        held.pop(next(iter(held)))


def main(path: str, corpus: str, seconds: str, seed: str) -> None:
    lane, chance = load(path), random.Random(int(seed))
    seeds = [bytes.fromhex(file.read_text().partition("\n")[2]) for file in sorted(Path(corpus).glob("*.hex"))]
    names = [b"\2db\0", b"\0", b"\x3f" + b"a" * 63 + b"\0", (b"\x3f" + b"b" * 63) * 3 + b"\x3d" + b"c" * 61 + b"\0"]
    names += [wire[12 : wire.index(0, 12) + 1] for wire in seeds if 0 in wire[12:]]
    seeds += [QUERY + name.upper() + b"\0\1\0\1" for name in names]
    lane.limit(1 << 17)
    tables = [lane.Table() for _ in range(3)]
    listeners = [socket.socket(family, socket.SOCK_DGRAM) for family in (socket.AF_INET, socket.AF_INET6)]
    listeners[1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listeners[0].setsockopt(socket.IPPROTO_IP, 8, 1)
    listeners[1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    for listener, address in zip(listeners, ("0.0.0.0", "::"), strict=True):
        listener.bind((address, 0))
    loops = [lane.Loop(listener.fileno(), (0.00001, 0.001)) for listener in listeners]
    epoll = select.epoll()
    waiter = lane.Waiter(epoll.fileno())
    for listener in listeners:
        epoll.register(listener.fileno(), select.EPOLLIN)
    clients = [socket.socket(listener.family, socket.SOCK_DGRAM) for listener in listeners]
    for client, listener, address in zip(clients, listeners, ("127.0.0.1", "::1"), strict=True):
        client.connect((address, listener.getsockname()[1]))
        client.setblocking(False)
    refreshed: list[object] = []
    answered = missed = observed = known = 0
    dictionaries: list[dict[bytes, Any]] = [{} for _ in range(4)]
    ends = time.monotonic() + float(seconds)
    while time.monotonic() < ends:
        table = chance.choice(tables)
        put(chance, table, names)
        turn(chance, chance.choice(dictionaries), names)
        if chance.randrange(8) == 0:
            know(chance, table, names, dictionaries)
        for _ in range(20):
            table.find(mutated(chance, seeds), chance.choice((0, 12, 40, 512, 65535)))
        which = chance.randrange(2)
        loops[which].assign(
            chance.choice((None, bytes([127, 0, 0, 1]), bytes(15) + b"\1")), table, chance.choice((None, *tables))
        )
        for _ in range(chance.choice((1, 3, 70))):
            clients[which].send(mutated(chance, seeds)[:60_000])
        before = loops[which].hits
        match chance.randrange(4):
            case 0:
                waiter.seat(loops[which], refreshed.append)  # wants an argument: an exception on its way
            case 1:
                waiter.seat(loops[which], refreshed.clear)
            case 2:
                waiter.unseat(listeners[chance.randrange(2)].fileno())
        with quiet():
            events = waiter.wait(0)
        assert {fd for fd, _ in events} <= {listener.fileno() for listener in listeners}
        while misses := loops[which].drain():  # a batch of them ends a drain
            missed += len(misses)
        answered += loops[which].hits - before
        counts, seconds_taken = loops[which].take_durations()
        observed += sum(counts)
        assert seconds_taken >= 0
        try:
            while True:
                clients[which].recv(65535)
        except BlockingIOError:
            pass
        match chance.randrange(40):
            case 0:
                table.drop(chance.choice(names))
            case 1:
                table.drop_expiring()
            case 2:
                known += sum(hits for label, hits in table.take_hits() if isinstance(label, str))
            case 3:
                loops[which].forget()
            case 4:
                tables[chance.randrange(3)] = lane.Table()
    assert answered
    assert missed
    assert answered == observed
    assert known
    sys.stdout.write(f"answered {answered}, passed on {missed}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
