"""A real `pydns serve` in a folder of its own, and the means to talk to it.

Every port is the kernel's choice, every address is loopback, the machine's resolv.conf is never read, and only
processes that were started here are ended.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import dns.flags
import dns.message
import dns.rdatatype
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).resolve().parents[2]
PYDNS = (sys.executable, "-m", "resolver.cli.main")
READY_WITHIN_S = 20.0
STOP_WITHIN_S = 10.0
ANSWER_WITHIN_S = 10.0

T = TypeVar("T")

REGISTRY = """
[networks.mynet]
subnets  = ["172.18.0.0/16", "fd00:18::/64"]
gateways = ["172.18.0.1", "fd00:18::1"]

[networks.mynet.endpoints.db]
addresses = ["172.18.0.2", "fd00:18::2"]
aliases   = ["database"]
ports     = ["5432/tcp"]

[networks.mynet.endpoints.web]
addresses = ["172.18.0.3"]
aliases   = ["www", "*.web"]
"""


def until(what: Callable[[], T], within_s: float = ANSWER_WITHIN_S, every_s: float = 0.005) -> T:
    """The first true value of ``what``; fails when there is none in time."""
    deadline = time.monotonic() + within_s
    while True:
        if value := what():
            return value
        assert time.monotonic() < deadline, f"not in {within_s} s: {getattr(what, '__name__', what)}"
        time.sleep(every_s)


def pool(name: str, count: int, network: str = "big", subnet: str = "172.30") -> str:
    """A network whose ``count`` endpoints share the alias ``name``."""
    lines = [f'[networks.{network}]\nsubnets = ["{subnet}.0.0/16"]']
    for number in range(1, count + 1):
        address = f"{subnet}.{number // 250}.{number % 250 + 1}"
        lines.append(f'[networks.{network}.endpoints.{name}-{number}]\naddresses = ["{address}"]\naliases = ["{name}"]')
    return "\n".join(lines) + "\n"


def ask(name: str, rtype: str = "A", **options: Any) -> dns.message.QueryMessage:
    """A query; options as `dns.message.make_query` takes them."""
    return dns.message.make_query(name, rtype, **options)


def answers(reply: dns.message.Message) -> list[str]:
    """The rdata of the answer section, in its order."""
    return [rdata.to_text() for rrset in reply.answer for rdata in rrset]


def reason(reply: dns.message.Message) -> str:
    """The text of a reply's extended errors (RFC 8914)."""
    return "; ".join(error.text or "" for error in reply.extended_errors())


def framed(message: bytes) -> bytes:
    """A message as it goes over TCP."""
    return len(message).to_bytes(2, "big") + message


