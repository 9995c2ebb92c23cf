"""A Docker-like world without Docker: a host, bridges, containers that are only namespaces, an upstream.

    <prefix>-host    bridges mynet, backend, vault with their gateways; the upstream; the sidecars
    <prefix>-web     mynet
    <prefix>-db      mynet and backend
    <prefix>-cache   backend
    <prefix>-secret  vault, which is internal: no way out

The machine itself gets nothing but the names in /run/netns and /etc/netns and a folder in /tmp. No namespace
made here has a way out of this world, so nothing can talk to an address outside it. `World.close` takes
everything away, also after a failure half-way; calling it twice does no harm.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import hashlib
import itertools
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

UPSTREAM = "10.99.0.53"
BIG_TXT = [f"record {number:02} " + "x" * 180 for number in range(24)]
"""The strings of big.example.test TXT: about 5 KB, so it needs TCP."""
POOL = [f"172.18.9.{number}" for number in range(1, 61)]
"""The addresses behind the shared alias `pool`: 60 endpoints, about 1,000 octets of answer."""

READY_WITHIN_S = 15.0
STOP_WITHIN_S = 5.0
TOOLS = ("ip", "nsenter", "setpriv", "dig", "nft")
UPSTREAM_PROGRAMS = ("dnsmasq", "unbound", "knotd")
_CLONE_NEWNET = 0x40000000
_RUN_NETNS = Path("/run/netns")
_ETC_NETNS = Path("/etc/netns")
_END_WITH_US = ("setpriv", "--pdeathsig", "TERM")  # also when we are killed and cannot clean up
_LOGGED = {
    "dnsmasq": re.compile(r"query\[(?P<qtype>\S+)\] (?P<name>\S+) from (?P<source>\S+)"),
    "unbound": re.compile(r"info: (?P<source>\S+) (?P<name>\S+) (?P<qtype>\S+) IN$", re.MULTILINE),
}

T = TypeVar("T")


class WorldError(Exception):
    """The world could not be built, or something in it did not come up in time."""


@dataclass(frozen=True, slots=True)
class Network:
    """One bridge network: its name, subnets, gateways, and whether it is internal."""

    name: str
    subnets: tuple[str, ...]
    gateways: tuple[str, ...]
    internal: bool = False


@dataclass(frozen=True, slots=True)
class Container:
    """One endpoint owner: what the registry says of it, and its addresses by network."""

    name: str
    addresses: Mapping[str, tuple[str, ...]]
    aliases: Mapping[str, tuple[str, ...]]
    id: str
    hostname: str
    ports: str = "[]"
    links: Mapping[str, str] | None = None


def _container_id(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


NETWORKS = {
    network.name: network
    for network in (
        Network("mynet", ("172.18.0.0/16", "fd00:18::/64"), ("172.18.0.1", "fd00:18::1")),
        Network("backend", ("172.19.0.0/16",), ("172.19.0.1",)),
        Network("vault", ("172.20.0.0/16",), ("172.20.0.1",), internal=True),
    )
}

CONTAINERS = {
    container.name: container
    for container in (
        Container(
            "web",
            {"mynet": ("172.18.0.3", "fd00:18::3")},
            {"mynet": ("www",)},
            _container_id("web"),
            "web-1",
            '["80/tcp"]',
        ),
        Container(
            "db",
            {"mynet": ("172.18.0.2", "fd00:18::2"), "backend": ("172.19.0.2",)},
            {"mynet": ("database", "*.db"), "backend": ("database",)},
            "492ba8a9277d96876f0a605d9434723aed774978a40023e778a97815216754f0",
            "db-1",
            '["5432/tcp", { port = 9187, protocol = "tcp", name = "metrics" }]',
            {"cache": "redis"},
        ),
        Container("cache", {"backend": ("172.19.0.3",)}, {"backend": ()}, _container_id("cache"), "cache-1"),
        Container("secret", {"vault": ("172.20.0.2",)}, {"vault": ()}, _container_id("secret"), "secret-1"),
    )
}

_ONLY_IN_THE_REGISTRY = """
[networks.vault.endpoints.ledger]
addresses = ["172.20.0.3"]
"""


def registry_text() -> str:
    """Return the registry of this world as TOML (design.md section 8)."""
    lines: list[str] = []
    for network in NETWORKS.values():
        lines += [
            f"[networks.{network.name}]",
            f"subnets = {json.dumps(network.subnets)}",
            f"gateways = {json.dumps(network.gateways)}",
            f"internal = {json.dumps(network.internal)}",
            "",
        ]
    for container in CONTAINERS.values():
        for name, addresses in container.addresses.items():
            lines += [
                f"[networks.{name}.endpoints.{container.name}]",
                f'id = "{container.id}"',
                f"addresses = {json.dumps(addresses)}",
                f"aliases = {json.dumps(container.aliases[name])}",
                f'hostname = "{container.hostname}"',
                f"ports = {container.ports}",
                "",
            ]
            if container.links and all(name in CONTAINERS[target].addresses for target in container.links):
                links = ", ".join(f'{target} = "{alias}"' for target, alias in container.links.items())
                lines.insert(-1, f"links = {{ {links} }}")
    for number, address in enumerate(POOL, 1):
        lines += [
            f"[networks.mynet.endpoints.pool{number}]",
            f'addresses = ["{address}"]',
            'aliases = ["pool"]',
            "",
        ]
    return "\n".join(lines) + _ONLY_IN_THE_REGISTRY


ZONE_TEXT = """\
$ORIGIN home.test.
$TTL 300
@       IN SOA ns.home.test. hostmaster.home.test. 1 3600 600 86400 60
@       IN NS  ns.home.test.
ns      IN A   192.0.2.53
nas     IN A   192.0.2.10
outside IN CNAME www.example.test.
"""
"""The static zone that every sidecar of this world serves."""


class UpstreamQuery(NamedTuple):
    """One query as the upstream logged it; the name without its final dot, in lower case."""

    source: str
    name: str
    qtype: str


@dataclass(frozen=True, slots=True)
class DigReply:
    """What `dig` printed, in parts; records have single spaces between their fields."""

    status: str
    flags: tuple[str, ...]
    answer: tuple[str, ...]
    authority: tuple[str, ...]
    additional: tuple[str, ...]
    server: str
    ede: str
    text: str

    @property
    def rdata(self) -> list[str]:
        """The answer's data without owner, TTL, class and type, sorted, for answers have no fixed order."""
        return sorted(record.split(" ", 4)[4] for record in self.answer)


