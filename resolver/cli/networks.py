"""``pydns networks``: what the registry holds."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import click

from resolver.cli.live import ask
from resolver.cli.options import content_options, settings_loader


@click.command("networks")
@click.option("--offline", is_flag=True, help="Work from the files, even if a server is running.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@content_options
def command(offline: bool, as_json: bool, config: Path | None, **options: Any) -> None:
    """Show every network, who is on it, at which addresses and by which names, and where that was written.

    Asks the running server at the address that [metrics] names; when there is none, or when files are named, works
    from the files.
    """
    settings = settings_loader(config, **options)()
    told = None if offline or any(options.values()) else ask(settings, "/networks", {})
    if told is None:
        logging.disable(logging.WARNING)
        from resolver.app import offline_state
        from resolver.listing import networks_of

        told = networks_of(offline_state(settings).views.snapshot)
    click.echo(json.dumps(told, indent=2) if as_json else _in_words(told))


def _in_words(told: dict[str, Any]) -> str:
    lines = []
    for network in told["networks"]:
        internal = ", internal" if network["internal"] else ""
        subnets = ", ".join(network["subnets"]) or "no subnet"
        lines.append(f"{network['name']}  {subnets}{internal}  ({network['written_in']})")
        for endpoint in network["endpoints"]:
            names, addresses = " ".join(endpoint["names"]), " ".join(endpoint["addresses"])
            extra = f"  ports {' '.join(endpoint['ports'])}" if endpoint["ports"] else ""
            lines.append(f"  {addresses}  {names}{extra}")
    lines += [f"{host['address']}  {' '.join(host['names'])}  ({host['written_in']})" for host in told["hosts"]]
    return "\n".join(lines) or "the registry is empty"
