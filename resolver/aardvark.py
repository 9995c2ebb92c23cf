"""The composition root of `pydns aardvark`: serves the folder that netavark writes, in the place of aardvark-dns.

There is one responder for each listen address. All share the forwarder and one set of views; what differs is whose
names a client sees that is no container: those of the address's own network.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import signal
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from msgspec import Struct, field
from msgspec.structs import replace

from resolver.assembly import own_upstreams, without_own
from resolver.counters import ServerStats
from resolver.errors import Fault, StartError
from resolver.forward.forwarder import Forwarder
from resolver.forward.policy import ForwardOptions
from resolver.forward.upstreams import Upstream
from resolver.hostconf import HostResolvConf
from resolver.pipeline.podman import chain_for_podman
from resolver.registry.model import Contribution, Snapshot
from resolver.registry.store import Store
from resolver.server.listeners import Address, Listeners, raise_descriptor_limit
from resolver.server.neighbours import is_link_local
from resolver.server.responder import Responder
from resolver.server.state import Pin, State
from resolver.server.tcp import TcpLimits
from resolver.sources.aardvark import PID_FILE, AardvarkFolder, Folder
from resolver.sources.watch import FileWatch
from resolver.views import View, Views, ViewSettings
from resolver.wire.name import WireName
from resolver.zones.model import ZoneSet

log = logging.getLogger(__name__)

MAX_SERVERS = 3
"""How many servers of resolv.conf are asked, as resolv.conf(5) and aardvark-dns have it."""
BIND_AGAIN_S = 1.0
"""When an address that could not be bound at a reload is tried again."""
TENTATIVE_S = 3.0
"""How long the start waits for a new IPv6 address: for a second or two the kernel asks whether it is taken."""
DRAIN_S = 1.5
_IF_INET6 = Path("/proc/self/net/if_inet6")
_IFA_F_TENTATIVE = 0x40

_SETTINGS = ViewSettings(ttl=0, negative_ttl=0, joins_networks=True, qualifies_names=False)


class AskerState(State, frozen=True):
    """A state whose clients are told apart by the container that has their address, wherever they ask."""

    networks: tuple[str, ...] = ()
    """Those of the listen address: what a client sees that is no container."""
    askers: Mapping[str, Pin] = field(default_factory=dict)

    def view_of(self, host: str) -> View:
        """The view of a client by its address."""
        asker = self.askers.get(host.partition("%")[0])
        if asker is None:
            if is_link_local(host) and self.neighbours.on_link(host) is not None:
                return self.views.pinned(self.networks, None)
            return self.views.from_outside(self.networks)
        return self.views.pinned(asker.networks, asker.endpoint)


def askers_of(snapshot: Snapshot) -> dict[str, Pin]:
    """By address: the networks of the container that has it, found by the container's id, and its name there."""
    networks: dict[str, dict[str, None]] = {}
    for network, endpoint in snapshot.endpoints():
        networks.setdefault(endpoint.id or f"{network.name} {endpoint.name}", {})[network.name] = None
    askers: dict[str, Pin] = {}
    for network, endpoint in snapshot.endpoints():
        own = tuple(networks[endpoint.id or f"{network.name} {endpoint.name}"])
        for address in map(str, endpoint.addresses):
            known = askers.get(address, Pin((), endpoint.name))
            askers[address] = Pin(tuple(dict.fromkeys(known.networks + own)), known.endpoint)
    return askers


class _Post(Struct, frozen=True):
    """What answers at one listen address."""

    responder: Responder
    listeners: Listeners


