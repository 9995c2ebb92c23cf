"""TLS to a daemon: our certificates, and what is wrong when it comes to nothing."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

from resolver.errors import StartError
from resolver.sources.docker.settings import DaemonSettings

_REFUSALS = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED", "DECRYPT_ERROR", "HANDSHAKE_FAILURE")
"""What is in OpenSSL's name of an alert with which the other side turns a certificate down (RFC 8446 6.2)."""


def context_of(settings: DaemonSettings) -> ssl.SSLContext | None:
    """Ours, None where there is to be no TLS. Raises StartError when the certificates cannot be used."""
    if settings.tls is None or urlsplit(settings.host).scheme != "tcp":
        return None
    try:
        context = ssl.create_default_context(cafile=str(settings.tls / "ca.pem"))
        context.load_cert_chain(settings.tls / "cert.pem", settings.tls / "key.pem")
    except (OSError, ssl.SSLError) as error:
        said = error.strerror if error.strerror and not isinstance(error, ssl.SSLError) else str(error)
        raise StartError(
            f"[{settings.name}] tls: the certificates in {str(settings.tls)!r} cannot be used: {said}"
        ) from error
    return context


def problem(error: BaseException) -> tuple[str, str] | None:
    """What has gone wrong with TLS, and how to mend it; None when it is not TLS that this error is about."""
    # aiohttp's own errors are of this class, too, without what makes one.
    found = next(
        (cause for cause in _causes(error) if isinstance(cause, ssl.SSLError) and hasattr(cause, "reason")), None
    )
    if found is None:
        return None
    reason = found.reason or ""
    if isinstance(found, ssl.SSLCertVerificationError):
        return found.verify_message.rstrip("."), "ca.pem has to be of its authority, and host a name in its certificate"
    if "ALERT" in reason and any(word in reason for word in _REFUSALS):
        return "it does not accept our certificate", "cert.pem has to be signed by the authority that it goes by"
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return "it does not speak TLS", "leave tls out, or give the port where it does"
    return reason.replace("_", " ").lower() or str(found), "check its certificate and ours"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what has led to it; aiohttp wraps errors more than once."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        for name in ("os_error", "certificate_error"):
            inner = getattr(error, name, None)
            if isinstance(inner, BaseException):
                yield inner
        error = error.__cause__ or error.__context__
