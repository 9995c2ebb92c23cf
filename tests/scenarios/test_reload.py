"""A change of a file is served within 250 ms of the write's end, a bad one harms nobody, no query fails meanwhile."""

from __future__ import annotations

import json
import os
import re
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dns.message
import pytest

from tests.scenarios.conftest import Serve
from tests.scenarios.live import Live, answers, ask, is_clean, replace, rewrite, udp_bytes, until

SERVED_WITHIN_S = 0.25
TIMES = 5

Write = Callable[[Path, str], float]


def registry(address: str, name: str = "app", network: str = "moving") -> str:
    """A registry file with one endpoint."""
    return f'[networks.{network}.endpoints.{name}]\naddresses = ["{address}"]\n'


def hosts(address: str) -> str:
    """A hosts file."""
    return f"{address} app  # moving\n"


def inspected(address: str) -> str:
    """What `docker network inspect` prints."""
    container = {"Name": "app", "IPv4Address": f"{address}/16", "IPv6Address": "", "MacAddress": "", "EndpointID": "e"}
    network = {
        "Name": "moving",
        "IPAM": {"Config": [{"Subnet": "10.0.0.0/8", "Gateway": "10.0.0.1"}]},
        "Internal": False,
        "Containers": {"492ba8a9277d96876f0a605d9434723aed774978a40023e778a97815216754f0": container},
    }
    return json.dumps([network], indent=4)


def zone(address: str) -> str:
    """A zone file."""
    return f"$ORIGIN static.example.\n$TTL 60\n@ SOA ns host 1 60 60 60 60\n@ NS ns\nns A 192.0.2.1\napp A {address}\n"


def each_is_served_in_time(live: Live, change: Callable[[str], float], name: str = "app.") -> None:
    """Make a change some times over; the median of the delays counts, because others use this machine, too."""
    delays = []
    for number in range(TIMES):
        address = f"10.7.7.{number + 1}"
        written_at = change(address)
        until(lambda address=address: live.addresses(name) == {address}, every_s=0.002)  # type: ignore[misc]
        delays.append(time.monotonic() - written_at)
    assert statistics.median(delays) < SERVED_WITHIN_S, delays
    assert is_clean(live.stderr), live.stderr


@pytest.mark.parametrize("write", [rewrite, replace], ids=["in place", "rename over"])
@pytest.mark.parametrize(
    ("name", "text"),
    [("a.toml", registry), ("a.json", inspected), ("hosts", hosts), ("a.hosts", hosts)],
    ids=["TOML", "JSON", "hosts", "*.hosts"],
)
def test_a_change_in_a_folder_is_served(serve: Serve, write: Write, name: str, text: Callable[[str], str]) -> None:
    live = serve(registry={name: text("10.0.0.9"), "b.toml": registry("10.0.0.8", "other", "still")})
    each_is_served_in_time(live, lambda address: write(live.registry / name, text(address)))
    assert live.addresses("other.") == {"10.0.0.8"}


@pytest.mark.parametrize("write", [rewrite, replace], ids=["in place", "rename over"])
def test_a_change_of_a_file_that_was_named_itself_is_served(serve: Serve, tmp_path: Path, write: Write) -> None:
    named = tmp_path / "named.toml"
    named.write_text(registry("10.0.0.9"))
    live = serve(settings={"registry": {"files": [str(named)]}})
    each_is_served_in_time(live, lambda address: write(named, registry(address)))


@pytest.mark.parametrize("write", [rewrite, replace], ids=["in place", "rename over"])
def test_a_change_of_a_zone_file_is_served(serve: Serve, write: Write) -> None:
    live = serve(zones={"static.zone": zone("10.0.0.9")})
    each_is_served_in_time(
        live, lambda address: write(live.zones / "static.zone", zone(address)), "app.static.example."
    )


