"""What a command prints, and what becomes of it when nobody reads on."""

from __future__ import annotations

import os
import sys

import click

from resolver.errors import StartError

READER_GONE = 141
"""What a shell shows for a program that SIGPIPE ended: no fault was found, nobody wanted to hear the rest."""


def say(text: str) -> None:
    """Print a text; ends the command quietly when the reader has gone (``pydns networks | head -1``)."""
    try:
        click.echo(text)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is flushed at the end
        raise click.exceptions.Exit(READER_GONE) from None
    except OSError as error:
        raise StartError(f"standard output cannot be written: {error.strerror}") from error


def counted(count: int, what: str) -> str:
    """``1 network``, ``2 networks``."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def shortened(place: str) -> str:
    """A path below the working directory without the latter."""
    return place.removeprefix(os.getcwd() + os.sep)
