"""A server inside somebody's network namespace: attach, answer, watch the rules, let go (design.md 5)."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from functools import partial

from msgspec.structs import replace

from resolver.app import Server
from resolver.attach.attachment import Attachment
from resolver.attach.rulekeeper import RuleKeeper, open_inside
from resolver.config.schema import Settings
from resolver.errors import AttachError, ConfigError, Fault
from resolver.server.state import Pin
from resolver.wire.name import IPAddress

log = logging.getLogger(__name__)

GONE_S = 1.0
"""How often to look whether the namespace's name is still there."""


class Sidecar:
    """One namespace's resolver, from attaching to letting go."""

    def __init__(
        self,
        settings: Settings,
        load_settings: Callable[[], Settings],
        attachment: Attachment,
        *,
        networks: tuple[str, ...],
        endpoint: str | None,
        bridge_gateways: Callable[[], tuple[IPAddress, ...]],
    ) -> None:
        self._attachment = attachment
        self._label = attachment.label
        self._gateways = attachment.default_gateways
        self._server = Server(
            settings,
            load_settings,
            pin=Pin(networks, endpoint),
            fallback_gateways=lambda: attachment.default_gateways or bridge_gateways(),
            former=replace(attachment.former, nameservers=attachment.former_servers),
        )
        if endpoint is not None and not networks:
            self._server.networks_now = partial(self._networks_of, endpoint)
        self._server.repairs = lambda: attachment.repairs

    async def run(self) -> None:
        """Serve until a signal, or the end of the namespace's process or name, says stop.

        Raises PydnsError at the start.
        """
        server, attachment = self._server, self._attachment
        loop = asyncio.get_running_loop()
        await server.open(namespace_sockets=partial(open_inside, attachment))
        self._settle_networks()
        keeper = RuleKeeper(attachment, loop, self._follow_gateways)
        try:
            server.bind_http()
            await server.listeners.adopt(attachment.udp, attachment.tcp)
            attachment.install()
            attachment.drop_privileges()
            keeper.start()
            unwatch = self._watch_namespace(loop)
            redirect = attachment.redirect
            await server.serve(
                f"127.0.0.11:53 in namespace {attachment.label} -> udp {redirect.udp_port}, tcp {redirect.tcp_port}"
                f" ({attachment.firewall})"
            )
            unwatch()
            await server.drain()
            server.forwarder.close()  # who still waits is told so
        finally:
            keeper.stop()
            attachment.restore_resolv_conf()
            await server.close()
            await asyncio.sleep(0)  # connections are closed by the loop
            attachment.withdraw()  # only now: the rules led the last replies, and the ends of connections, back

    def _settle_networks(self) -> None:
        """Without --network the networks are those on which the endpoint is."""
        pin = self._server.pin
        if pin is None or pin.endpoint is None:
            return
        networks = self._server.content.views.networks_of(pin.endpoint)
        if pin.networks:
            if not set(networks) & set(pin.networks):
                log.warning("the registry has no container %r on %s, so far", pin.endpoint, " or ".join(pin.networks))
            return
        if not networks:
            fix = "see `pydns networks`, or name the networks with --network"
            raise ConfigError([Fault("--endpoint", f"there is no container {pin.endpoint!r} in the registry", fix)])
        self._server.repin(Pin(networks, pin.endpoint))

    def _networks_of(self, endpoint: str) -> tuple[str, ...]:
        """The networks on which the endpoint is now; when it is on none any more its namespace is cut off."""
        networks = self._server.content.views.networks_of(endpoint)
        if not networks:
            log.warning("the registry has no container %r any more: nothing is forwarded for %s", endpoint, self._label)
        return networks

    def _follow_gateways(self) -> None:
        """A container gets its routes when its namespace may long have its resolver."""
        if self._attachment.default_gateways != self._gateways:
            self._gateways = self._attachment.default_gateways
            self._server.reload()

    def _watch_namespace(self, loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
        """The end of the namespace, of its process or its name, is ours; returns what ends the watch."""
        attachment = self._attachment
        if attachment.pid is None:
            return self._watch_name(loop)
        try:
            descriptor = os.pidfd_open(attachment.pid)
        except OSError as error:
            raise AttachError(f"process {attachment.pid} cannot be watched: {error.strerror}") from error

        def ended() -> None:
            loop.remove_reader(descriptor)
            log.info("process %s has ended", attachment.pid)
            self._server.stop()

        def unwatch() -> None:
            loop.remove_reader(descriptor)
            os.close(descriptor)

        loop.add_reader(descriptor, ended)
        return unwatch

    def _watch_name(self, loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
        """Nobody tells of the end of a name: it is looked at now and then. Our sockets would keep its namespace."""
        timer: asyncio.TimerHandle

        def look() -> None:
            nonlocal timer
            if self._attachment.is_gone:
                log.info("the network namespace %s is gone", self._attachment.label)
                self._server.stop()
            else:
                timer = loop.call_later(GONE_S, look)

        timer = loop.call_later(GONE_S, look)
        return lambda: timer.cancel()
