"""The world of the namespace tests: one for each module, with or without its sidecars."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.world import CONTAINERS, Sidecar, World


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A fresh world without sidecars; whatever a module leaves in it goes with it."""
    with World() as made:
        yield made


@pytest.fixture(scope="module")
def sidecars(world: World) -> dict[str, Sidecar]:
    """One sidecar in each container of the module's world, all serving at once."""
    started = {name: world.launch(name) for name in CONTAINERS}
    for sidecar in started.values():
        sidecar.wait_ready()
    return started


@pytest.fixture(scope="session")
def musl_gai(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of a static program that asks musl's getaddrinfo."""
    program = tmp_path_factory.mktemp("musl") / "muslgai"
    source = Path(__file__).with_name("muslgai.c")
    subprocess.run(["musl-gcc", "-static", "-O2", "-Wall", "-Werror", "-o", program, source], check=True)
    return str(program)
