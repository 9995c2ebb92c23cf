"""A certificate authority for one test, and what it signs; made with openssl."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

_CONFIG = """[ca]
default_ca = authority
[authority]
database = index.txt
new_certs_dir = .
serial = serial
default_md = sha256
policy = anything
unique_subject = no
copy_extensions = copy
x509_extensions = signed
default_days = 2
[signed]
authorityKeyIdentifier = keyid
[anything]
commonName = supplied
"""
# Without it, and without the identifier of the key that signed, Python 3.13 believes nobody.
_SIGNS = ("-addext", "keyUsage=critical,keyCertSign")
_NEW = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Authority:
    """Signs the certificates of servers."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        (folder / "openssl.cnf").write_text(_CONFIG)
        (folder / "index.txt").write_text("")
        (folder / "serial").write_text("01")
        self._openssl(
            *_NEW, *_SIGNS, "-x509", "-days", "2", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem"
        )
        self.file = folder / "ca.pem"

    @property
    def pem(self) -> str:
        """Its own certificate."""
        return self.file.read_text()

    def issue(self, name: str = "dns.example", address: str = "127.0.0.1", expired: bool = False) -> tuple[Path, Path]:
        """The certificate and the key of a server, for a name and an address."""
        for_both = f"subjectAltName=DNS:{name},IP:{address}"
        self._openssl(*_NEW, "-subj", f"/CN={name}", "-addext", for_both, "-keyout", f"{name}.key", "-out", "csr.pem")
        dates = ("-startdate", "20200101000000Z", "-enddate", "20200102000000Z") if expired else ()
        signing = ("ca", "-batch", "-notext", "-config", "openssl.cnf", "-cert", "ca.pem", "-keyfile", "ca.key")
        self._openssl(*signing, *dates, "-in", "csr.pem", "-out", f"{name}.pem")
        return self._folder / f"{name}.pem", self._folder / f"{name}.key"

    def server_context(self, name: str = "dns.example", *, expired: bool = False) -> ssl.SSLContext:
        """What a server with such a certificate speaks TLS with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue(name, expired=expired))
        context.set_alpn_protocols(["dot"])
        return context

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self._folder, check=True, capture_output=True)
