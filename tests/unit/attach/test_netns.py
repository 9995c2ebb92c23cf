"""Finding a namespace by name, path or process, and reading its routes, in folders made for the test."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from resolver.attach.netns import NamespaceThread, Target, default_gateways, identity, identity_at, locate
from resolver.errors import AttachError


@pytest.fixture
def named(tmp_path: Path) -> Path:
    folder = tmp_path / "netns"
    folder.mkdir()
    for name in ("web", "web-2", "4242"):
        (folder / name).touch()
    return folder


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    for pid in ("4242", "77"):
        (tmp_path / "proc" / pid / "ns").mkdir(parents=True)
    return tmp_path / "proc"


def test_a_name(named: Path, proc: Path) -> None:
    assert locate("web", proc=proc, named=[named]) == Target(named / "web", "web", name="web")


def test_a_number_is_a_process(named: Path, proc: Path) -> None:
    assert locate("77", proc=proc, named=[named]) == Target(proc / "77/ns/net", "process 77", pid=77)


def test_a_number_that_is_a_name_is_the_name(named: Path, proc: Path) -> None:
    assert locate("4242", proc=proc, named=[named]) == Target(named / "4242", "4242", name="4242")


def test_self_is_where_we_are(named: Path, proc: Path) -> None:
    assert locate("self", proc=proc, named=[named]) == Target(proc / "self/ns/net", "self", is_own=True)


def test_self_that_is_a_name_is_the_name(named: Path, proc: Path) -> None:
    (named / "self").touch()

    assert locate("self", proc=proc, named=[named]) == Target(named / "self", "self", name="self")


def test_our_own_namespace_is_not_entered(proc: Path) -> None:
    inside = NamespaceThread(locate("self", proc=proc, named=[]))  # where there is no such file to enter by
    try:
        assert inside.call(identity) == identity()
    finally:
        inside.close()


def test_a_path(named: Path, proc: Path) -> None:
    path = named / "web"

    assert locate(str(path), proc=proc, named=[named]) == Target(path, str(path))


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("wev", "there is no network namespace 'wev'; did you mean web"),
        ("zzz", "there is no network namespace 'zzz'; there are 4242, web, web-2"),
        ("78", "there is no process 78 and no network namespace of that name"),
        ("/nowhere/at/all", "there is no network namespace at /nowhere/at/all"),
        ("", "there is no network namespace ''"),
        ("..", "there is no network namespace '..'"),
    ],
)
def test_what_does_not_exist_is_named(named: Path, proc: Path, spec: str, text: str) -> None:
    with pytest.raises(AttachError, match=text.replace(".", r"\.")):
        locate(spec, proc=proc, named=[named, named / "absent"])


def test_no_names_at_all(tmp_path: Path) -> None:
    with pytest.raises(AttachError, match="`ip netns` knows none"):
        locate("web", proc=tmp_path, named=[tmp_path / "absent"])


def test_a_process_that_has_ended_is_named(proc: Path) -> None:
    with pytest.raises(AttachError, match="network namespace of process 77 cannot be opened: No such file"):
        NamespaceThread(locate("77", proc=proc, named=[]))


ROUTE = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010012AC\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth1\t00000000\t010013AC\t0003\t0\t0\t50\t00000000\t0\t0\t0
eth0\t000012AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
*\t00000000\t00000000\t0201\t0\t0\t10\t00000000\t0\t0\t0
"""
ZEROS = "0" * 32
ROUTE6 = (
    f"{ZEROS} 00 {ZEROS} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n"
    f"{ZEROS} 00 {ZEROS} 00 fd000018000000000000000000000001 00000064 00000001 00000000 00000003     eth0\n"
    f"{ZEROS} 00 {ZEROS} 00 {ZEROS} ffffffff 00000001 00000000 00200200       lo\n"
)


def test_default_gateways_by_family_and_metric(tmp_path: Path) -> None:
    (tmp_path / "route").write_text(ROUTE)
    (tmp_path / "ipv6_route").write_text(ROUTE6)

    assert default_gateways(tmp_path) == tuple(
        map(ip_address, ("172.19.0.1", "172.18.0.1", "fd00:18::1", "fe80::1%eth0"))
    )


def test_no_routes_no_gateways(tmp_path: Path) -> None:
    (tmp_path / "route").write_text(ROUTE.splitlines()[0] + "\n")

    assert default_gateways(tmp_path) == ()


def test_a_name_without_its_namespace_is_none(tmp_path: Path) -> None:
    """As `ip netns delete` leaves it for a moment; it must not be taken for another namespace of that name."""
    (tmp_path / "web").touch()

    assert identity_at(tmp_path / "web") is None
    assert identity_at(tmp_path / "absent") is None
    assert identity_at(Path("/proc/self/ns/net")) == identity()
