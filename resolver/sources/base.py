"""What a source of registry facts gives: a contribution, or the reasons why not.

A new source is one module that makes `Contribution` values and one line where it is chosen (`files.READERS` for file
formats).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from socket import AF_INET, inet_pton
from typing import Protocol

from msgspec import Struct

from resolver.counters import SourceCounts
from resolver.errors import Fault
from resolver.registry.model import Contribution, IPNetwork
from resolver.wire.name import ROOT, IPAddress, from_text, is_plain


class LiveSource(Protocol):
    """A source that hears of changes from a daemon; what it says is read whenever it has called ``changed``."""

    @property
    def name(self) -> str:
        """What it is called in messages and metrics."""

    @property
    def contribution(self) -> Contribution | None:
        """What exists by its last good word, replaced by assignment; None before the first one."""

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What is wrong with it now, and what it has left out."""

    @property
    def counts(self) -> SourceCounts:
        """How it has done."""

    async def start(self, changed: Callable[[], None]) -> None:
        """Begin, on the running loop; returns after the first full sync, or when that has to be waited for.

        ``changed`` is called on the loop. A daemon that is away is no error: it is a fault, and is tried again.
        """

    async def stop(self) -> None:
        """Hear no more; idempotent."""


Complain = Callable[[str, str], None]
"""Called with what is wrong and how to mend it; the caller knows the place."""


class Loaded(Struct, frozen=True):
    """The outcome of reading one file: with an error among the faults there is no contribution."""

    contribution: Contribution | None
    faults: tuple[Fault, ...] = ()


def loaded(contribution: Contribution, faults: Sequence[Fault]) -> Loaded:
    """All or nothing: one error withholds the whole contribution, warnings do not."""
    refused = any(not fault.is_warning for fault in faults)
    return Loaded(None if refused else contribution, tuple(faults))


def parse_name(text: str, complain: Complain, *, wildcard: bool = False) -> str | None:
    """The DNS name without its final dot, ``*.name`` too where ``wildcard`` says so, or None after a complaint."""
    if is_plain(text):
        return text.removesuffix(".")
    bare = text.removeprefix("*.") if wildcard else text
    try:
        if from_text(bare) == ROOT:
            raise ValueError("the root cannot be a name here")
    except ValueError as error:
        complain(str(error), "use letters, digits, hyphens and dots")
        return None
    if "*" in bare:
        complain(
            f"{text!r} has a * that is not its whole first label" if wildcard else f"{text!r} has a *",
            "write *.name for everything below name" if wildcard else "only an alias can be a wildcard",
        )
        return None
    return text.removesuffix(".")


def plain_ipv4(text: str) -> ipaddress.IPv4Address | None:
    """The IPv4 address; None for anything else. Several times as fast as the parser of ipaddress, and as strict."""
    try:
        return ipaddress.IPv4Address(inet_pton(AF_INET, text))
    except (OSError, ValueError):
        return None


def parse_address(text: str, complain: Complain) -> IPAddress | None:
    """The address, or None after a complaint."""
    if (plain := plain_ipv4(text)) is not None:
        return plain
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        complain(f"{text!r} is not an IPv4 or IPv6 address", "write it like 172.18.0.2 or fd00:18::2")
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id:
        complain(f"{text!r} has a scope, which no DNS answer can carry", "leave out the part from % on")
        return None
    return address


def parse_subnet(text: str, complain: Complain) -> IPNetwork | None:
    """The subnet, or None after a complaint."""
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        pass
    try:
        loose = ipaddress.ip_network(text, strict=False)
    except ValueError:
        complain(f"{text!r} is not a subnet", "write it like 172.18.0.0/16 or fd00:18::/64")
    else:
        complain(f"{text!r} has bits set behind its prefix", f"write {loose}")
    return None
