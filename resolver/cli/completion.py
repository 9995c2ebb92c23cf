"""``pydns completion``: the script that makes a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from resolver.cli.output import say


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of SHELL.

    It completes commands, options, files, and the names of networks and containers.

    \b
    Examples:
      source <(pydns completion bash)                          for this shell (bash 4.4 or newer)
      pydns completion bash > /etc/bash_completion.d/pydns     for every one
      pydns completion zsh > "${fpath[1]}/_pydns"
      pydns completion fish > ~/.config/fish/completions/pydns.fish
    """
    from resolver.cli.main import cli

    completion = get_completion_class(shell)
    assert completion is not None
    say(completion(cli, {}, "pydns", "_PYDNS_COMPLETE").source())
