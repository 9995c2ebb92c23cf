"""What is there of a daemon besides itself, and how it is taken away: processes, namespace, cgroups, folder.

Everything is found by the daemon's one name, so nothing of anybody else's can be meant. A daemon whose run was killed
leaves these behind; the next run finds them by the lock that nobody holds any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.netns.world import WorldError, wait_until

PREFIX = "pydns-docker-"
LOCK = "lock"
MADE = "made"
"""In a daemon's folder: names a folder elsewhere that it made to mount on."""
_ENDS_WITHIN_S = 10.0
_CGROUPS = Path("/sys/fs/cgroup")
_RUN_NETNS = Path("/run/netns")


def sweep(parent: Path) -> list[str]:
    """Take away what killed runs have left in a folder for temporary files; returns the names."""
    taken = []
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), open(folder / LOCK) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # its owner is alive: not ours to touch
            remove(folder)
            taken.append(folder.name)
    return taken


def remove(folder: Path) -> None:
    """Take away whatever is left of the daemon whose folder it is."""
    name = folder.name
    with contextlib.suppress(WorldError):  # the rest is to go all the same
        wait_until(lambda: not _killed(name), _ENDS_WITHIN_S, f"the processes of {name} end")
    if (_RUN_NETNS / name).exists():
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
    for top in _cgroups(name):
        for path, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(path)
    made = folder / MADE
    if made.exists() and (others := [each for each in folder.parent.glob(f"{PREFIX}*") if each != folder]):
        # theirs is mounted on it, too, and would be gone with it: the last one is to take it away
        with contextlib.suppress(OSError):
            shutil.move(made, others[0] / MADE)
    with contextlib.suppress(OSError):  # there is none, or somebody else uses it by now
        Path(made.read_text()).rmdir()
    shutil.rmtree(folder, ignore_errors=True)


def left(folder: Path) -> list[str]:
    """What is still there of a daemon: after `remove`, nothing."""
    name = folder.name
    places = [folder, _RUN_NETNS / name, *_cgroups(name)]
    return [str(place) for place in places if place.exists()] + [f"process {pid}" for pid in processes(name)]


def processes(name: str) -> set[int]:
    """Those in the daemon's network namespace, all that these have started, and those in its containers' cgroups."""
    found: set[int] = set()
    if (_RUN_NETNS / name).exists():
        listed = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
        found.update(map(int, listed.stdout.split()))
    for top in _cgroups(name):
        for path, _, _ in os.walk(top):
            with contextlib.suppress(OSError):
                found.update(map(int, (Path(path) / "cgroup.procs").read_text().split()))
    found.discard(os.getpid())  # a thread of ours may have been there
    for pid in list(found):
        found.update(_descendants(pid))
    return found


def _killed(name: str) -> set[int]:
    """Kill every process that is left; returns those that were."""
    found = processes(name)
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return found


def _descendants(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError, ValueError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield int(child)
                yield from _descendants(int(child))


def _cgroups(name: str) -> list[Path]:
    return [path for path in (_CGROUPS / name, *_CGROUPS.glob(f"*/{name}")) if path.is_dir()]
