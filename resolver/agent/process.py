"""Whether a process of this machine is a container's: numbers are used again, and another machine has the same ones.

A process is held by a pidfd before anything is concluded from its number, so that what /proc tells is of one process
from the first look to the last (pidfd_open(2)). Called by ``member`` and by the agent's sweep.
"""

from __future__ import annotations

import os
import re
import select
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from resolver.agent.keeper import NotThere
from resolver.attach.attachment import ServedAlready
from resolver.attach.command import refuse_descriptors
from resolver.attach.netns import PROC
from resolver.errors import AttachError
from resolver.sources.docker.facts import ContainerFacts

_ID = re.compile(r"[0-9a-f]{64}")
_START_TIME = 19
"""Place of ``starttime`` after the command's name (proc_pid_stat(5), field 22)."""


class NotItsProcess(AttachError):
    """The number is another process's by now; the daemon will say so, sooner or later."""


class Elsewhere(ServedAlready):
    """The container runs on the machine of its daemon, which is another one."""


class Process:
    """One process, held: its number cannot come to mean another one unnoticed."""

    def __init__(self, pid: int) -> None:
        """Raises NotThere, or AttachError when it cannot be held."""
        self.pid = pid
        try:
            self.descriptor = os.pidfd_open(pid)
        except ProcessLookupError as error:
            raise NotThere(
                f"there is no process {pid} here; pydns has to see the host's processes (--pid host)"
            ) from error
        except OSError as error:
            refuse_descriptors(error)
            raise AttachError(f"process {pid} cannot be watched: {error.strerror}") from error

    def check_alive(self) -> None:
        """Raises NotThere when it has ended, so that what was read by its number may be another one's."""
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        if poll.poll(0):
            raise NotThere(f"process {self.pid} has ended")

    def close(self) -> None:
        """Let go of it; idempotent."""
        if self.descriptor >= 0:
            with suppress(OSError):
                os.close(self.descriptor)
            self.descriptor = -1


class Claims:
    """Which process each container had when its daemon told of it first."""

    def __init__(self, proc: Path = PROC) -> None:
        self._proc = proc
        self._started: dict[tuple[str, int], int | None] = {}
        self._remote: frozenset[str] = frozenset()

    def note(self, containers: Iterable[ContainerFacts], remote: Iterable[str] = ()) -> None:
        """By the daemons' last word these run; ``remote`` are the ids of those whose daemon is reached by TCP."""
        known = self._started
        keys = [(each.id, each.pid) for each in containers if each.pid]
        self._started = {key: known[key] if key in known else self._start_of(key[1]) for key in keys}
        self._remote = frozenset(remote)

    def hold(self, container_id: str, pid: int) -> Process:
        """The container's process; raises AttachError: NotThere, NotItsProcess, Elsewhere.

        Its cgroup names the container (``/docker/ID``, ``libpod-ID.scope``, ``/../ID`` for a reader in a cgroup
        namespace of its own). Where cgroups name none, as with rootless daemons, it must have begun when the process
        that the daemon told of had.
        """
        try:
            process = Process(pid)
        except NotThere:
            self._refuse_remote(container_id, pid)
            raise
        try:
            cgroup = self._read(pid, "cgroup")
            process.check_alive()
            if container_id not in cgroup:
                self._refuse_remote(container_id, pid)
                others = set(_ID.findall(cgroup)) - set(_ID.findall(self._read("self", "cgroup")))
                if (
                    others
                    or self._start_of(pid) is None
                    or self._start_of(pid) != self._started.get((container_id, pid))
                ):
                    raise NotItsProcess(f"process {pid} is not the container's: the number is another one's by now")
            process.check_alive()
        except BaseException:
            process.close()
            raise
        return process

    def _refuse_remote(self, container_id: str, pid: int) -> None:
        if container_id in self._remote:
            raise Elsewhere(
                f"its daemon is reached by tcp://, and its process {pid} is not here; "
                "an agent serves the machine that it runs on"
            )

    def _start_of(self, pid: int) -> int | None:
        """In ticks since the machine started; None when there is no such process."""
        words = self._read(pid, "stat").rpartition(")")[2].split()
        return int(words[_START_TIME]) if len(words) > _START_TIME else None

    def _read(self, pid: int | str, name: str) -> str:
        try:
            return (self._proc / str(pid) / name).read_text(errors="replace")
        except OSError:
            return ""
