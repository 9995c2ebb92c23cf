"""Plain values to typed ones, every fault reported and not only the first.

msgspec converts and explains each value; the walk over the keys is here, so that a file with five mistakes gives five
messages.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from resolver.errors import Fault
from resolver.intake.toml import Path

_S = TypeVar("_S", bound=msgspec.Struct)
_PLURALS = {
    "str": "text",
    "int": "a whole number",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
}

Report = Callable[[Path, str, str], None]
"""Called with the path of a faulty value, what is wrong, and how to mend it."""


def to_struct(raw: object, kind: type[_S], path: Path, report: Report) -> _S:
    """A ``kind`` from a table: each key converted by itself, each fault reported; a faulty key keeps its default.

    A required key that is missing or faulty is reported too, and then stands as None: a caller that had a report uses
    the result only to look for more faults.
    """
    values: dict[str, Any] = {}
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    if not isinstance(raw, Mapping):
        report(path, f"{raw!r} is not a table", f"write [{'.'.join(path)}] with keys below it")
        raw = {}
    for key, value in raw.items():
        field = fields.get(key)
        if field is None:
            report((*path, key), f"unknown key {key!r}", _suggestion(key, list(fields)))
            continue
        nested = field.type
        if isinstance(nested, type) and issubclass(nested, msgspec.Struct):
            values[field.name] = to_struct(value, nested, (*path, key), report)
            continue
        try:
            values[field.name] = msgspec.convert(value, nested)
        except msgspec.ValidationError as error:
            report((*path, key), *_explain(value, error))
    for field in fields.values():
        if field.name not in values and field.required:
            if field.encode_name not in raw:
                report(path, f"{field.encode_name!r} is missing", f"add {field.encode_name} = …")
            values[field.name] = None
    return kind(**values)


def faults_at(place: str, line_of: Callable[[Path], int | None], faults: list[Fault]) -> Report:
    """A report that appends a Fault with file, line and dotted key to ``faults``."""

    def report(path: Path, message: str, fix: str) -> None:
        faults.append(Fault(place, message, fix, line=line_of(path), key=".".join(path)))

    return report


def _suggestion(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {near[0]!r}?" if near else "known are: " + ", ".join(sorted(known))


def _explain(value: object, error: msgspec.ValidationError) -> tuple[str, str]:
    """What msgspec says, in words that need no knowledge of Python: the value, and what is expected."""
    text, _, at = str(error).partition(" - at `$")
    for name, words in _PLURALS.items():
        text = text.replace(f"`{name}`", words)
    where = f" at {at.rstrip('`')}" if at else ""
    text = text.removeprefix("Expected ").replace("| null", "").replace("`", "")
    return f"{value!r} cannot be used{where}: expected {text}", ""
