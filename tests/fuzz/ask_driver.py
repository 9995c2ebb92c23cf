"""Run by test_ask.py in a process of its own: what is at PATH, built with sanitizers, meets EXCHANGES for SECONDS."""

from __future__ import annotations

import contextlib
import importlib.util
import random
import socket
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

AT_ONCE = 90


def load(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("resolver._ask", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def mutated(chance: random.Random, wire: bytes) -> bytes:
    octets = bytearray(wire)
    for _ in range(chance.randrange(5)):
        place = chance.randrange(len(octets) + 1)
        match chance.randrange(5):
            case 0 if place < len(octets):
                octets[place] = chance.choice((0, 1, 5, 41, 0x3F, 0x40, 0xC0, 0xFF))
            case 1:
                octets[place:place] = chance.randbytes(chance.randrange(1, 80))
            case 2:
                del octets[place:]
            case 3 if len(octets) >= 12:
                octets[chance.choice((5, 7, 9, 11))] = chance.choice((0, 1, 2, 255))
            case 4:
                octets += b"\xc0\x0c\0\5\0\1\0\0\0\7\0\2\xc0\x0c" * chance.randrange(20)
    return bytes(octets)


class Asker:
    """Queries under way, with servers that answer them at random, or not at all."""

    def __init__(self, module: ModuleType, chance: random.Random) -> None:
        self.sockets: Any = module.Sockets(chance.choice((0, 1, 64)))
        self.chance = chance
        self.owners: dict[object, int] = {}
        self.servers = [socket.socket(family, socket.SOCK_DGRAM) for family in (socket.AF_INET, socket.AF_INET6)]
        for server, address in zip(self.servers, ("127.0.0.1", "::1"), strict=True):
            server.bind((address, 0))
            server.setblocking(False)
        self.places = [
            socket.inet_pton(server.family, server.getsockname()[0]) + server.getsockname()[1].to_bytes(2, "big")
            for server in self.servers
        ]
        self.places.append(self.places[0][:4] + b"\0\1")  # nobody is there: an ICMP error comes back
        self.taken = self.broken = 0

    def turn(self, wire: bytes, reply: bytes) -> None:
        chance = self.chance
        while len(self.owners) < AT_ONCE and chance.randrange(30):
            owner = object()
            try:
                self.owners[owner] = self.sockets.ask(chance.choice(self.places), wire, owner)
            except OSError:
                self.broken += 1
        for server in self.servers:
            while chance.randrange(8):
                try:
                    _, peer = server.recvfrom(65535)
                except BlockingIOError:
                    break
                for _ in range(chance.choice((0, 1, 1, 3))):
                    server.sendto(mutated(chance, reply)[:60_000], peer)
        for owner, message, _ in self.sockets.take():
            self.taken += 1
            self.broken += isinstance(message, int)
            if owner in self.owners and chance.randrange(4):
                self.end(owner)
        for owner in list(self.owners):
            if not chance.randrange(20):
                self.end(owner)
        assert len(self.sockets) == len(self.owners)

    def end(self, owner: object) -> None:
        number = self.owners.pop(owner)
        if self.chance.randrange(5):
            self.sockets.end(number)
            for wrong in (number, -1, 1 << 20):
                try:
                    self.sockets.end(wrong)
                except ValueError:
                    continue
                raise AssertionError("nobody waits there")
        else:
            socket.socket(fileno=self.sockets.hand_over(number)).close()

    def close(self) -> None:
        self.sockets.close()
        self.sockets.close()
        for server in self.servers:
            server.close()


def main(path: str, exchanges: str, seconds: str, seed: str) -> None:
    module, chance = load(path), random.Random(int(seed))
    seeds = [tuple(bytes.fromhex(part) for part in line.split()) for line in Path(exchanges).read_text().splitlines()]
    head, label = seeds[0][0][:12], b"\x3f" + b"a" * 63
    seeds += [
        (longest := head + label * count + b"\0\0\1\0\1", longest[:2] + b"\x81\x80" + longest[4:])
        for count in (3, 4, 9)
    ]
    ends = time.monotonic() + float(seconds)
    taken = broken = plain = 0
    while time.monotonic() < ends:
        asker = Asker(module, chance)
        for _ in range(60):
            wire, reply = chance.choice(seeds)
            asker.turn(wire, reply)
            for _ in range(20):
                asked, said = chance.choice((wire, mutated(chance, wire))), mutated(chance, reply)
                module.scan(tuple, asked)
                facts = module.read(asked, said)
                if facts is not None:
                    plain += 1
                    module.fit(asked, facts[1], chance.randrange(3), said, facts[2])
                with contextlib.suppress(ValueError):
                    module.fit(asked, chance.randrange(-9, 99), chance.randrange(3), said, chance.randrange(-9, 999))
        asker.close()
        taken, broken = taken + asker.taken, broken + asker.broken
    assert taken
    assert broken
    assert plain
    sys.stdout.write(f"taken {taken}, broken {broken}, plain {plain}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
