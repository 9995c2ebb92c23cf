"""UDP listeners on the compiled lane: what is known is answered there, in batches; the rest comes here."""

from __future__ import annotations

import asyncio
import socket
from time import perf_counter

from resolver._lane import Loop
from resolver.counters import BUCKETS_S
from resolver.server.loop import LaneLoop
from resolver.server.neighbours import host_of, is_link_local
from resolver.server.responder import Responder
from resolver.server.udp import MAX_CLIENTS, Ancillary, Client, UdpListener, ask_for_destination
from resolver.wire.known import REVERSE
from resolver.wire.lane import LaneTable


class LaneUdpListener(UdpListener):
    """Answers what comes in on one socket, bound to one address or to all."""

    def __init__(self, sock: socket.socket, responder: Responder, *, is_wildcard: bool) -> None:
        super().__init__(sock, responder)
        self._lane = Loop(sock.fileno(), BUCKETS_S)
        self._unsent = 0
        """Of the lane, when it was asked last."""
        self._known: set[str] = set()
        """Clients whose tables the lane has."""
        if is_wildcard:
            ask_for_destination(sock)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to answer; on a `LaneLoop` also while it waits."""
        super().start(loop)
        self._responder.stats.collectors.add(self._hand_over)
        if isinstance(loop, LaneLoop):
            loop.seat(self._lane, self._refresh)

    def stop(self) -> None:
        """As `UdpListener.stop`."""
        if isinstance(self._loop, LaneLoop):
            self._loop.unseat(self._socket.fileno())
        super().stop()
        self._hand_over()
        self._responder.stats.collectors.discard(self._hand_over)

    def drain(self) -> None:
        """Answer what waits in the socket, a few batches at most."""
        self._refresh()
        misses = self._lane.drain()
        if misses is not None:
            for wire, client, source in misses:
                self._handle(wire, client, source)

    def _refresh(self) -> None:
        """Have the lane forget what is no longer good."""
        if self._generation != self._responder.generation:
            self._generation = self._responder.generation
            self._lane.forget()
            self._known.clear()

    def _hand_over(self) -> None:
        """What the lane has counted."""
        stats = self._responder.stats
        stats.duration.add(*self._lane.take_durations())
        unsent = self._lane.unsent
        stats.unsent += unsent - self._unsent
        self._unsent = unsent

    def _handle(self, wire: bytes, client: Client, source: Ancillary | None = None) -> None:
        """As `UdpListener`; reverse names are made ready first, which the lane cannot do by itself."""
        if REVERSE in wire:
            started = perf_counter()
            host = host_of(client)
            self._remember(host)
            reply = self._responder.state.view_of(host).ready[self._transport].make(wire)
            if reply is not None:
                self._responder.stats.duration.observe(perf_counter() - started)
                if source:
                    self._send_from(source, client, reply)
                else:
                    self._send(client, reply)
                return
        super()._handle(wire, client, source)

    def _remember(self, host: str) -> None:
        if host in self._known:
            return
        state = self._responder.state
        if state.pin is None and is_link_local(host):  # the lane has clients by address, without their interface
            return
        if len(self._known) >= MAX_CLIENTS:
            self._lane.forget()
            self._known.clear()
        self._known.add(host)
        view = state.view_of(host)
        table = view.ready[self._transport]
        packed = None if state.pin is not None else socket.inet_pton(self._socket.family, host.partition("%")[0])
        if isinstance(table, LaneTable):
            self._lane.assign(packed, table, self._responder.passing_table(view, self._transport))
