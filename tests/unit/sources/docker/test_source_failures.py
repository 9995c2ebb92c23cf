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
            await until(lambda: source.faults)
            (fault,) = source.faults
            assert not fault.is_warning
            assert str(fault).startswith(f"docker: unix://{folder}/d.sock: ")
            assert "what was known of it last is served" in str(fault)
            assert "No such file" in str(fault)  # and not that the connection was closed, which says less
            assert "is the daemon running" in str(fault)

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
            await until(lambda: source.faults)
            assert [fault.is_warning for fault in source.faults] == [False]
            assert "\n" not in str(source.faults[0])
            del daemon.answers[path]
            await until(lambda: source.counts.is_up)
            assert source.faults == ()

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


def test_a_full_sync_ends_while_containers_keep_changing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "START_S", 30.0)

    async def test(folder: Path) -> None:
        daemon = small(folder)
        daemon.slow["container"] = 0.1

        async def churn() -> None:
            while True:
                daemon.emit(of_container("start", "web"), of_container("start", "db"))
                await asyncio.sleep(0.02)

        async with daemon:
            churning = asyncio.ensure_future(churn())
            try:
                async with asyncio.timeout(5), connected(daemon, resync_s=0.1) as source:
                    await until(lambda: source.counts.syncs >= 3)
                    assert source.counts.is_up
            finally:
                churning.cancel()

    run(test, tmp_path)


def test_stopping_at_any_moment_of_a_lost_connection_ends(tmp_path: Path) -> None:
    async def test(folder: Path) -> None:
        for moments in range(12):
            async with small(folder) as daemon:
                source = Heard(DaemonSettings("docker", daemon.host))
                await source.start(lambda: None)
                daemon.slow["container"] = 5
                inspections = source._containers
                for number in range(8):
                    inspections.want(whole_id("web")[:60] + f"{number:04x}")
                await until(lambda daemon=daemon: daemon.in_flight)  # type: ignore[misc]
                daemon.end_streams()
                await until(lambda inspections=inspections: not inspections._tasks)  # type: ignore[misc]
                for _ in range(moments):
                    await asyncio.sleep(0)
                await asyncio.wait_for(source.stop(), 2)
                assert not inspections._tasks

    run(test, tmp_path)


def test_what_events_tell_of_is_remembered_during_a_full_sync_only(tmp_path: Path) -> None:
    async def test(folder: Path) -> None:
        async with small(folder) as daemon, connected(daemon) as source:
            for number in range(20):
                daemon.emit(of_container("die", f"gone{number}"))
            await until(lambda: source.counts.events == 20)
            assert not source._touched

    run(test, tmp_path)


def test_one_line_when_it_goes_and_one_when_it_is_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "resolver.sources.docker")

    async def test(folder: Path) -> None:
        async with small(folder) as daemon, connected(daemon) as source:
            said: set[str] = set()
            source._changed = lambda: said.update(map(str, source.faults))
            daemon.end_streams()
            await until(lambda: source.counts.syncs == 2)
            assert (said, caplog.messages) == (set(), [])  # it was back at once
            await daemon.stop()
            await until(lambda: source.counts.failures >= 4)
            assert len(said) == 1
            await daemon.start()
            await until(lambda: source.counts.is_up)
            assert caplog.messages == [f"docker: unix://{folder}/d.sock answers again"]

    run(test, tmp_path)