def parse_dig(text: str) -> DigReply:
    """Return the parts of a full dig transcript; a missing part is empty."""

    def one(pattern: str) -> str:
        found = re.search(pattern, text, re.MULTILINE)
        return found.group(1) if found else ""

    def section(title: str) -> tuple[str, ...]:
        body = one(rf"^;; {title} SECTION:\n((?:[^;\n].*\n)*)")
        return tuple(" ".join(line.split()) for line in body.splitlines())

    return DigReply(
        status=one(r"status: (\w+)"),
        flags=tuple(one(r"^;; flags: ([a-z ]*);").split()),
        answer=section("ANSWER"),
        authority=section("AUTHORITY"),
        additional=section("ADDITIONAL"),
        server=one(r"^;; SERVER: (\S+?)(?:\(.*)?$"),
        ede=one(r"^; EDE: (.*)$"),
        text=text,
    )


def wait_until(holds: Callable[[], object], within_s: float, what: str, every_s: float = 0.02) -> float:
    """Return the seconds until `holds()` was true; raise WorldError when the deadline passes first."""
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > within_s:
            raise WorldError(f"not within {within_s:g} s: {what}")
        time.sleep(every_s)
    return time.monotonic() - began


def in_namespace(name: str, work: Callable[[], T]) -> T:
    """Return `work()`, run on a thread of its own inside the named network namespace.

    A socket made there stays in that namespace, also when the caller uses it afterwards.
    """
    outcome: list[T] = []
    failure: list[BaseException] = []
    libc = ctypes.CDLL(None, use_errno=True)

    def enter_and_work() -> None:
        try:
            with open(_RUN_NETNS / name, "rb") as handle:
                if libc.setns(handle.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), f"setns {name}")
            outcome.append(work())
        except BaseException as exc:
            failure.append(exc)

    thread = threading.Thread(target=enter_and_work)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


