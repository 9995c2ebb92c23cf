"""Where forwarding is measured: servers in one namespace, their upstream in another, and nothing beyond.

    home     127.0.0.1 the servers under test, and who asks them
      |      a veth pair
    world    10.99.0.9 knotd, which answers every name below bench.example
             10.99.0.1, 10.99.0.2 relays to it that hold each reply back; an nft rule may drop what goes to and fro

Other namespaces can be joined to the world. Everything is made under names of this process and goes with the lab.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from benchmarks import meter
from benchmarks.errors import BenchError
from benchmarks.netns import Namespace, run, sweep
from benchmarks.servers import Server, udp_to
from benchmarks.stub import DOMAIN

FAST = "10.99.0.9"
FAR = ("10.99.0.1", "10.99.0.2")
HOME = "home"
_FAR_SET = "{ " + ", ".join(FAR) + " }"
_READY_WITHIN_S = 10.0
_ROOT = Path(__file__).resolve().parents[1]

_KNOT = """\
server:
    rundir: "{folder}"
    listen: [ {fast}@53, 127.0.0.1@53 ]
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: "{folder}"
zone:
  - domain: {domain}
    storage: "{folder}"
    file: zone
    zonefile-sync: -1
    journal-content: none
"""
_ZONE = """\
{domain}. 3600 SOA ns.{domain}. hostmaster.{domain}. 1 3600 600 86400 60
{domain}. 3600 NS ns.{domain}.
ns.{domain}. 3600 A 192.0.2.53
*.{domain}. 3600 A 192.0.2.1
"""
_RULES = """\
table inet bench {{
    chain in {{
        type filter hook input priority 0;
        {silence}
        ip daddr {far} udp dport 53 {loss}
    }}
    chain out {{
        type filter hook output priority 0;
        ip saddr {far} udp sport 53 {loss}
    }}
}}
"""


class Lab:
    """Makes all of it on entering, removes it on leaving (root)."""

    def __init__(self, folder: Path, upstream_core: int | None, rtt_ms: float) -> None:
        self.folder = folder
        self.home = Namespace()
        self._world = Namespace()
        self._core = upstream_core
        self._rtt_ms = rtt_ms
        self._joined = 0
        self._has_rules = False
        self._undo = contextlib.ExitStack()
        self._knot: Server

    def __enter__(self) -> Self:
        sweep()
        try:
            self._undo.push(self._world)  # before it is made: a signal may come between
            self._world.__enter__()
            self._world.ip(*(f"address add {address}/32 dev lo" for address in (FAST, *FAR)))
            self._undo.push(self.home)
            self.home.__enter__()
            self.join(self.home.name)
            self._start_knot()
            self._start_relay()
        except BaseException:
            self._undo.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def join(self, name: str) -> None:
        """Connect a named namespace with the world."""
        self._joined += 1
        here, there = f"10.98.{self._joined}.2", f"10.98.{self._joined}.1"
        self._world.ip(f"link add to-{self._joined} type veth peer name world netns {name}")
        self._world.ip(f"address add {there}/24 dev to-{self._joined}", f"link set to-{self._joined} up")
        lines = f"address add {here}/24 dev world\nlink set world up\nroute add 10.99.0.0/24 via {there}\n"
        run("ip", "-n", name, "-batch", "-", given=lines)

    def asked(self) -> int:
        """How many datagrams have come to the world's servers so far; the relays are not to be in use."""
        return meter.received_datagrams(self._knot.pid)

    def trouble(self, loss: float = 0.0, *, first_is_silent: bool = False) -> None:
        """From now on drop this share of the queries to FAR and of the replies; all to the first of it, if it says so.

        A loss counts for each direction on its own: of 1 %, nearly 2 % of all queries stay without a reply.
        """
        share = f"numgen random mod 10000 < {round(loss * 10000)} drop"
        silence = f"ip daddr {FAR[0]} meta l4proto {{ tcp, udp }} th dport 53 drop" if first_is_silent else ""
        rules = _RULES.format(silence=silence, far=_FAR_SET, loss=share if loss else "accept")
        again = "delete table inet bench\n" if self._has_rules else ""
        run(*self._world.enter, "nft", "-f", "-", given=again + rules)
        self._has_rules = True

    def _start_knot(self) -> None:
        folder = self.folder / "knot"
        folder.mkdir()
        (folder / "zone").write_text(_ZONE.format(domain=DOMAIN))
        (folder / "knot.conf").write_text(_KNOT.format(folder=folder, fast=FAST, domain=DOMAIN))
        self._knot = Server(
            "knotd",
            ["knotd", "--config", str(folder / "knot.conf")],
            53,
            lambda: self.home.inside(udp_to(FAST, 53)),
            folder / "knot.log",
            self._core,
            self._world.enter,
            asks=f"ready.{DOMAIN}",
        )
        self._undo.callback(self._knot.stop)
        self._knot.start()

    def _start_relay(self) -> None:
        command = [*self._world.enter, "setpriv", "--pdeathsig", "KILL"]
        command += [sys.executable, "-m", "benchmarks.relay", f"{self._rtt_ms:g}", "127.0.0.1", *FAR]
        log = (self.folder / "relay").open("w+")
        self._undo.callback(log.close)
        process = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._undo.callback(process.wait)
        self._undo.callback(process.kill)
        began = time.monotonic()
        while "ready" not in (said := (self.folder / "relay").read_text()):
            if process.poll() is not None or time.monotonic() - began > _READY_WITHIN_S:
                raise BenchError(f"the relay did not start: {said[-1000:]}")
            time.sleep(0.01)
