"""The host's own name service as an upstream: a real C library, hosts file, search list and DNS server."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from resolver.forward.system import THREADS, WAITING
from tests.netns.nameservice import RESOLV_CONF, SERVER, Host
from tests.netns.world import DigReply, wait_until
from tests.scenarios.live import PYDNS, REGISTRY, Live

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

LISTEN = "127.0.0.1:5300"
LOOK_UP_WITHIN_S = 4.5
NOISE_S = 3.0
"""How much later an answer may come on a machine with other work to do."""
STOP_WITHIN_S = 2.0
_SILENT = """
import socket, sys, time
sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(int(sys.argv[1]))]
for number, one in enumerate(sockets):
    one.bind((f"127.0.0.{97 + number}", 53))
print("bound", end="", flush=True)
time.sleep(600)
"""
"""Servers that take every query and answer none."""
OTHER_THREADS = 12
"""How many threads pydns may have that are none of the name service's."""


class Served:
    """A `pydns serve` on a host of the test's own."""

    def __init__(self, host: Host, live: Live) -> None:
        self.host = host
        self.live = live

    def dig(self, *arguments: str) -> DigReply:
        """Ask pydns."""
        address, _, port = self.live.tables["server"]["listen"][0].rpartition(":")  # type: ignore[index]
        return self.host.dig(f"@{address}", "-p", port, "+tries=1", "+time=9", *arguments)

    def pydns(self, *arguments: str) -> str:
        """What another pydns command says on that host."""
        done = self.host.run(*PYDNS, *arguments, "-c", self.live.config, check=False)
        return done.stdout + done.stderr

    @property
    def threads(self) -> int:
        """How many threads the server has."""
        return len(list(Path(f"/proc/{self.live.process.pid}/task").iterdir()))


@contextmanager
def serving(host: Host, upstreams: list[str] | None = None, **options: Any) -> Iterator[Served]:
    options.setdefault("listen", [LISTEN])
    settings = {"metrics": {"listen": "127.0.0.1:9153"}, **options.pop("settings", {})}
    settings["forward"] = {"resolv_conf": "/etc/resolv.conf", **settings.get("forward", {})}
    live = Live(
        host.folder / "serve",
        upstreams=["system"] if upstreams is None else upstreams,
        settings=settings,
        prefix=host.prefix,
        **options,
    )
    with live:
        yield Served(host, live)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with Host(tmp_path) as made:
        yield made


def test_what_the_host_resolves_is_resolved(host: Host) -> None:
    with serving(host) as served:
        of_dns = served.dig("real.example")
        assert (of_dns.status, of_dns.rdata) == ("NOERROR", ["192.0.2.1"])
        assert "ra" in of_dns.flags
        assert served.dig("only4.hosts.example").rdata == ["192.0.2.7"]
        assert served.dig("only6.hosts.example", "AAAA").rdata == ["2001:db8::8"]
        assert served.dig("under_score.hosts.example").rdata == ["192.0.2.9"]
        assert served.dig("+tcp", "only4.hosts.example").rdata == ["192.0.2.7"]
        assert served.dig("-x", "192.0.2.7").rdata == ["only4.hosts.example."]
        assert served.dig("-x", "2001:db8::8").rdata == ["only6.hosts.example."]
        assert served.dig("-x", "192.0.2.1").rdata == ["real.example."]
        assert served.dig("db").rdata == ["172.18.0.2"]
        assert "system " in served.pydns("upstreams")
        told = json.loads(served.pydns("explain", "real.example", "--json"))
        assert told["upstreams"] == ["system"]


@pytest.mark.parametrize(
    ("name", "rtype", "status"),
    [
        ("only4.hosts.example", "AAAA", "NOERROR"),
        ("only6.hosts.example", "A", "NOERROR"),
        ("real.example", "AAAA", "NOERROR"),
        ("nobody.example", "A", "NXDOMAIN"),
        ("200.2.0.192.in-addr.arpa", "PTR", "NXDOMAIN"),
        ("12.2.0.192.in-addr.arpa", "PTR", "NXDOMAIN"),
        ("override.example", "AAAA", "NOERROR"),
        ("1.2.3.4", "A", "NXDOMAIN"),
        ("0x7f.1", "A", "NXDOMAIN"),
    ],
)
def test_there_is_nothing_in_the_words_of_dns(host: Host, name: str, rtype: str, status: str) -> None:
    with serving(host) as served:
        reply = served.dig(name, rtype)
        assert (reply.status, reply.answer) == (status, ())


