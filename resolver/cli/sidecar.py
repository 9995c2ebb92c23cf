"""``pydns sidecar``: a server inside a network namespace."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from resolver import garbage
from resolver.cli import complete
from resolver.cli.options import (
    PATH,
    answer_alone,
    answer_options,
    content_options,
    daemon_options,
    metrics_option,
    option,
    set_up_logging,
    settings_loader,
    verbose_option,
)
from resolver.config.schema import Settings
from resolver.errors import ConfigError, Fault

if TYPE_CHECKING:
    from resolver.attach.attachment import Attachment

log = logging.getLogger(__name__)

NOWHERE = Path(os.devnull)
"""A resolv.conf that names nobody."""
FIREWALLS = ("auto", "nftables", "iptables", "iptables-nft", "iptables-legacy")


@click.command("sidecar")
@option(
    "--netns",
    required=True,
    metavar="NAME|PATH|PID|self",
    shell_complete=complete.namespaces,
    help="The namespace: a name of `ip netns`, the path of its file, a process in it, or the one that pydns is in.",
)
@option(
    "--network",
    multiple=True,
    metavar="NET",
    shell_complete=complete.networks,
    show_default="those of --endpoint",
    help="A network that the namespace is on; repeatable.",
)
@option(
    "--endpoint",
    metavar="NAME",
    shell_complete=complete.containers,
    help="Who asks: the container's name in the registry. Gives it its link aliases and its own servers.",
)
@content_options
@daemon_options
@answer_options
@option(
    "--firewall",
    type=click.Choice(FIREWALLS),
    default="auto",
    show_default=True,
    help="What installs the redirect.",
)
@click.option(
    "--resolv-conf",
    "container_resolv_conf",
    type=PATH,
    envvar="PYDNS_CONTAINER_RESOLV_CONF",
    show_envvar=True,
    metavar="PATH",
    show_default="found by --netns",
    help="The container's resolv.conf, rewritten in place and put back at the end.",
)
@click.option("--no-resolv-conf", is_flag=True, help="Leave the container's resolv.conf alone.")
@metrics_option
@verbose_option
def command(
    config: Path | None,
    netns: str,
    network: tuple[str, ...],
    endpoint: str | None,
    firewall: str,
    container_resolv_conf: Path | None,
    no_resolv_conf: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Answer at 127.0.0.11:53 inside a network namespace, as Docker does for its containers.

    The sockets listen on random ports inside the namespace and rules lead port 53 to them; the program itself stays
    outside. The rules are watched and repaired; on SIGTERM they are removed and resolv.conf is put back. Needs
    CAP_SYS_ADMIN and CAP_NET_ADMIN to attach and keeps only what the firewall needs; in a container that shares
    another one's network (`--netns self`), CAP_NET_ADMIN alone.

    \b
    Examples:
      pydns sidecar --netns web --network mynet
      pydns sidecar --netns 4711 --endpoint web
      pydns sidecar --netns self --docker unix:///var/run/docker.sock --endpoint web
      ip netns exec web dig db
    """
    if not network and endpoint is None:
        fix = "give --network NET, or --endpoint NAME for the networks of a container"
        raise ConfigError([Fault("--network", "nobody says which networks the namespace is on", fix)])
    if container_resolv_conf is not None and no_resolv_conf:
        raise ConfigError([Fault("--no-resolv-conf", "contradicts --resolv-conf", "give one of them")])
    set_up_logging(verbose=verbose)
    load_given = settings_loader(config, with_shipped_zones=False, **options)
    settings = load_given()
    answer_alone(settings, "a sidecar")

    from resolver.assembly import uses_system
    from resolver.attach.attachment import Attachment
    from resolver.attach.gateways import bridge_gateways
    from resolver.sidecar import Sidecar

    garbage.expect_data()
    attachment = Attachment.open(
        netns, firewall=firewall, resolv_conf=container_resolv_conf, manage_resolv_conf=not no_resolv_conf
    )

    def load_settings() -> Settings:
        return _not_asking_itself(load_given(), attachment) if attachment.is_own else load_given()

    if attachment.is_own:
        given, settings = settings, _not_asking_itself(settings, attachment)
        if uses_system(given) and not uses_system(settings):
            log.warning("the upstream system is left out: in the container itself it asks resolv.conf, which names us")
        if not settings.upstreams and not attachment.former_servers and settings.resolv_conf == NOWHERE:
            log.warning(
                "resolv.conf names no server but 127.0.0.11: what is no container is not resolved; see --upstream"
            )

    async def run() -> None:
        sidecar = Sidecar(
            settings,
            load_settings,
            attachment,
            networks=network,
            endpoint=endpoint,
            bridge_gateways=bridge_gateways,
        )
        await sidecar.run()

    from resolver.server.loop import run as run_loop

    with attachment:
        run_loop(run())


def _not_asking_itself(settings: Settings, attachment: Attachment) -> Settings:
    """The settings of a sidecar in the namespace that it serves: there 127.0.0.11 is itself, whoever names it.

    What is the host's resolv.conf elsewhere is the container's own there, and about to name it; whom that file named
    before, the attachment knows.
    """
    from resolver.attach.plan import ADDRESS
    from resolver.attach.resolvconf_place import HOST
    from resolver.forward.upstreams import SYSTEM, Upstream, drop_own

    def others(upstreams: tuple[Upstream, ...]) -> tuple[Upstream, ...]:
        left = drop_own(upstreams, {(ADDRESS, 53)})
        # The name service goes by the resolv.conf that is about to name us.
        return tuple(upstream for upstream in left if upstream != SYSTEM) if attachment.has_resolv_conf else left

    return replace(
        settings,
        upstreams=others(settings.upstreams),
        bootstrap=others(settings.bootstrap),
        routes=tuple(replace(route, upstreams=others(route.upstreams)) for route in settings.routes),
        resolv_conf=NOWHERE if attachment.has_resolv_conf and settings.resolv_conf == HOST else settings.resolv_conf,
    )
