"""Hot names while the registry changes: what the changes cost, and how soon one is seen.

One name among all gets another address, so many times a second, from a thread on the core of who asks; another thread
asks for it now and then, until it sees a change that was made before. A server that was told so often takes in as many
as it can: what counts is that what it says is never older than that.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median

import dns.exception
import dns.message
import dns.query

from benchmarks.changers import CANNOT, CHANGERS, NUMBERS, Changer, address_of, number_of
from benchmarks.dnsperf import drive
from benchmarks.errors import BenchError
from benchmarks.figures import SATURATED, Found, Row
from benchmarks.machine import cores
from benchmarks.names import Asked, Held, Turns
from benchmarks.peers.names import CHURN
from benchmarks.servers import Server
from benchmarks.workloads import WORKLOADS

RATED_CHANGES = 100
"""With so many a second, queries come at a fixed rate too; or with the most, if these are not among those asked for."""
SEEN_WITHIN_S = 5.0
LOOK_EVERY_S = 0.005
"""Between two looks at whether a change is seen: what it costs is the server's."""
PAUSE_S = 0.1
"""Between one change that is waited for and the next."""


class Churn:
    """Changes the name until it is left, and notes when the changes are seen."""

    def __init__(self, server: Server, change: Changer, rate: int, first: int) -> None:
        self._server = server
        self._change = change
        self._rate = rate
        self._first = self.number = first
        self._began = time.monotonic()
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._guard, args=(work,)) for work in (self._make, self._look)]
        self.seen_s: list[float] = []
        """How long each change that was waited for took to be seen."""
        self.fault: str | None = None

    def __enter__(self) -> Churn:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def await_one(self) -> None:
        """Wait until one change has been seen, or is not going to be."""
        deadline = time.monotonic() + 2 * SEEN_WITHIN_S
        while not self.seen_s and not self._end.wait(LOOK_EVERY_S) and time.monotonic() < deadline:
            pass

    @property
    def made_a_second(self) -> float:
        """How many changes were made so far."""
        return (self.number - self._first) / max(time.monotonic() - self._began, 1e-9)

    def _guard(self, work: Callable[[], None]) -> None:
        if (core := cores()[1]) is not None:
            os.sched_setaffinity(0, {core})  # of this thread
        try:
            work()
        except (OSError, EOFError, BenchError) as error:
            self.fault = f"a change failed: {error}"
            self._end.set()

    def _make(self) -> None:
        while not self._end.wait(max(self._due() - time.monotonic(), 0)):
            self._change((self.number + 1) % NUMBERS)
            self.number += 1

    def _due(self) -> float:
        return self._began + (self.number - self._first) / self._rate

    def _look(self) -> None:
        last = self.number
        while not self._end.wait(LOOK_EVERY_S):
            if self.number == last:
                continue
            last, made = self.number, time.monotonic()
            while not self._has(last):
                if time.monotonic() - made > SEEN_WITHIN_S:
                    self.fault = f"a change was not seen within {SEEN_WITHIN_S:g} s"
                    return
                if self._end.wait(LOOK_EVERY_S):
                    return
            self.seen_s.append(time.monotonic() - made)
            self._end.wait(PAUSE_S)

    def _has(self, number: int) -> bool:
        """Whether the server has this change, or a later one."""
        return any((at - number) % NUMBERS < NUMBERS // 2 for at in numbers(self._server))


def numbers(server: Server) -> list[int]:
    """The changes that a server's answer shows; none without an answer."""
    query = dns.message.make_query(CHURN, "A")
    with contextlib.suppress(OSError, dns.exception.DNSException):
        reply = dns.query.udp(query, server.address, timeout=1, port=server.port)
        return [number_of(rdata.to_text()) for rrset in reply.answer for rdata in rrset]
    return []


def is_settled(server: Server, number: int) -> bool:
    """Whether the server comes to say this last number and nothing else."""
    deadline = time.monotonic() + SEEN_WITHIN_S
    while numbers(server) != [number % NUMBERS]:
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_EVERY_S)
    return True


def measure(
    held: Held,
    rates_of_change: Sequence[int],
    turns: Turns,
    found: Found,
    more: Sequence[tuple[Server, Changer]] = (),
) -> None:
    """Drive everybody who can be told of changes, for hot names: to saturation, and once at the first of the rates.

    ``more`` are servers that are told in another way.
    """
    rates_of_change = sorted(rates_of_change)
    able = [server for server in held.servers if server.name in CHANGERS]
    for server in held.servers:
        if server.name in CANNOT:
            found.left_out[f"{server.name}, changes"] = CANNOT[server.name]
    changers = {server.name: CHANGERS[server.name](server) for server in able}
    changers |= {server.name: change for server, change in more}
    able += [server for server, _ in more]
    count = held.registry.count
    rated = RATED_CHANGES if RATED_CHANGES in rates_of_change else max(rates_of_change)
    rows = {
        (changes, rate, server.name): Row("changes", "hot", count, server.name, rate, changes)
        for changes in rates_of_change
        for rate in (SATURATED, *(turns.rates[:1] if changes == rated else ()))
        for server in able
    }
    found.rows += rows.values()
    numbers_of = dict.fromkeys(changers, 0)
    with contextlib.ExitStack() as files:
        asked = Asked(WORKLOADS["hot"], held.registry, 0, files)
        for number in range(turns.rounds):
            for (changes, rate, name), row in _in_turn(rows, number):
                server = next(server for server in able if server.name == name)
                if rows[rates_of_change[0], SATURATED, name].faults or row.faults:
                    row.faults = row.faults or ["not tried: it failed with fewer changes"]
                    continue
                if not _is_up(server):
                    row.faults.append("it has ended, and does not come up again")
                    continue
                path, flags = asked.of(name)
                flags = [*flags, "-Q", str(rate), "-v"] if rate else flags
                with Churn(server, changers[name], changes, numbers_of[name]) as churn:
                    run = drive(server, path, turns.seconds, cores()[1], (), *flags)
                    churn.await_one()
                    made = churn.made_a_second
                fault = churn.fault or run.wrong()
                if not fault and churn.number and not is_settled(server, churn.number):
                    # a datagram may be lost: who sends updates repeats the last one
                    changers[name](churn.number % NUMBERS)
                    if not is_settled(server, churn.number):
                        fault = f"after the last change it does not say {address_of(churn.number % NUMBERS)}"
                numbers_of[name] = churn.number
                row.add(run, fault)
                row.more.setdefault("changes_made", []).append(made)
                row.more.setdefault("seen_ms", []).extend(_median_ms(churn.seen_s))


def _is_up(server: Server) -> bool:
    """Whether the server is there, after a new start if it did not stand so many changes."""
    if not server.is_alive:
        with contextlib.suppress(BenchError):
            server.stop()
            server.start()
    return server.is_alive


def _median_ms(seconds: Sequence[float]) -> Iterator[float]:
    if seconds:
        yield median(seconds) * 1e3


def _in_turn(rows: dict[tuple[int, int, str], Row], number: int) -> list[tuple[tuple[int, int, str], Row]]:
    """Every row, the servers forwards and backwards in turn."""
    names = list(dict.fromkeys(name for _, _, name in rows))[:: 1 if number % 2 == 0 else -1]
    return sorted(rows.items(), key=lambda item: (item[0][:2], names.index(item[0][2])))
