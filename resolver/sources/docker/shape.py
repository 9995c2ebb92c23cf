"""Values out of JSON that an API sends: what is not there, or is of another type, is empty and never an error.

A daemon is trusted to mean what it says, but releases and programs differ: one says ``null`` where another has an empty
list, or leaves a key out.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from ipaddress import IPv4Address
from typing import Any

from resolver.errors import Fault, one_line
from resolver.sources.base import Complain, parse_address, parse_name
from resolver.wire.name import IPAddress

_MAX_SHOWN = 80
_BROADCAST = IPv4Address("255.255.255.255")


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


def parse_alias(given: str, complain: Complain) -> str | None:
    """The name that an alias or a label gives, a wildcard too, or None after a complaint."""
    if given == "*":
        complain("'*' alone would be every name there is", "write *.name for everything below name")
        return None
    return parse_name(given, complain, wildcard=True)


def parse_own_address(given: str, complain: Complain) -> IPAddress | None:
    """The address that somebody has on a network, or None after a complaint."""
    address = parse_address(given, complain)
    if address is None:
        return None
    if address.is_loopback or address.is_multicast or address.is_unspecified or address == _BROADCAST:
        complain(f"{address} is not an address that one can have on a network", "")
        return None
    return address


def fault(place: str, message: str, fix: str = "", *, key: str = "", is_warning: bool = True) -> Fault:
    """A fault with what a daemon said in it: names there may hold anything, and a fault is one line."""
    return Fault(place, one_line(message), one_line(fix), key=one_line(key), is_warning=is_warning)


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
        self.faults.append(fault(self._place, f"{message}; left out", fix, key=key))
