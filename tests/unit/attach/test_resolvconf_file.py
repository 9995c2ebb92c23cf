"""Which resolv.conf is a namespace's, and what is done to it, in folders that stand for a host's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from resolver.attach.netns import Target
from resolver.errors import AttachError
from resolver.forward.resolvconf import ResolvConf
from tests.unit.attach.machine import NAME, PATH, PROCESS, SEED, SELF, Machine


def test_a_bare_path_has_none(machine: Machine) -> None:
    assert machine.locate(PATH) is None


def test_our_own_is_left_alone_where_it_may_be_the_hosts(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    assert machine.locate(SELF) is None
    assert "is not mounted by itself, so it may be the host's own: left alone" in caplog.text

    machine.host.unlink()
    assert machine.locate(SELF) is None


def test_our_own_is_left_alone_when_it_is_a_link(machine: Machine) -> None:
    machine.host.unlink()
    machine.host.symlink_to("/proc/self/status")  # on another mount

    assert machine.locate(SELF) is None


def test_an_explicit_file_wins(machine: Machine) -> None:
    path = machine.top / "mine"
    path.write_text("nameserver 10.0.0.1\n")
    for target in (PATH, NAME, PROCESS):
        assert machine.file(target, path).former.nameservers == ("10.0.0.1",)


def test_a_process_in_our_mount_namespace_and_root_has_none(machine: Machine) -> None:
    for inner, outer in (("7/ns/mnt", "self/ns/mnt"), ("7/root", "self/root")):
        (machine.proc / inner).unlink()
        (machine.proc / inner).symlink_to(machine.proc / outer)
    assert machine.locate(PROCESS) is None


@pytest.mark.parametrize("target", [NAME, PROCESS], ids=["name", "process"])
def test_a_link_to_the_hosts_own_is_none(machine: Machine, target: Target) -> None:
    own = machine.netns / "web" if target.name else machine.root_etc
    own.mkdir(exist_ok=True)
    os.link(machine.host, own / "resolv.conf")
    assert machine.locate(target) is None


def test_an_explicit_link_to_the_hosts_own_is_refused(machine: Machine) -> None:
    path = machine.top / "link"
    path.symlink_to(machine.host)
    with pytest.raises(AttachError, match="is a link to the host's own"):
        machine.locate(PATH, path)


def test_a_root_without_etc_has_none(machine: Machine) -> None:
    machine.root_etc.rmdir()
    assert machine.locate(PROCESS) is None


def test_links_are_followed_below_the_root_only(machine: Machine) -> None:
    (machine.root / "run").mkdir()
    (machine.root / "run/real").write_text("nameserver 10.0.0.1\n")
    (machine.root_etc / "resolv.conf").symlink_to("../../../../run/real")
    file = machine.file(PROCESS)
    file.rewrite()

    assert "nameserver 127.0.0.11" in (machine.root / "run/real").read_text()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_plain_file_is_refused(machine: Machine, make: object) -> None:
    assert callable(make)
    make(machine.root_etc / "resolv.conf")
    with pytest.raises(AttachError, match="it is not a plain file; use --no-resolv-conf"):
        machine.locate(PROCESS)


@pytest.mark.parametrize(
    ("explicit", "text"),
    [("no/such/folder", "there is no directory"), ("dangling", "is a link to a file that does not")],
)
def test_an_explicit_path_that_leads_nowhere_is_refused(machine: Machine, explicit: str, text: str) -> None:
    (machine.top / "dangling").symlink_to("nothing")
    with pytest.raises(AttachError, match=text):
        machine.locate(PATH, machine.top / explicit)


def test_a_process_that_is_gone(machine: Machine) -> None:
    with pytest.raises(AttachError, match="cannot be opened: No such file or directory"):
        machine.locate(Target(Path("/proc/8/ns/net"), "process 8", pid=8))


@pytest.mark.parametrize("content", [b"", b"\n", b"nameserver 10.0.0.1", b"a\r\n\xff\x00", b"#" * 60_000 + b"\n"])
def test_any_content_is_put_back_in_the_same_file(machine: Machine, content: bytes) -> None:
    path = machine.root_etc / "resolv.conf"
    path.write_bytes(content)
    inode = path.stat().st_ino
    file = machine.file(PROCESS)
    file.rewrite()
    assert path.read_bytes() != content
    file.restore()
    file.restore()

    assert (path.read_bytes(), path.stat().st_ino) == (content, inode)
    assert file.capabilities == ()


@pytest.mark.parametrize("target", [NAME, PROCESS], ids=["name", "process"])
def test_a_missing_file_is_made_and_removed(machine: Machine, target: Target) -> None:
    path = machine.netns / "web/resolv.conf" if target.name else machine.root_etc / "resolv.conf"
    file = machine.file(target)
    assert not path.exists()
    file.rewrite()
    assert "nameserver 127.0.0.11\nsearch host.example\n" in path.read_text()
    assert file.former == ResolvConf()
    with path.open() as held:  # as a program that `ip netns exec` started
        file.restore()
        assert held.read() == SEED
    assert not path.exists()
    assert (path.parent == machine.root_etc) == path.parent.exists()


def test_a_killed_run_is_put_back_without_having_been_rewritten(machine: Machine) -> None:
    path = machine.root_etc / "resolv.conf"
    path.write_text("nameserver 10.0.0.1\n")
    machine.file(PROCESS).rewrite()
    file = machine.file(PROCESS)
    assert file.former.nameservers == ("10.0.0.1",)
    file.restore()

    assert path.read_text() == "nameserver 10.0.0.1\n"


def test_a_killed_run_that_made_the_file_is_removed(machine: Machine) -> None:
    machine.file(NAME).rewrite()
    file = machine.file(NAME)
    file.rewrite()
    file.restore()

    assert not (machine.netns / "web").exists()


def test_a_person_who_took_the_file_over_keeps_it(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    path = machine.root_etc / "resolv.conf"
    path.write_text("nameserver 10.0.0.1\n")
    machine.file(PROCESS).rewrite()
    path.write_text(path.read_text().replace("nameserver 127.0.0.11", "nameserver 10.0.0.2"))
    file = machine.file(PROCESS)
    assert file.former.nameservers == ("10.0.0.2",)
    file.rewrite()
    file.restore()

    assert path.read_text() == "nameserver 10.0.0.2\noptions ndots:0\n"
    assert "no longer points to 127.0.0.11" in caplog.text


def test_a_file_replaced_by_another_is_left(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    file = machine.file(NAME)
    file.rewrite()
    path = machine.netns / "web/resolv.conf"
    path.unlink()
    path.write_text("nameserver 10.0.0.3\n")
    file.restore()

    assert path.read_text() == "nameserver 10.0.0.3\n"
    assert "is another file now" in caplog.text


def test_a_failed_write_leaves_the_old_content(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    path = machine.root_etc / "resolv.conf"
    path.write_text("nameserver 10.0.0.1\n")
    file = machine.file(PROCESS)
    real, calls = os.pwrite, []

    def short_of_space(descriptor: int, content: bytes, offset: int) -> int:
        calls.append(offset)
        if len(calls) == 1:
            return real(descriptor, content[:5], offset)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return real(descriptor, content, offset)

    monkeypatch.setattr(os, "pwrite", short_of_space)
    with pytest.raises(AttachError, match="No space left on device; use --no-resolv-conf"):
        file.rewrite()
    file.restore()

    assert path.read_text() == "nameserver 10.0.0.1\n"


def test_a_file_in_someone_elses_directory_needs_a_capability_to_be_removed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = machine.file(PROCESS)
    file.rewrite()
    mine = file.capabilities
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    someone_elses = file.capabilities
    machine.root_etc.chmod(0o777)

    assert (mine, someone_elses, file.capabilities) == ((), ("CAP_DAC_OVERRIDE",), ())


def test_a_file_that_cannot_be_made_leaves_no_folder(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    file = machine.file(NAME)
    monkeypatch.setattr(os, "fchmod", lambda *_: (_ for _ in ()).throw(OSError(1, "Operation not permitted")))
    with pytest.raises(AttachError, match="Operation not permitted"):
        file.rewrite()

    assert not (machine.netns / "web").exists()
