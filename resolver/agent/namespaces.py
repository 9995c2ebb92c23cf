"""Which namespaces of the configuration's list exist now, and where to watch for more."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from msgspec import Struct, field

from resolver.agent.targets import Identity
from resolver.config.agent import NamespaceRule

NAMED = Path("/run/netns")
"""Where `ip netns` keeps its names."""

_NOBODYS = ".pydns-watch"


class Found(Struct):
    """What a look at the folder and the paths has shown."""

    namespaces: dict[str, Identity] = field(default_factory=dict)
    """By name, or by path."""
    is_unfinished: bool = False
    """A name is there that has no namespace yet, or no longer: `ip netns` makes and removes the two one by one."""


def find(rules: Iterable[NamespaceRule], folder: Path = NAMED) -> Found:
    """Look at the folder, if a rule has a name or a pattern, and at the paths of the rules."""
    found = Found()
    rules = tuple(rules)
    for rule in rules:
        if rule.is_path:
            with suppress(OSError):
                status = os.stat(rule.netns)
                found.namespaces[rule.netns] = (status.st_dev, status.st_ino)
    if all(rule.is_path for rule in rules):
        return found
    with suppress(OSError), os.scandir(folder) as entries:
        device = os.stat(folder).st_dev
        for entry in entries:
            with suppress(OSError):
                status = os.stat(entry.path)
                if status.st_dev == device:
                    found.is_unfinished = True
                else:
                    found.namespaces[entry.name] = (status.st_dev, status.st_ino)
    return found


def watched(rules: Iterable[NamespaceRule], folder: Path = NAMED) -> tuple[Path, ...]:
    """The paths to follow, to hear of namespaces that come and go.

    A name that nobody has stands for its folder: it is watched, and not each of the hundreds of files in it.
    """
    folders = {Path(rule.netns).parent if rule.is_path else folder for rule in rules}
    return (*(place / _NOBODYS for place in folders), *(place for place in folders if not place.is_dir()))
