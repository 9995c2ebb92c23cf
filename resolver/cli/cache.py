"""``pydns cache``: what a running server has kept of its upstreams' replies."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import click

from resolver.cli.live import ask_server
from resolver.cli.options import config_option, running_options, settings_loader
from resolver.cli.output import counted, say


@click.group("cache")
def command() -> None:
    """Look into the running server's cache of upstreams' replies, or empty it.

    \b
    Examples:
      pydns cache dump
      pydns cache dump example.com
      pydns cache flush example.com
    """


@command.command("dump")
@click.argument("name", required=False)
@config_option
@running_options
def dump(name: str | None, as_json: bool, **options: Any) -> None:
    """Show what is kept: everything, or NAME and what is below it; what was not asked for the longest first."""
    told = ask_server(settings_loader(**options)(), "/cache", {"name": name}, key="entries")
    say(json.dumps(told, indent=2) if as_json else _in_words(told))


@command.command("flush")
@click.argument("name", required=False)
@config_option
@running_options
def flush(name: str | None, as_json: bool, **options: Any) -> None:
    """Forget everything, or NAME and what is below it."""
    settings = settings_loader(**options)()
    told = ask_server(settings, "/cache/flush", {"name": name}, key="flushed", method="POST")
    say(json.dumps(told) if as_json else f"{counted(told['flushed'], 'answer')} forgotten")


def _in_words(told: dict[str, Any]) -> str:
    variants = Counter((entry["name"], entry["type"]) for entry in told["entries"])
    lines = [
        f"{entry['name']} {entry['type']}  {entry['rcode']}  "
        + (f"{entry['left_s']} s left" if entry["left_s"] > 0 else f"stale for {-entry['left_s']} s")
        + f"  {counted(entry['hits'], 'hit')}"
        + (_variant(entry) if variants[entry["name"], entry["type"]] > 1 else "")
        for entry in told["entries"]
    ]
    asked = told["hits"] + told["misses"]
    share = f", {told['hits'] / asked:.0%} of {asked} questions found" if asked else ""
    lines.append(f"{told['octets'] / 1024:.0f} of {told['octets_at_most'] / 1024:.0f} KiB{share}")
    return "\n".join(lines)


def _variant(entry: dict[str, Any]) -> str:
    """What tells an answer from others to the same question."""
    how = ", ".join(entry["asked_with"]) or "plain"
    return f"  ({how}; of {', '.join(entry['upstreams']) or 'nobody'})"
