"""What an operator sees of a running server: the readings behind /metrics, and the pages beside it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from resolver.counters import ServerStats, SourceCounts
from resolver.errors import PydnsError
from resolver.forward.lookups import Lookups
from resolver.listing import cache_of, networks_of, upstreams_of
from resolver.ops.http import HttpServer, Page, Parameters, metrics_application
from resolver.wire.name import WireName, fold, from_text

if TYPE_CHECKING:
    from resolver.app import Server
    from resolver.ops.metrics import AgentCounts, ReloadCounts, UpstreamCounts

_T = TypeVar("_T")

ANSWER_S = 2.0
"""How long the event loop may take to answer before the server counts as stuck."""


@runtime_checkable
class HasNamespaces(Protocol):
    """A server that is an agent's."""

    def agent_counts(self) -> AgentCounts:
        """How it does with its namespaces."""

    def agent_targets(self) -> list[dict[str, Any]]:
        """Each namespace, how far it has come, and why no further."""


class ServerReadings:
    """Reads a server's counters for a scrape."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def server(self) -> ServerStats:
        """The server's counters, the hits of ready replies included."""
        self._server.count_hits()
        return self._server.responder.stats

    def in_flight(self) -> int:
        """Queries that wait for an upstream now."""
        return self._server.in_flight

    def upstreams(self) -> Mapping[str, UpstreamCounts]:
        """Counters by upstream address."""
        return self._server.forwarder.counts()

    def lookups(self) -> Lookups:
        """The cache and the look-ups that are shared."""
        return self._server.lookups

    def registry_size(self) -> Mapping[str, int]:
        """How many there are of each kind of thing."""
        return self._server.content.size()

    def reloads(self) -> Mapping[str, ReloadCounts]:
        """By kind of input."""
        return self._server.reloads

    def sources(self) -> Mapping[str, SourceCounts]:
        """How the daemons do that tell what exists, by source."""
        return {source.name: source.counts for source in self._server.content.live}

    def faults(self) -> int:
        """How many things are wrong with the files now."""
        return len(self._server.faults)

    def repairs(self) -> int | None:
        """How often redirect rules were put back."""
        return self._server.repairs()

    def agent(self) -> AgentCounts | None:
        """How an agent does with its namespaces."""
        return self._server.agent_counts() if isinstance(self._server, HasNamespaces) else None


class Turns:
    """Has readings taken where the counters are written, so that they are whole; called on other threads."""

    def __init__(self) -> None:
        """On the running loop."""
        self.loop = asyncio.get_running_loop()

    def take(self, read: Callable[[], _T]) -> _T:
        """What it returns; raises TimeoutError when the loop is stuck."""

        async def call() -> _T:
            return read()

        return self.wait(call())

    def wait(self, work: Coroutine[Any, Any, _T]) -> _T:
        """What comes of it in the end."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout=ANSWER_S)


def http_server(sock: socket.socket, server: Server) -> HttpServer:
    """The HTTP server for a running pydns, on a socket that is bound already."""
    turns = Turns()

    def registry() -> Any:
        from resolver.ops.metrics import registry_of  # at the first scrape

        return registry_of(_OnLoop(ServerReadings(server), turns.take))

    pages, actions = pages_of(server, turns)
    return HttpServer(sock, metrics_application(registry), pages, actions)


def pages_of(server: Server, turns: Turns) -> tuple[dict[str, Page], dict[str, Page]]:
    """The pages of a running server, and those that change something."""
    on_loop, loop = turns.take, turns.loop

    def healthz(_: Parameters) -> tuple[str, object]:
        try:
            faults = on_loop(lambda: server.faults)
        except TimeoutError:
            return "503 Service Unavailable", {"status": "stuck"}
        status = "degraded" if any(not fault.is_warning for fault in faults) else "ok"
        return "200 OK", {"status": status, "faults": [str(fault) for fault in faults]}

    def readyz(_: Parameters) -> tuple[str, object]:
        if server.is_ready:
            return "200 OK", {"status": "ready"}
        return "503 Service Unavailable", {"status": "not ready"}

    def explanation(parameters: Parameters) -> tuple[str, object]:
        from resolver.explain import Asked, explain  # as late as what else HTTP needs

        try:
            asked = Asked(
                name=parameters.get("name", ""),
                rtype=parameters.get("type", "A"),
                address=parameters.get("from"),
                network=parameters.get("network"),
                endpoint=parameters.get("endpoint"),
            )
            return "200 OK", on_loop(lambda: explain(asked, server.responder.state))
        except PydnsError as error:
            return "400 Bad Request", {"error": str(error)}

    def networks(_: Parameters) -> tuple[str, object]:
        return "200 OK", on_loop(lambda: networks_of(server.content.views.snapshot))

    def agent(_: Parameters) -> tuple[str, object]:
        assert isinstance(server, HasNamespaces)
        return "200 OK", on_loop(server.agent_targets)

    def upstreams(_: Parameters) -> tuple[str, object]:
        return "200 OK", on_loop(
            lambda: upstreams_of(
                server.forwarder, server.responder.state.upstreams, loop.time(), server.responder.state.chain.routes
            )
        )

    def cache(parameters: Parameters) -> tuple[str, object]:
        def look(below: WireName | None) -> Mapping[str, object]:
            server.count_hits()
            return cache_of(server.lookups, below, loop.time())

        return of_name(parameters, lambda below: on_loop(lambda: look(below)))

    def flush(parameters: Parameters) -> tuple[str, object]:
        return of_name(parameters, lambda below: {"flushed": on_loop(lambda: server.lookups.cache.flush(below))})

    pages: dict[str, Page] = {
        "/healthz": healthz,
        "/readyz": readyz,
        "/explain": explanation,
        "/networks": networks,
        "/upstreams": upstreams,
        "/cache": cache,
    }
    if isinstance(server, HasNamespaces):
        pages["/agent"] = agent
    return pages, {"/cache/flush": flush}


def of_name(parameters: Parameters, tell: Callable[[WireName | None], object]) -> tuple[str, object]:
    """A page about one name and all below it, or about everything when none is given."""
    name = parameters.get("name")
    try:
        return "200 OK", tell(None if name is None else fold(from_text(name)))
    except ValueError as error:
        return "400 Bad Request", {"error": str(error)}


class _OnLoop(ServerReadings):
    """The same readings, taken on the event loop."""

    def __init__(self, readings: ServerReadings, on_loop: Callable[[Callable[[], Any]], Any]) -> None:
        super().__init__(readings._server)
        self._on_loop = on_loop

    def server(self) -> ServerStats:
        """The server's counters, the hits of ready replies included."""
        stats: ServerStats = self._on_loop(super().server)
        return stats

    def agent(self) -> AgentCounts | None:
        """How an agent does with its namespaces."""
        counts: AgentCounts | None = self._on_loop(super().agent)
        return counts
