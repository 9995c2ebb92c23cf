"""The image, built as by somebody without a network and run in its three ways, from the files in deploy/compose."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.compose import DEPLOY, ComposeError, Project, build, load, says, variables
from tests.docker.daemon import Daemon, DaemonError
from tests.docker.image import BASE
from tests.docker.upstream import FOR_DOCKER, FOR_PYDNS, MARKS
from tests.netns.world import wait_until

# Where nobody has built it yet, a whole Debian is to be fetched first.
pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

AT = "127.0.0.11"
WITHIN_S = 20.0
AGENT_CAPABILITIES = {"SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE"}
SERVES_DEFAULT_BRIDGE = "[docker]\nserve_default_bridge = true\n"


@pytest.fixture(scope="module")
def image(daemon: Daemon) -> str:
    """The image's name in the daemon, built by the builder that every Docker has."""
    return build(daemon)


@pytest.fixture
def clean(daemon: Daemon) -> Iterator[Daemon]:
    yield daemon
    daemon.clear()


def dig(daemon: Daemon, container: str, name: str, *options: str, at: str = AT) -> str:
    return daemon.inside(container, "dig", "+short", "+time=2", "+tries=1", f"@{at}", name, *options, check=False)


def wait_ready(daemon: Daemon, container: str) -> None:
    def is_ready_or_ended() -> bool:
        return "ready: " in says(daemon, container) or not daemon.get(f"/containers/{container}/json")["State"]["Pid"]

    wait_until(is_ready_or_ended, WITHIN_S, f"{container} is ready")
    assert "ready: " in says(daemon, container), says(daemon, container)


def address_of(daemon: Daemon, container: str, network: str) -> str:
    return str(daemon.get(f"/containers/{container}/json")["NetworkSettings"]["Networks"][network]["IPAddress"])


def gateway_of(daemon: Daemon, network: str) -> str:
    return str(daemon.get(f"/networks/{network}")["IPAM"]["Config"][0]["Gateway"])


def resolv_conf(daemon: Daemon, container: str) -> str:
    return daemon.docker("exec", container, "cat", "/etc/resolv.conf")


def rules(daemon: Daemon, container: str) -> str:
    """The rules of a container's network, without their counts."""
    return re.sub(r"packets \d+ bytes \d+", "", daemon.inside(container, "nft", "list", "ruleset"))


def capabilities(daemon: Daemon, container: str, kind: str) -> int:
    """One of the sets of a container's first process, as capabilities(7) counts them."""
    status = Path(f"/proc/{daemon.pid_of(container)}/status").read_text()
    return int(re.findall(rf"^Cap{kind}:\s+([0-9a-f]+)$", status, re.MULTILINE)[0], 16)


def run(daemon: Daemon, name: str, *options: str, image: str = BASE) -> None:
    daemon.docker("run", "--detach", "--name", name, *options, image)


# -- the image itself ------------------------------------------------------------------------------


def test_it_is_small_and_has_nothing_that_only_its_making_took(daemon: Daemon, image: str) -> None:
    found = daemon.get(f"/images/{image}/json")
    layers = daemon.get(f"/images/{image}/history")
    assert found["Size"] < 200_000_000
    assert sum(layer["Size"] for layer in layers[:-1]) < 40_000_000, layers
    find = "find /opt/pydns /src /wheels 2> /dev/null || true"
    files = daemon.docker("run", "--rm", "--entrypoint", "sh", image, "-c", find)
    assert "/opt/pydns/bin/pydns" in files
    assert "site-packages/resolver/__pycache__/app." in files
    assert not re.search(r"site-packages/(pip|hatchling)/|\.pyx$|/src/|/wheels/", files, re.MULTILINE)


def test_its_fast_lane_is_compiled(daemon: Daemon, image: str) -> None:
    """By a compiler that stays behind."""
    assert re.search(r"\bcompiled\b", daemon.docker("run", "--rm", image, "--version"))
    found = daemon.docker("run", "--rm", "--entrypoint", "sh", image, "-c", "command -v cc gcc || echo none")
    assert "none" == found.strip()


