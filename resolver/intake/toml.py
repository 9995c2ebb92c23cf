"""TOML text to plain values, with the line on which each key stands.

tomllib gives the place of a syntax error but not of a value; for messages such as ``networks.toml:12`` the text is gone
through once more, only when a fault is to be reported or a record's origin is wanted.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

from resolver.errors import Fault

Path = tuple[str, ...]

_PART = r"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')"""
_DOTTED = rf"{_PART}(?:\s*\.\s*{_PART})*"
_TABLE = re.compile(rf"^\s*(\[\[?)\s*({_DOTTED})\s*\]\]?")
_KEY = re.compile(rf"^\s*({_DOTTED})\s*=")
_PARTS = re.compile(_PART)
_AT_LINE = re.compile(r"\(at line (\d+), column (\d+)\)")


def parse(text: str, place: str) -> tuple[dict[str, Any], Fault | None]:
    """The document, or an empty one and the syntax error with its line."""
    try:
        return tomllib.loads(text), None
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        found = _AT_LINE.search(message)
        line = int(found[1]) if found else text.count("\n") + 1
        reason = _AT_LINE.sub("", message).strip()
        source = text.split("\n")
        shown = source[line - 1].strip() if 0 < line <= len(source) else ""
        return {}, Fault(
            place,
            f"not TOML: {reason}" + (f" in {shown!r}" if shown else ""),
            "see https://toml.io/en/v1.0.0",
            line=line,
        )
    except (ValueError, RecursionError):
        return {}, Fault(place, "its numbers are too long, or its lists nested too deeply", "shorten them")


class Lines:
    """The line of every key in a TOML text."""

    def __init__(self, text: str) -> None:
        self._lines: dict[Path, int] = {}
        implied: dict[Path, int] = {}
        table: Path = ()
        arrays: dict[Path, int] = {}
        for number, line in enumerate(text.split("\n"), start=1):
            if header := _TABLE.match(line):
                table = _split(header[2])
                if header[1] == "[[":
                    index = arrays.get(table, -1) + 1
                    arrays[table] = index
                    table = (*table, str(index))
                path = table
            elif key := _KEY.match(line):
                path = table + _split(key[1])
            else:
                continue
            self._lines.setdefault(path, number)
            for length in range(1, len(path)):  # [networks.mynet.endpoints.db] alone makes [networks.mynet] too
                implied.setdefault(path[:length], number)
        self._lines = implied | self._lines

    def of(self, path: Path) -> int | None:
        """The line of a key, or of the nearest table around it; None for the document itself."""
        for length in range(len(path), 0, -1):
            if (line := self._lines.get(path[:length])) is not None:
                return line
        return None


def _split(dotted: str) -> Path:
    return tuple(part[1:-1] if part[0] in "\"'" else part for part in _PARTS.findall(dotted))
