"""`server.workers`: several processes answer at the same addresses, from one registry, as if they were one."""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.scenarios.conftest import Serve
from tests.scenarios.crew import asked_of, everywhere, from_many_ports, workers_of
from tests.scenarios.live import REGISTRY, Live, answers, is_clean, replace, rewrite, until
from tests.scenarios.test_loops import DETECTING, dnsmasq, lonely, state_of, text
from tests.scenarios.upstream import Upstream
from tests.unit.sources.docker.fake_daemon import FakeDaemon, Threaded
from tests.unit.sources.docker.recordings import container, network, of_container, place

TWO = {"server": {"workers": 2}}
ZONE = "$ORIGIN corp.example.\n$TTL 300\n@ SOA ns root 1 3600 600 86400 300\n@ NS ns\nns A 192.0.2.53\nwww A {}\n"


def test_every_worker_answers_and_the_page_counts_them_all(serve: Serve) -> None:
    live = serve(settings={"server": {"workers": 3}})
    assert "3 workers" in live.stderr
    assert live.stderr.count(" ready: ") == 1
    assert len(workers_of(live)) == 3
    assert from_many_ports(live.at, "db.", 100) == [["172.18.0.2"]] * 100
    for _ in range(20):
        with live.tcp() as stream:
            assert answers(stream.ask("web.")) == ["172.18.0.3"]
    assert all(asked_of(live, worker) > 0 for worker in (1, 2, 3))
    assert live.count("pydns_worker_requests_total") == 120
    assert live.count("pydns_dns_requests_total", proto="udp") == 100
    assert live.count("pydns_dns_requests_total", proto="tcp") == 20
    assert live.count("pydns_dns_responses_total", stage="registry", rcode="NOERROR") == 120
    assert live.count("pydns_dns_request_duration_seconds_count") == 120
    assert live.count("pydns_registry_entries", kind="endpoints") == 2
    assert live.count("pydns_reload_successes_total", input="registry") == 1
    assert live.count("pydns_build_info") == 1
    assert is_clean(live.stderr), live.stderr


def test_the_page_is_one_that_prometheus_takes(serve: Serve) -> None:
    live = serve(settings=TWO)
    from_many_ports(live.at, "db.", 10)
    page = live.page("/metrics").text
    checked = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    names = [line.split()[2] for line in page.splitlines() if line.startswith("# TYPE ")]
    assert len(names) == len(set(names))


def test_dig_over_udp_and_tcp_at_every_address(serve: Serve) -> None:
    live = serve(settings=TWO, listen=("127.0.0.1:0", "[::1]:0", "0.0.0.0:0"))
    for at in live.listening:
        host = "127.0.0.2" if at.host == "0.0.0.0" else at.host
        for more in ([], ["+tcp"]):
            command = ["dig", f"@{host}", "-p", str(at.port), "db", "+short", "+tries=1", *more]
            assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "172.18.0.2\n"


def test_auto_is_as_many_as_it_may_use(serve: Serve) -> None:
    every = serve(arguments=("--workers", "auto"))
    assert len(workers_of(every)) == (len(os.sched_getaffinity(0)) if len(os.sched_getaffinity(0)) > 1 else 0)
    cpu = str(min(os.sched_getaffinity(0)))
    one = serve(arguments=("--workers", "auto"), prefix=("taskset", "-c", cpu))
    assert workers_of(one) == []
    assert one.addresses("db.") == every.addresses("db.") == {"172.18.0.2"}


def test_a_changed_file_is_heard_of_by_all_and_told_of_once(serve: Serve) -> None:
    live = serve(settings=TWO, zones={"corp.zone": ZONE.format("192.0.2.1")})
    everywhere(live, "www.corp.example.", ["192.0.2.1"])
    for number in (20, 21):
        replace(live.registry / "networks.toml", REGISTRY.replace("172.18.0.2", f"172.18.0.{number}"))
        everywhere(live, "db.", [f"172.18.0.{number}"])
    rewrite(live.zones / "corp.zone", ZONE.format("192.0.2.7"))
    everywhere(live, "www.corp.example.", ["192.0.2.7"])

    replace(live.registry / "networks.toml", REGISTRY.replace("172.18.0.2", "172.18.0.999"))
    until(lambda: live.count("pydns_faults") == 1)
    everywhere(live, "db.", ["172.18.0.21"])
    assert live.stderr.count("172.18.0.999") == 1
    assert live.page("/healthz").json["status"] == "degraded"
    assert live.count("pydns_reload_failures_total", input="registry") == 1
    assert is_clean(live.stderr), live.stderr


@pytest.mark.root  # a nameserver of resolv.conf is asked at port 53
def test_a_change_of_resolv_conf_reaches_all(serve: Serve) -> None:
    with Upstream(host="127.0.0.71", port=53) as first, Upstream(host="127.0.0.72", port=53) as second:
        live = serve(settings=TWO)
        replace(live.resolv_conf, "nameserver 127.0.0.71\n")
        until(lambda: "now forwarding to 127.0.0.71" in live.stderr)
        everywhere(live, "one.example.", ["192.0.2.1"])
        replace(live.resolv_conf, "nameserver 127.0.0.72\n")
        until(lambda: "now forwarding to 127.0.0.72" in live.stderr)
        everywhere(live, "two.example.", ["192.0.2.1"])
        everywhere(live, "three.example.", ["192.0.2.1"])
        assert second.times_asked("three.example") >= 1
        assert first.times_asked("three.example") == 0
        assert first.times_asked("one.example") >= 1
        assert live.stderr.count("now forwarding to 127.0.0.72") == 1


