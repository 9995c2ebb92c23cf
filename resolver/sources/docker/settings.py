"""How to reach a daemon that speaks the Docker Engine API, and what to make of what it tells."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from resolver.wire.name import IPAddress

DOCKER_HOST = "unix:///var/run/docker.sock"
PODMAN_HOST = "unix:///run/podman/podman.sock"

TLS_FILES = ("ca.pem", "cert.pem", "key.pem")
"""What the folder of `DaemonSettings.tls` holds, by the names that the docker command uses."""


class DaemonSettings(Struct, frozen=True):
    """One daemon, Docker's or Podman's."""

    name: str
    """What the source is called in messages and metrics: ``docker`` or ``podman``."""
    host: str
    """``unix:///path`` or ``tcp://address:port``, as in DOCKER_HOST."""
    tls: Path | None = None
    """Folder with ca.pem, cert.pem and key.pem, as in DOCKER_CERT_PATH; None for a connection without TLS."""
    healthy_only: bool = False
    """Containers that have a health check and are not healthy give up the names that they share with healthy ones."""
    serve_default_bridge: bool = False
    """Containers on the default bridge have names, too."""
    host_gateway: tuple[IPAddress, ...] = ()
    """What ``--add-host NAME:host-gateway`` stands for; empty for the gateways of the default bridge, as Docker's."""
    resync_s: float = 300.0
    """Seconds between two full syncs, which heal what events did not tell."""


def host_problem(host: str) -> str | None:
    """What is wrong with a ``host``, for a person; None when it can be used."""
    try:
        parts = urlsplit(host)
    except ValueError:  # a bracket that is not closed
        return f"{host!r} has no address and port"
    if parts.scheme == "unix":
        return None if parts.path.startswith("/") and not parts.netloc else f"{host!r} has no absolute path"
    if parts.scheme != "tcp":
        return f"{host!r} is neither unix:// nor tcp://"
    try:
        port = parts.port
    except ValueError:
        port = None
    return None if parts.hostname and port and parts.path in ("", "/") else f"{host!r} has no address and port"
