"""What can be configured, and with what it is configured when nobody says anything (docs/configuration.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Struct, field

from resolver.config.agent import AgentSettings, AgentSpec
from resolver.errors import Fault
from resolver.forward.cache import CacheSettings
from resolver.forward.policy import Order
from resolver.forward.routes import Route
from resolver.forward.upstreams import Upstream
from resolver.server.listeners import Address
from resolver.sources.docker.settings import DaemonSettings
from resolver.wire.name import IPAddress, WireName

Ttl = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=3600)]


class ServerSpec(msgspec.Struct, forbid_unknown_fields=True):
    """[server]: where it listens, and whom it serves."""

    listen: list[str] = msgspec.field(default_factory=lambda: ["127.0.0.1:5353", "[::1]:5353"])
    networks: list[str] = []
    tcp_idle_s: Seconds = 8.0
    tcp_connections: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1024
    workers: Any = 1
    """A number, or a word: `config.workers` says what is wrong with it."""


class RegistrySpec(msgspec.Struct, forbid_unknown_fields=True):
    """[registry]: the files that say what exists; None stands for those that ship with pydns."""

    files: list[str] | None = None
    zones: list[str] | None = None
    aardvark: str | None = None


class AnswersSpec(msgspec.Struct, forbid_unknown_fields=True):
    """[answers]: how registry names are answered."""

    ttl: Ttl = 600
    negative_ttl: Ttl = 10
    single_label: Literal["nxdomain", "forward"] = "nxdomain"


class InternalSpec(msgspec.Struct, forbid_unknown_fields=True):
    """[internal]: docker.internal and zones like it."""

    zones: list[str] = msgspec.field(default_factory=lambda: ["docker.internal"])
    names: dict[str, str | list[str]] = msgspec.field(default_factory=lambda: {"host": "auto", "gateway": "auto"})


class RouteSpec(msgspec.Struct, forbid_unknown_fields=True):
    """[[forward.routes]]: who is asked for the names below a suffix, or for the reverse names of a prefix."""

    upstreams: list[str] = []
    suffix: str | None = None
    cidr: str | None = None


class ForwardSpec(msgspec.Struct, forbid_unknown_fields=True):
    """[forward]: who is asked for everything else."""

    resolv_conf: str = "/etc/resolv.conf"
    resolved: Literal["auto", "on", "off"] = "auto"
    upstreams: list[str] = []
    routes: list[Any] = []
    """Each a `RouteSpec`; looked at one by one, so that every wrong one is found."""
    order: Literal["sequential", "fastest", "rotate"] | None = None
    bootstrap: list[str] = []
    tls_ca: str | None = None
    case_randomization: bool = False
    client_subnet: Literal["strip", "pass"] = "strip"
    rebinding_guard: bool = False
    rebinding_allowed: list[str] = []
    max_in_flight: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1024
    max_in_flight_per_client: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 0
    loop_detection: bool = True


class CacheSpec(msgspec.Struct, forbid_unknown_fields=True):
    """[cache]: what is kept of upstreams' replies."""

    size: Annotated[int, msgspec.Meta(ge=0)] = 4 << 20
    min_ttl: Ttl = 0
    max_ttl: Ttl = 86400
    max_negative_ttl: Ttl = 3600
    servfail_ttl: Annotated[int, msgspec.Meta(ge=0, le=5)] = 2
    stale_s: Ttl = 3600
    prefetch: bool = True


class MetricsSpec(msgspec.Struct, forbid_unknown_fields=True):
    """[metrics]: the HTTP listener; "off" for none."""

    listen: str = "127.0.0.1:9153"


class DaemonSpec(msgspec.Struct, forbid_unknown_fields=True):
    """[docker] and [podman]: a daemon whose containers are to be known; the section alone turns it on."""

    host: str | None = None
    tls: str | None = None
    healthy_only: bool = False
    serve_default_bridge: bool = False
    host_gateway: list[str] = []
    resync_s: Annotated[float, msgspec.Meta(ge=1, le=86400)] = 300.0


class ConfigSpec(msgspec.Struct, forbid_unknown_fields=True):
    """The whole file."""

    server: ServerSpec = msgspec.field(default_factory=ServerSpec)
    registry: RegistrySpec = msgspec.field(default_factory=RegistrySpec)
    answers: AnswersSpec = msgspec.field(default_factory=AnswersSpec)
    internal: InternalSpec = msgspec.field(default_factory=InternalSpec)
    forward: ForwardSpec = msgspec.field(default_factory=ForwardSpec)
    cache: CacheSpec = msgspec.field(default_factory=CacheSpec)
    metrics: MetricsSpec = msgspec.field(default_factory=MetricsSpec)
    docker: DaemonSpec | None = None
    podman: DaemonSpec | None = None
    agent: AgentSpec = msgspec.field(default_factory=AgentSpec)


class Settings(Struct, frozen=True):
    """The configuration, checked and in the types that the components take."""

    listen: tuple[Address, ...]
    networks: tuple[str, ...]
    """The networks that every client's view is pinned to; empty for views by the client's address."""
    tcp_idle_s: float
    tcp_connections: int
    workers: int
    """Processes that answer; with 1 it is this one."""
    registry_files: tuple[Path, ...]
    zone_paths: tuple[Path, ...]
    ttl: int
    negative_ttl: int
    forward_single_labels: bool
    internal_zones: tuple[str, ...]
    internal_names: dict[str, tuple[IPAddress, ...] | None]
    """None stands for "auto"."""
    resolv_conf: Path
    upstreams: tuple[Upstream, ...]
    """Empty when resolv.conf's are to be used."""
    resolved: Literal["auto", "on", "off"]
    """Whether systemd-resolved's servers and domains are imported."""
    max_in_flight: int
    max_per_client: int
    """Of these; 0 for no bound but its share."""
    detects_loops: bool
    """Whether upstreams are probed for leading back to us."""
    routes: tuple[Route, ...]
    order: Order | None
    """In which order upstreams are asked, when somebody has said so."""
    passes_client_subnet: bool
    rebinding_guard: bool
    rebinding_allowed: frozenset[WireName]
    """Folded: below these names private addresses pass."""
    cache: CacheSettings
    metrics: Address | None
    daemons: tuple[DaemonSettings, ...] = ()
    bootstrap: tuple[Upstream, ...] = ()
    """Who is asked for the addresses of named upstreams; empty when the host's servers are."""
    authorities: str | None = None
    """Certificates, in PEM, of those whose word counts on who an upstream is; None for the system's."""
    case_randomization: bool = False
    aardvark: Path | None = None
    """The folder of network files that netavark writes, if it is to be read."""
    agent: AgentSettings = field(default_factory=AgentSettings)
    is_stated: frozenset[str] = field(default=frozenset())
    """The dotted keys that somebody wrote: what is only a default may give way (a taken metrics port)."""
    config_file: Path | None = None
    warnings: tuple[Fault, ...] = ()
    """What is accepted, and most likely not meant so."""
