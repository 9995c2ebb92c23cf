"""TLS over a kept connection (RFC 7858): no socket here, octets in and octets out.

The certificate is verified against the name that the upstream is written with, else against its address, and nothing is
ever sent in clear in its place. The last session of an upstream is resumed by the next connection (RFC 8446 2.2).
"""

from __future__ import annotations

import ssl

from resolver.forward.certificates import expected_name
from resolver.forward.failures import Failure
from resolver.forward.streams import BrokenChannelError
from resolver.forward.upstreams import Upstream

ALPN = "dot"
_CHUNK_SIZE = 65536
_MAX_REASON_SIZE = 80
_NOT_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "UNSUPPORTED_PROTOCOL")


def new_context(authorities: str | None) -> ssl.SSLContext:
    """A context that trusts ``authorities``, certificates in PEM, in place of the system's; TLS 1.2 or later."""
    context = ssl.create_default_context(cadata=authorities)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class Tls:
    """What the connections to upstreams over TLS share: whom we trust, and sessions to resume."""

    def __init__(self, authorities: str | None) -> None:
        self.sessions: dict[Upstream, ssl.SSLSession] = {}
        self.context = new_context(authorities)
        self.context.set_alpn_protocols([ALPN])

    def channel(self, upstream: Upstream) -> TlsChannel:
        """What lies between a new connection to ``upstream`` and its messages."""
        return TlsChannel(self, upstream)


class TlsChannel:
    """One connection's TLS; a `streams.Channel`."""

    __slots__ = ("_early", "_in", "_object", "_out", "_tls", "_upstream", "is_over")

    def __init__(self, tls: Tls, upstream: Upstream) -> None:
        self._tls = tls
        self._upstream = upstream
        self.is_over = False
        """The server has said that nothing more will come."""
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._early: list[bytes] | None = []  # what waits for the handshake
        self._object = tls.context.wrap_bio(
            self._in, self._out, server_hostname=expected_name(upstream), session=tls.sessions.get(upstream)
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
                self._tls.sessions[self._upstream] = session

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


def reason_of(error: ssl.SSLError) -> str:
    """What has gone wrong with TLS, in a few words."""
    reason = error.reason or ""
    if reason in _NOT_TLS:
        return "it does not speak TLS"
    return reason.replace("_", " ").lower()[:_MAX_REASON_SIZE] or "TLS failed"
