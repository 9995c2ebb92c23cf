"""The redirect by ``iptables``: chains of our own in table nat, and one jump to each, first in its built-in chain.

The same commands exist for two kernel interfaces (nf_tables, and the older ip_tables called legacy), which do not see
each other's rules; a distribution's plain ``iptables`` is either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, cached_property
from pathlib import Path

from resolver.attach import nfnetlink, plan
from resolver.attach.command import LOCK_WAIT_S, find, run
from resolver.attach.plan import Redirect
from resolver.errors import AttachError

_Text = Callable[[Sequence[str]], str]

_ATTEMPTS = 3
_LEGACY_TABLES = Path("/proc/thread-self/net/ip_tables_names")


class Iptables:
    """Rules in PYDNS_OUTPUT and PYDNS_POSTROUTING; every method acts in the namespace of the calling thread."""

    capabilities = ("CAP_NET_ADMIN", "CAP_NET_RAW")  # legacy speaks to the kernel through a raw socket

    def __init__(self, name: str = "iptables") -> None:
        """``name`` is the command: ``iptables``, ``iptables-nft`` or ``iptables-legacy``."""
        self.name = name
        self._state: tuple[str, ...] = ()
        self._generation: int | None = None
        """That of nf_tables' rules in the namespace when ``_state`` was seen last."""

    @property
    def is_installed(self) -> bool:
        """True when the command and its ``-restore`` are there."""
        return find(self.name) is not None and find(f"{self.name}-restore") is not None

    @cached_property
    def backend(self) -> str:
        """``iptables-nft`` or ``iptables-legacy``: which of the kernel's two interfaces the command speaks to."""
        if self.name != "iptables":
            return self.name
        return _backend_of(self.name_or_path)

    @property
    def name_or_path(self) -> str:
        """What to execute: the full path where the command is installed."""
        return find(self.name) or self.name

    @property
    def sends_events(self) -> bool:
        """True when the kernel tells of changes to these rules (it does not for legacy ones)."""
        return self.backend == "iptables-nft"

    def problem(self) -> str | None:
        """Why it cannot be used in this namespace; None when it can."""
        outcome = run((self.name_or_path, f"--wait={LOCK_WAIT_S}", "-t", "nat", "-S"))
        return None if outcome.ok else outcome.complaint

    def install(self, redirect: Redirect) -> None:
        """Put the rules in place in one commit, whatever of ours was there; AttachError when the kernel refuses."""
        self._commit(lambda listing: plan.iptables_install(redirect, listing), "install the redirect")
        self._generation = self._current_generation()
        listing = self._list()
        self._state = plan.iptables_state(listing)
        if plan.iptables_redirect(listing) != redirect:
            raise AttachError(f"{self.name} took the redirect, but its chains were changed at once by someone else")

    def is_present(self) -> bool:
        """True when there is a chain of ours or a jump to one, from whichever run, whole or not."""
        return plan.iptables_remove(self._list()) != ""

    def current(self) -> Redirect | None:
        """The ports found in chains of ours, from whichever run; None when there are none."""
        return plan.iptables_redirect(self._list())

    def intact(self, redirect: Redirect) -> bool:
        """True when the rules are as ``install(redirect)`` left them, and no rule for our address precedes them."""
        generation = self._current_generation()
        if generation is not None and generation == self._generation:
            return plan.iptables_redirect(self._state) == redirect
        listing = self._list()
        if plan.iptables_redirect(listing) != redirect or plan.iptables_state(listing) != self._state:
            return False
        self._generation = generation
        return True

    def remove(self) -> None:
        """Take our jumps and chains away, if there are any; raises AttachError when the kernel refuses."""
        self._commit(plan.iptables_remove, "remove its chains PYDNS_OUTPUT and PYDNS_POSTROUTING")

    def _commit(self, text: _Text, what: str) -> None:
        complaint = ""
        for _ in range(_ATTEMPTS):
            # A jump deleted by someone else between the look and the commit makes the commit fail: look again.
            commands = text(self._list(what))
            if not commands:
                return
            restore = find(f"{self.name}-restore") or f"{self.name}-restore"
            outcome = run((restore, f"--wait={LOCK_WAIT_S}", "--noflush"), commands)
            if outcome.ok:
                return
            complaint = outcome.complaint
        raise AttachError(f"{self.name} cannot {what}: {complaint}")

    def _list(self, purpose: str = "") -> list[str]:
        """What ``-S`` prints; when it fails, nothing, or AttachError if a ``purpose`` depends on it."""
        if self.backend == "iptables-legacy" and not _legacy_nat_in_use():
            return []  # a mere look would load the legacy table into this namespace
        if self.sends_events and (names := nfnetlink.tables()) is not None and "nat" not in names:
            return []
        for _ in range(_ATTEMPTS):
            outcome = run((self.name_or_path, f"--wait={LOCK_WAIT_S}", "-t", "nat", "-S"))
            if purpose and not outcome.ok:
                raise AttachError(f"{self.name} cannot {purpose}: {outcome.complaint}")
            listing = outcome.output.splitlines() if outcome.ok else []
            if not self.sends_events or plan.iptables_remove(listing) or not self._has_chains():
                break
            # iptables-nft 1.8.9 was seen to list a table without chains that are in it, and to end with 0.
        return listing

    def _has_chains(self) -> bool:
        """Whether the kernel has chains of ours, by its own word."""
        return not plan.IPTABLES_CHAINS.isdisjoint(nfnetlink.chains("nat") or ())

    def _current_generation(self) -> int | None:
        return nfnetlink.generation() if self.sends_events else None


@cache
def _backend_of(command: str) -> str:
    # Versions before 1.8 name no interface: they know only the legacy one.
    return "iptables-nft" if "nf_tables" in run((command, "--version")).output else "iptables-legacy"


def _legacy_nat_in_use() -> bool:
    try:
        return "nat" in _LEGACY_TABLES.read_text().split()
    except OSError:  # no such file: the kernel has no legacy tables, or none has been loaded
        return False
