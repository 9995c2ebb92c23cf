"""Registry files and folders: read, each one all or nothing, the last good state of a bad one kept.

A folder stands for its ``*.toml``, ``*.json`` and ``*.hosts`` files and a file named ``hosts``, in the order of their
names; hidden ones, which editors leave, do not count. A file that vanishes from a folder takes its contribution along;
a file or folder that was named itself and vanishes is an error, and what it last said serves on.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from resolver.errors import Fault
from resolver.registry.model import Contribution
from resolver.sources import docker_inspect, hosts, registry_toml
from resolver.sources.base import Loaded
from resolver.sources.octets import Fingerprint, Read, Unfinished, fingerprint, read_octets

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
    return READERS.get(path.suffix.lower())


def read_text(path: Path, read: Read = read_octets) -> tuple[str, Fault | None]:
    """The text of a file, or why it cannot be read; raises Unfinished where ``read`` does."""
    octets = _read(path, read)
    return ("", octets) if isinstance(octets, Fault) else _decode(path, octets)


def load(path: Path) -> Loaded:
    """Read one registry file, whatever its format."""
    return _parse(path, *read_text(path))


def _read(path: Path, read: Read) -> bytes | Fault:
    try:
        return read(path)
    except Unfinished:
        raise
    except OSError as error:
        return Fault(str(path), f"cannot be read: {error.strerror}", "check the path and its permissions")


def _decode(path: Path, octets: bytes) -> tuple[str, Fault | None]:
    try:
        return octets.decode("utf-8-sig"), None  # a byte order mark is no fault
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        return "", Fault(str(path), f"is not UTF-8 (octet 0x{octets[error.start]:02x})", "save it as UTF-8", line=line)


def _parse(path: Path, text: str, fault: Fault | None) -> Loaded:
    if fault is not None:
        return Loaded(None, (fault,))
    reader = reader_of(path)
    if reader is None:
        known = ", ".join(f"*{suffix}" for suffix in sorted(READERS))
        return Loaded(None, (Fault(str(path), "unknown kind of registry file", f"name it {known}, or hosts"),))
    return reader(text, str(path))


class Refreshed(Struct, frozen=True):
    """What a set of files says now, and what is wrong with some of them."""

    contributions: tuple[Contribution, ...]
    faults: tuple[Fault, ...]
    changed: tuple[Path, ...]
    """The files whose content is another than at the last refresh, the vanished ones too."""


class RegistryFiles:
    """A set of registry files and folders, and the last good contribution of each file."""

    def __init__(self, paths: Sequence[Path], read: Read = read_octets) -> None:
        self._read = read
        self.paths = tuple(paths)
        """May be set anew; files that stay keep their last good contribution."""
        self._members: dict[Path, tuple[Path, ...]] = {}
        self._good: dict[Path, Contribution] = {}
        self._content: dict[Path, Fingerprint | Fault] = {}
        """The fingerprint of what each file had in it when it was read last, or why it could not be read."""
        self._faults: dict[Path, tuple[Fault, ...]] = {}

    def refresh(self) -> Refreshed:
        """Read again every file whose content has changed, and say what all of them together contribute."""
        faults: list[Fault] = []
        files: dict[Path, bool] = {}
        for path in self.paths:
            try:
                is_listed = self._list(path)
            except OSError as error:
                faults.append(Fault(str(path), f"cannot be listed: {error.strerror}", "put the folder back"))
                is_listed = False
            for member in self._members.get(path, (path,)):
                files[member] = files.get(member, False) or is_listed
        changed = [path for path, is_listed in files.items() if is_listed and self._reload(path)]
        gone = [path for path in self._content if path not in files]
        for path in gone:
            for table in (self._good, self._content, self._faults):
                table.pop(path, None)
        for path in files:
            faults.extend(self._faults.get(path, ()))
        good = tuple(self._good[path] for path in files if path in self._good)
        return Refreshed(good, tuple(faults), tuple(changed + gone))

    def _list(self, path: Path) -> bool:
        """Note what a folder has in it; raises OSError for one that cannot be listed or is gone."""
        if path.is_dir():
            members = (member for member in sorted(path.iterdir()) if not member.name.startswith("."))
            self._members[path] = tuple(member for member in members if reader_of(member) and not member.is_dir())
        elif path in self._members:
            if not path.exists():
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            del self._members[path]  # it is a file now
        return True

    def _reload(self, path: Path) -> bool:
        try:
            octets = _read(path, self._read)
        except Unfinished:
            return False
        content = octets if isinstance(octets, Fault) else fingerprint(octets)
        if self._content.get(path) == content:
            return False
        self._content[path] = content
        read = _decode(path, octets) if isinstance(octets, bytes) else ("", octets)
        del octets  # of a large file text and octets need not be there at the same time
        outcome = _parse(path, *read)
        self._faults[path] = outcome.faults
        if outcome.contribution is not None:
            self._good[path] = outcome.contribution
        return True
