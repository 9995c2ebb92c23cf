"""``pydns agent``: one server for the containers of a host, each in its own namespace (docs/agent.md)."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Container, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from msgspec.structs import replace

from resolver.agent import namespaces, remembered
from resolver.agent.keeper import AT_ONCE, Keeper, Phase
from resolver.agent.member import Host, Member, target_of
from resolver.agent.process import Claims
from resolver.agent.remembered import Remembered
from resolver.agent.targets import Identity, Targets, Wanted, targets_of
from resolver.app import DRAIN_S, Server
from resolver.attach import command, netns, privileges
from resolver.attach.attachment import Manner, ServedAlready
from resolver.attach.command import OutOfDescriptors
from resolver.attach.firewall import Choice
from resolver.attach.inside import ThreadPool
from resolver.attach.sockets import Taken
from resolver.config.agent import NamespaceRule
from resolver.config.schema import Settings
from resolver.errors import AttachError
from resolver.forward.forwarder import no_namespace
from resolver.freshness import on_thread
from resolver.ops.metrics import AgentCounts
from resolver.server.state import Pin
from resolver.sources.docker.facts import ContainerFacts
from resolver.sources.watch import FileWatch
from resolver.wire.name import IPAddress

log = logging.getLogger(__name__)

_T = TypeVar("_T")

KEPT = ("CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE")
"""What attaching needs for as long as it runs: namespaces, rules (iptables: raw sockets), files and processes of
other users."""
PATIENCE_S = 5.0
"""How long the first round of attaching may make no progress before readiness does not wait for it."""
TICK_S = 1.0
"""How often it is looked whether a daemon has told of new processes that change no name."""
UNFINISHED_S = 0.05
"""How soon to look again at a name that has no namespace yet: nobody tells of a mount."""
_UNFINISHED_LOOKS = 40
_SHOWN = 8
"""How many namespaces one line names."""
STOP_COMMANDS_S = 9.0
"""When pydns stops: how long after the signal no firewall command is started any more."""


@runtime_checkable
class TellsContainers(Protocol):
    """A live source that knows processes, not only names."""

    @property
    def name(self) -> str:
        """As in the settings of its daemon."""

    @property
    def containers(self) -> Mapping[str, ContainerFacts]:
        """Running containers by id; read on the loop."""


class AgentServer(Server):
    """A server that has namespaces to tell of, beside its own readings."""

    keeper: Keeper | None = None
    left: Mapping[str, str] = {}
    """By label, what is left alone and why."""

    async def asked_to_stop(self) -> None:
        """Wait for the signal that ends `serve`."""
        await self._stopping.wait()

    def agent_counts(self) -> AgentCounts:
        """The figures of now; may be called on the loop only."""
        keeper = self.keeper
        return (
            AgentCounts()
            if keeper is None
            else AgentCounts(keeper.counts.attached, keeper.counts.failing, keeper.counts.failures, keeper.durations)
        )

    def agent_targets(self) -> list[dict[str, Any]]:
        """Each namespace, how far it has come, and why no further."""
        rows: list[dict[str, Any]] = [
            {
                "namespace": wanted.label,
                "state": state,
                "reason": reason,
                "networks": list(wanted.pin.networks),
                "endpoint": wanted.pin.endpoint,
            }
            for wanted, state, reason in (self.keeper.report() if self.keeper is not None else ())
        ]
        return rows + [{"namespace": name, "state": "not wanted", "reason": why} for name, why in self.left.items()]


class Agent:
    """The namespaces of one host, from attaching to letting go."""

    def __init__(
        self,
        settings: Settings,
        load_settings: Callable[[], Settings],
        *,
        bridge_gateways: Callable[[], tuple[IPAddress, ...]] = tuple,
    ) -> None:
        """``bridge_gateways``: where a container whose networks have no gateway reaches the host."""
        self._server = AgentServer(settings, load_settings, fallback_gateways=bridge_gateways)
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="pydns-attach")
        self._repairs = 0
        """Of namespaces that are attached no more."""
        self._members: set[Member] = set()
        self._left: dict[Identity, str] = {}
        """By namespace, what it is called, where something of ours could not be taken away."""
        self._claims = Claims()
        self._remote = {daemon.name for daemon in settings.daemons if daemon.host.startswith("tcp:")}
        self._remembered = Remembered(
            [f"{daemon.name} {daemon.host}" for daemon in settings.daemons]
            + sorted(rule.netns for rule in settings.agent.namespaces),
            remembered.folder(),
        )
        self._known: list[dict[str, ContainerFacts]] = []
        """The containers by everybody's last word."""
        self._tick: asyncio.TimerHandle | None = None
        self._look: asyncio.TimerHandle | None = None
        self._unfinished_looks = 0
        self._watch: FileWatch | None = None

    async def run(self) -> None:
        """Serve until a signal says stop. Raises PydnsError at the start."""
        server, loop = self._server, asyncio.get_running_loop()
        self._loop = loop
        await server.open(namespace_sockets=no_namespace)
        server.bind_http()
        self._drop_privileges()
        self._pool = ThreadPool()
        self._choice = Choice()
        self._own = netns.identity_at(netns.PROC / "self/ns/net")
        self._host = Host(server, self._manner, self._on_thread, lambda: len(self._members), self._claims, self._own)
        self._keeper = server.keeper = Keeper(self._attach, _identify, self._own)
        server.repairs = lambda: self._repairs + sum(member.attachment.repairs for member in self._members)
        following: asyncio.Task[None] | None = None
        try:
            self._reconcile()
            await _first_of(self._first_round(), server.asked_to_stop())
            server.swapped = self._reconcile
            following = loop.create_task(self._follow())
            self._ticked()
            counts = self._keeper.counts
            failing = f", {counts.failing} could not be attached so far" if counts.failing else ""
            noun = "namespace" if counts.attached == 1 else "namespaces"
            await server.serve(f"127.0.0.11:53 in {counts.attached} {noun}{failing}, {server.describe()}")
        finally:
            server.swapped = lambda: None
            for timer in (self._tick, self._look):
                if timer is not None:
                    timer.cancel()
            if following is not None:
                following.cancel()
            if self._watch is not None:
                self._watch.stop()
            cutting = loop.call_later(0.9 * DRAIN_S, server.forwarder.close)  # who still waits is told so
            command.hurry(STOP_COMMANDS_S)
            hanging = await self._keeper.close()
            cutting.cancel()
            await server.close()
            self._say_what_is_left(hanging)
            if hanging:  # Python would wait for their threads
                logging.shutdown()
                os._exit(1)
            self._threads.shutdown()
            self._pool.close()

    async def _first_round(self) -> None:
        """Attach to what is wanted, and clean up where a killed run was attached and nothing is wanted any more."""
        await self._keeper.settled(PATIENCE_S)
        earlier = self._remembered.earlier
        unwanted = self._unwanted() if earlier else []
        left = await asyncio.gather(*(self._sweep(wanted, earlier) for wanted in unwanted))
        failed = [_identify(wanted) for wanted, state, _ in self._keeper.report() if state != Phase.ATTACHED.value]
        self._remembered.forget_earlier(but=(identity for identity in (*left, *failed) if identity is not None))

    def _unwanted(self) -> list[Wanted]:
        """What exists besides what is wanted now."""
        wanted = [wanted for wanted, _, _ in self._keeper.report()]
        pids, specs = {each.pid for each in wanted}, {each.spec for each in wanted}
        running = [facts for containers in self._known for facts in containers.values()]
        nobody = Pin(())
        targets = [
            Wanted((), "", f"container {facts.name}", nobody, pid=facts.pid, container_id=facts.id)
            for facts in running
            if facts.pid and facts.pid not in pids and facts.network_mode != "host"
        ]
        names = namespaces.find([NamespaceRule("*")]).namespaces
        paths = [rule.netns for rule in self._server.settings.agent.namespaces if rule.is_path]
        return targets + [Wanted((), name, name, nobody) for name in (*names, *paths) if name not in specs]

    async def _sweep(self, wanted: Wanted, earlier: Container[Identity]) -> Identity | None:
        """Take away what the earlier run left there; the namespace's identity when that could not be done."""
        identity = _identify(wanted)
        if identity is None or identity not in earlier or self._keeper.has_taken(identity):
            return None
        process = None
        try:
            if wanted.pid is not None:
                process = self._claims.hold(wanted.container_id, wanted.pid)
            manner = replace(self._manner(), serves=False)
            await self._on_thread(partial(self._host.attach, target_of(wanted), manner, identity, process))
        except (ServedAlready, Taken) as error:  # as always: it is ServedAlready at least
            log.debug("%s: %s", wanted.label, error)
        except (AttachError, OSError) as error:
            log.debug("%s: what an earlier run left could not be taken away: %s", wanted.label, error)
            return identity
        finally:
            if process is not None:
                process.close()
        return None

    def _drop_privileges(self) -> None:
        """On the main thread, before others are started: they have what it has."""
        privileges.keep_only(KEPT)
        if others := privileges.holders(KEPT):
            log.warning("threads started too early keep their privileges: %s", ", ".join(others))

    def _on_thread(self, work: Callable[[], _T]) -> Awaitable[_T]:
        return self._loop.run_in_executor(self._threads, work)

    def _manner(self) -> Manner:
        agent = self._server.settings.agent
        return Manner(
            firewall=agent.firewall,
            manage_resolv_conf=agent.manages_resolv_conf,
            takes_over=agent.takes_over,
            enter=self._pool.enter,
            choose=self._choice,
        )

    async def _attach(self, wanted: Wanted, claimed: Identity | None, ended: Callable[[], None]) -> Member:
        if claimed is not None:
            self._remembered.add(claimed)
        try:
            member = await Member.open(self._host, wanted, claimed, ended, self._forget)
        except BaseException as error:
            if isinstance(error, AttachError) and not isinstance(error, OutOfDescriptors):
                self._choice.forget()  # the next attempt looks for a firewall that works there
            if claimed is not None and claimed not in self._left:
                self._remembered.discard(claimed)
            raise
        self._left.pop(member.attachment.identity, None)
        self._members.add(member)
        return member

    def _forget(self, member: Member) -> None:
        if member in self._members:
            self._members.remove(member)
            self._repairs += member.attachment.repairs
        if member.attachment.leaves_something and not member.attachment.is_gone:
            self._left[member.attachment.identity] = member.wanted.label
        else:
            self._remembered.discard(member.attachment.identity)

    def _say_what_is_left(self, hanging: list[str]) -> None:
        """Once for all namespaces: there may be hundreds, and the reason is one."""
        if left := list(dict.fromkeys((*self._left.values(), *hanging))):
            shown = ", ".join(left[:_SHOWN]) + (f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else "")
            log.error("rules or files of pydns are left in %s; the next start takes them over or away", shown)

    def _reconcile(self) -> None:
        """Attach to what ought to be attached by everybody's last word, and let go of the rest."""
        server = self._server
        rules = server.settings.agent.namespaces
        found = namespaces.find(rules) if rules else namespaces.Found()
        self._known = self._containers()
        targets = targets_of(
            [facts for containers in self._known for facts in containers.values()],
            rules,
            found.namespaces,
            self._networks_of(),
            takes_over=server.settings.agent.takes_over,
            held=self._keeper.held,
        )
        self._claims.note(
            (facts for containers in self._known for facts in containers.values()), self._remote_containers()
        )
        self._report(targets)
        self._keeper.want(targets.wanted)
        self._look_again(found)

    def _containers(self) -> list[dict[str, ContainerFacts]]:
        live = self._server.content.live
        return [dict(source.containers) for source in live if isinstance(source, TellsContainers)]

    def _remote_containers(self) -> set[str]:
        live = self._server.content.live
        return {
            each
            for source in live
            if isinstance(source, TellsContainers) and source.name in self._remote
            for each in source.containers
        }

    def _networks_of(self) -> Callable[[str], tuple[str, ...]]:
        """Looks up many names in one pass over the registry."""
        networks: dict[str, list[str]] = {}
        for network in self._server.content.views.snapshot.networks.values():
            for endpoint in network.endpoints:
                networks.setdefault(endpoint.name.lower(), []).append(network.name)
        return lambda name: tuple(dict.fromkeys(networks.get(name.lower(), ())))

    def _report(self, targets: Targets) -> None:
        """Say once of each namespace why it is left alone."""
        for label, reason in targets.left.items():
            if self._server.left.get(label) != reason:
                log.info("%s is left alone: %s", label, reason)
        self._server.left = targets.left

    def _look_again(self, found: namespaces.Found) -> None:
        if not found.is_unfinished:
            self._unfinished_looks = 0
        elif self._unfinished_looks < _UNFINISHED_LOOKS:  # a plain file in the folder may stay for ever
            self._unfinished_looks += 1
            if self._look is not None:
                self._look.cancel()
            self._look = self._loop.call_later(UNFINISHED_S, self._reconcile)

    def _ticked(self) -> None:
        if self._containers() != self._known:
            self._reconcile()
        self._tick = self._loop.call_later(TICK_S, self._ticked)

    async def _follow(self) -> None:
        """Keep a watch on the folders of the list, which may be made, or be named, later than we start."""
        followed: tuple[Path, ...] = ()
        while True:
            paths = namespaces.watched(self._server.settings.agent.namespaces)
            if paths != followed:
                if self._watch is None:
                    self._watch = FileWatch(self._loop, self._reconcile)
                await on_thread(partial(self._watch.follow, paths))
                followed = paths
                self._reconcile()
            await asyncio.sleep(TICK_S)


async def _first_of(*waits: Coroutine[Any, Any, None]) -> None:
    """Return when one of them is over; the others are given up."""
    tasks = [asyncio.get_running_loop().create_task(wait) for wait in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


def _identify(wanted: Wanted) -> Identity | None:
    try:
        return netns.identity_at(target_of(wanted).path)
    except (AttachError, OSError):
        return None
