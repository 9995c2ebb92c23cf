"""Debian's podman and netavark with pydns in the place of aardvark-dns: containers find one another by name.

All of it lives in namespaces of the test's own (network, mounts, processes) that have no way out; with the last
process in them everything is gone. The image is busybox, imported from a tar.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.cli.program import PYDNS
from tests.netns.world import DigReply, parse_dig, wait_until
from tests.scenarios.live import ROOT

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

UPSTREAM = "10.99.0.53"
SET_UP = f"""
set -e
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm
mkdir /run/containers
mount --bind "$1/resolv.conf" /etc/resolv.conf
# crun refuses a mixture of cgroup versions, and needs neither here.
umount -l /sys/fs/cgroup/unified 2>/dev/null || true
grep -q ' /sys/fs/cgroup' /proc/self/mounts || mount -t cgroup2 none /sys/fs/cgroup
ip link set lo up
ip address add {UPSTREAM}/32 dev lo
dnsmasq --conf-file=/dev/null --pid-file= --user=root --group=root --no-resolv --no-hosts --bind-interfaces \
  --listen-address={UPSTREAM} --local=/example.test/ --host-record=www.example.test,192.0.2.80 \
  --log-queries=extra --log-facility="$1/upstream.log"
touch "$1/ready"
sleep infinity & wait
"""
CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
cgroups = "disabled"
log_driver = "k8s-file"

[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "crun"
helper_binaries_dir = ["{helpers}", "/usr/lib/podman", "/usr/libexec/podman"]

[network]
network_backend = "netavark"
"""


class PodmanHost:
    """A machine of its own, as far as podman can tell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._write_files()
        self._init = subprocess.Popen(
            [
                *("unshare", "--net", "--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc"),
                *("--kill-child", "bash", "-c", SET_UP, "bash", str(folder)),
            ],
            stdin=subprocess.DEVNULL,
        )
        try:
            wait_until(lambda: (folder / "ready").exists(), 20, "the machine")
            self.pid = int(Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children").read_text())
        except BaseException:
            self.close()
            raise

    def _write_files(self) -> None:
        (self.folder / "resolv.conf").write_text(f"nameserver {UPSTREAM}\n")
        helpers = self.folder / "helpers"
        helpers.mkdir()
        (helpers / "aardvark-dns").symlink_to(ROOT / "deploy" / "aardvark-dns")
        (self.folder / "containers.conf").write_text(CONTAINERS_CONF.format(helpers=helpers))
        with tarfile.open(self.folder / "image.tar", "w") as image:
            image.add(shutil.which("busybox") or "busybox", "bin/busybox")
            for name in ("etc", "proc", "sys", "dev", "tmp", "run"):
                entry = tarfile.TarInfo(name)
                entry.type = tarfile.DIRTYPE
                image.addfile(entry)
            image.addfile(tarfile.TarInfo("etc/passwd"), io.BytesIO())

    def close(self) -> None:
        """Kill the first process of the machine, and with it all of them."""
        with contextlib.suppress(ProcessLookupError, AttributeError):
            os.kill(self.pid, signal.SIGKILL)
        self._init.kill()
        self._init.wait(20)

    def run(self, *argv: str, check: bool = True, within_s: float = 60.0) -> str:
        """What a program prints on the machine."""
        done = subprocess.run(
            ["nsenter", f"--target={self.pid}", "--net", "--mount", "--pid", *argv],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=within_s,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder),
                "PYDNS": PYDNS,
                "CONTAINERS_CONF": str(self.folder / "containers.conf"),
            },
        )
        assert not check or done.returncode == 0, done
        return done.stdout.strip()

    def podman(self, *words: str, check: bool = True) -> str:
        """What podman prints."""
        places = {"root": "storage", "runroot": "runroot", "network-config-dir": "networks"}
        flags = [word for flag, name in places.items() for word in (f"--{flag}", str(self.folder / name))]
        return self.run("podman", *flags, "--storage-driver", "vfs", *words, check=check)

    def start(self, name: str, *words: str) -> None:
        """A container that does nothing."""
        self.podman("run", "--detach", "--name", name, *words, "box", "/bin/busybox", "sleep", "1000")

    def keep_bridge_addresses(self) -> None:
        """A bridge takes the lowest hardware address of its ports, so that it may change with every container.

        netavark 1.4 leaves it so, and who asked before sends to an address that is nobody's any more.
        """
        for bridge in json.loads(self.run("ip", "-json", "link", "show", "type", "bridge")):
            self.run("ip", "link", "set", bridge["ifname"], "address", bridge["address"])

    def ask(self, container: str, *question: str) -> DigReply:
        """What dig prints in the container's network, at the first server of its resolv.conf."""
        pid, conf = self.podman("inspect", container, "--format", "{{.State.Pid}} {{.ResolvConfPath}}").split()
        server = next(line.split()[1] for line in self.run("cat", conf).splitlines() if line.startswith("nameserver"))
        inside = ("nsenter", f"--target={pid}", "--net", "dig", f"@{server}", "+tries=1", "+time=5", *question)
        return parse_dig(self.run(*inside, check=False))

    def address(self, container: str, network: str, family: str = "IPAddress") -> str:
        """The address that podman gave a container."""
        networks = json.loads(self.podman("inspect", container, "--format", "{{json .NetworkSettings.Networks}}"))
        address: str = networks[network][family]
        return address

    def server_pid(self) -> str:
        """What aardvark.pid says, empty without one."""
        return self.run("cat", "/run/containers/networks/aardvark-dns/aardvark.pid", check=False)


