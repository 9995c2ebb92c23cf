"""`pydns serve --podman` beside a real Podman service, in folders and a network namespace of its own."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.docker.image import base_image
from tests.netns.world import Process, wait_until
from tests.scenarios.live import Live, is_clean, until

pytestmark = pytest.mark.root

IMAGE = "pydns-test/podman"
# runc: crun refuses the mixed cgroups that some machines have. File locks: shared memory would be the machine's own.
CONFIGURATION = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
"""


class Podman:
    """A Podman service; all that it has is taken away at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "podman.sock"
        self._netns = f"pydns-podman-{os.getpid()}x{secrets.token_hex(2)}"
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> Podman:
        try:
            for name in ("networks", "root", "run", "tmp"):
                (self.folder / name).mkdir()
            (self.folder / "containers.conf").write_text(CONFIGURATION.format(folder=self.folder))
            subprocess.run(["ip", "netns", "add", self._netns], check=True)
            self._undo.callback(subprocess.run, ["ip", "netns", "del", self._netns], check=True)
            subprocess.run(["ip", "-n", self._netns, "link", "set", "lo", "up"], check=True)
            service = [*self._command(), "system", "service", "--time", "0", f"unix://{self.socket}"]
            process = Process(["setpriv", "--pdeathsig", "TERM", *service], self.folder / "service")
            self._undo.callback(process.end)
            wait_until(self.socket.exists, 20, "podman's socket")
            self._undo.callback(self._clear)
            self.do("import", "-", IMAGE, given=base_image())
        except BaseException:
            self._undo.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def _command(self) -> list[str]:
        folder = self.folder
        return [
            *("env", f"CONTAINERS_CONF={folder}/containers.conf", "nsenter", f"--net=/run/netns/{self._netns}"),
            *("podman", "--storage-driver", "vfs", "--root", f"{folder}/root", "--runroot", f"{folder}/run"),
            *("--tmpdir", f"{folder}/tmp"),
        ]

    def _clear(self) -> None:
        self.do("rm", "--force", "--all", "--time", "0")
        self.do("rmi", "--force", "--all")

    def do(self, *arguments: str, given: bytes | None = None) -> str:
        """What a podman command prints."""
        done = subprocess.run([*self._command(), *arguments], input=given, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def run(self, name: str, *options: str) -> str:
        """Run a container; its id."""
        return self.do("run", "--detach", "--name", name, *options, IMAGE, "/bin/sleep", "600")

    def address(self, container: str, network: str) -> str:
        """Its address on a network."""
        (inspected,) = json.loads(self.do("inspect", container))
        return str(inspected["NetworkSettings"]["Networks"][network]["IPAddress"])


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    # A path of podman's has 50 characters at most.
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder, Podman(Path(folder)) as started:
        yield started


def test_names_of_podmans_containers(podman: Podman, tmp_path: Path) -> None:
    podman.do("network", "create", "podnet")
    container_id = podman.run("pod-db", "--network", "podnet:alias=store", "--expose", "5432", "--hostname", "podhost")
    arguments = ["--podman", f"unix://{podman.socket}"]
    with Live(tmp_path, registry={}, arguments=arguments) as live:

        def is_served(name: str, *addresses: str) -> None:
            until(lambda: live.addresses(name) == set(addresses))

        at = podman.address("pod-db", "podnet")
        assert at
        for name in ("pod-db.", "store.", "podhost.", f"{container_id[:12]}.", "pod-db.podnet."):
            is_served(name, at)

        podman.do("network", "create", "podother")
        podman.do("network", "connect", "--alias", "elsewhere", "podother", "pod-db")
        is_served("elsewhere.", podman.address("pod-db", "podother"))
        podman.do("network", "disconnect", "podother", "pod-db")
        is_served("elsewhere.")
        is_served("pod-db.", at)

        podman.do("rename", "pod-db", "pod-renamed")
        is_served("pod-renamed.", at)
        is_served("pod-db.")
        podman.do("pause", "pod-renamed")
        assert live.addresses("pod-renamed.") == {at}
        podman.do("unpause", "pod-renamed")
        podman.do("restart", "--time", "0", "pod-renamed")
        is_served("pod-renamed.", podman.address("pod-renamed", "podnet"))

        podman.run("pod-default")
        podman.run("pod-late", "--network", "podnet", "--label", "pydns.names=late-name")
        is_served("late-name.", podman.address("pod-late", "podnet"))
        assert live.addresses("pod-default.") == set()

        podman.do("stop", "--time", "0", "pod-late")
        is_served("late-name.")
        podman.do("rm", "--force", "--time", "0", "pod-renamed")
        is_served("store.")
        assert live.count("pydns_source_syncs_total", source="podman") == 1
        assert live.count("pydns_source_up", source="podman") == 1
        assert is_clean(live.stderr), live.stderr


def test_podmans_default_network_when_it_is_asked_for(podman: Podman, tmp_path: Path) -> None:
    podman.run("pod-bridged")
    settings: dict[str, dict[str, object]] = {
        "podman": {"host": f"unix://{podman.socket}", "serve_default_bridge": True}
    }
    with Live(tmp_path, registry={}, settings=settings) as live:
        at = podman.address("pod-bridged", "podman")
        until(lambda: live.addresses("pod-bridged.podman.") == {at})
