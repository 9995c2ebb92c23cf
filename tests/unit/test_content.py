"""What is served: files, their last good states, and how reloads went."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from resolver.content import CONFIG, REGISTRY, ZONES, Content
from resolver.views import ViewSettings
from tests.unit.asking import ask

ZONE = "$TTL 60\n@ SOA ns1.example.net. hostmaster 1 3600 600 86400 60\n@ NS ns1.example.net.\nwww A 192.0.2.1\n"
BAD = "[networks.mynet\n"


def toml(name: str, address: str = "172.18.0.2", network: str = "mynet") -> str:
    return f'[networks.{network}.endpoints.{name}]\naddresses = ["{address}"]\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.toml").write_text(toml("db"))
    (tmp_path / "b.toml").write_text(toml("web", "172.18.0.3"))
    (tmp_path / "lab.example.zone").write_text(ZONE)
    return tmp_path


def content_of(folder: Path) -> Content:
    return Content([folder], [folder], ViewSettings())


def answer(content: Content, name: str) -> list[str]:
    told = ask(content.views.host, name)
    return [] if told.reply is None else told.answer


def count(content: Content, kind: str) -> tuple[int, int]:
    return content.reloads[kind].successes, content.reloads[kind].failures


def test_registry_and_zones_are_served(folder: Path) -> None:
    content = content_of(folder)

    assert ["db. 600 A 172.18.0.2"] == answer(content, "db")
    assert ["www.lab.example. 60 A 192.0.2.1"] == answer(content, "www.lab.example")
    assert ((), 1) == (content.faults, len(content.zones))


def test_without_a_change_the_views_stay(folder: Path) -> None:
    content = content_of(folder)
    views = content.views

    assert not content.refresh()
    assert views is content.views
    assert ((1, 0), (1, 0)) == (count(content, REGISTRY), count(content, ZONES))


def test_a_change_makes_new_views(folder: Path) -> None:
    content = content_of(folder)
    views = content.views
    (folder / "a.toml").write_text(toml("new"))

    assert content.refresh()
    assert views is not content.views
    assert ([], ["new. 600 A 172.18.0.2"]) == (answer(content, "db"), answer(content, "new"))
    assert views.snapshot.serial + 1 == content.views.snapshot.serial


def test_the_table_of_a_network_that_did_not_change_stays(folder: Path) -> None:
    (folder / "b.toml").write_text(toml("web", network="other"))
    content = content_of(folder)
    table = content.views.tables["mynet"]
    (folder / "b.toml").write_text(toml("new", network="other"))
    content.refresh()

    assert table is content.views.tables["mynet"]


def test_a_bad_file_keeps_its_last_good_state_and_is_told(folder: Path) -> None:
    content = content_of(folder)
    content.refresh()
    (folder / "a.toml").write_text(BAD)
    (folder / "b.toml").write_text(toml("new", "172.18.0.9"))
    content.refresh()

    assert ["db. 600 A 172.18.0.2"] == answer(content, "db")
    assert ["new. 600 A 172.18.0.9"] == answer(content, "new")
    assert [(str(folder / "a.toml"), 1)] == [(fault.place, fault.line) for fault in content.faults]
    assert ((1, 1), (1, 0)) == (count(content, REGISTRY), count(content, ZONES))


def test_a_bad_zone_keeps_its_last_good_state_and_is_told(folder: Path) -> None:
    content = content_of(folder)
    content.refresh()
    (folder / "lab.example.zone").write_text(ZONE + "x A y\n")
    content.refresh()

    assert ["www.lab.example. 60 A 192.0.2.1"] == answer(content, "www.lab.example")
    assert ((1, 0), (1, 1)) == (count(content, REGISTRY), count(content, ZONES))
    assert 1 == len(content.faults)


def test_a_warning_is_a_success(folder: Path) -> None:
    (folder / "hosts").write_text("192.0.2.1\n")
    content = content_of(folder)
    content.refresh()

    assert ((1, 0), 1) == (count(content, REGISTRY), len(content.faults))


def test_what_the_merge_decides_is_told(folder: Path) -> None:
    (folder / "b.toml").write_text(toml("db", "172.18.0.3"))
    content = content_of(folder)
    content.refresh()

    assert ["is already in"] == [
        word for fault in content.faults for word in ["is already in"] if word in fault.message
    ]


def test_a_fault_is_logged_once_and_its_end_too(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    content = content_of(folder)
    (folder / "a.toml").write_text(BAD)
    for _ in range(3):
        content.refresh()
    (folder / "a.toml").write_text(toml("db"))
    content.refresh()

    assert ["ERROR", "INFO"] == [record.levelname for record in caplog.records]
    assert f"{folder}/a.toml:1: not TOML" in caplog.messages[0]
    assert "everything is in order again" == caplog.messages[1]


def test_other_settings_make_new_views_at_the_next_refresh(folder: Path) -> None:
    content = content_of(folder)
    views = content.views
    content.point_at([folder], [folder], ViewSettings(ttl=5))

    assert views is content.views
    assert content.refresh()
    assert ["db. 5 A 172.18.0.2"] == answer(content, "db")


def test_other_paths_are_served_at_the_next_refresh(folder: Path, tmp_path: Path) -> None:
    content = content_of(folder)
    content.refresh()
    content.point_at([folder / "b.toml"], [], ViewSettings())

    assert content.refresh()
    assert ([], ["web. 600 A 172.18.0.3"], 0) == (answer(content, "db"), answer(content, "web"), len(content.zones))


def test_another_order_of_the_same_files_counts(folder: Path) -> None:
    """The first of two that claim a name has it."""
    (folder / "b.toml").write_text(toml("db", "172.18.0.3"))
    a, b = folder / "a.toml", folder / "b.toml"
    content = Content([a, b], [], ViewSettings())
    before = answer(content, "db")
    content.point_at([b, a], [], ViewSettings())
    content.refresh()

    assert (["db. 600 A 172.18.0.2"], ["db. 600 A 172.18.0.3"]) == (before, answer(content, "db"))


def test_a_bad_file_keeps_its_last_good_state_when_other_paths_come(folder: Path) -> None:
    content = content_of(folder)
    content.refresh()
    (folder / "a.toml").write_text(BAD)
    content.point_at([folder / "a.toml"], [], ViewSettings())
    content.refresh()

    assert ["db. 600 A 172.18.0.2"] == answer(content, "db")


def test_everything_that_can_change_what_is_served_is_to_be_watched(folder: Path, tmp_path: Path) -> None:
    (folder / "parts").mkdir()
    (folder / "parts" / "hosts.inc").write_text("x A 192.0.2.2\n")
    (folder / "lab.example.zone").write_text(ZONE + "$INCLUDE parts/hosts.inc\n")
    content = Content([folder / "a.toml"], [folder], ViewSettings())
    content.refresh()

    assert {folder / "a.toml", folder, folder / "parts"} <= set(content.paths)


def test_reloads_of_the_configuration_are_counted_by_who_loads_it(folder: Path) -> None:
    content = content_of(folder)
    content.reloads[CONFIG].count(success=True)
    content.reloads[CONFIG].count(success=False)

    assert (1, 1) == count(content, CONFIG)
    assert content.reloads[CONFIG].last_success > 0
