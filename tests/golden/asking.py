"""The recorded questions, put to pydns: bytes over loopback to real listeners, and upstream over real sockets.

Each case has a server of its own with the view of its client, as a sidecar has: `Pin(networks, container)`, and the
upstreams that the container was given. Cases of one state of the topology share its views, as processes do.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

from resolver.assembly import own_upstreams
from resolver.forward.forwarder import Forwarder
from resolver.forward.policy import ForwardOptions
from resolver.forward.transports import SocketDone, own_sockets
from resolver.pipeline.chain import Chain
from resolver.pipeline.stages import ForwardPolicy, InternalNames
from resolver.server.listeners import Address, Listeners
from resolver.server.responder import Responder
from resolver.server.state import Pin, State
from resolver.server.tcp import TcpLimits
from resolver.views import Views
from tests.golden import hosts, libc, transcript
from tests.golden.recorded import Case
from tests.golden.states import position, world_after, world_of
from tests.golden.topology import Container, World
from tests.golden.transcript import Told
from tests.golden.upstream import UNREACHABLE, Asked, Upstreams

ANSWER_WITHIN_S = 12.0
QUIET_S = 1.0
"""Cases that took Docker longer wait for something: they are asked all at once, when the others are through."""
AT_ONCE = 24
Outcome = tuple[Told, ...] | Exception
CHAIN = Chain.of(InternalNames(), ForwardPolicy())


class Served:
    """A pydns that answers one container."""

    def __init__(self, at: Address, responder: Responder, asked: list[Asked], rename: transcript.Rename) -> None:
        self.at = at
        self.responder = responder
        self._asked = asked
        self._rename = rename

    @property
    def asked(self) -> tuple[str, ...]:
        """Who was asked upstream so far."""
        return transcript.each_once(self._asked)

    def told(self, reply: bytes | None, wires: Sequence[bytes], *, is_last: bool = True) -> Told:
        """A reply to some queries, or the silence in its place; with the last one, who was asked upstream."""
        asked = self.asked if is_last else ()
        return transcript.silence(asked) if reply is None else transcript.read(reply, wires, asked, self._rename)

    @property
    def is_silent(self) -> bool:
        """A message was dropped: nothing will come."""
        return self.responder.stats.dropped > 0


class Questions:
    """Puts questions to a pydns for each."""

    def __init__(self, upstreams: Upstreams, chain: Chain = CHAIN) -> None:
        self._upstreams = upstreams
        self._chain = chain
        self._views: dict[int, Views] = {}

    def views(self, steps: int) -> Views:
        """The views of one state of the topology."""
        if steps not in self._views:
            self._views[steps] = world_after(steps).views()
        return self._views[steps]

    @asynccontextmanager
    async def serving(self, setup: tuple[str, ...], client: str) -> AsyncIterator[Served]:
        """A pydns for one container in a state of the topology."""
        steps = position(setup)
        world = world_after(steps)
        container = world.asker(client)
        asked: list[Asked] = []
        sockets = _no_route if UNREACHABLE in container.servers else partial(self._socket, asked)
        forwarder = Forwarder(sockets=sockets)
        responder = Responder(self._state(self.views(steps), world, container), forwarder)
        listeners = Listeners(responder, TcpLimits())
        await listeners.reconcile([Address("127.0.0.1", 0)])
        try:
            yield Served(listeners.addresses[0], responder, asked, self._upstreams.as_recorded)
        finally:
            listeners.stop()
            listeners.close()
            forwarder.close()
            await asyncio.sleep(0)

    def _state(self, views: Views, world: World, container: Container) -> State:
        conf = hosts.resolv_conf(container.name)
        return State(
            views=views,
            chain=self._chain,
            upstreams=self._upstreams.local(own_upstreams(conf.nameservers)),
            own_upstreams=lambda servers: self._upstreams.inside(own_upstreams(servers)),
            options=ForwardOptions.of(conf),
            pin=Pin(world.networks_of(container), container.name),
        )

    def _socket(
        self, asked: list[Asked], family: socket.AddressFamily, kind: socket.SocketKind, done: SocketDone
    ) -> None:
        """A socket whose address and port tell the upstreams which case asks them."""
        own_sockets(family, kind, partial(self._known, asked, done))

    def _known(self, asked: list[Asked], done: SocketDone, made: socket.socket | OSError) -> None:
        if isinstance(made, socket.socket):
            made.bind(("::1" if made.family == socket.AF_INET6 else "127.0.0.1", 0))
            self._upstreams.askers[made.getsockname()[:2]] = asked
        done(made)

    async def ask(self, case: Case) -> tuple[Told, ...]:
        """What pydns says in a case."""
        async with self.serving(case.setup, case.client) as served:
            if case.group == "libc":
                return (await libc.look_up(case, world_of(case.setup), partial(over_udp, served)),)
            if case.group == "tcp":
                return await _converse(served, case)
            ask = over_tcp if case.over_tcp else over_udp
            return await ask(served, case.wires)


def _no_route(family: socket.AddressFamily, kind: socket.SocketKind, done: SocketDone) -> None:
    """What a namespace has that leads nowhere; nothing here may send to an outside address to find out."""
    done(OSError(errno.ENETUNREACH, "Network is unreachable"))


async def over_udp(served: Served, wires: Sequence[bytes]) -> tuple[Told, ...]:
    """What comes back for datagrams that are sent at once from one socket."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((served.at.host, served.at.port))
        for wire in wires:
            sock.send(wire)  # a datagram of no octets is one, too
        replies = [await _unless_silent(served, partial(loop.sock_recv, sock, 65535)) for _ in wires]
    return _told(served, replies, wires)


