"""What is learned of an upstream when another one was faster, and of servers that start, are lame or drop TCP."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import dns.message
import pytest

from resolver.forward.failures import Failure
from resolver.forward.forwarder import Forwarder
from resolver.forward.outcomes import Outcome
from resolver.forward.overtaken import LISTENED_TO, Overtaken
from resolver.forward.upstreams import Transport, Upstream
from tests.unit.forward.scripted import ScriptedServer, closed_port, scripted
from tests.unit.forward.test_forwarder import query_of, rcode_of

WITHIN_S = 5.0


class World:
    """Two scripted servers that are known to answer within a millisecond, and a forwarder."""

    async def __aenter__(self) -> World:
        self._scripted = scripted(ScriptedServer(), ScriptedServer(2))
        self.upstreams = await self._scripted.__aenter__()
        self.forwarder = Forwarder()
        for upstream in self.upstreams:
            for _ in range(50):
                self.forwarder.memory.replied(upstream, 0.001, None, 0.0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.forwarder.close()
        await self._scripted.__aexit__(None, None, None)

    async def ask(self, behaviour: str, *upstreams: Upstream, over_tcp: bool = False) -> Outcome:
        answered: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.forwarder.resolve(query_of(behaviour), upstreams or self.upstreams, over_tcp, answered.set_result)
        return await answered

    async def listened(self) -> None:
        """Until nobody is listened to any more."""
        until = time.monotonic() + WITHIN_S
        while len(self.forwarder.overtaken):
            assert time.monotonic() < until
            await asyncio.sleep(0.01)


def test_a_late_reply_tells_the_time_and_is_no_failure() -> None:
    async def main() -> None:
        async with World() as world:
            first, second = world.upstreams
            for _ in range(3):
                assert second == (await world.ask("slow1-ok")).upstream
            assert 0 == world.forwarder.in_flight, "what is listened to takes no place"
            await world.listened()

            memory = world.forwarder.memory
            assert (False, 0) == (memory.is_down(first), memory.of(first).strikes)
            assert memory.patience_s(first) > 0.05
            assert {} == dict(world.forwarder.stats[first].failures)
            assert first == (await world.ask("ok-nxdomain")).upstream

    asyncio.run(main())


def test_silence_to_the_end_is_a_failure_and_the_third_puts_it_down() -> None:
    async def main() -> None:
        async with World() as world:
            first, second = world.upstreams
            for count in (1, 2, 3):
                assert not world.forwarder.memory.is_down(first)
                assert second == (await world.ask("silent-ok")).upstream
                await world.listened()
                assert {Failure.TIMEOUT: count} == dict(world.forwarder.stats[first].failures)

            assert world.forwarder.memory.is_down(first)

    asyncio.run(main())


def test_what_fails_late_is_counted() -> None:
    async def main() -> None:
        async with World() as world:
            first = world.upstreams[0]
            await world.ask("silent-ok")
            late = next(iter(world.forwarder.overtaken._timers))
            late._exchange.close()  # type: ignore[attr-defined]
            late.broke(Failure.CONNECTION_REFUSED)  # type: ignore[attr-defined]

            assert 0 == len(world.forwarder.overtaken)
            assert {Failure.CONNECTION_REFUSED: 1} == dict(world.forwarder.stats[first].failures)
            assert world.forwarder.memory.is_down(first)

    asyncio.run(main())


def test_closing_ends_it() -> None:
    async def main() -> None:
        async with World() as world:
            await world.ask("silent-ok")
            assert 1 == len(world.forwarder.overtaken)
            world.forwarder.close()

            assert 0 == len(world.forwarder.overtaken)
            assert 0 == world.forwarder.memory.of(world.upstreams[0]).strikes

    asyncio.run(main())


def test_only_so_many_are_listened_to() -> None:
    class One:
        def give_up(self) -> None:
            raise AssertionError

    async def main() -> None:
        overtaken = Overtaken(asyncio.get_running_loop())
        kept = [One() for _ in range(LISTENED_TO)]
        later = asyncio.get_running_loop().time() + 60

        assert all(overtaken.listen_to(one, later) for one in kept)
        assert not overtaken.listen_to(One(), later)
        assert all(overtaken.forget(one) for one in kept)
        assert not overtaken.forget(kept[0])

    asyncio.run(main())


def test_a_referral_is_a_failure_of_its_own() -> None:
    async def main() -> None:
        async with World() as world:
            first, second = world.upstreams
            assert second == (await world.ask("referral-ok")).upstream
            outcome = await world.ask("referral-referral")

            assert (None, None) == (outcome.reply, outcome.upstream)
            assert (23, f"{first} is lame: it sent a referral, {second} is lame: it sent a referral") == outcome.ede
            assert {Failure.LAME: 2} == dict(world.forwarder.stats[first].failures)
            for _ in range(8):
                await world.ask("referral-ok")
            assert world.forwarder.memory.is_down(first)

    asyncio.run(main())


def test_a_server_that_is_there_a_moment_later_answers() -> None:
    """It refuses while it starts."""

    async def main() -> None:
        async with World() as world:
            late = closed_port()
            asking = asyncio.ensure_future(world.ask("ok", late))
            await asyncio.sleep(0.2)
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_datagram_endpoint(_Answering, local_addr=(late.address, late.port))
            outcome = await asking
            transport.close()

            assert ("NOERROR", late) == (rcode_of(outcome), outcome.upstream)
            assert 3 <= world.forwarder.stats[late].requests <= 5

    asyncio.run(main())


class _Answering(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(dns.message.make_response(dns.message.from_wire(data)).to_wire(), addr)


@pytest.mark.parametrize("accepts", [True, False])
def test_a_stream_server_that_closes_at_once_is_not_hammered(accepts: bool) -> None:
    async def main() -> None:
        async with World() as world:
            server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            if not accepts:
                server.close()
            upstream = Upstream("127.0.0.1", port, transport=Transport.TCP)
            began = time.monotonic()
            outcome = await world.ask("ok", upstream)
            server.close()

            assert outcome.reply is None
            assert 0.9 < time.monotonic() - began < 2
            assert 6 == world.forwarder.stats[upstream].requests

    asyncio.run(main())


def test_a_connection_that_takes_long_to_be_made_puts_nobody_down() -> None:
    """A path that has been idle: the first packets of the new connection are lost, and sent again a second later."""

    async def main() -> None:
        async with World() as world, scripted(ScriptedServer()) as (at,):
            slow, second = Upstream(at.address, at.port, transport=Transport.TCP), world.upstreams[1]
            began = time.monotonic()
            assert second == (await world.ask("slow8-ok", slow, second)).upstream

            memory = world.forwarder.memory
            assert time.monotonic() - began >= 0.4, "nothing is known of it"
            assert (False, 0) == (memory.is_down(slow), memory.of(slow).strikes)
            until = began + WITHIN_S
            while world.forwarder.exchanges.connections:
                assert time.monotonic() < until
                await asyncio.sleep(0.01)  # the server closes it when it has answered
            assert slow == (await world.ask("ok-nxdomain", slow, second)).upstream
            assert memory.of(slow).opening_since is None

    asyncio.run(main())
