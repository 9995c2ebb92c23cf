"""From settings to the values that a server is put together from; read once, nothing runs here.

`app` and the commands that work offline build through here, so that they agree.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from resolver.config.schema import Settings
from resolver.content import Content
from resolver.forward.policy import ForwardOptions
from resolver.forward.resolvconf import ResolvConf
from resolver.forward.routes import Route, Routes
from resolver.forward.upstreams import Upstream, drop_own, parse_upstream
from resolver.hostconf import HostResolvConf
from resolver.pipeline.chain import Chain
from resolver.pipeline.stages import ForwardPolicy, InternalNames
from resolver.server.listeners import WILDCARDS, Address
from resolver.server.responder import Pin, State
from resolver.server.tcp import TcpLimits
from resolver.sources.base import LiveSource
from resolver.views import ViewSettings
from resolver.wire.name import IPAddress, fold, from_text

log = logging.getLogger(__name__)


def chain_of(settings: Settings) -> Chain:
    """The answer contract with the configured names and policy."""
    return Chain.of(
        InternalNames(
            tuple(fold(from_text(zone)) for zone in settings.internal_zones),
            {fold(from_text(name)): addresses for name, addresses in settings.internal_names.items()},
        ),
        ForwardPolicy(settings.forward_single_labels, Routes(_reachable(settings))),
    )


def _reachable(settings: Settings) -> list[Route]:
    """The routes, without upstreams that are ourselves: a query sent there would come back."""
    return [
        replace(route, upstreams=without_own(route.upstreams, settings.listen)) if route.upstreams else route
        for route in settings.routes
    ]


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


def tcp_limits(settings: Settings) -> TcpLimits:
    """What a TCP client may do."""
    return TcpLimits(idle_s=settings.tcp_idle_s, connections=settings.tcp_connections)


def read_resolv_conf(path: Path) -> ResolvConf:
    """What a resolv.conf says now; one that cannot be read is as an empty one, and said so."""
    host = HostResolvConf(path)
    host.refresh()
    return host.conf


@lru_cache(maxsize=1024)
def own_upstreams(servers: tuple[str, ...], *, in_namespace: bool = False) -> tuple[Upstream, ...]:
    """An asker's own servers, addresses that were checked when they were read, as upstreams.

    Asked for with every query of an asker that has such servers, so they are parsed once.
    """
    return tuple(parse_upstream(server, in_namespace) for server in servers)


def offline_state(settings: Settings, fallback_gateways: tuple[IPAddress, ...] = ()) -> State:
    """What a server with these settings would answer from, read from the files now; nothing is bound or sent."""
    content = Content(settings.registry_files, settings.zone_paths, view_settings(settings, fallback_gateways))
    content.refresh()
    resolv_conf = read_resolv_conf(settings.resolv_conf)
    return State(
        views=content.views,
        chain=chain_of(settings),
        upstreams=without_own(settings.upstreams or own_upstreams(resolv_conf.nameservers), settings.listen),
        own_upstreams=own_upstreams,
        options=ForwardOptions.of(resolv_conf, settings.order),
        pin=pin_of(settings),
    )


def without_own(upstreams: tuple[Upstream, ...], listen: Sequence[Address]) -> tuple[Upstream, ...]:
    """The upstreams without those at which we listen ourselves."""
    own = {(address.host, address.port) for address in listen}
    ports = {port for host, port in own if host in WILDCARDS}
    own |= {
        (upstream.address, upstream.port) for upstream in upstreams if upstream.port in ports and _is_local(upstream)
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
