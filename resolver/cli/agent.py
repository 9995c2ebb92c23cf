"""``pydns agent``: one server for the containers of a host, each in its own namespace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from resolver import garbage
from resolver.cli import complete
from resolver.cli.options import (
    answer_alone,
    answer_options,
    content_options,
    daemon_options,
    metrics_option,
    option,
    overrides,
    resolv_conf_option,
    set_up_logging,
    verbose_option,
)
from resolver.cli.sidecar import FIREWALLS
from resolver.config.load import Override, load
from resolver.config.schema import Settings
from resolver.errors import ConfigError, Fault


@click.command("agent")
@option(
    "--netns",
    multiple=True,
    metavar="PATTERN",
    shell_complete=complete.namespaces,
    help="Attach to the namespaces of `ip netns` with this name, or whose names match (ci-*); repeatable.",
)
@content_options
@daemon_options
@answer_options
@resolv_conf_option
@click.option("--takeover", is_flag=True, help="Serve also where Docker's own resolver answers.")
@option(
    "--firewall",
    type=click.Choice(FIREWALLS),
    show_default="auto",
    help="What installs the redirects.",
)
@click.option("--no-resolv-conf", is_flag=True, help="Leave the containers' resolv.conf alone.")
@metrics_option
@verbose_option
def command(
    config: Path | None,
    netns: tuple[str, ...],
    takeover: bool,
    firewall: str | None,
    no_resolv_conf: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Answer at 127.0.0.11:53 inside many network namespaces, as each container starts and until it ends.

    With --docker or --podman (or the sections [docker] and [podman]) these are the namespaces of a daemon's
    containers, each with the view of exactly its networks; with --netns (or [[agent.namespaces]]) those of `ip netns`,
    each with the view of the registry's container of that name. One process serves them all. On SIGTERM everything is
    put back; after a crash the next start takes over.

    \b
    Examples:
      pydns agent --docker unix:///var/run/docker.sock --takeover
      pydns agent --netns 'ci-*' --registry networks.toml
    """
    set_up_logging(verbose=verbose)
    given = overrides(**options)
    if netns:
        given.append(Override(("agent", "namespaces"), [{"netns": name} for name in netns], "--netns"))
    if takeover:
        given.append(Override(("agent", "takeover"), True, "--takeover"))
    if no_resolv_conf:
        given.append(Override(("agent", "resolv_conf"), False, "--no-resolv-conf"))
    if firewall is not None:
        given.append(Override(("agent", "firewall"), firewall, "--firewall"))

    def load_settings() -> Settings:
        return load(config, given, with_shipped_zones=False)

    settings = load_settings()
    answer_alone(settings, "an agent")
    if not settings.daemons and not settings.agent.namespaces:
        fix = "give --docker URL, --podman URL or --netns PATTERN, or the sections [docker], [podman] or [agent]"
        raise ConfigError([Fault("--netns", "nobody says which namespaces to attach to", fix)])

    from resolver.agent.agent import Agent
    from resolver.attach import privileges
    from resolver.attach.gateways import bridge_gateways
    from resolver.server.loop import run as run_loop

    garbage.expect_data()
    privileges.require(("CAP_SYS_ADMIN", "CAP_NET_ADMIN"), "an agent")

    async def run() -> None:
        await Agent(settings, load_settings, bridge_gateways=bridge_gateways).run()

    run_loop(run())
