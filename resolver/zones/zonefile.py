"""A master file (RFC 1035 5, with $TTL of RFC 2308 4 and BIND's $GENERATE) → a `Zone`, or every fault that it has.

Text comes from a function that is handed in: nothing here opens a file, and the caller knows each that took part.

The rules of reading:
  names are relative to the $ORIGIN; before the first one, to the file's own name without ``.zone``;
  the zone's apex is the owner of its SOA record;
  $INCLUDE is relative to the file it stands in, and leaves origin, owner and TTLs behind it as they were before;
  a record without a TTL has that of $TTL, else the one stated last (RFC 1035 5.1), else the SOA's MINIMUM.
What is then made of the records is ruled in `resolver.zones.build`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from resolver.errors import Fault
from resolver.wire.name import WireName, from_text
from resolver.zones.build import Record, build_zone
from resolver.zones.model import Place, Zone

if TYPE_CHECKING:
    from resolver.zones.reader import StatementReader

SUFFIX = ".zone"
MAX_DEPTH = 16
"""How deep files may include each other."""
MAX_FAULTS = 50
"""After so many the rest of the file is not read: it is no zone file."""

# What may hide a parenthesis or a comment: an escape, a quoted string, and one that is never closed.
_MARKS = re.compile(r'\\.|"(?:\\.|[^"\\])*"|".*|;.*|[()]')

ReadText = Callable[[str], str]
"""The text of the file at a path; raises OSError, or UnicodeDecodeError for what is not UTF-8."""


class ZoneText(NamedTuple):
    """What a zone file came to."""

    zone: Zone | None
    """None when a fault that is no warning stands against it."""
    faults: tuple[Fault, ...]
    files: tuple[str, ...]
    """The file and each that it includes, also those that could not be read."""


class Statement(NamedTuple):
    """One entry of a master file, over as many lines as its parentheses span."""

    line: int
    text: str


def read_zone(path: str, read: ReadText) -> ZoneText:
    """Read the zone in the file at ``path``. Never raises for what is written in it."""
    reading = _Reading(read)
    reading.read(path)
    files = tuple(reading.files)
    faults = tuple(reading.faults)
    built = build_zone(reading.records, path)
    if not faults:
        return ZoneText(built.zone, built.faults, files)
    # What seems to be missing may stand in a statement that could not be read.
    more = (fault for fault in built.faults if not fault.is_warning and fault.line is not None)
    return ZoneText(None, (*faults, *more), files)


def statements_of(text: str) -> Iterator[Statement]:
    """The entries of a master file with the line each begins on; comments and blank lines are left out."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    begun: list[str] = []
    first = depth = 0
    for number, line in enumerate(lines, 1):
        if not begun:
            bare = line.strip(" \t")
            if not bare or bare[0] == ";":
                continue
            first = number
        begun.append(line)
        if depth or "(" in line:
            for mark in _MARKS.findall(line):
                if mark == "(":
                    depth += 1
                elif mark == ")":
                    depth = max(0, depth - 1)
        if not depth:
            yield Statement(first, "\n".join(begun))
            begun = []
    if begun:
        yield Statement(first, "\n".join(begun))


def origin_of(path: str) -> WireName | None:
    """The zone that a file is named after: ``example.test.`` for ``example.test.zone``; None if it says nothing."""
    name = posixpath.basename(path)
    if not name.endswith(SUFFIX) or name == SUFFIX:
        return None
    try:
        return from_text(name.removesuffix(SUFFIX))
    except ValueError:
        return None


def unreadable(path: str, exc: OSError | UnicodeDecodeError) -> Fault:
    """The fault of a file that gives no text."""
    if isinstance(exc, UnicodeDecodeError):
        octets = exc.object
        return Fault(
            path,
            f"is not UTF-8: it has the octet 0x{octets[exc.start]:02x}",
            "save it as UTF-8, or write the octet as \\DDD",
            octets.count(b"\n", 0, exc.start) + 1,
        )
    return Fault(path, f"cannot be read: {exc.strerror or exc}", "check that it is there and who may read it")


class _Reading:
    """The way through a zone file and what it includes."""

    def __init__(self, read: ReadText) -> None:
        self._read = read
        self.records: list[Record] = []
        self.faults: list[Fault] = []
        self.files: dict[str, None] = {}

    def read(self, path: str) -> None:
        text = self._text(path, None)
        if text is None:
            return
        # Only now: who has no zone files never pays for dnspython.
        from resolver.zones.reader import StatementReader

        self._file(path, text, StatementReader(origin_of(path)), (path,))

    def _file(self, path: str, text: str, reader: StatementReader, stack: tuple[str, ...]) -> None:
        from resolver.zones.reader import MalformedError

        for statement in statements_of(text):
            place = Place(path, statement.line)
            try:
                if statement.text[0] == "$" and statement.text.split(None, 1)[0].upper() == "$INCLUDE":
                    self._include(statement, place, reader, stack)
                else:
                    self.records += reader.read(statement.text, place)
            except MalformedError as exc:
                self.faults.append(Fault(path, str(exc), exc.fix, statement.line))
            if len(self.faults) >= MAX_FAULTS:
                return

    def _include(self, statement: Statement, place: Place, reader: StatementReader, stack: tuple[str, ...]) -> None:
        from resolver.zones.reader import MalformedError

        include = reader.include(statement.text)
        path = posixpath.normpath(posixpath.join(posixpath.dirname(place.file), include.file))
        if path in stack or len(stack) == MAX_DEPTH:
            what = "includes itself" if path in stack else f"is included {MAX_DEPTH} files deep"
            raise MalformedError(f"{path} {what}: {' → '.join((*stack, path))}", "take this $INCLUDE out")
        text = self._text(path, place)
        if text is None:
            return
        state = reader.save()
        if include.origin is not None:
            reader.set_origin(include.origin)
        self._file(path, text, reader, (*stack, path))
        reader.restore(state)

    def _text(self, path: str, included_at: Place | None) -> str | None:
        self.files[path] = None
        try:
            return self._read(path)
        except (OSError, UnicodeDecodeError) as exc:
            fault = unreadable(path, exc)
            if included_at is not None and isinstance(exc, OSError):
                fix = f"an $INCLUDE is relative to the folder of {included_at.file}"
                fault = Fault(included_at.file, f"{path} {fault.message}", fix, included_at.line)
            self.faults.append(fault)
            return None