def test_no_domain_of_the_hosts_search_list_is_appended(host: Host) -> None:
    """The C library would, and find foo.example.search.example."""
    script = "import socket; print(socket.getaddrinfo('foo.example', None, socket.AF_INET)[0][4][0])"
    assert host.run("python3", "-c", script).stdout.strip() == "192.0.2.99"
    before = len(host.asked())
    with serving(host) as served:
        reply = served.dig("foo.example")
        assert (reply.status, reply.answer) == ("NXDOMAIN", ())
        assert served.dig("foo.example.search.example").rdata == ["192.0.2.99"]
    names = ("foo.example", "foo.example.search.example")
    assert host.asked()[before:] == [(rtype, name) for name in names for rtype in ("A", "AAAA")]


def test_a_line_of_the_hosts_file_stands_in_the_place_of_dns_as_a_whole(host: Host) -> None:
    """As on the host itself; so it does not matter to it either whether DNS is there."""
    with serving(host) as served:
        host.silence()
        for rtype, rdata in (("A", ["192.0.2.10"]), ("AAAA", [])):
            reply = served.dig("override.example", rtype)
            assert (reply.status, reply.rdata) == ("NOERROR", rdata)
    assert not [name for _, name in host.asked() if name == "override.example"]


def test_a_and_aaaa_of_a_name_are_one_look_up(host: Host) -> None:
    with serving(host) as served:
        before = len(host.asked())
        reply = served.dig("real.example", "A", "real.example", "AAAA")
        assert reply.rdata == ["192.0.2.1"]
    assert sorted(host.asked()[before:]) == [("A", "real.example"), ("AAAA", "real.example")]


@pytest.mark.parametrize("rtype", ["MX", "HTTPS", "TXT"])
def test_a_name_that_only_the_hosts_file_has_is_denied_for_no_type(host: Host, rtype: str) -> None:
    with serving(host) as served:
        reply = served.dig("only4.hosts.example", rtype)
        assert (reply.status, reply.answer) == ("NOERROR", ())
        assert served.dig("nobody.example", rtype).status == "NXDOMAIN"
        assert served.dig("only4.hosts.example").rdata == ["192.0.2.7"]


def test_names_of_multicast_dns_are_no_matter_of_dns_whatever_the_type(host: Host) -> None:
    other = host.server("127.0.0.3")
    with serving(host, ["system", "127.0.0.3"]) as served:
        for rtype in ("A", "AAAA", "TXT", "HTTPS"):
            reply = served.dig("printer.local", rtype)
            assert (reply.status, reply.rdata) == ("NOERROR", ["192.0.2.11"] if rtype == "A" else [])
        assert served.dig(r"a\032b._ipp._tcp.local", "SRV").status == "NXDOMAIN"
        assert served.dig("nobody.local", "TXT").status == "NXDOMAIN"
        told = json.loads(served.pydns("explain", "printer.local", "TXT", "--json"))
        assert told["upstreams"] == ["system"]
        assert "asked only whether there is such a name" in told["because"]
    assert not [(rtype, name) for rtype, name in host.asked(other) if name.endswith(".local")]
    # What the C library makes of a name that no module knows is nsswitch.conf's to say: here DNS is asked for it.
    asked = {(rtype, name) for rtype, name in host.asked() if name.endswith(".local")}
    assert asked == {("A", "nobody.local"), ("AAAA", "nobody.local")}


def test_what_getaddrinfo_cannot_be_asked_goes_to_the_servers_of_resolv_conf(host: Host) -> None:
    with serving(host) as served:
        assert served.dig("real.example", "MX").rdata == ["10 mail.example."]
        assert served.dig("a+b.example", "TXT").rdata == ['"no host name"']
        assert served.dig("a+b.example", "A").status == "NOERROR"
        assert served.dig(r"a\000b.example").status == "NXDOMAIN"
        assert ("A", "a+b.example") in host.asked()
        told = json.loads(served.pydns("explain", "real.example", "MX", "--json"))
        assert told["upstreams"] == [f"{SERVER}:53", "system"]
        assert "(system) is asked only whether there is such a name" in told["because"]
        told = json.loads(served.pydns("explain", r"a+b.example", "TXT", "--json"))
        assert told["upstreams"] == [f"{SERVER}:53"]
        assert "(system) is of no use" in told["because"]


def test_or_to_the_other_upstreams_of_the_list(host: Host) -> None:
    other = host.server("127.0.0.3", "--mx-host=real.example,other.example,5")
    with serving(host, ["system", "127.0.0.3"]) as served:
        assert served.dig("real.example", "MX").rdata == ["5 other.example."]
        assert served.dig("only4.hosts.example").rdata == ["192.0.2.7"]
    assert ("A", "only4.hosts.example") not in host.asked(other)


