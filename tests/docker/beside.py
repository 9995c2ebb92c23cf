"""Docker's resolver and pydns in one container's network, each at its own address, and the means to ask both."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

from tests.docker.daemon import Daemon, DaemonError
from tests.docker.upstream import FOR_PYDNS, TTL
from tests.netns.world import Process, WorldError, in_namespace, wait_until

DOCKER_AT = "127.0.0.11"
PYDNS_AT = "127.0.0.12"
READY_WITHIN_S = 30.0
ANSWER_WITHIN_S = 10.0
SILENCE = "silence"
"""The status of a question that got no answer."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer in the form in which two resolvers are compared; records have no order in it."""

    status: str
    answers: frozenset[str] = frozenset()
    """``owner TTL type data``."""
    flags: frozenset[str] = frozenset()
    """Those of the header, in lower case."""
    has_soa: bool = False
    """The authority section says how long a negative answer holds; not compared."""
    reason: str = ""
    """The text of an extended error; not compared."""

    def same_as(self, other: Outcome) -> bool:
        """True when a client could not tell them apart by status, answer or flags."""
        return (self.status, self.answers, self.flags) == (other.status, other.answers, other.flags)

    def __str__(self) -> str:
        if self.answers:
            return " + ".join(sorted(record.split(" ", 1)[1] for record in self.answers))
        if self.status == "NOERROR":
            return "nothing"
        return f"{self.status} ({self.reason})" if self.reason else self.status


def outcome(reply: dns.message.Message) -> Outcome:
    """A reply as it is compared."""
    return Outcome(
        dns.rcode.to_text(reply.rcode()),
        frozenset(record for rrset in reply.answer for record in rrset.to_text().replace(" IN ", " ").splitlines()),
        frozenset(dns.flags.to_text(reply.flags).lower().split()),
        any(dns.rdatatype.to_text(rrset.rdtype) == "SOA" for rrset in reply.authority),
        "; ".join(error.text or "" for error in reply.extended_errors()),
    )


def is_from_upstream(said: Outcome) -> bool:
    """True when the question has left for the upstream, whose TTL nothing else has."""
    return any(f" {TTL} " in record for record in said.answers)


class Resolver:
    """One of the two, asked from inside the container's network."""

    def __init__(self, netns: str, address: str, source: str = "") -> None:
        """The namespace is a path, the source an address to ask from, where it has to be another than loopback's."""
        self._netns = netns
        self._address = address
        self._source = source

    def ask(
        self, query: dns.message.Message, *, over_tcp: bool = False, within_s: float = ANSWER_WITHIN_S
    ) -> dns.message.Message | None:
        """The reply to a query; None when none comes in time."""
        kind = socket.SOCK_STREAM if over_tcp else socket.SOCK_DGRAM
        with in_namespace(self._netns, lambda: socket.socket(socket.AF_INET, kind)) as sock:
            sock.settimeout(within_s)
            if self._source:
                sock.bind((self._source, 0))
            try:
                sock.connect((self._address, 53))
                if over_tcp:
                    wire = query.to_wire(prepend_length=True)
                    sock.sendall(wire)
                    with sock.makefile("rb") as stream:
                        size = int.from_bytes(stream.read(2), "big")
                        return dns.message.from_wire(stream.read(size))
                sock.send(query.to_wire())
                return dns.message.from_wire(sock.recv(65535))
            except TimeoutError:
                return None

    def look_up(self, name: str, rtype: str, *, within_s: float = ANSWER_WITHIN_S) -> Outcome:
        """What it says of a name, asked over UDP without EDNS."""
        query = dns.message.make_query(name, rtype, use_edns=False)
        reply = self.ask(query, within_s=within_s)
        return Outcome(SILENCE) if reply is None else outcome(reply)


class Beside:
    """pydns in a container's network, next to Docker's resolver; what exists it hears from the daemon.

    Both forward to the same upstream.
    """

    def __init__(self, daemon: Daemon, container: str, networks: Sequence[str] | str) -> None:
        """pydns is told the asker's networks; given an address instead, it has to know the asker by that one."""
        told, source = ([], networks) if isinstance(networks, str) else (list(networks), "")
        netns = daemon.netns_of(container)
        self.container = container
        self.docker = Resolver(netns, DOCKER_AT)
        self.pydns = Resolver(netns, PYDNS_AT, source)
        config = daemon.folder / f"beside-{container}.toml"
        config.write_text(
            f"[docker]\nhost = {json.dumps(daemon.url)}\n"
            f"[server]\nlisten = {json.dumps([PYDNS_AT])}\nnetworks = {json.dumps(told)}\n"
            f"[registry]\nzones = []\n"
            f"[forward]\nupstreams = {json.dumps([FOR_PYDNS])}\n"
            "[cache]\nsize = 0\n"  # Docker has none: what is relayed is to be the same, TTLs included
            '[metrics]\nlisten = "off"\n'
        )
        self.process: Process = daemon.start_inside(
            container, sys.executable, "-m", "resolver.cli.main", "serve", "-c", str(config)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.process.end()

    def wait_ready(self) -> None:
        """Wait until pydns serves; DaemonError with its words when it does not."""
        try:
            wait_until(self._is_ready_or_ended, READY_WITHIN_S, "pydns is ready")
        except WorldError as exc:
            raise DaemonError(f"{exc}; it said:\n{self.process.stderr_text()}") from exc
        if self.process.poll() is not None:
            raise DaemonError(f"pydns beside {self.container} has ended; it said:\n{self.process.stderr_text()}")

    def _is_ready_or_ended(self) -> bool:
        return self.process.poll() is not None or "ready: " in self.process.stderr_text()
