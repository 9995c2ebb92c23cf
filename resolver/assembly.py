"""From settings to the values that a server is put together from; read once, nothing runs here.

`app` and the commands that work offline build through here, so that they agree.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from pathlib import Path

from msgspec.structs import replace

from resolver.config.schema import Settings
from resolver.content import Content
from resolver.errors import Fault
from resolver.forward.bootstrap import Bootstrap
from resolver.forward.lookups import Lookups
from resolver.forward.loops import SUFFIXES, probe_below
from resolver.forward.policy import ForwardOptions
from resolver.forward.resolvconf import ResolvConf
from resolver.forward.routes import Route, Routes
from resolver.forward.upstreams import SYSTEM, Upstream, drop_own, parse_nameserver
from resolver.hostconf import HostResolvConf, read_conf
from resolver.pipeline.chain import Chain
from resolver.pipeline.outcome import Forward
from resolver.pipeline.stages import ForwardPolicy, InternalNames
from resolver.resolved.follower import read_once
from resolver.resolved.routing import Imported
from resolver.server.listeners import WILDCARDS, Address
from resolver.server.state import Pin, State
from resolver.server.tcp import TcpLimits
from resolver.sources.base import LiveSource
from resolver.views import Views, ViewSettings
from resolver.wire.name import IPAddress, WireName, fold, from_text, suffixes_of

log = logging.getLogger(__name__)

_LIBC_CONF = Path("/etc/resolv.conf")


def chain_of(settings: Settings, found: Imported | None = None) -> Chain:
    """The answer contract with the configured names and policy, and what systemd-resolved was found to say."""
    return Chain.of(
        InternalNames(
            tuple(fold(from_text(zone)) for zone in settings.internal_zones),
            {fold(from_text(name)): addresses for name, addresses in settings.internal_names.items()},
        ),
        ForwardPolicy(settings.forward_single_labels, Routes(_reachable(settings, found))),
    )


def _reachable(settings: Settings, found: Imported | None) -> list[Route]:
    """The routes, without upstreams that are ourselves: a query sent there would come back.

    Of two for one suffix the later counts: what is configured.
    """
    return [
        replace(route, upstreams=without_own(route.upstreams, settings.listen)) if route.upstreams else route
        for route in (*(found.routes if found is not None else ()), *settings.routes)
    ]


def fixed_at_start(before: Settings, after: Settings) -> tuple[str, ...]:
    """Keys that differ, and that a running server does not take over."""
    fixed = {
        "metrics.listen": before.metrics != after.metrics,
        "server.workers": before.workers != after.workers,
        "docker and podman": before.daemons != after.daemons,
        "registry.aardvark": before.aardvark != after.aardvark,
    }
    return tuple(key for key, differs in fixed.items() if differs)


def set_up_forwarding(lookups: Lookups, settings: Settings) -> None:
    """Have look-ups made as the settings say: their number, their memory, their loops, their ways."""
    lookups.forwarder.exchanges.trust(settings.authorities)
    lookups.forwarder.case_randomization = settings.case_randomization
    lookups.forwarder.max_in_flight = settings.max_in_flight
    lookups.forwarder.max_per_client = settings.max_per_client
    lookups.loops.is_on = settings.detects_loops
    lookups.cache.resize(settings.cache)


def watch_loops(lookups: Lookups, settings: Settings, state: State, found: Imported | None = None) -> None:
    """Have every upstream probed that anybody's look-ups lead to, unless that was done before; and nobody else."""
    loops = lookups.loops
    is_bootstrapped = any(one.is_named for one in (*state.upstreams, *named_upstreams(settings)))
    bootstrap = lookups.forwarder.bootstrap.servers if is_bootstrapped else ()
    upstreams = (*state.upstreams, *bootstrap, *(state.host_servers or ()))
    routes = {route.suffixes: route.upstreams for route in _reachable(settings, found) if route.upstreams}
    loops.suffix = next((suffix for suffix in SUFFIXES if _is_everybodys(suffix, state)), SUFFIXES[0])
    lookups.forwarder.named = frozenset((*upstreams, *(one for those in routes.values() for one in those)))
    loops.watch(upstreams, state.in_namespace, settings.listen, routes)


def _is_everybodys(suffix: WireName, state: State) -> bool:
    """Whether names below it are asked of everybody's upstreams: no network, zone or route has them."""
    outcome = state.chain.resolve(probe_below(suffix), state.views.host).outcome
    return isinstance(outcome, Forward) and not outcome.upstreams


def view_settings(settings: Settings, fallback_gateways: tuple[IPAddress, ...]) -> ViewSettings:
    """What the answers of every view are made with."""
    return ViewSettings(settings.ttl, settings.negative_ttl, fallback_gateways)


