"""Registry files and folders: which are read, what a bad one keeps, what goes away with what."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from resolver.sources import files
from resolver.sources.files import Refreshed, RegistryFiles, load, read_text

BAD = "[networks.mynet\n"


def toml(name: str, network: str = "mynet") -> str:
    return f'[networks.{network}.endpoints.{name}]\naddresses = ["172.18.0.2"]\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.toml").write_text(toml("db"))
    (tmp_path / "b.toml").write_text(toml("web"))
    return tmp_path


def names(refreshed: Refreshed) -> list[str]:
    return [
        endpoint.name
        for contribution in refreshed.contributions
        for network in contribution.networks
        for endpoint in network.endpoints
    ] + [name for contribution in refreshed.contributions for host in contribution.hosts for name in host.names]


def said(refreshed: Refreshed, folder: Path) -> list[str]:
    return [str(fault).replace(f"{folder}/", "") for fault in refreshed.faults]


def test_a_folder_stands_for_its_registry_files_in_the_order_of_their_names(folder: Path) -> None:
    (folder / "0.json").write_text(
        '{"Name": "n", "Containers": {"x": {"Name": "json", "IPv4Address": "172.18.0.9/16"}}}'
    )
    (folder / "c.hosts").write_text("192.0.2.1 one\n")
    (folder / "hosts").write_text("192.0.2.2 two\n")
    refreshed = RegistryFiles([folder]).refresh()

    assert (["json", "db", "web", "one", "two"], []) == (names(refreshed), said(refreshed, folder))


def test_what_else_is_in_a_folder_does_not_count(folder: Path) -> None:
    """Most of all what editors leave there, and what mounts of Kubernetes are made of."""
    for name in (".a.toml", ".#a.toml", "a.toml~", "a.toml.swp", "README", "my-hosts"):
        (folder / name).write_text(BAD)
    (folder / ".#b.toml").symlink_to("nobody@nowhere.1234")
    (folder / "sub.toml").mkdir()
    (folder / "deep").mkdir()
    (folder / "deep" / "x.toml").write_text(toml("deep"))
    refreshed = RegistryFiles([folder]).refresh()

    assert (["db", "web"], []) == (names(refreshed), said(refreshed, folder))


def test_paths_count_in_the_order_given_each_file_once(folder: Path) -> None:
    refreshed = RegistryFiles([folder / "b.toml", folder]).refresh()

    assert ["web", "db"] == names(refreshed)


def test_a_bad_file_keeps_its_last_good_state_while_others_go_live(folder: Path) -> None:
    registry = RegistryFiles([folder])
    registry.refresh()
    (folder / "a.toml").write_text(BAD)
    (folder / "b.toml").write_text(toml("new"))
    refreshed = registry.refresh()

    assert ["db", "new"] == names(refreshed)
    assert [folder / "a.toml", folder / "b.toml"] == list(refreshed.changed)
    assert 1 == len(refreshed.faults)
    assert said(refreshed, folder)[0].startswith("a.toml:1: not TOML")


def test_a_fault_stays_until_the_file_is_mended(folder: Path) -> None:
    registry = RegistryFiles([folder])
    (folder / "a.toml").write_text(BAD)
    first, second = registry.refresh(), registry.refresh()
    (folder / "a.toml").write_text(toml("mended"))
    third = registry.refresh()

    assert (1, (), first.faults) == (len(second.faults), third.faults, second.faults)
    assert (["web"], ["mended", "web"]) == (names(second), names(third))


def test_a_file_that_is_bad_from_the_start_contributes_nothing(folder: Path) -> None:
    (folder / "a.toml").write_text(BAD)

    assert ["web"] == names(RegistryFiles([folder]).refresh())


def test_a_member_that_vanishes_takes_its_contribution_and_its_faults_along(folder: Path) -> None:
    (folder / "c.toml").write_text(BAD)
    registry = RegistryFiles([folder])
    registry.refresh()
    (folder / "b.toml").unlink()
    (folder / "c.toml").unlink()
    refreshed = registry.refresh()

    assert (["db"], []) == (names(refreshed), said(refreshed, folder))
    assert {folder / "b.toml", folder / "c.toml"} == set(refreshed.changed)


def test_a_new_member_is_read(folder: Path) -> None:
    registry = RegistryFiles([folder])
    registry.refresh()
    (folder / "aa.toml").write_text(toml("new"))

    assert ["db", "new", "web"] == names(registry.refresh())


def test_a_named_file_that_vanishes_is_an_error_and_serves_on(folder: Path) -> None:
    registry = RegistryFiles([folder / "a.toml"])
    registry.refresh()
    (folder / "a.toml").unlink()
    gone = registry.refresh()
    (folder / "a.toml").write_text(toml("back"))

    assert ["db"] == names(gone)
    assert ["a.toml: cannot be read: No such file or directory (check the path and its permissions)"] == (
        said(gone, folder)
    )
    assert ["back"] == names(registry.refresh())


def test_a_named_folder_that_vanishes_is_an_error_and_serves_on(folder: Path) -> None:
    """So that a folder may be replaced by renaming another one to its place."""
    registry = RegistryFiles([folder / "sub"])
    (folder / "sub").mkdir()
    (folder / "a.toml").rename(folder / "sub" / "a.toml")
    registry.refresh()
    (folder / "sub").rename(folder / "old")
    gone = registry.refresh()
    (folder / "old").rename(folder / "sub")
    back = registry.refresh()

    assert (["db"], ["sub: cannot be listed: No such file or directory (put the folder back)"]) == (
        names(gone),
        said(gone, folder),
    )
    assert (["db"], []) == (names(back), said(back, folder))


def test_a_folder_that_cannot_be_listed_serves_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = RegistryFiles([folder, folder / "a.toml"])
    registry.refresh()

    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    refreshed = registry.refresh()

    assert ["db", "web"] == names(refreshed)
    assert [f"{folder}: cannot be listed: Permission denied (put the folder back)"] == list(map(str, refreshed.faults))


def test_a_folder_that_becomes_a_file_is_one(folder: Path) -> None:
    registry = RegistryFiles([folder / "x.toml"])
    (folder / "x.toml").mkdir()
    registry.refresh()
    (folder / "x.toml").rmdir()
    (folder / "x.toml").write_text(toml("file"))

    assert ["file"] == names(registry.refresh())


def test_what_did_not_change_is_not_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And keeps its very objects, so that compiled tables stay good."""
    registry = RegistryFiles([folder])
    before = registry.refresh()
    monkeypatch.setattr(files, "_parse", None)
    os.utime(folder / "a.toml")
    after = registry.refresh()

    assert () == after.changed
    assert all(one is other for one, other in zip(before.contributions, after.contributions, strict=True))


