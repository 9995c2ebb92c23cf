"""The host's name service on its threads: who hears what, how much is under way, what becomes of a call that hangs."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import dns.message
import dns.rcode
import pytest

from resolver.forward import system
from resolver.forward.failures import Failure
from resolver.forward.memory import Memory
from resolver.forward.system import SystemResolver
from resolver.forward.system_names import Calls
from resolver.forward.upstreams import SYSTEM

WITHIN_S = 10.0


class Heard:
    """A listener, and what it has heard."""

    def __init__(self) -> None:
        self.replies: list[dns.message.Message] = []
        self.failures: list[Failure] = []
        self.on: threading.Thread | None = None

    def received(self, message: bytes) -> None:
        self.replies.append(dns.message.from_wire(message))
        self.on = threading.current_thread()

    def broke(self, failure: Failure, reason: str = "") -> None:
        self.failures.append(failure)
        self.on = threading.current_thread()

    @property
    def is_told(self) -> bool:
        return bool(self.replies or self.failures)

    @property
    def answers(self) -> list[str]:
        return [rdata.to_text() for reply in self.replies for rrset in reply.answer for rdata in rrset]


class Gate:
    """A getaddrinfo that blocks until the test lets it go on."""

    def __init__(self) -> None:
        self.entered: list[bytes] = []
        self.opened = threading.Event()
        self.free: dict[bytes, threading.Event] = {}
        """What lets one name go on alone."""

    def getaddrinfo(self, name: bytes, *_: Any) -> list[tuple[Any, ...]]:
        self.entered.append(name)
        assert self.free.get(name, self.opened).wait(WITHIN_S)
        v4 = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))
        return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 0, 0, 0)), v4]


@contextmanager
def gate() -> Iterator[Gate]:
    """One that is open at the end, so that no thread of a test outlives it for long."""
    made = Gate()
    try:
        yield made
    finally:
        for event in (made.opened, *made.free.values()):
            event.set()


def wire(name: str, rtype: str = "A", **options: Any) -> bytes:
    return dns.message.make_query(name, rtype, **options).to_wire()


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run it, and see that its threads end."""
    before = set(threading.enumerate())
    asyncio.run(main())
    for thread in set(threading.enumerate()) - before:
        assert thread.daemon
        thread.join(WITHIN_S)
        assert not thread.is_alive()


