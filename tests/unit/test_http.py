"""The operators' HTTP listener by itself."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import resource
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from resolver.ops.http import HttpServer, Parameters


def no_time(*_: object) -> Any:
    raise TimeoutError


def metrics() -> Callable[..., Iterable[bytes]]:
    """An application whose readings do not come."""
    return no_time


def page(_: Parameters) -> tuple[str, object]:
    return "200 OK", no_time()


@pytest.mark.parametrize("path", ["/metrics", "/cache"])
def test_what_cannot_be_read_in_time_is_told_as_such(path: str, caplog: pytest.LogCaptureFixture) -> None:
    def get(port: int) -> tuple[int, object]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, json.load(response)

    async def main() -> None:
        sock = socket.create_server(("127.0.0.1", 0))
        sock.setblocking(False)
        port = sock.getsockname()[1]
        server = HttpServer(sock, metrics, {"/cache": page}, {})
        server.start(asyncio.get_running_loop())
        try:
            assert await asyncio.to_thread(get, port) == (503, {"status": "stuck"})
        finally:
            server.stop()

    asyncio.run(main())
    assert caplog.records == []


def test_a_client_waits_without_trouble_until_files_can_be_open_again() -> None:
    async def main() -> None:
        sock = socket.create_server(("127.0.0.1", 0))
        sock.setblocking(False)
        server = HttpServer(sock, metrics, {"/page": lambda _: ("200 OK", {})}, {})
        client = socket.create_connection(sock.getsockname())
        client.settimeout(10)
        client.sendall(b"GET /page HTTP/1.0\r\n\r\n")
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
        try:
            server.start(asyncio.get_running_loop())
            began_s = time.process_time()
            await asyncio.sleep(1)
            taken_s = time.process_time() - began_s
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        try:
            assert (await asyncio.to_thread(client.recv, 100)).startswith(b"HTTP/1.0 200 OK")
            assert taken_s < 0.5, "nobody tries all the time"
        finally:
            server.stop()
            client.close()

    asyncio.run(main())
