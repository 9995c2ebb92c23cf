"""How each server is told, while it runs, that a name has another address: as whoever runs it would.

A changer gives `CHURN` the address that stands for a number; `benchmarks.changes` counts the numbers up.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import dns.message
import dns.update

from benchmarks.errors import BenchError
from benchmarks.peers.files import TTL
from benchmarks.peers.names import (
    AARDVARK_NAME,
    BACKEND,
    BALANCER,
    CHURN,
    CONTROL_PORT,
    LIMIT,
    PYDNS,
    PYTHON,
    churn_file,
)
from benchmarks.servers import Server

NUMBERS = 1 << 16
Changer = Callable[[int], None]
"""Gives the name the address of a number."""

CANNOT = {
    LIMIT: "it holds no names",
    "nsd": "it has no way to change one name but to read the zone again",
    BALANCER: "its cache does not hear of its backend's changes",
    "coredns": "it looks at its files once a minute",
}


def address_of(number: int) -> str:
    """Where the name is at this number."""
    return f"172.20.{number >> 8 & 255}.{number & 255}"


def number_of(address: str) -> int:
    """The number of an address."""
    octets = address.split(".")
    return int(octets[2]) << 8 | int(octets[3])


def _replace(path: Path, text: str) -> None:
    draft = path.parents[1] / f"{path.name}.draft"  # a folder that is watched takes every file for one of its own
    draft.write_text(text)
    draft.rename(path)


def pydns(server: Server) -> Changer:
    """The folder that netavark writes; pydns watches it."""
    path = server.log.parent / "names" / CHURN
    return lambda number: _replace(path, churn_file(address_of(number)))


def aardvark(server: Server) -> Changer:
    """The one network's whole file, as netavark writes it, and SIGHUP."""
    path = server.log.parent / "names" / "mynet"
    others = path.read_text()

    def change(number: int) -> None:
        _replace(path, f"{others}{1 << 255:064x} {address_of(number)}  {CHURN}\n")
        os.kill(server.session, signal.SIGHUP)

    return change


def unbound(server: Server) -> Changer:
    """What unbound-control says: local_data_remove, then local_data (libunbound adds to what is there)."""
    port = int((server.log.parent / CONTROL_PORT).read_text())

    def say(command: str) -> None:
        with socket.create_connection((server.address, port), timeout=5) as control:
            control.sendall(f"UBCT1 {command}\n".encode())
            said = control.recv(1024)
        if said.strip() != b"ok":
            raise BenchError(f"unbound-control {command}: {said.decode(errors='replace').strip()}")

    def change(number: int) -> None:
        say(f"local_data_remove {CHURN}")
        say(f"local_data {CHURN}. {TTL} A {address_of(number)}")

    return change


def knotd(server: Server) -> Changer:
    """DNS UPDATE (RFC 2136); the next one does not wait for the reply."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.connect((server.address, server.port))

    def change(number: int) -> None:
        update = dns.update.UpdateMessage(".")
        update.replace(CHURN, TTL, "A", address_of(number))
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
            sock.send(update.to_wire())
            while sock.recv(512):
                pass

    return change


def dnsmasq(server: Server) -> Changer:
    """A file in --hostsdir, which it watches."""
    path = server.log.parent / "hosts.d" / CHURN
    return lambda number: _replace(path, f"{address_of(number)} {CHURN}\n")


CHANGERS: dict[str, Callable[[Server], Changer]] = {
    PYDNS: pydns,
    PYTHON: pydns,
    BACKEND: knotd,
    "unbound": unbound,
    "dnsmasq": dnsmasq,
    AARDVARK_NAME: aardvark,
}
