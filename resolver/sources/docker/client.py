"""The Docker Engine API over a unix socket or TCP: plain questions, and the stream of events.

aiohttp is imported only when a daemon is configured: ``pip install "pydns[docker]"``.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import msgspec

from resolver.errors import PydnsError, StartError, one_line
from resolver.sources.docker import tls
from resolver.sources.docker.settings import DaemonSettings
from resolver.sources.docker.shape import items, table, text

if TYPE_CHECKING:
    from aiohttp import BaseConnector, ClientResponse, ClientSession

ANSWER_S = 10.0
"""How long an answer may take."""
NEWEST = (1, 52)
"""The newest version of the API that is known to say what we read; a daemon's own is used up to here."""
_CONNECTIONS = 24
_MAX_EVENT = 1 << 20
_MAX_SAID = 200
_SPEAKS_TLS = "HTTP request to an HTTPS server"
"""What a program in Go, such as Docker, says to one that does not speak TLS where it does."""
_VERSION = re.compile(r"(\d+)\.(\d+)$", re.ASCII)
_KEEPALIVE = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
"""A machine that vanishes without a word is noticed within half a minute."""


class DaemonError(PydnsError):
    """The daemon did not answer as it should; the text says how."""

    def __init__(self, message: str, fix: str = "") -> None:
        self.fix = fix
        super().__init__(message)


class Away(DaemonError):
    """There is no connection to it."""


class Refused(DaemonError):
    """It answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        wants_tls = status == 400 and _SPEAKS_TLS in message
        super().__init__(f"it says {status}: {message}", "set tls, the folder with our certificates" * wants_tls)


class Version:
    """What a daemon says of itself."""

    def __init__(self, raw: object, date: str) -> None:
        names = [text(component, "Name") for component in items(table(raw).get("Components"))]
        self.is_podman = any("podman" in name.lower() for name in names)
        self.path = _version_path(text(raw, "ApiVersion"), text(raw, "MinAPIVersion"))
        """What paths begin with: ``/v1.41``."""
        try:
            self.clock = int(parsedate_to_datetime(date).timestamp())
            """The daemon's clock, Unix time in seconds; 0 when it does not say."""
        except (TypeError, ValueError, OverflowError):
            self.clock = 0


def _version_path(newest: str, oldest: str) -> str:
    found = _VERSION.match(newest)
    if found is None:
        return ""  # an unversioned path is the daemon's newest
    version = min((int(found[1]), int(found[2])), NEWEST)
    if (least := _VERSION.match(oldest)) is not None:
        version = max(version, (int(least[1]), int(least[2])))
    return f"/v{version[0]}.{version[1]}"


