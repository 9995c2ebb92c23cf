"""TLS over a kept connection (RFC 7858): no socket here, octets in and octets out.

The certificate is verified against the name that the upstream is written with, else against its address, and nothing is
ever sent in clear in its place. The last session of an upstream is resumed by the next connection (RFC 8446 2.2).
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from resolver.forward.certificates import expected_name
from resolver.forward.failures import Failure
from resolver.forward.streams import BrokenChannelError
from resolver.forward.upstreams import Upstream

ALPN = "dot"
SESSION_S = 3600.0
"""How long after its certificate was looked at a server's sessions are resumed (RFC 8446 4.6.1 allows a week)."""
_MAX_SESSIONS = 256
_CHUNK_SIZE = 65536
_MAX_REASON_SIZE = 80
_NOT_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "UNSUPPORTED_PROTOCOL")


def new_context(authorities: str | None) -> ssl.SSLContext:
    """A context that trusts ``authorities``, certificates in PEM, in place of the system's; TLS 1.2 or later."""
    context = ssl.create_default_context(cadata=authorities)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False  # RFC 9525 6.3
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # who names an intermediate authority trusts that one
    return context


class Session(NamedTuple):
    """A session that may be resumed for a while: a resumed one verifies nothing."""

    session: ssl.SSLSession
    until: float
    """Of the monotonic clock."""


class Tls:
    """What the connections to upstreams over TLS share: whom we trust, and sessions to resume."""

    def __init__(self, authorities: str | None) -> None:
        self.sessions: dict[Upstream, Session] = {}
        self.context = new_context(authorities)
        self.context.set_alpn_protocols([ALPN])

    def keep(self, upstream: Upstream, session: Session) -> None:
        """Resume it with the next connection to the upstream."""
        if len(self.sessions) >= _MAX_SESSIONS:
            del self.sessions[next(iter(self.sessions))]
        self.sessions[upstream] = session

    def channel(self, upstream: Upstream) -> TlsChannel:
        """What lies between a new connection to ``upstream`` and its messages."""
        return TlsChannel(self, upstream)


class TlsChannel:
    """One connection's TLS; a `streams.Channel`."""

    __slots__ = ("_early", "_in", "_object", "_out", "_tls", "_until", "_upstream", "is_over")

    def __init__(self, tls: Tls, upstream: Upstream) -> None:
        self._tls = tls
        self._upstream = upstream
        self.is_over = False
        """The server has said that nothing more will come."""
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._early: list[bytes] | None = []  # what waits for the handshake
        known = tls.sessions.get(upstream)
        self._until = 0.0 if known is None else known.until
        self._object = tls.context.wrap_bio(
            self._in,
            self._out,
            server_hostname=expected_name(upstream),
            session=known.session if known is not None and time.monotonic() < known.until else None,
        )

    def write(self, plain: bytes) -> bytes:
        """Octets for the wire; ``plain`` waits for the end of the handshake."""
        if self._early is None:
            try:
                self._object.write(plain)
            except ssl.SSLError as error:
                raise BrokenChannelError(Failure.DISCONNECTED, reason_of(error)) from error
        else:
            self._early.append(plain)
            self._shake_hands()
        return self._out.read()

    def read(self, chunk: bytes) -> tuple[bytes, bytes]:
        """What ``chunk`` says, and what TLS itself has to say to it."""
        self._in.write(chunk)
        if self._early is not None:
            self._shake_hands()
        plain = [] if self._early is not None else self._read_all()
        return b"".join(plain), self._out.read()

    def ended(self) -> None:
        """Keep the session: with TLS 1.3 its tickets have come after the handshake."""
        if self._early is None:
            session = self._object.session
            if session is not None and session.has_ticket:
                self._tls.keep(self._upstream, Session(session, self._until))

    def _shake_hands(self) -> None:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLCertVerificationError as error:
            reason = error.verify_message.rstrip(".")
            raise BrokenChannelError(Failure.BAD_CERTIFICATE, reason[:_MAX_REASON_SIZE]) from error
        except ssl.SSLError as error:
            self._tls.sessions.pop(self._upstream, None)
            raise BrokenChannelError(Failure.NO_TLS, reason_of(error)) from error
        if not self._object.session_reused:
            self._until = time.monotonic() + min(SESSION_S, _valid_s(self._object.getpeercert()))
        early, self._early = self._early or [], None
        for plain in early:
            if plain:
                self._object.write(plain)

    def _read_all(self) -> list[bytes]:
        found = []
        try:
            while plain := self._object.read(_CHUNK_SIZE):
                found.append(plain)
        except ssl.SSLWantReadError:
            return found
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            pass
        except ssl.SSLError as error:
            raise BrokenChannelError(Failure.DISCONNECTED, reason_of(error)) from error
        self.is_over = True
        return found


def _valid_s(certificate: Mapping[str, Any] | None) -> float:
    """For how many seconds a certificate is still good."""
    if not certificate:
        return 0.0
    return ssl.cert_time_to_seconds(str(certificate["notAfter"])) - datetime.now(UTC).timestamp()


def reason_of(error: ssl.SSLError) -> str:
    """What has gone wrong with TLS, in a few words."""
    reason = error.reason or ""
    if reason in _NOT_TLS:
        return "it does not speak TLS"
    return reason.replace("_", " ").lower()[:_MAX_REASON_SIZE] or "TLS failed"