class Process:
    """A program started in the world; its output goes to files, so that it can never block on us."""

    def __init__(self, argv: Sequence[str], log: Path) -> None:
        self.argv = list(argv)
        self._stdout = log.with_suffix(".out")
        self._stderr = log.with_suffix(".err")
        with open(self._stdout, "wb") as out, open(self._stderr, "wb") as err:
            # a session of its own: Ctrl-C at the terminal is for us, and we stop it in order
            self._popen = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        return self._popen.poll()

    def wait(self, within_s: float) -> int:
        """Return the exit code; raise WorldError when it still runs at the deadline."""
        try:
            return self._popen.wait(within_s)
        except subprocess.TimeoutExpired as exc:
            raise WorldError(f"still running after {within_s:g} s: {' '.join(self.argv)}") from exc

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; a process that has ended already is fine."""
        self._popen.send_signal(number)

    def stop(self, within_s: float = STOP_WITHIN_S) -> int:
        """Send SIGTERM and return the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(within_s)

    def kill9(self) -> int:
        """Send SIGKILL, as a crash would, and return the exit code."""
        self.signal(signal.SIGKILL)
        return self.wait(STOP_WITHIN_S)

    def end(self) -> None:
        """Stop it by any means; harmless when it has ended already."""
        try:
            self.stop()
        except WorldError:
            self.kill9()

    def stdout_text(self) -> str:
        return self._stdout.read_text(errors="replace")

    def stderr_text(self) -> str:
        return self._stderr.read_text(errors="replace")

    def thread_capabilities(self) -> list[tuple[int, int]]:
        """Return (thread id, effective capability bits) of every thread of it and of its descendants."""
        found: list[tuple[int, int]] = []
        processes = [self.pid]
        for pid in processes:
            # a helper may end between the listing and the reading
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    status = (task / "status").read_text()
                    processes += [int(child) for child in (task / "children").read_text().split()]
                    effective = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
                    assert effective is not None
                    found.append((int(task.name), int(effective.group(1), 16)))
        return found


class Sidecar(Process):
    """A running `pydns sidecar`."""

    def wait_ready(self, within_s: float = READY_WITHIN_S) -> float:
        """Return the seconds until it says that it serves; raise WorldError with its words if it does not."""

        def ready_or_ended() -> bool:
            return self.poll() is not None or any("ready" in line for line in self.stderr_text().splitlines())

        try:
            took = wait_until(ready_or_ended, within_s, "ready")
        except WorldError as exc:
            raise WorldError(f"{' '.join(self.argv)} is not {exc}; it said:\n{self.stderr_text()}") from exc
        if self.poll() is not None:
            raise WorldError(f"{' '.join(self.argv)} ended with {self.poll()}; it said:\n{self.stderr_text()}")
        return took


Option = str | Path | bool | Sequence[str] | None
P = TypeVar("P", bound=Process)


