"""A small HTTP server for operators: /metrics, /healthz, /readyz and what the commands ask of a running server.

It runs on a thread of its own with the standard library's WSGI server around prometheus_client's application, so that a
scrape never holds up a query. The socket is bound before anything else is imported: a taken port shows at the start.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

log = logging.getLogger(__name__)

Parameters = Mapping[str, str]
Page = Callable[[Parameters], tuple[str, object]]
"""From a request's parameters to a status line and what is sent as JSON."""
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

TIMEOUT_S = 5.0
"""How long a client may take to send its request or read the reply."""


class HttpServer:
    """Serves a table of pages, and the metrics of a Prometheus registry, on a socket that is bound already."""

    def __init__(self, sock: socket.socket, metrics: Callable[[], Application], pages: Mapping[str, Page]) -> None:
        self._socket = sock
        self._metrics = metrics
        self._pages = pages
        self._server: WSGIServer | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to serve; the imports happen on the new thread."""
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and close the socket."""
        if self._server is not None:
            self._server.shutdown()
        if self._thread is not None:
            self._thread.join(timeout=1)
        self._socket.close()

    def _serve(self) -> None:
        from socketserver import ThreadingMixIn
        from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

        class Handler(WSGIRequestHandler):
            timeout = TIMEOUT_S

            def log_message(self, format: str, *args: object) -> None:
                log.debug(format, *args)

        class Server(ThreadingMixIn, WSGIServer):
            daemon_threads = True

        address = self._socket.getsockname()
        self._socket.setblocking(True)
        server = Server(address[:2], Handler, bind_and_activate=False)
        server.socket.close()
        server.socket = self._socket
        server.server_name, server.server_port = address[0], address[1]
        server.setup_environ()
        server.set_app(self._route)
        self._server = server
        server.serve_forever(poll_interval=0.2)

    def _route(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        if path == "/metrics":
            return self._metrics()(environ, start_response)
        import json

        page = self._pages.get(path)
        if page is None:
            known = ", ".join(["/metrics", *sorted(self._pages)])
            status = "404 Not Found"
            body: object = {"error": f"there is no {path} here; there are {known}"}
        else:
            parameters = {key: values[-1] for key, values in parse_qs(environ.get("QUERY_STRING", "")).items()}
            status, body = page(parameters)
        payload = json.dumps(body, indent=2).encode() + b"\n"
        start_response(
            status, [("Content-Type", "application/json; charset=utf-8"), ("Content-Length", str(len(payload)))]
        )
        return [payload]


def metrics_application(make_registry: Callable[[], Any]) -> Callable[[], Application]:
    """The WSGI application that shows a Prometheus registry, made at the first scrape."""
    made: list[Application] = []

    def application() -> Application:
        if not made:
            from prometheus_client import make_wsgi_app

            made.append(make_wsgi_app(make_registry()))
        return made[0]

    return application