class At(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    @property
    def family(self) -> socket.AddressFamily:
        """AF_INET or AF_INET6."""
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET


def over_udp(
    at: At, query: bytes | dns.message.Message, *, source: str = "", within_s: float = ANSWER_WITHIN_S
) -> dns.message.Message:
    """The reply to one datagram; the socket is connected, so a reply from elsewhere is never heard."""
    return dns.message.from_wire(udp_bytes(at, query, source=source, within_s=within_s))


def udp_bytes(
    at: At, query: bytes | dns.message.Message, *, source: str = "", within_s: float = ANSWER_WITHIN_S
) -> bytes:
    """The same, as it came."""
    with socket.socket(at.family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(within_s)
        if source:
            sock.bind((source, 0))
        sock.connect(at)
        sock.send(query if isinstance(query, bytes) else query.to_wire())
        return sock.recv(65535)


class Stream:
    """A TCP connection to a server."""

    def __init__(self, at: At, *, within_s: float = ANSWER_WITHIN_S, receive_buffer: int = 0, source: str = "") -> None:
        self.sock = socket.socket(at.family, socket.SOCK_STREAM)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            self.sock.bind((source, 0))
        self.sock.settimeout(within_s)
        try:
            self.sock.connect(at)
        except OSError:
            self.sock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.sock.close()

    def send(self, *messages: bytes | dns.message.Message) -> None:
        """Send messages, all in one segment if they fit."""
        wires = [message if isinstance(message, bytes) else message.to_wire() for message in messages]
        self.sock.sendall(b"".join(map(framed, wires)))

    def receive_bytes(self) -> bytes:
        """The next message; empty at the end of the stream."""
        head = self._exactly(2)
        return self._exactly(int.from_bytes(head, "big")) if head else b""

    def receive(self) -> dns.message.Message:
        """The next reply."""
        message = self.receive_bytes()
        assert message, "the server has closed the connection"
        return dns.message.from_wire(message)

    def ask(self, name: str, rtype: str = "A") -> dns.message.Message:
        """One query and its reply."""
        self.send(ask(name, rtype))
        return self.receive()

    def closed_after(self) -> float:
        """Seconds until the server ends the connection; whatever else comes is read."""
        began = time.monotonic()
        try:
            while self.sock.recv(65536):
                pass
        except ConnectionError:
            pass
        return time.monotonic() - began

    def _exactly(self, size: int) -> bytes:
        octets = b""
        while len(octets) < size:
            try:
                chunk = self.sock.recv(size - len(octets))
            except ConnectionError:
                return b""
            if not chunk:
                return b""
            octets += chunk
        return octets


@dataclass(frozen=True, slots=True)
class Page:
    """What the operators' HTTP listener said."""

    status: int
    text: str

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.text)


class Live:
    """A `pydns serve` process, from its configuration to its end."""

    def __init__(
        self,
        folder: Path,
        *,
        registry: str | Mapping[str, str] = REGISTRY,
        zones: Mapping[str, str] | None = None,
        listen: Sequence[str] = ("127.0.0.1:0",),
        upstreams: Sequence[str] = (),
        settings: Mapping[str, Mapping[str, object]] | None = None,
        arguments: Sequence[str] = (),
        prefix: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.registry = folder / "registry"
        self.zones = folder / "zones"
        self.config = folder / "pydns.toml"
        self.resolv_conf = folder / "resolv.conf"
        self.log = folder / "stderr"
        for made in (self.registry, self.zones):
            made.mkdir(parents=True, exist_ok=True)
        if isinstance(registry, str):
            registry = {"networks.toml": registry}
        for name, text in registry.items():
            (self.registry / name).write_text(text)
        for name, text in (zones or {}).items():
            (self.zones / name).write_text(text)
        self.resolv_conf.write_text("# nobody\n")
        self.tables: dict[str, dict[str, object]] = {
            "server": {"listen": list(listen)},
            "registry": {"files": [str(self.registry)], "zones": [str(self.zones)]},
            "forward": {
                "resolv_conf": str(self.resolv_conf),
                "upstreams": list(upstreams),
                # Upstreams of tests count what they are asked.
                "loop_detection": False,
            },
            "metrics": {"listen": "127.0.0.1:0"},
        }
        for table, keys in (settings or {}).items():
            self.tables.setdefault(table, {}).update(keys)
        self.write_config()
        self.command = [*prefix, *PYDNS, "serve", "-c", str(self.config), *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.kill()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process."""
        assert self._process is not None, "not started"
        return self._process

    @property
    def stderr(self) -> str:
        """All that it has logged."""
        return self.log.read_text()

    def write_config(self) -> None:
        """Write the configuration file from `tables`."""
        lines = []
        for table, keys in self.tables.items():
            lines.append(f"[{table}]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
        self.config.write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        """Start the process."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYDNS_")}
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self.command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def wait_ready(self) -> None:
        """Wait for the ready line."""

        def is_ready() -> bool:
            assert self.process.poll() is None, f"pydns has ended with {self.process.returncode}:\n{self.stderr}"
            return " ready: " in self.stderr

        until(is_ready, READY_WITHIN_S)

    def kill(self) -> None:
        """End the process, whatever it is doing."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def hang_up(self) -> None:
        """SIGHUP, and wait until it was seen to: answers are made of what was read, or that was no good."""
        said = len(self.stderr)
        before = self.count("pydns_reload_successes_total", input="config") + self.count(
            "pydns_reload_failures_total", input="config"
        )
        self.send(signal.SIGHUP)
        until(
            lambda: (
                self.count("pydns_reload_successes_total", input="config")
                + self.count("pydns_reload_failures_total", input="config")
                > before
            )
        )
        until(lambda: any(words in self.stderr[said:] for words in (": serving ", "configuration stays as it was")))

    def stopped_within(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Seconds from a signal to the end of the process."""
        began = time.monotonic()
        self.send(number)
        self.process.wait(STOP_WITHIN_S)
        return time.monotonic() - began

    @property
    def listening(self) -> list[At]:
        """Where it says that it listens."""
        found = re.search(r" ready: listening on (.*) \(UDP and TCP\)", self.stderr)
        assert found, self.stderr
        return [self._at(text) for text in found[1].split(", ")]

    @property
    def at(self) -> At:
        """The first listener."""
        return self.listening[0]

    @property
    def http(self) -> str:
        """The URL of the operators' listener, as it says itself."""
        found = re.search(r"(http://\S+)/metrics", self.stderr)
        assert found, self.stderr
        return found[1]

    @staticmethod
    def _at(text: str) -> At:
        host, _, port = text.rpartition(":")
        return At(host.strip("[]"), int(port))

    def udp(self, name: str, rtype: str = "A", *, source: str = "", **options: Any) -> dns.message.Message:
        """One query over UDP to the first listener."""
        return over_udp(self.at, ask(name, rtype, **options), source=source)

    def tcp(self, **options: Any) -> Stream:
        """A connection to the first listener."""
        return Stream(self.at, **options)

    def addresses(self, name: str, rtype: str = "A", **options: Any) -> set[str]:
        """What a name's answer holds."""
        return set(answers(self.udp(name, rtype, **options)))

    def page(self, path: str) -> Page:
        """A page of the operators' listener."""
        try:
            with urllib.request.urlopen(self.http + path, timeout=ANSWER_WITHIN_S) as response:
                return Page(response.status, response.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Page(error.code, error.read().decode())

    def samples(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """Every sample of /metrics by its name and sorted labels."""
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(self.page("/metrics").text)
            for sample in family.samples
        }

    def count(self, metric: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        return sum(
            value
            for (name, having), value in self.samples().items()
            if name == metric and set(labels.items()) <= set(having)
        )

    def memory_mb(self) -> float:
        """Resident memory in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found
        return int(found[1]) / 1024


def replace(path: Path, text: str) -> float:
    """Rename a finished file over another; the time at which it was done."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    fresh.write_text(text)
    fresh.rename(path)
    return time.monotonic()


def rewrite(path: Path, text: str) -> float:
    """Write a file in place; the time at which it was done."""
    path.write_text(text)
    return time.monotonic()


def is_clean(log: str) -> bool:
    """No traceback, and nothing from asyncio's or the interpreter's own handlers."""
    return not re.search(r"Traceback|Exception|Error:|ResourceWarning", log)


def has_flag(reply: dns.message.Message, flag: dns.flags.Flag) -> bool:
    """Whether a reply's header has a flag."""
    return bool(reply.flags & flag)