@pytest.mark.parametrize("write", [rewrite, replace], ids=["in place", "rename over"])
def test_a_change_of_what_a_zone_file_includes_is_served(serve: Serve, tmp_path: Path, write: Write) -> None:
    """The included file lies in a folder that nobody named."""
    included = tmp_path / "parts" / "hosts.part"
    included.parent.mkdir()
    included.write_text("app A 10.0.0.9\n")
    text = re.sub("app A.*", f"$INCLUDE {included}", zone("10.0.0.9"))
    live = serve(zones={"static.zone": text})
    each_is_served_in_time(live, lambda address: write(included, f"app A {address}\n"), "app.static.example.")


def test_a_swap_of_symlinks_as_a_configmap_makes_it_is_served(serve: Serve, tmp_path: Path) -> None:
    """networks.toml → ..data/networks.toml, ..data → ..1; then ..data is renamed over and ..1 removed."""
    volume = tmp_path / "volume"
    volume.mkdir()

    def fill(address: str) -> Path:
        folder = volume / f"..{address}"
        folder.mkdir()
        (folder / "networks.toml").write_text(registry(address))
        return folder

    old = [fill("10.0.0.9")]
    (volume / "..data").symlink_to(old[0].name)
    (volume / "networks.toml").symlink_to("..data/networks.toml")
    live = serve(settings={"registry": {"files": [str(volume / "networks.toml")]}})

    def swap(address: str) -> float:
        fresh = fill(address)
        (volume / "..tmp").symlink_to(fresh.name)
        (volume / "..tmp").rename(volume / "..data")
        done = time.monotonic()
        (old[-1] / "networks.toml").unlink()
        old[-1].rmdir()
        old.append(fresh)
        return done

    each_is_served_in_time(live, swap)


@pytest.mark.parametrize("named", ["the folder", "the file"])
def test_a_swap_of_symlinks_in_a_mounted_folder_is_served(serve: Serve, tmp_path: Path, named: str) -> None:
    volume = tmp_path / "volume"
    (volume / "..0").mkdir(parents=True)
    (volume / "..0" / "networks.toml").write_text(registry("10.0.0.9"))
    (volume / "..data").symlink_to("..0")
    (volume / "networks.toml").symlink_to("..data/networks.toml")
    files = [str(volume if named == "the folder" else volume / "networks.toml")]
    live = serve(settings={"registry": {"files": files}})

    def swap(address: str) -> float:
        (volume / f"..{address}").mkdir()
        (volume / f"..{address}" / "networks.toml").write_text(registry(address))
        (volume / "..tmp").symlink_to(f"..{address}")
        (volume / "..tmp").rename(volume / "..data")
        return time.monotonic()

    each_is_served_in_time(live, swap)


@pytest.mark.root
@pytest.mark.parametrize("named", ["the file", "its folder"])
def test_a_write_to_the_source_of_a_bind_mount_is_served(serve: Serve, tmp_path: Path, named: str) -> None:
    """The file as `docker run -v file:file` shows it: written through a path that the server cannot see."""
    source, target = tmp_path / "source.toml", tmp_path / "inside" / "networks.toml"
    target.parent.mkdir()
    source.write_text(registry("10.0.0.9"))
    target.write_text("")
    mounted = f'mount --bind {source} {target} && exec "$@"'
    live = serve(
        settings={"registry": {"files": [str(target if named == "the file" else target.parent)]}},
        prefix=("unshare", "-m", "--propagation", "private", "sh", "-c", mounted, "sh"),
    )
    assert live.addresses("app.") == {"10.0.0.9"}
    each_is_served_in_time(live, lambda address: rewrite(source, registry(address)))
    assert target.read_text() == ""  # out here nothing is mounted


