"""A server inside somebody's network namespace: attach, answer, watch the rules, let go (design.md 5)."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from resolver.app import Server
from resolver.attach.attachment import Attachment
from resolver.config.schema import Settings
from resolver.errors import AttachError, ConfigError, Fault
from resolver.server.responder import Pin
from resolver.wire.name import IPAddress

log = logging.getLogger(__name__)

SETTLE_S = 0.1
"""How long to wait after a change of rules before they are looked at; whoever changes them may not be done."""
SETTLE_MOST_S = 0.8
"""It is doubled up to this for as long as repairs fail or somebody undoes them."""
GONE_S = 1.0
"""How often to look whether the namespace's name is still there."""


class RuleKeeper:
    """Looks at the redirect rules when the kernel tells of a change, and now and then, and has them repaired."""

    def __init__(
        self, attachment: Attachment, loop: asyncio.AbstractEventLoop, looked: Callable[[], None] = lambda: None
    ) -> None:
        """``looked`` is called after each look."""
        self._attachment = attachment
        self._loop = loop
        self._after_look = looked
        self._timer: asyncio.TimerHandle | None = None
        self._is_checking = False
        self._is_stale = False
        """Something changed while a check was under way, perhaps behind its back."""
        self._settle_s = SETTLE_S
        self._complaint = ""
        self._is_stopped = False

    def start(self) -> None:
        """Begin to look after the rules."""
        if self._attachment.changes is not None:
            self._loop.add_reader(self._attachment.changes.fileno(), self._changed)
        self._look_in(self._attachment.poll_interval_s)

    def stop(self) -> None:
        """Look no more, so that the rules can be removed."""
        self._is_stopped = True
        if self._attachment.changes is not None:
            self._loop.remove_reader(self._attachment.changes.fileno())
        if self._timer is not None:
            self._timer.cancel()

    def _changed(self) -> None:
        if not self._attachment.drain():
            return
        if self._is_checking:
            self._is_stale = True
        elif self._timer is None or self._timer.when() > self._loop.time() + self._settle_s:
            # A look that is due sooner stays: changes without end must not put it off for ever.
            self._look_in(self._settle_s)

    def _look_in(self, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(delay_s, self._look)

    def _look(self) -> None:
        self._is_checking, self._is_stale = True, False
        checked = asyncio.wrap_future(self._attachment.start_check(), loop=self._loop)
        checked.add_done_callback(self._looked)

    def _looked(self, checked: asyncio.Future[bool]) -> None:
        self._is_checking = False
        if self._is_stopped or checked.cancelled():
            return
        error = checked.exception()
        complaint = "" if error is None else str(error)
        if complaint and complaint != self._complaint:
            log.error("the redirect rules could not be looked after, which is tried on: %s", complaint)
        self._complaint = complaint
        if error is None and not checked.result():
            self._settle_s = SETTLE_S
            self._look_in(SETTLE_S if self._is_stale else self._attachment.poll_interval_s)
        else:
            self._settle_s = min(2 * self._settle_s, SETTLE_MOST_S)
            self._look_in(self._settle_s)
        self._after_look()


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
        await server.open(namespace_sockets=self._open_inside)
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

    def _open_inside(self, family: int, kind: int, done: Callable[[socket.socket | OSError], None]) -> None:
        """A socket for an upstream inside the namespace, handed over on the loop."""
        opened = asyncio.wrap_future(self._attachment.open_socket(family, kind))

        def finish(future: asyncio.Future[socket.socket]) -> None:
            error = future.exception()
            done(future.result() if error is None else error if isinstance(error, OSError) else OSError(str(error)))

        opened.add_done_callback(finish)

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
