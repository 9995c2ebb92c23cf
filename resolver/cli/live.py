"""Asks a running server, over HTTP at the address that [metrics] names; without one the files are asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from resolver.cli.options import is_on_command_line, set_up_logging
from resolver.config.schema import Settings
from resolver.errors import ConfigError, Fault

TIMEOUT_S = 2.0
NAMES_FILES = ("registry", "zones", "ttl", "upstream", "resolv_conf")
"""Options that say what to work from: with one of them on the command line a running server is not asked."""

Told = dict[str, Any]


def tell(
    settings: Settings,
    path: str,
    parameters: Mapping[str, str | None],
    work_out: Callable[[], Told],
    *,
    key: str,
    offline: bool,
) -> Told:
    """What the running server says, else what ``work_out`` makes of the files; ``source`` tells which.

    ``key`` is in every answer of a pydns. Raises ConfigError with the server's complaint, and for a server that was
    named on the command line and is not there.
    """
    if offline:
        reason = "--offline"
    elif any(is_on_command_line(name) for name in NAMES_FILES):
        reason = "named on the command line"
    elif settings.metrics is None:
        reason = "metrics.listen is off"
    else:
        told = _ask(settings, path, parameters, key)
        if told is not None:
            return told | {"source": f"the server at {settings.metrics}"}
        if is_on_command_line("metrics"):
            fix = "start it, or leave --metrics out to work from the files"
            raise ConfigError([Fault("--metrics", f"no pydns answers at {settings.metrics}", fix)])
        reason = f"no server answers at {settings.metrics}"
    import logging

    set_up_logging(level=logging.ERROR)  # the warnings are for `pydns check`
    return work_out() | {"source": f"the files ({reason})"}


def ask_server(
    settings: Settings, path: str, parameters: Mapping[str, str | None], *, key: str, method: str = "GET"
) -> Told:
    """What the running server says of itself. Raises ConfigError with its complaint, and when there is none."""
    told = None if settings.metrics is None else _ask(settings, path, parameters, key, method)
    if told is None:
        where = "metrics.listen is off" if settings.metrics is None else f"no pydns answers at {settings.metrics}"
        raise ConfigError([Fault("--metrics", where, "start a server, or say where its metrics are")])
    return told


def _ask(
    settings: Settings, path: str, parameters: Mapping[str, str | None], key: str, method: str = "GET"
) -> Told | None:
    """What the server says, or None when none is running there."""
    from http.client import HTTPConnection, HTTPException
    from urllib.parse import urlencode

    assert settings.metrics is not None
    query = urlencode({name: value for name, value in parameters.items() if value is not None})
    connection = HTTPConnection(settings.metrics.host, settings.metrics.port, timeout=TIMEOUT_S)
    try:
        connection.request(method, f"{path}?{query}")
        response = connection.getresponse()
        told = json.loads(response.read())
    except (OSError, HTTPException, ValueError):
        return None  # nobody, or somebody else, is there
    finally:
        connection.close()
    if not isinstance(told, dict):
        return None
    if response.status == 400 and "error" in told:
        raise ConfigError([Fault(f"the server at {settings.metrics}", str(told["error"]))])
    return told if response.status == 200 and key in told else None
