"""``pydns serve``: a server on addresses of this machine."""

from __future__ import annotations

from typing import Any

import click

from resolver import garbage
from resolver.cli.options import serve_options, set_up_logging, settings_loader, verbose_option


@click.command("serve")
@serve_options
@verbose_option
def command(config: Any, network: tuple[str, ...], verbose: bool, **options: Any) -> None:
    """Answer on addresses of this machine, UDP and TCP; needs no root and no configuration.

    A client whose address lies in a network's subnet sees the names of its networks, a container that the registry has
    by its id those of all networks that it is on; any other client, as this machine itself, sees every network. Files
    are reloaded when they change; SIGHUP reloads everything.

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
    from resolver.server.loop import run as run_loop
    from resolver.server.state import Pin

    garbage.expect_data()
    networks = network or settings.networks

    async def run_workers(pin: Pin | None) -> None:
        from resolver.workers.feeder import Feeder

        feeder = Feeder(settings, load_settings, pin=pin, fallback_gateways=host_gateways)
        await feeder.open()
        try:
            await feeder.bind()
            feeder.bind_http()
            await feeder.start()
            addresses = ", ".join(map(str, feeder.listeners.addresses))
            answering = f"{settings.workers} workers"
            await feeder.serve(f"listening on {addresses} (UDP and TCP), {feeder.describe()}, {answering}")
        finally:
            await feeder.close()

    async def run() -> None:
        pin = Pin(networks) if networks else None
        if settings.workers > 1:
            await run_workers(pin)
            return
        server = Server(settings, load_settings, pin=pin, fallback_gateways=host_gateways)
        await server.open()
        try:
            await server.bind()
            server.bind_http()
            addresses = ", ".join(map(str, server.listeners.addresses))
            await server.serve(f"listening on {addresses} (UDP and TCP), {server.describe()}")
        finally:
            await server.close()

    run_loop(run())
