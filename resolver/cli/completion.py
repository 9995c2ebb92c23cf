"""``pydns completion``: the script that makes a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    Examples:
      pydns completion bash > /etc/bash_completion.d/pydns
      pydns completion fish > ~/.config/fish/completions/pydns.fish
    """
    from resolver.cli.main import cli

    completion = get_completion_class(shell)
    assert completion is not None
    click.echo(completion(cli, {}, "pydns", "_PYDNS_COMPLETE").source())
