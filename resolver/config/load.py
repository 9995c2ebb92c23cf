"""From a file, the environment and flags to `Settings`, with every fault at once.

A flag wins over its environment variable (click sees to that), both win over the file, and that wins over the defaults.
Paths in the file are relative to the file, paths in flags to the working directory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path as FilePath
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from resolver.config.agent import agent_settings
from resolver.config.authorities import authorities_in
from resolver.config.routes import idle_routes, routes_of
from resolver.config.schema import CacheSpec, ConfigSpec, DaemonSpec, Settings
from resolver.config.upstreams import bootstrap_of, upstreams_of
from resolver.config.workers import workers_of
from resolver.errors import ConfigError, Fault
from resolver.forward.cache import CacheSettings
from resolver.forward.routes import Route
from resolver.forward.upstreams import Upstream
from resolver.intake.convert import to_struct
from resolver.intake.toml import Lines, Path, parse
from resolver.pipeline.stages import AUTO_GATEWAY, AUTO_HOST
from resolver.server.listeners import Address, parse_address
from resolver.sources.base import parse_address as parse_ip
from resolver.sources.base import parse_name
from resolver.sources.docker.settings import (
    DOCKER_HOST,
    PODMAN_HOST,
    TLS_FILES,
    DaemonSettings,
    host_problem,
)
from resolver.sources.files import read_text
from resolver.wire.name import IPAddress, WireName, fold, from_text

AUTO = "auto"
OFF = "off"


class Override(Struct, frozen=True):
    """One key that a flag or an environment variable sets."""

    key: Path
    value: Any
    place: str
    """The flag, for messages."""


def shipped_zones() -> FilePath:
    """The folder with the registry and zones that ship with pydns: in the wheel, else in the checkout."""
    package = FilePath(__file__).resolve().parent.parent
    installed = package / "default_zones"
    return installed if installed.is_dir() else package.parent / "zones"


def load(
    config_file: FilePath | None, overrides: Sequence[Override] = (), *, with_shipped_zones: bool = True
) -> Settings:
    """The settings; raises ConfigError with every fault found.

    Without ``with_shipped_zones`` there are no zones unless somebody names some: a sidecar need not pay for a sample.
    """
    settings, faults = examine(config_file, overrides, with_shipped_zones=with_shipped_zones)
    if errors := [fault for fault in faults if not fault.is_warning]:
        raise ConfigError(errors)
    return settings


def examine(
    config_file: FilePath | None, overrides: Sequence[Override] = (), *, with_shipped_zones: bool = True
) -> tuple[Settings, list[Fault]]:
    """The settings and every fault found, by line; with a fault the settings serve only to look for more of them.

    A faulty key then has its default, and of several paths or addresses those are left that make sense.
    """
    loader = _Loader(config_file, overrides, with_shipped_zones)
    settings = loader.settings()
    settings = replace(settings, warnings=tuple(fault for fault in loader.faults if fault.is_warning))
    return settings, sorted(loader.faults, key=lambda fault: fault.line or 0)


class _Loader:
    def __init__(self, config_file: FilePath | None, overrides: Sequence[Override], with_shipped_zones: bool) -> None:
        self.faults: list[Fault] = []
        self._file = config_file
        self._default_zones = [shipped_zones()] if with_shipped_zones else []
        self._base = config_file.parent if config_file is not None else FilePath()
        self._overrides = {override.key: override for override in overrides}
        self._lines = Lines("")
        raw: dict[str, Any] = {}
        if config_file is not None:
            raw = self._read(config_file)
        for override in overrides:
            table = raw
            for part in override.key[:-1]:
                inner = table.setdefault(part, {})
                if not isinstance(inner, dict):
                    self._report((part,), f"{inner!r} is not a table", f"write [{part}] with keys below it")
                    inner = table[part] = {}
                table = inner
            table[override.key[-1]] = override.value
        self._stated = frozenset(_leaves(raw))
        self._spec = to_struct(raw, ConfigSpec, (), self._report)

    def _read(self, path: FilePath) -> dict[str, Any]:
        text, fault = read_text(path)
        if fault is None:
            self._lines = Lines(text)
            raw, fault = parse(text, str(path))
            if fault is None:
                return raw
        self.faults.append(fault)
        return {}

    def _report(self, path: Path, message: str, fix: str, *, is_warning: bool = False) -> None:
        override = self._overrides.get(path[:2])
        if override is not None:
            self.faults.append(Fault(override.place, message, fix, is_warning=is_warning))
        else:
            place = str(self._file) if self._file is not None else "built-in defaults"
            line, key = self._lines.of(path), ".".join(path)
            self.faults.append(Fault(place, message, fix, line=line, key=key, is_warning=is_warning))

    def settings(self) -> Settings:
        """The settings, usable only when there are no faults."""
        spec = self._spec
        listen = [
            address for text in spec.server.listen if (address := self._address(text, ("server", "listen"))) is not None
        ]
        if not spec.server.listen:
            self._report(("server", "listen"), "a server has to listen somewhere", 'write listen = ["127.0.0.1:5353"]')
        metrics = None
        if spec.metrics.listen != OFF:
            metrics = self._address(spec.metrics.listen, ("metrics", "listen"))
        daemons = tuple(
            self._daemon(name, section, default)
            for name, section, default in (("docker", spec.docker, DOCKER_HOST), ("podman", spec.podman, PODMAN_HOST))
            if section is not None
        )
        internal_zones = self._internal_zones()
        folder = spec.registry.aardvark
        aardvark = None if folder is None else self._path(folder, ("registry", "aardvark"))
        return Settings(
            listen=tuple(listen),
            networks=tuple(spec.server.networks),
            tcp_idle_s=spec.server.tcp_idle_s,
            tcp_connections=spec.server.tcp_connections,
            workers=workers_of(spec.server.workers, partial(self._report, ("server", "workers"))),
            registry_files=self._paths(
                # The sample is for those who have nothing else.
                spec.registry.files,
                ("registry", "files"),
                [] if daemons or aardvark else [shipped_zones() / "networks.toml"],
            ),
            zone_paths=self._paths(spec.registry.zones, ("registry", "zones"), self._default_zones),
            ttl=spec.answers.ttl,
            negative_ttl=spec.answers.negative_ttl,
            forward_single_labels=spec.answers.single_label == "forward",
            internal_zones=internal_zones,
            internal_names=self._internal_names(),
            resolv_conf=self._path(spec.forward.resolv_conf, ("forward", "resolv_conf")),
            upstreams=self._upstreams(),
            max_in_flight=spec.forward.max_in_flight,
            max_per_client=spec.forward.max_in_flight_per_client,
            detects_loops=spec.forward.loop_detection,
            routes=self._routes(internal_zones),
            order=spec.forward.order,
            resolved=spec.forward.resolved,
            passes_client_subnet=spec.forward.client_subnet == "pass",
            rebinding_guard=spec.forward.rebinding_guard,
            rebinding_allowed=self._rebinding_allowed(),
            cache=self._cache(spec.cache),
            metrics=metrics,
            daemons=daemons,
            bootstrap=bootstrap_of(spec.forward.bootstrap, partial(self._report, ("forward", "bootstrap"))),
            authorities=self._authorities(spec.forward.tls_ca),
            case_randomization=spec.forward.case_randomization,
            aardvark=aardvark,
            agent=agent_settings(spec.agent, self._report),
            is_stated=self._stated,
            config_file=self._file,
        )

    def _address(self, text: str, path: Path) -> Address | None:
        try:
            return parse_address(text)
        except ValueError as error:
            self._report(path, str(error), "write it like 127.0.0.1:5353 or [::1]:5353")
            return None

    def _cache(self, spec: CacheSpec) -> CacheSettings:
        if spec.min_ttl > spec.max_ttl:
            fix = f"write at most max_ttl, {spec.max_ttl}"
            self._report(("cache", "min_ttl"), f"{spec.min_ttl} is more than max_ttl", fix)
        return CacheSettings(**msgspec.structs.asdict(spec))

    def _daemon(self, name: str, spec: DaemonSpec, default: str) -> DaemonSettings:
        host = default if spec.host is None else spec.host
        if (problem := host_problem(host)) is not None:
            self._report((name, "host"), problem, f"write it like {default} or tcp://10.0.0.1:2376")
        tls = None
        if spec.tls is not None:
            tls = self._path(spec.tls, (name, "tls"))
            if missing := [file for file in TLS_FILES if not (tls / file).is_file()]:
                self._report((name, "tls"), f"{str(tls)!r} has no {', '.join(missing)}", "name the folder with them")

        def complain(message: str, fix: str) -> None:
            self._report((name, "host_gateway"), message, fix)

        gateways = tuple(address for text in spec.host_gateway if (address := parse_ip(text, complain)) is not None)
        if len({address.version for address in gateways}) < len(gateways):
            given = ", ".join(map(str, gateways))
            complain(f"{given}: more than one address of a family", "name one IPv4 address, one IPv6 address, or both")
        return DaemonSettings(name, host, tls, spec.healthy_only, spec.serve_default_bridge, gateways, spec.resync_s)

    def _authorities(self, file: str | None) -> str | None:
        path = ("forward", "tls_ca")
        return None if file is None else authorities_in(self._path(file, path), partial(self._report, path))

    def _path(self, text: str, path: Path) -> FilePath:
        if not text:
            self._report(path, "a path may not be empty", "leave the key out for the default")
        return FilePath(text) if path in self._overrides else self._base / text

    def _paths(self, texts: list[str] | None, path: Path, default: list[FilePath]) -> tuple[FilePath, ...]:
        if texts is None:
            return tuple(default)
        found = []
        for item in dict.fromkeys(self._path(text, path) for text in texts):
            try:
                item.stat()
            except (FileNotFoundError, ValueError):
                self._report(path, f"{str(item)!r} does not exist", "correct the path, or create it first")
            except OSError as error:
                self._report(path, f"{str(item)!r} cannot be reached: {error.strerror}", "check who may go there")
            else:
                found.append(item)
        return tuple(found)

    def _internal_zones(self) -> tuple[str, ...]:
        def complain(message: str, fix: str) -> None:
            self._report(("internal", "zones"), message, fix)

        return tuple(name for zone in self._spec.internal.zones if (name := parse_name(zone, complain)) is not None)

    def _internal_names(self) -> dict[str, tuple[IPAddress, ...] | None]:
        names: dict[str, tuple[IPAddress, ...] | None] = {AUTO_HOST: None, AUTO_GATEWAY: None}
        for name, value in self._spec.internal.names.items():
            path = ("internal", "names", name)

            def complain(message: str, fix: str, path: Path = path) -> None:
                self._report(path, message, f'{fix}, or "{AUTO}"')

            if parse_name(name, complain) is None:
                continue
            if value == AUTO:
                names[name] = None
                continue
            texts = [value] if isinstance(value, str) else value
            names[name] = tuple(address for text in texts if (address := parse_ip(text, complain)) is not None)
        return names

    def _rebinding_allowed(self) -> frozenset[WireName]:
        found = []
        for text in self._spec.forward.rebinding_allowed:

            def complain(message: str, fix: str) -> None:
                self._report(("forward", "rebinding_allowed"), message, f"{fix}, like plex.direct")

            bare = text.removeprefix("*").removeprefix(".")
            if not text:
                complain("'' names nothing", "name a domain")
            elif not bare:
                fix = "to let all pass set rebinding_guard = false; else name a domain"
                complain(f"{text!r} is every name there is", fix)
            elif bare.startswith("~"):
                fix = f"write {bare[1:] or 'a domain'}: names below it count as well"
                complain(f"{text!r} has a ~, which is systemd-resolved's", fix)
            elif (name := parse_name(bare, complain)) is not None:
                found.append(fold(from_text(name)))
        return frozenset(found)

    def _routes(self, internal_zones: tuple[str, ...]) -> tuple[Route, ...]:
        routes = routes_of(self._spec.forward.routes, self._report)
        for message, fix in idle_routes(routes, internal_zones):
            self._report(("forward", "routes"), message, fix, is_warning=True)
        return routes

    def _upstreams(self) -> tuple[Upstream, ...]:
        complain = partial(self._report, ("forward", "upstreams"))
        fix = "write it like 10.0.0.53, tls://10.0.0.53#NAME or system"
        return upstreams_of(self._spec.forward.upstreams, complain, fix)


def _leaves(table: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The dotted keys of everything that is not a table."""
    found = []
    for key, value in table.items():
        if isinstance(value, Mapping):
            found.extend(_leaves(value, f"{prefix}{key}."))
        else:
            found.append(prefix + key)
    return found