def live_sources(settings: Settings) -> tuple[LiveSource, ...]:
    """Who tells what exists, not yet started: daemons, and the folder that netavark writes."""
    sources: list[LiveSource] = []
    if settings.daemons:
        from resolver.sources.docker.source import DockerSource

        sources.extend(DockerSource(daemon) for daemon in settings.daemons)
    if settings.aardvark is not None:
        from resolver.sources.aardvark import AardvarkSource

        sources.append(AardvarkSource(settings.aardvark))
    return tuple(sources)


def pin_of(settings: Settings) -> Pin | None:
    """The view that the configuration gives every client, if it does."""
    return Pin(settings.networks) if settings.networks else None


def unknown_networks(pin: Pin, views: Views) -> list[Fault]:
    """A fault for each network of a pin that does not exist."""
    known = ", ".join(sorted(views.tables)) or "none at all"
    return [
        Fault("--network", f"there is no network {name!r}", f"there are: {known}")
        for name in pin.networks
        if name not in views.tables
    ]


def tcp_limits(settings: Settings) -> TcpLimits:
    """What a TCP client may do."""
    return TcpLimits(idle_s=settings.tcp_idle_s, connections=settings.tcp_connections)


def forward_options(settings: Settings, conf: ResolvConf) -> ForwardOptions:
    """How upstreams are asked: as configured, else as a resolv.conf says."""
    return replace(ForwardOptions.of(conf, settings.order), is_guarded=settings.rebinding_guard)


def imports(settings: Settings, resolv_conf: HostResolvConf) -> bool:
    """Whether systemd-resolved is to be asked for its servers and domains."""
    if settings.resolved == "auto":
        return not settings.upstreams and resolv_conf.is_resolved
    return settings.resolved == "on"


def host_upstreams(resolv_conf: HostResolvConf, found: Imported | None) -> tuple[Upstream, ...]:
    """Whom the host asks: what systemd-resolved was found to ask, else the servers of resolv.conf."""
    return found.upstreams if found is not None else own_upstreams(resolv_conf.conf.nameservers)


@lru_cache(maxsize=1024)
def own_upstreams(servers: tuple[str, ...], *, in_namespace: bool = False) -> tuple[Upstream, ...]:
    """An asker's own servers, addresses that were checked when they were read, as upstreams.

    Asked for with every query of an asker that has such servers, so they are parsed once.
    """
    return tuple(parse_nameserver(server, in_namespace) for server in servers)


def askers_upstreams(
    listen: Sequence[Address], *, in_namespace: bool = False
) -> Callable[[tuple[str, ...]], tuple[Upstream, ...]]:
    """What makes upstreams of an asker's own servers, without those at which we listen ourselves.

    Asked from inside its namespace an address is somebody else's.
    """

    @lru_cache(maxsize=1024)
    def upstreams_of(servers: tuple[str, ...]) -> tuple[Upstream, ...]:
        return without_own(own_upstreams(servers, in_namespace=in_namespace), () if in_namespace else listen)

    return upstreams_of


def offline_state(settings: Settings, fallback_gateways: tuple[IPAddress, ...] = ()) -> State:
    """What a server with these settings would answer from, read from the files now; nothing is bound or sent."""
    content = Content(settings.registry_files, settings.zone_paths, view_settings(settings, fallback_gateways))
    content.refresh()
    host = HostResolvConf(settings.resolv_conf)
    host.refresh()
    found = read_once() if imports(settings, host) else None
    resolv_conf = host.conf
    return State(
        views=content.views,
        chain=chain_of(settings, found),
        upstreams=without_own(settings.upstreams or host_upstreams(host, found), settings.listen),
        own_upstreams=askers_upstreams(settings.listen),
        options=forward_options(settings, resolv_conf),
        pin=pin_of(settings),
        passes_client_subnet=settings.passes_client_subnet,
        rebinding_allowed=settings.rebinding_allowed,
        host_servers=host_servers(settings, resolv_conf),
    )


def idle_routes(settings: Settings, networks: Iterable[str]) -> tuple[Fault, ...]:
    """That the names of a route are those of a network, which are never forwarded (docs/adr/0007)."""
    own = {fold(from_text(network)): network for network in networks}
    found = []
    for route in settings.routes:
        above = next((own[name] for suffix in route.suffixes for name in suffixes_of(suffix) if name in own), None)
        if above is not None:
            message = f"the route for {route.shown} never counts: a network has the name {above}"
            fix = "names below a network's name are its own; call one of them otherwise"
            found.append(Fault(str(settings.config_file), message, fix, key="forward.routes", is_warning=True))
    return tuple(found)


def uses_system(settings: Settings) -> bool:
    """Whether the host's own name service is anybody's upstream."""
    return SYSTEM in settings.upstreams or any(SYSTEM in route.upstreams for route in settings.routes)


