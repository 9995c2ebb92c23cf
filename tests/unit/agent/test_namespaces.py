"""Looking for namespaces in folders made for the test."""

from __future__ import annotations

from pathlib import Path

from resolver.agent.namespaces import find, watched
from resolver.config.agent import NamespaceRule

PROC = "/proc/self/ns/net"


def test_a_name_without_a_namespace_is_unfinished(tmp_path: Path) -> None:
    (tmp_path / "web").touch()
    found = find([NamespaceRule("*")], tmp_path)

    assert found.namespaces == {}
    assert found.is_unfinished


def test_a_name_with_a_namespace_is_found_by_its_identity(tmp_path: Path) -> None:
    (tmp_path / "web").symlink_to(PROC)
    status = Path(PROC).stat()
    found = find([NamespaceRule("web")], tmp_path)

    assert found.namespaces == {"web": (status.st_dev, status.st_ino)}
    assert not found.is_unfinished


def test_a_path_is_looked_at_without_the_folder(tmp_path: Path) -> None:
    (tmp_path / "web").touch()
    found = find([NamespaceRule(PROC, ("n",)), NamespaceRule("/nowhere/at/all", ("n",))], tmp_path)

    assert list(found.namespaces) == [PROC]
    assert not found.is_unfinished


def test_a_folder_that_does_not_exist_has_no_namespaces(tmp_path: Path) -> None:
    assert find([NamespaceRule("*")], tmp_path / "absent").namespaces == {}


def test_the_folder_is_watched_and_not_each_name_in_it(tmp_path: Path) -> None:
    (tmp_path / "web").touch()
    (place,) = watched([NamespaceRule("*"), NamespaceRule("web")], tmp_path)

    assert place.parent == tmp_path
    assert not place.exists()


def test_a_folder_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "absent"
    assert folder in watched([NamespaceRule("*")], folder)
    assert tmp_path in {place.parent for place in watched([NamespaceRule(f"{tmp_path}/web", ("n",))], folder)}
