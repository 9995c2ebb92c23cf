"""What is watched, and when it is told; with real inotify where that is the point."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import pytest

from resolver.sources import watch as watch_module
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

    assert {folder.parent, folder, folder / "a.toml"} == places_of(folder)


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


def test_a_folder_that_cannot_be_listed_is_watched_all_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And does not keep the others from being watched."""

    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)

    assert folder in places_of(folder)


def test_a_link_that_vanishes_meanwhile_leaves_its_folder_watched(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.toml").symlink_to("b.toml")

    def gone(_: Path) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(os, "readlink", gone)

    assert folder in places_of(folder / "a.toml")


def test_a_relative_path_is_one_of_the_working_directory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)

    assert folder in places_of(Path("a.toml"))


class Watched:
    """A watch on one path, and how to wait for what it tells."""

    def __init__(self, path: Path) -> None:
        self.told = asyncio.Event()
        self.count = 0
        self.watch = FileWatch(asyncio.get_running_loop(), self._tell)
        self.watch.follow([path])

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


def test_a_write_to_a_file_that_stays_open_is_told(folder: Path) -> None:
    """And once for many of them; it is told of its end as well."""
    (folder / "a.toml").write_text("old")

    async def scenario(watched: Watched) -> None:
        with (folder / "a.toml").open("a") as file:
            for _ in range(20):
                file.write("more")
                file.flush()
            await watched.wait()
            assert 1 == watched.count
        await watched.wait()
        assert 2 == watched.count

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


def test_where_the_kernel_watches_no_more_files_are_compared(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As on a host whose containers have used up fs.inotify.max_user_instances."""
    (folder / "a.toml").write_text("old")
    can_watch = False
    observer = watch_module._observer

    def limited() -> object:
        if can_watch:
            return observer()
        raise OSError(errno.EMFILE, "inotify instance limit reached")

    monkeypatch.setattr(watch_module, "_observer", limited)
    monkeypatch.setattr(watch_module, "RECHECK_S", 60.0)

    async def scenario(watched: Watched) -> None:
        nonlocal can_watch
        for change in (written, renamed, removed):
            change(folder / "a.toml")
            await watched.wait()
        watched.watch.follow([folder, folder / "a.toml"])
        assert 1 == sum(f"{folder} cannot be watched" in line for line in caplog.messages)
        can_watch = True
        watched.watch.follow([folder])
        (folder / "b.toml").write_text("one that only an event tells of")
        await watched.wait()

    run(folder / "a.toml", scenario)


class Clock:
    """An event loop's timers, by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        self.timers.append(Timer(when, callback))
        return self.timers[-1]

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        return self.call_at(self.now + delay, callback)

    def advance(self, now: float) -> None:
        """Let everything happen that is due by then."""
        self.now = now
        due = [timer for timer in self.timers if timer.when <= now]
        self.timers = [timer for timer in self.timers if timer.when > now]
        for timer in due:
            if not timer.is_cancelled:
                timer.callback()


class Timer:
    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


def told_at(event_times: list[float], until: float) -> list[float]:
    """When a watch tells of events at those times, in steps of 10 ms."""
    clock = Clock()
    told: list[float] = []
    files = FileWatch(clock, lambda: told.append(clock.now))  # type: ignore[arg-type]
    for step in range(round(until * 100) + 1):
        clock.advance(step / 100)
        if step / 100 in event_times:
            files._settle()
    return told


def test_a_burst_is_told_once_when_it_is_over() -> None:
    """A writer's events come close together; half of what it writes is not worth reading."""
    assert [0.07] == told_at([0.0, 0.01, 0.02, 0.03], 1)


def test_events_that_never_stop_do_not_put_it_off_for_ever() -> None:
    """A change is served within 250 ms of the write's end."""
    told = told_at([step / 100 for step in range(100)], 1)

    assert 0.15 == told[0]
    assert all(later - sooner <= 0.16 for sooner, later in pairwise(told))


def test_without_any_event_the_files_are_looked_at_every_5_s() -> None:
    """File systems exist that send none."""
    assert [5.0, 10.0, 15.0] == told_at([], 16)
