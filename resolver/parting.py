"""Frees former views piece by piece: a million names at once would stop all answers for half a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

from resolver.views import Views

PIECE = 1000
PAUSE_S = 0.0005


def part_with(former: Views, present: Views) -> threading.Thread:
    """Take apart, on a thread that is returned, what ``present`` views do not have of ``former`` ones.

    Nobody may answer from the former ones any more.
    """
    thread = threading.Thread(target=_take_apart, args=([former], present), name="parting", daemon=True)
    thread.start()
    return thread


def _take_apart(held: list[Views], present: Views) -> None:
    former = held.pop()
    tables, lists = list(_tables(former, present)), list(_lists(former, present))
    del former
    for table in tables:
        while table:
            for _ in range(min(PIECE, len(table))):
                table.popitem()
            time.sleep(PAUSE_S)
    for items in lists:
        while items:
            del items[-PIECE:]
            time.sleep(PAUSE_S)


def _tables(former: Views, present: Views) -> Iterator[dict[Any, Any]]:
    if former.hosts is not present.hosts:
        yield from (former.hosts.names, former.hosts.by_address)
    for name, table in former.tables.items():
        if present.tables.get(name) is not table:
            yield from (table.names, table.by_address)


def _lists(former: Views, present: Views) -> Iterator[list[Any]]:
    if former.snapshot.hosts is not present.snapshot.hosts:
        yield list(former.snapshot.hosts)
    for name, network in former.snapshot.networks.items():
        if present.snapshot.networks.get(name) is not network:
            yield list(network.endpoints)