class World:
    """Builds the world on entering, removes all of it on leaving."""

    def __init__(self, upstream: str = "dnsmasq", program: Sequence[str] | None = None) -> None:
        if upstream not in UPSTREAM_PROGRAMS:
            raise WorldError(f"no such upstream: {upstream}; it is one of {', '.join(UPSTREAM_PROGRAMS)}")
        self.upstream_program = upstream
        self.program = list(program or _default_program())
        self.prefix = f"pyd{os.getpid()}x{secrets.token_hex(2)}"
        self.host = self.namespace("host")
        self.tmp = Path(tempfile.gettempdir()) / self.prefix
        self.processes: list[Process] = []
        self._undo = contextlib.ExitStack()
        self._log_serial = itertools.count()
        self._fences = itertools.count()

    # -- coming and going --------------------------------------------------------------------------

    def __enter__(self) -> Self:
        atexit.register(self.close)
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take everything away, in the reverse order of its making."""
        self._undo.close()
        atexit.unregister(self.close)

    def remains(self) -> list[str]:
        """Return what is still there of this world: after `close`, nothing."""
        places = [
            self.tmp,
            *(folder / self.namespace(name) for folder in (_RUN_NETNS, _ETC_NETNS) for name in _all()),
        ]
        return [str(place) for place in places if place.exists()] + [
            f"process {process.pid}" for process in self.processes if process.poll() is None
        ]

    def _build(self) -> None:
        missing = [tool for tool in (*TOOLS, self.upstream_program) if shutil.which(tool) is None]
        if os.geteuid() != 0 or missing:
            raise WorldError(f"missing tools: {', '.join(missing)}" if missing else "making namespaces needs root")
        self.tmp.mkdir()
        self._undo.callback(shutil.rmtree, self.tmp, ignore_errors=True)
        self._undo.callback(_remove_if_empty, _ETC_NETNS)
        for name in _all():
            self._undo.callback(self._remove_namespace, name)
            self._make_namespace(name)
        self._undo.callback(self._end_processes)
        self._wire_the_host()
        for container in CONTAINERS.values():
            self._wire(container)
        self._write_files()
        self._start_upstream()

    def _make_namespace(self, name: str) -> None:
        namespace = self.namespace(name)
        _command("ip", "netns", "add", namespace)
        files = _ETC_NETNS / namespace
        files.mkdir(parents=True)
        # ip netns exec binds these over /etc: the machine's own tables must not answer for a container's
        (files / "hosts").write_text(f"127.0.0.1 localhost\n::1 localhost ip6-localhost\n# {name}\n")
        (files / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\nservices: files\n")

    def _remove_namespace(self, name: str) -> None:
        namespace = self.namespace(name)
        if (_RUN_NETNS / namespace).exists():
            inside = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False)
            for pid in inside.stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, check=False)
        shutil.rmtree(_ETC_NETNS / namespace, ignore_errors=True)

    def _end_processes(self) -> None:
        for process in reversed(self.processes):
            process.end()

    def _wire_the_host(self) -> None:
        lines = ["link set lo up"]
        for network in NETWORKS.values():
            lines += [f"link add br-{network.name} type bridge", f"link set br-{network.name} up"]
            lines += [
                _address_line(gateway, subnet, f"br-{network.name}")
                for gateway, subnet in zip(network.gateways, network.subnets, strict=True)
            ]
        # a bridge without ports holds addresses as well as a dummy device, which this kernel may lack
        lines += [
            "link add br-uplink type bridge",
            "link set br-uplink up",
            f"address add {UPSTREAM}/24 dev br-uplink",
        ]
        self._ip("host", lines)

    def _wire(self, container: Container) -> None:
        inside = ["link set lo up"]
        for number, (network_name, addresses) in enumerate(container.addresses.items()):
            network = NETWORKS[network_name]
            outer = f"v{number}-{container.name}"
            namespace = self.namespace(container.name)
            self._ip(
                "host",
                [
                    f"link add {outer} type veth peer name eth{number} netns {namespace}",
                    f"link set {outer} master br-{network_name} up",
                ],
            )
            inside.append(f"link set eth{number} up")
            inside += [
                _address_line(address, subnet, f"eth{number}")
                for address, subnet in zip(addresses, network.subnets, strict=True)
            ]
            if number == 0 and not network.internal:
                inside += [f"route add default via {gateway}" for gateway in network.gateways]
        self._ip(container.name, inside)

    def _ip(self, name: str, lines: Sequence[str]) -> None:
        _command("ip", "-n", self.namespace(name), "-batch", "-", given="\n".join(lines) + "\n")

    def _write_files(self) -> None:
        self.registry = self.tmp / "networks.toml"
        self.resolv_conf = self.tmp / "resolv.conf"
        self.registry.write_text(registry_text())
        self.resolv_conf.write_text(f"# the host of this world\nnameserver {UPSTREAM}\noptions timeout:1 attempts:2\n")
        zones = self.tmp / "zones"
        zones.mkdir()
        (zones / "home.test.zone").write_text(ZONE_TEXT)
        self.config = self.write_config("pydns", self.registry)

    def write_config(self, name: str, registry: Path, resolv_conf: Path | None = None) -> Path:
        """Write a pydns.toml that joins a registry to a host's resolv.conf, by default this world's."""
        path = self.tmp / f"{name}.toml"
        path.write_text(
            f"[registry]\nfiles = {json.dumps([str(registry)])}\n"
            f"zones = {json.dumps([str(self.tmp / 'zones')])}\n\n"
            f"[forward]\nresolv_conf = {json.dumps(str(resolv_conf or self.resolv_conf))}\n"
        )
        return path

    # -- the upstream ------------------------------------------------------------------------------

    def _start_upstream(self) -> None:
        self._upstream_log = self.tmp / "upstream.log"
        make = {"dnsmasq": _dnsmasq, "unbound": _unbound, "knotd": _knotd}[self.upstream_program]
        process = self.start_on_host(*make(self.tmp, self._upstream_log))

        def answers() -> bool:
            if process.poll() is not None:
                log = self._upstream_log.read_text() if self._upstream_log.exists() else ""
                raise WorldError(f"{self.upstream_program} ended with {process.poll()}: {process.stderr_text()}{log}")
            return "status: NXDOMAIN" in self._ask_upstream("fence.example.test")

        wait_until(answers, READY_WITHIN_S, f"{self.upstream_program} answers at {UPSTREAM}")

    def upstream_queries(self) -> list[UpstreamQuery]:
        """Return every query that reached the upstream before this call, the world's own left out.

        A query of our own is sent last and waited for in the log, so that nothing before it can be missing.
        """
        if self.upstream_program == "knotd":
            raise WorldError("Debian's knotd keeps no log of queries: use dnsmasq or unbound")
        fence = f"fence{next(self._fences)}.example.test"
        self._ask_upstream(fence)
        wait_until(lambda: fence in self._upstream_log.read_text(), 5, f"{fence} in the upstream's log")
        found = _LOGGED[self.upstream_program].finditer(self._upstream_log.read_text())
        queries = [UpstreamQuery(hit["source"], hit["name"].rstrip(".").lower(), hit["qtype"]) for hit in found]
        return [query for query in queries if not query.name.startswith("fence")]

    def upstream_names(self) -> set[str]:
        """Return every name that reached the upstream before this call."""
        return {query.name for query in self.upstream_queries()}

    def _ask_upstream(self, name: str) -> str:
        return self.host_run("dig", "+tries=1", "+time=1", f"@{UPSTREAM}", name, check=False).stdout

    # -- doing things ------------------------------------------------------------------------------

    def namespace(self, name: str) -> str:
        """Return the name in /run/netns of a container, or of `host`."""
        return f"{self.prefix}-{name}"

    def resolv_conf_of(self, container: str) -> Path:
        """Return the file that `ip netns exec` shows a container as /etc/resolv.conf; it may not exist."""
        return _ETC_NETNS / self.namespace(container) / "resolv.conf"

    def run(
        self, container: str, *argv: str, check: bool = True, within_s: float = 20.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as the container sees the world: its network, its /etc/resolv.conf and /etc/hosts."""
        return _command("ip", "netns", "exec", self.namespace(container), *argv, check=check, within_s=within_s)

    def host_run(self, *argv: str, check: bool = True, within_s: float = 20.0) -> subprocess.CompletedProcess[str]:
        """Run a program in the network of this world's host."""
        return _command("nsenter", f"--net={_RUN_NETNS / self.host}", *argv, check=check, within_s=within_s)

    def dig(self, container: str, *args: str) -> str:
        """Return what dig prints in a container."""
        return self.run(container, "dig", *args, check=False).stdout

    def ask(self, container: str, *args: str) -> DigReply:
        """Return what dig printed in a container, in parts."""
        return parse_dig(self.dig(container, *args))

    def resolves(self, container: str, name: str = "db") -> bool:
        """Say whether a name has an address in a container now; one try, no patience."""
        return self.ask(container, "+tries=1", "+time=1", name).status == "NOERROR"

    def socket(self, container: str, kind: socket.SocketKind) -> socket.socket:
        """Return an IPv4 socket that lives in the container's network."""
        return in_namespace(self.namespace(container), lambda: socket.socket(socket.AF_INET, kind))

    def start_in(self, container: str, *argv: str) -> Process:
        """Start a program inside a container; it ends with the world at the latest."""
        return self._start(Process, ["ip", "netns", "exec", self.namespace(container), *_END_WITH_US, *argv])

    @staticmethod
    def wait(holds: Callable[[], object], what: str, within_s: float = 5.0) -> float:
        """Wait in a test for something of this world; see `wait_until`."""
        return wait_until(holds, within_s, what)

    def start_on_host(self, *argv: str) -> Process:
        """Start a program in the network of this world's host; it ends with the world at the latest."""
        return self._start(Process, [*self._on_host(), *argv])

    def sidecar_command(self, container: str, **options: Option) -> list[str]:
        """Return the words of `pydns sidecar` for a container; see `launch`."""
        named: dict[str, Option] = {
            "netns": self.namespace(container),
            "network": list(CONTAINERS[container].addresses),
            "endpoint": container,
            "metrics": "off",
            "config": self.config,
        }
        named.update(options)
        if named["netns"] != self.namespace(container) and not {"resolv_conf", "no_resolv_conf"} & set(options):
            raise WorldError("only a namespace named in /etc/netns has a resolv.conf apart from the machine's own")
        words = [*self.program, "sidecar"]
        for key, value in named.items():
            flag = "-c" if key == "config" else "--" + key.replace("_", "-")
            if value is True:
                words.append(flag)
            elif isinstance(value, (str, Path)):
                words += [flag, str(value)]
            elif value:
                words += [word for item in value for word in (flag, item)]
        return words

    def launch(self, container: str, **options: Option) -> Sidecar:
        """Start `pydns sidecar` for a container and do not wait for it.

        An option is the flag's name with `_` for `-`: True for a bare flag, a list to repeat it, None to
        leave out one of the usual ones (netns, network, endpoint, metrics, config).
        """
        return self._start(Sidecar, [*self._on_host(), *self.sidecar_command(container, **options)])

    def sidecar(self, container: str, **options: Option) -> Sidecar:
        """Start `pydns sidecar` for a container, as `launch` does, and wait until it serves."""
        sidecar = self.launch(container, **options)
        sidecar.wait_ready()
        return sidecar

    def _on_host(self) -> list[str]:
        return ["nsenter", f"--net={_RUN_NETNS / self.host}", *_END_WITH_US]

    def _start(self, kind: Callable[[Sequence[str], Path], P], argv: Sequence[str]) -> P:
        process = kind(argv, self.tmp / f"process-{next(self._log_serial)}")
        self.processes.append(process)
        return process


