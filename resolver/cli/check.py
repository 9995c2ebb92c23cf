"""``pydns check``: every fault in configuration, registry and zones, with its place."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import click

from resolver.cli.options import content_options, settings_loader
from resolver.errors import ConfigError, Fault


@click.command("check")
@content_options
@click.pass_context
def command(context: click.Context, /, config: Path | None, **options: Any) -> None:
    """Read the configuration, the registry and the zones as a server would, and show every fault at once.

    Each line names the file, the line, the key, what is wrong and how to mend it. Warnings are accepted by a rule
    (docs/registry.md) and do not count. Exit status 0: nothing is wrong; 1: something is.
    """
    logging.disable(logging.CRITICAL)
    faults: list[Fault] = []
    summary = ""
    try:
        settings = settings_loader(config, **options)()
    except ConfigError as error:
        faults.extend(error.faults)
    else:
        from resolver.content import Content
        from resolver.views import ViewSettings

        content = Content(settings.registry_files, settings.zone_paths, ViewSettings(settings.ttl))
        content.refresh()
        faults.extend(content.faults)
        snapshot = content.views.snapshot
        endpoints = sum(1 for _ in snapshot.endpoints())
        summary = f"{len(snapshot.networks)} networks, {endpoints} endpoints, {len(content.zones)} zones"
    for fault in faults:
        click.echo(str(fault))
    errors = sum(1 for fault in faults if not fault.is_warning)
    if errors:
        click.echo(f"{errors} {'fault' if errors == 1 else 'faults'} found")
        context.exit(1)
    click.echo(f"all in order: {summary}")