class Client:
    """Asks one daemon."""

    def __init__(self, settings: DaemonSettings) -> None:
        """Raises StartError when aiohttp is missing or the certificates cannot be used."""
        try:
            import aiohttp
        except ImportError as error:
            raise StartError(
                f'[{settings.name}] needs a library that is not installed ({error.name}): pip install "pydns[docker]"'
            ) from error
        self._aiohttp = aiohttp
        self._settings = settings
        self._path = ""
        self._tls = tls.context_of(settings)
        parts = urlsplit(settings.host)
        self._base = f"http{'s' if self._tls else ''}://{parts.netloc or 'docker'}"
        self._open: ClientSession | None = None

    async def connect(self) -> Version:
        """Ask what it is; raises DaemonError."""
        await self.close()
        self._path = ""
        self._open = self._aiohttp.ClientSession(
            connector=self._connector(),
            timeout=self._aiohttp.ClientTimeout(total=ANSWER_S),
            cookie_jar=self._aiohttp.DummyCookieJar(),
        )
        async with self._request("/version") as response:
            version = Version(await _decoded(response), response.headers.get("Date", ""))
        self._path = version.path
        return version

    async def get(self, path: str) -> Any:
        """The JSON at a path; raises DaemonError."""
        async with self._request(path) as response:
            return await _decoded(response)

    @asynccontextmanager
    async def events(self, since: int, filters: Mapping[str, object]) -> AsyncIterator[AsyncIterator[object]]:
        """The events from a time on, by the daemon's clock; raises DaemonError, also when the stream ends.

        A line that is not JSON is given as it is, as bytes.
        """
        query = f"filters={quote(msgspec.json.encode(filters).decode())}" + (f"&since={since}" if since else "")
        endless = self._aiohttp.ClientTimeout(total=None, sock_connect=ANSWER_S)
        async with self._request(f"/events?{query}", timeout=endless) as response:
            yield self._lines(response)

    async def _lines(self, response: ClientResponse) -> AsyncIterator[object]:
        rest = b""
        try:
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield _event(line)
                if len(rest) > _MAX_EVENT:
                    raise DaemonError("an event is longer than a megabyte")
        except (self._aiohttp.ClientError, OSError) as error:
            raise Away(f"the events ended: {self._words(error)}", self._fix(error)) from error
        raise Away("the events ended")

    async def close(self) -> None:
        """Close every connection."""
        if self._open is not None:
            session, self._open = self._open, None
            await session.close()

    @asynccontextmanager
    async def _request(self, path: str, **options: Any) -> AsyncIterator[ClientResponse]:
        if self._open is None:
            raise Away("not connected")
        from yarl import URL

        try:
            async with self._open.get(URL(self._base + self._path + path, encoded=True), **options) as response:
                if response.status != 200:
                    raise Refused(response.status, await _message(response))
                yield response
        except TimeoutError as error:
            raise DaemonError(f"no answer within {ANSWER_S:g} s") from error
        except (self._aiohttp.ClientError, OSError) as error:
            raise Away(self._words(error), self._fix(error)) from error

    def _words(self, error: Exception) -> str:
        if (problem := tls.problem(error)) is not None:
            return f"TLS: {problem[0]}"
        if isinstance(error, self._aiohttp.ClientPayloadError | self._aiohttp.ServerDisconnectedError):
            return "it has closed the connection"
        cause = getattr(error, "os_error", error)
        if isinstance(cause, ConnectionError) and cause.errno is None:
            return "it has closed the connection"
        return _words(error)

    def _connector(self) -> BaseConnector:
        parts = urlsplit(self._settings.host)
        if parts.scheme == "unix":
            return self._aiohttp.UnixConnector(path=parts.path, limit=_CONNECTIONS)
        return self._aiohttp.TCPConnector(
            limit=_CONNECTIONS, ssl=self._tls or False, socket_factory=_kept_alive, force_close=False
        )

    def _fix(self, error: Exception) -> str:
        if (problem := tls.problem(error)) is not None:
            return problem[1]
        cause = getattr(error, "os_error", error)
        if isinstance(cause, PermissionError):
            return "run pydns as a user who may use the socket: root, or the group that it belongs to"
        if isinstance(cause, FileNotFoundError | ConnectionRefusedError):
            return "is the daemon running, and is host right?"
        return ""


async def _decoded(response: ClientResponse) -> Any:
    octets = await response.read()
    try:
        return msgspec.json.decode(octets)
    except (ValueError, RecursionError) as error:
        raise DaemonError(f"{response.url.path} is not JSON: {error}") from error


async def _message(response: ClientResponse) -> str:
    octets = await response.read()
    try:
        said = text(msgspec.json.decode(octets), "message")
    except (ValueError, RecursionError):
        said = octets[:_MAX_SAID].decode(errors="replace").strip()
        if said.startswith("<"):
            said = ""  # a page of a proxy's
    return one_line(" ".join((said or response.reason or "").split()))[:_MAX_SAID]


def _event(line: bytes) -> object:
    try:
        return msgspec.json.decode(line)
    except (ValueError, RecursionError):
        return line


def _words(error: BaseException) -> str:
    cause = getattr(error, "os_error", error)
    number = getattr(cause, "errno", None)
    if isinstance(number, int) and number in errno.errorcode:
        return os.strerror(number)  # its own text may be asyncio's, which names a call
    return " ".join(str(error).split()) or type(error).__name__


def _kept_alive(address: Any) -> socket.socket:
    family, kind, protocol, _, _ = address
    sock = socket.socket(family, kind, protocol)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return sock
