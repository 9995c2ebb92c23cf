"""Servers under test: started in a session of their own, waited for until they answer, and ended again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import meter
from benchmarks.errors import BenchError
from benchmarks.machine import pinned

ANSWER_WITHIN_S = 0.1
START_WITHIN_S = 20.0
STOP_WITHIN_S = 2.0
_IF_WE_LIVE = '[ "$PPID" = "$0" ] || exit 1; exec "$@"'
_WHEN_WE_END = 'cat > /dev/null; kill -KILL "$(cat "$0")"'

Probe = Callable[[], socket.socket]
"""Makes the connected, non-blocking UDP socket from which a server is asked."""


@dataclass(slots=True)
class Server:
    """A program that answers DNS; the session that it is given counts its helpers in."""

    name: str
    command: Sequence[str]
    port: int
    probe: Probe
    log: Path
    core: int | None = None
    inside: Sequence[str] = ()
    """The words before the command that lead into a namespace."""
    asks: str = "n1"
    """The name whose address is its first answer."""
    start_within_s: float = START_WITHIN_S
    address: str = "127.0.0.1"
    """Where it is asked."""
    pid_file: Path | None = None
    """Where a program that forks and ends says who serves, in a session of its own."""
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _keeper: subprocess.Popen[bytes] | None = field(default=None, init=False)
    """Ends one that has forked when we have ended: that it was to end with us is forgotten at a fork."""

    def start(self) -> float:
        """Start the program and return the seconds from exec to its first answer."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        if self.pid_file is not None:
            self.pid_file.unlink(missing_ok=True)
            keeper = ["sh", "-c", _WHEN_WE_END, str(self.pid_file)]
            quiet = subprocess.DEVNULL
            self._keeper = subprocess.Popen(
                keeper, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, start_new_session=True
            )
        with self.log.open("wb") as log:
            began = time.perf_counter()
            self.process = subprocess.Popen(
                [*self.inside, *ending_with_us(), *pinned(self.core), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.log.parent,
                env=environment,
                start_new_session=True,
            )
            while not answered(self.probe, self.asks):
                is_late = time.perf_counter() - began > self.start_within_s
                if is_late or self._has_failed():
                    self.stop()
                    within = f" within {self.start_within_s:g} s" if is_late else ""
                    said = self.log.read_text(errors="replace")[-2000:]
                    raise BenchError(f"{self.name} gave no answer{within}:\n{said}")
                time.sleep(0.001)
            return time.perf_counter() - began

    def stop(self) -> None:
        """End the session: SIGTERM first, SIGKILL after a while; harmless when it does not run."""
        if self.process is None:
            return
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_WITHIN_S
        while self.process.poll() is None or any(meter.session_pids(self.session)):
            if time.monotonic() > deadline:
                self._signal(signal.SIGKILL)
                self.process.wait()
                break
            time.sleep(0.005)
        self.process = None
        if self._keeper is not None:
            self._keeper.kill()
            self._keeper.communicate()
            self._keeper = None

    def _signal(self, number: signal.Signals) -> None:
        for pid in {*meter.session_pids(self.pid), *meter.session_pids(self.session)}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _has_failed(self) -> bool:
        assert self.process is not None
        status = self.process.poll()
        return status is not None and not (self.pid_file and status == 0)

    @property
    def is_alive(self) -> bool:
        """Whether any process of it is there."""
        return self.process is not None and any(meter.session_pids(self.session))

    @property
    def pid(self) -> int:
        """The process id of what was started."""
        if self.process is None:
            raise BenchError(f"{self.name} does not run")
        return self.process.pid

    @property
    def session(self) -> int:
        """The session of whoever serves."""
        with contextlib.suppress(OSError, ValueError):
            if self.pid_file is not None:
                return int(self.pid_file.read_text())
        return self.pid

    def cpu_s(self) -> float:
        """User and system time so far."""
        return meter.cpu_s(self.session)

    def memory_kb(self) -> dict[str, int]:
        """``rss`` and ``pss`` in KB."""
        return meter.memory_kb(self.session)


def ending_with_us() -> list[str]:
    """The words before a command that end it with us, also when we are killed and cannot clean up.

    The kernel tells nobody of a parent that had ended before it was asked to: then the command is not begun.
    """
    return ["setpriv", "--pdeathsig", "KILL", "sh", "-c", _IF_WE_LIVE, str(os.getpid())]


def query(name: str, query_id: int = 0x5A5A) -> bytes:
    """A question for the address of a name, as a stub sends it (RFC 1035 4.1)."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!6H", query_id, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 1, 1)


def answered(probe: Probe, name: str) -> bool:
    """Send one query and say whether it is answered with an address.

    From a new socket each time: the kernel remembers where it led a socket's first packet, also one that came before
    the redirect.
    """
    with contextlib.closing(probe()) as sock, contextlib.suppress(OSError):
        sock.settimeout(ANSWER_WITHIN_S)
        sock.send(query(name))
        _, flags, _, answers, _, _ = struct.unpack_from("!6H", sock.recv(512))
        return bool(flags & 0x800F == 0x8000 and answers > 0)
    return False


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as tcp:
        tcp.bind(("127.0.0.1", 0))
        return int(tcp.getsockname()[1])


def udp_to(address: str, port: int) -> Probe:
    """A probe of an address and port, in the namespace of whoever calls it."""

    def probe() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.connect((address, port))
        return sock

    return probe
