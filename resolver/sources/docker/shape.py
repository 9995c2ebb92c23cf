"""Values out of JSON that an API sends: what is not there, or is of another type, is empty and never an error.

A daemon is trusted to mean what it says, but releases and programs differ: one says ``null`` where another has an empty
list, or leaves a key out.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from resolver.errors import Fault
from resolver.sources.base import Complain

_MAX_SHOWN = 80


def table(value: object, *keys: str) -> Mapping[str, Any]:
    """The object at these keys below ``value``."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    """The list."""
    return value if isinstance(value, list) else []


def text(value: object, *keys: str) -> str:
    """The text at these keys below ``value``."""
    found = table(value, *keys[:-1]).get(keys[-1]) if keys else value
    return found if isinstance(found, str) else ""


def number(value: object) -> int:
    """The whole number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def is_true(value: object) -> bool:
    """Whether it is JSON's true."""
    return value is True


def shown(value: object) -> str:
    """A value as a message shows it: not longer than a line."""
    whole = repr(value)
    return whole if len(whole) <= _MAX_SHOWN else whole[:_MAX_SHOWN] + "…"


class Complaints:
    """Collects what was left out of one container or network."""

    def __init__(self, place: str, subject: str) -> None:
        self.faults: list[Fault] = []
        self._place = place
        self._subject = subject

    def at(self, *keys: str) -> Complain:
        """For what stands at these keys."""
        return partial(self._complain, ".".join((self._subject, *keys)))

    def _complain(self, key: str, message: str, fix: str) -> None:
        self.faults.append(Fault(self._place, f"{message}; left out", fix, key=key, is_warning=True))
