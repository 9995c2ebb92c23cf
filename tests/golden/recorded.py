"""What a real Docker daemon answered, as values: the cases of docker-20.10.json and the words they are written in.

The file is a copy of ../shared/golden/, so that a clean clone can run the tests; its README says how it was recorded.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

RECORD = Path(__file__).with_name("docker-20.10.json")


@dataclass(frozen=True)
class Case:
    """One recorded question."""

    id: str
    group: str
    setup: tuple[str, ...]
    """The last steps that were taken before, the newest last."""
    client: str
    """The container that asked; ``@cli`` and ``@host`` stand for what is none."""
    query: dict[str, Any]
    responses: tuple[dict[str, Any], ...]
    upstream: tuple[dict[str, Any], ...] = field(default=())
    """What the scripted servers saw."""

    @property
    def command(self) -> str | None:
        """The command that was run in place of a question."""
        command: str | None = self.query.get("command")
        return command

    @property
    def over_tcp(self) -> bool:
        """Whether it was asked over TCP."""
        return bool(self.query["transport"] == "tcp")

    @property
    def wires(self) -> list[bytes]:
        """What was sent, message by message."""
        wire = self.query["wire"]
        return [_unabbreviated(part) for part in ([wire] if isinstance(wire, str) else wire)]

    @property
    def queries(self) -> list[bytes]:
        """The messages that were sent, whole: one case sends a stream in pieces."""
        return [b"".join(self.wires)[2:]] if self.id == "tcp/split-length" else self.wires

    @property
    def elapsed_s(self) -> float:
        """How long Docker took over all of it."""
        return max(float(response.get("elapsed_ms", 0)) for response in self.responses) / 1000

    def __str__(self) -> str:
        return self.id


def _unabbreviated(wire: str) -> bytes:
    """Octets from hex; one that is very long ends in ``...(9020 bytes)`` and goes on as it ended."""
    head, _, size = wire.partition("...(")
    octets = bytes.fromhex(head[: len(head) // 2 * 2])
    return octets + octets[-1:] * (int(size.split()[0]) - len(octets)) if size else octets


@cache
def document() -> dict[str, Any]:
    """The whole file."""
    loaded: dict[str, Any] = json.loads(RECORD.read_text())
    return loaded


@cache
def cases() -> dict[str, Case]:
    """Every case by its id, in the order in which they were recorded."""
    found: dict[str, Case] = {}
    for entry in document()["cases"]:
        response = entry["response"]
        case = Case(
            entry["id"],
            entry["group"],
            tuple(entry["setup"].split(" > ")),
            entry["client"],
            entry["query"],
            tuple(response if isinstance(response, list) else [response]),
            tuple(seen for seen in entry.get("upstream", ()) if isinstance(seen, dict)),
        )
        assert case.id not in found, f"two cases are called {case.id}"
        found[case.id] = case
    return found


def actual() -> dict[str, str]:
    """What the placeholders stood for in that run: ``{db.mynet.ip4}`` and the like, without their braces."""
    return {key.strip("{}."): value.rstrip(".") for key, value in document()["meta"]["actual"].items()}


def topology() -> dict[str, str]:
    """The commands that made the networks and containers, by what they made."""
    commands: dict[str, str] = document()["meta"]["topology"]
    return commands


def captures() -> dict[str, dict[str, Any]]:
    """What stood in the containers' files, by container."""
    return {key: value for key, value in document()["captures"].items() if not key.startswith("@")}
