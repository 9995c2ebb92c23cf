"""A container's resolv.conf that is not to be written, or that pydns is not alone with."""

from __future__ import annotations

import fcntl
import os
import signal
from pathlib import Path

import pytest

from resolver.attach.netns import Target
from resolver.attach.resolvconf_file import ResolvConfFile
from resolver.errors import AttachError
from tests.unit.attach.machine import PROCESS, SEED, Machine


@pytest.mark.parametrize("blank", [b"", b"\n" * 60_000], ids=["itself", "with its record"])
def test_what_is_too_long_for_a_resolv_conf_is_left(
    machine: Machine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, blank: bytes
) -> None:
    path = machine.root_etc / "resolv.conf"
    path.write_bytes(b"nameserver 10.0.0.1\n" + blank)
    if not blank:
        os.truncate(path, 150 << 20)
    before = path.stat()
    real, lengths = os.pread, []

    def measured(descriptor: int, length: int, offset: int) -> bytes:
        lengths.append(length)
        return real(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", measured)
    file = machine.file(PROCESS)
    file.rewrite()
    file.restore()

    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert caplog.text.count("is larger than 64 KiB, so it is no resolv.conf") == 1
    assert not file.points_to_us
    assert sum(lengths) < 200_000


def test_a_file_that_has_grown_meanwhile_is_left(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    path = machine.root_etc / "resolv.conf"
    path.write_text("nameserver 10.0.0.1\n")
    file = machine.file(PROCESS)
    file.rewrite()
    os.truncate(path, 150 << 20)
    file.restore()

    assert path.stat().st_size == 150 << 20
    assert "was changed while pydns ran, and is larger than 64 KiB" in caplog.text


def test_a_lease_is_not_waited_for(machine: Machine) -> None:
    path = machine.root_etc / "resolv.conf"
    path.write_text("nameserver 10.0.0.1\n")
    former = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        with path.open() as held:
            fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            with pytest.raises(AttachError, match="another process holds a lease on it"):
                machine.locate(PROCESS)
            fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    finally:
        signal.signal(signal.SIGIO, former)

    assert machine.file(PROCESS).former.nameservers == ("10.0.0.1",)


@pytest.fixture
def rootless(machine: Machine) -> Machine:
    """Process 7 has a user namespace of its own, in which our own user is nobody."""
    for name, text in (("self", "0 0 4294967295\n"), ("7", f"         0     {os.geteuid() + 1000}      65536\n")):
        (machine.proc / name / "uid_map").write_text(text)
        (machine.proc / name / "ns/user").touch()
    return machine


@pytest.mark.parametrize(("mode", "servers"), [(0o644, ("10.0.0.1",)), (0o600, ())], ids=["readable", "secret"])
def test_a_file_that_the_containers_root_could_not_write_is_left(
    rootless: Machine, caplog: pytest.LogCaptureFixture, mode: int, servers: tuple[str, ...]
) -> None:
    path = rootless.root / "roots"
    path.write_text("nameserver 10.0.0.1\n")
    path.chmod(mode)
    (rootless.root_etc / "resolv.conf").symlink_to("/roots")
    file = rootless.file(PROCESS)
    file.rewrite()
    file.restore()

    assert path.read_text() == "nameserver 10.0.0.1\n"
    assert file.former.nameservers == servers
    assert file.capabilities == ()
    assert caplog.text.count("belongs to a user whom the container's user namespace does not have") == 1


def test_a_record_of_ours_in_such_a_file_is_left_too(rootless: Machine) -> None:
    path = rootless.root_etc / "resolv.conf"
    left = "nameserver 127.0.0.11\n# pydns-former-file: none, removed when pydns stops; directories made: 0\n"
    path.write_text(left)
    file = rootless.file(PROCESS)
    file.restore()

    assert path.read_text() == left


def test_a_file_of_the_containers_own_user_is_rewritten(rootless: Machine) -> None:
    path = rootless.root_etc / "resolv.conf"
    path.write_text("nameserver 10.0.0.1\n")
    os.chown(path, os.geteuid() + 1000, os.getegid())
    rootless.file(PROCESS).rewrite()

    assert "nameserver 127.0.0.11" in path.read_text()


def test_nothing_is_made_where_the_containers_root_could_not(
    rootless: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    assert rootless.locate(PROCESS) is None
    assert "its directory belongs to a user whom the container's user namespace does not have" in caplog.text


def test_what_is_made_for_a_user_namespace_is_its_own(rootless: Machine) -> None:
    """And so a run after a killed one still takes it away."""
    os.chown(rootless.root_etc, os.geteuid() + 1000, os.getegid() + 1000)
    path = rootless.root_etc / "resolv.conf"
    rootless.file(PROCESS).rewrite()
    assert (path.stat().st_uid, path.stat().st_gid) == (os.geteuid() + 1000, os.getegid() + 1000)
    rootless.file(PROCESS).restore()

    assert not path.exists()


def test_a_user_namespace_that_we_share_has_all_users(rootless: Machine) -> None:
    (rootless.proc / "7/ns/user").unlink()
    (rootless.proc / "7/ns/user").symlink_to(rootless.proc / "self/ns/user")
    (rootless.root_etc / "resolv.conf").write_text("nameserver 10.0.0.1\n")
    rootless.file(PROCESS).rewrite()

    assert "nameserver 127.0.0.11" in (rootless.root_etc / "resolv.conf").read_text()


@pytest.mark.parametrize("count", [1, 9])
def test_a_forged_record_removes_nothing(machine: Machine, caplog: pytest.LogCaptureFixture, count: int) -> None:
    path = machine.root_etc / "resolv.conf"
    rest = "nameserver 127.0.0.11\nsearch mine.example\n"
    path.write_text(rest + f"# pydns-former-file: none, removed when pydns stops; directories made: {count}\n")
    machine.file(PROCESS).restore()
    file = machine.file(PROCESS)
    file.rewrite()
    file.restore()

    assert path.read_text() == rest
    assert "says that pydns made it, which is not so" in caplog.text


def test_a_file_of_a_stranger_is_none_that_we_made(machine: Machine) -> None:
    path = machine.root_etc / "resolv.conf"
    path.write_text("nameserver 127.0.0.11\n# pydns-former-file: none, removed when pydns stops; directories made: 0\n")
    os.chown(path, os.geteuid() + 1000, -1)
    file = machine.file(PROCESS)
    file.rewrite()
    file.restore()

    assert path.read_text() == "nameserver 127.0.0.11\n"


def test_a_killed_run_that_made_a_containers_file_is_removed(machine: Machine) -> None:
    machine.file(PROCESS).rewrite()
    machine.file(PROCESS).restore()

    assert not (machine.root_etc / "resolv.conf").exists()
    assert machine.root_etc.exists()


def test_a_file_written_anew_with_our_address_is_theirs(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    """As Docker does, when a container of the default bridge is connected to a network: 127.0.0.11 is its own then."""
    path = machine.root_etc / "resolv.conf"
    path.write_text("nameserver 10.0.0.1\n")
    file = machine.file(PROCESS)
    file.rewrite()
    dockers = "# Generated by Docker Engine.\nnameserver 127.0.0.11\noptions ndots:0\n"
    path.write_text(dockers)
    file.restore()

    assert path.read_text() == dockers
    assert "was changed while pydns ran: left as it is" in caplog.text


@pytest.fixture
def seen_from_a_container(machine: Machine) -> Path:
    """The resolv.conf of process 1, whose root is another than ours."""
    etc = machine.top / "machine/etc"
    etc.mkdir(parents=True)
    (machine.proc / "1/ns").mkdir(parents=True)
    (machine.proc / "1/ns/mnt").touch()
    (machine.proc / "1/root").symlink_to(machine.top / "machine")
    (machine.top / "machine/run").mkdir()
    (machine.top / "machine/run/real").write_text(SEED)
    (etc / "resolv.conf").symlink_to("/run/real")
    return machine.top / "machine/run/real"


def test_the_real_hosts_file_is_left_by_an_agent_in_a_container(machine: Machine, seen_from_a_container: Path) -> None:
    os.link(seen_from_a_container, machine.root_etc / "resolv.conf")

    assert machine.locate(PROCESS) is None


def test_nothing_is_made_in_the_real_hosts_folder(machine: Machine, seen_from_a_container: Path) -> None:
    etc = machine.top / "machine/etc"
    (etc / "resolv.conf").unlink()
    machine.root_etc.rmdir()
    (machine.proc / "7/root").unlink()
    (machine.proc / "7/root").symlink_to(machine.top / "machine")

    assert machine.locate(PROCESS) is None


def test_a_container_whose_processes_we_have_joined_is_no_host(machine: Machine, seen_from_a_container: Path) -> None:
    for name in ("ns/mnt", "root"):
        (machine.proc / "7" / name).unlink()
        (machine.proc / "7" / name).symlink_to((machine.proc / "1" / name).resolve())
    machine.file(PROCESS).rewrite()

    assert "nameserver 127.0.0.11" in seen_from_a_container.read_text()


@pytest.mark.parametrize("first", [0, 1])
def test_a_file_of_two_containers_is_put_back_with_the_last(machine: Machine, first: int) -> None:
    other = machine.top / "other"
    (other / "etc").mkdir(parents=True)
    (machine.proc / "8/ns").mkdir(parents=True)
    (machine.proc / "8/ns/mnt").touch()
    (machine.proc / "8/root").symlink_to(other)
    path = machine.root_etc / "resolv.conf"
    path.write_text("nameserver 10.0.0.1\n")
    os.link(path, other / "etc/resolv.conf")
    files = []
    for target in (PROCESS, Target(Path("/proc/8/ns/net"), "process 8", pid=8)):
        files.append(machine.file(target))
        files[-1].rewrite()
    files[first].restore()
    files[first].restore()
    assert "nameserver 127.0.0.11" in path.read_text()
    files[1 - first].restore()

    assert path.read_text() == "nameserver 10.0.0.1\n"


def test_a_user_that_was_only_closed_counts_no_more(machine: Machine) -> None:
    path = machine.root_etc / "resolv.conf"
    path.write_text("nameserver 10.0.0.1\n")
    one = machine.file(PROCESS)
    one.rewrite()
    other = machine.file(PROCESS)
    other.close()
    one.restore()

    assert path.read_text() == "nameserver 10.0.0.1\n"


def test_a_file_that_cannot_be_read_is_named(machine: Machine) -> None:
    """A link to the memory of a process is a plain file that has nothing at its start."""
    (machine.root_etc / "resolv.conf").write_text("")
    place = machine.locate(PROCESS)
    assert place is not None
    assert place.file is not None
    memory = os.open("/proc/self/mem", os.O_RDONLY)
    os.dup2(memory, place.file)
    os.close(memory)
    with pytest.raises(AttachError, match="cannot be read: Input/output error; use --no-resolv-conf"):
        ResolvConfFile(place, "127.0.0.11", SEED)
