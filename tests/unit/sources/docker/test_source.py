"""The source beside a daemon that does as it should: what is served, and what is asked for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from resolver.sources.docker import source as module
from tests.unit.sources.docker.fake_daemon import FakeDaemon
from tests.unit.sources.docker.heard import connected, run, small, until
from tests.unit.sources.docker.recordings import (
    container,
    docker,
    many,
    network,
    of_container,
    of_network,
    place,
    podman,
    whole_id,
)


def test_a_full_sync_before_the_start_returns(tmp_path: Path) -> None:
    async def test(folder: Path) -> None:
        async with small(folder) as daemon, connected(daemon) as source:
            assert source.names("mynet") == {"db", "web"}
            assert source.faults == ()
            assert source.calls == 1
            assert source.counts.is_up
            assert (source.counts.syncs, source.counts.failures, source.counts.skipped) == (1, 0, 0)
            assert daemon.requests == {"version": 1, "events": 1, "networks": 1, "list": 1, "container": 2}
            assert daemon.asked.index("/events") < daemon.asked.index("/networks")

    run(test, tmp_path)


def test_events_cost_one_inspect_at_most_and_never_a_full_sync(tmp_path: Path) -> None:
    async def test(folder: Path) -> None:
        async with small(folder) as daemon, connected(daemon) as source:
            before = daemon.requests.copy()

            daemon.put(container("api", {"mynet": place("mynet", "172.18.0.4")}))
            daemon.emit(
                of_container("create", "api"), of_network("connect", "mynet", "api"), of_container("start", "api")
            )
            await until(lambda: "api" in source.names("mynet"))
            assert daemon.requests - before == {"container": 1}

            daemon.emit(of_container("pause", "api"), of_container("unpause", "api"), of_container("exec_die", "api"))
            daemon.emit(of_container("kill", "api"), of_container("die", "api"))
            daemon.emit(of_network("disconnect", "mynet", "api"), of_container("stop", "api"))
            daemon.emit(of_container("destroy", "api"))
            await until(lambda: "api" not in source.names("mynet"))
            assert daemon.requests - before == {"container": 1}
            assert source.names("mynet") == {"db", "web"}
            assert source.counts.syncs == 1
            assert source.faults == ()

    run(test, tmp_path)


def test_networks_come_and_go_and_are_joined_and_left(tmp_path: Path) -> None:
    async def test(folder: Path) -> None:
        async with small(folder) as daemon, connected(daemon) as source:
            before = daemon.requests.copy()
            made = network("other", "172.19.0.0/16", "172.19.0.1")
            daemon.networks[made["Id"]] = made
            daemon.emit(of_network("create", "other"))
            await until(lambda: any(net.name == "other" for net in source.networks))
            assert daemon.requests - before == {"network": 1}

            both = {"mynet": place("mynet", "172.18.0.2"), "other": place("other", "172.19.0.2", "oa")}
            daemon.put(container("db", both))
            daemon.emit(of_network("connect", "other", "db"))
            await until(lambda: source.names("other") == {"db"})
            assert daemon.requests - before == {"network": 1, "container": 1}
            assert source.containers[whole_id("db")].networks == ("mynet", "other")

            daemon.emit(of_network("disconnect", "other", "db"), of_network("disconnect", "other", "db"))
            await until(lambda: not source.names("other"))
            assert source.names("mynet") == {"db", "web"}
            daemon.emit(of_network("destroy", "other"))
            await until(lambda: [net.name for net in source.networks] == ["mynet"])
            assert daemon.requests - before == {"network": 1, "container": 1}

    run(test, tmp_path)


def test_a_rename_and_a_restart(tmp_path: Path) -> None:
    async def test(folder: Path) -> None:
        async with small(folder) as daemon, connected(daemon) as source:
            renamed = container("db", {"mynet": place("mynet", "172.18.0.2")})
            renamed["Name"] = "/store"
            daemon.put(renamed)
            daemon.emit(of_container("rename", "db", oldName="/db"))
            await until(lambda: source.names("mynet") == {"store", "web"})

            moved = container("db", {"mynet": place("mynet", "172.18.0.9")}, state={"Pid": 777})
            daemon.put(moved)
            daemon.emit(
                *(of_container("kill", "db"), of_container("die", "db"), of_network("disconnect", "mynet", "db")),
                *(of_container("stop", "db"), of_network("connect", "mynet", "db"), of_container("start", "db")),
                of_container("restart", "db"),
            )
            await until(lambda: source.names("mynet") == {"db", "web"})
            assert source.containers[whole_id("db")].pid == 777

    run(test, tmp_path)


def test_health_is_taken_from_the_event_itself(tmp_path: Path) -> None:
    async def test(folder: Path) -> None:
        daemon = FakeDaemon(
            folder / "d.sock",
            networks=[network("mynet")],
            containers=[container("db", {"mynet": place("mynet", "172.30.0.2")}, health="starting")],
        )

        def is_ready() -> bool:
            return source.networks[0].endpoints[0].is_ready

        async with daemon, connected(daemon, healthy_only=True) as source:
            before = daemon.requests.copy()
            assert not is_ready()
            daemon.emit(of_container("health_status: healthy", "db"))
            await until(is_ready)
            daemon.emit(of_container("health_status: unhealthy", "db"))
            await until(lambda: not is_ready())
            assert not daemon.requests - before

    run(test, tmp_path)


def test_a_burst_is_inspected_a_few_at_a_time(tmp_path: Path) -> None:
    async def test(folder: Path) -> None:
        networks, containers = many(300)
        async with (
            FakeDaemon(folder / "d.sock", networks=networks) as daemon,
            connected(daemon) as source,
        ):
            daemon.slow["container"] = 0.005
            for made in containers:
                daemon.put(made)
                daemon.emit(of_container("start", made["Name"][1:]))
            await until(lambda: len(source.containers) == 300)
            assert daemon.requests["container"] == 300
            assert 2 <= daemon.most_in_flight <= module.IN_FLIGHT
            assert source.counts.syncs == 1

    run(test, tmp_path)


def test_a_thousand_containers_cost_a_request_each_and_later_two(tmp_path: Path) -> None:
    async def test(folder: Path) -> None:
        networks, containers = many(1000)
        async with (
            FakeDaemon(folder / "d.sock", networks=networks, containers=containers) as daemon,
            connected(daemon, resync_s=0.05) as source,
        ):
            assert daemon.requests["container"] == 1000
            assert sum(daemon.requests.values()) <= 1004 + 2 * source.counts.syncs
            assert len(source.containers) == 1000
            assert sum(len(net.endpoints) for net in source.networks) == 1000
            former, calls = source.contribution, source.calls
            before = source.counts.syncs
            await until(lambda: source.counts.syncs >= before + 3)
            assert daemon.requests["container"] == 1000
            assert source.contribution is former
            assert source.calls == calls

    run(test, tmp_path)


def test_services_of_a_swarm_are_looked_at_and_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SWARM_S", 0.05)
    recorded = docker()

    async def test(folder: Path) -> None:
        overlay = recorded["overlay"]
        daemon = FakeDaemon(folder / "d.sock", networks=[overlay], containers=[recorded["containers"]["task"]])
        async with daemon, connected(daemon) as source:
            await until(lambda: "svc" in source.names("ov"))
            assert daemon.requests["network"] >= 1
            overlay["Services"]["other"] = {"VIP": "10.0.1.9", "Ports": [], "Tasks": []}
            await until(lambda: "other" in source.names("ov"))

    run(test, tmp_path)


def test_podman_does_not_say_which_network_or_that_there_is_a_new_one(tmp_path: Path) -> None:
    async def test(folder: Path) -> None:
        recorded = podman()
        daemon = FakeDaemon(folder / "d.sock", networks=[network("bridge")])
        daemon.version = recorded["version"]
        async with daemon, connected(daemon) as source:
            before = daemon.requests.copy()
            made = network("pod", "10.89.0.0/24", "10.89.0.1")
            daemon.networks[made["Id"]] = made
            run_by = {"pod": place("pod", "10.89.0.2", "database", NetworkID="pod", EndpointID="")}
            daemon.put(container("db", run_by, host_config={"NetworkMode": "bridge"}))
            daemon.emit(of_container("init", "db"), of_container("start", "db"))
            await until(lambda: source.names("pod") == {"db"})
            assert daemon.requests - before == {"container": 1, "network": 1}
            assert not source.containers[whole_id("db")].has_own_resolver

            del run_by["pod"]
            daemon.put(container("db", run_by))
            actor = whole_id("db")
            daemon.emit(
                {"Type": "network", "Action": "disconnect", "Actor": {"ID": actor, "Attributes": {"name": "db"}}}
            )
            await until(lambda: not source.names("pod"))
            assert daemon.requests - before == {"container": 2, "network": 1}
            daemon.emit(of_container("died", "db"), of_container("remove", "db"))
            await until(lambda: not source.containers)

    run(test, tmp_path)


def test_facts_for_an_agent(tmp_path: Path) -> None:
    recorded = docker()

    async def test(folder: Path) -> None:
        daemon = FakeDaemon(
            folder / "d.sock",
            networks=recorded["networks"],
            containers=[recorded["containers"][name] for name in ("db2", "web", "onbridge", "hostc", "nonec", "share")],
        )
        async with daemon, connected(daemon) as source:
            facts = {found.name: found for found in source.containers.values()}
            db = facts["db2"]
            assert (db.pid, db.networks, db.has_own_resolver) == (13250, ("mynet", "other"), True)
            assert facts["web"].servers == ("10.9.9.9",)
            assert facts["share"].shares_with == db.id
            assert facts["share"].networks == ()
            for name, mode in (("onbridge", "default"), ("hostc", "host"), ("nonec", "none")):
                assert (facts[name].networks, facts[name].has_own_resolver) == ((), False)
                assert (facts[name].network_mode, facts[name].shares_with) == (mode, None)

    run(test, tmp_path)


def linked(target: str) -> dict[str, Any]:
    legacy = {"Links": [f"/{target}:/asker/sql"], "NetworkMode": "default"}
    return container("asker", {"bridge": place("bridge", "172.17.0.3")}, host_config=legacy)


@pytest.mark.parametrize("is_told", [True, False])
def test_a_legacy_link_follows_its_target_to_another_name(tmp_path: Path, is_told: bool) -> None:
    """Docker tells of the rename alone; that of the one with the link only an inspect says."""

    async def test(folder: Path) -> None:
        target = container("target", {"bridge": place("bridge", "172.17.0.2")})
        daemon = FakeDaemon(
            folder / "d.sock",
            networks=[network("bridge", "172.17.0.0/16", "172.17.0.1")],
            containers=[target, linked("target")],
        )
        resync_s = 3600 if is_told else 0.05
        async with daemon, connected(daemon, serve_default_bridge=True, resync_s=resync_s) as source:

            def links() -> dict[str, Any]:
                return {endpoint.name: endpoint.links for endpoint in source.networks[0].endpoints}

            assert links() == {"target": (), "asker": (("sql", "target"),)}
            before = daemon.requests.copy()
            daemon.put({**target, "Name": "/moved"})
            daemon.put(linked("moved"))
            if is_told:
                daemon.emit(of_container("rename", "target", oldName="/target"))
            await until(lambda: links() == {"moved": (), "asker": (("sql", "moved"),)})
            if is_told:
                assert daemon.requests - before == {"container": 2}

    run(test, tmp_path)
