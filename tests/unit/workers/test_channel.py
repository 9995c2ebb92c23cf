"""Calls between two processes; here both ends are on one loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping

import pytest

from resolver.workers.channel import LARGE, Channel, Gone, Handler, Refused


class Ends:
    """Both ends, and how often each has heard of the other's end."""

    def __init__(self, here: Mapping[str, Handler], there: Mapping[str, Handler]) -> None:
        self.ended = [0, 0]
        one, other = socket.socketpair()
        one.setblocking(False)
        other.setblocking(False)
        self.here = Channel(one, here, lambda: self._end(0))
        self.there = Channel(other, there, lambda: self._end(1))

    def _end(self, which: int) -> None:
        self.ended[which] += 1

    async def __aenter__(self) -> Ends:
        await self.here.open()
        await self.there.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.here.close()
        self.there.close()
        await asyncio.sleep(0)


def test_both_ends_call_and_answers_come_in_any_order() -> None:
    async def run() -> None:
        first = asyncio.Event()

        async def slow(number: int) -> int:
            await first.wait()
            return number

        async def quick(number: int) -> int:
            first.set()
            return -number

        async with Ends({"quick": quick}, {"slow": slow, "quick": quick}) as ends:
            assert list(await asyncio.gather(ends.here.call("slow", 1), ends.here.call("quick", 2))) == [1, -2]
            assert await ends.there.call("quick", 3) == -3

    asyncio.run(run())


def test_a_large_value_goes_through() -> None:
    async def run() -> None:
        async def echo(value: bytes) -> bytes:
            return value

        async with Ends({}, {"echo": echo}) as ends:
            value = bytes(40 * LARGE)
            assert await ends.here.call("echo", value) == value

    asyncio.run(run())


def test_what_fails_there_is_refused_here_and_the_next_is_answered() -> None:
    async def run() -> None:
        async def fail() -> None:
            raise ValueError("it is wrong")

        async def well() -> str:
            return "well"

        async with Ends({}, {"fail": fail, "well": well}) as ends:
            with pytest.raises(Refused, match="fail: it is wrong"):
                await ends.here.call("fail")
            assert await ends.here.call("well") == "well"

    asyncio.run(run())


def test_who_waits_when_the_other_end_goes_is_told_so() -> None:
    async def run() -> None:
        async def never() -> None:
            await asyncio.Event().wait()

        async with Ends({}, {"never": never}) as ends:
            call = asyncio.get_running_loop().create_task(ends.here.call("never"))
            await asyncio.sleep(0)
            ends.there.close()
            with pytest.raises(Gone):
                await call
            with pytest.raises(Gone):
                await ends.here.call("never")
            ends.here.tell("never")
            assert ends.ended[0] == 1

    asyncio.run(run())
