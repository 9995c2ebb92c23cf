"""The source that hears from a daemon of the Docker Engine API (docs/docker.md).

Events first, then a full sync, so that nothing falls between them; then events, and a full sync now and then that
heals what events did not tell. What is known stays served while the daemon is away.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from resolver.counters import SourceCounts
from resolver.errors import Fault
from resolver.registry.model import Contribution
from resolver.sources.docker.client import Away, Client, DaemonError, Refused
from resolver.sources.docker.containers import fingerprint_of_listed
from resolver.sources.docker.events import FILTERS, Event, Kind, read_event
from resolver.sources.docker.facts import ContainerFacts
from resolver.sources.docker.inspections import Inspections, ended
from resolver.sources.docker.inventory import Inventory
from resolver.sources.docker.settings import DaemonSettings
from resolver.sources.docker.shape import text
from resolver.sources.docker.troubles import Troubles

log = logging.getLogger(__name__)

IN_FLIGHT = 16
"""How many inspects are under way at the same time."""
START_S = 10.0
"""How long a start waits for the first full sync."""
PARTIAL_S = 2.0
"""After how long a first full sync serves what it has, when something in it hangs."""
SWARM_S = 5.0
"""Seconds between looks at a swarm's services: other nodes' tasks come and go without an event here."""
GAP_S = 0.004
"""Seconds between two publications: what comes close together is looked at together."""
BATCH = 50
"""How many entries of a list are looked at before others have their turn."""
SOON_S = 1.0
"""Seconds from an event that made no sense to the full sync that tells what it may have been about."""
AWAY_S = 1.0
"""How long a daemon that was there may be away before that is said: a new connection may tell more of why."""
BACK_OFF_S = 0.1
MAX_BACK_OFF_S = 10.0


class DockerSource:
    """One daemon's networks and containers."""

    def __init__(self, settings: DaemonSettings) -> None:
        self.name = settings.name
        self.contribution: Contribution | None = None
        self.faults: tuple[Fault, ...] = ()
        self.counts = SourceCounts()
        self._settings = settings
        self._inventory = Inventory(settings)
        self._changed: Callable[[], None] = lambda: None
        self._task: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()
        self._troubles = Troubles(settings.name)
        self._saying: asyncio.TimerHandle | None = None
        self._touched: set[str] | None = None
        """What events have told of since the current sync began: it is not to be undone by an older list."""
        self._next_sync = math.inf
        self._soon_s = SOON_S
        self._hurried: asyncio.Event
        self._is_first = True
        self._is_publishing = False
        self._published_at = 0.0
        self._client: Client
        self._lost: asyncio.Future[None]
        self._containers: Inspections
        self._networks: Inspections

    @property
    def containers(self) -> Mapping[str, ContainerFacts]:
        """The running containers by their ids; changed in place, on the loop."""
        return self._inventory.facts

    async def start(self, changed: Callable[[], None]) -> None:
        """Connect; returns after the first full sync, or when that has to be waited for. Raises StartError."""
        self._client = Client(self._settings)
        self._changed = changed
        loop = asyncio.get_running_loop()
        limit = asyncio.Semaphore(IN_FLIGHT)
        self._containers = Inspections(self._ask_container, self._take_container, self._no_container, limit)
        self._networks = Inspections(self._ask_network, self._take_network, self._no_network, limit)
        self._task = loop.create_task(self._keep_connected())
        with suppress(TimeoutError):
            await asyncio.wait_for(self._settled.wait(), START_S)

    async def stop(self) -> None:
        """Hear no more; idempotent."""
        if self._task is not None:
            task, self._task = self._task, None
            await ended(task)
            self._say_nothing()

    # -- the connection ----------------------------------------------------------------------------

    async def _keep_connected(self) -> None:
        back_off = BACK_OFF_S
        while True:
            syncs = self.counts.syncs
            try:
                async with AsyncExitStack() as afterwards:
                    for close in (self._client.close, self._networks.close, self._containers.close):
                        afterwards.push_async_callback(close)
                    await self._session()
            except DaemonError as error:
                self._went_away(error)
            except Exception:
                log.exception("%s: an error of our own; connecting anew", self.name)
                self._went_away(DaemonError("an error of our own, which the log has"))
            self._settled.set()
            if self.counts.syncs > syncs:
                back_off = BACK_OFF_S
            await asyncio.sleep(back_off * random.uniform(0.5, 1.0))
            back_off = min(2 * back_off, MAX_BACK_OFF_S)

    def _went_away(self, error: DaemonError) -> None:
        was_up, self.counts.is_up = self.counts.is_up, False
        self.counts.failures += 1
        self._say_nothing()
        if was_up:
            self._saying = asyncio.get_running_loop().call_later(AWAY_S, self._say_away, error)
        else:
            self._say_away(error)

    def _say_away(self, error: DaemonError) -> None:
        self._troubles.is_away(self._settings.host, error, is_served=self.contribution is not None)
        self._publish()

    def _say_nothing(self) -> None:
        if self._saying is not None:
            self._saying.cancel()
            self._saying = None

    def _is_back(self) -> None:
        self._say_nothing()
        if self._troubles.away is not None:
            self._troubles.away = None
            log.info("%s: %s answers%s", self.name, self._settings.host, " again" if self.counts.syncs else "")

    async def _session(self) -> None:
        """One connection from its beginning to its end, which is always a DaemonError."""
        loop = asyncio.get_running_loop()
        version = await self._client.connect()
        self._inventory.is_podman = version.is_podman
        self._lost = loop.create_future()
        self._hurried = asyncio.Event()
        async with self._client.events(version.clock, FILTERS) as events:
            reader = loop.create_task(self._read(events))
            try:
                await self._until_broken(reader, self._sync())
                while True:
                    await self._until_broken(reader, self._pause(min(self._next_sync - loop.time(), SWARM_S)))
                    if loop.time() >= self._next_sync:
                        await self._until_broken(reader, self._sync())
                    else:
                        self._look_at_services()
            finally:
                await ended(reader)
                if self._lost.done():
                    self._lost.exception()  # heard of, whatever has ended the session
                else:
                    self._lost.cancel()

    async def _until_broken(self, reader: asyncio.Task[None], doing: Any) -> None:
        """Do something until it is done; raises what has ended the connection before that."""
        task = asyncio.ensure_future(doing)
        try:
            await asyncio.wait((task, reader, self._lost), return_when=asyncio.FIRST_COMPLETED)
            for done in (self._lost, reader, task):
                if done.done():
                    done.result()
        finally:
            await ended(task)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._hurried.wait(), seconds)
        self._hurried.clear()

    # -- full syncs --------------------------------------------------------------------------------

    async def _sync(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._touched = touched = set[str]()
        self._next_sync = math.inf
        self._soon_s = min(2 * self._soon_s, self._settings.resync_s) if self._troubles.event is not None else SOON_S
        self._troubles.event = None
        networks, containers = await asyncio.gather(self._client.get("/networks"), self._client.get("/containers/json"))
        if not isinstance(networks, list) or not isinstance(containers, list):
            raise DaemonError("it answers with something that is no list of networks and containers")
        self._take_networks(networks, touched)
        await self._take_list(containers, touched)
        self._forget_failures(touched | {text(raw, key) for raw in (*networks, *containers) for key in ("Id", "Name")})
        self._inventory.keep_faults_of(networks, containers, touched)
        if self._is_first and not await self._containers.settle(PARTIAL_S):
            self._first_is_known()
        await self._containers.settle()
        await self._networks.settle()
        self._touched = None
        self._next_sync = min(self._next_sync, loop.time() + self._settings.resync_s)
        self._is_back()
        self.counts.is_up = True
        self.counts.syncs += 1
        self.counts.sync_s = loop.time() - began
        self.counts.last_sync = datetime.now(UTC).timestamp()
        self._first_is_known()
        self._settled.set()

    def _first_is_known(self) -> None:
        self._is_first = False
        self._publish()

    def _take_networks(self, listed: list[Any], touched: set[str]) -> None:
        for raw in listed:
            if text(raw, "Id") not in touched:
                self.counts.skipped += self._inventory.put_network(raw)
        named = {text(raw, "Id") for raw in listed}
        for network_id in self._inventory.network_ids:
            if network_id not in named and network_id not in touched:
                self._drop_network(network_id)
        self._look_at_services()

    async def _take_list(self, listed: list[Any], touched: set[str]) -> None:
        named = {text(raw, "Id") for raw in listed}
        for index, raw in enumerate(listed):
            if index % BATCH == 0:
                await asyncio.sleep(0)  # queries are answered in between
            container_id = text(raw, "Id")
            if container_id in touched:
                continue
            if self._inventory.has_changed(container_id, fingerprint_of_listed(raw)):
                if container_id:
                    self._containers.want(container_id)
                else:
                    self.counts.skipped += self._inventory.put_container(raw)
        for container_id in self._inventory.container_ids:
            if container_id not in named and container_id not in touched:
                self._drop_container(container_id)

    def _forget_failures(self, existing: set[str]) -> None:
        """What could not be asked about and does not exist any more is not asked about again."""
        for subject in self._troubles.subjects:
            if subject not in existing:
                self._drop_container(subject)
                self._drop_network(subject)

    def _look_at_services(self) -> None:
        for network_id in self._inventory.swarm_networks:
            self._networks.want(network_id)

    # -- events ------------------------------------------------------------------------------------

    async def _read(self, events: AsyncIterator[object]) -> None:
        async for raw in events:
            if (event := read_event(raw)) is None:
                continue
            if event.kind is Kind.NONSENSE:
                self._pass_over(raw)
                continue
            self.counts.events += 1
            if self._touched is not None:
                self._touched.update(filter(None, (event.container, event.network)))
            self._heed(event)

    def _pass_over(self, raw: object) -> None:
        self.counts.skipped += 1
        self._troubles.made_no_sense(raw)
        self._publish_soon()
        soon = asyncio.get_running_loop().time() + self._soon_s
        if soon < self._next_sync:
            self._next_sync = soon
            self._hurried.set()

    def _heed(self, event: Event) -> None:
        is_asked = event.container in self._containers
        known = is_asked or self._inventory.knows_container(event.container)
        match event.kind:
            case Kind.CHANGED:
                self._containers.want(event.container)
            case Kind.RENAMED:
                for container_id in {event.container: None, **dict.fromkeys(self._inventory.linkers)}:
                    self._containers.want(container_id)
            case Kind.GONE:
                self._drop_container(event.container)
            case Kind.HEALTH:
                self._inventory.set_health(event.container, event.status)
                if is_asked:  # the answer may be older
                    self._containers.want(event.container)
            case Kind.CONNECTED if known:  # else it does not run yet, and a start will follow
                self._containers.want(event.container)
            case Kind.DISCONNECTED if known:
                self._inventory.disconnect(event.container, event.network)
                if is_asked:
                    self._containers.want(event.container)
                if event.network in self._inventory.swarm_networks:
                    self._networks.want(event.network)
            case Kind.NETWORK:
                self._networks.want(event.network)
            case Kind.NETWORK_GONE:
                self._drop_network(event.network)
            case Kind.SERVICES:
                self._look_at_services()
        self._publish_soon()

    def _drop_container(self, container_id: str) -> None:
        self._containers.forget(container_id)
        self._troubles.answered(container_id)
        self._inventory.drop_container(container_id)

    def _drop_network(self, network_id: str) -> None:
        self._networks.forget(network_id)
        self._troubles.answered(network_id)
        self._inventory.drop_network(network_id)

    # -- inspects ----------------------------------------------------------------------------------

    async def _ask_container(self, container_id: str) -> object:
        raw = await self._client.get(f"/containers/{quote(container_id, safe='')}/json")
        if text(raw, "Id") != container_id:
            raise DaemonError("the answer is about something else")
        return raw

    def _take_container(self, container_id: str, raw: object) -> None:
        self._troubles.answered(container_id)
        self.counts.skipped += self._inventory.put_container(raw)
        for network in self._inventory.networks_to_ask(container_id):
            self._networks.want(network)
        self._publish_soon()

    def _no_container(self, container_id: str, error: Exception) -> bool:
        return self._failed("container", container_id, error, self._inventory.drop_container)

    async def _ask_network(self, network_id: str) -> object:
        verbose = "?verbose=true" if network_id in self._inventory.swarm_networks else ""
        return await self._client.get(f"/networks/{quote(network_id, safe='')}{verbose}")

    def _take_network(self, network_id: str, raw: object) -> None:
        self._troubles.answered(network_id)
        self.counts.skipped += self._inventory.put_network(raw)
        self._publish_soon()

    def _no_network(self, network_id: str, error: Exception) -> bool:
        return self._failed("network", network_id, error, self._inventory.drop_network)

    def _failed(self, what: str, subject: str, error: Exception, drop: Callable[[str], None]) -> bool:
        """Note why there is no answer; True to ask again later. What was known of it stays."""
        if isinstance(error, Refused) and error.status == 404:
            drop(subject)
            self._troubles.answered(subject)
            self._publish_soon()
            return False
        if isinstance(error, Away):
            if not self._lost.done():
                self._lost.set_exception(error)
            return False
        if not isinstance(error, DaemonError):
            raise error
        self.counts.skipped += self._troubles.no_answer(what, subject, error)
        self._publish_soon()
        return True

    # -- what becomes of it ------------------------------------------------------------------------

    def _publish_soon(self) -> None:
        """At once when it is quiet; in a burst, what comes close together is published together."""
        if not self._is_publishing:
            self._is_publishing = True
            loop = asyncio.get_running_loop()
            loop.call_at(max(loop.time(), self._published_at + GAP_S), self._publish)

    def _publish(self) -> None:
        self._is_publishing = False
        self._published_at = asyncio.get_running_loop().time()
        changed = False if self._is_first else self._inventory.publish()
        faults = self._troubles.faults + (() if self._is_first else self._inventory.faults)
        if changed or faults != self.faults or (self.contribution is None and not self._is_first):
            self.faults = faults
            self.contribution = None if self._is_first else self._inventory.contribution
            self._changed()
