"""Why tries fail, and what a look-up says of it when no upstream brought a reply (RFC 8914). No I/O."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

from resolver.forward.upstreams import Upstream
from resolver.wire.constants import (
    EDE_NETWORK_ERROR,
    EDE_NO_REACHABLE_AUTHORITY,
    REFUSED,
    SERVFAIL,
)

_NONE: Mapping[Upstream, str] = MappingProxyType({})
_MAX_TEXT_SIZE = 160  # with it a reply about a name of 255 octets still has less than 512


class Failure(enum.StrEnum):
    """Why a try brought nothing; the values are metric labels."""

    TIMEOUT = "timeout"
    CONNECTION_REFUSED = "connection_refused"
    UNREACHABLE = "unreachable"
    DISCONNECTED = "disconnected"
    NO_SOCKET = "no_socket"
    NO_TLS = "no_tls"
    BAD_CERTIFICATE = "bad_certificate"
    HTTP_ERROR = "http_error"
    NO_ADDRESS = "no_address"
    BUSY = "busy"
    MALFORMED = "malformed"
    TRUNCATED = "truncated"
    SERVFAIL = "servfail"
    REFUSED = "refused"
    LAME = "lame"
    OTHER_RCODE = "other_rcode"


FINAL = frozenset(
    (
        Failure.SERVFAIL,
        Failure.REFUSED,
        Failure.LAME,
        Failure.OTHER_RCODE,
        Failure.TRUNCATED,
        Failure.NO_TLS,
        Failure.BAD_CERTIFICATE,
        Failure.HTTP_ERROR,
        Failure.NO_ADDRESS,
        Failure.BUSY,
    )
)
"""Failures that would come again: to ask once more in the same look-up would only double the load."""
NO_CONNECTION = frozenset((Failure.CONNECTION_REFUSED, Failure.UNREACHABLE, Failure.DISCONNECTED))
"""Failures after which another transport may do."""

_IN_WORDS = {
    Failure.TIMEOUT: "timed out",
    Failure.CONNECTION_REFUSED: "refused",
    Failure.UNREACHABLE: "unreachable",
    Failure.DISCONNECTED: "closed the connection",
    Failure.NO_SOCKET: "not asked: no socket to be had",
    Failure.BUSY: "not asked: too much is under way there",
    Failure.NO_TLS: "failed the TLS handshake",
    Failure.BAD_CERTIFICATE: "has a bad certificate",
    Failure.HTTP_ERROR: "answered with an HTTP error",
    Failure.NO_ADDRESS: "has no address: its name could not be looked up",
    Failure.MALFORMED: "sent a malformed reply",
    Failure.TRUNCATED: "sent a truncated reply",
    Failure.SERVFAIL: "said SERVFAIL",
    Failure.REFUSED: "said REFUSED",
    Failure.LAME: "is lame: it sent a referral",
    Failure.OTHER_RCODE: "said an error",
}
_OF_RCODE = {SERVFAIL: Failure.SERVFAIL, REFUSED: Failure.REFUSED}


def failure_of_rcode(rcode: int) -> Failure:
    """The failure that a reply with an rcode other than NOERROR and NXDOMAIN is."""
    return _OF_RCODE.get(rcode, Failure.OTHER_RCODE)


def extended_error(failures: Mapping[Upstream, Failure], reasons: Mapping[Upstream, str] = _NONE) -> tuple[int, str]:
    """The EDE of a look-up whose tries all failed: INFO-CODE and EXTRA-TEXT, the latter of at most some 170 octets.

    22 (No Reachable Authority) when there was nobody to ask or one was silent, 23 (Network Error) when all of them
    failed at once (RFC 8914 4.23, 4.24). The text names who was asked: ``10.0.0.53:53 timed out,
    [fd00::53]:53 refused``; ``reasons`` are more about some of them.
    """
    if not failures:
        return EDE_NO_REACHABLE_AUTHORITY, "no upstream is configured"
    text = ""
    for count, (upstream, failure) in enumerate(failures.items()):
        reason = f" ({reasons[upstream]})" if upstream in reasons else ""
        part = f"{', ' if text else ''}{upstream} {_IN_WORDS[failure]}"
        if len(text) + len(part) + len(reason) <= _MAX_TEXT_SIZE:
            part += reason
        if len(text) + len(part) > _MAX_TEXT_SIZE:
            text += f" and {len(failures) - count} more"
            break
        text += part
    is_silent = Failure.TIMEOUT in failures.values()
    return EDE_NO_REACHABLE_AUTHORITY if is_silent else EDE_NETWORK_ERROR, text
