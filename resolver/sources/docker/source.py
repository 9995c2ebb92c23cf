"""The source that hears from a daemon of the Docker Engine API (docs/docker.md)."""

from __future__ import annotations

from collections.abc import Callable

from resolver.counters import SourceCounts
from resolver.errors import Fault
from resolver.registry.model import Contribution
from resolver.sources.docker.settings import DaemonSettings


class DockerSource:
    """One daemon's networks and containers."""

    def __init__(self, settings: DaemonSettings) -> None:
        self.name = settings.name
        self.contribution: Contribution | None = None
        self.faults: tuple[Fault, ...] = ()
        self.counts = SourceCounts()
        self._settings = settings

    async def start(self, changed: Callable[[], None]) -> None:
        """Connect."""
        raise NotImplementedError

    async def stop(self) -> None:
        """Disconnect."""
