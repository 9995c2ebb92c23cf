"""What operators see of a feeder and its workers: the pages of one server, and metrics that are added up."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from resolver.operate import ServerReadings, Turns, of_name, pages_of
from resolver.ops.http import HttpServer, Parameters, metrics_application
from resolver.wire.name import WireName
from resolver.workers.merged import cache_of_all, upstreams_of_all
from resolver.workers.sums import growing, summed, total

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from resolver.app import Server
    from resolver.workers.pool import Pool


class Figures:
    """The metrics of all processes; what workers counted that are gone stays in them."""

    def __init__(self, server: Server, pool: Pool) -> None:
        self._server = server
        self._pool = pool
        self._last: dict[int, list[Metric]] = {}
        """What each worker has said last: for one that does not answer now."""
        self._gone: list[Metric] = []
        self._under_way: asyncio.Task[list[Metric]] | None = None

    async def families(self) -> list[Metric]:
        """Every family, as it is now; whoever asks meanwhile gets the same, for one that is stuck is waited for."""
        if self._under_way is None or self._under_way.done():
            self._under_way = asyncio.get_running_loop().create_task(self._read())
        return await asyncio.shield(self._under_way)

    async def _read(self) -> list[Metric]:
        from prometheus_client import ProcessCollector
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        from resolver.ops.metrics import PydnsCollector

        while self._pool.lost:
            last = self._last.pop(self._pool.lost.pop(), [])
            self._gone = summed((), [self._gone, growing(last)])
        self._last.update(await self._pool.ask("metrics"))
        own = [*PydnsCollector(ServerReadings(self._server)).collect(), *ProcessCollector(registry=None).collect()]
        found = summed(own, [self._gone, *self._last.values()])
        workers = GaugeMetricFamily("pydns_workers", "Worker processes that answer queries.")
        workers.add_metric([], sum(member.is_ready for member in self._pool.members.values()))
        restarts = CounterMetricFamily("pydns_worker_restarts", "Workers that have ended and were started again.")
        restarts.add_metric([], self._pool.restarts)
        asked = CounterMetricFamily("pydns_worker_requests", "Queries, by the worker that got them.", labels=["worker"])
        for number in sorted(self._last):
            asked.add_metric([str(number)], total(self._last[number], "pydns_dns_requests_total"))
        return [*found, workers, restarts, asked]


class _Collector:
    def __init__(self, families: Callable[[], Iterable[Metric]]) -> None:
        self.collect = families


def http_server(sock: socket.socket, server: Server, pool: Pool) -> HttpServer:
    """The HTTP server for a feeder, on a socket that is bound already."""
    turns = Turns()
    figures = Figures(server, pool)
    own, _ = pages_of(server, turns)

    def registry() -> Any:
        from prometheus_client import CollectorRegistry

        made = CollectorRegistry(auto_describe=False)
        made.register(_Collector(lambda: turns.wait(figures.families())))
        return made

    def told_by_all(what: str, *arguments: object) -> list[Any]:
        return list(turns.wait(pool.ask(what, *arguments)).values())

    def healthz(parameters: Parameters) -> tuple[str, object]:
        try:
            ready = turns.take(lambda: {member.number for member in pool.members.values() if member.is_ready})
            stuck = sorted(ready - turns.wait(pool.ask("alive")).keys())
        except TimeoutError:
            return "503 Service Unavailable", {"status": "stuck"}
        if stuck:
            return "503 Service Unavailable", {"status": "stuck", "workers": stuck}
        return own["/healthz"](parameters)

    def readyz(parameters: Parameters) -> tuple[str, object]:
        if server.is_ready and not pool.are_ready:
            return "503 Service Unavailable", {"status": "not ready"}
        return own["/readyz"](parameters)

    def upstreams(_: Parameters) -> tuple[str, object]:
        return "200 OK", upstreams_of_all(told_by_all("upstreams"))

    def cache(parameters: Parameters) -> tuple[str, object]:
        def look(below: WireName | None) -> Mapping[str, object]:
            return cache_of_all(told_by_all("cache", below))

        return of_name(parameters, look)

    def flush(parameters: Parameters) -> tuple[str, object]:
        return of_name(parameters, lambda below: {"flushed": sum(told_by_all("flush", below))})

    pages = {**own, "/healthz": healthz, "/readyz": readyz, "/upstreams": upstreams, "/cache": cache}
    return HttpServer(sock, metrics_application(registry), pages, {"/cache/flush": flush})
