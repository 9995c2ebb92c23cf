"""[agent]: which namespaces an agent attaches to besides those of a daemon's containers, and how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct

from resolver.intake.convert import Report, to_struct
from resolver.intake.toml import Path

_PATTERN = frozenset("*?[")


class NamespaceSpec(msgspec.Struct, forbid_unknown_fields=True):
    """[[agent.namespaces]]: one namespace, or those in /run/netns whose names match a pattern."""

    netns: str | None = None
    networks: list[str] = []
    endpoint: str | None = None


class AgentSpec(msgspec.Struct, forbid_unknown_fields=True):
    """[agent]: how it attaches."""

    takeover: bool = False
    resolv_conf: bool = True
    firewall: Literal["auto", "nftables", "iptables", "iptables-nft", "iptables-legacy"] = "auto"
    namespaces: list[Any] = []
    """Each a `NamespaceSpec`."""


class NamespaceRule(Struct, frozen=True):
    """One namespace, or all whose names match, and what is seen from there."""

    netns: str
    """A name in /run/netns, a pattern over such names, or the path of a namespace's file."""
    networks: tuple[str, ...] = ()
    """Empty for those of the endpoint."""
    endpoint: str | None = None
    """None for the namespace's own name, where the registry has it."""

    @property
    def is_pattern(self) -> bool:
        """True when it may stand for many."""
        return not _PATTERN.isdisjoint(self.netns) and not self.is_path

    @property
    def is_path(self) -> bool:
        """True when it names a file, not a name of `ip netns`."""
        return "/" in self.netns


class AgentSettings(Struct, frozen=True):
    """[agent], checked."""

    takes_over: bool = False
    """True: serve also where Docker's own resolver answers at 127.0.0.11."""
    manages_resolv_conf: bool = True
    firewall: str = "auto"
    namespaces: tuple[NamespaceRule, ...] = ()


def agent_settings(spec: AgentSpec, report: Report) -> AgentSettings:
    """The settings; ``report`` is told of each entry that makes no sense, which is left out."""
    return AgentSettings(spec.takeover, spec.resolv_conf, spec.firewall, tuple(_rules(spec.namespaces, report)))


def _rules(entries: Sequence[Any], report: Report) -> list[NamespaceRule]:
    rules: dict[str, NamespaceRule] = {}
    for index, entry in enumerate(entries):
        place = ("agent", "namespaces", str(index))
        if (rule := _rule(entry, place, report)) is None:
            continue
        if rule.netns in rules:
            report((*place, "netns"), f"{rule.netns!r} is there twice", "leave one of them out")
        rules.setdefault(rule.netns, rule)
    return list(rules.values())


def _rule(entry: Any, place: Path, report: Report) -> NamespaceRule | None:
    """The rule, or None after a report."""
    faults: list[Path] = []

    def note(path: Path, message: str, fix: str) -> None:
        faults.append(path)
        report(path, message, fix)

    spec = to_struct(entry, NamespaceSpec, place, note)
    if faults:
        return None
    if spec.netns is None:
        report(place, "'netns' is missing", "write a name of `ip netns`, a pattern, or a path")
        return None
    rule = NamespaceRule(spec.netns, tuple(spec.networks), spec.endpoint)
    if rule.netns in ("", ".", ".."):
        note((*place, "netns"), f"{rule.netns!r} is no namespace", "write a name of `ip netns`, a pattern, or a path")
    elif rule.is_path and not rule.netns.startswith("/"):
        note((*place, "netns"), f"{rule.netns!r} is not an absolute path", "write it from / on, or a name without /")
    elif rule.is_path and not (rule.networks or rule.endpoint):
        fix = "give networks, or the endpoint whose networks they are"
        note(place, f"nobody says which networks {rule.netns} is on", fix)
    return None if faults else rule