class Aardvark:
    """One running resolver of one folder."""

    def __init__(
        self, folder: Path, port: int, search_domain: WireName | None, resolv_conf: Path, *, forwards: bool = True
    ) -> None:
        self._folder = AardvarkFolder(folder)
        self._port = port
        self._chain = chain_for_podman(search_domain, forwards=forwards)
        self._resolv_conf = HostResolvConf(resolv_conf)
        self._pid_file = folder / PID_FILE
        self._store = Store()
        self._views: Views | None = None
        self._stats = ServerStats()
        self._wanted: dict[Address, tuple[str, ...]] = {}
        """The networks of each listen address."""
        self._posts: dict[Address, _Post] = {}
        """The addresses of networks that are gone too: what was asked there is still answered."""
        self._reported: frozenset[Fault] = frozenset()
        self._failures: list[str] = []
        """The addresses that could not be bound, with the reasons."""
        self._bind_again: asyncio.TimerHandle | None = None
        self._watch: FileWatch | None = None
        self._stopping = False
        self._are_networks_stale = False
        self._stale = asyncio.Event()
        self._forwarder: Forwarder

    @property
    def in_flight(self) -> int:
        """Queries that wait for an upstream, at whichever address."""
        return sum(post.responder.in_flight for post in self._posts.values())

    async def run(self, ready: Callable[[], None]) -> None:
        """Answer until a signal or the end of the last network; ``ready`` is called when every socket is bound.

        Raises StartError when one cannot be, or when there is nothing to serve.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        raise_descriptor_limit()
        self._forwarder = Forwarder()
        try:
            folder = self._read()
            if not folder.files:
                raise StartError(_nothing_in(self._folder.path, folder))
            failures = await self._listen(folder)
            deadline = loop.time() + TENTATIVE_S
            while failures and loop.time() < deadline and any(_is_tentative(address.host) for address in self._wanted):
                await asyncio.sleep(TENTATIVE_S / 30)
                failures = await self._listen(folder)
            if failures:
                raise StartError("\n".join(failures))
            self._write_pid()
            try:
                ready()
                await self._serve(loop)
            finally:
                self._remove_pid()
        finally:
            await self._close()

    def _stop(self) -> None:
        self._stopping = True
        self._stale.set()

    def _reload(self) -> None:
        self._are_networks_stale = True
        self._stale.set()

    async def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        """Follow resolv.conf as it changes, and the folder when a signal says so.

        The folder is not watched: netavark sends its signal when all is written, and minds when we end before it.
        """
        self._watch = FileWatch(loop, self._stale.set)
        while not self._stopping:
            # Follow first, read then: so no change falls between the two.
            await asyncio.to_thread(self._watch.follow, self._resolv_conf.paths)
            if self._are_networks_stale:
                self._are_networks_stale = False
                folder = await asyncio.to_thread(self._read)
                if not folder.is_empty:
                    self._take(await self._listen(folder), loop)
                elif await self._is_over():
                    log.info("no network is left")
                    return
            elif await asyncio.to_thread(self._resolv_conf.refresh):
                self._swap()
            await self._stale.wait()
            self._stale.clear()

    def _take(self, failures: list[str], loop: asyncio.AbstractEventLoop) -> None:
        """Say once what could not be bound, and try again until it is."""
        for failure in failures:
            if failure not in self._failures:
                log.error("%s", failure)
        self._failures = failures
        if self._bind_again is not None:
            self._bind_again.cancel()
        self._bind_again = loop.call_later(BIND_AGAIN_S, self._reload) if failures else None

    async def _is_over(self) -> bool:
        """Whether no network is left once nobody can find us any more: who came before that is served."""
        self._remove_pid()
        if (await asyncio.to_thread(self._read)).is_empty:
            return True
        self._write_pid()
        self._reload()
        return False

    def _read(self) -> Folder:
        """Read the folder and resolv.conf, and make the views of what they say."""
        folder = self._folder.refresh()
        self._resolv_conf.refresh()
        self._store.replace(Contribution(file.network.origin.place, (file.network,)) for file in folder.files)
        self._views = Views(self._store.snapshot, ZoneSet(), _SETTINGS, self._views)
        faults = (*folder.faults, *self._store.warnings)
        for fault in faults:
            if fault not in self._reported:
                log.log(logging.WARNING if fault.is_warning else logging.ERROR, "%s", fault)
        self._reported = frozenset(faults)
        return folder

    async def _listen(self, folder: Folder) -> list[str]:
        """Listen at exactly the addresses of these networks; returns what could not be bound."""
        wanted: dict[Address, tuple[str, ...]] = {}
        for file in folder.files:
            for host in file.listen:
                address = Address(host, self._port)
                wanted[address] = (*wanted.get(address, ()), file.network.name)
        self._wanted = wanted
        states = self._swap()
        failures = []
        for address, state in states.items():
            if address not in self._posts:
                responder = Responder(state, self._forwarder, self._stats)
                self._posts[address] = _Post(responder, Listeners(responder, TcpLimits()))
            try:
                await self._posts[address].listeners.reconcile([address])
            except StartError as error:
                failures.append(_bind_failure(address, error))
        for address, post in self._posts.items():
            if address not in wanted:
                await post.listeners.reconcile(())
        return failures

    def _swap(self) -> Mapping[Address, State]:
        """Answer from what was read last from now on, at whatever address anybody listens already."""
        assert self._views is not None
        listen = tuple(self._wanted)

        @lru_cache(maxsize=1024)
        def upstreams_of(servers: tuple[str, ...]) -> tuple[Upstream, ...]:
            return without_own(own_upstreams(servers), listen)

        common = AskerState(
            views=self._views,
            chain=self._chain,
            upstreams=upstreams_of(self._resolv_conf.conf.nameservers[:MAX_SERVERS]),
            own_upstreams=upstreams_of,
            options=ForwardOptions.of(self._resolv_conf.conf),
            askers=askers_of(self._store.snapshot),
        )
        states = {address: replace(common, networks=networks) for address, networks in self._wanted.items()}
        for address, state in states.items():
            if address in self._posts:
                self._posts[address].responder.swap(state)
        return states

    async def _close(self) -> None:
        """Take no more queries, answer what is in flight, close everything."""
        if self._watch is not None:
            self._watch.stop()
        for post in self._posts.values():
            post.listeners.stop()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + DRAIN_S
        while self.in_flight and loop.time() < deadline:  # noqa: ASYNC110 (a plain int, on the hot path)
            await asyncio.sleep(0.01)
        self._forwarder.close()
        await asyncio.sleep(0)  # the last replies leave
        for post in self._posts.values():
            post.listeners.close()

    def _write_pid(self) -> None:
        """netavark reads a number and nothing else, and may do so at any moment: the file is never half there."""
        fresh = self._pid_file.with_name(f".{PID_FILE}.{os.getpid()}")
        try:
            fresh.write_text(str(os.getpid()))
            fresh.replace(self._pid_file)
        except OSError as error:
            raise StartError(f"{self._pid_file} cannot be written: {error.strerror}") from error

    def _remove_pid(self) -> None:
        """Unless it is somebody else's by now."""
        with suppress(OSError):
            if self._pid_file.read_text() == str(os.getpid()):
                self._pid_file.unlink()


