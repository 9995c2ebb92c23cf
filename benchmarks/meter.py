"""What a server's whole session costs, read from /proc: its helpers and all their threads are counted too."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

_CPUCLOCK_SCHED = 2
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """The fields of proc(5)'s stat from the third on: the command before them may hold spaces."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def session_pids(session: int) -> Iterator[int]:
    """The processes of a session that have not ended; it is named by the pid of its leader."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = _stat(int(entry.name))
                if int(fields[3]) == session and fields[0] != "Z":
                    yield int(entry.name)


def process_cpu_s(pid: int) -> float:
    """User and system time of a process so far in seconds, with all its threads and its ended children.

    Its own is read from its CPU clock, in nanoseconds: stat has the same in ticks of 10 ms, which is all that a second
    at a low rate may take. The clock's number is what clock_getcpuclockid(3) returns.
    """
    children = sum(map(int, _stat(pid)[13:15])) * TICK_S
    return time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED) + children


def cpu_s(session: int) -> float:
    """User and system time of a session so far in seconds, all threads and ended children of all its processes."""
    total = 0.0
    for pid in session_pids(session):
        with contextlib.suppress(OSError):  # it has just ended, and counts with its parent from now on
            total += process_cpu_s(pid)
    return total


def memory_kb(session: int) -> dict[str, int]:
    """``rss`` and ``pss`` of a session in KB."""
    total = {"rss": 0, "pss": 0}
    for pid in session_pids(session):
        for kind, file, key in (("rss", "status", "VmRSS"), ("pss", "smaps_rollup", "Pss")):
            found = re.search(rf"^{key}:\s+(\d+) kB", Path(f"/proc/{pid}/{file}").read_text(), re.MULTILINE)
            total[kind] += int(found.group(1)) if found else 0
    return total


def received_datagrams(pid: int) -> int:
    """How many UDP datagrams have come to sockets in the network namespace of a process (RFC 4113's udpInDatagrams)."""
    lines = [line.split() for line in Path(f"/proc/{pid}/net/snmp").read_text().splitlines()]
    names, values = (line for line in lines if line[0] == "Udp:")
    return int(dict(zip(names, values, strict=True))["InDatagrams"])