def test_a_daemon_is_asked_once_for_all(serve: Serve, tmp_path: Path) -> None:
    networks = [network("front", "172.18.0.0/16", "172.18.0.1")]
    made = FakeDaemon(
        tmp_path / "docker.sock",
        networks=networks,
        containers=[container("web", {"front": place("front", "172.18.0.3")})],
    )
    with Threaded(made) as daemon:
        live = serve(registry={}, settings={**TWO, "docker": {"host": daemon.daemon.host}})
        everywhere(live, "web.", ["172.18.0.3"])
        daemon.daemon.put(container("late", {"front": place("front", "172.18.0.9")}))
        daemon.emit(of_container("start", "late"))
        everywhere(live, "late.", ["172.18.0.9"])
        assert live.count("pydns_source_syncs_total", source="docker") == 1
        assert live.count("pydns_source_events_total", source="docker") == 1
        assert live.count("pydns_source_up", source="docker") == 1
        daemon.emit(of_container("die", "late"))
        everywhere(live, "late.", [])
        assert is_clean(live.stderr), live.stderr


def test_what_operators_ask_is_told_of_all_workers(serve: Serve) -> None:
    with Upstream() as upstream:
        live = serve(settings=TWO, upstreams=[str(upstream)])
        everywhere(live, "name.example.", ["192.0.2.1"])
        cache = live.page("/cache?name=example").json
        assert [entry["name"] for entry in cache["entries"]] == ["name.example."] * 2
        assert cache["hits"] + cache["misses"] == live.count("pydns_dns_requests_total")
        assert live.count("pydns_cache_entries") == 2
        (shown,) = live.page("/upstreams").json["upstreams"]
        assert (shown["address"], shown["requests"]) == (str(upstream), len(upstream.asked))
        assert shown["state"] == "up"
        assert live.page("/networks").json["networks"][0]["name"] == "mynet"
        assert live.page("/explain?name=db").status == 200
        assert live.page("/readyz").json == {"status": "ready"}

        metrics = live.http.removeprefix("http://")
        for command, said in (
            (["cache", "dump"], "name.example. A"),
            (["cache", "flush"], "2 answers forgotten"),
            (["upstreams"], str(upstream)),
            (["networks"], "mynet"),
        ):
            told = subprocess.run(
                [*live.command[: live.command.index("serve")], *command, "--metrics", metrics],
                capture_output=True,
                text=True,
                check=True,
            )
            assert said in told.stdout
        assert live.page("/cache").json["entries"] == []


def test_what_every_worker_finds_out_is_said_once(serve: Serve) -> None:
    from tests.scenarios.upstream import Say

    with Upstream(Say(("{name} 60 IN A 192.168.1.1",))) as upstream:
        live = serve(settings={**TWO, "forward": {"rebinding_guard": True}}, upstreams=[str(upstream)])
        everywhere(live, "evil.example.", [])
        until(lambda: live.count("pydns_rebinding_blocked_total") >= 2)
        assert live.stderr.count("rebinding guard") == 1
        assert "worker " in live.stderr


def test_a_loop_is_found_whichever_worker_it_comes_back_to(serve: Serve, tmp_path: Path) -> None:
    """Each worker asks dnsmasq once; what dnsmasq asks in turn comes from other ports, and goes to either."""
    ours, theirs = lonely(), lonely()
    with ExitStack() as stack:
        stack.enter_context(dnsmasq(tmp_path / "dnsmasq", theirs, ours))
        good = stack.enter_context(Upstream())
        settings = {**DETECTING, "server": {"workers": 4}}
        live = serve(listen=[text(ours)], upstreams=[text(theirs), str(good)], settings=settings)
        until(lambda: live.count("pydns_dns_responses_total", stage="loop") >= 4, 10)
        until(lambda: state_of(live, theirs) == "looping", 10)
        everywhere(live, "name.example.", ["192.0.2.1"])
        assert live.count("pydns_forward_looping", to=text(theirs)) == 1
        assert live.stderr.count("leads back to pydns and is not asked") == 1
        assert is_clean(live.stderr), live.stderr


@pytest.mark.parametrize(("kept", "wrong"), [("1", '"lots"'), ("2", "0")])
def test_a_reload_with_a_wrong_number_keeps_what_there_is(serve: Serve, kept: str, wrong: str) -> None:
    live: Live = serve(settings={"server": {"workers": int(kept)}})
    before = workers_of(live)
    rewrite(live.config, live.config.read_text().replace(f"workers = {kept}", f"workers = {wrong}"))
    live.hang_up()
    assert "server.workers" in live.stderr
    assert workers_of(live) == before
    assert live.addresses("db.") == {"172.18.0.2"}
