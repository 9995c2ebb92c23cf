"""No half of a file is read: with real inotify, and real writers that take their time."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from resolver.content import Content
from resolver.hostconf import HostResolvConf
from resolver.sources import writers as writers_module
from resolver.sources.aardvark import AardvarkFolder
from resolver.sources.files import RegistryFiles
from resolver.sources.octets import Unfinished, read_octets
from resolver.sources.watch import FileWatch
from resolver.sources.writers import Writers
from resolver.views import ViewSettings


@contextmanager
def watched(path: Path) -> Iterator[Writers]:
    """Writers that hear of what happens to a path, with a loop on a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    writers = Writers()

    async def start() -> FileWatch:
        return FileWatch(loop, lambda: None, writers)

    async def stop() -> None:
        watch.stop()

    watch = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        watch.follow([path])
        yield writers
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def read_in_the_end(writers: Writers, path: Path) -> bytes:
    deadline = time.monotonic() + 10
    while True:
        with suppress(Unfinished):
            return writers.read(path)
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_file_that_is_open_and_written_to_is_not_read_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with watched(tmp_path) as writers:
        with path.open("w") as file:
            file.write("half")
            file.flush()
            time.sleep(2 * writers_module.SETTLED_S)
            with pytest.raises(Unfinished):
                writers.read(path)
            file.write(" and half")
        assert b"half and half" == read_in_the_end(writers, path)


@pytest.mark.parametrize("how", ["closed", "moved to its place"])
def test_a_complete_file_is_read_however_young_it_is(tmp_path: Path, how: str) -> None:
    """Again and again, without a moment in which it is older than that."""
    path, draft = tmp_path / "a", tmp_path / "draft"
    path.write_text("0")
    with watched(path) as writers:
        for number in range(1, 50):
            (draft if how != "closed" else path).write_text(str(number))
            if how != "closed":
                draft.rename(path)
            assert str(number).encode() == read_in_the_end(writers, path)


def test_no_half_is_ever_read_of_a_file_that_is_rewritten_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its writer stops for a while in the midst of it, now and then for longer than files need to settle."""
    monkeypatch.setattr(writers_module, "OPEN_S", 5.0)  # a loaded machine may stop it for longer than it is waited for
    path = tmp_path / "a"
    path.write_bytes(b"<" + b"x" * 50_000 + b">")
    may_end = threading.Event()

    def write() -> None:
        number = 0
        while not may_end.is_set():
            number += 1
            with path.open("wb", buffering=0) as file:
                file.write(b"<" + b"abcdefg"[number % 7 : number % 7 + 1] * 25_000)
                time.sleep((0, 0.0005, 0.003, 0.05)[number % 4])
                file.write(b"abcdefg"[number % 7 : number % 7 + 1] * 25_000 + b">")
            time.sleep((0, 0.001, 0.002)[number % 3])

    with watched(path) as writers:
        thread = threading.Thread(target=write)
        thread.start()
        whole, ends = 0, time.monotonic() + 2
        try:
            while time.monotonic() < ends:
                with suppress(Unfinished):
                    octets = writers.read(path)
                    assert (50_002, b"<", b">") == (len(octets), octets[:1], octets[-1:])
                    assert 1 == len(set(octets[1:-1])), "two states in one reading"
                    whole += 1
        finally:
            may_end.set()
            thread.join()
    assert whole > 5


def test_what_was_written_while_it_was_read_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its writer ends after the reader's last look and before the reader has closed it: a moment, on a busy machine."""
    path = tmp_path / "a"
    path.write_text("old")
    with watched(path) as writers:
        assert b"old" == read_in_the_end(writers, path)
        file = path.open("w")
        file.write("half")
        file.flush()
        looks: list[int] = []
        look = os.fstat

        def look_and_be_late(descriptor: int) -> os.stat_result:
            found = look(descriptor)
            looks.append(descriptor)
            if len(looks) == 2:  # before and after the reading
                file.write(" and half")
                file.close()
            return found

        monkeypatch.setattr(os, "fstat", look_and_be_late)
        with pytest.raises(Unfinished):
            writers.read(path)
        assert len(looks) == 2
        monkeypatch.undo()
        assert b"half and half" == read_in_the_end(writers, path)


def test_what_has_lost_all_it_held_is_waited_for(tmp_path: Path) -> None:
    """No event tells of it before it is done, so that the end of the writer before may be taken for its own."""
    path = tmp_path / "a"
    path.write_text("old")
    with watched(path) as writers:
        assert b"old" == read_in_the_end(writers, path)
        began = time.monotonic()
        path.write_text("")
        assert b"" == read_in_the_end(writers, path)
        assert time.monotonic() - began >= writers_module.OPEN_S
        path.write_text("new")
        assert b"new" == read_in_the_end(writers, path)


