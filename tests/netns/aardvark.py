"""aardvark-dns and what stands in for it, started as netavark starts it, and upstreams that tell what they heard.

The program forks and leaves; its child becomes ours (we are its subreaper), so that we can wait for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import dns.message
import dns.rrset

from tests.netns.world import CONTAINERS, DigReply, World, in_namespace, wait_until

REAL = "/usr/lib/podman/aardvark-dns"
OURS = (str(Path(sys.executable).with_name("pydns")), "aardvark")
ENDS_WITHIN_S = 20.0
_PR_SET_CHILD_SUBREAPER = 36

LISTEN = {"mynet": ("172.18.0.1", "fd00:18::1"), "backend": ("172.19.0.1",), "vault%int": ("172.20.0.1",)}
"""By file name: the gateways of the world's networks."""


@contextlib.contextmanager
def subreaper() -> Iterator[None]:
    """Orphans of what is started inside become our children."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    try:
        yield
    finally:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def network_file(file_name: str, servers: str = "", own: Mapping[str, str] | None = None) -> str:
    """The text of the file of one of the world's networks: its containers, in the order of their names."""
    name = file_name.removesuffix("%int")
    lines = [",".join(LISTEN[file_name]) + (f" {servers}" if servers else "")]
    for container in CONTAINERS.values():
        if name in container.addresses:
            v4 = ",".join(address for address in container.addresses[name] if "." in address)
            v6 = ",".join(address for address in container.addresses[name] if ":" in address)
            aliases = [alias for alias in container.aliases[name] if "*" not in alias]
            names = ",".join([container.name, *aliases, container.id[:12]])
            more = f" {own[container.name]}" if own and container.name in own else ""
            lines.append(f"{container.id} {v4} {v6} {names}{more}")
    return "\n".join(lines) + "\n"


class Folder:
    """A folder of network files; a file is written in place, as netavark does it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()

    def write(self, **texts: str) -> None:
        """Write files by their names (``vault_int`` for ``vault%int``)."""
        for name, text in texts.items():
            (self.path / name.replace("_int", "%int")).write_text(text)

    def write_world(self) -> None:
        """A file for each of the world's networks."""
        for name in LISTEN:
            (self.path / name).write_text(network_file(name))

    def remove(self, name: str) -> None:
        (self.path / name).unlink()

    @property
    def pid(self) -> int | None:
        """Who serves it, by its own word."""
        try:
            return int((self.path / "aardvark.pid").read_text())
        except FileNotFoundError:
            return None


class DropIn:
    """A program that serves a folder in the world's host namespace."""

    def __init__(
        self,
        world: World,
        folder: Folder,
        *,
        program: Sequence[str] = OURS,
        port: int = 53,
        resolv_conf: Path | None = None,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        more: Sequence[str] = (),
        may_fail: bool = False,
    ) -> None:
        self.folder = folder
        self.port = port
        # As aardvark-dns has no option for it, /etc/resolv.conf is another file in a mount namespace of its own.
        bind = f'mount --bind "{resolv_conf or world.resolv_conf}" /etc/resolv.conf && exec "$@"'
        self.parent = subprocess.run(
            [
                *("nsenter", f"--net=/run/netns/{world.host}", "unshare", "--mount", "--propagation", "private"),
                *("sh", "-c", bind, "sh", *program, "--config", str(folder.path), "-p", str(port), *more, "run"),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ENDS_WITHIN_S,
            check=False,
            env={**os.environ, **(env or {})},
            pass_fds=pass_fds,
        )
        self.pid = folder.pid if self.parent.returncode == 0 else None
        assert may_fail or self.pid, self.parent

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.ended()

    def hang_up(self) -> None:
        """Say that the files have changed, as netavark does."""
        assert self.pid is not None
        os.kill(self.pid, signal.SIGHUP)

    def terminate(self) -> None:
        assert self.pid is not None
        os.kill(self.pid, signal.SIGTERM)

    def ended(self, within_s: float = ENDS_WITHIN_S) -> int:
        """The exit status of the child, below zero for a signal; fails when it does not end."""
        assert self.pid is not None
        deadline = time.monotonic() + within_s
        while True:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            if found:
                self.pid = None
                return os.waitstatus_to_exitcode(status)
            assert time.monotonic() < deadline, f"{self.pid} still runs"
            time.sleep(0.01)

    def answers(self, world: World, container: str, server: str, *question: str) -> DigReply:
        """What a container is answered at a listen address."""
        return world.ask(container, f"@{server}", "-p", str(self.port), "+tries=1", "+time=5", *question)


def await_reply(reply: Callable[[], DigReply], holds: Callable[[DigReply], bool], within_s: float = 5.0) -> DigReply:
    """The first reply for which that holds."""
    last: list[DigReply] = []

    def is_so() -> bool:
        last[:] = [reply()]
        return holds(last[0])

    wait_until(is_so, within_s, "the reply")
    return last[0]


class Heard(NamedTuple):
    """One query as an upstream heard it."""

    name: str
    protocol: str


class Oracle:
    """An upstream in the world's host namespace: every A is ``answer``; without one it says nothing."""

    def __init__(self, world: World, address: str, answer: str | None) -> None:
        self.address = address
        self.answer = answer
        self.heard: list[Heard] = []
        self._is_over = False
        self._udp, self._tcp = in_namespace(world.host, self._bind)
        self._threads = [threading.Thread(target=target) for target in (self._serve_udp, self._serve_tcp)]
        for thread in self._threads:
            thread.start()

    def _bind(self) -> tuple[socket.socket, socket.socket]:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((self.address, 53))
        tcp = socket.create_server((self.address, 53))
        udp.settimeout(0.1)
        tcp.settimeout(0.1)
        return udp, tcp

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        for thread in self._threads:
            thread.join()
        self._udp.close()
        self._tcp.close()

    def names(self, protocol: str | None = None) -> list[str]:
        """What it was asked for, by one protocol or by any."""
        return [heard.name for heard in self.heard if protocol in (None, heard.protocol)]

    def _reply(self, wire: bytes, protocol: str) -> bytes | None:
        query = dns.message.from_wire(wire)
        name = query.question[0].name
        self.heard.append(Heard(name.to_text(omit_final_dot=True), protocol))
        if self.answer is None:
            return None
        response = dns.message.make_response(query)
        response.answer.append(dns.rrset.from_text(name, 30, "IN", "A", self.answer))
        return response.to_wire()

    def _serve_udp(self) -> None:
        while not self._is_over:
            with contextlib.suppress(TimeoutError):
                wire, client = self._udp.recvfrom(4096)
                if (reply := self._reply(wire, "udp")) is not None:
                    self._udp.sendto(reply, client)

    def _serve_tcp(self) -> None:
        while not self._is_over:
            with contextlib.suppress(TimeoutError, OSError):
                connection, _ = self._tcp.accept()
                with connection:
                    connection.settimeout(2)
                    wire = connection.recv(4096)
                    if len(wire) > 2 and (reply := self._reply(wire[2:], "tcp")) is not None:
                        connection.sendall(len(reply).to_bytes(2, "big") + reply)
