"""Which modules a pydns has imported, and which ones it has to do without until somebody needs them."""

from __future__ import annotations

import re

TELLING = ("env", "PYTHONPROFILEIMPORTTIME=1")
"""The words before a command that have Python tell on standard error what it imports."""

OPENSSL = ("ssl", "_ssl", "hashlib", "_hashlib", "hmac", "asyncio.sslproto")

LATE = (
    *OPENSSL,
    "aiohttp", "dns", "h2", "jeepney", "prometheus_client",
    "email", "html", "http", "urllib.request", "wsgiref",
    "encodings.idna", "importlib.metadata", "json", "pydoc", "secrets", "unittest", "xml",
    "resolver.aardvark", "resolver.agent", "resolver.explain", "resolver.ops.metrics", "resolver.resolved.bus",
    "resolver.sources.aardvark", "resolver.sources.docker.source", "resolver.zones.reader",
    "resolver.forward.doh", "resolver.forward.http2", "resolver.forward.system", "resolver.forward.tls",
)  # fmt: skip
"""What costs time and memory at every start, and is not needed to answer names from a registry; with all below it."""

_LINE = re.compile(r"^import time: +\d+ \| +\d+ \| *(\S+)$", re.MULTILINE)


def imported(log: str, names: tuple[str, ...]) -> list[str]:
    """Those of the modules that the log says have been imported, or one below them."""
    found = set(_LINE.findall(log))
    assert "resolver.app" in found, "Python does not tell what it imports"
    return [name for name in names if any(f"{one}.".startswith(f"{name}.") for one in found)]
