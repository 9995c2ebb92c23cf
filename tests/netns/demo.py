"""The guided tour: a Docker-like world without Docker, one sidecar in each container, dig asks the questions.

Run by `make demo`, as root: `python -m tests.netns.demo`. Everything is made in namespaces of its own, and taken
away at the end, also after Ctrl-C. Exit 0: every answer was as told; 1: one was not, or the tour could not start.
"""

from __future__ import annotations

import re
import shlex
import signal
import sys
import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType

from tests.netns.world import CONTAINERS, NETWORKS, UPSTREAM, Sidecar, World, WorldError

_WIDTH = 100
_ANSWER = ("+noall", "+answer")
_ANSWER_AND_STATUS = ("+noall", "+comments", "+answer", "+authority")
_REPAIRED_WITHIN_S = 2.0
_LOOP_PROBE = re.compile(r"[0-9a-f]{16}\..*")


@dataclass(frozen=True, slots=True)
class Stop:
    """One stop of the tour: what is said, what is typed and where, and words that the output must show."""

    says: str
    container: str
    argv: tuple[str, ...]
    shows: tuple[str, ...]


def _dig(*args: str) -> tuple[str, ...]:
    return ("dig", *args)


_TOUR = (
    Stop(
        "What Docker wrote into a container's resolv.conf, pydns writes: one nameserver, 127.0.0.11.",
        "web",
        ("cat", "/etc/resolv.conf"),
        ("nameserver 127.0.0.11",),
    ),
    Stop(
        "The transcript that every article on Docker's resolver shows: web asks for its neighbour db.",
        "web",
        _dig("db"),
        ("status: NOERROR", "flags: qr rd ra;", "600\tIN\tA\t172.18.0.2", "SERVER: 127.0.0.11#53"),
    ),
    Stop(
        "These rules bring it about: port 53 of 127.0.0.11 leads to a port of ours, and the replies back.",
        "web",
        ("nft", "list", "ruleset"),
        ("dnat to 127.0.0.11:", "table ip pydns"),
    ),
    Stop("And back: db finds web, over IPv6.", "db", _dig(*_ANSWER, "web", "AAAA"), ("fd00:18::3",)),
    Stop(
        "The alias, the short id and the name with its network mean the same container.",
        "web",
        _dig(*_ANSWER, "database", CONTAINERS["db"].id[:12], "db.mynet"),
        ("database.", f"{CONTAINERS['db'].id[:12]}.", "db.mynet.", "172.18.0.2"),
    ),
    Stop(
        "cache and db share another network, so cache sees db at another address.",
        "cache",
        _dig(*_ANSWER, "db"),
        ("172.19.0.2",),
    ),
    Stop(
        "web and cache share no network: for web there is no cache, and the upstream never hears of it.",
        "web",
        _dig(*_ANSWER_AND_STATUS, "cache"),
        ("status: NXDOMAIN", "SOA"),
    ),
    Stop(
        "The host is where the container can reach it: at the gateway of its own network.",
        "web",
        _dig(*_ANSWER, "host.docker.internal"),
        ("172.18.0.1",),
    ),
    Stop("An address tells its name.", "web", _dig(*_ANSWER, "-x", "172.18.0.2"), ("db.mynet.",)),
    Stop(
        "A port tells its service: SRV, with the addresses of the target beside it.",
        "web",
        _dig("+noall", "+answer", "+additional", "_metrics._tcp.db", "SRV"),
        ("0 0 9187 db", "172.18.0.2"),
    ),
    Stop(
        "The world outside: the host's upstream, a real dnsmasq, is asked for everything else.",
        "web",
        _dig(*_ANSWER, "www.example.test", "A", "www.example.test", "AAAA"),
        ("192.0.2.80", "2001:db8::80"),
    ),
    Stop(
        "An answer of 5 KB does not fit a datagram: dig is told so and comes back by TCP.",
        "web",
        _dig("+noall", "+comments", "+stats", "big.example.test", "TXT"),
        ("retrying in TCP mode", "ANSWER: 24", "(TCP)"),
    ),
    Stop(
        "secret is on an internal network: it knows its neighbours there ...",
        "secret",
        _dig(*_ANSWER, "ledger", "host.docker.internal"),
        ("172.20.0.3", "172.20.0.1"),
    ),
    Stop(
        "... and nothing outside: SERVFAIL, and the extended error says why.",
        "secret",
        _dig("+noall", "+comments", "only-secret-asks.example.test"),
        ("status: SERVFAIL", "EDE: 18 (Prohibited)"),
    ),
    Stop(
        "It is not dig alone: glibc's getaddrinfo reads the same resolv.conf.",
        "web",
        ("getent", "ahosts", "db"),
        ("172.18.0.2", "fd00:18::2"),
    ),
)


