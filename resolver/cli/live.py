"""Asks a running server, over HTTP at the address that [metrics] names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from resolver.config.schema import Settings
from resolver.errors import ConfigError, Fault

TIMEOUT_S = 2.0


def ask(settings: Settings, path: str, parameters: Mapping[str, str | None]) -> dict[str, Any] | None:
    """What the server says, or None when none is running there. Raises ConfigError with its complaint."""
    if settings.metrics is None:
        return None
    from http.client import HTTPConnection, HTTPException
    from urllib.parse import urlencode

    query = urlencode({key: value for key, value in parameters.items() if value is not None})
    connection = HTTPConnection(settings.metrics.host, settings.metrics.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", f"{path}?{query}")
        response = connection.getresponse()
        told = json.loads(response.read())
    except (OSError, HTTPException, ValueError):
        return None  # nobody, or somebody else, is there
    finally:
        connection.close()
    if not isinstance(told, dict) or response.status == 404:
        return None
    if "error" in told:
        raise ConfigError([Fault(f"the server at {settings.metrics}", str(told["error"]))])
    return told
