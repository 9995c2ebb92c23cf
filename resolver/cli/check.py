"""``pydns check``: every fault in configuration, registry and zones, with its place."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from resolver.cli.options import examined, serve_options
from resolver.cli.output import counted, say, shortened
from resolver.config.schema import Settings
from resolver.errors import Fault

if TYPE_CHECKING:
    from resolver.registry.model import Snapshot


@click.command("check")
@serve_options
@click.pass_context
def command(context: click.Context, /, config: Path | None, network: tuple[str, ...], **options: Any) -> None:
    """Read the configuration, the registry and the zones as a server would, and show every fault at once.

    Takes the flags of `pydns serve`. Each line names the file, the line, the key, what is wrong and how to mend it.
    Warnings are accepted by a rule (docs/registry.md, docs/zones.md) and do not count. Exit status 0: nothing is
    wrong; 1: something is.

    \b
    Examples:
      pydns check -c pydns.toml
      pydns check --registry ./networks.toml --zones ./zones
    """
    logging.disable(logging.CRITICAL)
    settings, faults = examined(config, **options)

    from resolver.assembly import idle_routes, system_faults
    from resolver.content import Content
    from resolver.views import ViewSettings

    content = Content(settings.registry_files, settings.zone_paths, ViewSettings(settings.ttl))
    content.refresh()
    snapshot = content.views.snapshot
    faults += content.faults
    faults += _unknown_networks(settings, network, snapshot)
    faults += _empty_folders(settings)
    faults += idle_routes(settings, snapshot.networks)
    if not any(fault.key == "forward.resolv_conf" or fault.place == "--resolv-conf" for fault in faults):
        faults += _of_host(settings)
    faults += system_faults(settings, settings.listen)
    faults = list(dict.fromkeys(faults))
    for fault in faults:
        say(str(fault))
    errors = sum(1 for fault in faults if not fault.is_warning)
    warnings = f", {counted(len(faults) - errors, 'warning')}" if errors < len(faults) else ""
    if errors:
        say(f"{counted(errors, 'fault')} found{warnings}")
        context.exit(1)
    read = (settings.config_file or "no configuration file", *settings.registry_files, *settings.zone_paths)
    holds = (
        counted(len(snapshot.networks), "network"),
        counted(sum(1 for _ in snapshot.endpoints()), "endpoint"),
        counted(len(content.zones), "zone"),
    )
    for daemon in settings.daemons:
        say(f"{daemon.name}: {daemon.host} was not asked; its networks and names are not among these")
    say(f"read: {', '.join(shortened(str(path)) for path in read)}\nall in order: {', '.join(holds)}{warnings}")


def _unknown_networks(settings: Settings, named: tuple[str, ...], snapshot: Snapshot) -> Iterator[Fault]:
    """What makes `pydns serve` refuse to start."""
    fix = "there are: " + (", ".join(sorted(snapshot.networks)) or "none at all")
    for name in named or settings.networks:
        if name in snapshot.networks:
            continue
        if named or settings.config_file is None:
            yield Fault("--network", f"there is no network {name!r}", fix)
        else:
            line = _line_of(settings.config_file, ("server", "networks"))
            yield Fault(str(settings.config_file), f"there is no network {name!r}", fix, line, "server.networks")


def _line_of(path: Path, key: tuple[str, ...]) -> int | None:
    from resolver.intake.toml import Lines
    from resolver.sources.files import read_text

    return Lines(read_text(path)[0]).of(key)


def _empty_folders(settings: Settings) -> Iterator[Fault]:
    from resolver.sources.files import READERS, reader_of
    from resolver.zones.zonefile import SUFFIX

    known = ", ".join(f"*{suffix}" for suffix in READERS)
    for path in settings.registry_files:
        if path.is_dir() and not any(reader_of(member) for member in path.iterdir()):
            yield Fault(str(path), "holds no registry file", f"put {known} or hosts there", is_warning=True)
    for path in settings.zone_paths:
        if path.is_dir() and not any(member.name.endswith(SUFFIX) for member in path.iterdir()):
            yield Fault(str(path), "holds no zone file", f"call them *{SUFFIX}", is_warning=True)


def _of_host(settings: Settings) -> Sequence[Fault]:
    """What a server would find wrong with whom the host asks, and that this leaves nobody to ask."""
    from resolver.assembly import bootstrap_faults, bootstrap_servers, host_upstreams, imports, needs_resolv_conf
    from resolver.hostconf import HostResolvConf
    from resolver.resolved.follower import read_once

    resolv_conf = HostResolvConf(settings.resolv_conf, is_needed=needs_resolv_conf(settings))
    resolv_conf.refresh()
    of_resolved: list[Fault] = []
    found = read_once(of_resolved.append) if imports(settings, resolv_conf) else None
    host = host_upstreams(resolv_conf, found)
    nobody = () if found is not None and not found.is_empty else tuple(_no_upstream(settings))
    # That it cannot be read at all is told with what comes of it.
    lines = () if any(": cannot be read" in str(fault) for fault in nobody) else resolv_conf.faults
    return [
        *of_resolved,
        *lines,
        *nobody,
        *bootstrap_faults(settings, bootstrap_servers(settings, host, settings.listen)),
    ]


def _no_upstream(settings: Settings) -> Iterator[Fault]:
    """What makes a server forward nothing, or only what the host's name service can be asked."""
    from resolver.assembly import needs_resolv_conf, uses_system
    from resolver.hostconf import read_conf

    if not needs_resolv_conf(settings) or (settings.upstreams and not uses_system(settings)):
        return
    path = settings.resolv_conf
    effect = 'the upstream "system" can be asked for A, AAAA and PTR only, not for MX'
    if not settings.upstreams:
        effect = "nothing is forwarded"
    try:
        servers = read_conf(path).nameservers
    except OSError as error:
        reason = f"cannot be read: {error.strerror}; {effect}"
    else:
        if servers:
            return
        reason = f"names no server; {effect}"
    yield Fault(str(path), reason, "add a nameserver line, or set forward.upstreams", is_warning=True)