class Guide:
    """Prints the tour and remembers what was not as told."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.faults: list[str] = []

    def say(self, text: str) -> None:
        print("\n" + textwrap.fill(text, _WIDTH, initial_indent="# ", subsequent_indent="# "), flush=True)

    def run(self, container: str, argv: Sequence[str]) -> str:
        """Run a command in a container, print it as one would see it there, and return what it printed."""
        done = self.world.run(container, *argv, check=False)
        lines = (done.stdout + done.stderr).replace(self.world.prefix + "-", "").strip("\n").splitlines()
        shown = "\n".join(line for line in lines if line or len(argv) < 4)
        print(f"{container}$ {shlex.join(argv)}\n{textwrap.indent(shown, '    ')}", flush=True)
        return done.stdout

    def check(self, holds: bool, promise: str) -> None:
        """Note and print a promise that was not kept."""
        if not holds:
            self.faults.append(promise)
            print(f"!! not as told: {promise}", flush=True)

    def visit(self, stop: Stop) -> None:
        """Say, type, print, and check one stop of the tour."""
        self.say(stop.says)
        shown = " ".join(self.run(stop.container, stop.argv).split())
        for words in stop.shows:
            self.check(" ".join(words.split()) in shown, f"{shlex.join(stop.argv)} in {stop.container}: {words}")

    def flush_and_repair(self) -> None:
        """Throw the rules away and wait for pydns to put them back."""
        self.say("Now someone flushes every rule in web. pydns notices, and puts its own back.")
        self.run("web", ("nft", "flush", "ruleset"))
        try:
            took = self.world.wait(lambda: self.world.resolves("web"), "the flushed rules repaired")
        except WorldError:
            self.check(False, "flushed rules are repaired")
            return
        print(f"# web resolves again after {took:.2f} s:", flush=True)
        self.run("web", _dig(*_ANSWER, "db"))
        self.check(took <= _REPAIRED_WITHIN_S, f"repaired within {_REPAIRED_WITHIN_S:g} s")

    def show_what_leaked(self) -> None:
        """Read in the upstream's own log what it heard."""
        self.say(
            "And this is all that the upstream heard of it; no name of a container, none from secret. By the random"
            " names pydns finds out that no upstream leads back to it."
        )
        heard = self.world.upstream_queries()
        for query in dict.fromkeys(heard):
            print(f"    {query.name} {query.qtype}, from {query.source}", flush=True)
        leaked = {query.name for query in heard if not _LOOP_PROBE.fullmatch(query.name)}
        leaked -= {"www.example.test", "big.example.test"}
        self.check(not leaked, f"nothing leaks to the upstream, but it heard of {', '.join(sorted(leaked))}")

    def take_down(self, sidecars: dict[str, Sidecar]) -> None:
        """Stop the sidecars as a supervisor would, and look at what they leave."""
        self.say("The end: SIGTERM to each sidecar. It takes its rules away and gives resolv.conf back.")
        for name, sidecar in sidecars.items():
            began = time.monotonic()
            code = sidecar.stop()
            took = time.monotonic() - began
            rules = self.world.run(name, "nft", "list", "ruleset").stdout
            clean = "127.0.0.11" not in rules and not self.world.resolv_conf_of(name).exists()
            left = "nothing left of it" if clean else "it left something"
            print(f"    {name}: exit {code} after {took:.2f} s, {left}", flush=True)
            self.check(code == 0 and clean, f"the sidecar of {name} ends with 0 and leaves nothing")


def _introduce(world: World, seconds: float) -> None:
    print(f"# A Docker-like world, made of network namespaces in {seconds:.1f} s:")
    for network in NETWORKS.values():
        kind = "internal, no way out" if network.internal else f"gateway {', '.join(network.gateways)}"
        print(f"    {network.name:8} {', '.join(network.subnets):30} {kind}")
    for container in CONTAINERS.values():
        places = ", ".join(f"{network} {addresses[0]}" for network, addresses in container.addresses.items())
        print(f"    {container.name:8} {places}")
    print(f"    upstream {world.upstream_program} at {UPSTREAM}, behind the host", flush=True)


def _start_sidecars(world: World) -> dict[str, Sidecar]:
    sidecars = {name: world.launch(name) for name in CONTAINERS}
    for name, sidecar in sidecars.items():
        sidecar.wait_ready()
        networks = "".join(f" --network {network}" for network in CONTAINERS[name].addresses)
        print(f"host$ pydns sidecar --netns {name}{networks} --endpoint {name} -c pydns.toml", flush=True)
        ready = next(line for line in sidecar.stderr_text().splitlines() if "ready" in line)
        print("    " + ready.replace(world.prefix + "-", ""), flush=True)
    return sidecars


def tour(world: World, build_seconds: float) -> list[str]:
    """Walk through a built world; return the promises that were not kept."""
    guide = Guide(world)
    _introduce(world, build_seconds)
    guide.say("One sidecar for each container. They run on the host; only their sockets are inside.")
    sidecars = _start_sidecars(world)
    for stop in _TOUR:
        guide.visit(stop)
    guide.flush_and_repair()
    guide.show_what_leaked()
    guide.take_down(sidecars)
    return guide.faults


def _end_in_order(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Build, walk, take away; return the exit code."""
    began = time.monotonic()
    world = World()
    try:
        with world:
            faults = tour(world, time.monotonic() - began)
    except WorldError as exc:
        print(f"demo: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\ndemo: interrupted; left behind: {', '.join(world.remains()) or 'nothing'}", file=sys.stderr)
        return 1
    faults += [f"left behind: {what}" for what in world.remains()]
    if faults:
        print(f"\n# {len(faults)} not as told:\n" + textwrap.indent("\n".join(faults), "    "))
        return 1
    print(
        f"\n# Everything is taken away: no namespace, process or file is left. {time.monotonic() - began:.1f} s in all."
    )
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end_in_order)
    sys.exit(main())
