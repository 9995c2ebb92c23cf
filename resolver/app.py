"""The composition root: builds a server from settings, runs it, reloads it, ends it (docs/architecture.md)."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from resolver import garbage
from resolver.assembly import (
    askers_upstreams,
    bootstrap_servers,
    chain_of,
    fixed_at_start,
    forward_options,
    host_servers,
    host_upstreams,
    imports,
    live_sources,
    needs_resolv_conf,
    own_upstreams,
    pin_of,
    point,
    set_up_forwarding,
    settings_faults,
    tcp_limits,
    unknown_networks,
    uses_system,
    view_settings,
    watch_loops,
    without_own,
)
from resolver.config.schema import Settings
from resolver.content import CONFIG, Content, Reloads
from resolver.errors import ConfigError, Fault, PydnsError, StartError
from resolver.forward.forwarder import Forwarder, no_namespace
from resolver.forward.lookups import Lookups
from resolver.forward.resolvconf import ResolvConf
from resolver.forward.system_names import take_names_as_they_are
from resolver.forward.transports import SocketFactory
from resolver.forward.upstreams import Upstream
from resolver.freshness import Freshness, in_time
from resolver.hostconf import RESOLV_CONF, HostResolvConf
from resolver.pipeline.chain import Chain
from resolver.resolved.follower import RESOLVED, Resolved
from resolver.server.listeners import Address, Listeners, bind, raise_descriptor_limit
from resolver.server.responder import Responder
from resolver.server.state import Pin, State
from resolver.sources.writers import Writers
from resolver.wire.name import IPAddress

if TYPE_CHECKING:
    from resolver.ops.http import HttpServer

log = logging.getLogger(__name__)

DRAIN_S = 1.5
"""How long queries in flight may still take when the server ends; the rest of 2 s is for cleaning up."""


class Server:
    """One running pydns: its content, its listeners and what looks after them."""

    def __init__(
        self,
        settings: Settings,
        load_settings: Callable[[], Settings],
        *,
        pin: Pin | None = None,
        fallback_gateways: Callable[[], tuple[IPAddress, ...]] = tuple,
        former: ResolvConf | None = None,
    ) -> None:
        self.settings = settings
        self.pin = pin
        self._pin_follows_settings = pin == pin_of(settings)
        self._load_settings = load_settings
        self._fallback_gateways = fallback_gateways
        self._former = former or ResolvConf()
        """What the namespace's own resolv.conf said before us: whom it asked, and how."""
        self.networks_now: Callable[[], tuple[str, ...]] | None = None
        """The networks to pin after each reading of the registry, where they follow from it."""
        self._gone: tuple[str, ...] = ()
        writers = Writers()
        self.content = Content(
            settings.registry_files,
            settings.zone_paths,
            view_settings(settings, fallback_gateways()),
            live_sources(settings),
            writers.read,
        )
        self.content.reloads[CONFIG].count(success=True)
        self.is_ready = False
        self.repairs: Callable[[], int | None] = lambda: None
        is_needed = needs_resolv_conf(settings)
        self.resolv_conf = HostResolvConf(settings.resolv_conf, is_needed=is_needed, read=writers.read)
        self.resolved = Resolved()
        self._system_faults: tuple[Fault, ...] = ()
        self._bootstrap_faults: tuple[Fault, ...] = ()
        self._namespace_sockets: SocketFactory | None = None
        self._http: HttpServer | None = None
        self._stopping = asyncio.Event()
        self._freshness = Freshness(
            (self.content, self.resolv_conf, self.resolved),
            self._merge,
            self._take_over,
            self._publish,
            self._keep_up,
            writers,
        )
        self._joined: dict[Responder, Callable[[State], State]] = {}
        self.swapped: Callable[[], None] = lambda: None
        """Called when answers are made from another state than before."""
        self.forwarder: Forwarder
        self.lookups: Lookups
        self.responder: Responder
        self.listeners: Listeners

    async def open(self, namespace_sockets: SocketFactory | None = None) -> None:
        """Read everything and make ready to answer; no socket is bound yet. Raises PydnsError.

        ``namespace_sockets`` makes the sockets for upstreams that are asked from inside a namespace.
        """
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        self._namespace_sockets = namespace_sockets
        raise_descriptor_limit()
        self._heed_system()
        await asyncio.gather(*(source.start(self._freshness.source_changed) for source in self.content.live))
        self.content.refresh()
        if self.pin is not None and (faults := unknown_networks(self.pin, self.content.views)):
            raise ConfigError([*(fault for fault in self.content.faults if not fault.is_warning), *faults])
        self.resolv_conf.refresh()
        await self.resolved.start(self._freshness.source_changed, wanted=self._imports())
        self.forwarder = Forwarder()
        self.lookups = Lookups(self.forwarder)
        self._set_up_forwarding()
        self.responder = Responder(self.make_state(), self.lookups, loops=self.lookups.loops)
        self.listeners = Listeners(self.responder, tcp_limits(self.settings))

    def join(self, restate: Callable[[State], State]) -> Responder:
        """Another responder beside the server's own, with the same counters; ``restate`` makes its state of ours."""
        responder = Responder(restate(self.responder.state), self.lookups, self.responder.stats, self.lookups.loops)
        self._joined[responder] = restate
        return responder

    def leave(self, responder: Responder) -> None:
        """The responder is no longer to be kept up to date."""
        del self._joined[responder]
        self.lookups.loops.leave(responder.state.in_namespace)

    def count_hits(self) -> None:
        """Take what the listeners have answered by themselves into the counters."""
        self.responder.count_ready_hits()
        for responder in self._joined:
            responder.count_passing_hits()

    @property
    def in_flight(self) -> int:
        """Queries that wait for an upstream, at whichever responder."""
        return self.responder.in_flight + sum(responder.in_flight for responder in self._joined)

    def make_state(self) -> State:
        """What answers are to be made from, by the settings and the files as they were read last."""
        return State(
            views=self.content.views,
            chain=chain_of(self.settings, self.resolved.imported),
            upstreams=self.default_upstreams(),
            own_upstreams=askers_upstreams(self.settings.listen, in_namespace=self._namespace_sockets is not None),
            options=forward_options(self.settings, self._former if self._asks_inside() else self.resolv_conf.conf),
            pin=self.pin,
            in_namespace=self._namespace_sockets or no_namespace,
            passes_client_subnet=self.settings.passes_client_subnet,
            rebinding_allowed=self.settings.rebinding_allowed,
            host_servers=host_servers(self.settings, self.resolv_conf.conf),
        )

    def default_upstreams(self) -> tuple[Upstream, ...]:
        """Everybody's upstreams, without those that are ourselves.

        The configured ones, else those that the namespace had before we came, else those that the host asks.
        """
        upstreams = (
            self.settings.upstreams
            or own_upstreams(self._former.nameservers, in_namespace=True)
            or host_upstreams(self.resolv_conf, self.resolved.imported)
        )
        return without_own(upstreams, () if self._namespace_sockets else self.settings.listen)

    def _asks_inside(self) -> bool:
        """True when everybody's upstreams are those that the namespace had before us."""
        return bool(self._former.nameservers) and not self.settings.upstreams

    def _imports(self) -> bool:
        """Whether systemd-resolved is asked: who has servers of its own asks these for everything."""
        return not self._asks_inside() and imports(self.settings, self.resolv_conf)

    def own_chain(self, state: State) -> Chain:
        """The answer contract for who has servers of its own: with the routes that are configured alone."""
        return state.chain if self.resolved.imported is None else chain_of(self.settings)

    def _merge(self) -> bool:
        return self.resolved.take() | self.content.merge()

    async def bind(self) -> None:
        """Listen at the configured addresses. Raises StartError."""
        await self.listeners.reconcile(self.settings.listen, may_lack="server.listen" not in self.settings.is_stated)

    def bind_http(self) -> None:
        """Bind the operators' HTTP listener; a default port that is taken is done without. Raises StartError."""
        if self.settings.metrics is None:
            return
        try:
            sock = bind(self.settings.metrics, socket.SOCK_STREAM)
        except StartError as error:
            if "metrics.listen" in self.settings.is_stated:
                raise StartError(str(error).replace("--listen", "--metrics")) from error
            log.warning("no metrics: %s", str(error).replace("--listen", "--metrics"))
            return
        self._http = self.http_server(sock)
        log.info("metrics at http://%s/metrics", Address(self.settings.metrics.host, sock.getsockname()[1]))

    def http_server(self, sock: socket.socket) -> HttpServer:
        """What answers operators on a socket that is bound already."""
        from resolver.operate import http_server

        return http_server(sock, self)

    async def serve(self, banner: str) -> None:
        """Answer until a signal ends it; ``banner`` is what the ready line says."""
        self.is_ready, loop = True, asyncio.get_running_loop()
        watch_loops(self.lookups, self.settings, self.responder.state, self.resolved.imported)
        log.info("ready: %s", banner)
        garbage.expect_little()
        if self._http is not None:
            self._http.start(loop)
        keeper = loop.create_task(self._freshness.keep())
        await self._stopping.wait()
        log.info("stopping")
        self.is_ready = False
        keeper.cancel()
        self._freshness.stop()

    def repin(self, pin: Pin) -> None:
        """Serve another view than the one asked for at the start."""
        self.pin = pin
        self._swap()

    def stop(self) -> None:
        """End `serve`."""
        self._stopping.set()

    async def drain(self) -> None:
        """Wait until every query in flight is answered, at most `DRAIN_S`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + DRAIN_S
        while self.in_flight and loop.time() < deadline:  # noqa: ASYNC110 (a plain int, on the hot path)
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        """Take no more queries, answer what is in flight, close everything."""
        self.listeners.stop()
        await asyncio.gather(*(source.stop() for source in self.content.live))
        await self.drain()
        self.forwarder.close()
        await self.resolved.stop()
        await asyncio.sleep(0)  # the last replies leave
        self.listeners.close()
        self._freshness.stop()
        if self._http is not None:
            self._http.stop()

    def reload(self) -> None:
        """SIGHUP: the configuration, resolv.conf and every file anew; what is wrong leaves the last good state."""
        self._freshness.hang_up()

    async def _take_over(self) -> bool:
        """Load the configuration and go by it; False when it cannot be used and the last one stays."""
        try:
            settings = await in_time(self._load_settings)
        except PydnsError as error:
            self.content.config_faults = error.faults if isinstance(error, ConfigError) else ()
            self.content.reloads[CONFIG].count(success=False)
            for line in str(error).splitlines():
                log.error("the configuration stays as it was: %s", line)
            return False
        self.content.config_faults = ()
        self.content.reloads[CONFIG].count(success=True)
        for key in fixed_at_start(self.settings, settings):
            log.warning("a change of %s is taken over at the next start only", key)
        self.settings = settings
        self.content.point_at(
            settings.registry_files, settings.zone_paths, view_settings(settings, self._fallback_gateways())
        )
        self.resolv_conf.path, self.resolv_conf.is_needed = settings.resolv_conf, needs_resolv_conf(settings)
        self.listeners.limit(tcp_limits(settings))
        if self.listeners.addresses:
            try:
                await self.bind()
            except StartError as error:
                log.error("the listeners stay as they were: %s", error)
                self.content.config_faults = (Fault("server.listen", f"the listeners stay as they were: {error}"),)
        return True

    def _publish(self, level: int) -> None:
        """Answer from what was read; ``level`` is how loudly to say so."""
        self._follow_networks()
        self._swap()
        log.log(level, "serving %s", self.describe())

    def _keep_up(self) -> bool:
        """Answer from what live sources say anew of few endpoints, if the views as they are can take it over."""
        if not self.content.keep_up():
            return False
        self._follow_networks()
        is_moved = self.content.moves_clients or self.pin != self.responder.state.pin
        if self.resolved.refresh() or is_moved:
            self._swap()
        else:
            self.swapped()
        return True

    def _follow_networks(self) -> None:
        """Pin what the registry or the configuration says now, unless the command line has said something else."""
        if self.networks_now is not None and self.pin is not None:
            self.pin = Pin(self.networks_now(), self.pin.endpoint)
        self._report_gone()
        pin = pin_of(self.settings)
        if not self._pin_follows_settings or pin == self.pin:
            return
        if pin is not None and (faults := unknown_networks(pin, self.content.views)):
            log.error("the view stays as it was: %s", ConfigError(faults))
            return
        self.pin = pin

    def _report_gone(self) -> None:
        """Say so, once, when a network that the view is pinned to is no longer in the registry."""
        pinned = self.pin.networks if self.pin is not None else ()
        gone = tuple(name for name in pinned if name not in self.content.views.tables)
        if gone and gone != self._gone:
            effect = "nothing is forwarded until it is back" if gone == pinned else "its names are unknown"
            log.warning("network %s is gone from the registry: %s", ", ".join(gone), effect)
        self._gone = gone

    def _heed_system(self) -> None:
        """Where the host's name service is an upstream: have it leave names as they are, and say if it asks us."""
        if uses_system(self.settings):
            take_names_as_they_are()
        faults = settings_faults(self.settings, () if self._namespace_sockets else self.settings.listen)
        if faults != self._system_faults:
            self._system_faults = faults
            for fault in faults:
                log.warning("%s", fault)

    def _set_up_forwarding(self) -> None:
        set_up_forwarding(self.lookups, self.settings)
        listen = () if self._namespace_sockets else self.settings.listen
        host = host_upstreams(self.resolv_conf, self.resolved.imported)
        former = own_upstreams(self._former.nameservers, in_namespace=True)
        servers = bootstrap_servers(self.settings, host, listen, former)
        self.forwarder.bootstrap.in_namespace = self._namespace_sockets
        said = self._bootstrap_faults
        self._bootstrap_faults = point(self.forwarder.bootstrap, self.settings, servers, listen, said)

    def _swap(self) -> None:
        self._heed_system()
        self.resolved.want(self._imports())
        self._set_up_forwarding()
        state = self.make_state()
        if state.upstreams != self.responder.state.upstreams:
            log.info("now forwarding to %s", ", ".join(map(str, state.upstreams)) or "nobody")
        self.count_hits()
        self.responder.swap(state)
        for responder, restate in self._joined.items():
            responder.swap(restate(state))
        if self.is_ready:  # before, a probe that comes back would find nobody
            watch_loops(self.lookups, self.settings, state, self.resolved.imported)
        self.content.part()
        self.swapped()

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Everything that is wrong with what was read, now; warnings too."""
        others = (*self._system_faults, *self._bootstrap_faults, *self._freshness.faults)
        return (*self.content.faults, *self.resolv_conf.faults, *self.resolved.faults, *others)

    @property
    def reloads(self) -> Mapping[str, Reloads]:
        """How often each kind of input was read anew."""
        return {**self.content.reloads, RESOLV_CONF: self.resolv_conf.reloads, RESOLVED: self.resolved.reloads}

    def describe(self) -> str:
        """What is served, in a few words."""
        size = self.content.size()
        counts = [(size[kind], kind) for kind in ("networks", "endpoints", "zones")]
        return ", ".join(f"{count} {kind[:-1] if count == 1 else kind}" for count, kind in counts)
