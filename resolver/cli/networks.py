"""``pydns networks``: what the registry holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from resolver.cli.live import tell
from resolver.cli.options import content_options, live_options, settings_loader
from resolver.cli.output import say, shortened
from resolver.config.schema import Settings


@click.command("networks")
@content_options
@live_options
def command(offline: bool, as_json: bool, config: Path | None, **options: Any) -> None:
    """Show every network, who is on it, at which addresses and by which names, and where that was written.

    Asks the running server at the address that [metrics] names; when there is none, or when files are named, works
    from the files. The first name of a container is its own, the others are aliases, its short id and its hostname.

    \b
    Examples:
      pydns networks
      pydns networks --registry mynet.json
      pydns networks --json | jq '.networks[].name'
    """
    settings = settings_loader(config, **options)()
    told = tell(settings, "/networks", {}, lambda: _offline(settings), key="networks", offline=offline)
    say(json.dumps(told, indent=2) if as_json else _in_words(told))


def _offline(settings: Settings) -> dict[str, Any]:
    from resolver.content import Content
    from resolver.listing import networks_of
    from resolver.views import ViewSettings

    return networks_of(Content(settings.registry_files, (), ViewSettings()).views.snapshot)


def _in_words(told: dict[str, Any]) -> str:
    lines = []
    for network in told["networks"]:
        parts = [network["name"], ", ".join(network["subnets"]) or "no subnet"]
        if network["gateways"]:
            parts.append("gateway " + ", ".join(network["gateways"]))
        if network["internal"]:
            parts.append("internal")
        lines.append("  ".join([*parts, f"({shortened(network['written_in'])})"]))
        lines += [f"  {_endpoint(endpoint)}" for endpoint in network["endpoints"]]
    lines += [
        f"{host['address']}  {' '.join(host['names'])}  ({shortened(host['written_in'])})" for host in told["hosts"]
    ]
    return "\n".join([*(lines or ["the registry is empty"]), f"told by {told['source']}"])


def _endpoint(endpoint: dict[str, Any]) -> str:
    parts = [" ".join(endpoint["addresses"]), " ".join(endpoint["names"])]
    if endpoint["ports"]:
        parts.append("ports " + " ".join(endpoint["ports"]))
    if endpoint["links"]:
        parts.append("links " + " ".join(f"{alias}={target}" for alias, target in endpoint["links"].items()))
    if endpoint["extra_hosts"]:
        parts.append("hosts " + " ".join(endpoint["extra_hosts"]))
    if endpoint["scope"] is not None:
        parts.append(f"of {endpoint['scope']}")
    if not endpoint["ready"]:
        parts.append("not healthy")
    return "  ".join([*parts, f"({shortened(endpoint['written_in'])})"])