def _is_tentative(host: str) -> bool:
    """Whether the kernel still looks for others with that IPv6 address (RFC 4862 5.4; if_inet6 in proc(5))."""
    address = ipaddress.ip_address(host.partition("%")[0])
    with suppress(OSError):
        for line in _IF_INET6.read_text().splitlines():
            digits, _, _, _, flags, _ = line.split()
            if bytes.fromhex(digits) == address.packed and int(flags, 16) & _IFA_F_TENTATIVE:
                return True
    return False


def _nothing_in(path: Path, folder: Folder) -> str:
    """Why there is nothing to listen at."""
    return "\n".join(map(str, folder.faults)) or f"{path} has no network file, so there is nothing to listen at"


def _bind_failure(address: Address, error: StartError) -> str:
    """In the words of aardvark-dns, which people search the web for."""
    protocol = str(error).partition(" ")[0].lower()
    cause = error.__cause__
    if not isinstance(cause, OSError) or cause.errno is None:
        return f"failed to bind {protocol} listener on {address}: {error}"
    if isinstance(cause, socket.gaierror):  # a scope that is no interface; its number is no errno
        return f"failed to bind {protocol} listener on {address}: IO error: {cause.strerror}"
    reason = f"{os.strerror(cause.errno)} (os error {cause.errno})"
    return f"failed to bind {protocol} listener on {address}: IO error: {reason}"