async def until(what: Callable[[], Any]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not what():  # noqa: ASYNC110 (threads of the resolver's make it true)
            await asyncio.sleep(0.002)


def test_the_reply_comes_on_the_loop_and_never_before_open_has_returned() -> None:
    async def main() -> None:
        with gate() as held:
            held.opened.set()
            resolver = SystemResolver(asyncio.get_running_loop(), calls=Calls(held.getaddrinfo))
            heard = Heard()
            exchange = resolver.open(wire("a.example."), heard)
            assert not heard.is_told
            await until(lambda: heard.is_told)
            assert heard.answers == ["192.0.2.1"]
            assert heard.on is threading.current_thread()
            exchange.close()
            assert exchange.is_closed
            resolver.close()

    run(main)


def test_the_same_question_is_asked_once_while_it_is_under_way() -> None:
    async def main() -> None:
        with gate() as held:
            resolver = SystemResolver(asyncio.get_running_loop(), calls=Calls(held.getaddrinfo))
            heard = [Heard() for _ in range(5)]
            for number, one in enumerate(heard):
                resolver.open(wire(("a.example.", "A.Example.")[number % 2], id=number + 1), one)
            gone = Heard()
            resolver.open(wire("a.example."), gone).close()
            await until(lambda: held.entered)
            held.opened.set()
            await until(lambda: all(one.is_told for one in heard))
            assert held.entered == [b"a.example"]
            assert [one.replies[0].id for one in heard] == [1, 2, 3, 4, 5]
            assert not gone.is_told
            resolver.close()

    run(main)


def test_calls_that_hang_hold_so_many_threads_and_no_more() -> None:
    """What comes then waits; what does not fit into the queue fails at once, and not to the upstream's account."""

    async def main() -> None:
        with gate() as held:
            resolver = SystemResolver(asyncio.get_running_loop(), 3, 2, Calls(held.getaddrinfo))
            heard = [Heard() for _ in range(7)]
            for number, one in enumerate(heard):
                resolver.open(wire(f"n{number}.example."), one, number)
            await until(lambda: len(held.entered) == 3 and heard[6].is_told)
            assert (resolver.busy, resolver.queued) == (3, 2)
            assert [one.failures for one in heard] == [[], [], [], [], [], [Failure.BUSY], [Failure.BUSY]]
            memory = Memory()
            for _ in range(100):
                memory.failed(SYSTEM, Failure.BUSY, 1.0)
            assert not memory.is_down(SYSTEM)
            held.opened.set()
            await until(lambda: all(one.is_told for one in heard))
            assert [len(one.replies) for one in heard] == [1, 1, 1, 1, 1, 0, 0]
            assert held.entered[3:] == [b"n3.example", b"n4.example"]
            assert (resolver.busy, resolver.queued) == (0, 0)
            resolver.close()

    run(main)


def test_what_nobody_asks_for_any_more_leaves_the_queue() -> None:
    async def main() -> None:
        with gate() as held:
            resolver = SystemResolver(asyncio.get_running_loop(), 1, 2, Calls(held.getaddrinfo))
            heard = [Heard() for _ in range(4)]
            first, second, third = (resolver.open(wire(f"n{n}.example."), heard[n], n) for n in range(3))
            also = resolver.open(wire("n2.example."), heard[3], 2)
            second.close()
            third.close()
            first.close()
            assert resolver.queued == 1  # somebody else still waits for n2
            assert (first.is_closed, also.is_closed) == (True, False)
            held.opened.set()
            await until(lambda: heard[3].is_told)
            assert held.entered == [b"n0.example", b"n2.example"]
            assert [one.is_told for one in heard] == [False, False, False, True]
            resolver.close()

    run(main)


def test_a_listener_may_close_others_while_it_is_told() -> None:
    async def main() -> None:
        with gate() as held:
            resolver = SystemResolver(asyncio.get_running_loop(), calls=Calls(held.getaddrinfo))
            other = Heard()

            class Closing(Heard):
                def received(self, message: bytes) -> None:
                    super().received(message)
                    exchange.close()

            closing = Closing()
            resolver.open(wire("a.example."), closing)
            exchange = resolver.open(wire("a.example."), other)
            held.opened.set()
            await until(lambda: closing.is_told)
            assert not other.is_told
            resolver.close()

    run(main)


def test_a_and_aaaa_and_whatever_else_of_a_local_name_are_one_call() -> None:
    async def main() -> None:
        with gate() as held:
            resolver = SystemResolver(asyncio.get_running_loop(), calls=Calls(held.getaddrinfo))
            heard = {rtype: Heard() for rtype in ("A", "AAAA", "TXT")}
            for rtype, one in heard.items():
                resolver.open(wire("a.local.", rtype), one)
            await until(lambda: held.entered)
            held.opened.set()
            await until(lambda: all(one.is_told for one in heard.values()))
            assert held.entered == [b"a.local"]
            assert {rtype: one.answers for rtype, one in heard.items()} == {
                "A": ["192.0.2.1"],
                "AAAA": ["2001:db8::1"],
                "TXT": [],
            }
            assert {one.replies[0].rcode() for one in heard.values()} == {dns.rcode.NOERROR}
            resolver.close()

    run(main)


@pytest.mark.parametrize(("kept_s", "calls"), [(3600.0, 1), (0.0, 2)])
def test_what_was_found_serves_the_other_family_for_a_moment(
    monkeypatch: pytest.MonkeyPatch, kept_s: float, calls: int
) -> None:
    monkeypatch.setattr(system, "KEPT_S", kept_s)

    async def main() -> None:
        with gate() as held:
            held.opened.set()
            resolver = SystemResolver(asyncio.get_running_loop(), calls=Calls(held.getaddrinfo))
            answers = []
            for rtype in ("A", "AAAA"):
                heard = Heard()
                resolver.open(wire("a.example.", rtype), heard)
                assert not heard.is_told
                await until(lambda heard=heard: heard.is_told)  # type: ignore[misc]
                answers += heard.answers
            assert (answers, len(held.entered)) == (["192.0.2.1", "2001:db8::1"], calls)
            resolver.close()

    run(main)


def test_of_ever_so_many_names_what_was_found_is_not_kept() -> None:
    async def main() -> None:
        with gate() as held:
            held.opened.set()
            resolver = SystemResolver(asyncio.get_running_loop(), calls=Calls(held.getaddrinfo))
            for number in range(1000):
                heard = Heard()
                resolver.open(wire(f"n{number}.example."), heard)
                await until(lambda heard=heard: heard.is_told)  # type: ignore[misc]
            assert len(resolver._kept) <= 512
            resolver.close()

    run(main)


def test_a_client_whose_look_ups_hang_takes_no_more_than_half_of_the_threads() -> None:
    """And what it has given up goes on counting: another client is answered, it is not until a thread is back."""

    async def main() -> None:
        with gate() as held:
            resolver = SystemResolver(asyncio.get_running_loop(), 8, 100, Calls(held.getaddrinfo))
            greedy = [resolver.open(wire(f"slow{n}.example."), Heard(), "greedy") for n in range(40)]
            await until(lambda: len(held.entered) == 4)
            assert (resolver.busy, resolver.queued) == (4, 36)
            held.free[b"fast.example"] = threading.Event()
            held.free[b"fast.example"].set()
            heard = Heard()
            resolver.open(wire("fast.example."), heard, "modest")
            await until(lambda: heard.is_told)
            assert heard.answers == ["192.0.2.1"]

            for exchange in greedy:
                exchange.close()
            assert (resolver.busy, resolver.queued) == (4, 0)
            late = Heard()
            resolver.open(wire("fast2.example."), late, "greedy")
            assert (resolver.busy, resolver.queued) == (4, 1)
            held.opened.set()
            await until(lambda: late.is_told)
            assert held.entered[5:] == [b"fast2.example"]
            await until(lambda: resolver.busy == 0)
            resolver.close()

    run(main)


def test_whoever_holds_the_fewest_threads_has_the_next_one_and_these_in_turn() -> None:
    async def main() -> None:
        with gate() as held:
            resolver = SystemResolver(asyncio.get_running_loop(), 1, 100, Calls(held.getaddrinfo))
            heard = []
            for client, names in (("one", "abc"), ("two", "de"), ("three", "f")):
                for name in names:
                    heard.append(Heard())
                    resolver.open(wire(f"{name}.example."), heard[-1], client)
            assert (resolver.busy, resolver.queued) == (1, 5)
            held.opened.set()
            await until(lambda: all(one.is_told for one in heard))
            assert b"".join(name[:1] for name in held.entered) == b"adfbec"
            assert (resolver.busy, resolver.queued) == (0, 0)
            resolver.close()

    run(main)


def test_the_queue_has_room_for_who_comes_next() -> None:
    async def main() -> None:
        with gate() as held:
            resolver = SystemResolver(asyncio.get_running_loop(), 1, 10, Calls(held.getaddrinfo))
            greedy = [Heard() for _ in range(20)]
            for number, one in enumerate(greedy):
                resolver.open(wire(f"n{number}.example."), one, "greedy")
            other = Heard()
            resolver.open(wire("other.example."), other, "other")
            await until(lambda: greedy[-1].is_told)
            assert sum(one.failures == [Failure.BUSY] for one in greedy) == 20 - 1 - 5
            assert resolver.queued == 6
            held.opened.set()
            await until(lambda: other.is_told)
            assert other.answers == ["192.0.2.1"]
            assert held.entered[1] == b"other.example"
            await until(lambda: resolver.busy == 0)
            resolver.close()

    run(main)


def test_nobody_waits_behind_anothers_queue_for_what_both_ask() -> None:
    """The first of the two that gets a thread asks for both."""

    async def main() -> None:
        with gate() as held:
            resolver = SystemResolver(asyncio.get_running_loop(), 4, 100, Calls(held.getaddrinfo))
            for number in range(10):
                resolver.open(wire(f"slow{number}.example."), Heard(), "greedy")
            first, second, third = Heard(), Heard(), Heard()
            held.free[b"same.example"] = threading.Event()
            gone = resolver.open(wire("same.example."), first, "greedy")
            resolver.open(wire("same.example.", "AAAA"), third, "greedy")
            assert (resolver.busy, resolver.queued) == (2, 9)
            resolver.open(wire("same.example."), second, "modest")
            assert (resolver.busy, resolver.queued) == (3, 8)
            gone.close()
            held.free[b"same.example"].set()
            await until(lambda: second.is_told and third.is_told)
            assert (first.is_told, second.answers, third.answers) == (False, ["192.0.2.1"], ["2001:db8::1"])
            assert held.entered.count(b"same.example") == 1
            held.opened.set()
            await until(lambda: resolver.busy == 0)
            resolver.close()

    run(main)


@pytest.mark.parametrize(
    ("name", "rtype"),
    [("x.example.", "MX"), ("a\\000b.example.", "A"), (".", "AAAA"), ("x.example.", "PTR"), ("xlocal.", "MX")],
)
def test_what_it_cannot_be_asked_is_answered_without_a_thread(name: str, rtype: str) -> None:
    async def main() -> None:
        resolver = SystemResolver(asyncio.get_running_loop(), calls=Calls())
        heard = Heard()
        resolver.open(wire(name, rtype, use_edns=0), heard)
        assert not heard.is_told
        await until(lambda: heard.is_told)
        assert heard.replies[0].rcode() == dns.rcode.SERVFAIL
        assert "cannot be asked" in str(heard.replies[0].extended_errors()[0].text)
        assert resolver.busy == 0
        resolver.close()

    run(main)


def test_a_name_of_multicast_dns_that_is_no_host_name_does_not_exist() -> None:
    async def main() -> None:
        resolver = SystemResolver(asyncio.get_running_loop(), calls=Calls())
        heard = Heard()
        resolver.open(wire("my\\032printer._ipp._tcp.local.", "SRV"), heard)
        await until(lambda: heard.is_told)
        assert heard.replies[0].rcode() == dns.rcode.NXDOMAIN
        assert resolver.busy == 0
        resolver.close()

    run(main)


@pytest.mark.parametrize("query", [b"", b"\0" * 12, wire("a.example.")[:20]], ids=["nothing", "a header", "cut"])
def test_bytes_that_are_no_query_are_a_failure(query: bytes) -> None:
    async def main() -> None:
        resolver = SystemResolver(asyncio.get_running_loop(), calls=Calls())
        heard = Heard()
        resolver.open(query, heard)
        await until(lambda: heard.is_told)
        assert heard.failures == [Failure.BUSY]
        resolver.close()

    run(main)


def test_a_call_that_breaks_every_promise_costs_one_reply_and_no_thread() -> None:
    async def main() -> None:
        def broken(*_: Any) -> list[tuple[Any, ...]]:
            raise KeyError("never seen")

        resolver = SystemResolver(asyncio.get_running_loop(), 1, calls=Calls(broken))
        for number in range(3):
            heard = Heard()
            resolver.open(wire(f"n{number}.example."), heard)
            await until(lambda heard=heard: heard.is_told)  # type: ignore[misc]
            assert heard.replies[0].rcode() == dns.rcode.SERVFAIL
        assert resolver.busy == 0
        resolver.close()

    run(main)


def test_when_the_kernel_gives_no_thread_a_question_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        def cannot(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", cannot)
        resolver = SystemResolver(asyncio.get_running_loop(), calls=Calls())
        heard = Heard()
        resolver.open(wire("a.example."), heard)
        await until(lambda: heard.is_told)
        assert heard.failures == [Failure.BUSY]
        resolver.close()

    run(main)


def test_after_close_nobody_hears_anything_and_the_loop_may_be_gone() -> None:
    heard = [Heard() for _ in range(3)]
    with gate() as held:

        async def main() -> None:
            resolver = SystemResolver(asyncio.get_running_loop(), 1, calls=Calls(held.getaddrinfo))
            for number, one in enumerate(heard):
                resolver.open(wire(f"n{number}.example."), one)
            await until(lambda: held.entered)
            resolver.close()
            resolver.close()
            late = Heard()
            resolver.open(wire("late.example."), late)
            await until(lambda: late.is_told)
            assert late.failures == [Failure.BUSY]

        before = set(threading.enumerate())
        asyncio.run(main())  # does not wait for the thread that hangs
        (hung,) = set(threading.enumerate()) - before
        held.opened.set()
        hung.join(WITHIN_S)
        assert not hung.is_alive()
    assert held.entered == [b"n0.example"]
    assert not any(one.is_told for one in heard)
