"""What tests see of a server's workers from outside: who they are, and what comes back from many ports at once."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

import dns.message

from tests.scenarios.live import At, Live, answers, ask, until


def workers_of(live: Live) -> list[int]:
    """The processes that a server has started."""
    pid = live.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_there(pid: int) -> bool:
    """Whether a process lives; one that has ended and was not waited for is there too."""
    return Path(f"/proc/{pid}").exists()


def no_more(pids: list[int], within_s: float = 5.0) -> None:
    """Wait for the end of processes."""
    until(lambda: not any(map(is_there, pids)), within_s)


def end(pid: int) -> None:
    """Kill one worker, by its number."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def from_many_ports(at: At, name: str, count: int = 60, within_s: float = 10.0) -> list[list[str]]:
    """The answers to one question from so many ports, which the kernel deals out to the workers."""
    found = []
    for _ in range(count):
        with socket.socket(at.family, socket.SOCK_DGRAM) as sock:
            sock.settimeout(within_s)
            sock.connect(at)
            sock.send(ask(name).to_wire())
            found.append(answers(dns.message.from_wire(sock.recv(65535))))
    return found


def everywhere(live: Live, name: str, wanted: list[str], within_s: float = 10.0) -> None:
    """Wait until whoever is asked says so."""
    until(lambda: all(answer == wanted for answer in from_many_ports(live.at, name, 40)), within_s)


def asked_of(live: Live, worker: int) -> float:
    """How many queries a worker has had."""
    return live.count("pydns_worker_requests_total", worker=str(worker))


def settled(live: Live, count: int) -> None:
    """Wait until so many workers are ready."""
    until(lambda: live.count("pydns_workers") == count)


def since(began: float) -> float:
    """Seconds."""
    return time.monotonic() - began
