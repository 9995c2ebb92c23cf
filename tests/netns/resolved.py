"""A host on which systemd-resolved runs: Debian's own, with a bus and links, in namespaces that the test made.

The host is a network and a mount namespace: its /run is empty, its /etc a copy whose resolv.conf is the link that
resolved's users have. Each link leads to a second namespace, where a dnsmasq at 10.1.N.53 answers every name with
192.0.2.N: who was asked is what is answered. Nothing leaves either namespace.
"""

from __future__ import annotations

import itertools
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.netns.world import DigReply, Process, parse_dig, wait_until

ROOT = Path(__file__).resolve().parents[2]
UNPACKED = ROOT / "build/resolved"
RESOLVECTL = UNPACKED / "usr/bin/resolvectl"
LINKS = ("lan", "vpn", "lab")
STUB = "../run/systemd/resolve/stub-resolv.conf"
WITHIN_S = 15.0
PORT = 5353
METRICS = "127.0.0.1:9153"

_USER = "systemd-resolve"
_USER_ID = 64053
BUS = "/run/dbus/system_bus_socket"
_RESOLVED_CONF = "[Resolve]\nFallbackDNS=\nLLMNR=no\nMulticastDNS=no\nDNSSEC=no\n"
_BUS_CONF = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>custom</type>
  <listen>unix:path={bus}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
  </policy>
  <include>{policy}</include>