async def over_tcp(served: Served, wires: Sequence[bytes]) -> tuple[Told, ...]:
    """What comes back for messages that are sent at once over one connection."""
    async with _connected(served) as (reader, writer):
        for wire in wires:
            writer.write(len(wire).to_bytes(2, "big") + wire)
        replies = [await _unless_silent(served, partial(_message, reader)) for _ in wires]
    return _told(served, replies, wires)


async def _converse(served: Served, case: Case) -> tuple[Told, ...]:
    """The cases about a connection itself: what is sent, and when, is in their names."""
    began = time.monotonic()
    async with _connected(served) as (reader, writer):
        wires = case.wires

        async def reply() -> Told:
            message = await _message(reader)
            return served.told(message, case.queries) if message else transcript.closed(time.monotonic() - began)

        match case.id:
            case "tcp/len0" | "tcp/idle-no-data":
                writer.write(wires[0])
                return (await reply(),)
            case "tcp/idle-after-reply":
                writer.write(len(wires[0]).to_bytes(2, "big") + wires[0])
                return await reply(), await reply()
            case "tcp/split-length":
                writer.write(wires[0])
                await writer.drain()
                await asyncio.sleep(0.3)
                writer.write(wires[1])
                first = await reply()
                with contextlib.suppress(TimeoutError):
                    return first, await asyncio.wait_for(reply(), 3.0)
                return first, transcript.silence()
            case "tcp/reuse-after-1s":
                told = []
                for wire in wires:
                    writer.write(len(wire).to_bytes(2, "big") + wire)
                    told.append(await reply())
                    await asyncio.sleep(1.0 if len(told) == 1 else 0.0)
                return tuple(told)
    return await over_tcp(served, wires)


def _told(served: Served, replies: Sequence[bytes | None], wires: Sequence[bytes]) -> tuple[Told, ...]:
    return tuple(served.told(reply, wires, is_last=at == len(replies) - 1) for at, reply in enumerate(replies))


async def _unless_silent(served: Served, receive: Callable[[], Coroutine[Any, Any, bytes]]) -> bytes | None:
    """A message, or None as soon as it is certain that none will come."""
    waiting = asyncio.ensure_future(receive())
    deadline = time.monotonic() + ANSWER_WITHIN_S
    while not waiting.done():
        await asyncio.wait([waiting], timeout=0.02)
        if served.is_silent or time.monotonic() > deadline:
            break
    if waiting.done():
        return waiting.result() or None
    waiting.cancel()
    assert served.is_silent, f"neither an answer nor silence within {ANSWER_WITHIN_S:.0f} s"
    return None


@asynccontextmanager
async def _connected(served: Served) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(served.at.host, served.at.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def _message(reader: asyncio.StreamReader) -> bytes:
    """The next message; empty at the end of the stream."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
    return b""


async def _ask_all(cases: Sequence[Case], chain: Chain) -> dict[str, Outcome]:
    told: dict[str, Outcome] = {}
    quick = [case for case in cases if case.elapsed_s < QUIET_S]
    waiting = [case for case in cases if case.elapsed_s >= QUIET_S]
    async with Upstreams() as upstreams:
        questions = Questions(upstreams, chain)

        async def ask(case: Case, turn: AbstractAsyncContextManager[object]) -> None:
            async with turn:
                try:
                    told[case.id] = await questions.ask(case)
                except Exception as error:  # told by the test of this case
                    told[case.id] = error

        turns = asyncio.Semaphore(AT_ONCE)
        await asyncio.gather(*(ask(case, turns) for case in quick))
        await asyncio.gather(*(ask(case, contextlib.nullcontext()) for case in waiting))
    return told


def ask_all(cases: Sequence[Case], chain: Chain = CHAIN) -> dict[str, Outcome]:
    """What pydns says in each case, by its id; ``chain`` is that of the default configuration."""
    return asyncio.run(_ask_all(cases, chain))
