"""forward.tls_ca: a file of certificates, read once and checked before anybody is asked over TLS."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from resolver.sources.octets import read_octets

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----\r?\n[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
_FIX = "name a file with certificates in PEM, each -----BEGIN CERTIFICATE-----"


def authorities_in(path: Path, complain: Callable[[str, str], None]) -> str | None:
    """The certificates in a PEM file, one after the other; what stands between them is left out.

    None when there are none to be used: ``complain`` is told why, and how to mend it.
    """
    shown = repr(str(path))
    try:
        octets = read_octets(path)
    except (FileNotFoundError, ValueError):
        complain(f"{shown} does not exist", "correct the path, or leave the key out for the system's authorities")
        return None
    except OSError as error:
        complain(f"{shown} cannot be read: {error.strerror}", _FIX)
        return None
    found = _CERTIFICATE.findall(octets)
    if len(found) != octets.count(b"-----BEGIN CERTIFICATE-----"):
        complain(f"{shown} holds a certificate that is cut off or damaged", _FIX)
        return None
    if not found:
        complain(f"{shown} holds no certificate", _FIX)
        return None
    import ssl

    certificates = "\n".join(each.decode("ascii") for each in found)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=certificates)
    except ssl.SSLError as error:
        reason = (error.reason or "it is damaged").replace("_", " ").lower()
        complain(f"{shown} holds a certificate that cannot be used: {reason}", _FIX)
        return None
    return certificates