def test_it_is_nobody_unless_told_otherwise(daemon: Daemon, image: str) -> None:
    assert daemon.docker("run", "--rm", "--entrypoint", "id", image, "-u") == "65532"


def test_buildkit_builds_it_too(daemon: Daemon) -> None:
    built = build(daemon, "pydns-test/by-buildkit", buildkit=True)
    assert "Usage: pydns" in daemon.docker("run", "--rm", built, "--help")


# -- in another container's network ----------------------------------------------------------------


@pytest.fixture
def sidecar(daemon: Daemon, image: str) -> Iterator[Project]:
    """web and db on a network of the project's own; the sidecar is not yet there."""
    environment = variables(daemon, image) | {"UPSTREAM": FOR_PYDNS}
    with Project(daemon, DEPLOY / "sidecar.yaml", environment, "side") as project:
        project.up("web")
        run(daemon, "db", "--network", project.network)
        yield project


def test_a_sidecar_serves_its_neighbour_and_leaves_it_as_it_was(daemon: Daemon, sidecar: Project) -> None:
    dns = sidecar.container("dns")
    file_before, rules_before = resolv_conf(daemon, "web"), rules(daemon, "web")
    assert "DOCKER_OUTPUT" in rules_before
    address = dig(daemon, "web", "db")

    sidecar.up("dns")
    wait_ready(daemon, dns)
    assert capabilities(daemon, dns, "Bnd") == 1 << 12  # CAP_NET_ADMIN, and nothing more
    assert "warning" not in says(daemon, dns)
    assert "pydns-former-file" in resolv_conf(daemon, "web")
    assert resolv_conf(daemon, "web") == resolv_conf(daemon, dns)
    assert dig(daemon, "web", "db") == dig(daemon, "web", "db", "+tcp") == address != ""
    assert address in daemon.docker("exec", "web", "nslookup", "db")
    # It is pydns that answers: Docker sends this name away, and what is nobody's goes to pydns's own upstream.
    assert dig(daemon, "web", "host.docker.internal") == gateway_of(daemon, sidecar.network)
    assert dig(daemon, "web", "far-from-the-sidecar.example") == MARKS["A"]
    assert "far-from-the-sidecar.example" in daemon.upstream.names(FOR_PYDNS)
    assert "far-from-the-sidecar.example" not in daemon.upstream.names(FOR_DOCKER)
    assert f"container db on network {sidecar.network}" in daemon.docker("exec", dns, "pydns", "explain", "db")

    run(daemon, "late", "--network", sidecar.network)
    wait_until(lambda: bool(dig(daemon, "web", "late")), WITHIN_S, "a container that came later is known")

    daemon.docker("stop", dns)
    assert daemon.get(f"/containers/{dns}/json")["State"]["ExitCode"] == 0
    assert resolv_conf(daemon, "web") == file_before
    assert rules(daemon, "web") == rules_before
    assert dig(daemon, "web", "db") == address


def test_a_sidecar_that_was_killed_goes_on_where_it_was(daemon: Daemon, sidecar: Project) -> None:
    dns = sidecar.container("dns")
    file_before, rules_before = resolv_conf(daemon, "web"), rules(daemon, "web")
    sidecar.up("dns")
    wait_ready(daemon, dns)
    daemon.docker("kill", dns)
    assert "pydns-former-file" in resolv_conf(daemon, "web")
    daemon.docker("start", dns)
    address = address_of(daemon, "db", sidecar.network)
    wait_until(lambda: dig(daemon, "web", "db") == address, WITHIN_S, "it answers again")
    daemon.docker("stop", dns)
    assert (resolv_conf(daemon, "web"), rules(daemon, "web")) == (file_before, rules_before)