def comes_and_goes(live: Live, come: Callable[[], object], go: Callable[[], object]) -> None:
    """A file appears and vanishes, five times; each is served in time."""
    delays = []
    for _ in range(TIMES):
        come()
        began = time.monotonic()
        until(lambda: live.addresses("guest.") == {"10.5.5.5"}, every_s=0.002)
        delays.append(time.monotonic() - began)
        go()
        began = time.monotonic()
        until(lambda: live.addresses("guest.") == set(), every_s=0.002)
        delays.append(time.monotonic() - began)
        assert live.addresses("app.") == {"10.0.0.9"}
    assert statistics.median(delays[0::2]) < SERVED_WITHIN_S, delays
    assert statistics.median(delays[1::2]) < SERVED_WITHIN_S, delays


def test_a_file_that_appears_in_a_folder_and_is_removed(serve: Serve) -> None:
    live = serve(registry={"a.toml": registry("10.0.0.9")})
    guest = live.registry / "guest.toml"
    comes_and_goes(live, lambda: rewrite(guest, registry("10.5.5.5", "guest")), guest.unlink)


def test_a_file_that_is_moved_into_a_folder_and_out_of_it(serve: Serve, tmp_path: Path) -> None:
    live = serve(registry={"a.toml": registry("10.0.0.9")})
    outside, inside = tmp_path / "guest.toml", live.registry / "guest.toml"
    outside.write_text(registry("10.5.5.5", "guest"))
    comes_and_goes(live, lambda: outside.rename(inside), lambda: inside.rename(outside))


def test_a_zone_that_appears_and_goes(serve: Serve) -> None:
    live = serve(zones={})
    path = live.zones / "new.zone"
    for _ in range(2):
        path.write_text(zone("10.0.0.9"))
        until(lambda: live.addresses("app.static.example.") == {"10.0.0.9"})
        path.unlink()
        until(lambda: live.addresses("app.static.example.") == set())


def test_a_file_written_slowly_is_served_when_it_is_whole(serve: Serve) -> None:
    """A writer that empties the file and takes its time: the names that it has always had are never missing."""
    names = [f"n{number}" for number in range(10)]
    texts = [registry("10.0.0.9", name) for name in names]
    live = serve(registry={"a.toml": "".join(texts)})
    each_is_served_in_time(live, lambda address: rewrite(live.registry / "b.toml", registry(address)))
    for round_ in range(2):
        with (live.registry / "a.toml").open("w") as file:
            for text in texts:
                file.write(text.replace("10.0.0.9", f"10.0.1.{round_}"))
                file.flush()
                os.fsync(file.fileno())
                assert all(live.addresses(f"{name}.") for name in names), "a half-written file was served"
                time.sleep(0.02)
        until(lambda round_=round_: live.addresses("n9.") == {f"10.0.1.{round_}"})  # type: ignore[misc]


def test_a_bad_file_keeps_what_it_last_said_and_holds_back_nobody(serve: Serve) -> None:
    """Named by file, line, key and fix; degraded and counted; the other files go on; healed by a good one."""
    live = serve(registry={"a.toml": registry("10.0.0.9"), "b.toml": registry("10.0.0.8", "other", "still")})
    bad = live.registry / "a.toml"
    failures = live.count("pydns_reload_failures_total", input="registry")
    rewrite(bad, registry("10.0.0.9") + 'ttl = "long"\n')
    until(lambda: str(bad) in live.stderr)
    said = next(line for line in live.stderr.splitlines() if str(bad) in line)
    assert re.search(rf"error: {re.escape(str(bad))}:3: networks\.moving\.endpoints\.app\.ttl: .*\(.+\)$", said)
    assert live.addresses("app.") == {"10.0.0.9"}
    assert live.page("/healthz").json["status"] == "degraded"
    assert live.page("/healthz").json["faults"] == [said.split("error: ", 1)[1]]
    assert live.count("pydns_faults") == 1
    assert live.count("pydns_reload_failures_total", input="registry") == failures + 1
    assert live.page("/readyz").status == 200

    rewrite(live.registry / "b.toml", registry("10.0.0.7", "other", "still"))
    until(lambda: live.addresses("other.") == {"10.0.0.7"})
    assert live.addresses("app.") == {"10.0.0.9"}
    assert live.stderr.count(str(bad)) == 1  # said once, not with every reload

    rewrite(bad, registry("10.0.0.6"))
    until(lambda: live.addresses("app.") == {"10.0.0.6"})
    assert live.page("/healthz").json == {"status": "ok", "faults": []}
    assert live.count("pydns_faults") == 0
    assert "in order again" in live.stderr


