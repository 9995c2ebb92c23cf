"""The resolver of a real dockerd, in a container's network at 127.0.0.11: with upstreams of the lab, or with names."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from benchmarks.errors import BenchError
from benchmarks.lab import Lab
from tests.docker.daemon import Daemon, DaemonError
from tests.docker.image import BASE, ENDS_AT_ONCE
from tests.netns.world import WorldError

AT = "127.0.0.11"


@contextlib.contextmanager
def docker_resolver(lab: Lab, upstreams: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Start a daemon and a container, and hand out the words that lead a command into its network."""
    try:
        with Daemon() as daemon:
            lab.join(daemon.host_netns)
            # dockerd reads it when the container starts
            daemon.resolv_conf.write_text("".join(f"nameserver {upstream}\n" for upstream in upstreams))
            daemon.docker("network", "create", "bench")
            daemon.docker("run", "--detach", "--name", "stub", "--network", "bench", BASE, *ENDS_AT_ONCE)
            yield ("nsenter", f"--net={daemon.netns_of('stub')}")
    except (DaemonError, WorldError) as error:
        raise BenchError(f"dockerd: {error}") from error


@contextlib.contextmanager
def named_resolver(names: Sequence[str]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Start a daemon and a container that has all the names; hand out dockerd's pid and the words that lead inside."""
    aliases = [f"--network-alias={name}" for name in names]
    try:
        with Daemon() as daemon:
            daemon.docker("network", "create", "bench")
            daemon.docker("run", "--detach", "--name", "stub", "--network", "bench", *aliases, BASE, *ENDS_AT_ONCE)
            yield daemon.pid, ("nsenter", f"--net={daemon.netns_of('stub')}")
    except (DaemonError, WorldError) as error:
        raise BenchError(f"dockerd: {error}") from error
