"""Which firewall holds the redirect: the choice of ``--firewall``, and what an earlier run may have left in another."""

from __future__ import annotations

import os
from functools import cache
from typing import Protocol

from resolver.attach import privileges
from resolver.attach.iptables import Iptables
from resolver.attach.nftables import Nftables
from resolver.attach.plan import Redirect
from resolver.errors import AttachError


class Firewall(Protocol):
    """One way to hold the redirect; every method acts in the namespace of the calling thread."""

    @property
    def name(self) -> str:
        """The command's name, for people."""

    @property
    def backend(self) -> str:
        """Which of the kernel's rule sets it writes: two firewalls with the same one share their rules."""

    @property
    def sends_events(self) -> bool:
        """True when the kernel tells of changes to these rules."""

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What the command needs to run, for as long as rules are repaired and removed."""

    @property
    def is_installed(self) -> bool:
        """True when its commands are there."""

    def problem(self) -> str | None:
        """Why it cannot be used in this namespace; None when it can."""

    def install(self, redirect: Redirect) -> None:
        """Put the rules in place, whatever of ours was there."""

    def is_present(self) -> bool:
        """True when there is anything of ours, from whichever run, whole or not."""

    def current(self) -> Redirect | None:
        """The ports found in rules of ours, from whichever run."""

    def intact(self, redirect: Redirect) -> bool:
        """True when the rules are as ``install(redirect)`` left them."""

    def remove(self) -> None:
        """Take our rules away, if there are any."""


_IPTABLES = ("iptables", "iptables-nft", "iptables-legacy")
_ORDER: dict[str, tuple[str, ...]] = {
    "auto": ("nftables", *_IPTABLES),
    "nftables": ("nftables",),
    "iptables": _IPTABLES,
    "iptables-nft": ("iptables-nft",),
    "iptables-legacy": ("iptables-legacy",),
}

CHOICES = tuple(_ORDER)
"""What ``--firewall`` accepts."""


def choose(wanted: str) -> Firewall:
    """The first firewall of the choice that works in this namespace; raises AttachError, saying why none does."""
    if wanted not in _ORDER:
        raise AttachError(f"there is no firewall {wanted!r}; use one of {', '.join(CHOICES)}")
    problems: list[str] = []
    for firewall in map(_make, _ORDER[wanted]):
        if not firewall.is_installed:
            continue
        lacking = privileges.missing(firewall.capabilities)
        problem = f"needs {' and '.join(lacking)}" if lacking else firewall.problem()
        if problem is None:
            return firewall
        problems.append(f"{firewall.name}: {problem}")
    if problems:
        raise AttachError(f"no firewall command works in this network namespace ({'; '.join(problems)})")
    commands = {"auto": "nft or iptables", "nftables": "nft"}.get(wanted, wanted)
    package = {"auto": "nftables or iptables", "nftables": "nftables"}.get(wanted, "iptables")
    raise AttachError(f"no {commands} command was found; install {package}")


class Choice:
    """`choose` for many namespaces: what works in one works in the others, so only the first one is tried."""

    def __init__(self) -> None:
        self._chosen: dict[str, str] = {}

    def __call__(self, wanted: str) -> Firewall:
        """The firewall that worked last, else the first one that does; raises AttachError, saying why none does."""
        name = self._chosen.get(wanted)
        if name is not None:
            return _make(name)
        firewall = choose(wanted)
        self._chosen[wanted] = firewall.name
        return firewall

    def forget(self) -> None:
        """Try again the next time: the one that was chosen has failed."""
        self._chosen.clear()


def others(chosen: Firewall) -> list[Firewall]:
    """Firewalls that keep their rules elsewhere than ``chosen`` does: an earlier run may have used one of them."""
    return [_make(name) for name in _others(chosen.backend, os.environ.get("PATH", ""))]


@cache
def _others(backend: str, _path: str) -> tuple[str, ...]:
    """Their names; looked for once, for there may be hundreds of namespaces."""
    found: dict[str, str] = {}
    for firewall in map(_make, _ORDER["auto"]):
        if firewall.is_installed and firewall.backend != backend:
            found.setdefault(firewall.backend, firewall.name)
    return tuple(found.values())


def _make(name: str) -> Firewall:
    return Nftables() if name == "nftables" else Iptables(name)