def test_a_sidecar_that_has_nobody_to_ask_says_so(daemon: Daemon, sidecar: Project) -> None:
    command = sidecar.services["dns"]["command"]
    del command[command.index("--upstream") :]
    sidecar.up("dns")
    wait_ready(daemon, sidecar.container("dns"))
    assert "warning: resolv.conf names no server but 127.0.0.11" in says(daemon, sidecar.container("dns"))
    assert dig(daemon, "web", "db") == address_of(daemon, "db", sidecar.network)
    assert "status: SERVFAIL" in daemon.inside("web", "dig", f"@{AT}", "away.example")  # and does not ask itself


@pytest.mark.parametrize("drop", [(), ("--cap-drop", "ALL")], ids=["dockers-capabilities", "no-others"])
def test_on_the_default_bridge_it_gives_names_where_docker_has_none(
    clean: Daemon, image: str, tmp_path: Path, drop: tuple[str, ...]
) -> None:
    config = tmp_path / "pydns.toml"
    config.write_text(SERVES_DEFAULT_BRIDGE)
    run(clean, "plain")
    run(clean, "db")
    file_before = resolv_conf(clean, "plain")
    assert (FOR_DOCKER in file_before, dig(clean, "plain", "db", at=FOR_DOCKER)) == (True, MARKS["A"])
    clean.docker(
        *("run", "--detach", "--name", "dns", "--network", "container:plain", "--user", "0", *drop, "--cap-add"),
        *("NET_ADMIN", "--volume", f"{clean.socket_path}:/var/run/docker.sock:ro", "--volume", f"{config}:/p.toml:ro"),
        *(image, "sidecar", "--netns", "self", "--endpoint", "plain", "--config", "/p.toml"),
        *("--docker", "unix:///var/run/docker.sock"),
    )
    wait_ready(clean, "dns")
    address = address_of(clean, "db", "bridge")
    assert dig(clean, "plain", "db") == address
    assert address in clean.docker("exec", "plain", "nslookup", "db")
    assert dig(clean, "plain", "far.example") == MARKS["A"]  # from the server that plain has always asked
    assert capabilities(clean, "dns", "Eff") == 0
    clean.docker("stop", "dns")
    assert resolv_conf(clean, "plain") == file_before
    assert rules(clean, "plain") == ""


def test_without_its_one_capability_it_says_so_and_changes_nothing(clean: Daemon, image: str) -> None:
    run(clean, "plain")
    before = resolv_conf(clean, "plain")
    with pytest.raises(DaemonError, match="attaching to self needs CAP_NET_ADMIN; run as root, or give the process"):
        clean.docker(
            *("run", "--rm", "--network", "container:plain", "--user", "0", image, "sidecar", "--netns", "self"),
            *("--network", "bridge", "--registry", "/etc/pydns"),
        )
    assert (resolv_conf(clean, "plain"), rules(clean, "plain")) == (before, "")


# -- as the agent ----------------------------------------------------------------------------------


@pytest.fixture
def agent(daemon: Daemon, image: str) -> Iterator[Project]:
    """web, of an ordinary user, and db on a network; plain on the default bridge; the agent is not yet there."""
    with Project(daemon, DEPLOY / "agent.yaml", variables(daemon, image), "agent") as project:
        daemon.docker("network", "create", "mynet")
        run(daemon, "web", "--network", "mynet", "--user", "65534")
        run(daemon, "db", "--network", "mynet")
        run(daemon, "plain")
        yield project


def test_an_agent_serves_every_container_and_leaves_them_as_they_were(daemon: Daemon, agent: Project) -> None:
    dns, askers = agent.container("dns"), ("web", "db", "plain")
    before = {name: (resolv_conf(daemon, name), rules(daemon, name)) for name in askers}
    agent.up()
    wait_ready(daemon, dns)
    wait_until(lambda: all("table ip pydns" in rules(daemon, name) for name in askers), WITHIN_S, "all are attached")
    assert dig(daemon, "web", "db") == address_of(daemon, "db", "mynet")
    assert dig(daemon, "plain", "db") == ""  # on no network with it
    assert dig(daemon, "db", "host.docker.internal") == gateway_of(daemon, "mynet")

    run(daemon, "late")
    wait_until(lambda: bool(dig(daemon, "plain", "late")), WITHIN_S, "a container that came later is known")
    wait_until(lambda: bool(dig(daemon, "late", "plain")), WITHIN_S, "a container that came later is served")
    assert dig(daemon, "plain", "far.example") == MARKS["A"]

    daemon.docker("stop", dns)
    assert daemon.get(f"/containers/{dns}/json")["State"]["ExitCode"] == 0
    assert {name: (resolv_conf(daemon, name), rules(daemon, name)) for name in askers} == before