@pytest.fixture(scope="module")
def host() -> Iterator[PodmanHost]:
    """Two networks of which `db` is on both, an internal one, and a container on each."""
    folder = TemporaryDirectory(ignore_cleanup_errors=True)  # a path of podman's has 50 characters at most
    made = PodmanHost(Path(folder.name))
    try:
        made.podman("import", str(made.folder / "image.tar"), "box")
        made.podman("network", "create", "--ipv6", "--subnet=10.70.0.0/24", "--subnet=fd00:70::/64", "blue")
        made.podman("network", "create", "red")
        made.podman("network", "create", "--internal", "vault")
        made.start("web", "--network=blue", "--network-alias=www")
        made.start("db", "--network=blue,red")
        made.start("cache", "--network=red")
        made.start("secret", "--network=vault")
        made.keep_bridge_addresses()
        yield made
    finally:
        made.close()
        folder.cleanup()


def test_it_is_pydns_that_serves(host: PodmanHost) -> None:
    words = host.run("cat", f"/proc/{host.server_pid()}/cmdline").split("\0")
    assert PYDNS in words
    assert words[words.index("aardvark") :].count("run") == 1


def test_containers_find_one_another(host: PodmanHost) -> None:
    for name in ("db", "db.dns.podman"):
        assert host.ask("web", name).rdata == [host.address("db", "blue")]
        assert host.ask("web", name, "AAAA").rdata == [host.address("db", "blue", "GlobalIPv6Address")]
    assert host.ask("db", "www", "+tcp").rdata == [host.address("web", "blue")]
    assert host.ask("db", "cache").rdata == [host.address("cache", "red")]
    assert host.ask("cache", "db").rdata == [host.address("db", "red")]
    assert host.ask("web", "cache.dns.podman").status == "NXDOMAIN"


def test_a_programs_own_resolver_finds_them(host: PodmanHost) -> None:
    """By the resolv.conf that podman wrote, with its search list."""
    said = host.podman("exec", "web", "/bin/busybox", "nslookup", "db", check=False)
    assert "Name:\tdb.dns.podman" in said
    assert f"Address: {host.address('db', 'blue')}" in said


def test_addresses_have_the_names_of_their_container(host: PodmanHost) -> None:
    short_id = host.podman("inspect", "db", "--format", "{{.Id}}")[:12]
    assert host.ask("web", "-x", host.address("db", "blue")).rdata == sorted(["db.", f"{short_id}."])


def test_the_world_outside_is_forwarded(host: PodmanHost) -> None:
    assert host.ask("web", "www.example.test").rdata == ["192.0.2.80"]
    assert host.ask("cache", "www.example.test").rdata == ["192.0.2.80"]


def test_who_comes_and_goes_is_known_at_once(host: PodmanHost) -> None:
    host.start("late", "--network=blue", "--network-alias=later")
    assert host.ask("web", "later").rdata == [host.address("late", "blue")]
    host.podman("rm", "--force", "--time=0", "late")
    assert host.ask("web", "later.dns.podman").status == "NXDOMAIN"


def test_a_network_of_its_own_comes_and_goes(host: PodmanHost) -> None:
    before = host.server_pid()
    host.podman("network", "create", "passing")
    host.start("one", "--network=passing")
    host.start("two", "--network=passing")
    assert host.ask("one", "two").rdata == [host.address("two", "passing")]
    host.podman("rm", "--force", "--time=0", "one", "two")
    assert host.server_pid() == before
    assert host.ask("web", "db").status == "NOERROR"


def test_it_is_started_anew_after_a_crash(host: PodmanHost) -> None:
    before = host.server_pid()
    host.run("kill", "-9", before)
    host.start("rescuer", "--network=red")
    assert host.server_pid() not in ("", before)
    assert host.ask("cache", "rescuer").rdata == [host.address("rescuer", "red")]
    assert host.ask("web", "db").rdata == [host.address("db", "blue")]
    host.podman("rm", "--force", "--time=0", "rescuer")


def test_it_ends_with_the_last_container(host: PodmanHost) -> None:
    last = host.server_pid()
    host.podman("rm", "--force", "--time=0", "--all")
    wait_until(lambda: host.server_pid() == "", 10, "the end of the pid file")
    wait_until(lambda: last not in host.run("ps", "-eo", "pid=").split(), 10, "the end of the process")
    assert host.run("ls", "/run/containers/networks/aardvark-dns") == ""
