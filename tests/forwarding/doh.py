"""unbound as a DoH server, with a certificate of an authority that openssl makes for the test."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.scenarios.live import At

NAME = "doh.lab.test"
PORT = 5310


class Authority:
    """Who signs certificates; `file` is what those who trust it are given."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.file = folder / "authority.pem"
        self._folder = folder
        self._new("-x509", "-days", "2", "-subj", "/CN=authority", "-keyout", "authority.key", "-out", self.file.name)

    def sign(self, *names: str) -> tuple[Path, Path]:
        """A certificate for such alternative names (``DNS:…``, ``IP:…``), and its key; those before are overwritten."""
        (self._folder / "extension").write_text("subjectAltName=" + ",".join(names))
        self._new("-subj", "/CN=server", "-keyout", "server.key", "-out", "request.pem")
        self._openssl(
            *("x509", "-req", "-in", "request.pem", "-CA", self.file.name, "-CAkey", "authority.key"),
            *("-CAcreateserial", "-days", "2", "-extfile", "extension", "-out", "server.pem"),
        )
        return self._folder / "server.pem", self._folder / "server.key"

    def _new(self, *arguments: str) -> None:
        self._openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", *arguments)

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self._folder, check=True, capture_output=True)


def unbound(folder: Path, plain: At, certificate: tuple[Path, Path]) -> list[str]:
    """The command of a server with the zone lab.test: plain DNS at ``plain``, DoH at `PORT` of the same address."""
    config = folder / "unbound.conf"
    pem, key = certificate
    config.write_text(f"""
server:
  interface: {plain.host}@{plain.port}
  interface: {plain.host}@{PORT}
  https-port: {PORT}
  http-endpoint: "/dns-query"
  tls-service-pem: "{pem}"
  tls-service-key: "{key}"
  access-control: 127.0.0.0/8 allow
  do-daemonize: no
  chroot: ""
  username: ""
  pidfile: ""
  directory: "{folder}"
  use-syslog: no
  logfile: ""
  num-threads: 1
  do-ip6: no
  module-config: "iterator"
  local-zone: lab.test. static
  local-data: "lab.test. 60 IN SOA ns.lab.test. me.lab.test. 1 60 60 60 60"
  local-data: "www.lab.test. 60 IN A 192.0.2.80"
  local-zone: many.lab.test. redirect
  local-data: "many.lab.test. 60 IN A 192.0.2.81"
remote-control:
  control-enable: no
""")
    return ["unbound", "-d", "-c", str(config)]