def _all() -> list[str]:
    return ["host", *CONTAINERS]


def _default_program() -> list[str]:
    return [os.environ.get("PYDNS_PROGRAM", str(Path(sys.executable).with_name("pydns")))]


def _address_line(address: str, subnet: str, device: str) -> str:
    """Return the ip command; with duplicate address detection an IPv6 address is useless for a second."""
    return f"address add {address}/{subnet.split('/')[1]} dev {device}" + (" nodad" if ":" in address else "")


def _command(
    *argv: str, given: str | None = None, check: bool = True, within_s: float = 20.0
) -> subprocess.CompletedProcess[str]:
    """Run to the end; with `check`, a failure raises WorldError with the program's own words."""
    try:
        done = subprocess.run(
            argv,
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=within_s,
        )
    except subprocess.TimeoutExpired as exc:
        raise WorldError(f"no end within {within_s:g} s: {' '.join(argv)}") from exc
    if check and done.returncode != 0:
        raise WorldError(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr.strip()}")
    return done


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _dnsmasq(_tmp: Path, log: Path) -> list[str]:
    return [
        *(
            "dnsmasq",
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--pid-file=",
            "--user=root",
            "--group=root",
        ),
        *("--no-resolv", "--no-hosts", "--no-poll", "--bind-interfaces", f"--listen-address={UPSTREAM}"),
        *("--log-queries=extra", f"--log-facility={log}", "--local=/example.test/", "--local-ttl=120"),
        "--host-record=www.example.test,192.0.2.80,2001:db8::80",
        "--txt-record=www.example.test,hello from the upstream",
        *(f"--txt-record=big.example.test,{text}" for text in BIG_TXT),
    ]