@pytest.mark.parametrize(
    ("bad", "place"),
    [
        ("[networks.moving.endpoints.app\n", ":1:"),
        (
            '[networks.moving.endpoints.app]\naddresses = ["10.0.0.999"]\n',
            ":2: networks.moving.endpoints.app.addresses:",
        ),
        ("\0\0\0", ""),
        ("a = " + "[" * 50_000, ""),
        ("x = 1\n" * 3, ""),
    ],
    ids=["no TOML", "no address", "zeros", "nested", "twice"],
)
def test_whatever_a_bad_file_is_the_last_good_one_stays(serve: Serve, bad: str, place: str) -> None:
    live = serve(registry={"a.toml": registry("10.0.0.9")})
    rewrite(live.registry / "a.toml", bad)
    until(lambda: f"{live.registry / 'a.toml'}{place}" in live.stderr)
    assert live.addresses("app.") == {"10.0.0.9"}
    assert live.count("pydns_faults") >= 1
    rewrite(live.registry / "a.toml", registry("10.0.0.5"))
    until(lambda: live.addresses("app.") == {"10.0.0.5"})
    assert is_clean(live.stderr), live.stderr


@pytest.mark.parametrize(
    "bad", ["[" * 200_000, "{", '{"Name": 3}', "null"], ids=["nested", "cut", "no network", "null"]
)
def test_whatever_bad_json_is_the_last_good_one_stays(serve: Serve, bad: str) -> None:
    live = serve(registry={"a.json": inspected("10.0.0.9")})
    rewrite(live.registry / "a.json", bad)
    until(lambda: live.page("/healthz").json["status"] == "degraded")
    assert live.addresses("app.") == {"10.0.0.9"}
    rewrite(live.registry / "a.json", inspected("10.0.0.5"))
    until(lambda: live.addresses("app.") == {"10.0.0.5"})
    assert is_clean(live.stderr), live.stderr


def test_a_bad_zone_file_keeps_what_it_last_said(serve: Serve) -> None:
    live = serve(zones={"static.zone": zone("10.0.0.9")})
    rewrite(live.zones / "static.zone", zone("10.0.0.9") + "broken A nonsense\n")
    until(lambda: f"{live.zones / 'static.zone'}:7:" in live.stderr)
    assert live.addresses("app.static.example.") == {"10.0.0.9"}
    assert live.page("/healthz").json["status"] == "degraded"
    assert live.count("pydns_reload_failures_total", input="zones") == 1
    rewrite(live.zones / "static.zone", zone("10.0.0.5"))
    until(lambda: live.addresses("app.static.example.") == {"10.0.0.5"})
    until(lambda: live.page("/healthz").json["status"] == "ok")


def test_a_named_file_that_vanishes_serves_on_and_comes_back(serve: Serve, tmp_path: Path) -> None:
    named = tmp_path / "named.toml"
    named.write_text(registry("10.0.0.9"))
    live = serve(settings={"registry": {"files": [str(named)]}})
    named.unlink()
    until(lambda: live.page("/healthz").json["status"] == "degraded")
    assert live.addresses("app.") == {"10.0.0.9"}
    named.write_text(registry("10.0.0.5"))
    until(lambda: live.addresses("app.") == {"10.0.0.5"})


