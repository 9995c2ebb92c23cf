"""How a bounded number of places is shared among clients, so that none can take them all. No I/O and no clock.

A client is admitted while it holds fewer places than are free (Choudhury and Hahne, "Dynamic queue length thresholds
for shared-memory packet switches", 1998). So one client alone may hold half of the places, two a third each, and k of
them leave one part in k + 1 for whoever comes next; nobody's share has to be configured. Who came first may hold more
until its look-ups end, and a client that holds nothing is admitted as long as there is any place.

| places | one client alone | two clients | ten clients           |
|--------|------------------|-------------|-----------------------|
| 1      | 1                | 1 and 0     | 1 for one of them     |
| 2      | 1                | 1 each      | 1 each for two        |
| 10     | 5                | 4 and 3     | 1 each                |
| 1024   | 512              | 341 each    | 93 each               |
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Hashable


class Bound(enum.StrEnum):
    """What a look-up was refused by; the values are metric labels."""

    ALL = "all"
    """Every place is taken."""
    SHARE = "share"
    """This client holds as many as are free."""
    CLIENT = "client"
    """This client holds as many as any may."""


class Shares:
    """Who holds how many places. A client that holds none takes no memory."""

    __slots__ = ("_held", "refused", "taken")

    def __init__(self, refused: Counter[Bound] | None = None) -> None:
        """``refused`` is where refusals are counted, if that is shared with others."""
        self.refused: Counter[Bound] = Counter() if refused is None else refused
        self.taken = 0
        """Places that are taken now."""
        self._held: dict[Hashable, int] = {}

    def __len__(self) -> int:
        """How many clients hold a place."""
        return len(self._held)

    def held(self, client: Hashable) -> int:
        """How many places a client holds."""
        return self._held.get(client, 0)

    def take(self, client: Hashable | None, places: int, most: int = 0) -> Bound | None:
        """Take one of ``places``, of which one client may hold ``most`` (0: as many as its share is).

        None says that it is taken, to be brought back by `give_back`; else it is not, and counted. The client None
        stands for nobody in particular, such as ourselves, and is bounded by the places alone.
        """
        free = places - self.taken
        bound = None
        if free <= 0:
            bound = Bound.ALL
        elif client is not None:
            held = self._held.get(client, 0)
            if most and held >= most:
                bound = Bound.CLIENT
            elif held >= free:
                bound = Bound.SHARE
            else:
                self._held[client] = held + 1
        if bound is None:
            self.taken += 1
        else:
            self.refused[bound] += 1
        return bound

    def give_back(self, client: Hashable | None) -> None:
        """A place that ``client`` took is free again."""
        self.taken -= 1
        if client is None:
            return
        held = self._held[client] - 1
        if held:
            self._held[client] = held
        else:
            del self._held[client]
