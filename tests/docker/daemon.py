"""A dockerd of the tests' own, in a network namespace without a way out.

    <folder>/data run docker.pid docker.sock dockerd.err resolv.conf     everything that the daemon keeps
    /run/netns/<name>          what the daemon takes for the host's network; the upstream's addresses are in it
    /sys/fs/cgroup/*/<name>    its containers' cgroups

One name, `pydns-docker-…`, says what belongs together. The machine's own bridges, rules, /etc/docker and /run are
never touched: the daemon has a mount namespace too. `Daemon.close` takes everything away, also after a failure
half-way; when we are killed, the daemon ends by itself and the next run takes the rest away (`remains`).
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import http.client
import itertools
import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Self

from tests.docker import remains
from tests.docker.image import BASE, ENDS_AT_ONCE, base_image
from tests.docker.upstream import FOR_DOCKER, FOR_PYDNS, Upstream
from tests.netns.world import Process, WorldError, wait_until

DOCKER = "/usr/bin/docker"
DOCKERD = "/usr/sbin/dockerd"
READY_WITHIN_S = 40.0
STOP_WITHIN_S = 20.0
COMMAND_WITHIN_S = 60.0
STORAGE_DRIVERS = ("overlay2", "vfs")
"""In the order in which they are tried: overlay2 does not work on every file system."""

_END_WITH_US = ("setpriv", "--pdeathsig", "TERM")  # also when we are killed and cannot clean up
_TAIL_LINES = 40
_ETC_DOCKER = Path("/etc/docker")
_MOUNTS = """\
set -e
case $1 in /run/*) ;; *) mount -t tmpfs -o mode=755 none /run ;; esac
mount -t tmpfs -o mode=755 none /etc/docker
[ -e "$2" ] || { mkdir -p "$(dirname "$2")"; : > "$2"; }  # systemd's is in /run
mount --bind "$1/resolv.conf" "$2"
grep -q ' /sys/fs/cgroup' /proc/self/mounts || mount -t cgroup2 none /sys/fs/cgroup
echo mounted
exec sleep infinity
"""


class DaemonError(Exception):
    """The daemon did not come up, or what it was told to do failed."""


class Daemon:
    """Starts a dockerd on entering, removes all of it on leaving."""

    def __init__(self, *options: str) -> None:
        """Options are more flags of dockerd's."""
        self._options = options
        self.name = f"{remains.PREFIX}{os.getpid()}x{secrets.token_hex(2)}"
        """What the folder, the network namespace and the cgroups are called."""
        self.folder = Path(tempfile.gettempdir()) / self.name
        self.socket_path = self.folder / "docker.sock"
        self.resolv_conf = self.folder / "resolv.conf"
        """What the daemon sees as /etc/resolv.conf; to be edited in place, for it is bind-mounted."""
        self.storage_driver = ""
        self.upstream = Upstream(self.name)
        self._undo = contextlib.ExitStack()
        self._log_serial = itertools.count()
        self._process: Process

    @property
    def url(self) -> str:
        """The daemon's socket as DOCKER_HOST has it."""
        return f"unix://{self.socket_path}"

    @property
    def host_netns(self) -> str:
        """The name in /run/netns of what the daemon takes for the host's network."""
        return self.name

    @property
    def pid(self) -> int:
        """The process id of dockerd."""
        return self._process.pid

    # -- coming and going --------------------------------------------------------------------------

    def __enter__(self) -> Self:
        atexit.register(self.close)
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take everything away, in the reverse order of its making; calling it twice does no harm."""
        self._undo.close()
        atexit.unregister(self.close)

    def _build(self) -> None:
        missing = [tool for tool in (DOCKER, DOCKERD, "busybox", "nsenter", "setpriv") if shutil.which(tool) is None]
        if missing:
            raise DaemonError(f"not installed: {', '.join(missing)}; `tools/debian.sh test` installs what is needed")
        remains.sweep(self.folder.parent)
        self._make_folder()
        self._make_network()
        self._make_mounts()
        self._undo.enter_context(self.upstream)
        self.start()
        self.docker(
            *("import", "-c", "ENV PATH=/bin:/usr/bin", "-c", f"CMD {json.dumps(ENDS_AT_ONCE)}", "-", BASE),
            given=base_image(),
        )

    def _make_folder(self) -> None:
        self.folder.mkdir(mode=0o711)
        # Whoever holds the lock is alive: the kernel lets go of it when we end, however that may be.
        made = self.folder / "lock.new"
        lock = self._undo.enter_context(made.open("w"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        made.rename(self.folder / remains.LOCK)
        self._undo.callback(remains.remove, self.folder)
        for name in ("client", "tmp"):
            (self.folder / name).mkdir()
        (self.folder / "daemon.json").write_text("{}\n")
        self.resolv_conf.write_text(f"nameserver {FOR_DOCKER}\n")
        if not _ETC_DOCKER.exists():  # the daemon's own is mounted on it
            (self.folder / remains.MADE).write_text(str(_ETC_DOCKER))
            _ETC_DOCKER.mkdir(exist_ok=True)

    def _make_network(self) -> None:
        _run("ip", "netns", "add", self.name)
        # A bridge without ports holds addresses as well as a dummy device, which a kernel may lack.
        lines = ["link set lo up", "link add upstream type bridge", "link set upstream up"]
        lines += [f"address add {address}/24 dev upstream" for address in (FOR_DOCKER, FOR_PYDNS)]
        _run("ip", "-n", self.name, "-batch", "-", given="\n".join(lines).encode() + b"\n")

    def _make_mounts(self) -> None:
        """Make the daemon's mount namespace; a process keeps it, for containers outlive a dockerd that crashes."""
        # not `ip netns exec`: it mounts a new /sys, which hides the cgroups
        command = [*_enter(f"/run/netns/{self.name}"), *_END_WITH_US, "unshare", "--mount", "--propagation", "private"]
        command += ["sh", "-c", _MOUNTS, "sh", str(self.folder), os.path.realpath("/etc/resolv.conf")]
        self._keeper = keeper = Process(command, self.folder / "mounts")
        self._undo.callback(keeper.end)
        wait_until(lambda: keeper.stdout_text() or keeper.poll() is not None, READY_WITHIN_S, "the mounts are made")
        if keeper.poll() is not None:
            raise DaemonError(f"the daemon's mounts could not be made: {keeper.stderr_text()}")
        # where the cgroups are mounted for the daemon only, nobody else could take its own away
        self._undo.callback(_run, *self._enter_mounts(), "rmdir", f"/sys/fs/cgroup/{self.name}", check=False)

    def start(self) -> None:
        """Start dockerd and wait until it answers; after `stop` or `kill`, with all that it had."""
        for driver in (self.storage_driver,) if self.storage_driver else STORAGE_DRIVERS:
            self._process = Process(self._command(driver), self.folder / "dockerd")
            self._undo.callback(self._end)
            try:
                wait_until(self._answers_or_ended, READY_WITHIN_S, "dockerd answers at its socket")
            except WorldError as exc:
                raise DaemonError(f"{exc}; dockerd said:\n{self.log_tail()}") from exc
            if self._process.poll() is None:
                self.storage_driver = driver
                return
            if "driver" not in self.log_tail():
                break
            shutil.rmtree(self.folder / "data", ignore_errors=True)
        raise DaemonError(f"dockerd ended with {self._process.poll()}; it said:\n{self.log_tail()}")

    def stop(self) -> None:
        """End dockerd as a service manager does; it stops its containers first."""
        self._process.stop(STOP_WITHIN_S)

    def kill(self) -> None:
        """End dockerd as a crash does; its containers go on."""
        self._process.kill9()
        note = self.folder / "run" / "containerd" / "containerd.pid"
        wait_until(partial(_has_ended, int(note.read_text())), STOP_WITHIN_S, "dockerd's containerd ends with it")
        note.unlink()  # the next dockerd takes a process that nobody has waited for yet for a running one

    def clear(self) -> None:
        """Take away every container and every network that somebody made."""
        if containers := self.docker("ps", "--all", "--quiet").split():
            self.docker("rm", "--force", "--volumes", *containers)
        self.docker("network", "prune", "--force")

    def _command(self, driver: str) -> list[str]:
        folder = self.folder
        return [
            *("env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", f"TMPDIR={folder}/tmp"),
            *(*self._enter_mounts(), *_END_WITH_US),
            *(DOCKERD, "--config-file", f"{folder}/daemon.json", "--host", self.url, "--pidfile"),
            *(f"{folder}/docker.pid", "--data-root", f"{folder}/data", "--exec-root", f"{folder}/run"),
            *("--storage-driver", driver, "--log-level", "warn", "--cgroup-parent", f"/{self.name}"),
            *self._options,
        ]

    def _enter_mounts(self) -> tuple[str, ...]:
        return "nsenter", "--target", str(self._keeper.pid), "--mount", "--net", "--wd=/"

    def _answers_or_ended(self) -> bool:
        if self._process.poll() is not None:
            return True
        try:
            return bool(self.get("/_ping") == "OK")
        except (OSError, http.client.HTTPException):
            return False

    def _end(self) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(DaemonError):  # what it leaves is killed next
                self.clear()
            self._process.end()

    def log_tail(self) -> str:
        """The last lines of what dockerd has said, without what its shims tell of each start."""
        lines = [line for line in self._process.stderr_text().splitlines() if "level=info" not in line]
        return "\n".join(lines[-_TAIL_LINES:])

    # -- doing things ------------------------------------------------------------------------------

    def docker(self, *args: str, given: bytes | None = None, within_s: float = COMMAND_WITHIN_S) -> str:
        """Return what docker prints, without the final newline; DaemonError with its words when it fails."""
        # a client's configuration of this machine's user could name credentials, proxies and another daemon
        environment = {"PATH": os.environ["PATH"], "DOCKER_CONFIG": str(self.folder / "client"), "DOCKER_BUILDKIT": "0"}
        return _run(DOCKER, "--host", self.url, *args, given=given, within_s=within_s, env=environment)

    def get(self, path: str) -> Any:
        """Return what the API says at a path, JSON as values and anything else as text (``/containers/web/json``)."""
        connection = http.client.HTTPConnection("docker", timeout=COMMAND_WITHIN_S)
        with contextlib.closing(connection), socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(COMMAND_WITHIN_S)
            sock.connect(str(self.socket_path))
            connection.sock = sock
            connection.request("GET", path)
            response = connection.getresponse()
            text = response.read().decode()
        if response.status != 200:
            raise DaemonError(f"GET {path}: {response.status} {text.strip()}")
        return json.loads(text) if response.headers.get_content_type() == "application/json" else text

    def pid_of(self, container: str) -> int:
        """Return the process id of a running container's first process, as this machine counts them."""
        pid = int(self.get(f"/containers/{container}/json")["State"]["Pid"])
        if not pid:
            raise DaemonError(f"container {container} is not running")
        return pid

    def netns_of(self, container: str) -> str:
        """Return the path of a running container's network namespace."""
        return f"/proc/{self.pid_of(container)}/ns/net"

    def inside(self, container: str, *command: str, check: bool = True) -> str:
        """Return what a program of this machine prints in a container's network."""
        return _run(*_enter(self.netns_of(container)), *command, check=check)

    def on_host(self, *command: str, check: bool = True) -> str:
        """Return what a program of this machine prints in what the daemon takes for the host's network."""
        return _run(*_enter(f"/run/netns/{self.name}"), *command, check=check)

    def start_inside(self, container: str, *command: str) -> Process:
        """Start a program of this machine in a container's network; it ends with the daemon at the latest."""
        return self._start_process(self.netns_of(container), command)

    def start_on_host(self, *command: str) -> Process:
        """Start a program in what the daemon takes for the host's network; it ends with the daemon at the latest."""
        return self._start_process(f"/run/netns/{self.name}", command)

    def _start_process(self, netns: str, command: tuple[str, ...]) -> Process:
        log = self.folder / f"process-{next(self._log_serial)}"
        process = Process([*_enter(netns), *_END_WITH_US, *command], log)
        self._undo.callback(process.end)
        return process


def _enter(netns: str) -> tuple[str, str]:
    return "nsenter", f"--net={netns}"


def _run(
    *argv: str,
    given: bytes | None = None,
    check: bool = True,
    within_s: float = COMMAND_WITHIN_S,
    env: dict[str, str] | None = None,
) -> str:
    """Run to the end; with `check`, a failure raises DaemonError with the program's own words."""
    try:
        done = subprocess.run(
            argv,
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            check=False,
            timeout=within_s,
            env=env,
        )
    except subprocess.TimeoutExpired as exc:
        raise DaemonError(f"no end within {within_s:g} s: {' '.join(argv)}") from exc
    if check and done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise DaemonError(f"{' '.join(argv)} ended with {done.returncode}: {said}")
    return done.stdout.decode(errors="replace").rstrip("\n")


def _has_ended(pid: int) -> bool:
    """True also for a process that has ended and that its parent has not waited for."""
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
