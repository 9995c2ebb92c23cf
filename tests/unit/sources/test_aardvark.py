"""aardvark-dns's network files: what one says, what a folder of them says over time, and the watch over it."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import tomllib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.registry.model import Contribution, Endpoint
from resolver.registry.store import Store
from resolver.sources.aardvark import AardvarkFolder, AardvarkSource
from resolver.sources.aardvark_file import NetworkFile, read
from resolver.views import Views, ViewSettings
from resolver.zones.model import ZoneSet
from tests.docs.pages import blocks
from tests.scenarios.live import ROOT

PAGE = ROOT / "docs" / "podman.md"
PLACE = "/run/aardvark-dns/blue"


def good(text: str, name: str = "blue") -> NetworkFile:
    """A file that is in order."""
    outcome = read(text, PLACE, name)
    assert outcome.file is not None, outcome.faults
    assert outcome.faults == ()
    return outcome.file


def endpoint_of(line: str, name: str = "blue") -> Endpoint:
    (endpoint,) = good(f"10.89.0.1\n{line}\n", name).network.endpoints
    return endpoint


def texts(values: tuple[object, ...]) -> list[str]:
    return [str(value) for value in values]


@pytest.mark.parametrize(
    ("first", "listen", "servers"),
    [
        ("10.89.0.1", ["10.89.0.1"], []),
        ("10.89.0.1,fd00::1", ["10.89.0.1", "fd00::1"], []),
        ("10.89.0.1 8.8.8.8,1.1.1.1", ["10.89.0.1"], ["8.8.8.8", "1.1.1.1"]),
        ("fd00::1 2001:DB8::53", ["fd00::1"], ["2001:db8::53"]),
        ("fe80::1%podman1 fe80::53%eth0", ["fe80::1%podman1"], ["fe80::53%eth0"]),
        ("10.89.0.1,10.89.0.1 8.8.8.8,8.8.8.8", ["10.89.0.1"], ["8.8.8.8"]),
        ("10.89.0.1 8.8.8.8 something else", ["10.89.0.1"], ["8.8.8.8"]),
    ],
)
def test_the_first_line(first: str, listen: list[str], servers: list[str]) -> None:
    for text in (first, f"{first}\n", f"\n\n{first}\n\n"):
        file = good(text)
        assert (list(file.listen), list(file.network.servers)) == (listen, servers)
        assert (file.network.name, file.network.ttl, file.network.internal) == ("blue", 0, False)


def test_an_internal_network_has_no_servers() -> None:
    file = good("10.89.0.1 8.8.8.8\n0a 10.89.0.2  web 9.9.9.9\n", "blue%int")
    assert (file.network.name, file.network.internal, file.network.servers) == ("blue", True, ())
    assert file.network.endpoints[0].servers == ()


@pytest.mark.parametrize(
    ("line", "addresses", "names", "servers"),
    [
        ("0A 10.89.0.2  web,www", ["10.89.0.2"], ["web", "www"], []),
        ("0A  fd00::2 Web,WWW", ["fd00::2"], ["web", "www"], []),
        ("0A 10.89.0.2,10.89.0.3 fd00::2,fd00::3 web", ["10.89.0.2", "10.89.0.3", "fd00::2", "fd00::3"], ["web"], []),
        ("0A 10.89.0.2  web 8.8.8.8,fd00::53", ["10.89.0.2"], ["web"], ["8.8.8.8", "fd00::53"]),
        ("0A 10.89.0.2  web ", ["10.89.0.2"], ["web"], []),
        # Only the fifth of exactly five fields is a list of servers.
        ("0A 10.89.0.2  web 8.8.8.8 more", ["10.89.0.2"], ["web"], []),
        ("0A 10.89.0.2  web,a.b.c,web", ["10.89.0.2"], ["web", "a.b.c"], []),
        ("0A 10.89.0.2  *.web,web", ["10.89.0.2"], ["web", "*.web"], []),
        ("0A   web", [], ["web"], []),
        ("0A 10.89.0.2  ", ["10.89.0.2"], ["0a"], []),
        ("0A 10.89.0.2  *.web", ["10.89.0.2"], ["0a", "*.web"], []),
        ("not:ours 10.89.0.2  ", ["10.89.0.2"], ["not:ours"], []),
        ("a..b 10.89.0.2  ", ["10.89.0.2"], ["line-2"], []),
    ],
)
def test_a_container(line: str, addresses: list[str], names: list[str], servers: list[str]) -> None:
    endpoint = endpoint_of(line)
    assert texts(endpoint.addresses) == addresses
    assert [endpoint.name, *endpoint.aliases] == names
    assert list(endpoint.servers) == servers


def test_the_lines_of_an_id_are_one_container() -> None:
    endpoint = endpoint_of("0A 10.89.0.2  web,www 8.8.8.8\n\n0a  fd00::2 web,v6 8.8.8.8,9.9.9.9")
    assert (endpoint.name, endpoint.aliases, endpoint.id) == ("web", ("www", "v6"), "0a")
    assert texts(endpoint.addresses) == ["10.89.0.2", "fd00::2"]
    assert endpoint.servers == ("8.8.8.8", "9.9.9.9")
    assert (endpoint.origin.place, endpoint.origin.line) == (PLACE, 2)


def test_of_two_containers_of_one_name_the_last_one_bears_it() -> None:
    """The first one was left behind; both addresses answer, as they do with aardvark-dns."""
    first, second = "1" * 64, "2" * 64
    network = good(f"10.89.0.1\n{first} 10.89.0.2  web\n{second} 10.89.0.3  web\n").network
    assert [(endpoint.name, endpoint.aliases) for endpoint in network.endpoints] == [
        ("111111111111", ("web",)),
        ("web", ()),
    ]
    store = Store()
    store.replace([Contribution("aardvark", (network,))])
    assert len(store.snapshot.networks["blue"].endpoints) == 2


def test_no_container_is_left_out_however_they_are_called() -> None:
    """Ids that begin alike, names that are all the same, one that is what another one would go by."""
    lines = [f"{'0' * 63}{number} 10.89.0.{number}  web" for number in range(2, 9)]
    lines.append("0f 10.89.0.9  line-3")
    network = good("\n".join(["10.89.0.1", *lines])).network
    names = [endpoint.name for endpoint in network.endpoints]
    assert len(set(names)) == len(lines) == len(network.endpoints)
    assert all("web" in (endpoint.name, *endpoint.aliases) for endpoint in network.endpoints[:-1])


def test_subnets_are_the_addresses_and_no_more() -> None:
    network = good("10.89.0.1,fd00::1\n0a 10.89.0.2,10.89.0.3 fd00::9 web\n").network
    assert texts(network.subnets) == ["10.89.0.1/32", "10.89.0.2/31", "fd00::1/128", "fd00::9/128"]
    assert texts(network.gateways) == ["10.89.0.1", "fd00::1"]
    assert not network.holds(ipaddress.ip_address("10.89.0.4"))


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", None, "is empty"),
        ("\n\n", None, "is empty"),
        ("nonsense", 1, "has 'nonsense' where addresses belong"),
        (" 8.8.8.8", 1, "has '' where addresses belong"),
        ("10.89.0.1,", 1, "has '10.89.0.1,' where addresses belong"),
        ("10.89.0.1 dns.example", 1, "has 'dns.example' where addresses belong"),
        ("10.89.0.1 ", 1, "has '' where addresses belong"),
        ("10.89.0.1\n0a 10.89.0.2  web\n0b 10.89", 3, "has 2 fields where a container has at least 4"),
        ("10.89.0.1\n0a 10.89.0.2 web", 2, "has 3 fields"),
        ("10.89.0.1\n0a 10.89.0.2.3  web", 2, "has '10.89.0.2.3' where addresses belong"),
        ("10.89.0.1\n0a fd00::2  web", 2, "has 'fd00::2' where addresses belong"),
        ("10.89.0.1\n0a  10.89.0.2 web", 2, "has '10.89.0.2' where addresses belong"),
        ("10.89.0.1\n0a 10.89.0.2  web 8.8.8", 2, "has '8.8.8' where addresses belong"),
        ("10.89.0.1\n\n0a 10.89.0.2,  web", 3, "has '10.89.0.2,' where addresses belong"),
    ],
)
def test_a_bad_line_spoils_the_file(text: str, line: int | None, message: str) -> None:
    outcome = read(text, PLACE, "blue")
    (fault,) = outcome.faults
    assert outcome.file is None
    assert (fault.place, fault.line, fault.is_warning) == (PLACE, line, False)
    assert message in str(fault)
    assert "what the file said last stays" in str(fault)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10.89.0.1\n0a 10.89.0.2  web,a..b", "'a..b' has an empty label"),
        ("10.89.0.1\n0a 10.89.0.2  web,b\tc", "the name is left out"),
        ("10.89.0.1\n0a 10.89.0.2  web,x*y", "'x*y' has a *"),
        (f"10.89.0.1\n0a 10.89.0.2  web,{'x' * 64}", "63 is the most"),
        ("10.89.0.1\n0a 10.89.0.2  web 224.0.0.1", "'224.0.0.1' is a multicast or broadcast address"),
        ("10.89.0.1 255.255.255.255\n0a 10.89.0.2  web", "'255.255.255.255' is a multicast or broadcast address"),
    ],
)
def test_what_cannot_be_used_is_left_out_alone(text: str, message: str) -> None:
    outcome = read(text, PLACE, "blue")
    (fault,) = outcome.faults
    assert (fault.is_warning, message in fault.message) == (True, True), fault
    assert outcome.file is not None
    (endpoint,) = outcome.file.network.endpoints
    assert (endpoint.name, endpoint.aliases, endpoint.servers, outcome.file.network.servers) == ("web", (), (), ())


@pytest.mark.parametrize("name", ["my net", "x" * 64, "n\xe4t", "a..b", "b\udcffc"])
def test_a_network_whose_name_dns_cannot_carry_serves_on(name: str) -> None:
    outcome = read("10.89.0.1\n0a 10.89.0.2  web\n", PLACE, f"{name}%int")
    (fault,) = outcome.faults
    assert outcome.file is not None
    assert (fault.is_warning, outcome.file.network.internal) == (True, True)
    assert outcome.file.network.name.startswith("network-")
    assert outcome.file.network.name in fault.message


ADDRESSES = ["10.89.0.1", "10.89.0.2", "10.89.0.2,10.89.0.3", "fd00::2", "fe80::1%x", "8.8.8.8", "224.0.0.1", ""]
WORDS = ["0a", "0A", "0b", "web", "Web,www", "*.w", "*", "a..b", "line-2", ",", "\r", "\0", "é", "x" * 64]
FIELDS = st.sampled_from([*ADDRESSES, *WORDS])
LINES = st.lists(st.lists(FIELDS, max_size=6).map(" ".join), max_size=8).map("\n".join)


@given(text=st.one_of(LINES, LINES.map("10.89.0.1\n{}".format), st.text()), name=st.text(max_size=70))
def test_whatever_it_says_it_is_read_or_refused(text: str, name: str) -> None:
    """And what is read can be served."""
    outcome = read(text, PLACE, name)
    errors = [fault for fault in outcome.faults if not fault.is_warning]
    assert (outcome.file is None) == (len(errors) == 1)
    if outcome.file is not None:
        names = [endpoint.name for endpoint in outcome.file.network.endpoints]
        assert len(names) == len(set(names))
        store = Store()
        store.replace([Contribution("aardvark", (outcome.file.network,))])
        views = Views(store.snapshot, ZoneSet(), ViewSettings())
        assert len(views.host.tables[0].network.endpoints) == len(names)


# -- the document ------------------------------------------------------------------------------------------------------


def test_the_file_of_the_document_is_read() -> None:
    (block,) = blocks("aardvark", PAGE)
    network = good(block.text).network
    assert [(endpoint.name, endpoint.servers) for endpoint in network.endpoints] == [
        ("db", ()),
        ("web", ("192.0.2.54",)),
    ]
    assert (network.servers, texts(network.gateways)) == (("192.0.2.53",), ["10.89.0.1", "fd00:89::1"])


def test_the_settings_of_the_document_are_those_of_podman() -> None:
    (block,) = blocks("conf", PAGE)
    (install,) = blocks("sh", PAGE)
    first, *others = tomllib.loads(block.text)["engine"]["helper_binaries_dir"]
    assert f"{first}/aardvark-dns" in install.text.split()
    assert others == ["/usr/libexec/podman", "/usr/lib/podman"]
    assert (ROOT / install.text.split()[2]).stat().st_mode & 0o111


# -- folders -----------------------------------------------------------------------------------------------------------


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)


def names_in(folder: AardvarkFolder) -> dict[str, list[str]]:
    return {
        file.network.name: [endpoint.name for endpoint in file.network.endpoints] for file in folder.refresh().files
    }


def test_a_folder_is_its_network_files(tmp_path: Path) -> None:
    write(tmp_path, blue="10.89.0.1\n0a 10.89.0.2  web\n", red="10.90.0.1\n")
    (tmp_path / "green%int").write_text("10.91.0.1\n")
    (tmp_path / "aardvark.pid").write_text("4711")
    (tmp_path / ".hidden").write_text("x")
    folder = AardvarkFolder(tmp_path)
    assert names_in(folder) == {"blue": ["web"], "green": [], "red": []}
    assert (folder.refresh().faults, folder.refresh().is_empty) == ((), False)


def test_an_unchanged_file_is_the_same_network_as_before(tmp_path: Path) -> None:
    """So that its table need not be compiled again."""
    write(tmp_path, blue="10.89.0.1\n0a 10.89.0.2  web\n", red="10.90.0.1\n")
    folder = AardvarkFolder(tmp_path)
    before = folder.refresh().files
    write(tmp_path, red="10.90.0.1\n0b 10.90.0.2  db\n")
    after = folder.refresh().files
    assert after[0].network is before[0].network
    assert after[1].network is not before[1].network


def test_a_spoilt_file_keeps_its_last_good_state_until_it_vanishes(tmp_path: Path) -> None:
    write(tmp_path, blue="10.89.0.1\n0a 10.89.0.2  web\n")
    folder = AardvarkFolder(tmp_path)
    folder.refresh()
    for spoilt in ("", "10.89.0.1\n0a 10."):
        write(tmp_path, blue=spoilt)
        state = folder.refresh()
        assert [file.network.endpoints[0].name for file in state.files] == ["web"]
        assert [fault.place for fault in state.faults] == [str(tmp_path / "blue")]
        assert folder.refresh() == state
    (tmp_path / "blue").write_bytes(b"10.89.0.1\n0a 10.89.0.2  \xff\n")
    assert "is not UTF-8" in str(folder.refresh().faults[0])
    assert len(folder.refresh().files) == 1
    write(tmp_path, blue="10.89.0.1\n0a 10.89.0.2  web2\n")
    assert (names_in(folder), folder.refresh().faults) == ({"blue": ["web2"]}, ())
    (tmp_path / "blue").unlink()
    assert (folder.refresh().files, folder.refresh().faults, folder.refresh().is_empty) == ((), (), True)


def test_a_file_that_was_never_good_is_a_fault_and_no_network(tmp_path: Path) -> None:
    write(tmp_path, blue="", red="10.90.0.1\n")
    state = AardvarkFolder(tmp_path).refresh()
    assert ([file.network.name for file in state.files], len(state.faults), state.is_empty) == (["red"], 1, False)


def test_a_file_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "blue").mkdir()
    os.mkfifo(tmp_path / "red")
    faults = AardvarkFolder(tmp_path).refresh().faults
    assert [("blue" in fault.place, "cannot be read" in fault.message) for fault in faults] == [
        (True, True),
        (False, True),
    ]


def test_a_folder_that_is_not_there_has_no_networks(tmp_path: Path) -> None:
    folder = AardvarkFolder(tmp_path / "later")
    state = folder.refresh()
    assert (state.files, state.is_empty, state.faults[0].is_warning) == ((), True, True)
    (tmp_path / "later").mkdir()
    write(tmp_path / "later", blue="10.89.0.1\n")
    assert names_in(folder) == {"blue": []}


def test_a_file_name_that_is_not_utf8_is_told_in_ascii(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"b\xffd")).write_text("10.89.0.1\n")
    (fault,) = AardvarkFolder(tmp_path).refresh().faults
    assert str(fault).encode("ascii", "strict")
    assert "b\\xffd" in fault.place


# -- the source --------------------------------------------------------------------------------------------------------


def run(source: AardvarkSource, body: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Start it, do that with an event that is set on every change, stop it."""

    async def main() -> None:
        changed = asyncio.Event()
        await source.start(changed.set)
        try:
            await body(changed)
        finally:
            await source.stop()
            await source.stop()

    asyncio.run(main())


