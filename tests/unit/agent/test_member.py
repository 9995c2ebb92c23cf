"""A member is attached to the namespace that was meant, or to none; it never asks itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

from resolver.agent.keeper import NotThere
from resolver.agent.member import Host, _upstreams_inside, named_target
from resolver.agent.process import Claims, Process
from resolver.attach import netns
from resolver.attach.attachment import Attachment, Manner
from resolver.errors import AttachError

_T = TypeVar("_T")


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process in a namespace of its own."""
    with subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep 60"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def on_thread(work: Callable[[], _T]) -> Awaitable[_T]:
    raise AssertionError(f"{work} is not needed here")


def host(own: tuple[int, int] | None = None) -> Host:
    return Host(cast("Any", None), Manner, on_thread, lambda: 0, Claims(), own)


def rules(pid: int) -> str:
    return subprocess.run(
        ["nsenter", f"--net=/proc/{pid}/ns/net", "nft", "list", "ruleset"], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.root
def test_only_the_namespace_that_was_claimed_is_attached(child: subprocess.Popen[bytes]) -> None:
    path = Path(f"/proc/{child.pid}/ns/net")
    target, identity = netns.Target(path, "web"), netns.identity_at(path)
    manner = Manner(manage_resolv_conf=False)
    assert identity is not None
    for claimed in (None, (identity[0], identity[1] + 1)):
        with pytest.raises(AttachError, match="another namespace meanwhile"):
            host().attach(target, manner, claimed, None)
    with pytest.raises(AttachError, match="the namespace that pydns itself runs in"):
        host(own=identity).attach(target, manner, identity, None)
    assert rules(child.pid) == ""
    with host().attach(target, manner, identity, None) as attachment:
        attachment.install()
        assert "table ip pydns" in rules(child.pid)


@pytest.mark.root
def test_a_process_that_ends_while_its_files_are_looked_for_is_not_attached(child: subprocess.Popen[bytes]) -> None:
    """Its number may be another one's when they are found: whatever was found is left as it is."""
    path = Path(f"/proc/{child.pid}/ns/net")
    kept = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    place = Path(f"/proc/self/fd/{kept}")
    process, identity = Process(child.pid), netns.identity_at(path)
    child.kill()
    child.wait()
    with pytest.raises(NotThere):
        host().attach(netns.Target(place, "web"), Manner(manage_resolv_conf=False), identity, process)
    process.close()
    os.close(kept)


@pytest.mark.root
def test_it_is_asked_again_when_the_files_have_been_found(child: subprocess.Popen[bytes], tmp_path: Path) -> None:
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text("nameserver 10.0.0.1\n")
    asked: list[tuple[int, int]] = []

    def admits(identity: tuple[int, int]) -> None:
        asked.append(identity)
        if len(asked) == 2:
            raise NotThere("it has ended meanwhile")

    target = netns.Target(Path(f"/proc/{child.pid}/ns/net"), "web")
    with pytest.raises(NotThere):
        Attachment(target, Manner(resolv_conf=resolv_conf, admits=admits))
    assert asked == [netns.identity_at(target.path)] * 2
    assert resolv_conf.read_text() == "nameserver 10.0.0.1\n"
    assert rules(child.pid) == ""


def test_a_name_that_is_gone_is_no_process_of_that_number() -> None:
    for spec in (str(os.getpid()), "self"):
        with pytest.raises(AttachError, match=f"there is no network namespace '{spec}' any more"):
            named_target(spec, "web")


def test_our_own_address_is_no_upstream_however_it_is_written() -> None:
    servers = ("127.0.0.11", "::ffff:127.0.0.11", "::ffff:7f00:b", "10.0.0.1", "fe80::1%eth0")

    assert [upstream.address for upstream in _upstreams_inside(servers)] == ["10.0.0.1", "fe80::1%eth0"]
