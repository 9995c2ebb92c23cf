"""A worker: a server that reads nothing itself, and answers from what its feeder has read."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from resolver import garbage
from resolver.app import Server
from resolver.assembly import tcp_limits, watch_loops
from resolver.content import Content
from resolver.errors import Fault
from resolver.forward.forwarder import Forwarder
from resolver.forward.lookups import Lookups
from resolver.forward.upstreams import Upstream
from resolver.freshness import on_thread
from resolver.listing import cache_of, upstreams_of
from resolver.registry.model import Contribution
from resolver.resolved.follower import Resolved
from resolver.server.listeners import Address
from resolver.server.loop import run
from resolver.server.responder import Responder
from resolver.sources.zonefiles import ZoneLoad
from resolver.views import ViewSettings
from resolver.wire.name import WireName
from resolver.workers.channel import Channel, Gone
from resolver.workers.inputs import Inputs, News, updated
from resolver.workers.loops import SharedLoops
from resolver.workers.process import heed_signals
from resolver.workers.sockets import HandedListeners, Pair, receive_pair
from resolver.workers.words import speak_as
from resolver.zones.model import ZoneSet

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Birth:
    """What a worker is born with."""

    number: int
    """From 1."""
    inputs: Inputs
    pairs: dict[Address, Pair]
    channel: socket.socket
    handed: socket.socket
    """Where further sockets come from."""
    mark: bytes
    """What probes for loops begin with, those of all workers."""


class ToldContent(Content):
    """What is served, as the feeder had it when it was copied, and as it has said since."""

    def __init__(self, former: Content) -> None:
        super().__init__((), (), former.settings)
        self._store = former._store
        self._views = former._views
        self._contributions = former.contributions
        self._zone_load = ZoneLoad(former.zones, (), (), frozenset())

    @property
    def faults(self) -> tuple[Fault, ...]:
        """None: they are the feeder's to tell."""
        return ()

    def hear(self, contributions: tuple[Contribution, ...], zones: ZoneSet, settings: ViewSettings) -> None:
        """Serve these from the next `keep_up` or `merge` on."""
        self._contributions = contributions
        if zones is not self.zones or settings != self.settings:
            self._zone_load = ZoneLoad(zones, (), (), frozenset())
            self.settings = settings
            self._is_stale = True


class _ToldResolved(Resolved):
    """What systemd-resolved says, as the feeder has heard it."""

    def want(self, wanted: bool) -> None:
        """It is followed by the feeder."""


class Worker(Server):
    """One of several processes that answer at the same addresses."""

    def __init__(self, birth: Birth, content: Content) -> None:
        inputs = birth.inputs
        super().__init__(inputs.settings, lambda: self.settings, pin=inputs.pin)
        self._birth = birth
        self._inputs = inputs
        self._pin_follows_settings = False  # the feeder says what it is pinned to
        self._told = self.content = ToldContent(content)
        self.resolved = _ToldResolved()
        self._hear(inputs)

    async def live(self) -> int:
        """Answer until the feeder, its end or a signal says stop; returns the exit status."""
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self.stop)
        loop.add_signal_handler(signal.SIGHUP, lambda: None)  # a terminal sends it to all, and the feeder sees to it
        heed_signals()
        birth = self._birth
        self._channel = Channel(birth.channel, self._calls(), self.stop)
        speak_as(birth.number, partial(self._channel.tell, "log"))
        await self._channel.open()
        self.forwarder = Forwarder()
        self.lookups = Lookups(self.forwarder)
        self.lookups.loops = self._loops = SharedLoops(self.forwarder, birth.mark, self._tell_of_probe)
        self._set_up_forwarding()
        self.responder = Responder(self.make_state(), self.lookups, loops=self._loops)
        self._handed = HandedListeners(self.responder, tcp_limits(self.settings), partial(receive_pair, birth.handed))
        self.listeners = self._handed
        try:
            await self._handed.take(birth.pairs, birth.pairs)
            garbage.expect_little()
            self.is_ready = True
            watch_loops(self.lookups, self.settings, self.responder.state, self.resolved.imported)
            await self._channel.call("ready")
            await self._stopping.wait()
        except Gone:
            log.debug("the feeder has ended")
        finally:
            self.is_ready = False
            await self.close()
        return 0

    def _calls(self) -> Mapping[str, Any]:
        """What the feeder asks for."""
        return {
            "inputs": self._take_news,
            "listen": self._listen,
            "loop": self._hear_of_probe,
            "metrics": self._metrics,
            "upstreams": self._upstreams,
            "cache": self._cache,
            "flush": self._flush,
            "alive": self._alive,
            "stop": self._stop,
        }

    async def _take_news(self, news: News) -> None:
        before, self._inputs = self._inputs, updated(self._inputs, news)
        self._hear(self._inputs)
        if self._inputs.settings != before.settings:
            self.listeners.limit(tcp_limits(self.settings))
        if not news.values and self._keep_up():
            return
        await on_thread(self.content.merge)
        self._publish(logging.DEBUG)

    def _hear(self, inputs: Inputs) -> None:
        self.settings, self.pin = inputs.settings, inputs.pin
        self.resolv_conf.conf, self.resolv_conf.is_resolved = inputs.conf, inputs.is_resolved
        self.resolved.imported = inputs.imported
        self._told.hear(inputs.contributions, inputs.zones, inputs.view_settings)

    async def _listen(self, wanted: tuple[Address, ...], fresh: tuple[Address, ...]) -> None:
        await self._handed.follow(wanted, fresh)

    def _tell_of_probe(self, key: WireName, to: tuple[Upstream, ...]) -> None:
        self._channel.tell("loop", key, to)

    async def _hear_of_probe(self, key: WireName, to: tuple[Upstream, ...]) -> None:
        self._loops.heard(key, to)

    async def _metrics(self) -> list[Any]:
        collectors = await on_thread(_collectors)
        return [family for collect in collectors(self) for family in collect()]

    async def _upstreams(self) -> dict[str, Any]:
        state = self.responder.state
        return upstreams_of(self.forwarder, state.upstreams, asyncio.get_running_loop().time(), state.chain.routes)

    async def _cache(self, below: WireName | None) -> dict[str, Any]:
        self.count_hits()
        return cache_of(self.lookups, below, asyncio.get_running_loop().time())

    async def _flush(self, below: WireName | None) -> int:
        return self.lookups.cache.flush(below)

    async def _alive(self) -> bool:
        return self.is_ready

    async def _stop(self) -> None:
        self.stop()


def _collectors() -> Callable[[Server], Sequence[Callable[[], Iterable[Any]]]]:
    """What gives the families of a server, and of its process; on a thread, for prometheus_client is long in coming."""
    from prometheus_client import ProcessCollector

    from resolver.operate import ServerReadings
    from resolver.ops.metrics import PydnsCollector

    return lambda server: (PydnsCollector(ServerReadings(server)).collect, ProcessCollector(registry=None).collect)


def live(birth: Birth, content: Content) -> int:
    """The whole life of a worker, in a process that was just forked; returns its exit status."""
    return run(Worker(birth, content).live())
