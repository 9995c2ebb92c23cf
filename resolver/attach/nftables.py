"""The redirect by ``nft``: one table of our own, put in place and taken away in one transaction each."""

from __future__ import annotations

from resolver.attach import plan
from resolver.attach.command import Outcome, find, run
from resolver.attach.plan import Redirect
from resolver.errors import AttachError


class Nftables:
    """Rules in table ``ip pydns``; every method acts in the namespace of the calling thread."""

    name = "nftables"
    backend = "nftables"
    sends_events = True
    capabilities = ("CAP_NET_ADMIN",)

    def __init__(self) -> None:
        self._listed = ""

    @property
    def is_installed(self) -> bool:
        """True when there is an ``nft`` command."""
        return find("nft") is not None

    def problem(self) -> str | None:
        """Why it cannot be used in this namespace; None when it can. Changes nothing.

        nft's check mode hands the transaction to the kernel and stops before the commit, so that a kernel without
        nf_tables or without NAT is found out too.
        """
        outcome = self._run("-c", "-f", "-", stdin=plan.nft_install(Redirect(1024, 1024)))
        return None if outcome.ok else outcome.complaint

    def install(self, redirect: Redirect) -> None:
        """Put the rules in place, whatever of ours was there; raises AttachError when the kernel refuses."""
        outcome = self._run("-f", "-", stdin=plan.nft_install(redirect))
        if not outcome.ok:
            raise AttachError(f"nft cannot install the redirect: {outcome.complaint}")
        # What this version of nft prints for the rules is what it must print from now on.
        self._listed = self._list()
        if plan.nft_redirect(self._listed) != redirect:
            raise AttachError("nft took the redirect, but its table ip pydns was changed at once by someone else")

    def is_present(self) -> bool:
        """True when there is a table of ours, from whichever run, whole or not."""
        return self._list() != ""

    def current(self) -> Redirect | None:
        """The ports found in a table of ours, from whichever run; None when there is none."""
        return plan.nft_redirect(self._list())

    def intact(self, redirect: Redirect) -> bool:
        """True when the rules are as ``install(redirect)`` left them."""
        return plan.nft_redirect(self._listed) == redirect and self._list() == self._listed

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
        return run(("nft", *words) if (path := find("nft")) is None else (path, *words), stdin)
