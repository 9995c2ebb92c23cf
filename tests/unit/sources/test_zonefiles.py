"""Zone files from disk: what is found, what is kept of a file that went wrong, and what is to be watched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from resolver.sources.zonefiles import ZoneLoad, load_zones
from resolver.wire.name import WireName, from_text
from resolver.zones.model import Zone

HEAD = "$TTL 60\n@ SOA ns1.example.net. hostmaster 1 3600 600 86400 60\n@ NS ns1.example.net.\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "example.test.zone").write_text(HEAD + "web A 192.0.2.1\n")
    return tmp_path


def apexes(load: ZoneLoad) -> list[WireName]:
    return sorted(zone.apex for zone in load.zones)


def served(load: ZoneLoad, apex: str = "example.test.") -> Zone | None:
    return load.zones.zone_for(from_text(apex))


def said(load: ZoneLoad, folder: Path) -> list[str]:
    return [str(fault).replace(f"{folder}/", "") for fault in load.faults]


def test_a_folder_gives_its_zone_files(folder: Path) -> None:
    """Those named *.zone; no hidden ones, which editors leave, and no folders."""
    for name in (".example.org.zone", "example.org.zone~", "README", "#example.net.zone#"):
        (folder / name).write_text(HEAD)
    (folder / "sub.zone").mkdir()
    load = load_zones([folder])

    assert ([from_text("example.test.")], ()) == (apexes(load), load.faults)


def test_a_file_may_have_any_name(folder: Path) -> None:
    (folder / "db.example.org").write_text("$ORIGIN example.org.\n" + HEAD)

    assert [from_text("example.org.")] == apexes(load_zones([folder / "db.example.org"]))


def test_a_file_that_is_named_and_in_a_folder_is_read_once(folder: Path) -> None:
    load = load_zones([folder, folder / "x" / ".." / "example.test.zone"])

    assert (len(load.files), load.faults) == (1, ())


def test_a_wrong_file_leaves_the_others_alone(folder: Path) -> None:
    (folder / "example.org.zone").write_text(HEAD + "web A x\n")
    load = load_zones([folder])

    assert [from_text("example.test.")] == apexes(load)
    assert said(load, folder) == [
        'example.org.zone:4: cannot read "web A x": it is incomplete or malformed (write it as in: web A 192.0.2.1)'
    ]


def test_a_file_that_went_wrong_keeps_its_last_good_zone(folder: Path) -> None:
    first = load_zones([folder])
    (folder / "example.test.zone").write_text(HEAD + "web A x\n")
    second = load_zones([folder], first)
    third = load_zones([folder], second)

    assert served(first) is served(second) is served(third) is not None
    assert [load.files[0].is_stale for load in (first, second, third)] == [False, True, True]
    assert third.faults == second.faults != ()


def test_a_mended_file_is_served_again(folder: Path) -> None:
    (folder / "example.test.zone").write_text("x")
    first = load_zones([folder])
    (folder / "example.test.zone").write_text(HEAD)
    second = load_zones([folder], first)

    assert (served(first), second.files[0].is_stale) == (None, False)
    assert (len(second.zones), second.faults) == (1, ())


def test_a_file_that_is_gone_takes_its_zone_along(folder: Path) -> None:
    first = load_zones([folder])
    (folder / "example.test.zone").unlink()

    assert len(load_zones([folder], first).zones) == 0


def test_a_named_file_that_is_gone_is_a_fault_and_stays(folder: Path) -> None:
    """It was asked for by name, so that is a mistake or a half-made change."""
    path = folder / "example.test.zone"
    first = load_zones([path])
    path.unlink()
    second = load_zones([path], first)

    assert served(second) is served(first)
    assert said(second, folder) == [
        "example.test.zone: cannot be read: No such file or directory (check that it is there and who may read it)"
    ]


def test_an_unchanged_file_is_not_read_again(folder: Path) -> None:
    """By its octets, since times can stand still."""
    (folder / "example.org.zone").write_text(HEAD)
    first = load_zones([folder])
    (folder / "example.org.zone").write_text(HEAD + "a A 192.0.2.1\n")
    os.utime(folder / "example.test.zone")
    second = load_zones([folder], first)

    assert served(second) is served(first)
    assert served(second, "example.org.") is not served(first, "example.org.")


def test_a_changed_include_changes_the_zone(folder: Path) -> None:
    (folder / "example.test.zone").write_text(HEAD + "$INCLUDE parts/a.inc\n")
    missing = load_zones([folder])
    (folder / "parts").mkdir()
    (folder / "parts" / "a.inc").write_text("a A 192.0.2.1\n")
    first = load_zones([folder], missing)
    (folder / "parts" / "a.inc").write_text("b A 192.0.2.1\n")
    second = load_zones([folder], first)

    assert [served(load) is not None for load in (missing, first, second)] == [False, True, True]
    assert served(first) is not served(second)
    assert {folder, folder / "parts"} == missing.folders == second.folders
    assert {folder / "example.test.zone", folder / "parts" / "a.inc"} == set(second.files[0].digests)


def test_of_two_files_with_one_zone_the_first_is_served(folder: Path) -> None:
    (folder / "other.zone").write_text("$ORIGIN example.test.\n" + HEAD)
    load = load_zones([folder])
    zone = served(load)

    assert zone is not None
    assert str(folder / "example.test.zone") == zone.file
    assert said(load, folder) == [
        "other.zone: the zone example.test. is served from example.test.zone already "
        "(keep it in one file, and $INCLUDE the other there)"
    ]


def test_a_file_that_another_includes_is_a_part_of_it(folder: Path) -> None:
    """No complaint that it has no SOA."""
    (folder / "example.test.zone").write_text(HEAD + "$INCLUDE hosts.zone\n")
    (folder / "hosts.zone").write_text("a A 192.0.2.1\n")
    load = load_zones([folder])

    assert (load.faults, len(load.files)) == ((), 1)


def test_files_that_include_each_other_are_faults(folder: Path) -> None:
    (folder / "example.test.zone").write_text(HEAD + "$INCLUDE hosts.zone\n")
    (folder / "hosts.zone").write_text("$INCLUDE example.test.zone\n")

    assert len(load_zones([folder]).faults) == 2


def test_octets_that_are_not_utf8_are_a_fault_with_their_line(folder: Path) -> None:
    (folder / "example.test.zone").write_bytes(HEAD.encode() + b'a TXT "caf\xe9"\n')

    assert said(load_zones([folder]), folder) == [
        "example.test.zone:4: is not UTF-8: it has the octet 0xe9 (save it as UTF-8, or write the octet as \\DDD)"
    ]


def test_a_byte_order_mark_is_no_fault(folder: Path) -> None:
    (folder / "example.test.zone").write_bytes(b"\xef\xbb\xbf" + HEAD.encode())

    assert load_zones([folder]).faults == ()


def test_a_fifo_is_a_fault_and_does_not_block(folder: Path) -> None:
    os.mkfifo(folder / "example.org.zone")

    assert said(load_zones([folder]), folder) == [
        "example.org.zone: cannot be read: it is a FIFO, which would block (check that it is there and who may read it)"
    ]


def test_a_link_to_nowhere_is_a_fault(folder: Path) -> None:
    (folder / "example.org.zone").symlink_to(folder / "nowhere")

    assert len(load_zones([folder]).faults) == 1


def test_a_path_to_nothing_is_a_fault_and_watched(folder: Path) -> None:
    """Its folder, so that it is seen when it comes."""
    load = load_zones([folder / "zones"])

    assert load.folders == {folder}
    assert len(load.faults) == 1


def test_nothing_is_nothing() -> None:
    load = load_zones([])

    assert (0, (), frozenset()) == (len(load.zones), load.faults, load.folders)


def test_without_zone_files_dnspython_is_not_imported(tmp_path: Path) -> None:
    """It costs 90 ms and 12 MB."""
    program = (
        "import sys; from pathlib import Path; from resolver.sources.zonefiles import load_zones; "
        f"load_zones([Path({str(tmp_path)!r})]); print([name for name in sys.modules if name.startswith('dns.')])"
    )

    assert subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stdout == b"[]\n"


def test_a_folder_that_vanishes_keeps_its_last_good_zones(tmp_path: Path) -> None:
    """As a registry folder does: names of ours must not be forwarded because somebody moved a folder."""
    folder = tmp_path / "zones"
    folder.mkdir()
    (folder / "example.test.zone").write_text(HEAD + "web A 192.0.2.1\n")
    former = load_zones([folder])
    folder.rename(tmp_path / "moved")

    load = load_zones([folder], load_zones([folder], former))

    assert [from_text("example.test.")] == apexes(load)
    assert load.faults


def test_of_many_faults_of_a_file_the_first_are_shown_and_the_rest_counted(folder: Path) -> None:
    """One wrong line can put a hundred records out of the zone."""
    (folder / "example.test.zone").write_text(HEAD + "".join(f"x{n}.example.org. A 192.0.2.1\n" for n in range(90)))
    load = load_zones([folder])

    assert 51 == len(load.faults)
    assert "and 40 more of the kind" in str(load.faults[-1])