def test_other_paths_may_be_set_and_files_that_stay_keep_their_last_good_state(folder: Path) -> None:
    registry = RegistryFiles([folder])
    registry.refresh()
    (folder / "a.toml").write_text(BAD)
    registry.paths = (folder / "a.toml",)

    assert ["db"] == names(registry.refresh())


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("x.toml", b"# \xff\n", "x.toml:1: is not UTF-8 (octet 0xff) (save it as UTF-8)"),
        ("x.hosts", b"# one\n# two\xe9\n", "x.hosts:2: is not UTF-8 (octet 0xe9) (save it as UTF-8)"),
        ("x.yaml", b"", "x.yaml: unknown kind of registry file (name it *.hosts, *.json, *.toml, or hosts)"),
    ],
)
def test_what_cannot_be_read_is_a_fault(tmp_path: Path, name: str, content: bytes, fault: str) -> None:
    (tmp_path / name).write_bytes(content)
    loaded = load(tmp_path / name)

    assert loaded.contribution is None
    assert [fault] == [str(one).replace(f"{tmp_path}/", "") for one in loaded.faults]


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    """As in zone files; editors of other systems leave it."""
    (tmp_path / "x.toml").write_bytes(b"\xef\xbb\xbf" + toml("db").encode())

    assert () == load(tmp_path / "x.toml").faults


def test_a_fifo_is_a_fault_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.toml")
    (fault,) = load(tmp_path / "x.toml").faults

    assert "is a FIFO" in fault.message


def test_a_path_that_is_not_there_says_so_whatever_its_name(tmp_path: Path) -> None:
    (fault,) = RegistryFiles([tmp_path / "folder"]).refresh().faults

    assert "No such file" in fault.message


def test_text_is_read_with_its_fault(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("text")

    assert ("text", None) == read_text(tmp_path / "x")
    text, fault = read_text(tmp_path)
    assert ("", True) == (text, fault is not None and "Is a directory" in fault.message)


def test_a_symlink_is_what_it_leads_to(folder: Path) -> None:
    (folder / "link.toml").symlink_to("a.toml")

    assert ["db"] == names(RegistryFiles([folder / "link.toml"]).refresh())
