"""One attached namespace of an agent: its attachment, its listeners, its view, and whoever watches over them."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from functools import partial
from ipaddress import ip_address
from typing import Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from resolver.agent.process import Claims, Process
from resolver.agent.targets import Identity, Wanted
from resolver.app import DRAIN_S, Server
from resolver.assembly import forward_options, own_upstreams, tcp_limits
from resolver.attach import netns
from resolver.attach.attachment import LEGACY_POLL_S, Attachment, Manner
from resolver.attach.command import refuse_descriptors
from resolver.attach.netns import Target
from resolver.attach.plan import ADDRESS
from resolver.attach.rulekeeper import RuleKeeper, open_inside
from resolver.errors import AttachError
from resolver.forward.upstreams import Upstream
from resolver.server.listeners import Listeners
from resolver.server.state import State

log = logging.getLogger(__name__)

_T = TypeVar("_T")
_OURS = ip_address(ADDRESS)

LOOK_S = 60.0
"""Mean seconds between two looks at rules whose changes the kernel announces; each costs some 0.2 ms."""
LEGACY_LOOKS_PER_S = 10.0
"""How many namespaces a second are looked at, in all, where nobody announces changes and a look is a command."""
_POLL_S = 0.01


class OnThread(Protocol):
    """Runs what blocks on one of a few threads."""

    def __call__(self, work: Callable[[], _T]) -> Awaitable[_T]:
        """What ``work`` returns or raises."""


class Host(Struct, frozen=True):
    """What all members have in common."""

    server: Server
    manner: Callable[[], Manner]
    on_thread: OnThread
    count: Callable[[], int]
    """How many namespaces are attached."""
    claims: Claims
    own: Identity | None
    """The namespace that pydns runs in, which is never attached."""

    def attach(self, target: Target, manner: Manner, claimed: Identity | None, process: Process | None) -> Attachment:
        """Attach where ``claimed`` is what is entered, for as long as ``process`` lives; raises AttachError."""

        def admits(entered: Identity) -> None:
            if process is not None:
                process.check_alive()
            if entered == self.own:
                raise AttachError("it has come to be the namespace that pydns itself runs in")
            if entered != claimed:
                raise AttachError("it has come to be another namespace meanwhile")

        return Attachment(target, replace(manner, admits=admits))


class Member:
    """A namespace that is served. Made by `open`, ended by `close`."""

    def __init__(
        self,
        host: Host,
        attachment: Attachment,
        wanted: Wanted,
        process: Process | None,
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
        self._process = process

    @classmethod
    async def open(
        cls,
        host: Host,
        wanted: Wanted,
        claimed: Identity | None,
        ended: Callable[[], None],
        closed: Callable[[Member], None],
    ) -> Member:
        """Attach and serve. Raises AttachError, also when what is entered is not the namespace that was ``claimed``.

        ``ended`` is called when the namespace's process has ended, ``closed`` when the member has let go.
        """
        process = None if wanted.pid is None else host.claims.hold(wanted.container_id, wanted.pid)
        try:
            attachment = await host.on_thread(partial(host.attach, target_of(wanted), host.manner(), claimed, process))
        except BaseException as error:
            if process is not None:
                process.close()
            if isinstance(error, OSError):
                refuse_descriptors(error)
            raise
        member = cls(host, attachment, wanted, process, ended, closed)
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
        self._responder.count_passing_hits()
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
        chain, upstreams, options = state.chain, state.upstreams, state.options
        if wanted.servers:
            chain, upstreams = self._host.server.own_chain(state), _upstreams_inside(wanted.servers)
        elif attachment.former_servers and not settings.upstreams:
            chain, upstreams = self._host.server.own_chain(state), _upstreams_inside(attachment.former_servers)
            options = forward_options(settings, attachment.former)
        return replace(
            state,
            chain=chain,
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
        if self._process is not None:
            self._loop.add_reader(self._process.descriptor, self._process_ended)

    def _process_ended(self) -> None:
        self._unwatch_process()
        self._ended()

    def _unwatch_process(self) -> None:
        if self._process is not None:
            self._loop.remove_reader(self._process.descriptor)
            self._process.close()
            self._process = None


def target_of(wanted: Wanted) -> Target:
    """Where the namespace is; raises AttachError when there is none."""
    if wanted.pid is None:
        return named_target(wanted.spec, wanted.label)
    return container_target(wanted.pid, wanted.label)


def named_target(spec: str, label: str) -> Target:
    """The namespace at a path or of a name of `ip netns`, which may have gone; raises AttachError when it has."""
    target = netns.locate(spec)
    if target.name is None and "/" not in spec:  # a name's digits are no process id, its letters not "self"
        raise AttachError(f"there is no network namespace {spec!r} any more")
    return replace(target, label=label)


def container_target(pid: int, label: str) -> Target:
    """The namespace of a container's first process, which may have ended."""
    return Target(netns.PROC / str(pid) / "ns/net", label, pid=pid)


def _upstreams_inside(servers: tuple[str, ...]) -> tuple[Upstream, ...]:
    """An asker's own servers, asked from where the asker is; there 127.0.0.11 would be ourselves."""
    return own_upstreams(tuple(server for server in servers if not _is_ours(server)), in_namespace=True)


def _is_ours(server: str) -> bool:
    """Whether it stands for 127.0.0.11 in whatever spelling, mapped into IPv6 as well."""
    try:
        address = ip_address(server)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address) == _OURS
