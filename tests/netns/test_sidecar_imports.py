"""What a sidecar has imported by its first answers: nothing that it has no use for yet."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.netns.world import World
from tests.scenarios.imports import LATE, TELLING, imported

pytestmark = pytest.mark.root


@pytest.fixture
def telling() -> Iterator[World]:
    """A world whose sidecars tell what they import."""
    with World() as quiet:
        quiet.program[:0] = TELLING
        yield quiet


def test_a_sidecar_answers_without_what_it_does_not_need(telling: World) -> None:
    config = telling.tmp / "no-zones.toml"
    config.write_text(
        f"[registry]\nfiles = {json.dumps([str(telling.registry)])}\n"
        f"[forward]\nresolv_conf = {json.dumps(str(telling.resolv_conf))}\n"
    )
    sidecar = telling.sidecar("web", config=config, metrics="127.0.0.1:0")

    # A module is called ready, too.
    telling.wait(lambda: "pydns: ready: " in sidecar.stderr_text(), "the sidecar serves")
    assert telling.ask("web", "db").status == "NOERROR"
    assert telling.ask("web", "+tcp", "db").status == "NOERROR"

    assert imported(sidecar.stderr_text(), LATE) == []