def test_or_fails_and_says_why_when_there_is_nobody(host: Host) -> None:
    (host.folder / "empty.conf").write_text("# nobody\n")
    with serving(host, settings={"forward": {"resolv_conf": str(host.folder / "empty.conf")}}) as served:
        reply = served.dig("real.example", "MX")
        assert reply.status == "SERVFAIL"
        assert "cannot be asked for MX" in reply.ede
        assert served.dig("real.example").rdata == ["192.0.2.1"]


def test_a_route_may_lead_to_the_name_service(host: Host) -> None:
    other = host.server("127.0.0.3", "--host-record=else.example,192.0.2.77")
    with serving(host, ["127.0.0.3"]) as served:
        with served.live.config.open("a") as config:
            config.write('[[forward.routes]]\nsuffix = "hosts.example"\nupstreams = ["system"]\n')
        served.live.send(signal.SIGHUP)
        wait_until(lambda: served.dig("only4.hosts.example").rdata == ["192.0.2.7"], 10, "the route")
        assert served.dig("else.example").rdata == ["192.0.2.77"]
        assert served.dig("real.example").status == "NXDOMAIN"
        assert served.dig("foo.hosts.example").status == "NXDOMAIN"  # no search list, although it came later
        assert served.dig("x.hosts.example", "TXT").status == "NXDOMAIN"
    assert ("TXT", "x.hosts.example") in host.asked()
    assert ("TXT", "x.hosts.example") not in host.asked(other)


def test_another_server_in_resolv_conf_is_asked_without_a_restart(host: Host) -> None:
    host.server("127.0.0.3", "--host-record=real.example,192.0.2.2")
    with serving(host, settings={"cache": {"size": 0}}) as served:
        assert served.dig("real.example").rdata == ["192.0.2.1"]
        (host.etc / "resolv.conf").write_text("nameserver 127.0.0.3\n# other\n")
        wait_until(lambda: served.dig("real.example").rdata == ["192.0.2.2"], 10, "the new server")


def test_a_name_server_that_hangs_holds_nothing_up_but_what_it_is_asked(host: Host) -> None:
    """One client asks for more than there are threads; the others hardly notice, and every thread is back in time."""
    (host.etc / "resolv.conf").write_text(f"nameserver {SERVER}\noptions timeout:30 attempts:5\n")
    with serving(host) as served:
        host.silence()
        began = time.monotonic()
        reply = served.dig("slow.example")
        assert reply.status == "SERVFAIL"
        assert time.monotonic() - began < LOOK_UP_WITHIN_S + NOISE_S

        # dig gives up on them, and so does pydns; their threads cannot.
        names = [f"n{number}.slow.example" for number in range(THREADS + 20)]
        with ThreadPoolExecutor(THREADS + 20) as pool:
            asked = [pool.submit(served.dig, "-b", "127.0.0.9", name) for name in names]
            wait_until(lambda: served.threads > THREADS / 2, 20, "threads that hang")
            began = time.monotonic()
            for number in range(20):
                source = f"127.0.0.{20 + number}"
                assert served.dig("-b", source, "db").rdata == ["172.18.0.2"]
                assert served.dig("-b", source, ("only4", "under_score")[number % 2] + ".hosts.example").rdata
            assert time.monotonic() - began < 40 * 0.05 + NOISE_S
            for one in asked:
                one.result()
        assert THREADS / 2 < served.threads <= THREADS + OTHER_THREADS
        assert served.live.stopped_within() < STOP_WITHIN_S + NOISE_S
        assert served.live.process.returncode == 0


@pytest.mark.parametrize("servers", [1, 2, 3])
def test_no_options_of_resolv_conf_keep_a_thread_for_long(host: Host, servers: int) -> None:
    lines = [f"nameserver 127.0.0.{97 + number}\n" for number in range(servers)]
    (host.etc / "resolv.conf").write_text("".join(lines) + "options timeout:30 attempts:5 rotate\n")
    silent = host.start(sys.executable, "-c", _SILENT, str(servers))
    wait_until(lambda: silent.stdout_text() == "bound", 10, "the silent servers")
    with serving(host, settings={"cache": {"size": 0}}) as served:
        began = time.monotonic()
        asked = [
            host.start("dig", f"@{LISTEN[:-5]}", "-p", LISTEN[-4:], "+tries=1", f"n{n}.example") for n in range(20)
        ]
        wait_until(lambda: served.threads > 10, 10, "threads that wait")
        (host.etc / "resolv.conf").write_text(RESOLV_CONF)
        wait_until(lambda: served.dig("real.example").rdata == ["192.0.2.1"], 20, "an answer of the new server")
        assert time.monotonic() - began < 2 * servers + LOOK_UP_WITHIN_S + NOISE_S
        for one in asked:
            one.end()


