"""What is asked is what the workload says, and an answer that is not right is found."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import dns.edns
import dns.message
import pytest

from benchmarks.peers import names as peers
from benchmarks.peers.files import Registry, reverse
from benchmarks.servers import Server, free_port
from benchmarks.spot_check import expected, wrong
from benchmarks.workloads import COOKIES, FRESH, SUFFIX, WORKLOADS

PYDNS = str(Path(sys.executable).with_name("pydns"))


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    found = Registry(tmp_path, 1_000)
    found.write()
    return found


@pytest.fixture
def server(registry: Registry) -> Iterator[Server]:
    started = peers.holder("pydns", peers.pydns_with(PYDNS), free_port(), registry, None)
    try:
        started.start()
        yield started
    finally:
        started.stop()


def lines(registry: Registry, name: str, seed: str = "") -> list[str]:
    path = registry.folder / "asked"
    WORKLOADS[name].write(path, registry, seed, SUFFIX)
    return path.read_text().splitlines()


def test_all_names_come_once_round(registry: Registry) -> None:
    asked = lines(registry, "all")
    assert asked != sorted(asked)
    assert sorted(asked) == sorted(f"{name} A" for name, _ in registry.addresses())
    assert WORKLOADS["first"].write(registry.folder / "once", registry, "", SUFFIX) == ["-n", "1"]


def test_what_does_not_exist_is_new_in_every_round(registry: Registry) -> None:
    asked, again = lines(registry, "nxdomain", "0"), lines(registry, "nxdomain", "1")
    assert len(set(asked)) > 0.999 * FRESH
    assert not set(asked) & set(again)
    assert all(line.endswith(f".{SUFFIX} A") for line in asked)


def test_a_libc_asks_for_a_and_aaaa_together_and_one_look_up_in_ten_is_a_ptr(registry: Registry) -> None:
    asked = [tuple(line.split()) for line in lines(registry, "mixed")]
    kinds = Counter(kind for _, kind in asked)
    assert kinds["A"] == kinds["AAAA"] == 9 * kinds["PTR"]
    for (name, kind), (following, other) in pairwise(asked):
        if kind == "A":
            assert (following, other) == (name, "AAAA")


def test_every_query_has_a_cookie_of_its_own_as_dig_sends_it(registry: Registry) -> None:
    path = registry.folder / "asked"
    assert WORKLOADS["cookies"].write(path, registry, "", SUFFIX) == ["-B"]
    raw = path.read_bytes()
    cookies = set()
    place = count = 0
    while place < len(raw):
        (length,) = struct.unpack_from("!H", raw, place)
        cookies.add(raw[place + 2 + length - 8 : place + 2 + length])
        if count < 100:
            query = dns.message.from_wire(raw[place + 2 : place + 2 + length])
            (option,) = query.options
            assert option.otype == dns.edns.OptionType.COOKIE
            assert option.to_wire() == raw[place + 2 + length - 8 : place + 2 + length]
            assert (query.payload, query.ednsflags, query.question[0].rdtype.name) == (1232, 0, "A")
        place += 2 + length
        count += 1
    assert count == len(cookies) == COOKIES


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (("n258", "A"), ("NOERROR", ["10.0.1.2"])),
        (("n258", "AAAA"), ("NOERROR", [])),
        ((reverse("10.1.0.3"), "PTR"), ("NOERROR", ["n65539."])),
        (("x00.mynet", "A"), ("NXDOMAIN", [])),
    ],
)
def test_expected(question: tuple[str, str], answer: tuple[str, list[str]]) -> None:
    assert expected(question) == answer


def test_right_answers_pass_and_others_are_told(server: Server, registry: Registry) -> None:
    for name, workload in WORKLOADS.items():
        assert wrong(server, workload, registry, SUFFIX) is None, name
    more = Registry(registry.folder, 2_000_000)
    assert wrong(server, WORKLOADS["nxdomain"], more, "n1.invalid.mynet") is None
    found = wrong(server, WORKLOADS["all"], more, SUFFIX)
    assert found is not None
    assert found.startswith("n")


def test_every_peer_writes_what_its_program_takes(registry: Registry) -> None:
    checks = {"knotd": ["knotc", "-c"], "unbound": ["unbound-checkconf"], "nsd": ["nsd-checkconf"]}
    for name, make in peers.peers(PYDNS, free_port()).items():
        folder = registry.folder / name.replace(" ", "")
        folder.mkdir()
        command = make(folder, free_port(), registry)
        if name in checks:
            more = ["conf-check"] if name == "knotd" else []
            done = subprocess.run([*checks[name], command[-1], *more], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