def test_the_agent_has_three_capabilities(agent: Project) -> None:
    assert set(agent.services["dns"]["cap_add"]) == AGENT_CAPABILITIES
    assert agent.services["dns"]["cap_drop"] == ["ALL"]


@pytest.mark.parametrize("lacking", sorted(AGENT_CAPABILITIES))
def test_none_of_the_agents_capabilities_is_there_for_nothing(daemon: Daemon, agent: Project, lacking: str) -> None:
    agent.services["dns"]["cap_add"].remove(lacking)
    agent.services["dns"]["restart"] = "no"
    agent.up()
    dns = agent.container("dns")
    wait_until(lambda: f"needs CAP_{lacking}" in says(daemon, dns), WITHIN_S, "it says what it lacks")
    assert "Traceback" not in says(daemon, dns)
    assert "table ip pydns" not in rules(daemon, "web")


# -- as a server -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(daemon: Daemon, image: str) -> Iterator[Project]:
    environment = variables(daemon, image) | {"PUBLISH": "172.17.0.1:53"}
    with Project(daemon, DEPLOY / "server.yaml", environment, "server") as project:
        daemon.docker("network", "create", "mynet")
        run(daemon, "db", "--network", "mynet")
        run(daemon, "plain")
        project.up()
        wait_ready(daemon, project.container("dns"))
        yield project


@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_a_server_answers_the_host_and_containers_at_a_published_port(
    daemon: Daemon, server: Project, transport: str
) -> None:
    address = address_of(daemon, "db", "mynet")
    assert daemon.on_host("dig", "+short", "@172.17.0.1", "db", transport) == address
    for asker in ("plain", "db"):
        assert dig(daemon, asker, "db", transport, at="172.17.0.1") == address
    assert daemon.on_host("dig", "+short", "@172.17.0.1", "away.example", transport) == MARKS["A"]


def test_a_server_is_nobody_and_may_nothing(daemon: Daemon, server: Project) -> None:
    dns = server.container("dns")
    status = Path(f"/proc/{daemon.pid_of(dns)}/status").read_text()
    assert re.search(r"^Uid:\t65532\t65532\t65532\t65532$", status, re.MULTILINE)
    assert (capabilities(daemon, dns, "Bnd"), capabilities(daemon, dns, "Eff")) == (0, 0)


def test_the_health_check_tells_a_server_that_answers_from_one_that_does_not(daemon: Daemon, server: Project) -> None:
    kind, *command = daemon.get(f"/containers/{server.container('dns')}/json")["Config"]["Healthcheck"]["Test"]
    assert kind == "CMD"
    daemon.docker("exec", server.container("dns"), *command)
    image = server.services["dns"]["image"]
    with pytest.raises(DaemonError, match="ConnectionRefusedError"):
        daemon.docker("run", "--rm", "--entrypoint", command[0], image, *command[1:])


# -- the files -------------------------------------------------------------------------------------


def test_every_compose_file_is_run_here() -> None:
    assert {path.name for path in DEPLOY.glob("*.yaml")} == {"agent.yaml", "server.yaml", "sidecar.yaml"}


def test_what_must_be_said_has_to_be() -> None:
    for name, variable in (("server.yaml", "DOCKER_GID"), ("sidecar.yaml", "UPSTREAM")):
        with pytest.raises(ComposeError, match=f"{variable} has no value"):
            load(DEPLOY / name, {})
