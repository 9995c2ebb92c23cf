"""A folder to run the program in, with a registry of two networks and a resolv.conf that leads nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.program import TWO
from tests.scenarios.conftest import serve

__all__ = ["folder", "serve"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files: two.toml, resolv.conf."""
    (tmp_path / "two.toml").write_text(TWO)
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.77\nnameserver 127.0.0.78\n")
    return tmp_path
