"""Plain values to typed ones, every fault reported and not only the first.

msgspec converts and explains each value; the walk over the keys is here, so that a file with five mistakes gives five
messages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
import msgspec.structs

from resolver.errors import Fault
from resolver.intake.toml import Path

_S = TypeVar("_S", bound=msgspec.Struct)
_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
}
_QUOTED = re.compile("`([^`]*)`")
_INDEX = re.compile(r"\[(\d+)\]")
_MAX_SHOWN = 60

Report = Callable[[Path, str, str], None]
"""Called with the path of a faulty value, what is wrong, and how to mend it."""


def to_struct(raw: object, kind: type[_S], path: Path, report: Report) -> _S:
    """A ``kind`` from a table: each key converted by itself, each fault reported; a faulty key keeps its default.

    A required key that is missing or faulty is reported too, and then stands as None: a caller that had a report uses
    the result only to look for more faults.
    """
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError:
        pass  # key by key, to find everything that is wrong
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
        if (nested := _table_in(field.type)) is not None:
            values[field.name] = to_struct(value, nested, (*path, key), report)
            continue
        try:
            values[field.name] = msgspec.convert(value, field.type)
        except msgspec.ValidationError as error:
            report((*path, key), *_explain(value, error, field.type))
    for field in fields.values():
        if field.name not in values and field.required:
            if field.encode_name not in raw:
                report(path, f"{field.encode_name!r} is missing", f"add {field.encode_name} = …")
            values[field.name] = None
    return kind(**values)


def _table_in(kind: Any) -> type[msgspec.Struct] | None:
    """The struct that a field is, or that it is when it is there at all (``Spec | None``)."""
    for part in get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,):
        if isinstance(part, type) and issubclass(part, msgspec.Struct):
            return part
    return None


def faults_at(place: str, line_of: Callable[[Path], int | None], faults: list[Fault]) -> Report:
    """A report that appends a Fault with file, line and dotted key to ``faults``."""

    def report(path: Path, message: str, fix: str) -> None:
        faults.append(Fault(place, message, fix, line=line_of(path), key=".".join(path)))

    return report


def _suggestion(key: str, known: list[str]) -> str:
    import difflib  # only for who has mistyped something

    near = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {near[0]!r}?" if near else "known are: " + ", ".join(sorted(known))


def _explain(value: object, error: msgspec.ValidationError, kind: Any) -> tuple[str, str]:
    """What msgspec says, in words that need no knowledge of Python: what is wrong, and what to write."""
    text, _, at = str(error).partition(" - at `$")
    where = ""
    if (index := _INDEX.match(at)) and isinstance(value, list):
        value, where = value[int(index[1])], f" at {index[0]}"
    shown = repr(value)
    message = f"{shown if len(shown) <= _MAX_SHOWN else shown[:_MAX_SHOWN] + '…'} cannot be used{where}"
    words = [word for part in (kind, *get_args(kind)) if get_origin(part) is Literal for word in get_args(part)]
    if words:
        return message, "write one of: " + ", ".join(map(repr, words))
    text = _QUOTED.sub(lambda quoted: _in_words(quoted[1]), text)
    if not text.startswith("Expected "):
        return f"{message}: {text[0].lower()}{text[1:]}", ""
    expected, _, got = text.removeprefix("Expected ").partition(", got ")
    return message + (f": it is {got}" if got else ""), f"write {expected}"


def _in_words(kinds: str) -> str:
    return " or ".join(_WORDS.get(kind, kind) for kind in kinds.split(" | ") if kind != "null")
