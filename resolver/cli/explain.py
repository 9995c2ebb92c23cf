"""``pydns explain``: why a name resolves as it does."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Any

import click

from resolver.cli import complete
from resolver.cli.live import tell
from resolver.cli.options import answer_options, content_options, live_options, resolv_conf_option, settings_loader
from resolver.cli.output import say, shortened
from resolver.config.schema import Settings

Wanted = dict[str, str | None]


@click.command("explain")
@click.argument("name", shell_complete=complete.names)
@click.argument("rtype", metavar="[TYPE]", required=False, shell_complete=complete.types)
@click.option("--from", "address", metavar="ADDRESS", help="As a client at this address.")
@click.option("--network", metavar="NET", shell_complete=complete.networks, help="As a client on this network.")
@click.option("--endpoint", metavar="NAME", shell_complete=complete.containers, help="As the container of this name.")
@content_options
@answer_options
@resolv_conf_option
@live_options
def command(
    name: str,
    rtype: str | None,
    address: str | None,
    network: str | None,
    endpoint: str | None,
    offline: bool,
    as_json: bool,
    config: Path | None,
    **options: Any,
) -> None:
    """Tell why NAME resolves as it does: the view, the stage that answers, where the record was written, who is asked.

    TYPE is A unless you say otherwise; an address in the place of NAME stands for its reverse name. Without --from,
    --network or --endpoint it is the host that asks.

    Asks the running server at the address that [metrics] names; when there is none, or when files are named, works
    from the files. Nothing is ever sent to an upstream.

    \b
    Examples:
      pydns explain db
      pydns explain db AAAA --from 172.18.0.3
      pydns explain example.com --network mynet
      pydns explain 172.18.0.2
    """
    settings = settings_loader(config, **options)()
    name, rtype = _question(name, rtype)
    wanted: Wanted = {"name": name, "type": rtype, "from": address, "network": network, "endpoint": endpoint}
    told = tell(settings, "/explain", wanted, lambda: _offline(settings, wanted), key="stage", offline=offline)
    say(json.dumps(told, indent=2) if as_json else _in_words(told))


def _question(name: str, rtype: str | None) -> tuple[str, str]:
    """The name and type to ask for; an address alone is asked for its name."""
    if rtype is None:
        try:
            return ipaddress.ip_address(name).reverse_pointer, "PTR"
        except ValueError:
            pass
    return name, rtype or "A"


def _offline(settings: Settings, wanted: Wanted) -> dict[str, Any]:
    from resolver.assembly import offline_state
    from resolver.attach.gateways import host_gateways
    from resolver.explain import Asked, explain

    asked = Asked(wanted["name"] or "", wanted["type"] or "A", wanted["from"], wanted["network"], wanted["endpoint"])
    return explain(asked, offline_state(settings, host_gateways()))


def _in_words(told: dict[str, Any]) -> str:
    networks = ", ".join(told["view"]["networks"]) or "none"
    internal = ", internal" if told["view"]["internal"] else ""
    lines = [
        _line("question", f"{told['question']['name']} {told['question']['type']}"),
        _line("view", f"networks {networks}{internal} ({told['view']['because']})"),
        _line("stage", told["stage"]),
    ]
    if "rcode" in told:
        is_nodata = told["rcode"] == "NOERROR" and not told["answer"]
        nodata = ", no record of this type (NODATA)" if is_nodata and "NS" not in _types(told["authority"]) else ""
        lines.append(_line("answer", told["rcode"] + (", authoritative" if told["authoritative"] else "") + nodata))
        for section in ("answer", "authority", "additional"):
            lines += [
                _line("", record + ("" if section == "answer" else f"   ; {section}")) for record in told[section]
            ]
    else:
        lines += [_line("", record) for record in told["answer"]]
        lines.append(_line("forwarded", f"{told['forwarded_name']} to {_upstreams(told)}"))
    if told.get("because"):
        lines.append(_line("because", told["because"]))
    if "extended_error" in told:
        error = told["extended_error"]
        lines.append(_line("error", f"{error['text']} (EDE {error['code']})"))
    if told.get("elsewhere"):
        whose = " and ".join(told["elsewhere"])
        lines.append(_line("elsewhere", f"the name is known on {whose}, which the asker is not on"))
    lines += [_line("written in", shortened(place)) for place in told.get("written_in", ())]
    return "\n".join([*lines, _line("told by", told["source"])])


def _line(what: str, text: str) -> str:
    return f"{what:<12}{text}"


def _types(records: list[str]) -> set[str]:
    """The types of records that are written ``owner ttl IN type data``."""
    return {record.split(" ", 4)[3] for record in records}


def _upstreams(told: dict[str, Any]) -> str:
    if not told["upstreams"]:
        return "nobody, since there is no upstream: SERVFAIL (see forward.upstreams and resolv.conf)"
    asked = (", in turn with " if told.get("rotate") else ", then ").join(told["upstreams"])
    return f"{asked} (the asker's own servers)" if told["upstreams_of"] == "the asker" else asked
