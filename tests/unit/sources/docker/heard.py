"""A source that a test listens to, connected to a fake daemon."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from resolver.registry.model import Network
from resolver.sources.docker.settings import DaemonSettings
from resolver.sources.docker.source import DockerSource
from tests.unit.sources.docker.fake_daemon import FakeDaemon
from tests.unit.sources.docker.recordings import container, network, place

WITHIN_S = 10.0


def run(test: Callable[[Path], Coroutine[Any, Any, None]], folder: Path) -> None:
    asyncio.run(test(folder), debug=False)


async def until(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not what():
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.002)


class Heard(DockerSource):
    """A source and how often it has called."""

    def __init__(self, settings: DaemonSettings) -> None:
        super().__init__(settings)
        self.calls = 0

    @property
    def networks(self) -> tuple[Network, ...]:
        return self.contribution.networks if self.contribution is not None else ()

    def names(self, network: str) -> set[str]:
        return {endpoint.name for known in self.networks if known.name == network for endpoint in known.endpoints}


@asynccontextmanager
async def connected(daemon: FakeDaemon, **settings: Any) -> AsyncIterator[Heard]:
    source = Heard(DaemonSettings("docker", daemon.host, **settings))

    def changed() -> None:
        source.calls += 1

    await source.start(changed)
    try:
        yield source
    finally:
        await source.stop()


def small(folder: Path) -> FakeDaemon:
    """A daemon with two containers on mynet."""
    return FakeDaemon(
        folder / "d.sock",
        networks=[network("mynet", "172.18.0.0/16", "172.18.0.1")],
        containers=[
            container("db", {"mynet": place("mynet", "172.18.0.2", "database")}),
            container("web", {"mynet": place("mynet", "172.18.0.3")}),
        ],
    )
