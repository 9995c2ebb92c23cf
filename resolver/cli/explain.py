"""``pydns explain``: why a name resolves as it does."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import click

from resolver.cli.live import ask
from resolver.cli.options import content_options, settings_loader


@click.command("explain")
@click.argument("name")
@click.argument("rtype", metavar="[TYPE]", default="A")
@click.option("--from", "address", metavar="ADDRESS", help="As a client at this address.")
@click.option("--network", metavar="NET", help="As a client on this network.")
@click.option("--endpoint", metavar="NAME", help="As the container of this name.")
@click.option("--offline", is_flag=True, help="Work from the files, even if a server is running.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@content_options
def command(
    name: str,
    rtype: str,
    address: str | None,
    network: str | None,
    endpoint: str | None,
    offline: bool,
    as_json: bool,
    config: Path | None,
    **options: Any,
) -> None:
    """Tell why NAME resolves as it does: the view, the stage that answers, where the record was written, who is asked.

    Asks the running server at the address that [metrics] names; when there is none, or when files are named, works
    from the files. Nothing is ever sent to an upstream.

    \b
    Examples:
      pydns explain db
      pydns explain db AAAA --from 172.18.0.3
      pydns explain example.com --network mynet
    """
    settings = settings_loader(config, **options)()
    wanted = {"name": name, "type": rtype, "from": address, "network": network, "endpoint": endpoint}
    is_offline = offline or any(options.values())
    told = None if is_offline else ask(settings, "/explain", wanted)
    if told is None:
        logging.disable(logging.WARNING)
        told = _offline(settings, wanted)
        told["source"] = "the files"
    else:
        told["source"] = "the running server"
    click.echo(json.dumps(told, indent=2) if as_json else _in_words(told))


def _offline(settings: Any, wanted: dict[str, str | None]) -> dict[str, Any]:
    from resolver.app import offline_state
    from resolver.explain import Asked, explain

    asked = Asked(wanted["name"] or "", wanted["type"] or "A", wanted["from"], wanted["network"], wanted["endpoint"])
    return explain(asked, offline_state(settings))


def _in_words(told: dict[str, Any]) -> str:
    networks = ", ".join(told["view"]["networks"]) or "none"
    lines = [
        f"question    {told['question']['name']} {told['question']['type']}",
        f"view        networks {networks} ({told['view']['because']})",
        f"stage       {told['stage']}",
    ]
    if "rcode" in told:
        flags = ", authoritative" if told["authoritative"] else ""
        lines.append(f"answer      {told['rcode']}{flags}")
        for section in ("answer", "authority", "additional"):
            lines += [
                f"            {record}" + ("" if section == "answer" else f"   ; {section}") for record in told[section]
            ]
        lines += [f"written in  {place}" for place in told["written_in"]]
        if "extended_error" in told:
            lines.append(f"because     {told['extended_error']['text']} (EDE {told['extended_error']['code']})")
    else:
        lines += [f"            {record}" for record in told["answer"]]
        upstreams = ", ".join(told["upstreams"]) or "none: SERVFAIL"
        lines.append(f"forwarded   {told['forwarded_name']} to {upstreams} (upstreams of {told['upstreams_of']})")
    lines.append(f"told by     {told['source']}")
    return "\n".join(lines)
