"""What an agent has to know of a container beside its names: where it runs, and who answers its queries now."""

from __future__ import annotations

from msgspec import Struct


class ContainerFacts(Struct, frozen=True):
    """One running container, by its daemon's last word."""

    id: str
    """The whole id, 64 hex digits."""
    name: str
    """Without the slash that the API puts before it."""
    pid: int
    """Of its first process as the daemon sees it; 0 when the daemon does not tell."""
    networks: tuple[str, ...]
    """The networks of the contribution that it is on, by the names they have there."""
    network_mode: str
    """``HostConfig.NetworkMode`` as it was given: a network, ``host``, ``none`` or ``container:ID``."""
    shares_with: str | None
    """The whole id of the container whose network namespace this one uses, None when it has one of its own."""
    has_own_resolver: bool
    """True when it is on a user-defined network, where Docker itself answers at 127.0.0.11."""
    servers: tuple[str, ...]
    """Its own upstreams (``--dns``), addresses as text."""
    is_ignored: bool
    """True when a label says that it is none of ours."""
