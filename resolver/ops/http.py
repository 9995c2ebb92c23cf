"""A small HTTP server for operators: /metrics, /healthz, /readyz and what the commands ask of a running server.

The standard library's WSGI server around prometheus_client's application, on a thread for each connection, so that a
scrape never holds up a query. The socket is bound at the start, where a taken port shows; all else is imported when the
first request comes.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from resolver.light import without_openssl

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

log = logging.getLogger(__name__)

Parameters = Mapping[str, str]
Page = Callable[[Parameters], tuple[str, object]]
"""From a request's parameters to a status line and what is sent as JSON."""
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

MAX_CONNECTIONS = 16
"""At once; further ones are closed unanswered."""
_PAUSE_S = 0.1
TIMEOUT_S = 5.0
"""How long a client may take to send its request or read the reply."""
_NOTED = ("SSLContext", "TLSVersion", "PROTOCOL_TLS_CLIENT", "PROTOCOL_TLS_SERVER")
"""What prometheus-client takes from ssl for the signatures of servers of its own, which are not started here."""


class HttpServer:
    """Serves a table of pages, and the metrics of a Prometheus registry, on a socket that is bound already.

    The event loop accepts; each connection has a short-lived thread. Without any there is neither a thread nor an
    import, so a sidecar that nobody scrapes pays nothing.
    """

    def __init__(
        self,
        sock: socket.socket,
        metrics: Callable[[], Application],
        pages: Mapping[str, Page],
        actions: Mapping[str, Page] | None = None,
    ) -> None:
        """``actions`` are pages that change something, and are there for POST only."""
        self._socket = sock
        self._metrics = metrics
        self._pages = pages
        self._actions = actions or {}
        self._places = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._making = threading.Lock()
        self._server: WSGIServer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def port(self) -> int:
        """The port that the socket is bound to."""
        port: int = self._socket.getsockname()[1]
        return port

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to serve."""
        self._loop = loop
        loop.add_reader(self._socket.fileno(), self._accept)

    def stop(self) -> None:
        """Accept no more and close the socket; a reply that is being written may end."""
        if self._loop is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._loop = None
        self._socket.close()

    def _accept(self) -> None:
        try:
            connection, client = self._socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:  # no more files can be open, and the client is still there
            log.debug("an HTTP client has to wait: %s", error)
            if self._loop is not None:
                self._loop.remove_reader(self._socket.fileno())
                self._loop.call_later(_PAUSE_S, self._go_on)
            return
        if not self._places.acquire(blocking=False):
            connection.close()
            return
        connection.settimeout(TIMEOUT_S)
        threading.Thread(target=self._serve, args=(connection, client), name="http", daemon=True).start()

    def _go_on(self) -> None:
        if self._loop is not None:
            self._loop.add_reader(self._socket.fileno(), self._accept)

    def _serve(self, connection: socket.socket, client: tuple[str, int]) -> None:
        try:
            with self._making:
                if self._server is None:
                    self._server = _wsgi_server(self._socket.getsockname(), self._route)
            self._server.finish_request(connection, client)
        except OSError as error:
            log.debug("an HTTP client went away: %s", error)
        except Exception:
            log.exception("an HTTP request could not be answered")
        finally:
            self._places.release()
            connection.close()

    def _route(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        body: object
        try:
            if path == "/metrics":
                return self._metrics()(environ, start_response)
            status, body = self._page(path, environ)
        except TimeoutError:
            status, body = "503 Service Unavailable", {"status": "stuck"}
        import json

        payload = json.dumps(body, indent=2).encode() + b"\n"
        start_response(
            status, [("Content-Type", "application/json; charset=utf-8"), ("Content-Length", str(len(payload)))]
        )
        return [payload]

    def _page(self, path: str, environ: dict[str, Any]) -> tuple[str, object]:
        is_action = path in self._actions
        page = (self._actions if is_action else self._pages).get(path)
        if page is None:
            known = ", ".join(["/metrics", *sorted(self._pages)])
            return "404 Not Found", {"error": f"there is no {path} here; there are {known}"}
        if is_action and environ.get("REQUEST_METHOD") != "POST":
            return "405 Method Not Allowed", {"error": f"{path} changes something: POST it"}
        return page({key: values[-1] for key, values in parse_qs(environ.get("QUERY_STRING", "")).items()})


def _wsgi_server(address: tuple[Any, ...], route: Application) -> WSGIServer:
    """The standard library's WSGI server without a socket of its own: it only answers connections handed to it."""
    with without_openssl():
        from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

    class Handler(WSGIRequestHandler):
        timeout = TIMEOUT_S

        def log_message(self, format: str, *args: object) -> None:
            log.debug(format, *args)

    server = WSGIServer(address[:2], Handler, bind_and_activate=False)
    server.socket.close()
    server.server_name, server.server_port = address[0], address[1]
    server.setup_environ()
    server.set_app(route)
    return server


def metrics_application(make_registry: Callable[[], Any]) -> Callable[[], Application]:
    """The WSGI application that shows a Prometheus registry, made at the first scrape."""
    made: list[Application] = []

    def application() -> Application:
        if not made:
            with without_openssl(*_NOTED):
                from prometheus_client import make_wsgi_app

            made.append(make_wsgi_app(make_registry()))
        return made[0]

    return application
