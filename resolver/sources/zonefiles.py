"""Zone files from disk: folders of ``*.zone`` and single files → the zones to serve, with everything wrong in them.

A load is a value. Handing the former one in is what keeps a bad file's last good zone, and spares the parsing of files
whose octets have not changed. It blocks, for some 40 µs a record: call it in a thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from resolver.errors import Fault
from resolver.sources.octets import Fingerprint, Read, Unfinished, fingerprint, read_octets
from resolver.wire.name import WireName, to_text
from resolver.zones.model import Zone, ZoneSet
from resolver.zones.zonefile import SUFFIX, read_zone, unreadable

MAX_FAULTS = 50
"""Of one file; the rest is counted only."""


class ZoneFile(Struct, frozen=True):
    """What one zone file came to."""

    path: Path
    zone: Zone | None
    """What the file says now; None when it is refused."""
    last_good: Zone | None
    """`zone`, or if the file is refused what it said when it last was accepted."""
    faults: tuple[Fault, ...]
    digests: Mapping[Path, Fingerprint | None]
    """Every file that was read for it, includes too; None for one that could not be read."""

    @property
    def is_stale(self) -> bool:
        """The file is wrong and its last good zone stays in use."""
        return self.zone is None and self.last_good is not None


class ZoneLoad(Struct, frozen=True):
    """One reading of all zone files."""

    zones: ZoneSet
    """What to serve."""
    files: tuple[ZoneFile, ...]
    faults: tuple[Fault, ...]
    """Those of all files, of paths that lead nowhere, and of two files that claim the same zone."""
    folders: frozenset[Path]
    """What to watch: every folder in which a change can change this load."""


def load_zones(paths: Sequence[Path], former: ZoneLoad | None = None, read: Read = read_octets) -> ZoneLoad:
    """Read every ``*.zone`` in the folders and every file named, in the order given, in a folder by name.

    Only a folder's own files, no hidden ones; one that another file includes is a part of that file and no zone. Of
    two files with the same zone the first is served and the later refused.
    """
    paths = [Path(os.path.normpath(path)) for path in paths]
    disk = _Disk(read)
    faults: list[Fault] = []
    known = {} if former is None else {file.path: file for file in former.files}
    found = dict(_find(paths, faults))
    for path in paths:
        if not path.exists():  # a folder that has vanished: what it last said serves on, as with a registry folder
            found.update((file, True) for file in known if file.parent == path)
    loaded = [_load_file(path, disk, known.get(path)) for path in found]
    files = [file for file in loaded if file is not None]
    files = [file for file in files if not (found[file.path] and _is_part(file, files))]

    served: dict[WireName, Zone] = {}
    for file in files:
        faults += file.faults
        zone = file.last_good
        if zone is None:
            continue
        first = served.setdefault(zone.apex, zone)
        if first is not zone:
            faults.append(
                Fault(
                    str(file.path),
                    f"the zone {to_text(zone.apex)} is served from {first.file} already",
                    "keep it in one file, and $INCLUDE the other there",
                )
            )
    folders = {path if os.path.isdir(path) else path.parent for path in paths}
    folders |= {part.parent for file in files for part in file.digests}
    return ZoneLoad(ZoneSet(served.values()), tuple(files), tuple(faults), frozenset(folders))


def _find(paths: Sequence[Path], faults: list[Fault]) -> Iterator[tuple[Path, bool]]:
    """Each zone file once, and whether it was found in a folder rather than named."""
    named = {path.absolute() for path in paths}
    for path in paths:
        try:
            if not os.path.isdir(path):
                yield path, False
                continue
            children = sorted(child for child in path.iterdir() if _is_zone_file(child))
        except OSError as exc:
            faults.append(unreadable(str(path), exc))
            continue
        for child in children:
            if child.absolute() not in named:
                yield child, True


def _is_zone_file(path: Path) -> bool:
    return path.name.endswith(SUFFIX) and not path.name.startswith(".") and not os.path.isdir(path)


def _is_part(file: ZoneFile, files: Sequence[ZoneFile]) -> bool:
    """Another file includes it; not so when they include each other, which is a fault to be shown."""
    return any(file.path in other.digests and other.path not in file.digests for other in files)


def _load_file(path: Path, disk: _Disk, former: ZoneFile | None) -> ZoneFile | None:
    """What the file says, or has said while somebody is writing it; None while that is done for the first time."""
    try:
        return _load_finished(path, disk, former)
    except Unfinished:
        return former


def _load_finished(path: Path, disk: _Disk, former: ZoneFile | None) -> ZoneFile:
    if former is not None and all(disk.digest(part) == digest for part, digest in former.digests.items()):
        return former
    text = read_zone(str(path), disk.read)
    last_good = text.zone
    if last_good is None and former is not None:
        last_good = former.last_good
    digests = {part: disk.digest(part) for part in map(Path, text.files)}
    return ZoneFile(path, text.zone, last_good, _shortened(path, text.faults), digests)


def _shortened(path: Path, faults: tuple[Fault, ...]) -> tuple[Fault, ...]:
    """The first of many faults and how many more there are: one wrong line can put a hundred records out of place."""
    if len(faults) <= MAX_FAULTS:
        return faults
    left = faults[MAX_FAULTS:]
    more = Fault(str(path), f"and {len(left)} more of the kind", is_warning=all(fault.is_warning for fault in left))
    return (*faults[:MAX_FAULTS], more)


class _Disk:
    """Reads each file once a load, so that what was compared, parsed and remembered are the same octets."""

    def __init__(self, read: Read) -> None:
        self._reader = read
        self._octets: dict[Path, bytes | OSError] = {}

    def read(self, path: str) -> str:
        """The text of a file, its byte order mark taken off."""
        octets = self._read(Path(path))
        if isinstance(octets, OSError):
            raise octets
        return octets.decode("utf-8").removeprefix("\ufeff")

    def digest(self, path: Path) -> Fingerprint | None:
        """What tells two contents of a file apart; None while it cannot be read."""
        octets = self._read(path)
        if isinstance(octets, Unfinished):
            raise octets
        return None if isinstance(octets, OSError) else fingerprint(octets)

    def _read(self, path: Path) -> bytes | OSError:
        if path not in self._octets:
            try:
                self._octets[path] = self._reader(path)
            except OSError as exc:
                self._octets[path] = exc
        return self._octets[path]
