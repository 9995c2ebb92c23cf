"""`pydns serve --docker` beside a real daemon: what it is told of is answered, and gone when it is gone."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.docker.daemon import Daemon, DaemonError
from tests.docker.image import BASE
from tests.scenarios.live import Live, answers, is_clean, until

pytestmark = pytest.mark.root

SERVED_WITHIN_S = 1.0
STARTS = 3

Run = Callable[..., str]


@pytest.fixture
def serving(daemon: Daemon, tmp_path: Path) -> Iterator[Live]:
    """A `pydns serve` that hears from the daemon; each test has its own."""
    settings: dict[str, dict[str, object]] = {"docker": {"resync_s": 3600}}
    with Live(tmp_path, registry={}, settings=settings, arguments=["--docker", daemon.url]) as live:
        yield live
        assert is_clean(live.stderr), live.stderr


@pytest.fixture
def run(daemon: Daemon) -> Iterator[Run]:
    """Run a container by its name; it is removed at the end, and so are networks made with `network`."""
    made: list[str] = []

    def start(name: str, *options: str) -> str:
        made.append(name)
        return daemon.docker("run", "--detach", "--name", name, *options, BASE)

    yield start
    for name in made:
        with suppress(DaemonError):
            daemon.docker("rm", "--force", name)


@pytest.fixture
def network(daemon: Daemon) -> Iterator[Run]:
    """Make a network; it is removed at the end."""
    made: list[str] = []

    def create(name: str, *options: str) -> str:
        made.append(name)
        return daemon.docker("network", "create", *options, name)

    yield create
    for name in made:
        with suppress(DaemonError):
            daemon.docker("network", "rm", name)


def address(daemon: Daemon, container: str, network: str) -> str:
    return str(daemon.get(f"/containers/{container}/json")["NetworkSettings"]["Networks"][network]["IPAddress"])


def is_served(live: Live, name: str, *addresses: str) -> None:
    until(lambda: live.addresses(name) == set(addresses))


def test_names_of_a_container_from_its_start_to_its_end(daemon: Daemon, serving: Live, network: Run, run: Run) -> None:
    network("srcnet")
    container_id = run("src-db", "--network", "srcnet", "--network-alias", "store", "--hostname", "h.corp.test")
    at = address(daemon, "src-db", "srcnet")
    for name in ("src-db.", "store.", f"{container_id[:12]}.", "h.corp.test.", "src-db.srcnet.", "SRC-DB.SrcNet."):
        is_served(serving, name, at)
    reverse = ".".join(reversed(at.split("."))) + ".in-addr.arpa."
    assert answers(serving.udp(reverse, "PTR")) == ["src-db.srcnet."]

    daemon.docker("rename", "src-db", "src-renamed")
    is_served(serving, "src-renamed.", at)
    is_served(serving, "src-db.")
    is_served(serving, "store.", at)
    daemon.docker("rename", "src-renamed", "src-db")
    is_served(serving, "src-db.", at)

    daemon.docker("pause", "src-db")
    assert serving.addresses("src-db.") == {at}
    daemon.docker("unpause", "src-db")
    daemon.docker("stop", "src-db")
    is_served(serving, "src-db.")
    daemon.docker("start", "src-db")
    is_served(serving, "src-db.", address(daemon, "src-db", "srcnet"))
    daemon.docker("restart", "src-db")
    is_served(serving, "src-db.", address(daemon, "src-db", "srcnet"))
    daemon.docker("rm", "--force", "src-db")
    is_served(serving, "store.")
    assert serving.count("pydns_source_syncs_total", source="docker") == 1
    assert serving.count("pydns_source_skipped_total", source="docker") == 0


def test_networks_are_joined_and_left(daemon: Daemon, serving: Live, network: Run, run: Run) -> None:
    network("srcnet")
    run("src-web", "--network", "srcnet")
    is_served(serving, "src-web.srcnet.", address(daemon, "src-web", "srcnet"))
    network("srcother", "--internal")
    daemon.docker("network", "connect", "--alias", "elsewhere", "srcother", "src-web")
    is_served(serving, "src-web.srcother.", address(daemon, "src-web", "srcother"))
    is_served(serving, "elsewhere.", address(daemon, "src-web", "srcother"))
    daemon.docker("network", "disconnect", "srcother", "src-web")
    is_served(serving, "elsewhere.")
    is_served(serving, "src-web.srcnet.", address(daemon, "src-web", "srcnet"))
    daemon.docker("network", "rm", "srcother")
    until(lambda: "srcother" not in serving.page("/networks").text)


def test_health_ipv6_ports_and_labels(daemon: Daemon, serving: Live, network: Run, run: Run) -> None:
    network("srcsix", "--ipv6", "--subnet", "fd00:5c::/64")
    run(
        *("src-six", "--network", "srcsix", "--expose", "5432", "--label", "pydns.names=extra,*.apps,here@srcsix"),
        *("--label", "pydns.ttl=7", "--label", "pydns.healthy_only=true", "--network-alias", "shared"),
        *("--health-cmd", "test -e /up", "--health-interval", "100ms", "--health-retries", "1"),
    )
    run("src-plain", "--network", "srcsix", "--network-alias", "shared")
    plain, at = address(daemon, "src-plain", "srcsix"), address(daemon, "src-six", "srcsix")
    for name in ("extra.", "a.apps.", "here.", "src-six."):
        is_served(serving, name, at)
    assert serving.udp("extra.").answer[0].ttl == 7
    assert serving.addresses("src-six.", "AAAA") == {"fd00:5c::2"}
    assert answers(serving.udp("_5432._tcp.src-six.", "SRV")) == ["0 0 5432 src-six.srcsix."]
    is_served(serving, "shared.", plain)  # it is starting, and then unhealthy
    daemon.docker("exec", "src-six", "touch", "/up")
    is_served(serving, "shared.", plain, at)
    daemon.docker("exec", "src-six", "rm", "/up")
    is_served(serving, "shared.", plain)


def test_what_is_not_served(daemon: Daemon, serving: Live, network: Run, run: Run) -> None:
    network("srcnet")
    run("src-bridge")
    run("src-host", "--network", "host")
    run("src-none", "--network", "none")
    run("src-ignored", "--network", "srcnet", "--label", "pydns.ignore=true")
    run("src-owner", "--network", "srcnet")
    run("src-shares", "--network", "container:src-owner")
    is_served(serving, "src-owner.", address(daemon, "src-owner", "srcnet"))
    for name in ("src-bridge.", "src-host.", "src-none.", "src-ignored.", "src-shares.", "src-owner.bridge."):
        assert serving.addresses(name) == set()


def test_the_default_bridge_when_it_is_asked_for(daemon: Daemon, tmp_path: Path, run: Run) -> None:
    target = run("src-bridge", "--hostname", "bridgehost")
    settings: dict[str, dict[str, object]] = {"docker": {"host": daemon.url, "serve_default_bridge": True}}
    with Live(tmp_path, registry={}, settings=settings) as live:
        at = address(daemon, "src-bridge", "bridge")
        for name in ("src-bridge.", "bridgehost.", f"{target[:12]}.", "src-bridge.bridge."):
            is_served(live, name, at)
        run("src-linker", "--link", "src-bridge:linked")
        is_served(live, "src-linker.", address(daemon, "src-linker", "bridge"))

        def linked() -> str:
            return live.page("/explain?name=linked&endpoint=src-linker&network=bridge").text

        assert at in linked()
        daemon.docker("rename", "src-bridge", "src-moved")
        try:
            is_served(live, "src-moved.", at)
            until(lambda: at in linked())
            links = daemon.get("/containers/src-linker/json")["HostConfig"]["Links"]
            assert links == ["/src-moved:/src-linker/linked"]
        finally:
            daemon.docker("rename", "src-moved", "src-bridge")
        until(lambda: at in linked())
        is_served(live, "src-moved.")


def test_links_and_added_hosts_are_the_askers_own(daemon: Daemon, serving: Live, network: Run, run: Run) -> None:
    network("srcnet", "--subnet", "10.77.0.0/24", "--gateway", "10.77.0.1")
    run("src-db", "--network", "srcnet")
    run(
        *("src-asker", "--network", "srcnet", "--link", "src-db:database"),
        *("--add-host", "added.corp.test:10.1.2.3", "--add-host", "gate:host-gateway"),
    )
    is_served(serving, "src-asker.", address(daemon, "src-asker", "srcnet"))

    def explained(name: str, endpoint: str) -> str:
        return serving.page(f"/explain?name={name}&endpoint={endpoint}&network=srcnet").text

    assert address(daemon, "src-db", "srcnet") in explained("database", "src-asker")
    assert address(daemon, "src-db", "srcnet") not in explained("database", "src-db")
    assert "10.1.2.3" in explained("added.corp.test", "src-asker")
    assert "10.1.2.3" not in explained("added.corp.test", "src-db")
    assert '"rcode": "NOERROR"' in explained("gate", "src-asker")


def test_a_swarm_of_one(tmp_path: Path) -> None:
    """A daemon of its own: a swarm leaves networks behind."""

    def services(name: str) -> dict[str, Any]:
        found: dict[str, Any] = swarm.get("/networks/srcov?verbose=true").get("Services", {}).get(name, {})
        return found

    with Daemon() as swarm:
        swarm.docker("swarm", "init", "--advertise-addr", "127.0.0.1")
        with Live(tmp_path, registry={}, arguments=["--docker", swarm.url]) as live:
            swarm.docker("network", "create", "--driver", "overlay", "--attachable", "srcov")
            swarm.docker(
                "service", "create", "--detach", "--name", "srcsvc", "--network", "srcov", "--replicas", "2", BASE
            )
            until(lambda: len(services("srcsvc").get("Tasks", [])) == 2, within_s=60)
            shown = services("srcsvc")
            is_served(live, "srcsvc.", shown["VIP"])
            is_served(live, "tasks.srcsvc.", *(task["EndpointIP"] for task in shown["Tasks"]))
            is_served(live, f"{shown['Tasks'][0]['Name']}.", shown["Tasks"][0]["EndpointIP"])
            assert live.addresses("srcsvc.ingress.") == set()
            swarm.docker("service", "rm", "srcsvc")
            until(lambda: live.addresses("tasks.srcsvc.") == set(), within_s=30)
            is_served(live, "srcsvc.")
            assert is_clean(live.stderr), live.stderr


def test_from_the_start_event_to_the_answer(
    daemon: Daemon, serving: Live, network: Run, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """The time is counted from the daemon's own word for when the start was; it prints what it measures."""
    network("srcnet")
    run("src-first", "--network", "srcnet")
    started, ended = [], []
    for number in range(STARTS):
        name = f"src-late{number}"
        run(name, "--network", "srcnet")
        at = address(daemon, name, "srcnet")
        is_served(serving, f"{name}.", at)
        daemon.docker("stop", name)
        until(lambda name=name: serving.addresses(f"{name}.") == set())  # type: ignore[misc]
        started.append(_delay(daemon, serving, name, "start", "start", {at}))
        ended.append(_delay(daemon, serving, name, "kill", "die", set()))
    with capsys.disabled():
        for what, found in (("start event → answer", started), ("die event → gone", ended)):
            shown = ", ".join(f"{1e3 * delay:.0f}" for delay in found)
            print(f"\n{what}: median {1e3 * statistics.median(found):.0f} ms ({shown})")
    assert statistics.median(started) < SERVED_WITHIN_S
    assert statistics.median(ended) < SERVED_WITHIN_S


