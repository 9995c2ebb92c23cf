"""No half of a file is read: with real inotify, and real writers that take their time."""

from __future__ import annotations

import asyncio
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
