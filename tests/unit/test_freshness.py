"""Keeping up to date, also when one of the inputs hangs."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from resolver import freshness
from resolver.freshness import Freshness


class Hanging:
    """An input whose reading ends when somebody says so."""

    def __init__(self, path: Path) -> None:
        self.paths = (path,)
        self.begun = 0
        self.may_end = threading.Event()

    def refresh(self) -> bool:
        self.begun += 1
        assert self.may_end.wait(30)
        return True


class Counting:
    """One that is another whenever ``text`` is."""

    def __init__(self, path: Path) -> None:
        self.paths = (path,)
        self.text = ""
        self._read = ""

    def refresh(self) -> bool:
        was, self._read = self._read, self.text
        return was != self._read


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 (what is waited for says nothing)
            await asyncio.sleep(0.01)


def test_one_that_hangs_holds_up_no_other_and_counts_when_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(freshness, "READING_S", 0.5)

    async def main() -> None:
        hanging, other = Hanging(tmp_path / "hangs"), Counting(tmp_path / "other")
        published: list[int] = []

        async def take_over() -> bool:
            return True

        fresh = Freshness((hanging, other), lambda: False, take_over, published.append)
        keeper = asyncio.get_running_loop().create_task(fresh.keep())
        try:
            await until(lambda: any("hangs: warning: has not been read within" in str(fault) for fault in fresh.faults))
            before = len(published)
            other.text = "new"
            fresh.files_changed()
            await until(lambda: len(published) > before)
            assert 1 == hanging.begun, "it is not begun a second time while it hangs"

            before = len(published)
            hanging.may_end.set()
            await until(lambda: len(published) > before)
            await until(lambda: not fresh.faults)
        finally:
            hanging.may_end.set()
            keeper.cancel()
            fresh.stop()

    asyncio.run(main())
    assert 1 == sum("hangs: warning: has not been read" in record.message for record in caplog.records)


class Reading:
    """An input that notes when it was read."""

    def __init__(self, path: Path) -> None:
        self.paths = (path,)
        self.read: list[str] = []

    def refresh(self) -> bool:
        self.read.append(self.paths[0].read_text())
        return True


def test_without_files_to_open_it_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be opened at first is there as soon as it can."""
    monkeypatch.setattr(freshness, "TRY_AGAIN_S", 0.05)
    file = tmp_path / "file"
    file.write_text("old")

    class Text:
        paths = (file,)
        text = ""
        readings = 0

        def refresh(self) -> bool:
            self.readings += 1
            if self.readings == 1:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            was, self.text = self.text, file.read_text()
            return was != self.text

    async def main() -> None:
        async def take_over() -> bool:
            return True

        text = Text()
        fresh = Freshness((text,), lambda: False, take_over, lambda _: None)
        keeper = asyncio.get_running_loop().create_task(fresh.keep())
        try:
            await until(lambda: text.text == "old")
            file.write_text("new")
            await until(lambda: text.text == "new")
        finally:
            keeper.cancel()
            fresh.stop()

    asyncio.run(main())

    said = "a reload failed, and is tried again: Too many open files; the last good state serves on"
    assert [record.getMessage() for record in caplog.records] == [said]
    assert not caplog.records[0].exc_info


def test_a_writer_without_end_is_waited_for_once(tmp_path: Path) -> None:
    """The file is never at rest, and is read all the same; further readings wait no second time for that."""
    path = tmp_path / "file"
    path.write_text("1")
    may_end = threading.Event()

    def write() -> None:
        while not may_end.wait(0.002):
            path.write_text("2")

    async def main() -> None:
        reading, published = Reading(path), asyncio.Event()

        async def take_over() -> bool:
            return True

        fresh = Freshness((reading,), lambda: False, take_over, lambda _: published.set())
        loop = asyncio.get_running_loop()
        writer = threading.Thread(target=write)
        writer.start()
        keeper = loop.create_task(fresh.keep())
        try:
            await asyncio.wait_for(published.wait(), 20)
            assert "2" in "".join(reading.read)
            assert len(reading.read) <= freshness._READINGS
        finally:
            may_end.set()
            writer.join()
            keeper.cancel()
            fresh.stop()

    asyncio.run(main())
