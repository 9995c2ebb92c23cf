"""What is served: the registry and the zones as the files have them, the last good state of each, and how reloads went.

The server, ``pydns check``, ``pydns explain`` and ``pydns networks`` all read files through here, so they agree.
"""

from __future__ import annotations

import gc
import logging
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from resolver import upkeep
from resolver.errors import Fault
from resolver.parting import part_with
from resolver.registry.model import Contribution
from resolver.registry.store import Store
from resolver.sources.base import LiveSource
from resolver.sources.files import Refreshed, RegistryFiles
from resolver.sources.octets import Read, read_octets
from resolver.sources.zonefiles import ZoneLoad, load_zones
from resolver.views import Views, ViewSettings
from resolver.zones.model import ZoneSet

log = logging.getLogger(__name__)

REGISTRY = "registry"
ZONES = "zones"
CONFIG = "config"


class Reloads(Struct):
    """How often one kind of input was read anew, and when last with success."""

    successes: int = 0
    failures: int = 0
    last_success: float = 0.0
    """Unix time in seconds; 0 before the first one."""

    def count(self, *, success: bool) -> None:
        """One reload is over."""
        if success:
            self.successes += 1
            self.last_success = datetime.now(UTC).timestamp()
        else:
            self.failures += 1


MANY = 50_000
"""Hosts and endpoints that the collector would need tens of milliseconds for."""
_SWITCH_S = 0.0005


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Without the collector, and giving way to answers ten times as often as Python does by itself.

    What is read lives long and has no cycles; to look at it again and again costs more than to read it.
    """
    was_enabled, interval = gc.isenabled(), sys.getswitchinterval()
    gc.disable()
    sys.setswitchinterval(_SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        if was_enabled:
            gc.enable()


class Content:
    """Registry and zone files of one server."""

    def __init__(
        self,
        registry_paths: Sequence[Path],
        zone_paths: Sequence[Path],
        settings: ViewSettings,
        live: Sequence[LiveSource] = (),
        read: Read = read_octets,
    ) -> None:
        self.reloads = {kind: Reloads() for kind in (CONFIG, REGISTRY, ZONES)}
        self.settings = settings
        self.config_faults: tuple[Fault, ...] = ()
        """Why the configuration could not be read anew; empty while it is in order."""
        self.live = tuple(live)
        """Sources beside the files; what they say counts after the files' word."""
        self._registry = RegistryFiles(registry_paths, read)
        self._read = read
        self._zone_paths = tuple(zone_paths)
        self._store = Store()
        self._lock = threading.Lock()
        """A live source's word does not wait for files that are being read."""
        self._zone_load: ZoneLoad | None = None
        self._registry_faults: tuple[Fault, ...] = ()
        self._contributions: tuple[Contribution, ...] = ()
        self._views: Views | None = None
        self._former: Views | None = None
        """Large views of before, which answers may still be made from."""
        self._is_stale = False
        """The views were made with other settings; they stay until the next refresh is through."""
        self._reported: set[Fault] = set()
        self._seen: tuple[Fault, ...] = ()
        self.moves_clients = False
        """What `keep_up` took over last gives some client another view than it had."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every path whose change can change what is served: what is to be watched."""
        folders = self._zone_load.folders if self._zone_load is not None else frozenset()
        return (*self._registry.paths, *self._zone_paths, *sorted(folders))

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Everything that is wrong now, warnings too."""
        zones = self._zone_load.faults if self._zone_load is not None else ()
        live = (fault for source in self.live for fault in source.faults)
        return (*self.config_faults, *self._registry_faults, *live, *self._store.warnings, *zones)

    @property
    def contributions(self) -> tuple[Contribution, ...]:
        """What counts now of files and live sources, in their order."""
        return self._store.contributions

    @contextmanager
    def still(self) -> Iterator[bool]:
        """While it lasts nothing is taken over; False when something is being taken over right now."""
        is_still = self._lock.acquire(blocking=False)
        try:
            yield is_still
        finally:
            if is_still:
                self._lock.release()

    @property
    def zones(self) -> ZoneSet:
        """The zones that are served."""
        return self._zone_load.zones if self._zone_load is not None else ZoneSet()

    @property
    def views(self) -> Views:
        """The views of what was read last."""
        if self._views is None:
            self.refresh()
        assert self._views is not None
        return self._views

    def point_at(self, registry_paths: Sequence[Path], zone_paths: Sequence[Path], settings: ViewSettings) -> None:
        """Serve other files, or with other settings, from the next refresh on."""
        self._registry.paths = tuple(registry_paths)
        self._zone_paths = tuple(zone_paths)
        if settings != self.settings:
            self.settings = settings
            self._is_stale = True

    def refresh(self) -> bool:
        """Read again whatever has changed; True when the views are new ones.

        Faults are logged when they are new, so that a file that stays wrong is reported once.
        """
        with _undisturbed():
            refreshed, load = self._registry.refresh(), self._load_zones()
            with self._lock:
                return self._publish(self._take_registry(refreshed) | self._take_zones(load))

    def _load_zones(self) -> ZoneLoad:
        return load_zones(self._zone_paths, self._zone_load, self._read)

    def keep_up(self) -> bool:
        """Take over at once what live sources say of few endpoints; False where `merge` has to find out.

        To be called on the event loop: the views stay the same ones. `moves_clients` tells whether somebody has
        another of them than before.
        """
        if not self._lock.acquire(blocking=False):
            return False  # files are being taken over, and the live sources' word with them
        try:
            return self._keep_up()
        finally:
            self._lock.release()

    def _keep_up(self) -> bool:
        if self._views is None or self._is_stale:
            return False
        contributions = self._all_contributions()
        changes = self._store.changes(contributions)
        if not changes or (plans := upkeep.plan(self._views, changes)) is None:
            return False
        self._store.take(contributions, changes)
        try:
            self.moves_clients = upkeep.take(self._views, plans, self._store.snapshot)
        except Exception:
            self._views = None  # half of it is another: all of them are made anew
            raise
        self._report()
        return True

    def merge(self) -> bool:
        """Take over what the live sources say now, without a look at any file; True when the views are new ones."""
        with _undisturbed(), self._lock:
            return self._publish(self._store.replace(self._all_contributions()))

    def size(self) -> Mapping[str, int]:
        """How many there are of each kind of thing."""
        snapshot = self.views.snapshot
        return {
            "networks": len(snapshot.networks),
            "endpoints": sum(len(network.endpoints) for network in snapshot.networks.values()),
            "hosts": len(snapshot.hosts),
            "zones": len(self.zones),
        }

    def part(self) -> None:
        """Free what was served before; to be called when nobody answers from it any more."""
        former, self._former = self._former, None
        if former is not None and self._views is not None:
            part_with(former, self._views)

    def _publish(self, changed: bool) -> bool:
        if changed or self._is_stale or self._views is None:
            self._is_stale = False
            former = self._views
            self._views = Views(self._store.snapshot, self.zones, self.settings, self._views)
            changed = True
            snapshot = self._store.snapshot
            if len(snapshot.hosts) + sum(len(network.endpoints) for network in snapshot.networks.values()) > MANY:
                self._former = former
                gc.freeze()  # so that the collector does not stop everything to look at all of it
        self._report()
        return changed

    def _all_contributions(self) -> tuple[Contribution, ...]:
        live = (source.contribution for source in self.live)
        return (*self._contributions, *(contribution for contribution in live if contribution is not None))

    def _take_registry(self, refreshed: Refreshed) -> bool:
        before = self._registry_faults, self._contributions
        self._registry_faults, self._contributions = refreshed.faults, refreshed.contributions
        if not refreshed.changed and before == (refreshed.faults, refreshed.contributions):
            return bool(self.live) and self._store.replace(self._all_contributions())
        self.reloads[REGISTRY].count(success=all(fault.is_warning for fault in refreshed.faults))
        self._store.replace(self._all_contributions())
        return True

    def _take_zones(self, load: ZoneLoad) -> bool:
        former, self._zone_load = self._zone_load, load
        if former is not None and former.files == load.files:
            return False
        self.reloads[ZONES].count(success=all(fault.is_warning for fault in load.faults))
        return True

    def _report(self) -> None:
        faults = self.faults
        if faults == self._seen:
            return
        self._seen = faults
        now = set(faults)
        for fault in faults:
            if fault not in self._reported and fault not in self.config_faults:  # who loads it has told of it
                log.log(logging.WARNING if fault.is_warning else logging.ERROR, "%s", fault)
        if self._reported - now and not now:
            log.info("everything is in order again")
        self._reported = now
