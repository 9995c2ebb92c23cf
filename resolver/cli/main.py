"""``pydns``: the command line. Each command is a module that is imported only when it is called."""

from __future__ import annotations

import importlib
import os
import signal
import sys

import click

from resolver import __version__, compiled, garbage
from resolver.errors import PydnsError
from resolver.light import without_openssl

COMMANDS = {
    "serve": ("resolver.cli.serve", "Answer on addresses of this machine."),
    "sidecar": ("resolver.cli.sidecar", "Answer at 127.0.0.11:53 inside a network namespace."),
    "aardvark": ("resolver.cli.aardvark", "Answer for Podman's networks in the place of aardvark-dns."),
    "agent": ("resolver.cli.agent", "Answer at 127.0.0.11:53 inside many network namespaces."),
    "check": ("resolver.cli.check", "Check configuration, registry and zones; show every fault."),
    "explain": ("resolver.cli.explain", "Tell why a name resolves as it does."),
    "networks": ("resolver.cli.networks", "Show what the registry holds."),
    "upstreams": ("resolver.cli.upstreams", "Show how the upstreams of the running server do."),
    "cache": ("resolver.cli.cache", "Look into the running server's cache, or empty it."),
    "completion": ("resolver.cli.completion", "Print the completion script of a shell."),
}
"""Where each command lives and what it does; a new one is a module and a line here."""

_STDERR = 2

EPILOG = """
\b
Try it, without root and without any file:
  pydns serve                            answers at 127.0.0.1:5353
  dig @127.0.0.1 -p 5353 db              a container's name
  pydns explain db --from 172.18.0.3     why, seen by a container

\b
Exit status: 0 fine, 1 a fault was found, 2 it could not start.
"""


class Commands(click.Group):
    """The commands by name, imported when needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None for a name that is none."""
        if cmd_name not in COMMANDS:
            return None
        with without_openssl():  # it comes with asyncio
            command = importlib.import_module(COMMANDS[cmd_name][0]).command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is called, or what may have been meant."""
        name = args[0]
        if name not in COMMANDS and name[:1] != "-" and not ctx.resilient_parsing:
            import difflib  # only for who has mistyped something

            near = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "there are: " + ", ".join(COMMANDS)
            raise click.UsageError(f"there is no command {name!r} ({hint})", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in the help text, from the table: nothing is imported for it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(
    cls=Commands,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(
    __version__,
    prog_name="pydns",
    message=f"%(prog)s, version %(version)s, fast lane {'in Python' if compiled.lane is None else 'compiled'}",
)
def cli() -> None:
    """The resolver that Docker keeps at 127.0.0.11, as a program of its own.

    It answers container names from a registry, docker.internal, static zones, and forwards the rest.
    """


def main() -> None:
    """Run the command line and end the process with its exit status; no traceback reaches a user."""
    _fill_standard_descriptors()
    if sys.argv[1:2] in (["serve"], ["sidecar"], ["agent"], ["aardvark"]):
        # A reload that is asked for before there is anything to reload must not end the process.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if sys.argv[1:2] in (["serve"], ["sidecar"], ["agent"]):
        garbage.expect_modules()
    try:
        status = cli.main(standalone_mode=False, prog_name="pydns")
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        status = 130
    except (PydnsError, OSError) as error:
        for line in str(error).splitlines():
            click.echo(f"pydns: {line}", err=True)
        status = 2
    _let_go_of_output()
    sys.exit(status if isinstance(status, int) else 0)


def _fill_standard_descriptors() -> None:
    """Where one of the first three is closed, the next thing that is opened would come to be it.

    A socket, say, to which a worker would then write what it logs."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _let_go_of_output() -> None:
    """What a full disk would not take is not tried again when the interpreter ends: that would print a traceback."""
    if sys.stdout is None:  # it was closed before we began
        return
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
