"""What is wrong between us and a daemon, as faults: it is away, it does not answer, it tells of nonsense."""

from __future__ import annotations

from resolver.errors import Fault
from resolver.registry.model import SHORT_ID_LENGTH
from resolver.sources.docker.client import DaemonError
from resolver.sources.docker.shape import fault, shown


class Troubles:
    """The troubles of one source."""

    def __init__(self, place: str) -> None:
        self.away: Fault | None = None
        """Why there is no connection."""
        self.event: Fault | None = None
        """An event that made no sense since the last full sync: what it told of is not known."""
        self._place = place
        self._unanswered: dict[str, Fault] = {}
        """Why there is no answer about a container or network, by its id."""

    @property
    def faults(self) -> tuple[Fault, ...]:
        """All of them."""
        single = (self.away, self.event)
        return (*(found for found in single if found is not None), *self._unanswered.values())

    @property
    def subjects(self) -> tuple[str, ...]:
        """What there is no answer about."""
        return tuple(self._unanswered)

    def is_away(self, host: str, error: DaemonError, *, is_served: bool) -> None:
        """There is no connection; questions are open no longer."""
        served = "; what was known of it last is served" if is_served else ""
        self.away = fault(self._place, f"{host}: {error}{served}", error.fix, is_warning=False)
        self._unanswered.clear()

    def made_no_sense(self, raw: object) -> None:
        """An event made none; the first one since a full sync is shown."""
        if self.event is None:
            message = f"an event makes no sense: {shown(raw)}; left out, a full sync will tell what it was about"
            self.event = fault(self._place, message)

    def no_answer(self, what: str, subject: str, error: DaemonError) -> bool:
        """There is none about a container or network; True when that is new."""
        is_new = subject not in self._unanswered
        message = f"nothing is known of it, or nothing new: {error}; asking again"
        self._unanswered[subject] = fault(self._place, message, key=f"{what} {subject[:SHORT_ID_LENGTH]}")
        return is_new

    def answered(self, subject: str) -> None:
        """There is one, or there is no question any more."""
        self._unanswered.pop(subject, None)
