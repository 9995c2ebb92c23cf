"""``pydns upstreams``: how the upstreams of a running server do."""

from __future__ import annotations

import json
from typing import Any

import click

from resolver.cli.live import ask_server
from resolver.cli.options import config_option, running_options, settings_loader
from resolver.cli.output import say


@click.command("upstreams")
@config_option
@running_options
def command(as_json: bool, **options: Any) -> None:
    """Show each upstream of the running server: up or down, how long it takes, what it failed.

    The first columns are the order in which they are asked, but that those that are down come last. docs/forwarding.md
    has the table of states.

    \b
    Examples:
      pydns upstreams
      pydns upstreams --metrics 127.0.0.1:9153 --json
    """
    settings = settings_loader(**options)()
    told = ask_server(settings, "/upstreams", {}, key="upstreams")
    say(json.dumps(told, indent=2) if as_json else _in_words(told))


def _in_words(told: dict[str, Any]) -> str:
    lines = [_line(upstream) for upstream in told["upstreams"]] or ["nobody is asked"]
    if routes := told.get("routes"):
        width = max(len(route["route"]) for route in routes)
        lines += ["", "routes"]
        lines += [f"{route['route']:<{width}}  {', '.join(route['upstreams']) or route['target']}" for route in routes]
    return "\n".join(lines)


def _line(upstream: dict[str, Any]) -> str:
    parts = [f"{upstream['address']:<24}", f"{upstream['state']:<8}"]
    if "asked_at" in upstream:
        parts.append(f"at {upstream['asked_at']}")
    if upstream["rtt_ms"] is not None:
        parts.append(f"{upstream['rtt_ms']:.1f} ms, waited for {upstream['patience_ms']:.0f} ms")
    failures = ", ".join(f"{count} {reason}" for reason, count in sorted(upstream["failures"].items()))
    parts.append(f"{upstream['requests']} asked" + (f", failed: {failures}" if failures else ""))
    if upstream["not_asked"]:
        parts.append(f"{upstream['not_asked']} not asked, for too many waited")
    if "down_for_s" in upstream:
        parts.append(f"down for {upstream['down_for_s']:.0f} s ({upstream['last_failure']})")
        parts.append(f"probed in {upstream['probe_in_s']:.0f} s, when somebody asks")
    if upstream["in_namespace"]:
        parts.append("inside the namespace")
    if not upstream["for_everybody"]:
        parts.append("not everybody's")
    return "  ".join(parts)
