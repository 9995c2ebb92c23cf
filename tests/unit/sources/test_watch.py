"""What is watched, and when it is told; with real inotify where that is the point."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from resolver.sources import watch
from resolver.sources.watch import FileWatch, places_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Without a link in its own path."""
    return Path(os.path.realpath(tmp_path))


def test_a_file_is_watched_with_its_folder(folder: Path) -> None:
    """A rename over it is seen only in the folder, a write through a bind mount only on the file."""
    (folder / "a.toml").touch()

    assert {folder, folder / "a.toml"} == places_of(folder / "a.toml")


def test_a_file_that_is_not_there_yet_is_watched_in_its_folder(folder: Path) -> None:
    assert folder in places_of(folder / "a.toml")


def test_a_folder_is_watched_with_its_files(folder: Path) -> None:
    (folder / "a.toml").touch()
    (folder / "sub").mkdir()

    assert {folder, folder / "a.toml"} == places_of(folder)


def test_every_folder_of_a_chain_of_links_is_watched(folder: Path) -> None:
    """As Kubernetes swaps ``..data``: file → ..data/file → ..2024/file."""
    (folder / "..2024").mkdir()
    (folder / "..2024" / "a.toml").touch()
    (folder / "..data").symlink_to("..2024")
    (folder / "a.toml").symlink_to("..data/a.toml")
    expected = {folder, folder / "..2024", folder / "..2024" / "a.toml"}

    assert expected == places_of(folder / "a.toml")
    assert expected <= places_of(folder)


def test_links_in_a_circle_come_to_an_end(folder: Path) -> None:
    (folder / "a.toml").symlink_to("b.toml")
    (folder / "b.toml").symlink_to("a.toml")

    assert folder in places_of(folder / "a.toml")
    assert folder in places_of(folder)


def test_a_relative_path_is_one_of_the_working_directory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)

    assert folder in places_of(Path("a.toml"))


class Watched:
    """A watch on one path, and how to wait for what it tells."""

    def __init__(self, path: Path) -> None:
        self.told = asyncio.Event()
        self.count = 0
        self.watch = FileWatch(asyncio.get_running_loop(), self._tell)
        self.watch.start([path])

    def _tell(self) -> None:
        self.count += 1
        self.told.set()

    async def wait(self) -> None:
        await asyncio.wait_for(self.told.wait(), 4)
        self.told.clear()


def run(path: Path, scenario: Callable[[Watched], Awaitable[None]]) -> None:
    async def main() -> None:
        watched = Watched(path)
        try:
            await scenario(watched)
        finally:
            watched.watch.stop()

    asyncio.run(main())


def written(path: Path) -> None:
    path.write_text("new")


def renamed(path: Path) -> None:
    (path.parent / "tmp").write_text("new")
    (path.parent / "tmp").rename(path)


def removed(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("change", [written, renamed, removed])
def test_a_change_of_a_file_is_told(folder: Path, change: Callable[[Path], None]) -> None:
    (folder / "a.toml").write_text("old")

    async def scenario(watched: Watched) -> None:
        change(folder / "a.toml")
        await watched.wait()

    run(folder / "a.toml", scenario)


def test_a_link_that_is_swapped_is_told(folder: Path) -> None:
    for name in ("one", "two"):
        (folder / name).mkdir()
        (folder / name / "a.toml").write_text(name)
    (folder / "data").symlink_to("one")

    async def scenario(watched: Watched) -> None:
        (folder / "data_tmp").symlink_to("two")
        (folder / "data_tmp").rename(folder / "data")
        await watched.wait()

    run(folder / "data" / "a.toml", scenario)


def test_a_burst_is_told_once(folder: Path) -> None:
    async def scenario(watched: Watched) -> None:
        for number in range(20):
            (folder / f"{number}.toml").write_text("x")
        await watched.wait()
        assert watched.count == 1

    run(folder, scenario)


def test_a_folder_that_replaces_another_is_watched_after_a_second_look(folder: Path) -> None:
    """An inode's watch dies with it."""
    (folder / "sub").mkdir()

    async def scenario(watched: Watched) -> None:
        (folder / "sub").rename(folder / "old")
        (folder / "sub").mkdir()
        watched.watch.follow([folder / "sub"])
        (folder / "sub" / "a.toml").write_text("x")
        await watched.wait()

    run(folder / "sub", scenario)


def test_without_events_the_files_are_looked_at_all_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File systems exist that send none."""
    monkeypatch.setattr(watch, "RECHECK_S", 0.01)

    async def scenario(watched: Watched) -> None:
        await watched.wait()
        await watched.wait()

    run(folder, scenario)


class Clock:
    """An event loop's timers, by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[float] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        self.due.append(when)
        return _Timer()  # type: ignore[return-value]


class _Timer:
    def cancel(self) -> None:
        """Nothing runs by itself here."""


def test_events_that_never_stop_do_not_put_it_off_for_ever() -> None:
    """A change is served within 250 ms of the write's end."""
    clock = Clock()
    files = FileWatch(clock, lambda: None)  # type: ignore[arg-type]
    for step in range(50):
        clock.now = step * 0.01
        files._settle()

    assert watch.QUIET_S == clock.due[0]
    assert watch.LATEST_S == max(clock.due)
