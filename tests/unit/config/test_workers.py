"""`server.workers`: a number, or auto."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from resolver.config.load import Override, load
from resolver.config.workers import MOST
from resolver.errors import ConfigError


def workers(value: Any) -> int:
    return load(None, [Override(("server", "workers"), value, "--workers")]).workers


def test_it_is_one_unless_somebody_says_otherwise() -> None:
    assert load(None).workers == 1


@pytest.mark.parametrize(("value", "number"), [(1, 1), ("1", 1), (2, 2), ("3", 3), (MOST, MOST)])
def test_a_number_as_a_file_or_a_flag_has_it(value: object, number: int) -> None:
    assert workers(value) == number


def test_auto_is_the_cpus_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for cpus, number in (({3}, 1), ({0, 1, 5}, 3), (set(range(500)), MOST)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cpus=cpus: cpus)
        assert workers("auto") == number


@pytest.mark.parametrize("value", [0, -1, MOST + 1, "0", "-2", "lots", "", "1.5", 1.5, True, [2], "²", "9" * 30])
def test_anything_else_is_refused_with_what_to_write(value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        workers(value)
    (fault,) = caught.value.faults
    assert (fault.place, fault.message) == ("--workers", f"{value!r} is no number of processes")
    assert '"auto"' in fault.fix


def test_a_wrong_one_is_found_beside_other_faults(tmp_path: Path) -> None:
    (tmp_path / "pydns.toml").write_text('[server]\nworkers = 0\nlisten = ["nowhere"]\n')
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "pydns.toml")
    assert sorted(fault.key for fault in caught.value.faults) == ["server.listen", "server.workers"]
