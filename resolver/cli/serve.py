"""``pydns serve``: a server on addresses of this machine."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from resolver.cli.options import server_options, set_up_logging, settings_loader


@click.command("serve")
@server_options
@click.option(
    "--listen",
    multiple=True,
    envvar="PYDNS_LISTEN",
    metavar="ADDRESS[:PORT]",
    help="Answer UDP and TCP here; repeatable.  [default: 127.0.0.1:5353, [::1]:5353]",
)
@click.option(
    "--network",
    multiple=True,
    envvar="PYDNS_NETWORK",
    metavar="NET",
    help="Show every client the names of this network only; repeatable.  [default: by the client's address]",
)
@click.option(
    "--resolv-conf",
    envvar="PYDNS_RESOLV_CONF",
    metavar="FILE",
    help="Forward to the servers in this file.  [default: /etc/resolv.conf]",
)
def command(config: Any, network: tuple[str, ...], verbose: bool, **options: Any) -> None:
    """Answer on addresses of this machine, UDP and TCP; needs no root and no configuration.

    A client whose address lies in a network's subnet sees the names of its networks; any other client, as this
    machine itself, sees every network. Files are reloaded when they change; SIGHUP reloads everything.

    \b
    Examples:
      pydns serve
      pydns serve --listen 0.0.0.0:5300 --registry ./networks.toml --upstream 10.0.0.53
      docker network inspect mynet > mynet.json; pydns serve --registry mynet.json
    """
    set_up_logging(verbose=verbose)
    load_settings = settings_loader(config, **options)
    settings = load_settings()

    from resolver.app import Server
    from resolver.attach.gateways import host_gateways
    from resolver.server.responder import Pin

    networks = network or settings.networks

    async def run() -> None:
        pin = Pin(networks) if networks else None
        server = Server(settings, load_settings, pin=pin, fallback_gateways=host_gateways)
        await server.open()
        try:
            await server.bind()
            server.bind_http()
            addresses = ", ".join(map(str, server.listeners.addresses))
            await server.serve(f"listening on {addresses} (UDP and TCP), {server.describe()}")
        finally:
            await server.close()

    asyncio.run(run())
