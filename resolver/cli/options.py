"""Options that several commands share, and the way from them to settings."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from resolver.config.load import Override, load
from resolver.config.schema import Settings

F = TypeVar("F", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)

KEYS: dict[str, tuple[str, str]] = {
    "listen": ("server", "listen"),
    "registry": ("registry", "files"),
    "zones": ("registry", "zones"),
    "ttl": ("answers", "ttl"),
    "resolv_conf": ("forward", "resolv_conf"),
    "upstream": ("forward", "upstreams"),
    "metrics": ("metrics", "listen"),
}
"""From an option to the key of the configuration that it sets."""


def config_option(function: F) -> F:
    """-c FILE."""
    return click.option(
        "-c",
        "--config",
        "config",
        type=PATH,
        envvar="PYDNS_CONFIG",
        metavar="FILE",
        help="Configuration file (TOML); every key in it is optional.",
    )(function)


def content_options(function: F) -> F:
    """-c, --registry, --zones: what is served."""
    for decorate in (
        click.option(
            "--zones",
            multiple=True,
            envvar="PYDNS_ZONES",
            metavar="PATH",
            help="Zone file, or folder of *.zone files; repeatable.",
        ),
        click.option(
            "--registry",
            multiple=True,
            envvar="PYDNS_REGISTRY",
            metavar="PATH",
            help="Registry file (*.toml, *.json of `docker network inspect`, hosts) or a folder of them; repeatable.",
        ),
        config_option,
    ):
        function = decorate(function)
    return function


def server_options(function: F) -> F:
    """Everything that `serve` and `sidecar` share."""
    for decorate in (
        click.option("-v", "--verbose", is_flag=True, help="Log more."),
        click.option(
            "--metrics",
            envvar="PYDNS_METRICS",
            metavar="ADDRESS:PORT",
            help="Where /metrics, /healthz and /readyz are served, or off.  [default: 127.0.0.1:9153]",
        ),
        click.option(
            "--upstream",
            multiple=True,
            envvar="PYDNS_UPSTREAM",
            metavar="ADDRESS[:PORT]",
            help="Forward to this server instead of those in resolv.conf; repeatable.",
        ),
        click.option(
            "--ttl", type=int, envvar="PYDNS_TTL", metavar="SECONDS", help="TTL of registry names.  [default: 600]"
        ),
        content_options,
    ):
        function = decorate(function)
    return function


def settings_loader(config: Path | None, *, with_shipped_zones: bool = True, **options: Any) -> Callable[[], Settings]:
    """Loads the settings from a file and what was given as options; called again for each SIGHUP.

    An option that was not given is None or empty and leaves the file's word.
    """
    overrides = []
    for name, value in options.items():
        if value is None or value == ():
            continue
        place = "--" + name.replace("_", "-")
        plain = [str(item) for item in value] if isinstance(value, tuple) else value
        overrides.append(Override(KEYS[name], str(plain) if isinstance(plain, Path) else plain, place))
    return lambda: load(config, overrides, with_shipped_zones=with_shipped_zones)


class _Format(logging.Formatter):
    """``pydns: message``, with the level in front where it is more than news."""

    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        record.msg = f"pydns: {level}{record.msg}"
        return super().format(record)


def set_up_logging(*, verbose: bool = False) -> None:
    """Log to standard error, one line an event."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Format())
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler], force=True)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("watchdog").setLevel(logging.WARNING)
