"""``pydns aardvark``: takes the place of the program aardvark-dns, with its arguments and its manners."""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from resolver import __version__
from resolver.cli import complete
from resolver.cli.options import PATH, resolv_conf_option
from resolver.errors import PydnsError

if TYPE_CHECKING:
    from resolver.wire.name import WireName

PORT = 5533
SEARCH_DOMAIN = ".dns.podman"
SYSLOG = "/dev/log"
_FIRST_INHERITED = 3
_LEVELS = {"off": logging.CRITICAL + 1, "error": logging.ERROR, "warn": logging.WARNING, "info": logging.INFO}

log = logging.getLogger(__name__)


@click.group("aardvark")
@click.option(
    "-c",
    "--config",
    type=PATH,
    metavar="DIR",
    shell_complete=complete.files,
    help="The folder of network files that netavark writes.",
)
@click.option("-p", "--port", type=click.IntRange(1, 65535), default=PORT, show_default=True, help="Where to listen.")
@click.option(
    "-f",
    "--filter-search-domain",
    metavar="DOMAIN",
    default=SEARCH_DOMAIN,
    show_default=True,
    help="The search domain that podman gives its containers.",
)
@resolv_conf_option
@click.version_option(__version__, "-V", "--version", prog_name="pydns as aardvark-dns")
@click.pass_context
def command(
    context: click.Context, config: Path | None, port: int, filter_search_domain: str, resolv_conf: str | None
) -> None:
    """Answer for Podman's networks in the place of aardvark-dns: netavark starts it and tells it of changes.

    It forks and ends as soon as the child listens at every address of every network; the child ends with the last
    network. How podman is pointed at it: docs/podman.md.

    \b
    Examples:
      pydns aardvark --config /run/containers/networks/aardvark-dns -p 53 run
      pydns aardvark version
    """
    context.obj = (config, port, filter_search_domain, Path(resolv_conf or "/etc/resolv.conf"))


@command.command("version")
def version() -> None:
    """Say which program this is, as JSON."""
    target = f"{platform.machine()}-unknown-linux"
    fields = {"version": __version__, "commit": "", "build_time": "", "target": target, "program": "pydns"}
    click.echo(json.dumps(fields, indent=2))


@command.command("run")
@click.pass_obj
def run(given: tuple[Path | None, int, str, Path]) -> int:
    """Serve the folder: fork, and end when the child listens."""
    folder, port, search_domain, resolv_conf = given
    if folder is None:
        raise click.UsageError("run needs --config DIR, the folder of network files")
    occupy_standard_descriptors()
    # What netavark had open (its lock, conmon's pipes) must not stay open for as long as we run.
    os.closerange(_FIRST_INHERITED, os.sysconf("SC_OPEN_MAX"))
    read_end, write_end = os.pipe()
    child = os.fork()
    if child:
        os.close(write_end)
        is_ready = bool(os.read(read_end, 1))
        if not is_ready:
            os.waitpid(child, 0)  # what it has to say comes first
            click.echo("Error from child process", err=True)
        return 0 if is_ready else 1
    os.close(read_end)
    os.setsid()
    has_syslog = log_to_syslog()
    try:
        serve(folder.absolute(), port, search_domain, resolv_conf.absolute(), lambda: let_go(write_end))
    except (PydnsError, OSError) as error:
        if has_syslog:
            log.critical("%s", error)
        for line in str(error).splitlines():
            click.echo(f"Error starting server {line}", err=True)
        return 1
    return 0


def serve(folder: Path, port: int, search_domain: str, resolv_conf: Path, ready: Callable[[], None]) -> None:
    """Answer until the last network is gone, or a signal comes. Raises StartError."""
    os.chdir("/")  # no file system is to be kept busy
    from resolver.aardvark import Aardvark
    from resolver.server.loop import run

    async def answer() -> None:
        forwards = "AARDVARK_NO_PROXY" not in os.environ
        await Aardvark(folder, port, parse_domain(search_domain), resolv_conf, forwards=forwards).run(ready)

    run(answer())


def parse_domain(text: str) -> WireName | None:
    """The search domain, folded; None for an empty one. Raises PydnsError."""
    from resolver.errors import ConfigError, Fault
    from resolver.wire.name import fold, from_text

    if not (bare := text.removeprefix(".")):
        return None
    try:
        return fold(from_text(bare))
    except ValueError as error:
        raise ConfigError([Fault("--filter-search-domain", str(error), "write it like .dns.podman")]) from error


def occupy_standard_descriptors() -> None:
    """Open 0, 1 and 2 where the caller has closed them: else a socket of ours gets one, and `let_go` writes over it."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < _FIRST_INHERITED:
        pass
    os.close(descriptor)


def let_go(write_end: int) -> None:
    """Tell the parent that all is well, and let go of what we have from it: whoever waits for its output may go on."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(_FIRST_INHERITED):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    os.write(write_end, b"1")
    os.close(write_end)


def log_to_syslog() -> bool:
    """Log where aardvark-dns does, as loudly as RUST_LOG says; False without a syslog.

    Then it goes to standard error for as long as that leads anywhere.
    """
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if os.path.exists(SYSLOG):
        try:
            handler = logging.handlers.SysLogHandler(SYSLOG)
        except OSError:
            click.echo(f"{SYSLOG} is not listened to: no log", err=True)
        else:
            handler.ident = f"aardvark-dns[{os.getpid()}]: pydns: "
    level = _LEVELS.get(os.environ.get("RUST_LOG", "info").lower(), logging.DEBUG)
    logging.basicConfig(level=level, handlers=[handler], force=True, format="%(message)s")
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("watchdog").setLevel(logging.CRITICAL)
    return isinstance(handler, logging.handlers.SysLogHandler)
