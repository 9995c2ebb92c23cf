"""Servers of a test's own: `serve` starts as many as a test wants, and ends them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.live import Live

Serve = Callable[..., Live]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start a `pydns serve` with `Live`'s options and wait until it is ready."""
    with ExitStack() as stack:
        started: list[Live] = []

        def start(**options: Any) -> Live:
            live = Live(tmp_path / f"server-{len(started)}", **options)
            started.append(live)
            return stack.enter_context(live)

        yield start
