"""What runs inside network namespaces, and on which threads: one namespace's own, or a few that serve many (ADR 0010).

A sidecar has two threads that enter its namespace and stay, so that it can give CAP_SYS_ADMIN up afterwards. An agent
keeps that capability and shares a few threads among all its namespaces: a thread enters for one job and goes back.
Either way there are two lanes for each namespace, and neither waits for the other.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeVar

from msgspec import Struct

from resolver.attach.netns import PROC, NamespaceThread, Target, move_thread, open_namespace, setns
from resolver.errors import AttachError

log = logging.getLogger(__name__)

_P = ParamSpec("_P")
_T = TypeVar("_T")

RULE_THREADS = 8
"""Threads that run firewall commands for all namespaces; they spend most of their time waiting for the kernel."""
SOCKET_THREADS = 2
"""Threads that make sockets for upstreams, which takes microseconds."""


class Inside(Protocol):
    """Has functions run inside one namespace, one after the other."""

    def submit(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Have ``function`` run inside the namespace, after all that was handed over before."""

    def call(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run ``function`` inside the namespace and wait for what it returns or raises."""

    def close(self) -> None:
        """Finish what was handed over; what was opened in the namespace stays open."""


class Lanes(Struct, frozen=True):
    """The two ways into one namespace."""

    rules: Inside
    """For firewall commands, which may have to wait for a lock."""
    sockets: Inside
    """For upstream sockets, for which a client waits."""

    def close(self) -> None:
        """Close both."""
        self.rules.close()
        self.sockets.close()


Entrance = Callable[[Target], Lanes]
"""Goes into a namespace; raises AttachError when that cannot be done."""


def own_threads(target: Target) -> Lanes:
    """Two threads that stay in the namespace: for a process that gives up CAP_SYS_ADMIN once they have entered."""
    rules = NamespaceThread(target, "rules")
    try:
        return Lanes(rules, NamespaceThread(target, "upstream"))
    except BaseException:
        rules.close()
        raise


class ThreadPool:
    """A few threads that many namespaces share; the process keeps CAP_SYS_ADMIN."""

    def __init__(self) -> None:
        self._home = os.open(PROC / "thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._rules = ThreadPoolExecutor(RULE_THREADS, thread_name_prefix="pydns-rules")
        self._sockets = ThreadPoolExecutor(SOCKET_THREADS, thread_name_prefix="pydns-upstream")

    def enter(self, target: Target) -> Lanes:
        """Make sure that the namespace can be entered, and keep it at hand: an `Entrance`."""
        room = _Room(open_namespace(target), self._home, target)
        lanes = Lanes(_Lane(self._rules, room), _Lane(self._sockets, room))
        try:
            lanes.rules.call(_nothing)
        except BaseException:
            lanes.close()
            raise
        return lanes

    def close(self) -> None:
        """Finish what was handed over and end the threads."""
        self._rules.shutdown()
        self._sockets.shutdown()
        os.close(self._home)


class _Room:
    """A namespace that is kept at hand by a descriptor, for as long as a lane leads into it."""

    __slots__ = ("_descriptor", "_home", "_lanes", "_lock", "_target")

    def __init__(self, descriptor: int, home: int, target: Target) -> None:
        self._descriptor = descriptor
        self._home = home
        self._target = target
        self._lanes = 0
        self._lock = threading.Lock()

    def visit(self, work: Callable[[], None]) -> None:
        """Do ``work`` inside and go back: who stays would keep a namespace alive that everybody else has left."""
        move_thread(self._descriptor, self._target)
        try:
            work()
        finally:
            setns(self._home)

    def open_lane(self) -> None:
        with self._lock:
            self._lanes += 1

    def close_lane(self) -> None:
        with self._lock:
            self._lanes -= 1
            if self._lanes == 0:
                os.close(self._descriptor)


class _Lane:
    """One thing at a time inside one namespace, on whichever thread of the pool is free: an `Inside`."""

    __slots__ = ("_executor", "_is_closed", "_is_running", "_jobs", "_lock", "_room")

    def __init__(self, executor: ThreadPoolExecutor, room: _Room) -> None:
        self._executor = executor
        self._room = room
        self._jobs: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._lock = threading.Lock()
        self._is_running = False
        self._is_closed = False
        room.open_lane()

    def submit(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        future: Future[_T] = Future()
        with self._lock:
            if self._is_closed:
                raise AttachError("the namespace has been left")
            self._jobs.append((future, partial(function, *args, **kwargs)))
            if not self._is_running:
                self._executor.submit(self._run_one)
                self._is_running = True
        return future

    def call(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return self.submit(function, *args, **kwargs).result()

    def close(self) -> None:
        if not self._is_closed:
            # Behind all that was handed over: the descriptor stays until the last job is done.
            last = self.submit(_nothing)
            self._is_closed = True
            with suppress(OSError, AttachError):
                last.result()
            self._room.close_lane()

    def _run_one(self) -> None:
        """One job, then the next one behind those of other namespaces."""
        future, function = self._jobs.popleft()
        if future.set_running_or_notify_cancel():
            try:
                self._room.visit(partial(_settle, future, function))
            except BaseException as error:
                if not future.done():
                    future.set_exception(error)
                else:
                    log.critical("a thread could not go back to its own network namespace: %s", error)
        with self._lock:
            self._is_running = bool(self._jobs)
            if self._jobs:
                self._executor.submit(self._run_one)


def _settle(future: Future[Any], function: Callable[[], Any]) -> None:
    try:
        result = function()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)


def _nothing() -> None:
    """A job that only shows that the way in is free."""