</busconfig>
"""


class ResolvedHost:
    """The namespaces, and what runs in them."""

    def __init__(self, folder: Path, *, has_resolved: bool = True) -> None:
        self.folder = folder
        self._has_resolved = has_resolved
        self.etc = folder / "etc"
        self._started: list[Process] = []
        self._guests: list[Process] = []
        """What a test has started."""
        self._servers: dict[str, Process] = {}
        self._host: Process
        self._world: Process
        self.resolved: Process
        self.bus: Process

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End everything that was started, the latest first; the namespaces go with the last of it."""
        for process in reversed(self._started):
            process.end()

    def reset(self) -> None:
        """Make it as it was built: what a test has started ends, what it has broken or changed is made anew."""
        for process in reversed(self._guests):
            process.end()
            self._started.remove(process)
        self._guests.clear()
        for number, name in enumerate(LINKS, 1):
            if not Path(f"/proc/{self.pid}/net/dev_snmp6/{name}").exists():
                self._servers[name].end()
                self._link(number, name)
        resolv_conf = self.etc / "resolv.conf"
        if not resolv_conf.is_symlink() or os.readlink(resolv_conf) != STUB:
            relinked(resolv_conf, STUB)
        conf = self.etc / "systemd/resolved.conf"
        if conf.read_text() != _RESOLVED_CONF:
            conf.write_text(_RESOLVED_CONF)
            self.resolved.kill9()
        if self._write_bus_conf() or self.bus.poll() is not None:
            self.bus.end()
            self.resolved.end()
            self.start_bus()
        if self.resolved.poll() is not None:
            self.start_resolved()
        self.resolvectl_all(*(("revert", name) for name in LINKS))

    # -- what a person does on that host -----------------------------------------------------------

    def resolvectl(self, *arguments: str) -> None:
        """Change what resolved knows."""
        done = self.run(str(RESOLVECTL), *arguments)
        assert done.returncode == 0, done.stderr

    def resolvectl_all(self, *changes: Sequence[str]) -> None:
        """The same, several at a time."""
        done = self.run("sh", "-ec", "\n".join(shlex.join((str(RESOLVECTL), *change)) for change in changes))
        assert done.returncode == 0, done.stderr

    def run(self, *argv: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program on the host to its end."""
        environment = {**os.environ, **_environment(), **(env or {})}
        return subprocess.run(
            [*self._inside, *argv], capture_output=True, text=True, timeout=WITHIN_S, check=False, env=environment
        )

    def start(self, name: str, *argv: str) -> Process:
        """Start a program on the host."""
        process = Process([*self._inside, "env", *(f"{k}={v}" for k, v in _environment().items()), *argv],
                          self.folder / name)  # fmt: skip
        self._started.append(process)
        self._guests.append(process)
        return process

    def start_in_world(self, name: str, *argv: str) -> Process:
        """Start a program where the links lead to."""
        process = self._begin(name, "nsenter", "-t", str(self._world.pid), "-n", *argv)
        self._guests.append(process)
        return process

    def start_resolved(self) -> None:
        """Start systemd-resolved, and wait for it to be on the bus."""
        binary = next(path for path in (UNPACKED / "lib/systemd/systemd-resolved",
                                        UNPACKED / "usr/lib/systemd/systemd-resolved") if path.exists())  # fmt: skip
        self.resolved = self.start("resolved", str(binary))
        self._guests.remove(self.resolved)
        wait_until(lambda: self.run(str(RESOLVECTL), "status").returncode == 0, WITHIN_S, "resolved runs")

    def start_bus(self) -> None:
        """Start a system bus."""
        self.bus = self.start("bus", "dbus-daemon", f"--config-file={self.folder}/bus.conf", "--nofork", "--nopidfile")
        self._guests.remove(self.bus)
        connect = f"import socket; socket.socket(socket.AF_UNIX).connect({BUS!r})"
        wait_until(lambda: self.run(sys.executable, "-c", connect).returncode == 0, WITHIN_S, "the bus listens")

    def serve(self, *settings: str, name: str = "pydns", address: str = "127.0.0.1") -> Process:
        """Start `pydns serve` with the host's own resolv.conf, and wait until it is ready."""
        config = self.folder / f"{name}.toml"
        registry = self.folder / "registry.toml"
        registry.write_text('[networks.mynet.endpoints.db]\naddresses = ["172.18.0.2"]\n')
        forward = "\n".join(settings)
        config.write_text(
            f'[server]\nlisten = ["{address}:{PORT}"]\n[registry]\nfiles = ["{registry}"]\nzones = []\n'
            f'[metrics]\nlisten = "{METRICS}"\n[forward]\n{forward}\n'
        )
        pydns = self.start(name, sys.executable, "-m", "resolver.cli.main", "serve", "-c", str(config))
        wait_until(lambda: _is_ready(pydns), WITHIN_S, "pydns is ready")
        return pydns

    def pydns(self, *arguments: str, name: str = "pydns") -> str:
        """What a command of pydns prints."""
        config = str(self.folder / f"{name}.toml")
        done = self.run(sys.executable, "-m", "resolver.cli.main", arguments[0], "-c", config, *arguments[1:])
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def told(self, *arguments: str) -> Any:
        """The same as JSON."""
        return json.loads(self.pydns(*arguments, "--json"))

    def upstreams_of(self, name: str) -> list[str]:
        """Whom pydns asks for a name, by its own word."""
        told = self.run("curl", "-sf", f"http://{METRICS}/explain?name={name}")
        upstreams: list[str] = json.loads(told.stdout)["upstreams"]
        return upstreams

    def ask(self, name: str, rtype: str = "A", address: str = "127.0.0.1") -> DigReply:
        """Ask pydns on the host."""
        command = ("dig", f"@{address}", "-p", str(PORT), "+tries=1", "+time=5", name, rtype)
        return parse_dig(self.run(*command).stdout)

    def who(self, name: str) -> list[int]:
        """Whose answers come for a name: the numbers of the links, from 1."""
        return [int(text.rpartition(".")[2]) for text in self.ask(name).rdata]

    def await_who(self, name: str, link: int, within_s: float = WITHIN_S) -> float:
        """Wait until a link's server is asked for a name; the seconds that took."""
        return wait_until(lambda: self.who(name) == [link], within_s, f"{name} is asked at link {link}")

    @property
    def pid(self) -> int:
        """A process of the host's namespaces."""
        return self._host.pid

    @property
    def run_folder(self) -> Path:
        """The host's /run, as it is seen from outside."""
        return Path(f"/proc/{self.pid}/root/run")

    @contextmanager
    def container(self) -> Iterator[int]:
        """A network namespace beside the host's; its process id."""
        ready = self.folder / "container-ready"
        process = self._begin(
            "container", "unshare", "-n", "sh", "-c", f"ip link set lo up && touch {ready} && exec sleep infinity"
        )
        wait_until(ready.exists, WITHIN_S, "the container is made")
        yield process.pid
        process.end()

    def sidecar(self, container: int) -> Process:
        """Start `pydns sidecar` for a container that has no resolv.conf of its own."""
        config = self.folder / "sidecar.toml"
        registry = self.folder / "registry.toml"
        registry.write_text('[networks.mynet.endpoints.db]\naddresses = ["172.18.0.2"]\n')
        config.write_text(f'[registry]\nfiles = ["{registry}"]\nzones = []\n[metrics]\nlisten = "off"\n')
        pydns = self.start(
            "sidecar", sys.executable, "-m", "resolver.cli.main", "sidecar", "-c", str(config),
            "--netns", f"/proc/{container}/ns/net", "--network", "mynet",
        )  # fmt: skip
        wait_until(lambda: _is_ready(pydns), WITHIN_S, "the sidecar is ready")
        return pydns

    def agent(self, *names: str) -> Process:
        """Start `pydns agent` for namespaces that are made for it, all on one network; none has a way out."""
        members = "".join(
            f'[networks.mynet.endpoints.{name}]\naddresses = ["172.18.0.{last}"]\n'
            for last, name in enumerate(names, 1)
        )
        registry, config = self.folder / "registry.toml", self.folder / "agent.toml"
        registry.write_text(f'[networks.mynet]\nsubnets = ["172.18.0.0/16"]\n{members}')
        config.write_text(f'[registry]\nfiles = ["{registry}"]\nzones = []\n[metrics]\nlisten = "off"\n')
        for name in names:
            done = self.run("ip", "netns", "add", name)
            assert done.returncode == 0, done.stderr
        wanted = [flag for name in names for flag in ("--netns", name)]
        agent = self.start("agent", sys.executable, "-m", "resolver.cli.main", "agent", "-c", str(config), *wanted)
        wait_until(lambda: _is_ready(agent), WITHIN_S, "the agent is ready")
        return agent

    def ask_inside(self, container: int, name: str) -> list[str]:
        """Ask 127.0.0.11 in a container."""
        command = ("nsenter", "-t", str(container), "-n", "dig", "@127.0.0.11", "+tries=1", "+time=5", name)
        return parse_dig(subprocess.run(command, capture_output=True, text=True, check=False).stdout).rdata

    # -- how it is built -------------------------------------------------------------------------------

    @property
    def _inside(self) -> Sequence[str]:
        return ("nsenter", "-t", str(self._host.pid), "-n", "-m")

    def _build(self) -> None:
        shutil.copytree("/etc", self.etc, symlinks=True, ignore=_unreadable)
        self._write_etc()
        self._write_bus_conf()
        ready = self.folder / "ready"
        setup = (
            f"mount --bind {self.etc} /etc && mount -t tmpfs none /run && mkdir -p /run/dbus /run/systemd"
            f" && ip link set lo up && touch {ready} && exec sleep infinity"
        )
        self._host = self._begin("host", "unshare", "-n", "-m", "--propagation", "private", "sh", "-c", setup)
        self._world = self._begin("world", "unshare", "-n", "sh", "-c", f"touch {ready}.world && exec sleep infinity")
        wait_until(lambda: ready.exists() and Path(f"{ready}.world").exists(), WITHIN_S, "the namespaces are made")
        for number, name in enumerate(LINKS, 1):
            self._link(number, name)
        if self._has_resolved:
            self.start_bus()
            self.start_resolved()

    def _begin(self, name: str, *argv: str) -> Process:
        process = Process(argv, self.folder / name)
        self._started.append(process)
        return process

    def _write_bus_conf(self) -> bool:
        """True when it was another one."""
        policy = UNPACKED / "usr/share/dbus-1/system.d/org.freedesktop.resolve1.conf"
        file, text = self.folder / "bus.conf", _BUS_CONF.format(bus=BUS, policy=policy)
        is_other = not file.exists() or file.read_text() != text
        file.write_text(text)
        return is_other

    def _write_etc(self) -> None:
        for name, line in (("passwd", f"{_USER}:x:{_USER_ID}:{_USER_ID}::/:/usr/sbin/nologin"),
                           ("group", f"{_USER}:x:{_USER_ID}:")):  # fmt: skip
            file = self.etc / name
            if f"\n{_USER}:" not in file.read_text():
                file.write_text(f"{file.read_text()}{line}\n")
        (self.etc / "resolv.conf").unlink(missing_ok=True)
        (self.etc / "resolv.conf").symlink_to(STUB)
        (self.etc / "systemd").mkdir(exist_ok=True)
        (self.etc / "systemd/resolved.conf").write_text(_RESOLVED_CONF)

    def _link(self, number: int, name: str) -> None:
        peer, there = f"{name}-peer", str(self._world.pid)
        for argv in (
            (*self._inside, "ip", "link", "add", name, "type", "veth", "peer", "name", peer, "netns", there),
            (*self._inside, "ip", "address", "add", f"10.1.{number}.1/24", "dev", name),
            (*self._inside, "ip", "address", "add", f"fe80::{number}/64", "dev", name, "nodad"),
            (*self._inside, "ip", "link", "set", name, "up"),
            ("nsenter", "-t", there, "-n", "ip", "address", "add", f"10.1.{number}.53/24", "dev", peer),
            ("nsenter", "-t", there, "-n", "ip", "address", "add", "fe80::53/64", "dev", peer, "nodad"),
            ("nsenter", "-t", there, "-n", "ip", "link", "set", peer, "up"),
        ):
            subprocess.run(argv, check=True, capture_output=True, timeout=WITHIN_S)
        self._servers[name] = self._begin(
            f"dnsmasq-{name}", "nsenter", "-t", there, "-n", "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null",
            "--no-resolv", "--no-hosts", "--pid-file", f"--interface={peer}", "--except-interface=lo",
            "--bind-interfaces", f"--address=/#/192.0.2.{number}",
            f"--ptr-record=7.9.9.10.in-addr.arpa,host.link{number}.example",
        )  # fmt: skip


@contextmanager
def asking(host: ResolvedHost, domain: str = "example", askers: int = 3) -> Iterator[list[DigReply]]:
    """Ask again and again, each time for a name that is in nobody's cache."""
    replies: list[DigReply] = []
    is_over = threading.Event()

    def ask(asker: int) -> None:
        for turn in itertools.count():
            if is_over.is_set():
                return
            replies.append(host.ask(f"lost-{asker}-{turn}.{domain}"))

    threads = [threading.Thread(target=ask, args=(asker,)) for asker in range(askers)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(replies) > 2 * askers, WITHIN_S, "queries are under way")
        yield replies
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def replaced(path: Path, text: str) -> None:
    """Rename a finished file over another."""
    fresh = path.with_name(".fresh")
    fresh.write_text(text)
    fresh.rename(path)


def relinked(path: Path, target: str) -> None:
    """Rename a finished link over another, or over a file."""
    fresh = path.with_name(".fresh")
    fresh.symlink_to(target)
    fresh.rename(path)


def _environment() -> dict[str, str]:
    found = sorted(UNPACKED.glob("usr/lib/**/systemd/libsystemd-shared-*.so"))
    return {"LD_LIBRARY_PATH": str(found[0].parent)} if found else {}


def _unreadable(folder: str, names: list[str]) -> list[str]:
    """Sockets and the like are no files to copy."""
    return [name for name in names if not (Path(folder, name).is_symlink() or Path(folder, name).is_dir()
                                           or Path(folder, name).is_file())]  # fmt: skip


def _is_ready(pydns: Process) -> bool:
    assert pydns.poll() is None, pydns.stderr_text()
    return " ready: " in pydns.stderr_text()
