"""What becomes of a container's names when something is done to it, in Docker's resolver and in pydns beside it.

Docker's resolver has changed when the docker command returns. pydns hears of it by the daemon's events: after each
command it is asked until it agrees on every name, and the time that this took is kept.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.docker.beside import Beside, Outcome, is_from_upstream
from tests.docker.daemon import Daemon
from tests.docker.image import BASE
from tests.docker.topology import reverse

AGREES_WITHIN_S = 5.0

RUN = ("run", "--detach", "--network", "life")
STEPS: dict[str, tuple[str, ...]] = {
    "run": (*RUN, "--name", "subject", "--network-alias", "sub", "--hostname", "host-1", BASE),
    "pause": ("pause", "subject"),
    "unpause": ("unpause", "subject"),
    "stop": ("stop", "subject"),
    "start": ("start", "subject"),
    "kill": ("kill", "subject"),
    "start after kill": ("start", "subject"),
    "restart": ("restart", "subject"),
    "rename": ("rename", "subject", "renamed"),
    "rename back": ("rename", "renamed", "subject"),
    "disconnect": ("network", "disconnect", "life", "subject"),
    "connect, which loses the alias": ("network", "connect", "life", "subject"),
    "disconnect again": ("network", "disconnect", "life", "subject"),
    "connect with another alias": ("network", "connect", "--alias", "later", "life", "subject"),
    "connect to a network that the asker is not on": ("network", "connect", "--alias", "far", "beyond", "subject"),
    "run another one with the same alias": (*RUN, "--name", "second", "--network-alias", "later", BASE),
    "stop the other one": ("stop", "second"),
    "start the other one": ("start", "second"),
    "stop it again": ("stop", "second"),
    "disconnect a stopped one": ("network", "disconnect", "life", "second"),
    "create without a start": ("create", "--name", "third", "--network", "life", BASE),
    "start what was created": ("start", "third"),
    "end by itself": ("run", "--name", "brief", "--network", "life", BASE, "true"),
    "remove one that runs": ("rm", "--force", "third"),
    "remove the last": ("rm", "--force", "subject"),
}
"""What is done, one after the other: the words for docker."""

_NAMES = ("subject", "SUBJECT", "sub", "host-1", "renamed", "later", "far", "second", "third", "brief")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was done, and what came of it."""

    title: str
    known: tuple[str, ...]
    """The questions that Docker answers itself now."""
    disagreed: tuple[str, ...]
    """Where pydns said something else at last; empty when it agreed in time."""
    took_s: float
    """From the end of the docker command to the round of questions in which pydns agreed; 0 for the first round."""


def agrees(docker: Outcome, pydns: Outcome) -> bool:
    """True when both know a name alike, or neither does: then Docker asks the world, and pydns says so itself."""
    if is_from_upstream(docker):
        return not pydns.answers and pydns.has_soa
    return pydns.same_as(docker)


class Lifecycle:
    """Does the steps, and asks after each."""

    def __init__(self, daemon: Daemon, beside: Beside) -> None:
        self._daemon = daemon
        self._beside = beside
        self._addresses: set[str] = set()
        self._ids: set[str] = set()

    def steps(self) -> Iterator[Step]:
        """Every step's outcome."""
        for title, words in STEPS.items():
            self._daemon.docker(*words)
            began = time.monotonic()
            self._note_addresses()
            yield self._settle(title, began)

    def _settle(self, title: str, began: float) -> Step:
        questions = list(self._questions())
        rounds = 0
        while True:
            asked = time.monotonic()
            found = [(f"{name} {rtype}", *self._ask(name, rtype)) for name, rtype in questions]
            wrong = tuple(
                f"{what}: Docker {docker}, pydns {pydns}" for what, docker, pydns in found if not agrees(docker, pydns)
            )
            if not wrong or asked - began > AGREES_WITHIN_S:
                known = tuple(what for what, docker, _ in found if _answers_itself(docker))
                return Step(title, known, wrong, asked - began if rounds else 0.0)
            rounds += 1

    def _ask(self, name: str, rtype: str) -> tuple[Outcome, Outcome]:
        return self._beside.docker.look_up(name, rtype), self._beside.pydns.look_up(name, rtype)

    def _questions(self) -> Iterator[tuple[str, str]]:
        for name in (*_NAMES, *sorted(self._ids)):
            yield from ((name, "A"), (f"{name}.life", "A"), (f"{name}.beyond", "A"))
        yield from (("subject", "AAAA"), ("subject", "MX"))
        yield from ((reverse(address), "PTR") for address in sorted(self._addresses))

    def _note_addresses(self) -> None:
        """Remember each id and each address that there ever was."""
        for listed in self._daemon.get("/containers/json?all=1"):
            if listed["Names"] != [f"/{self._beside.container}"]:
                self._ids.add(listed["Id"][:12])
                networks = listed["NetworkSettings"]["Networks"].values()
                self._addresses.update(address for network in networks if (address := network["IPAddress"]))


def settles(beside: Beside, name: str, rtype: str = "A") -> tuple[Outcome, Outcome]:
    """What both say of a name, as soon as they agree; what they said last when they do not in time."""
    began = time.monotonic()
    while True:
        said = beside.docker.look_up(name, rtype), beside.pydns.look_up(name, rtype)
        if agrees(*said) or time.monotonic() - began > AGREES_WITHIN_S:
            return said


def _answers_itself(docker: Outcome) -> bool:
    return bool(docker.answers) and not is_from_upstream(docker)


@contextlib.contextmanager
def watched(daemon: Daemon) -> Iterator[Lifecycle]:
    """The two networks, and a container from which both resolvers are watched."""
    for network in ("life", "beyond"):
        daemon.docker("network", "create", network)
    daemon.docker(*RUN, "--name", "watcher", BASE)
    with Beside(daemon, "watcher", ["life"]) as beside:
        beside.wait_ready()
        yield Lifecycle(daemon, beside)


def table(steps: Sequence[Step]) -> str:
    """The steps as Markdown."""
    lines = ["| after | Docker answers itself | pydns agrees |", "|---|---|---|"]
    for step in steps:
        names = ", ".join(f"`{name}`" for name in step.known) or "nothing"
        agreed = f"after {step.took_s * 1000:.0f} ms" if step.took_s else "when the command is back"
        lines.append(f"| {step.title} | {names} | {'never' if step.disagreed else agreed} |")
    return "\n".join((*lines, ""))
