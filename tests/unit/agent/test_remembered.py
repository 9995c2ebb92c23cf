"""What a start after a crash knows of the run before."""

from __future__ import annotations

from pathlib import Path

import pytest

from resolver.agent.remembered import Remembered

A, B = (4, 101), (4, 102)


def test_a_run_that_was_killed_is_remembered_by_the_next_one_only_with_the_same_list(tmp_path: Path) -> None:
    killed = Remembered(["docker unix:///d.sock", "ci-*"], tmp_path / "run")
    killed.add(A)
    killed.add(B)
    killed.discard(B)

    assert Remembered(["docker unix:///d.sock", "ci-*"], tmp_path / "run").earlier == {A}
    assert Remembered(["docker unix:///d.sock", "lab-*"], tmp_path / "run").earlier == frozenset()


def test_a_run_that_ended_well_leaves_no_file(tmp_path: Path) -> None:
    run = Remembered(["x"], tmp_path)
    run.add(A)
    assert run.path.exists()
    run.discard(A)
    assert list(tmp_path.iterdir()) == []


def test_what_was_left_is_remembered_until_it_is_gone(tmp_path: Path) -> None:
    first = Remembered(["x"], tmp_path)
    first.add(A)
    first.add(B)
    second = Remembered(["x"], tmp_path)
    second.add(A)
    assert Remembered(["x"], tmp_path).earlier == {A, B}
    second.forget_earlier(but=[B])
    second.discard(A)
    assert Remembered(["x"], tmp_path).earlier == {B}


@pytest.mark.parametrize("text", ["junk", "[1]", '[["a", 2]]', "{}"])
def test_a_file_of_somebody_else_is_no_traceback(tmp_path: Path, text: str) -> None:
    path = Remembered(["x"], tmp_path).path
    path.write_text(text)

    assert Remembered(["x"], tmp_path).earlier == frozenset()


def test_a_folder_that_cannot_be_written_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    run = Remembered(["x"], tmp_path / "file/run")
    run.add(A)
    run.add(B)

    assert [record.levelname for record in caplog.records if "cannot be kept" in record.message] == ["WARNING"]