def test_a_file_that_was_not_there_is_read_as_soon_as_it_has_come(tmp_path: Path) -> None:
    path = tmp_path / "a"
    took_s = 0.0
    with watched(path) as writers:
        for number in range(8):
            with pytest.raises(FileNotFoundError):
                writers.read(path)
            began = time.monotonic()
            path.write_text(str(number))
            assert str(number).encode() == read_in_the_end(writers, path)
            took_s += time.monotonic() - began
            path.unlink()
    assert took_s < 1, "an event was waited for that nothing had brought about"


def test_who_writes_without_end_is_kept_off_for_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers_module, "OPEN_PATIENCE_S", 0.2)
    path = tmp_path / "a"
    path.write_text("")
    asked: list[float] = []
    with watched(path) as writers, path.open("w") as file:
        writers.look_again = asked.append
        began = time.monotonic()
        read = b""
        while not read:
            file.write("more ")
            file.flush()
            with suppress(Unfinished):
                read = writers.read(path)
            assert time.monotonic() - began < 10
        assert time.monotonic() - began >= 0.2
    assert asked, "a file that was kept off is worth another look"


def test_a_change_of_attributes_is_no_writing(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with watched(path) as writers:
        for number in range(20):
            path.write_text(f"new {number}")
            path.chmod(0o600 + number % 2)
            assert f"new {number}".encode() == read_in_the_end(writers, path)
            time.sleep(0.005)
            assert f"new {number}".encode() == writers.read(path)


def test_before_anybody_watches_files_are_read_as_they_are(tmp_path: Path) -> None:
    with (tmp_path / "a").open("w") as file:
        file.write("half")
        file.flush()
        assert b"half" == Writers().read(tmp_path / "a")


def test_a_file_without_events_is_read_when_it_has_settled(tmp_path: Path) -> None:
    """As one on a network, or one that is mounted by itself."""
    writers = Writers()
    writers.are_told = True
    writers.silent = frozenset((str(tmp_path / "a"),))
    (tmp_path / "a").write_text("new")
    with pytest.raises(Unfinished):
        writers.read(tmp_path / "a")
    until(lambda: not writers.is_unfinished(str(tmp_path / "a")))
    assert b"new" == writers.read(tmp_path / "a")


def test_what_a_file_said_stays_while_it_is_being_written(tmp_path: Path) -> None:
    """For registry files, zones, resolv.conf and netavark's folder alike; one that is new is not there yet."""
    busy: set[Path] = set()

    def read(path: Path) -> bytes:
        if path in busy:
            raise Unfinished(11, "somebody is writing it")
        return read_octets(path)

    zone = "$ORIGIN {}.test.\n$TTL 60\n@ SOA ns host 1 60 60 60 60\n@ NS ns\nns A 192.0.2.1\n"
    texts = {
        "a.toml": '[networks.n.endpoints.web]\naddresses = ["10.0.0.2"]\n',
        "one.zone": zone.format("one"),
        "resolv.conf": "nameserver 192.0.2.53\n",
        "netavark": "10.89.0.1\n" + "0" * 64 + " 10.89.0.2  web\n",
    }
    folders = {name: tmp_path / name.replace(".", "-") for name in texts}
    for name, text in texts.items():
        folders[name].mkdir()
        (folders[name] / name).write_text(text)
    content = Content([folders["a.toml"]], [folders["one.zone"]], ViewSettings(), read=read)
    conf = HostResolvConf(folders["resolv.conf"] / "resolv.conf", read=read)
    aardvark = AardvarkFolder(folders["netavark"], read)
    assert content.refresh()
    assert conf.refresh()
    before = aardvark.refresh()
    size = dict(content.size())
    assert {"networks": 1, "endpoints": 1, "hosts": 0, "zones": 1} == size
    for name in texts:
        (folders[name] / name).write_text("")
        busy.add(folders[name] / name)
    for name in ("a.toml", "one.zone", "netavark"):
        fresh = folders[name] / f"2{name}"
        fresh.write_text("half")
        busy.add(fresh)

    assert not content.refresh()
    assert not conf.refresh()
    assert before == aardvark.refresh()
    assert size == content.size()
    assert () == content.faults
    assert ("192.0.2.53",) == conf.conf.nameservers

    assert RegistryFiles([folders["a.toml"]], read).refresh().contributions == ()
    busy.clear()
    (folders["one.zone"] / "2one.zone").write_text(zone.format("two"))
    assert content.refresh()
    assert 2 == content.size()["zones"]
