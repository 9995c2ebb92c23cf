"""What a shell offers for the value of an option: files, and names from the registry.

Runs while somebody types, so whatever goes wrong offers nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from resolver.errors import PydnsError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from resolver.registry.model import Network


def files(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Files and folders, which the shell knows better than we do."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def networks(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The names of the networks."""
    return _beginning(incomplete, (network.name for network in _networks(context)))


def containers(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The names of the containers."""
    return _beginning(incomplete, (endpoint.name for network in _networks(context) for endpoint in network.endpoints))


def names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Every name of every container."""
    found = (network.endpoints for network in _networks(context))
    return _beginning(incomplete, (name for endpoints in found for one in endpoints for name in one.dns_names()))


def types(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Record types, in capitals whatever was typed."""
    from resolver.wire.constants import TYPE_NUMBERS

    return _beginning(incomplete.upper(), TYPE_NUMBERS)


def namespaces(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The names of `ip netns`."""
    try:
        return _beginning(incomplete, os.listdir("/run/netns"))
    except OSError:
        return []


def _beginning(incomplete: str, known: Iterable[str]) -> list[str]:
    return sorted({name for name in known if name.startswith(incomplete)})


def _networks(context: click.Context) -> list[Network]:
    """The networks of the files that the command line names so far."""
    from resolver.cli.options import settings_loader
    from resolver.content import Content
    from resolver.views import ViewSettings

    logging.disable(logging.CRITICAL)
    try:
        settings = settings_loader(context.params.get("config"), registry=context.params.get("registry"))()
    except PydnsError:
        return []
    return list(Content(settings.registry_files, (), ViewSettings()).views.snapshot.networks.values())
