"""Options that several commands share, and the way from them to settings."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from resolver.cli import complete
from resolver.config.load import Override, examine, load
from resolver.config.schema import Settings
from resolver.errors import Fault

F = TypeVar("F", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)

KEYS: dict[str, tuple[str, str]] = {
    "listen": ("server", "listen"),
    "workers": ("server", "workers"),
    "registry": ("registry", "files"),
    "zones": ("registry", "zones"),
    "ttl": ("answers", "ttl"),
    "resolv_conf": ("forward", "resolv_conf"),
    "upstream": ("forward", "upstreams"),
    "metrics": ("metrics", "listen"),
    "docker": ("docker", "host"),
    "podman": ("podman", "host"),
}
"""From an option to the key of the configuration that it sets."""


def option(name: str, *, help: str, **attributes: Any) -> Callable[[F], F]:
    """An option with its environment variable, PYDNS_ and its name, shown in the help text."""
    variable = "PYDNS_" + name.lstrip("-").upper().replace("-", "_")
    return click.option(name, envvar=variable, show_envvar=True, help=help, **attributes)


def _together(*options: Callable[[Any], Any]) -> Callable[[F], F]:
    """Several options as one decorator, shown in this order."""

    def decorate(function: F) -> F:
        for decorator in reversed(options):
            function = decorator(function)
        return function

    return decorate


config_option = click.option(
    "-c",
    "--config",
    type=PATH,
    envvar="PYDNS_CONFIG",
    show_envvar=True,
    metavar="FILE",
    shell_complete=complete.files,
    help="Configuration file (TOML); every key in it is optional.",
)

content_options = _together(
    config_option,
    option(
        "--registry",
        multiple=True,
        metavar="PATH",
        shell_complete=complete.files,
        help="Registry file (*.toml, *.json of `docker network inspect`, *.hosts) or a folder of them; repeatable.",
    ),
    option(
        "--zones",
        multiple=True,
        metavar="PATH",
        shell_complete=complete.files,
        help="Zone file, or folder of *.zone files; repeatable.",
    ),
)
"""What is served."""

daemon_options = _together(
    option("--docker", metavar="URL", help="Know the containers of this Docker daemon (unix:///var/run/docker.sock)."),
    option("--podman", metavar="URL", help="Know those of this Podman service (unix:///run/podman/podman.sock)."),
)
"""Who tells what exists, beside files."""

answer_options = _together(
    option("--ttl", type=int, metavar="SECONDS", show_default="600", help="TTL of registry names."),
    option(
        "--upstream",
        multiple=True,
        metavar="ADDRESS[:PORT]",
        help="Forward to this server instead of those in resolv.conf; repeatable.",
    ),
)
"""How it is answered."""

resolv_conf_option = option(
    "--resolv-conf",
    metavar="FILE",
    shell_complete=complete.files,
    show_default="/etc/resolv.conf",
    help="Forward to the servers in this file.",
)

metrics_option = option(
    "--metrics",
    metavar="ADDRESS:PORT",
    show_default="127.0.0.1:9153",
    help="Where /metrics, /healthz and /readyz are served, or off.",
)

verbose_option = click.option("-v", "--verbose", is_flag=True, help="Log more.")

network_option = option(
    "--network",
    multiple=True,
    metavar="NET",
    shell_complete=complete.networks,
    show_default="by the client's address",
    help="Show every client the names of this network only; repeatable.",
)

serve_options = _together(
    option(
        "--listen",
        multiple=True,
        metavar="ADDRESS[:PORT]",
        show_default="127.0.0.1:5353, [::1]:5353",
        help="Answer UDP and TCP here; repeatable.",
    ),
    content_options,
    daemon_options,
    network_option,
    answer_options,
    resolv_conf_option,
    metrics_option,
    option(
        "--workers",
        metavar="N",
        show_default="1",
        help="Answer in so many processes, or auto: one for each CPU that may be used.",
    ),
)
"""Everything that `serve` takes, and `check` with it."""

running_options = _together(
    option(
        "--metrics",
        metavar="ADDRESS:PORT",
        show_default="127.0.0.1:9153",
        help="Ask the server that has its metrics there; off for none.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
)
"""Which server is asked, and how that is told."""

live_options = _together(
    click.option("--offline", is_flag=True, help="Work from the files, even if a server is running."),
    running_options,
)
"""Whom a command asks, and how it tells."""


def settings_loader(config: Path | None, *, with_shipped_zones: bool = True, **options: Any) -> Callable[[], Settings]:
    """Loads the settings from a file and what was given as options; called again for each SIGHUP."""
    given = overrides(**options)
    return lambda: load(config, given, with_shipped_zones=with_shipped_zones)


def examined(config: Path | None, **options: Any) -> tuple[Settings, list[Fault]]:
    """The settings as far as they can be used, and everything that is wrong with them."""
    return examine(config, overrides(**options))


def overrides(**options: Any) -> list[Override]:
    """What the options say; one that was not given is None or empty and leaves the file's word."""
    return [
        Override(KEYS[name], _plain(value), _place(name))
        for name, value in options.items()
        if value is not None and value != ()
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [str(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _place(name: str) -> str:
    """What a person has to look at: the flag, or the environment variable."""
    flag = "--" + name.replace("_", "-")
    context = click.get_current_context(silent=True)
    if context is None or context.get_parameter_source(name) != ParameterSource.ENVIRONMENT:
        return flag
    variable = next((parameter.envvar for parameter in context.command.params if parameter.name == name), None)
    return variable if isinstance(variable, str) else flag


def answer_alone(settings: Settings, who: str) -> None:
    """Say so where a file that several commands share asks for workers, which this one has not."""
    if settings.workers > 1:
        logging.getLogger(__name__).warning(
            "server.workers is for `pydns serve`: %s answers in one process, here too", who
        )


def is_on_command_line(name: str) -> bool:
    """Whether an option was typed, rather than taken from the environment or left out."""
    return click.get_current_context().get_parameter_source(name) == ParameterSource.COMMANDLINE


class _Format(logging.Formatter):
    """``pydns: message``, with the level in front where it is more than news."""

    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        if isinstance(record.args, tuple) and record.levelno >= logging.WARNING:  # a warning need not say it twice
            record.args = tuple(arg.without_kind() if isinstance(arg, Fault) else arg for arg in record.args)
        record.msg = f"pydns: {level}{record.msg}"
        return super().format(record)


def set_up_logging(*, verbose: bool = False, level: int = logging.INFO) -> None:
    """Log to standard error, one line an event."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Format())
    logging.basicConfig(level=logging.DEBUG if verbose else level, handlers=[handler], force=True)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("watchdog").setLevel(logging.CRITICAL)  # it complains of its own threads when it is stopped
