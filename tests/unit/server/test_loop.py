"""The loop that lets the lane answer while it waits: to everybody else it is asyncio's."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from resolver._lane import Loop, Table
from resolver.server.loop import LaneLoop, run

QUERY = bytes.fromhex("beef01000001000000000000") + b"\2db\0" + bytes.fromhex("00010001")
OTHER = QUERY.replace(b"db", b"xx")
BOUNDS = (0.001, 1.0)


class Seated:
    """A socket whose lane has a seat in the running loop, and a client of it."""

    def __init__(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.client.connect(self.sock.getsockname())
        self.client.settimeout(5)
        self.lane = Loop(self.sock.fileno(), BOUNDS)
        table = Table()
        table.put(b"\2db\0", 1, 0, b"\x84\0", b"\0\1\0\0\0\0", (b"answer",), "label", (), 0, 0)
        self.lane.assign(None, table, None)
        self.turns = 0
        self.misses: list[bytes] = []
        self._has_missed = asyncio.Event()
        loop = asyncio.get_running_loop()
        assert isinstance(loop, LaneLoop)
        self.loop = loop
        loop.add_reader(self.sock.fileno(), self.drain)
        loop.seat(self.lane, self.refresh)

    def refresh(self) -> None:
        self.turns += 1

    def drain(self) -> None:
        self.misses += [wire for wire, _, _ in self.lane.drain() or ()]
        self._has_missed.set()

    async def missed(self, many: int) -> None:
        while len(self.misses) < many:
            await asyncio.wait_for(self._has_missed.wait(), 5)
            self._has_missed.clear()

    def close(self) -> None:
        self.loop.unseat(self.sock.fileno())
        self.loop.remove_reader(self.sock.fileno())
        self.sock.close()
        self.client.close()


def on_loop(main: Coroutine[Any, Any, None]) -> None:
    run(main)


def test_what_is_known_is_answered_without_a_turn_of_the_loop() -> None:
    async def main() -> None:
        seated = Seated()

        def ask() -> list[bytes]:
            replies = []
            for _ in range(100):
                seated.client.send(QUERY)
                replies.append(seated.client.recv(512))
            return replies

        replies = await asyncio.to_thread(ask)

        assert {QUERY[:2] + b"\x85\0\0\1\0\1\0\0\0\0" + QUERY[12:] + b"answer"} == set(replies)
        assert [] == seated.misses
        assert 100 == seated.lane.hits
        assert seated.turns < 50
        counts, sum_s = seated.lane.take_durations()
        assert 100 == sum(counts)
        assert 0 < sum_s < 5
        assert ([0, 0, 0], 0.0) == seated.lane.take_durations()
        seated.close()

    on_loop(main())


def test_what_is_not_known_has_its_turn() -> None:
    async def main() -> None:
        seated = Seated()
        for wire in (QUERY, OTHER, QUERY, b"short"):
            seated.client.send(wire)
        await seated.missed(2)

        assert [OTHER, b"short"] == seated.misses
        assert 2 == seated.lane.hits
        seated.close()

    on_loop(main())


def test_a_flood_of_unknown_names_leaves_others_their_turns() -> None:
    many, at_once = 600, 2 * 64

    async def main() -> None:
        seated = Seated()
        turns: list[int] = []
        seated.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)

        def drain() -> None:
            before = len(seated.misses)
            seated.drain()
            turns.append(len(seated.misses) - before)

        seated.loop.add_reader(seated.sock.fileno(), drain)
        for _ in range(many):
            seated.client.send(OTHER)
        await seated.missed(many)

        assert [OTHER] * many == seated.misses
        assert max(turns) < at_once
        seated.loop.unseat(seated.sock.fileno())
        for _ in range(many):
            seated.client.send(OTHER)
        await seated.missed(2 * many)

        assert max(turns) < at_once
        seated.close()

    on_loop(main())


def test_a_change_is_told_before_the_next_answer() -> None:
    async def main() -> None:
        seated = Seated()
        seated.client.send(QUERY)
        await asyncio.sleep(0)
        assert await asyncio.to_thread(seated.client.recv, 512)
        seated.loop.seat(seated.lane, seated.lane.forget)
        seated.client.send(QUERY)
        await seated.missed(1)

        assert [QUERY] == seated.misses
        assert 1 == seated.lane.hits
        seated.close()

    on_loop(main())


def test_a_lane_without_its_seat_is_asyncios_again() -> None:
    async def main() -> None:
        seated = Seated()
        seated.loop.unseat(seated.sock.fileno())
        seated.loop.unseat(10_000)
        seated.client.send(QUERY)
        await asyncio.to_thread(seated.client.recv, 512)

        assert 0 == seated.turns
        seated.close()

    on_loop(main())


def test_timers_and_threads_are_heard_while_the_lane_is_never_idle() -> None:
    async def main() -> None:
        seated = Seated()
        loop, stop, called = asyncio.get_running_loop(), threading.Event(), asyncio.Event()

        def flood() -> None:
            while not stop.is_set():
                for _ in range(200):
                    seated.client.send(QUERY)
            loop.call_soon_threadsafe(called.set)

        flooding = threading.Thread(target=flood)
        flooding.start()
        began = time.monotonic()
        await asyncio.sleep(0.2)
        slept_s = time.monotonic() - began
        assert seated.lane.hits
        stop.set()
        await asyncio.wait_for(called.wait(), 5)
        flooding.join()

        assert 0.19 < slept_s < 2
        seated.close()

    on_loop(main())


def test_a_signal_is_heard() -> None:
    async def main() -> None:
        seated, heard = Seated(), asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, heard.set)
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()

        await asyncio.wait_for(heard.wait(), 5)
        seated.close()

    on_loop(main())


def test_connections_are_read_and_written() -> None:
    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readexactly(1 << 20))
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(bytes(range(256)) * 4096)
        echoed = await asyncio.wait_for(reader.read(-1), 10)
        writer.close()
        server.close()

        assert bytes(range(256)) * 4096 == echoed

    on_loop(main())


def test_a_refused_connection_is_an_error() -> None:
    async def main() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            with pytest.raises(ConnectionRefusedError):
                await asyncio.wait_for(asyncio.open_connection(*taken.getsockname()), 5)

    on_loop(main())


def test_what_goes_wrong_in_a_turn_does_not_end_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: told.append(str(what.exc_value)))

    def broken() -> None:
        raise RuntimeError("told of a change in vain")

    async def main() -> None:
        seated = Seated()
        seated.loop.seat(seated.lane, broken)
        seated.client.send(QUERY)

        assert await asyncio.to_thread(seated.client.recv, 512)
        seated.close()

    on_loop(main())

    assert "told of a change in vain" in told
