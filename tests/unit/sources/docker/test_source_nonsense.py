"""The source beside a daemon that says what makes no sense: counted, said once, and put right as soon as it can be."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.unit.sources.docker.heard import connected, run, small, until
from tests.unit.sources.docker.recordings import container, network, of_container, place, whole_id


@pytest.mark.parametrize("body", [b"[]", b'{"Id": 7}', b"{", b'{"message": "broken"}'])
def test_a_container_that_cannot_be_inspected_is_tried_again(tmp_path: Path, body: bytes) -> None:
    async def test(folder: Path) -> None:
        daemon = small(folder)
        path = f"/containers/{whole_id('db')}/json"
        daemon.answers[path] = (500 if b"message" in body else 200, body)
        async with daemon, connected(daemon, resync_s=0.3) as source:
            assert source.names("mynet") == {"web"}
            (fault,) = source.faults
            assert fault.is_warning
            assert f"container {whole_id('db')[:12]}" in str(fault)
            assert source.counts.skipped == 1
            del daemon.answers[path]
            await until(lambda: source.names("mynet") == {"db", "web"})
            assert source.faults == ()

    run(test, tmp_path)


def test_events_that_make_no_sense_are_counted_and_said_once(tmp_path: Path) -> None:
    async def test(folder: Path) -> None:
        async with small(folder) as daemon, connected(daemon) as source:
            for octets in (b"\n", b"{}\n", b"null\n", b"[1]\n", b"{]\n", b'{"Type": 7, "Actor": "x"}\n', b"\xff\n"):
                daemon.emit_raw(octets)
            whole = b'{"Type": "container", "Action": "die", "Actor": {"ID": "%s"}}\n' % whole_id("web").encode()
            daemon.emit_raw(whole[:30])
            await asyncio.sleep(0.01)
            daemon.emit_raw(whole[30:])
            await until(lambda: source.names("mynet") == {"db"})
            assert source.counts.events == 1
            assert source.counts.skipped == 6
            assert source.counts.failures == 0
            (fault,) = source.faults
            assert str(fault).startswith("docker: warning: an event makes no sense: {}; left out")

    run(test, tmp_path)


@pytest.mark.parametrize("is_json", [True, False])
def test_an_event_that_makes_no_sense_brings_the_next_full_sync_forward(tmp_path: Path, is_json: bool) -> None:
    async def test(folder: Path) -> None:
        async with small(folder) as daemon, connected(daemon, resync_s=3600) as source:
            daemon.put(container("api", {"mynet": place("mynet", "172.18.0.4")}))
            if is_json:
                daemon.emit({**of_container("start", "api"), "Actor": None})
            else:
                daemon.emit_raw(b'{"Type": "container", "Action\n')
            await until(lambda: source.faults)
            await until(lambda: "api" in source.names("mynet"))
            await until(lambda: not source.faults)
            assert (source.counts.syncs, source.counts.skipped) == (2, 1)

    run(test, tmp_path)


def test_an_answer_about_another_container_is_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resolver.sources.docker.inspections.RETRY_S", 0.05)

    async def test(folder: Path) -> None:
        daemon = small(folder)
        daemon.answers[f"/containers/{whole_id('web')}/json"] = (200, b'{"Id": "%s"}' % whole_id("db").encode())
        async with daemon, connected(daemon) as source:
            (fault,) = source.faults
            assert "the answer is about something else; asking again" in str(fault)
            daemon.answers.clear()
            await until(lambda: source.names("mynet") == {"db", "web"})
            assert source.faults == ()
            assert source.counts.syncs == 1

    run(test, tmp_path)


def test_complaints_go_with_what_they_are_about(tmp_path: Path) -> None:
    async def test(folder: Path) -> None:
        daemon = small(folder)
        daemon.containers["Z" * 64] = {**container("bad", {}), "Id": "Z" * 64}
        daemon.networks["x"] = network("noid", Id="")
        async with daemon, connected(daemon, resync_s=0.05) as source:
            syncs = source.counts.syncs
            await until(lambda: source.counts.syncs > syncs + 2)
            assert (len(source.faults), source.counts.skipped) == (2, 2)
            del daemon.containers["Z" * 64], daemon.networks["x"]
            await until(lambda: not source.faults)
            assert source.counts.skipped == 2

    run(test, tmp_path)