def _unbound(tmp: Path, log: Path) -> list[str]:
    data = "".join(f"  local-data: '{record}'\n" for record in _zone_records("example.test."))
    config = tmp / "unbound.conf"
    config.write_text(
        f"server:\n  interface: {UPSTREAM}\n  access-control: 0.0.0.0/0 allow\n  do-daemonize: no\n"
        f'  chroot: ""\n  username: ""\n  pidfile: ""\n  directory: "{tmp}"\n  use-syslog: no\n'
        f'  logfile: "{log}"\n  log-queries: yes\n  module-config: "iterator"\n  num-threads: 1\n'
        f'  local-zone: "." refuse\n  local-zone: "example.test." static\n{data}'
        "remote-control:\n  control-enable: no\n"
    )
    return ["unbound", "-d", "-c", str(config)]


def _knotd(tmp: Path, log: Path) -> list[str]:
    zone = tmp / "example.test.zone"
    zone.write_text("\n".join(_zone_records("example.test.")) + "\n")
    config = tmp / "knot.conf"
    config.write_text(
        f'server:\n  listen: {UPSTREAM}@53\n  rundir: "{tmp}"\n  user: root:root\n'
        f'log:\n  - target: "{log}"\n    any: info\ndatabase:\n  storage: "{tmp}/knot"\n'
        f'zone:\n  - domain: example.test\n    file: "{zone}"\n    zonefile-sync: -1\n'
        "    journal-content: none\n"
    )
    return ["knotd", "-c", str(config)]


def _zone_records(apex: str) -> list[str]:
    return [
        f"{apex} 120 IN SOA ns.{apex} hostmaster.{apex} 1 3600 600 86400 60",
        f"{apex} 120 IN NS ns.{apex}",
        f"ns.{apex} 120 IN A {UPSTREAM}",
        f"www.{apex} 120 IN A 192.0.2.80",
        f"www.{apex} 120 IN AAAA 2001:db8::80",
        f'www.{apex} 120 IN TXT "hello from the upstream"',
        *(f'big.{apex} 120 IN TXT "{text}"' for text in BIG_TXT),
    ]
