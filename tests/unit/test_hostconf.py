"""The host's resolv.conf, followed: what a network manager does to it, and what stays of it meanwhile."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from resolver.hostconf import HostResolvConf


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 192.0.2.1\noptions timeout:2\n")
    return path


def followed(path: Path) -> HostResolvConf:
    host = HostResolvConf(path)
    assert host.refresh()
    return host


def test_a_change_is_taken_over(path: Path) -> None:
    host = followed(path)
    path.write_text("nameserver 192.0.2.2\nnameserver fe80::1%eth0\n")

    assert host.refresh()
    assert (("192.0.2.2", "fe80::1%eth0"), ()) == (host.conf.nameservers, host.faults)
    assert (2, 0) == (host.reloads.successes, host.reloads.failures)


def test_nothing_is_made_of_a_file_that_says_the_same(path: Path) -> None:
    host = followed(path)
    path.write_text("# by somebody else\nnameserver 192.0.2.1\noptions timeout:2\n")

    assert not host.refresh()
    assert 1 == host.reloads.successes


@pytest.mark.parametrize("text", [None, "", "# between networks\n", "search corp.example\n", "nameserver fritz.box\n"])
def test_a_file_without_a_server_takes_nothing_away(
    path: Path, text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    host = followed(path)
    path.unlink()
    if text is not None:
        path.write_text(text)

    assert not host.refresh()
    assert not host.refresh(), "and is spoken of once"
    assert ("192.0.2.1",) == host.conf.nameservers
    assert 1 == host.reloads.failures
    assert any("192.0.2.1 are asked on" in record.message for record in caplog.records)

    path.write_text("nameserver 192.0.2.9\n")
    assert host.refresh()
    assert (("192.0.2.9",), ()) == (host.conf.nameservers, host.faults)


def test_there_is_no_hidden_fall_back(tmp_path: Path) -> None:
    host = HostResolvConf(tmp_path / "resolv.conf")

    assert not host.refresh()
    assert () == host.conf.nameservers
    assert ["nothing can be forwarded" in str(fault) for fault in host.faults] == [True]


def test_options_without_a_server_count_where_others_are_asked(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_text("options timeout:3\n")
    host = HostResolvConf(path, is_needed=False)

    with caplog.at_level(logging.WARNING):
        assert host.refresh()
    assert (3.0, []) == (host.conf.timeout_s, caplog.records)


@pytest.mark.parametrize(
    ("text", "is_resolved"),
    [
        ("nameserver 127.0.0.53\noptions edns0 trust-ad\n", True),
        ("nameserver 127.0.0.53\nnameserver 127.0.0.54\n", True),
        ("nameserver 127.0.0.53\nnameserver 192.0.2.1\n", False),
        ("nameserver 127.0.0.1\n", False),
        ("search corp.example\n", False),
    ],
)
def test_the_stub_of_systemd_resolved_is_known_by_its_address(path: Path, text: str, is_resolved: bool) -> None:
    path.write_text(text)
    host = followed(path)
    assert is_resolved == host.is_resolved

    path.unlink()
    assert not host.refresh()
    assert is_resolved == host.is_resolved, "a missing file takes nothing away"


def test_a_file_of_systemd_resolved_is_known_by_its_place(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resolver.hostconf._WRITTEN_BY_RESOLVED", tmp_path / "run/systemd/resolve")
    theirs = tmp_path / "run/systemd/resolve/resolv.conf"
    theirs.parent.mkdir(parents=True)
    theirs.write_text(path.read_text())
    host = followed(path)
    seen = [host.is_resolved]
    path.unlink()
    path.symlink_to("run/systemd/resolve/resolv.conf")
    assert host.refresh(), "it says the same, but is another's"
    seen.append(host.is_resolved)
    path.unlink()
    path.symlink_to(path.name)
    assert not host.refresh(), "a link to itself is as a missing file"
    assert [False, True, True] == [*seen, host.is_resolved]


def test_a_fifo_in_its_place_blocks_nothing_and_takes_nothing_away(path: Path) -> None:
    host = followed(path)
    path.unlink()
    os.mkfifo(path)

    assert not host.refresh()
    assert "cannot be read: it is a FIFO, which would block" in str(host.faults[0])
    assert ("192.0.2.1",) == host.conf.nameservers
    path.unlink()
    path.write_text("nameserver 192.0.2.9\n")
    assert host.refresh()
