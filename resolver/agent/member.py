"""One attached namespace of an agent: its attachment, its listeners, its view, and whoever watches over them."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeVar

from resolver.agent.keeper import NotThere
from resolver.agent.targets import Wanted
from resolver.app import DRAIN_S, Server
from resolver.assembly import own_upstreams, tcp_limits
from resolver.attach import netns
from resolver.attach.attachment import LEGACY_POLL_S, Attachment, Manner
from resolver.attach.netns import Target
from resolver.attach.plan import ADDRESS
from resolver.attach.rulekeeper import RuleKeeper, open_inside
from resolver.errors import AttachError
from resolver.forward.policy import ForwardOptions
from resolver.forward.upstreams import Upstream
from resolver.server.listeners import Listeners
from resolver.server.responder import State

log = logging.getLogger(__name__)

_T = TypeVar("_T")

LOOK_S = 60.0
"""Mean seconds between two looks at rules whose changes the kernel announces; each costs some 0.2 ms."""
LEGACY_LOOKS_PER_S = 10.0
"""How many namespaces a second are looked at, in all, where nobody announces changes and a look is a command."""
_POLL_S = 0.01


class OnThread(Protocol):
    """Runs what blocks on one of a few threads."""

    def __call__(self, work: Callable[[], _T]) -> Awaitable[_T]:
        """What ``work`` returns or raises."""


@dataclass(frozen=True, slots=True)
class Host:
    """What all members have in common."""

    server: Server
    manner: Callable[[], Manner]
    on_thread: OnThread
    count: Callable[[], int]
    """How many namespaces are attached."""


class Member:
    """A namespace that is served. Made by `open`, ended by `close`."""

    def __init__(
        self,
        host: Host,
        attachment: Attachment,
        wanted: Wanted,
        ended: Callable[[], None],
        closed: Callable[[Member], None],
    ) -> None:
        self.attachment = attachment
        self.wanted = wanted
        self._host = host
        self._open_inside = partial(open_inside, attachment)
        self._loop = asyncio.get_running_loop()
        self._responder = host.server.join(self._restated)
        self._listeners = Listeners(self._responder, tcp_limits(host.server.settings))
        self._keeper = RuleKeeper(attachment, self._loop, pause_s=self._pause_s)
        self._ended = ended
        self._closed = closed
        self._pidfd = -1

    @classmethod
    async def open(
        cls, host: Host, wanted: Wanted, ended: Callable[[], None], closed: Callable[[Member], None]
    ) -> Member:
        """Attach and serve. Raises AttachError.

        ``ended`` is called when the namespace's process has ended, ``closed`` when the member has let go.
        """
        attachment = await host.on_thread(partial(Attachment, target_of(wanted), host.manner()))
        member = cls(host, attachment, wanted, ended, closed)
        try:
            await member._listeners.adopt(attachment.udp, attachment.tcp)
            member._watch_process()
            await host.on_thread(attachment.install)
        except BaseException:
            await member.close(drain=False)
            raise
        member._keeper.start()
        return member

    def restate(self, wanted: Wanted) -> None:
        """Serve another view from now on."""
        self.wanted = wanted
        self._responder.count_ready_hits()
        self._responder.swap(self._restated(self._host.server.responder.state))

    async def close(self, *, drain: bool = True) -> None:
        """Put resolv.conf back, answer what is in flight, remove the rules, close everything; never raises."""
        host, attachment = self._host, self.attachment
        self._keeper.stop()
        self._unwatch_process()
        await host.on_thread(attachment.restore_resolv_conf)
        self._listeners.stop()
        deadline = self._loop.time() + DRAIN_S
        while drain and self._responder.in_flight and self._loop.time() < deadline:  # noqa: ASYNC110 (a plain int)
            await asyncio.sleep(_POLL_S)
        host.server.leave(self._responder)
        self._listeners.close()
        host.server.forwarder.leave(self._open_inside)
        await asyncio.sleep(0)  # connections are closed by the loop
        # Only now: the rules led the last replies, and the ends of connections, back.
        await host.on_thread(attachment.close)
        self._closed(self)

    def _restated(self, state: State) -> State:
        """The server's state as this namespace has it: its own view, its own upstreams, its own sockets."""
        wanted, attachment, settings = self.wanted, self.attachment, self._host.server.settings
        upstreams, options = state.upstreams, state.options
        if wanted.servers:
            upstreams = _upstreams_inside(wanted.servers)
        elif attachment.former_servers and not settings.upstreams:
            upstreams = _upstreams_inside(attachment.former_servers)
            options = ForwardOptions.of(attachment.former)
        return State(
            views=state.views,
            chain=state.chain,
            upstreams=upstreams,
            own_upstreams=_upstreams_inside,
            options=options,
            pin=wanted.pin,
            in_namespace=self._open_inside,
        )

    def _pause_s(self) -> float:
        """Spread out, so that the looks at hundreds of namespaces do not come at once."""
        mean = LOOK_S
        if self.attachment.changes is None:
            mean = max(LEGACY_POLL_S, self._host.count() / LEGACY_LOOKS_PER_S)
        return mean * random.uniform(0.5, 1.5)

    def _watch_process(self) -> None:
        pid = self.attachment.pid
        if pid is None:
            return
        try:
            self._pidfd = os.pidfd_open(pid)
        except OSError as error:
            raise AttachError(f"{self.wanted.label}: process {pid} cannot be watched: {error.strerror}") from error
        self._loop.add_reader(self._pidfd, self._process_ended)

    def _process_ended(self) -> None:
        self._unwatch_process()
        self._ended()

    def _unwatch_process(self) -> None:
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            with suppress(OSError):
                os.close(self._pidfd)
            self._pidfd = -1


def target_of(wanted: Wanted) -> Target:
    """Where the namespace is; raises AttachError when there is none."""
    if wanted.pid is None:
        return replace(netns.locate(wanted.spec), label=wanted.label)
    target = container_target(wanted.pid, wanted.label)
    if not target.path.parent.exists():
        raise NotThere(f"there is no process {wanted.pid} here; pydns has to see the host's processes (--pid host)")
    return target


def container_target(pid: int, label: str) -> Target:
    """The namespace of a container's first process, which may have ended."""
    return Target(netns.PROC / str(pid) / "ns/net", label, pid=pid)


def _upstreams_inside(servers: tuple[str, ...]) -> tuple[Upstream, ...]:
    """An asker's own servers, asked from where the asker is; there 127.0.0.11 would be ourselves."""
    return own_upstreams(tuple(server for server in servers if server != ADDRESS), in_namespace=True)
