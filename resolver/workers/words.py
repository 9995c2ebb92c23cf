"""What a worker logs: with its number, and without what its feeder says as well or another worker has said already."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

FEEDERS = ("resolver.app", "resolver.assembly", "resolver.content", "resolver.hostconf")
"""Loggers of what the feeder reads, and tells of, itself."""
EVERYBODYS = "resolver.forward"
"""Above the loggers of what each worker finds out for itself, as how upstreams do."""
AGAIN_S = 30.0
"""For how long what one worker has said is not said by the others."""

Told = Callable[[str, int, str], None]


def speak_as(number: int, told: Told) -> None:
    """In a process that was just forked: log as this worker; ``told`` takes what the feeder is to sift."""
    stream = open(os.dup(2), "w", buffering=1, errors="backslashreplace")  # noqa: SIM115 (the old one may be locked)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.stream = stream
        handler.addFilter(_Worker(number))
    for name in FEEDERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    everybodys = logging.getLogger(EVERYBODYS)
    everybodys.propagate = False
    everybodys.addHandler(_ToFeeder(told))


class _Worker(logging.Filter):
    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = f"worker {self._number}: {record.msg}"
        return True


class _ToFeeder(logging.Handler):
    def __init__(self, told: Told) -> None:
        super().__init__()
        self._told = told

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        self._told(record.name, record.levelno, text)


class Sieve:
    """Says what workers have found out, once."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._said: dict[tuple[str, str], tuple[int, float]] = {}

    def say(self, worker: int, name: str, level: int, text: str) -> None:
        """One of them has found something out."""
        now = self._now()
        self._said = {key: value for key, value in self._said.items() if value[1] > now - AGAIN_S}
        first, _ = self._said.setdefault((name, text), (worker, now))
        if first == worker:
            logging.getLogger(name).log(level, "worker %s: %s", worker, text)
