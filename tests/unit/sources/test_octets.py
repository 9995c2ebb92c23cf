"""What is read, and what is not even opened."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from resolver.sources.octets import read_octets


def test_a_file_is_read_and_dev_null_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"text")
    (tmp_path / "link").symlink_to("file")

    assert b"text" == read_octets(tmp_path / "link")
    assert b"" == read_octets(Path(os.devnull))


@pytest.mark.parametrize("kind", ["FIFO", "socket", "device"])
def test_what_might_block_or_never_end_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    else:
        path.symlink_to("/dev/zero")

    with pytest.raises(OSError, match=f"it is a {kind}"):
        read_octets(path)


def test_a_fifo_that_comes_in_the_last_moment_does_not_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    regular = (tmp_path / "file").stat()
    monkeypatch.setattr(Path, "stat", lambda _: regular)

    with pytest.raises(OSError, match="it is a FIFO"):
        read_octets(tmp_path / "fifo")


def test_a_folder_and_nothing_are_the_systems_own_errors(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        read_octets(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_octets(tmp_path / "none")
