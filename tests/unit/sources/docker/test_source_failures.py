"""The source beside a daemon that is slow, breaks off, forgets to tell, or goes away."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from resolver.sources.docker import source as module
from resolver.sources.docker.settings import DaemonSettings
from resolver.sources.docker.source import DockerSource
from tests.unit.sources.docker.fake_daemon import FakeDaemon
from tests.unit.sources.docker.heard import Heard, connected, run, small, until
from tests.unit.sources.docker.recordings import container, network, of_container, of_network, place, whole_id


def test_an_answer_that_an_event_has_overtaken_is_thrown_away(tmp_path: Path) -> None:
    """The inspect of a start is still under way when the container dies, or moves."""

    async def test(folder: Path) -> None:
        async with small(folder) as daemon, connected(daemon) as source:
            path = f"/containers/{whole_id('api')}/json"
            daemon.slow[path] = 0.15
            daemon.put(container("api", {"mynet": place("mynet", "172.18.0.4")}))
            daemon.emit(of_container("start", "api"))
            await until(lambda: daemon.asked.count(path) == 1)
            daemon.emit(of_container("die", "api"))
            await asyncio.sleep(0.3)
            assert source.names("mynet") == {"db", "web"}

            daemon.emit(of_container("start", "api"))
            await until(lambda: daemon.asked.count(path) == 2)
            daemon.put(container("api", {"mynet": place("mynet", "172.18.0.5")}))
            daemon.emit(of_container("die", "api"), of_container("start", "api"))
            await until(lambda: "api" in source.names("mynet"))
            addresses = [str(endpoint.addresses[0]) for endpoint in source.networks[0].endpoints]
            assert addresses == ["172.18.0.5", "172.18.0.2", "172.18.0.3"]
            assert source.faults == ()

    run(test, tmp_path)


def test_one_slow_container_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PARTIAL_S", 0.1)

    async def test(folder: Path) -> None:
        daemon = small(folder)
        daemon.slow[f"/containers/{whole_id('db')}/json"] = 0.6
        async with daemon:
            starting = asyncio.ensure_future(_started(daemon))
            source = await starting
            try:
                assert source.names("mynet") == {"db", "web"}
                assert source.calls == 2  # first without db, then with it
            finally:
                await source.stop()

    run(test, tmp_path)


async def _started(daemon: FakeDaemon) -> Heard:
    source = Heard(DaemonSettings("docker", daemon.host))
    seen: list[set[str]] = []

    def changed() -> None:
        source.calls += 1
        seen.append(source.names("mynet"))

    await source.start(changed)
    assert seen[0] == {"web"}
    return source


def test_what_events_did_not_tell_is_healed(tmp_path: Path) -> None:
    async def test(folder: Path) -> None:
        async with small(folder) as daemon, connected(daemon, resync_s=0.05) as source:
            del daemon.containers[whole_id("web")]
            daemon.put(container("db", {"mynet": place("mynet", "172.18.0.7", "database")}))  # restarted
            daemon.put(container("late", {"new": place("new", "172.20.0.2")}))
            made = network("new", "172.20.0.0/16", "172.20.0.1")
            daemon.networks[made["Id"]] = made
            await until(lambda: source.names("new") == {"late"})
            assert source.names("mynet") == {"db"}
            assert str(source.networks[0].endpoints[0].addresses[0]) == "172.18.0.7"
            del daemon.networks[made["Id"]], daemon.containers[whole_id("late")]
            await until(lambda: [net.name for net in source.networks] == ["mynet"])
            assert source.counts.events == 0

    run(test, tmp_path)


def test_a_list_that_is_older_than_an_event_undoes_nothing(tmp_path: Path) -> None:
    """Both a start and a die come while the list of a sync, taken before, is still under way."""

    async def test(folder: Path) -> None:
        async with small(folder) as daemon, connected(daemon, resync_s=0.1) as source:
            daemon.slow["list"] = 0.3
            lists = daemon.requests["list"]
            await until(lambda: daemon.requests["list"] > lists)
            daemon.put(container("api", {"mynet": place("mynet", "172.18.0.4")}))
            daemon.emit(of_container("start", "api"))
            daemon.containers.pop(whole_id("web"))
            daemon.emit(of_container("die", "web"))
            await until(lambda: source.names("mynet") == {"db", "api"})
            syncs = source.counts.syncs
            await until(lambda: source.counts.syncs > syncs)
            assert source.names("mynet") == {"db", "api"}

    run(test, tmp_path)


def test_a_daemon_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    async def test(folder: Path) -> None:
        async with small(folder) as daemon, connected(daemon) as source:
            await daemon.stop()
            await until(lambda: not source.counts.is_up)
            assert source.names("mynet") == {"db", "web"}
            (fault,) = source.faults
            assert not fault.is_warning
            assert str(fault).startswith(f"docker: unix://{folder}/d.sock: ")
            assert "what was known of it last is served" in str(fault)
            await until(lambda: "No such file" in str(source.faults[0]))
            assert "is the daemon running" in str(source.faults[0])

            daemon.containers.pop(whole_id("web"))
            daemon.put(container("api", {"mynet": place("mynet", "172.18.0.4")}))
            inspected = daemon.requests["container"]
            await daemon.start()
            await until(lambda: source.counts.is_up)
            assert source.names("mynet") == {"db", "api"}
            assert source.faults == ()
            assert daemon.requests["container"] == inspected + 1  # what is as it was is not asked about again
            assert source.counts.failures >= 2

    run(test, tmp_path)


def test_a_daemon_that_is_away_at_the_start(tmp_path: Path) -> None:
    async def test(folder: Path) -> None:
        daemon = small(folder)
        async with connected(daemon) as source:
            assert source.contribution is None
            assert "No such file or directory" in str(source.faults[0])
            assert source.calls == 1
            async with daemon:
                await until(lambda: source.names("mynet") == {"db", "web"})
                assert source.faults == ()

    run(test, tmp_path)


def test_a_stream_that_ends_alone_is_taken_up_again(tmp_path: Path) -> None:
    async def test(folder: Path) -> None:
        async with small(folder) as daemon, connected(daemon) as source:
            daemon.end_streams()
            daemon.put(container("api", {"mynet": place("mynet", "172.18.0.4")}))  # its event is lost
            await until(lambda: "api" in source.names("mynet"))
            assert len(daemon.since) == 2
            assert all(int(since) > 1_700_000_000 for since in daemon.since)

    run(test, tmp_path)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/containers/json", (200, b'[{"Id": "00')),
        ("/containers/json", (200, b"{}")),
        ("/networks", (200, b"null")),
        ("/networks", (500, b'{"message": "no\\nspace left"}')),
        ("/version", (200, b"\xff\xfe")),
        ("/version", (404, b"not here")),
        ("/events", (400, b'{"message": "bad filter"}')),
    ],
)
def test_half_an_answer_leaves_the_last_good_state(tmp_path: Path, path: str, answer: tuple[int, bytes]) -> None:
    async def test(folder: Path) -> None:
        async with small(folder) as daemon, connected(daemon, resync_s=0.05) as source:
            daemon.answers[path] = answer
            daemon.end_streams()
            await until(lambda: not source.counts.is_up)
            assert source.names("mynet") == {"db", "web"}
            assert [fault.is_warning for fault in source.faults] == [False]
            assert "\n" not in str(source.faults[0])
            del daemon.answers[path]
            await until(lambda: source.counts.is_up)
            assert source.faults == ()

    run(test, tmp_path)


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


def test_events_that_are_none_are_passed_over(tmp_path: Path) -> None:
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
            assert source.counts.failures == 0

    run(test, tmp_path)


def test_stopping_twice_and_without_a_start_does_no_harm(tmp_path: Path) -> None:
    async def test(folder: Path) -> None:
        source = DockerSource(DaemonSettings("docker", f"unix://{folder}/none"))
        await source.stop()
        async with small(folder) as daemon, connected(daemon) as started:
            await started.stop()
            await started.stop()
            assert daemon.in_flight == 0

    run(test, tmp_path)


def test_what_could_not_be_asked_about_and_is_gone_is_forgotten(tmp_path: Path) -> None:
    async def test(folder: Path) -> None:
        daemon = small(folder)
        daemon.answers[f"/containers/{whole_id('db')}/json"] = (500, b'{"message": "broken"}')
        async with daemon, connected(daemon, resync_s=0.05) as source:
            assert len(source.faults) == 1
            del daemon.containers[whole_id("db")]
            await until(lambda: not source.faults)
            assert source.names("mynet") == {"web"}

    run(test, tmp_path)


def test_a_start_of_what_is_gone_by_the_time_it_is_asked_about(tmp_path: Path) -> None:
    async def test(folder: Path) -> None:
        async with small(folder) as daemon, connected(daemon) as source:
            asked = len(daemon.asked)
            daemon.emit(of_container("start", "gone"), of_network("create", "gone"))
            await until(lambda: len(daemon.asked) == asked + 2)
            await until(lambda: daemon.in_flight == 0)
            daemon.emit(of_container("die", "web"))
            await until(lambda: source.names("mynet") == {"db"})
            assert source.faults == ()
            assert source.counts.skipped == 0

    run(test, tmp_path)
