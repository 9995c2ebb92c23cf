"""One event of the daemon's stream (``GET /events``), and what it means to us."""

from __future__ import annotations

from enum import Enum, auto

from msgspec import Struct

from resolver.sources.docker.shape import table, text

FILTERS = {"type": ["container", "network", "service"]}
"""What the daemon is asked to tell of; what Podman does not know of it leaves out."""


class Kind(Enum):
    """What an event is about."""

    CHANGED = auto()
    """A container runs, or is not as it was: ask how it is."""
    RENAMED = auto()
    """A container has another name, which links to it have, too."""
    GONE = auto()
    """A container does not run any more: nothing needs to be asked."""
    HEALTH = auto()
    """A health check has said something: the event says what."""
    CONNECTED = auto()
    DISCONNECTED = auto()
    NETWORK = auto()
    """A network is new, or is not as it was."""
    NETWORK_GONE = auto()
    SERVICES = auto()
    """A swarm service is new, changed or gone."""
    NONSENSE = auto()
    """It may matter, and does not say what about."""


class Event(Struct, frozen=True):
    """An event that matters."""

    kind: Kind
    container: str = ""
    """The whole id."""
    network: str = ""
    """The network's id; empty where the daemon does not say it (Podman)."""
    status: str = ""
    """The health check's word."""


# Not among them: stop and kill (a die tells of the end, and a stop can come after the next start), pause and unpause
# (the names stay), update (it changes limits), restart (a start has come before it), and all that is done inside.
_OF_CONTAINERS = {
    "start": Kind.CHANGED,
    "rename": Kind.RENAMED,
    "die": Kind.GONE,
    "died": Kind.GONE,
    "destroy": Kind.GONE,
    "remove": Kind.GONE,
}
_OF_NETWORKS = {
    "create": Kind.NETWORK,
    "update": Kind.NETWORK,
    "destroy": Kind.NETWORK_GONE,
    "remove": Kind.NETWORK_GONE,
    "connect": Kind.CONNECTED,
    "disconnect": Kind.DISCONNECTED,
}


_OF = {"container": _OF_CONTAINERS, "network": _OF_NETWORKS}


def read_event(raw: object) -> Event | None:
    """The event, or None when it does not matter to names."""
    what = text(raw, "Type") or "container"
    action = text(raw, "Action") or text(raw, "status")
    actor = text(raw, "Actor", "ID")
    attributes = table(raw, "Actor", "Attributes")
    if not action:
        return Event(Kind.NONSENSE)
    match what:
        case "service":
            return Event(Kind.SERVICES)
        case _ if not actor:
            # A prune, say, is about nobody.
            matters = action in _OF.get(what, ()) or action.startswith("health_status")
            return Event(Kind.NONSENSE) if matters else None
        case "container" if action.startswith("health_status"):
            status = action.partition(":")[2].strip() or text(attributes, "health_status")
            return Event(Kind.HEALTH if status else Kind.CHANGED, container=actor, status=status)
        case "container" if (kind := _OF_CONTAINERS.get(action)) is not None:
            return Event(kind, container=actor)
        case "network" if (kind := _OF_NETWORKS.get(action)) is not None and text(raw, "scope") != "swarm":
            # A manager tells of the whole swarm's networks; this node's own word follows when it has one.
            if kind not in (Kind.CONNECTED, Kind.DISCONNECTED):
                return Event(kind, network=actor)
            if container := text(attributes, "container"):
                return Event(kind, container=container, network=actor)
            return Event(Kind.CONNECTED, container=actor)  # Podman: the actor is the container, its network unsaid
        case _:
            return None
