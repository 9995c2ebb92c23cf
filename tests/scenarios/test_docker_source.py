"""`pydns serve --docker` as an operator meets it: what it says, counts and serves, whatever the daemon does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.conftest import Serve
from tests.scenarios.live import Live, answers, is_clean, until
from tests.unit.sources.docker.fake_daemon import FakeDaemon, Threaded
from tests.unit.sources.docker.recordings import container, network, of_container, place

SERVED_WITHIN_S = 0.5


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Threaded]:
    made = FakeDaemon(
        tmp_path / "docker.sock",
        networks=[network("front", "172.18.0.0/16", "172.18.0.1"), network("back", "172.19.0.0/16", "172.19.0.1")],
        containers=[
            container("db", {"back": place("back", "172.19.0.2", "store")}, config={"ExposedPorts": {"5432/tcp": {}}}),
            container(
                "web",
                {"front": place("front", "172.18.0.3"), "back": place("back", "172.19.0.3")},
                labels={"pydns.names": "shop", "pydns.ttl": "5"},
            ),
        ],
    )
    with Threaded(made) as running:
        yield running


def of(serve: Serve, daemon: Threaded, **keys: object) -> Live:
    return serve(registry={}, settings={"docker": {"host": daemon.daemon.host, **keys}})


def test_what_the_daemon_knows_is_answered(serve: Serve, daemon: Threaded) -> None:
    live = of(serve, daemon)
    assert live.addresses("db.") == live.addresses("store.back.") == {"172.19.0.2"}
    assert live.udp("shop.").answer[0].ttl == 5
    assert answers(live.udp("2.0.19.172.in-addr.arpa.", "PTR")) == ["db.back."]
    assert answers(live.udp("_5432._tcp.db.", "SRV")) == ["0 0 5432 db.back."]
    assert live.count("pydns_source_up", source="docker") == 1
    assert live.count("pydns_source_syncs_total", source="docker") == 1
    assert 0 < live.count("pydns_source_sync_duration_seconds", source="docker") < 10
    assert live.count("pydns_source_last_sync_timestamp_seconds", source="docker") > time.time() - 60
    assert live.count("pydns_registry_entries", kind="endpoints") == 3
    explained = live.page("/explain?name=db&network=back").text
    assert "docker container db" in explained
    assert is_clean(live.stderr), live.stderr


def test_an_asker_is_told_of_its_own_networks_only(serve: Serve, daemon: Threaded) -> None:
    live = of(serve, daemon)
    assert "172.19.0.3" in live.page("/explain?name=web&from=172.19.0.2").text
    assert "172.18.0.3" not in live.page("/explain?name=web&from=172.19.0.2").text
    assert "172.19.0.2" not in live.page("/explain?name=db&from=172.18.0.7").text


def test_a_start_is_answered_and_an_end_is_heeded_at_once(serve: Serve, daemon: Threaded) -> None:
    live = of(serve, daemon)
    delays = []
    for number in range(5):
        name, address = f"late{number}", f"172.18.0.{number + 10}"
        daemon.daemon.put(container(name, {"front": place("front", address)}))
        for action, wanted in (("start", {address}), ("die", set[str]())):
            began = time.monotonic()
            daemon.emit(of_container(action, name))
            until(lambda name=name, wanted=wanted: live.addresses(f"{name}.") == wanted, every_s=0.001)  # type: ignore[misc]
            delays.append(time.monotonic() - began)
    assert sorted(delays)[len(delays) // 2] < SERVED_WITHIN_S
    assert live.count("pydns_source_events_total", source="docker") == 10
    assert live.count("pydns_source_syncs_total", source="docker") == 1


def test_a_daemon_that_is_away_is_said_once_and_its_names_stay(serve: Serve, daemon: Threaded) -> None:
    live = of(serve, daemon)
    daemon.run(daemon.daemon.stop())
    until(lambda: live.count("pydns_source_up", source="docker") == 0)
    until(lambda: live.count("pydns_source_sync_failures_total", source="docker") >= 3)
    assert live.addresses("db.") == {"172.19.0.2"}
    health = live.page("/healthz").json
    assert health["status"] == "degraded"
    assert "No such file or directory; what was known of it last is served" in health["faults"][0]
    assert live.stderr.count("No such file or directory") == live.stderr.count("docker: unix://") == 1
    daemon.run(daemon.daemon.start())
    until(lambda: live.count("pydns_source_up", source="docker") == 1)
    until(lambda: live.page("/healthz").json["status"] == "ok")
    assert "everything is in order again" in live.stderr
    assert live.stderr.count(f"docker: {daemon.daemon.host} answers again") == 1
    assert is_clean(live.stderr), live.stderr


def test_a_daemon_that_is_away_at_the_start_holds_up_nothing(serve: Serve, tmp_path: Path) -> None:
    live = serve(settings={"docker": {"host": f"unix://{tmp_path}/later.sock"}})
    assert live.addresses("db.") == {"172.18.0.2"}  # of the files
    assert live.page("/readyz").status == 200
    assert "later.sock: No such file or directory" in live.stderr
    late = FakeDaemon(
        tmp_path / "later.sock",
        networks=[network("late", "10.9.0.0/16", "10.9.0.1")],
        containers=[container("new", {"late": place("late", "10.9.0.2")})],
    )
    with Threaded(late):
        until(lambda: live.addresses("new.") == {"10.9.0.2"}, within_s=20)
        assert live.addresses("db.") == {"172.18.0.2"}


def test_what_makes_no_sense_is_one_line_and_the_rest_is_served(serve: Serve, daemon: Threaded) -> None:
    broken = container("bad", {"front": place("front", "172.18.0.9", "a b", "fine")}, labels={"pydns.ttl": "soon"})
    daemon.daemon.put(broken)
    live = of(serve, daemon)
    assert live.addresses("bad.") == live.addresses("fine.") == {"172.18.0.9"}
    warnings = [line for line in live.stderr.splitlines() if "warning" in line]
    assert len(warnings) == 2
    assert any("docker: container bad.pydns.ttl: 'soon' is no TTL; left out" in line for line in warnings)
    assert any("container bad.NetworkSettings.Networks.front: 'a b' has a space" in line for line in warnings)
    assert live.count("pydns_source_skipped_total", source="docker") == 2
    assert live.page("/healthz").json["status"] == "ok"


def test_files_and_a_daemon_together(serve: Serve, daemon: Threaded) -> None:
    live = serve(
        registry={"more.toml": '[networks.front.endpoints.printer]\naddresses = ["172.18.0.200"]\n'},
        settings={"docker": {"host": daemon.daemon.host}},
    )
    assert live.addresses("printer.front.") == {"172.18.0.200"}
    assert live.addresses("web.front.") == {"172.18.0.3"}
    (live.registry / "more.toml").write_text('[networks.front.endpoints.printer]\naddresses = ["172.18.0.201"]\n')
    until(lambda: live.addresses("printer.") == {"172.18.0.201"})
    assert live.addresses("web.front.") == {"172.18.0.3"}


def test_a_container_beside_a_subnet_that_it_is_not_in_is_served_and_said(serve: Serve, daemon: Threaded) -> None:
    daemon.daemon.put(container("astray", {"front": place("front", "10.0.0.9")}))
    live = of(serve, daemon)
    assert live.addresses("astray.") == {"10.0.0.9"}
    assert "10.0.0.9 of 'astray' is outside the subnets of network 'front'" in live.stderr


def test_it_ends_at_once_while_a_daemon_hangs(serve: Serve, daemon: Threaded) -> None:
    live = of(serve, daemon, resync_s=1)
    daemon.daemon.slow["list"] = 60
    until(lambda: daemon.daemon.in_flight > 0)
    assert live.stopped_within() < 5
    assert is_clean(live.stderr), live.stderr
