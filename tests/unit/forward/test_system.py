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

    def getaddrinfo(self, name: bytes, *_: Any) -> list[tuple[Any, ...]]:
        self.entered.append(name)
        assert self.opened.wait(WITHIN_S)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))]


@contextmanager
def gate() -> Iterator[Gate]:
    """One that is open at the end, so that no thread of a test outlives it for long."""
    made = Gate()
    try:
        yield made
    finally:
        made.opened.set()


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
                resolver.open(wire(f"n{number}.example."), one)
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
            first, second, third = (resolver.open(wire(f"n{n}.example."), heard[n]) for n in range(3))
            also = resolver.open(wire("n2.example."), heard[3])
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


@pytest.mark.parametrize(
    ("name", "rtype"), [("x.example.", "MX"), ("a\\000b.example.", "A"), (".", "AAAA"), ("x.example.", "PTR")]
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


@pytest.mark.parametrize("query", [b"", b"\0" * 12, wire("a.example.")[:20]])
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
