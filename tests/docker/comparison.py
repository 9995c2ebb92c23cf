"""Every question asked of both resolvers, and what came of it as a table."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.docker.beside import ANSWER_WITHIN_S, Beside, Outcome, is_from_upstream
from tests.docker.daemon import Daemon
from tests.docker.questions import ASKERS, SILENT, Question, questions
from tests.docker.topology import Topology

SAME, BETTER, WRONG = "same", "better", "WRONG"
_SILENT_WITHIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Compared:
    """One question with both answers."""

    question: Question
    name: str
    """The question's, placeholders filled in."""
    docker: Outcome
    pydns: Outcome
    expected: Outcome | None
    """What pydns has to say on purpose; None where it is to say what Docker says."""

    @property
    def verdict(self) -> str:
        """`SAME`, `BETTER` when it differs just as it has to, else `WRONG`."""
        if self.expected is None:
            return SAME if self.pydns.same_as(self.docker) else WRONG
        as_said = self.pydns.same_as(self.expected) and self.pydns.has_soa == self.expected.has_soa
        # a difference that is none any more has no place in the list
        return BETTER if as_said and not self.pydns.same_as(self.docker) else WRONG

    @property
    def has_left(self) -> bool:
        """True when pydns has asked the upstream."""
        return is_from_upstream(self.pydns)

    def __str__(self) -> str:
        return (
            f"{self.question.asker} asks {self.name} {self.question.rtype} ({self.verdict}):\n"
            f"  Docker   {_full(self.docker)}\n  pydns    {_full(self.pydns)}\n"
            f"  expected {'the same' if self.expected is None else _full(self.expected)}"
        )


@contextmanager
def side_by_side(daemon: Daemon, topology: Topology) -> Iterator[dict[str, Beside]]:
    """pydns running beside Docker's resolver in every container that asks."""
    with ExitStack() as stack:
        started = {
            asker: stack.enter_context(Beside(daemon, asker, _filled(topology, networks)))
            for asker, networks in ASKERS.items()
        }
        for beside in started.values():
            beside.wait_ready()
        yield started
        for beside in started.values():  # all at once, and each is waited for below
            beside.process.signal(signal.SIGTERM)


def compare(topology: Topology, pairs: dict[str, Beside]) -> list[Compared]:
    """Ask everything; the containers ask at the same time, each one question after the other."""
    by_asker: dict[str, list[Question]] = {asker: [] for asker in pairs}
    for question in questions():
        by_asker[question.asker].append(question)

    def of(asker: str) -> list[Compared]:
        return [_ask(question, topology, pairs[asker]) for question in by_asker[asker]]

    with ThreadPoolExecutor(len(pairs)) as pool:
        return [compared for group in pool.map(of, pairs) for compared in group]


def _ask(question: Question, topology: Topology, beside: Beside) -> Compared:
    name = topology.fill(question.name)
    within_s = _SILENT_WITHIN_S if question.because == SILENT else ANSWER_WITHIN_S
    return Compared(
        question,
        name,
        beside.docker.look_up(name, question.rtype, within_s=within_s),
        beside.pydns.look_up(name, question.rtype),
        question.expected(topology.fill) if question.pydns else None,
    )


def table(results: Sequence[Compared]) -> str:
    """The comparison as Markdown: the differences one by one, then how many questions had which verdict."""
    lines = ["| asker | question | Docker | pydns | verdict |", "|---|---|---|---|---|"]
    for found in sorted(results, key=lambda found: found.verdict):
        verdict = f"{found.verdict}: {found.question.because}" if found.question.because else found.verdict
        asked = f"`{found.question.name} {found.question.rtype}`"
        lines.append(f"| {found.question.asker} | {asked} | {found.docker} | {found.pydns} | {verdict} |")
    counts = Counter(found.verdict for found in results)
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in (SAME, BETTER, WRONG))
    return "\n".join((*lines, "", f"{len(results)} questions of {len(ASKERS)} containers: {said}.", ""))


def _filled(topology: Topology, networks: tuple[str, ...] | str) -> tuple[str, ...] | str:
    return topology.fill(networks) if isinstance(networks, str) else networks


def _full(outcome: Outcome) -> str:
    return f"{outcome} [{' '.join(sorted(outcome.flags))}]{' with SOA' if outcome.has_soa else ''}"
