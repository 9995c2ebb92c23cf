"""The redirect by ``nft``: one table of our own, put in place and taken away in one transaction each."""

from __future__ import annotations

import re
from functools import cached_property

from resolver.attach import nfnetlink, plan
from resolver.attach.command import Outcome, find, run
from resolver.attach.plan import Redirect
from resolver.errors import AttachError

_forms: dict[str | None, str | None] = {}
"""What an nft command prints for our table, by its path: the same for each namespace but for the ports."""

_WHOLE = tuple(
    re.compile(line)
    for line in (
        rf"table ip {plan.NFT_TABLE} {{",
        r"chain output {",
        r"type nat hook output priority .*",
        r"ip daddr .*udp dport 53 .*dnat to .*",
        r"ip daddr .*tcp dport 53 .*dnat to .*",
        r"}",
        r"chain postrouting {",
        r"type nat hook postrouting priority .*",
        r"ip saddr .*udp sport .*snat to .*",
        r"ip saddr .*tcp sport .*snat to .*",
        r"}",
        r"}",
    )
)
"""The lines of our table: two chains with two rules each, and nothing else."""


class Nftables:
    """Rules in table ``ip pydns``; every method acts in the namespace of the calling thread."""

    name = "nftables"
    backend = "nftables"
    sends_events = True
    capabilities = ("CAP_NET_ADMIN",)

    def __init__(self) -> None:
        self._listed = ""
        self._generation: int | None = None
        """That of the namespace's rules when the listing was ``_listed`` last."""

    @cached_property
    def _path(self) -> str | None:
        return find("nft")

    @property
    def is_installed(self) -> bool:
        """True when there is an ``nft`` command."""
        return self._path is not None

    def problem(self) -> str | None:
        """Why it cannot be used in this namespace; None when it can. Changes nothing.

        nft's check mode hands the transaction to the kernel and stops before the commit, so that a kernel without
        nf_tables or without NAT is found out too.
        """
        outcome = self._run("-c", "-f", "-", stdin=plan.nft_install(Redirect(1024, 1024)))
        return None if outcome.ok else outcome.complaint

    def install(self, redirect: Redirect) -> None:
        """Put the rules in place, whatever of ours was there; raises AttachError when the kernel refuses."""
        before = nfnetlink.generation()
        outcome = self._run("-f", "-", stdin=plan.nft_install(redirect, replace=self.is_present()))
        if not outcome.ok:
            raise AttachError(f"nft cannot install the redirect: {outcome.complaint}")
        after = nfnetlink.generation()
        form = _forms.get(self._path)
        if form is not None and before is not None and after == before + 1:  # ours was the only change
            self._listed, self._generation = plan.nft_filled(form, redirect), after
            return
        # What this version of nft prints for the rules is what it must print from now on.
        self._generation = after
        self._listed = self._list()
        if plan.nft_redirect(self._listed) != redirect:
            raise AttachError("nft took the redirect, but its table ip pydns was changed at once by someone else")
        if before is not None and after == before + 1 and nfnetlink.generation() == after and _is_whole(self._listed):
            # Nobody else had a hand in it: a container that changes its rules meanwhile must not teach us what those
            # of all the others look like.
            _forms[self._path] = plan.nft_form(self._listed, redirect)

    def is_present(self) -> bool:
        """True when there is a table of ours, from whichever run, whole or not."""
        names = nfnetlink.tables()
        return self._list() != "" if names is None else plan.NFT_TABLE in names

    def current(self) -> Redirect | None:
        """The ports found in a table of ours, from whichever run; None when there is none."""
        generation = nfnetlink.generation()
        listing = self._list()
        redirect = plan.nft_redirect(listing)
        form = _forms.get(self._path)
        if redirect is not None and form is not None and listing == plan.nft_filled(form, redirect):
            self._listed, self._generation = listing, generation  # as we would have installed it
        return redirect

    def intact(self, redirect: Redirect) -> bool:
        """True when the rules are as ``install(redirect)`` left them."""
        if plan.nft_redirect(self._listed) != redirect:
            return False
        generation = nfnetlink.generation()
        if generation is not None and generation == self._generation:
            return True
        if self._list() != self._listed:
            return False
        self._generation = generation
        return True

    def remove(self) -> None:
        """Take our table away, if there is one; raises AttachError when the kernel refuses."""
        outcome = self._run("-f", "-", stdin=plan.nft_remove())
        if not outcome.ok:
            raise AttachError(f"nft cannot remove table ip {plan.NFT_TABLE}: {outcome.complaint}")

    def _list(self) -> str:
        # -s leaves the counters out, which differ from one look to the next; -n keeps numbers as they were written.
        outcome = self._run("-s", "-n", "list", "table", "ip", plan.NFT_TABLE)
        return outcome.output if outcome.ok else ""

    def _run(self, *words: str, stdin: str = "") -> Outcome:
        return run((self._path or "nft", *words), stdin)


def _is_whole(listing: str) -> bool:
    lines = [line.strip() for line in listing.splitlines() if line.strip()]
    return len(lines) == len(_WHOLE) and all(map(re.Pattern.fullmatch, _WHOLE, lines))
