"""An authority, a daemon and a client, made with openssl for one test."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def make(folder: Path, alternative: str = "IP:127.0.0.1") -> Path:
    """A folder as DOCKER_CERT_PATH: ca.pem, cert.pem and key.pem; the daemon's are server.pem and server-key.pem."""
    folder.mkdir()
    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    _openssl(folder, *new, "-x509", "-days", "2", "-subj", "/CN=authority", "-keyout", "ca-key.pem", "-out", "ca.pem")
    for name, key, subject, extension in (
        ("server.pem", "server-key.pem", "/CN=daemon", f"subjectAltName={alternative}"),
        ("cert.pem", "key.pem", "/CN=client", "extendedKeyUsage=clientAuth"),
    ):
        (folder / "extension").write_text(extension)
        _openssl(folder, *new, "-subj", subject, "-keyout", key, "-out", "request.pem")
        _openssl(
            folder,
            *("x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial"),
            *("-days", "2", "-extfile", "extension", "-out", name),
        )
    return folder


def of_daemon(folder: Path) -> ssl.SSLContext:
    """What a daemon with ``--tlsverify`` goes by: it has a certificate, and asks for one."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "ca.pem"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(folder / "server.pem", folder / "server-key.pem")
    return context
