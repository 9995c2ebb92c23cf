"""UDP listeners on the compiled lane: what is known is answered there, in batches; the rest comes here."""

from __future__ import annotations

import socket
from functools import partial
from time import perf_counter

from resolver._lane import Loop
from resolver.server.neighbours import is_link_local
from resolver.server.responder import Responder
from resolver.server.udp import MAX_CLIENTS, UdpListener, ask_for_destination
from resolver.wire.lane import LaneTable


class LaneUdpListener(UdpListener):
    """Answers what comes in on one socket, bound to one address or to all."""

    def __init__(self, sock: socket.socket, responder: Responder, *, is_wildcard: bool) -> None:
        super().__init__(sock, responder)
        self._lane = Loop(sock.fileno())
        self._known: set[str] = set()
        """Clients whose tables the lane has."""
        if is_wildcard:
            ask_for_destination(sock)

    def drain(self) -> None:
        """Answer what waits in the socket, a few batches at most."""
        started = perf_counter()
        lane = self._lane
        if self._generation != self._responder.generation:
            self._generation = self._responder.generation
            lane.forget()
            self._known.clear()
        hits, unsent = lane.hits, lane.unsent
        misses = lane.drain()
        hits = lane.hits - hits
        stats = self._responder.stats
        if hits:
            stats.duration.observe((perf_counter() - started) / hits, hits)
            stats.unsent += lane.unsent - unsent
        if misses is not None:
            for wire, client, source in misses:
                send = partial(self._send_from, source, client) if source else partial(self._send, client)
                self._handle(wire, client, send)

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
