"""Whom the certificates of upstreams must be for, and what people are told when one does not verify. No I/O."""

from __future__ import annotations

import logging

from resolver.forward.memory import MAX_UPSTREAMS
from resolver.forward.upstreams import Upstream

log = logging.getLogger(__name__)


def expected_name(upstream: Upstream) -> str:
    """Whom the certificate of an upstream must be for: a name or an address."""
    return upstream.name or upstream.address.partition("%")[0]


class Verdicts:
    """Says for people, once for each change, whose certificate does not verify."""

    def __init__(self) -> None:
        self._reasons: dict[Upstream, str] = {}

    def bad(self, upstream: Upstream, reason: str) -> None:
        """A certificate did not verify, for ``reason``."""
        if self._reasons.get(upstream) == reason or len(self._reasons) >= MAX_UPSTREAMS:
            return
        self._reasons[upstream] = reason
        log.warning(
            "%s is not asked: its certificate is not good for %s: %s (%s)",
            upstream,
            expected_name(upstream),
            reason or "it does not verify",
            _fix(upstream, reason),
        )

    def good(self, upstream: Upstream) -> None:
        """An upstream has answered."""
        if self._reasons and self._reasons.pop(upstream, None) is not None:
            log.info("%s is asked again: its certificate is good", upstream)


def _fix(upstream: Upstream, reason: str) -> str:
    if "expired" in reason or "not yet valid" in reason:
        return "the server needs a new certificate, or a clock is wrong"
    if "mismatch" in reason or "not valid for" in reason:
        where = upstream.address or "ADDRESS"
        return f"write the name that it has: {upstream.transport}://{where}#NAME"
    return "if its authority is a private one, name the file with that one's certificate in forward.tls_ca"