def _delay(daemon: Daemon, live: Live, name: str, command: str, event: str, wanted: set[str]) -> float:
    """Seconds from the event, by the daemon's clock, to the first answer that shows it."""
    began = int(time.time())
    doing = Thread(target=daemon.docker, args=(command, name))
    doing.start()
    until(lambda: live.addresses(f"{name}.") == wanted, every_s=0.001)
    seen = time.time()
    doing.join()
    told = daemon.docker(
        *("events", "--since", str(began), "--until", f"{time.time():.6f}", "--filter", f"container={name}"),
        *("--filter", f"event={event}", "--format", "{{.TimeNano}}"),
    )
    return seen - int(told.splitlines()[-1]) / 1e9


def test_a_daemon_that_is_killed_and_comes_back(tmp_path: Path) -> None:
    """A daemon of its own: what was known last is served meanwhile."""
    with Daemon() as mortal:
        mortal.docker("network", "create", "srcnet")
        mortal.docker("run", "--detach", "--name", "src-db", "--network", "srcnet", BASE)
        at = address(mortal, "src-db", "srcnet")
        with Live(tmp_path, registry={}, arguments=["--docker", mortal.url]) as live:
            is_served(live, "src-db.", at)
            mortal.kill()
            until(lambda: live.count("pydns_source_up", source="docker") == 0)
            assert live.addresses("src-db.") == {at}
            until(lambda: live.page("/healthz").json["status"] == "degraded")
            assert live.stderr.count("what was known of it last is served") == 1
            mortal.start()
            until(lambda: live.count("pydns_source_up", source="docker") == 1, within_s=60)
            is_served(live, "src-db.")  # a killed daemon's containers do not run when it is back
            mortal.docker("start", "src-db")
            is_served(live, "src-db.", address(mortal, "src-db", "srcnet"))
            assert live.page("/healthz").json["status"] == "ok"
            assert live.stderr.count(f"{mortal.url} answers again") == 1
            assert is_clean(live.stderr), live.stderr
