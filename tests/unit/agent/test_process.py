"""A number is a container's process only where the kernel says so."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from resolver.agent.keeper import NotThere
from resolver.agent.process import Claims, Elsewhere, NotItsProcess, Process
from resolver.errors import AttachError
from resolver.sources.docker.facts import ContainerFacts

OURS, OTHER = "ab" * 32, "cd" * 32
STAT = "{pid} (a ) b) S " + " ".join(["0"] * 18) + " {start} 0 0\n"


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


class Proc:
    """What /proc says of a process that lives."""

    def __init__(self, folder: Path, pid: int) -> None:
        self.folder, self.pid = folder, pid
        (folder / "self").mkdir()
        (folder / str(pid)).mkdir()
        (folder / "self/cgroup").write_text("0::/\n")
        self.say("0::/\n")
        self.claims = Claims(folder)

    def say(self, cgroup: str, start: int = 100) -> None:
        (self.folder / str(self.pid) / "cgroup").write_text(cgroup)
        (self.folder / str(self.pid) / "stat").write_text(STAT.format(pid=self.pid, start=start))

    def note(self, *remote: str) -> None:
        facts = ContainerFacts(OURS, "web", self.pid, ("n",), "n", None, False, (), False)
        self.claims.note([facts], remote)

    def hold(self) -> None:
        self.claims.hold(OURS, self.pid).close()


@pytest.fixture
def proc(tmp_path: Path, child: subprocess.Popen[bytes]) -> Proc:
    return Proc(tmp_path, child.pid)


@pytest.mark.parametrize(
    "cgroup",
    [
        f"12:pids:/docker/{OURS}\n1:name=systemd:/docker/{OURS}\n",
        f"0::/system.slice/docker-{OURS}.scope\n",
        f"0::/machine.slice/libpod-{OURS}.scope/container\n",
        f"0::/../{OURS}\n",
        f"0::/docker/{OTHER}/docker/{OURS}\n",
    ],
)
def test_the_cgroup_names_the_container(proc: Proc, cgroup: str) -> None:
    proc.say(cgroup)
    proc.hold()  # its beginning need not be known


def test_the_cgroup_names_another_container(proc: Proc) -> None:
    proc.note()
    proc.say(f"0::/system.slice/docker-{OTHER}.scope\n")
    with pytest.raises(NotItsProcess, match=f"process {proc.pid} is not the container's"):
        proc.hold()


def test_without_a_name_it_has_to_be_the_process_that_was_told_of(proc: Proc) -> None:
    proc.note()
    proc.hold()
    proc.say("0::/\n", start=101)
    proc.note()  # the daemon has not heard yet
    with pytest.raises(NotItsProcess):
        proc.hold()


def test_the_container_that_pydns_is_in_itself_says_nothing(proc: Proc) -> None:
    (proc.folder / "self/cgroup").write_text(f"0::/docker/{OTHER}\n")
    proc.say(f"0::/docker/{OTHER}\n")
    proc.note()
    proc.hold()


def test_a_process_that_was_not_there_when_it_was_told_of(proc: Proc) -> None:
    (proc.folder / str(proc.pid) / "stat").unlink()
    proc.note()
    proc.say("0::/\n")
    with pytest.raises(NotItsProcess):
        proc.hold()


def test_another_machines_processes(proc: Proc) -> None:
    proc.note(OURS)
    with pytest.raises(Elsewhere, match=r"its daemon is reached by tcp://, and its process \d+ is not here"):
        proc.hold()
    proc.say(f"0::/docker/{OURS}\n")  # the daemon of this machine, by TCP
    proc.hold()


def test_a_process_that_has_ended(proc: Proc, child: subprocess.Popen[bytes]) -> None:
    proc.say(f"0::/docker/{OURS}\n")
    held = Process(child.pid)
    held.check_alive()
    child.kill()
    child.wait()
    with pytest.raises(NotThere):
        held.check_alive()
    with pytest.raises(AttachError, match=f"there is no process {child.pid} here"):
        proc.hold()
    held.close()
    held.close()