async def until(changed: asyncio.Event, holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await changed.wait()
            changed.clear()


def networks_of(source: AardvarkSource) -> dict[str, list[str]]:
    assert source.contribution is not None
    return {network.name: [endpoint.name for endpoint in network.endpoints] for network in source.contribution.networks}


def test_the_source_follows_the_folder(tmp_path: Path) -> None:
    write(tmp_path, blue="10.89.0.1\n0a 10.89.0.2  web\n")
    source = AardvarkSource(tmp_path)

    async def body(changed: asyncio.Event) -> None:
        assert (source.name, networks_of(source)) == (f"aardvark {tmp_path}", {"blue": ["web"]})
        assert (source.counts.is_up, source.counts.failures) == (True, 0)
        before = source.contribution
        write(tmp_path, red="10.90.0.1\n0b 10.90.0.2  db\n")
        await until(changed, lambda: networks_of(source) == {"blue": ["web"], "red": ["db"]})
        assert source.contribution is not before
        write(tmp_path, blue="10.89.0.1\n0a 10.8")
        await until(changed, lambda: bool(source.faults))
        assert networks_of(source)["blue"] == ["web"]
        assert (source.counts.is_up, source.counts.skipped) == (False, 1)
        (tmp_path / "blue").unlink()
        await until(changed, lambda: not source.faults)
        assert networks_of(source) == {"red": ["db"]}
        assert source.counts.is_up

    run(source, body)


def test_the_source_waits_for_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """As before the first container of a host's life."""
    source = AardvarkSource(tmp_path / "aardvark-dns")

    async def body(changed: asyncio.Event) -> None:
        assert (networks_of(source), source.faults[0].is_warning, source.counts.is_up) == ({}, True, True)
        (tmp_path / "aardvark-dns").mkdir()
        write(tmp_path / "aardvark-dns", blue="10.89.0.1\n0a 10.89.0.2  web\n")
        await until(changed, lambda: networks_of(source) == {"blue": ["web"]})
        assert source.faults == ()

    run(source, body)
