"""A daemon of the Engine API that says what a test wants, as badly as it wants, and counts what it is asked."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections import Counter
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import unquote

from aiohttp import web

from tests.unit.sources.docker.recordings import Json, docker, listed

T = TypeVar("T")


class FakeDaemon:
    """Serves until it is stopped, at a unix socket or over TLS; can be started again."""

    def __init__(
        self,
        at: Path | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        networks: Iterable[Json] = (),
        containers: Iterable[Json] = (),
    ) -> None:
        self.networks = {network["Id"]: network for network in networks}
        self.containers = {container["Id"]: container for container in containers}
        self.version: Json = docker()["version"]
        self.requests: Counter[str] = Counter()
        """By kind: ``version``, ``networks``, ``list``, ``container``, ``network``, ``events``."""
        self.asked: list[str] = []
        """Every path but the version's prefix."""
        self.answers: dict[str, tuple[int, bytes]] = {}
        """Status and body by path, instead of what is known."""
        self.slow: dict[str, float] = {}
        """Seconds before an answer, by path; the kind ``list`` and the like, too."""
        self.in_flight = 0
        self.most_in_flight = 0
        self.since: list[str] = []
        self.port = 0
        self._at = at
        self._tls = tls
        self._runner: web.AppRunner | None = None
        self._streams: set[asyncio.Queue[bytes | None]] = set()
        self._bodies: dict[str, bytes] = {}

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: object) -> None:
        await self.stop()

    @property
    def host(self) -> str:
        """Where it is, as DOCKER_HOST has it."""
        return f"unix://{self._at}" if self._at is not None else f"tcp://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen."""
        application = web.Application()
        application.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, handle_signals=False, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        if self._at is not None:
            await web.UnixSite(self._runner, str(self._at)).start()
        else:
            await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls).start()
            self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Be gone, with every connection; nobody gets in meanwhile."""
        runner, self._runner = self._runner, None
        for site in runner.sites if runner is not None else ():
            await site.stop()
        if self._at is not None:
            with suppress(FileNotFoundError):
                self._at.unlink()
        self.end_streams()
        if runner is not None:
            await runner.cleanup()

    def end_streams(self) -> None:
        """End every stream of events."""
        for stream in self._streams:
            stream.put_nowait(None)

    def emit(self, *events: Json) -> None:
        """Tell of events."""
        for event in events:
            self.emit_raw(json.dumps(event).encode() + b"\n")

    def emit_raw(self, octets: bytes) -> None:
        """Write something into the streams of events."""
        for stream in self._streams:
            stream.put_nowait(octets)

    @property
    def streams(self) -> int:
        """How many listen to events."""
        return len(self._streams)

    def put(self, container: Json) -> None:
        """A container runs, or is as it is said here."""
        self.containers[container["Id"]] = container
        self._bodies.pop(container["Id"], None)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path.startswith("/v1."):
            path = "/" + path.split("/", 2)[2]
        kind = self._kind(path)
        self.requests[kind] += 1
        self.asked.append(path)
        if kind == "events":
            return await self._events(request)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if delay := self.slow.get(path, self.slow.get(kind, 0)):
                body = self._body(kind, path, request)  # as it was when it was asked for
                await asyncio.sleep(delay)
            else:
                body = self._body(kind, path, request)
        finally:
            self.in_flight -= 1
        status, octets = body
        return web.Response(status=status, body=octets, content_type="application/json")

    def _kind(self, path: str) -> str:
        fixed = {"/version": "version", "/networks": "networks", "/containers/json": "list", "/events": "events"}
        return fixed.get(path) or ("container" if path.startswith("/containers/") else "network")

    def _body(self, kind: str, path: str, request: web.Request) -> tuple[int, bytes]:
        if path in self.answers:
            return self.answers[path]
        if kind == "version":
            return 200, json.dumps(self.version).encode()
        if kind == "networks":
            plain = [{key: value for key, value in net.items() if key != "Services"} for net in self.networks.values()]
            return 200, json.dumps(plain).encode()
        if kind == "list":
            running = [container for container in self.containers.values() if container["State"]["Running"]]
            return 200, json.dumps([listed(container) for container in running]).encode()
        named = unquote(path.split("/")[2])
        if kind == "container":
            if named not in self.containers:
                return 404, json.dumps({"message": f"No such container: {named}"}).encode()
            if named not in self._bodies:
                self._bodies[named] = json.dumps(self.containers[named]).encode()
            return 200, self._bodies[named]
        for network in self.networks.values():
            if named in (network["Id"], network["Name"]):
                verbose = request.query.get("verbose") == "true"
                keys = {key: value for key, value in network.items() if verbose or key != "Services"}
                return 200, json.dumps(keys).encode()
        return 404, json.dumps({"message": f"network {named} not found"}).encode()

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if "/events" in self.answers:
            status, octets = self.answers["/events"]
            return web.Response(status=status, body=octets)
        self.since.append(request.query.get("since", ""))
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        stream: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._streams.add(stream)
        try:
            while (event := await stream.get()) is not None:
                await response.write(event)
        except ConnectionError:
            pass
        finally:
            self._streams.discard(stream)
        return response


async def _cancel_all() -> None:
    """Answers that are still slow are not waited for."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


class Threaded:
    """A fake daemon in a thread of its own, for a test that is not asynchronous."""

    def __init__(self, daemon: FakeDaemon) -> None:
        self.daemon = daemon
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake daemon")

    def __enter__(self) -> Self:
        self._thread.start()
        self.run(self.daemon.start())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.run(self.daemon.stop())
        self.run(_cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, doing: Coroutine[Any, Any, T]) -> T:
        """Do something on its loop."""
        return asyncio.run_coroutine_threadsafe(doing, self._loop).result(timeout=20)

    def emit(self, *events: Json) -> None:
        """Tell of events."""
        self._loop.call_soon_threadsafe(self.daemon.emit, *events)