def needs_resolv_conf(settings: Settings) -> bool:
    """Whether servers of resolv.conf may be asked: for everybody, beside a name service, or for an address."""
    lists = (settings.upstreams, *(route.upstreams for route in settings.routes))
    return not settings.upstreams or (SYSTEM,) in lists or (bool(named_upstreams(settings)) and not settings.bootstrap)


def named_upstreams(settings: Settings) -> tuple[Upstream, ...]:
    """Everybody's upstreams and those of routes whose address has to be looked up."""
    every = (*settings.upstreams, *(upstream for route in settings.routes for upstream in route.upstreams))
    return tuple(dict.fromkeys(upstream for upstream in every if upstream.is_named))


def bootstrap_servers(
    settings: Settings, host: tuple[Upstream, ...], listen: Sequence[Address], former: tuple[Upstream, ...] = ()
) -> tuple[Upstream, ...]:
    """Who is asked for these addresses: the configured servers, else those that the ``host`` asks; never ourselves.

    Where the host's are not known, those are that the container had before we came: ``former``.
    """
    servers = without_own(settings.bootstrap or tuple(one for one in host if one.address), listen)
    return servers or (() if settings.bootstrap else former)


def bootstrap_faults(settings: Settings, servers: Sequence[Upstream]) -> tuple[Fault, ...]:
    """That there is nobody to ask for the address of an upstream."""
    named = named_upstreams(settings)
    if not named or servers:
        return ()
    who = ", ".join(map(str, named))
    message = f"nobody can be asked for the address of {who}: {settings.resolv_conf} names no server but ourselves"
    fix = 'name one by its address: [forward] bootstrap = ["10.0.0.53"]'
    place = "built-in defaults" if settings.config_file is None else str(settings.config_file)
    return (Fault(place, message, fix, is_warning=True),)


def settings_faults(settings: Settings, listen: Sequence[Address]) -> tuple[Fault, ...]:
    """What is accepted in the settings, and leads to something that nobody wants."""
    return (*settings.warnings, *system_faults(settings, listen))


def system_faults(settings: Settings, listen: Sequence[Address]) -> tuple[Fault, ...]:
    """That the host's name service, which is an upstream, asks us in turn; what can be seen of that in resolv.conf.

    The C library reads no other file than /etc/resolv.conf, whatever ``forward.resolv_conf`` says.
    """
    if not uses_system(settings):
        return ()
    try:
        conf = read_conf(_LIBC_CONF)
    except OSError:
        return ()
    named = own_upstreams(conf.nameservers)
    others = without_own(named, listen)
    own = ", ".join(upstream.address for upstream in named if upstream not in others)
    if not own:
        return ()
    message = f"nameserver {own} is this server itself: the upstream {SYSTEM} asks it in turn, and such a look-up fails"
    fix = (
        'name the real servers there, or instead of "system" in forward.upstreams (in forward.resolv_conf: their file)'
    )
    return (Fault(str(_LIBC_CONF), message, fix, is_warning=True),)


def host_servers(settings: Settings, resolv_conf: ResolvConf) -> tuple[Upstream, ...] | None:
    """Whom the host's own programs ask, without ourselves; None when the host's name service is nobody's upstream."""
    if not uses_system(settings):
        return None
    return without_own(own_upstreams(resolv_conf.nameservers), settings.listen)


def point(
    bootstrap: Bootstrap,
    settings: Settings,
    servers: tuple[Upstream, ...],
    listen: Sequence[Address],
    said: tuple[Fault, ...],
) -> tuple[Fault, ...]:
    """Have these servers asked for addresses from now on; what is wrong with that is logged unless it was ``said``."""
    bootstrap.servers = servers
    bootstrap.leave_out(partial(without_own, listen=listen))
    faults = bootstrap_faults(settings, servers)
    for fault in faults if faults != said else ():
        log.warning("%s", fault)
    return faults


def without_own(upstreams: tuple[Upstream, ...], listen: Sequence[Address]) -> tuple[Upstream, ...]:
    """The upstreams without those at which we listen ourselves."""
    own = {(address.host, address.port) for address in listen}
    everywhere = {(host == "::", port) for host, port in own if host in WILDCARDS}  # "::" is no IPv4 address
    own |= {
        (upstream.address, upstream.port)
        for upstream in upstreams
        if (upstream.is_ipv6, upstream.port) in everywhere and _is_local(upstream)
    }
    return drop_own(upstreams, own)


def _is_local(upstream: Upstream) -> bool:
    """True when the upstream's address is one of this machine's: to connect a UDP socket asks routing, nobody else."""
    family = socket.AF_INET6 if upstream.is_ipv6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((upstream.address, upstream.port))
        except OSError:
            return False
        local: str = probe.getsockname()[0]
        return local == upstream.address
