"""A server that cannot start says why in plain words, ends with 2, and shows no traceback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.scenarios.conftest import Serve
from tests.scenarios.live import STOP_WITHIN_S, Live, answers, is_clean

Refused = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path) -> Iterator[Refused]:
    """Start a server that cannot: what it says, after all that must hold of any refusal was looked at."""
    started: list[Live] = []

    def start(configuration: str = "", **options: object) -> str:
        live = Live(tmp_path / f"refused-{len(started)}", **options)  # type: ignore[arg-type]
        if configuration:
            live.config.write_text(configuration)
        live.start()
        started.append(live)
        assert live.process.wait(STOP_WITHIN_S) == 2, live.stderr
        assert is_clean(live.stderr), live.stderr
        assert all(line.startswith("pydns: ") for line in live.stderr.splitlines())
        assert " ready: " not in live.stderr
        return live.stderr

    yield start
    for live in started:
        live.kill()


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM], ids=["UDP", "TCP"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_taken_port(refused: Refused, kind: socket.SocketKind, host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as taken:
        taken.bind((host, 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        where = f"[{host}]:{taken.getsockname()[1]}" if ":" in host else f"{host}:{taken.getsockname()[1]}"
        said = refused(listen=(where,))
        protocol = "TCP" if kind == socket.SOCK_STREAM else "UDP"
        assert said.count("\n") == 1
        assert f"{protocol} {where} is taken" in said
        assert "--listen" in said


@pytest.mark.root
def test_a_privileged_port_without_the_privilege(tmp_path: Path) -> None:
    """As nobody, in a network namespace of its own where ports below 1024 are what they always were."""
    code = tmp_path / "code"
    shutil.copytree(Path(__file__).parents[2] / "resolver", code / "resolver")
    shutil.copytree(Path(__file__).parents[2] / "zones", code / "zones")
    for folder in (*tmp_path.parents[:2], tmp_path):
        folder.chmod(folder.stat().st_mode | 0o055)
    inside = 'ip link set lo up; exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"'
    serve = [sys.executable, "-m", "resolver.cli.main", "serve", "--listen", "127.0.0.1:53", "--metrics", "off"]
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    ended = subprocess.run(
        ["unshare", "-n", "sh", "-c", inside, "sh", *serve],
        cwd=code,
        env={"PYTHONPATH": f"{code}:{packages}", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=STOP_WITHIN_S,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.count("\n") == 1
    assert "CAP_NET_BIND_SERVICE" in ended.stderr


def test_an_address_that_the_machine_does_not_have(refused: Refused) -> None:
    said = refused(listen=("192.0.2.77:0",))
    assert said.count("\n") == 1
    assert "192.0.2.77" in said
    assert "is not an address of this machine" in said


def test_one_bad_listener_of_several_starts_nothing(refused: Refused) -> None:
    assert "192.0.2.77" in refused(listen=("127.0.0.1:0", "192.0.2.77:0"))


def test_every_fault_of_a_configuration_is_listed_at_once(refused: Refused, tmp_path: Path) -> None:
    said = refused(
        configuration="""[server]
listen = ["localhost:99", "127.0.0.1:77777"]
lisen = 3
[answers]
ttl = -1
single_label = "maybe"
[forward]
upstreams = ["dns.example.org"]
""",
    )
    lines = said.splitlines()
    config = str(tmp_path / "refused-0/pydns.toml")
    for line, key, value in (
        (2, "server.listen", "localhost"),
        (2, "server.listen", "77777"),
        (3, "server.lisen", "lisen"),
        (5, "answers.ttl", "-1"),
        (6, "answers.single_label", "maybe"),
        (8, "forward.upstreams", "dns.example.org"),
    ):
        matching = [text for text in lines if f"{config}:{line}: {key}:" in text and value in text]
        assert len(matching) == 1, (line, key, said)
        assert matching[0].endswith(")"), f"no fix: {matching[0]}"
    assert len(lines) == 6


def test_a_configuration_that_is_no_toml(refused: Refused, tmp_path: Path) -> None:
    said = refused(configuration='[server\nlisten = "x"\n')
    assert said.count("\n") == 1
    assert f"{tmp_path}/refused-0/pydns.toml:1:" in said


@pytest.mark.parametrize("bad", [b"\xff\xfe", b"\0\0", b"a = " + b"[" * 100_000], ids=["not UTF-8", "zeros", "nested"])
def test_a_configuration_that_is_no_text_at_all(refused: Refused, tmp_path: Path, bad: bytes) -> None:
    (tmp_path / "bad.toml").write_bytes(bad)
    said = refused(arguments=("-c", str(tmp_path / "bad.toml")))
    assert said.count("\n") == 1
    assert str(tmp_path / "bad.toml") in said


def test_files_that_are_not_there(refused: Refused, tmp_path: Path) -> None:
    for option in ("--registry", "--zones", "-c"):
        said = refused(arguments=(option, str(tmp_path / "absent.toml")))
        assert said.count("\n") == 1
        assert str(tmp_path / "absent.toml") in said


def test_a_network_that_nobody_knows(refused: Refused) -> None:
    said = refused(arguments=("--network", "nonet"))
    assert said.count("\n") == 1
    assert "'nonet'" in said
    assert "mynet" in said


def test_a_taken_metrics_port_that_was_asked_for(refused: Refused) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        said = refused(settings={"metrics": {"listen": where}})
        assert said.count("\n") == 1
        assert f"TCP {where} is taken" in said
        assert "--metrics" in said


@pytest.mark.root
def test_a_taken_metrics_port_that_is_only_the_default_is_done_without(tmp_path: Path) -> None:
    """In a network namespace of its own, so that the well-known port is nobody's."""
    hold = (
        "import socket, subprocess, sys; taken = socket.create_server(('127.0.0.1', 9153));"
        " sys.exit(subprocess.call(sys.argv[1:]))"
    )
    live = Live(tmp_path, prefix=("unshare", "-n", "sh", "-c", 'ip link set lo up; exec "$@"', "sh"))
    del live.tables["metrics"]
    live.write_config()
    live.command[6:6] = [sys.executable, "-c", hold, "setpriv", "--pdeathsig", "KILL"]
    with live:
        assert "warning: no metrics: TCP 127.0.0.1:9153 is taken" in live.stderr
        inside = ["nsenter", f"--net=/proc/{live.process.pid}/ns/net"]
        dig = [*inside, "dig", "@127.0.0.1", "-p", str(live.at.port), "+short", "db"]
        assert subprocess.run(dig, capture_output=True, text=True, check=True).stdout == "172.18.0.2\n"


def test_a_fault_in_the_registry_does_not_keep_the_server_from_starting(serve: Serve) -> None:
    """What is good is served; what is wrong is said."""
    live = serve(registry={"a.toml": "[networks.n\n", "b.toml": '[networks.n.endpoints.x]\naddresses = ["10.0.0.1"]\n'})
    assert answers(live.udp("x.")) == ["10.0.0.1"]
    assert "a.toml:1:" in live.stderr