def test_too_many_at_once_are_turned_away_and_held_against_nobody(host: Host) -> None:
    with serving(host) as served:
        host.silence()
        (host.folder / "many").write_text("".join(f"n{number}.slow.example A\n" for number in range(700)))
        flood = host.start(
            *("dnsperf", "-s", LISTEN[:-5], "-p", LISTEN[-4:], "-d", str(host.folder / "many")),
            *("-n", "1", "-q", "700", "-c", "1", "-t", "6"),
        )
        assert flood.wait(30) == 0
        told = json.loads(served.pydns("upstreams", "--json"))
        (counted,) = (one for one in told["upstreams"] if one["address"] == "system")
        # One client has half of the threads and half of the queue; what is turned away is not tried again.
        assert counted["not_asked"] >= 512 - THREADS - WAITING // 2
        assert counted["not_asked"] + counted["requests"] <= 700 + 8
        assert "busy" not in counted["failures"]
        assert "not asked" in served.pydns("upstreams")


@pytest.mark.parametrize("detects", [False, True], ids=["on its own", "with loop detection"])
def test_a_resolv_conf_that_leads_back_to_us_costs_its_look_ups_and_no_more(host: Host, detects: bool) -> None:
    """Without loop detection the question that comes back joins the one under way, and both end with its time."""
    (host.etc / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:2\n")
    with serving(host, listen=["127.0.0.1:53"], settings={"forward": {"loop_detection": detects}}) as served:
        assert "nameserver 127.0.0.1 is this server itself" in served.live.stderr
        assert "forward.resolv_conf" in served.live.stderr
        assert "nameserver 127.0.0.1 is this server itself" in served.pydns("check")
        before = served.threads
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(served.dig, f"n{number}.example") for number in range(8)]
            began = time.monotonic()
            for _ in range(20):
                assert served.dig("db").rdata == ["172.18.0.2"]
            assert time.monotonic() - began < 20 * 0.05 + NOISE_S
            for one in asked:
                assert one.result().status == "SERVFAIL"
        assert served.threads <= before + 2 * 8 + 2  # A and AAAA of each, and what searches for loops
        (host.etc / "resolv.conf").write_text(RESOLV_CONF)
        wait_until(lambda: served.dig("real.example").rdata == ["192.0.2.1"], 90, "the way out of the loop")
        assert served.live.stopped_within() < STOP_WITHIN_S + NOISE_S


def test_a_sidecar_in_the_container_itself_leaves_it_out(host: Host) -> None:
    """There the C library would ask the resolv.conf that names the sidecar."""
    registry = host.folder / "networks.toml"
    registry.write_text(REGISTRY)
    options = ["--netns", "self", "--network", "mynet", "--registry", str(registry), "--upstream", "system"]
    sidecar = host.start(*PYDNS, "sidecar", *options, "--metrics", "off")
    wait_until(lambda: "ready" in sidecar.stderr_text() or sidecar.poll() is not None, 20, "the sidecar")
    assert "the upstream system is left out" in sidecar.stderr_text()
    assert host.dig("@127.0.0.11", "db").rdata == ["172.18.0.2"]
    assert host.dig("@127.0.0.11", "+tries=1", "real.example").rdata == ["192.0.2.1"]


def test_a_sidecar_of_another_container_asks_the_host(host: Host) -> None:
    """Although that container has no way out of its own."""
    registry = host.folder / "networks.toml"
    registry.write_text(REGISTRY)
    is_up = host.folder / "up"
    script = 'ip link set lo up && touch "$0" && exec sleep infinity'
    container = host.start("unshare", "-n", "sh", "-c", script, str(is_up))
    inside = ("nsenter", "-t", str(container.pid), "-n")
    wait_until(is_up.exists, 10, "the container")
    options = ["--netns", str(container.pid), "--network", "mynet", "--registry", str(registry), "--no-resolv-conf"]
    sidecar = host.start(*PYDNS, "sidecar", *options, "--upstream", "system", "--metrics", "off")
    wait_until(lambda: "ready" in sidecar.stderr_text() or sidecar.poll() is not None, 20, "the sidecar")
    for name, address in (("db", "172.18.0.2"), ("real.example", "192.0.2.1"), ("only4.hosts.example", "192.0.2.7")):
        told = host.run(*inside, "dig", "+short", "+tries=1", "@127.0.0.11", name, check=False).stdout
        assert told == f"{address}\n", sidecar.stderr_text()
    assert sidecar.stop() == 0


def test_check_says_what_the_name_service_needs(host: Host) -> None:
    with serving(host) as served:
        told = served.pydns("check")
        assert "all in order" in told
        assert "resolv.conf" not in told
        (host.etc / "resolv.conf").write_text("# nobody\n")
        assert "MX" in served.pydns("check")
        assert "Traceback" not in served.live.stderr