@pytest.mark.parametrize("write", [rewrite, replace], ids=["in place", "rename over"])
def test_a_storm_of_rewrites_ends_with_the_last_and_loses_no_query(serve: Serve, write: Write) -> None:
    """200 rewrites without a pause; a client that never stops asking always gets an address, the newest at the end."""
    live = serve(registry={"a.toml": registry("10.0.0.0")})
    stop = threading.Event()

    def ask_on() -> int:
        times = 0
        query = ask("app.")
        while not stop.is_set():
            assert answers(dns.message.from_wire(udp_bytes(live.at, query, within_s=2)))
            times += 1
        return times

    with ThreadPoolExecutor(2) as threads:
        asking = [threads.submit(ask_on) for _ in range(2)]
        for number in range(1, 201):
            write(live.registry / "a.toml", registry(f"10.0.0.{number}"))
        written_at = time.monotonic()
        until(lambda: live.addresses("app.") == {"10.0.0.200"}, every_s=0.002)
        assert time.monotonic() - written_at < 4 * SERVED_WITHIN_S
        stop.set()
        assert min(asked.result() for asked in asking) > 10
    assert is_clean(live.stderr), live.stderr


def test_other_files_in_the_folder_change_nothing(serve: Serve) -> None:
    live = serve(registry={"a.toml": registry("10.0.0.9")})
    until(lambda: live.count("pydns_reload_successes_total", input="registry") >= 1)
    before = live.count("pydns_reload_successes_total", input="registry")
    for name in ("notes.txt", ".a.toml.swp", "a.toml~", "4913"):
        (live.registry / name).write_text("not for us [")
    rewrite(live.registry / "b.toml", registry("10.0.0.5", "last"))
    until(lambda: live.addresses("last.") == {"10.0.0.5"})
    assert live.count("pydns_reload_successes_total", input="registry") == before + 1
    assert live.count("pydns_faults") == 0


def test_a_large_registry_is_read_without_holding_up_answers(serve: Serve) -> None:
    """5,000 endpoints; while they are read anew, every query is answered quickly."""
    lines = [f'[networks.big.endpoints.c{n}]\naddresses = ["10.{n // 250}.{n % 250}.1"]\n' for n in range(5000)]
    live = serve(registry={"a.toml": "".join(lines), "b.toml": registry("10.200.0.9")})
    slowest_s = 0.0
    for number in range(2):
        rewrite(live.registry / "a.toml", "".join(lines) + registry("10.99.0.1", f"new{number}", "big"))
        deadline = time.monotonic() + 10
        while not live.addresses(f"new{number}."):
            began = time.monotonic()
            assert live.addresses("app.") == {"10.200.0.9"}
            slowest_s = max(slowest_s, time.monotonic() - began)
            assert time.monotonic() < deadline
    assert slowest_s < 0.25


def test_a_folder_of_many_files_is_watched_at_a_modest_price(serve: Serve) -> None:
    """300 files: no thread, and no inotify instance, for each of them."""
    live = serve(registry={f"n{n}.toml": registry(f"10.1.{n // 250}.{n % 250}", f"e{n}") for n in range(300)})
    each_is_served_in_time(live, lambda address: rewrite(live.registry / "n299.toml", registry(address)))
    assert len(list(Path(f"/proc/{live.process.pid}/task").iterdir())) < 20
    descriptors = Path(f"/proc/{live.process.pid}/fd")
    instances = [fd for fd in descriptors.iterdir() if os.readlink(fd) == "anon_inode:inotify"]
    assert len(instances) <= 2


def test_an_empty_file_is_believed_when_it_stays_empty(serve: Serve) -> None:
    """An empty file may be one that is about to be filled; one that stays so means what it says."""
    live = serve(registry={"a.toml": registry("10.0.0.9")})
    each_is_served_in_time(live, lambda address: rewrite(live.registry / "a.toml", registry(address)))
    rewrite(live.registry / "a.toml", "")
    assert live.addresses("app.") != set()
    until(lambda: live.addresses("app.") == set(), within_s=2)
