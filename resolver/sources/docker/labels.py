"""What a container's labels ask for: pydns's own, and those of programs that people come from (docs/docker.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from resolver.sources.base import parse_name
from resolver.sources.docker.shape import Complaints, parse_alias, shown

NAMES = "pydns.names"
TTL = "pydns.ttl"
IGNORE = "pydns.ignore"
HEALTHY_ONLY = "pydns.healthy_only"

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
ONE_OFF = "com.docker.compose.oneoff"

_NAMES = (NAMES, "com.dnsdock.alias", "coredns.dockerdiscovery.host", "dev.orbstack.domains")
_TTLS = (TTL, "com.dnsdock.ttl")
_IGNORES = (IGNORE, "com.dnsdock.ignore")
_WORDS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
_MAX_TTL = 2**31 - 1


class Marks(Struct, frozen=True):
    """What labels say of one container or network."""

    names: tuple[tuple[str, str | None], ...] = ()
    """(name, network) pairs: more names, wildcards too; network None is every network that it is on."""
    ttl: int | None = None
    """Seconds."""
    is_ignored: bool = False
    """It is none of ours."""
    healthy_only: bool | None = None
    """Whether it has to be healthy for the names that it shares; None when the labels say nothing."""
    project: str | None = None
    """Compose's project."""
    service: str | None = None
    """Compose's service; None for a one-off container, which does not answer for its service."""


NO_MARKS = Marks()


def read_labels(labels: Mapping[str, Any], complaints: Complaints) -> Marks:
    """The marks of these labels; what makes no sense is reported and left out."""
    names: dict[tuple[str, str | None], None] = {}
    for key in _NAMES:
        for name in _names(labels, key, complaints):
            names[name] = None
    project, service = labels.get(PROJECT), labels.get(SERVICE)
    is_one_off = str(labels.get(ONE_OFF)).lower() == "true"
    ignored = [said for key in _IGNORES if (said := _word(labels, key, complaints)) is not None]
    return Marks(
        names=tuple(names),
        ttl=next((ttl for key in _TTLS if (ttl := _ttl(labels, key, complaints)) is not None), None),
        is_ignored=bool(ignored and ignored[0]),
        healthy_only=_word(labels, HEALTHY_ONLY, complaints),
        project=project if isinstance(project, str) and project else None,
        service=_service(service, complaints) if not is_one_off else None,
    )


def _names(labels: Mapping[str, Any], key: str, complaints: Complaints) -> Iterator[tuple[str, str | None]]:
    if (value := labels.get(key)) is None:
        return
    at = complaints.at(key)
    if not isinstance(value, str):
        at(f"{shown(value)} is no text", "write names with commas between them")
        return
    for word in value.split(","):
        bare, _, network = word.strip().partition("@") if key == NAMES else (word.strip(), "", "")
        if bare == "" and word.strip() == "" and "," in value:
            continue  # a final comma, or two in a row
        name = parse_alias(bare, at)
        if name is not None:
            yield name, network or None


def _ttl(labels: Mapping[str, Any], key: str, complaints: Complaints) -> int | None:
    value = labels.get(key)
    if value is None:
        return None
    digits = value.strip() if isinstance(value, str) else ""
    if digits.isascii() and digits.isdigit() and len(digits) <= 10 and int(digits) <= _MAX_TTL:
        return int(digits)
    complaints.at(key)(f"{shown(value)} is no TTL", f"write seconds from 0 to {_MAX_TTL}")
    return None


def _word(labels: Mapping[str, Any], key: str, complaints: Complaints) -> bool | None:
    value = labels.get(key)
    if value is None:
        return None
    said = _WORDS.get(value.strip().lower()) if isinstance(value, str) else None
    if said is None and value == "":
        return True  # the bare label: docker run --label pydns.ignore
    if said is None:
        complaints.at(key)(f"{shown(value)} is neither true nor false", "write true or false")
    return said


def _service(value: object, complaints: Complaints) -> str | None:
    return parse_name(value, complaints.at(SERVICE)) if isinstance(value, str) else None
