"""Registry files and folders: read, each one all or nothing, the last good state of a bad one kept.

A folder stands for its ``*.toml``, ``*.json`` and ``*.hosts`` files and a file named ``hosts``, in the order of their
names. A file that vanishes from a folder takes its contribution along; a file that was named itself and vanishes is an
error, and what it last said serves on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from resolver.errors import Fault
from resolver.registry.model import Contribution
from resolver.sources import docker_inspect, hosts, registry_toml
from resolver.sources.base import Loaded

READERS: dict[str, Callable[[str, str], Loaded]] = {
    ".toml": registry_toml.read,
    ".json": docker_inspect.read,
    ".hosts": hosts.read,
}
"""By the ending of a file's name; a new format is a module and a line here."""


def reader_of(path: Path) -> Callable[[str, str], Loaded] | None:
    """The reader of a file by its name, or None when the name says nothing we know."""
    if path.name == "hosts":
        return hosts.read
    return READERS.get(path.suffix)


def read_text(path: Path) -> tuple[str, Fault | None]:
    """The text of a file, or why it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8"), None
    except OSError as error:
        return "", Fault(str(path), f"cannot be read: {error.strerror}", "check the path and its permissions")
    except UnicodeDecodeError as error:
        return "", Fault(str(path), f"is not UTF-8 (octet {error.start})", "save it as UTF-8")


def expand(paths: Sequence[Path]) -> tuple[list[Path], list[Fault]]:
    """The files that ``paths`` stand for, each once, and a fault for each path that stands for none."""
    files: dict[Path, None] = {}
    faults = []
    for path in paths:
        try:
            if path.is_dir():
                members = sorted(path.iterdir())
                files.update((member, None) for member in members if reader_of(member) and not member.is_dir())
            else:
                files[path] = None
        except OSError as error:
            faults.append(Fault(str(path), f"cannot be listed: {error.strerror}", "check its permissions"))
    return list(files), faults


def load(path: Path) -> Loaded:
    """Read one registry file, whatever its format."""
    reader = reader_of(path)
    if reader is None:
        known = ", ".join(sorted(READERS))
        return Loaded(None, (Fault(str(path), "unknown kind of registry file", f"name it *{known}, or hosts"),))
    text, fault = read_text(path)
    return Loaded(None, (fault,)) if fault is not None else reader(text, str(path))


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a set of files says now, and what is wrong with some of them."""

    contributions: tuple[Contribution, ...]
    faults: tuple[Fault, ...]
    changed: tuple[Path, ...]
    """The files whose content is another than at the last refresh, the vanished ones too."""


class RegistryFiles:
    """A set of registry files and folders, and the last good contribution of each file."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        self._good: dict[Path, Contribution] = {}
        self._content: dict[Path, bytes | None] = {}
        self._faults: dict[Path, tuple[Fault, ...]] = {}

    def refresh(self) -> Refreshed:
        """Read again every file whose content has changed, and say what all of them together contribute."""
        files, faults = expand(self.paths)
        changed = [path for path in files if self._reload(path)]
        gone = [path for path in self._content if path not in files]
        for path in gone:
            for table in (self._good, self._content, self._faults):
                table.pop(path, None)
        for path in files:
            faults.extend(self._faults.get(path, ()))
        good = tuple(self._good[path] for path in files if path in self._good)
        return Refreshed(good, tuple(faults), tuple(changed + gone))

    def _reload(self, path: Path) -> bool:
        try:
            content = path.read_bytes()
        except OSError:
            content = None
        if path in self._content and self._content[path] == content:
            return False
        self._content[path] = content
        outcome = load(path)
        self._faults[path] = outcome.faults
        if outcome.contribution is not None:
            self._good[path] = outcome.contribution
        return True
