"""Reading capabilities from a status file; giving them up is shown in tests/netns."""

from __future__ import annotations

from pathlib import Path

import pytest

from resolver.attach.privileges import can_gain_beyond, holders, missing


@pytest.mark.parametrize(
    ("effective", "expected"),
    [
        ("000001ffffffffff", []),
        ("0000000000001000", ["CAP_SYS_ADMIN"]),
        ("0000000000200000", ["CAP_NET_ADMIN"]),
        ("0000000000000000", ["CAP_SYS_ADMIN", "CAP_NET_ADMIN"]),
    ],
)
def test_missing_keeps_the_order_asked_for(tmp_path: Path, effective: str, expected: list[str]) -> None:
    status = tmp_path / "status"
    status.write_text(f"Name:\tx\nCapPrm:\t000001ffffffffff\nCapEff:\t{effective}\n")

    assert missing(("CAP_SYS_ADMIN", "CAP_NET_ADMIN"), status) == expected


@pytest.mark.parametrize(
    ("bounding", "expected"), [("0000000000001000", False), ("0", False), ("00000000a80435fb", True)]
)
def test_what_a_child_of_root_could_gain(tmp_path: Path, bounding: str, expected: bool) -> None:
    status = tmp_path / "status"
    status.write_text(f"CapEff:\t000001ffffffffff\nCapBnd:\t{bounding}\n")

    assert can_gain_beyond(["CAP_NET_ADMIN"], status) is expected


def test_threads_with_more_than_allowed_are_named(tmp_path: Path) -> None:
    for number, (name, effective) in enumerate([("main", "0"), ("rules", "1000"), ("early", "200000")]):
        task = tmp_path / str(number)
        task.mkdir()
        (task / "comm").write_text(name + "\n")
        (task / "status").write_text(f"CapEff:\t{effective}\n")
    (tmp_path / "gone").mkdir()

    assert holders(["CAP_NET_ADMIN"], tmp_path) == ["early"]
