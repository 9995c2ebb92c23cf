"""UDP listeners on the compiled lane: what is known is answered there, in batches; the rest comes here."""

from __future__ import annotations

import socket
from functools import partial
from time import perf_counter

from resolver._lane import Loop
from resolver.server.responder import Responder
from resolver.server.udp import UdpListener, ask_for_destination
from resolver.wire.lane import LaneTable


class LaneUdpListener(UdpListener):
    """Answers what comes in on one socket, bound to one address or to all."""

    def __init__(self, sock: socket.socket, responder: Responder, *, is_wildcard: bool) -> None:
        super().__init__(sock, responder)
        self._lane = Loop(sock.fileno())
        if is_wildcard:
            ask_for_destination(sock)

    def drain(self) -> None:
        """Answer what waits in the socket, a few batches at most."""
        started = perf_counter()
        lane = self._lane
        if self._generation != self._responder.generation:
            self._generation = self._responder.generation
            lane.forget()
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
        state = self._responder.state
        table = state.view_of(host).ready[self._transport]
        packed = None if state.pin is not None else socket.inet_pton(self._socket.family, host.partition("%")[0])
        if isinstance(table, LaneTable):
            self._lane.assign(packed, table, None)
