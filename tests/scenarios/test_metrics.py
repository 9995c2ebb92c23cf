"""What an operator reads of a running server: the numbers add up, the page is well-formed, nothing grows with names."""

from __future__ import annotations

import random
import re
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.scenarios.conftest import Serve
from tests.scenarios.live import ROOT, At, Live, Stream, answers, ask, is_clean, over_udp, udp_bytes, until
from tests.scenarios.upstream import ADDRESS, Upstream

REQUESTS = "pydns_dns_requests_total"
RESPONSES = "pydns_dns_responses_total"
DURATION = "pydns_dns_request_duration_seconds_count"


@pytest.fixture
def live(serve: Serve) -> Iterator[Live]:
    with Upstream(ADDRESS) as upstream:
        yield serve(listen=("127.0.0.1:0", "[::1]:0"), upstreams=[str(upstream)])


def mixed_traffic(live: Live) -> None:
    """Something of everything."""
    for name, rtype in (("db.", "A"), ("absent.", "A"), ("db.", "MX"), ("host.docker.internal.", "A")):
        for _ in range(3):
            live.udp(name, rtype)
    live.udp("2.0.18.172.in-addr.arpa.", "PTR")
    live.udp("example.org.", "AAAA")
    with live.tcp() as stream:
        stream.ask("db.")
        stream.ask("example.org.")
    udp_bytes(live.at, ask("db.").to_wire()[:-2])


def test_every_answer_is_counted_once_with_its_labels(live: Live) -> None:
    """Ready replies too: what was sent is what requests, responses and the histogram say, on every transport."""
    sent = {
        ("udp", "1", "A"): 40,
        ("udp", "2", "A"): 30,
        ("tcp", "1", "A"): 20,
        ("tcp", "2", "A"): 10,
        ("udp", "1", "AAAA"): 7,
    }
    listeners = {"1": live.listening[0], "2": live.listening[1]}
    for (proto, family, rtype), times in sent.items():
        if proto == "udp":
            for _ in range(times):
                assert over_udp(listeners[family], ask("db.", rtype)).answer
        else:
            with Stream(listeners[family]) as stream:
                for _ in range(times):
                    assert stream.ask("db.", rtype).answer
    others = {"MX": 3, "TXT": 2, "other": 4}
    for rtype, times in others.items():
        for _ in range(times):
            live.udp("db.", "TYPE65300" if rtype == "other" else rtype)
    for _ in range(5):
        live.udp("absent.")
    for _ in range(6):
        udp_bytes(live.at, ask("db.").to_wire()[:-2])

    for (proto, family, rtype), times in sent.items():
        absent = 5 if (proto, family, rtype) == ("udp", "1", "A") else 0
        assert live.count(REQUESTS, proto=proto, family=family, type=rtype) == times + absent
    assert live.count(REQUESTS, type="MX") == 3
    assert live.count(REQUESTS, type="TXT") == 2
    assert live.count(REQUESTS, type="other") == 4 + 6
    total = sum(sent.values()) + sum(others.values()) + 5 + 6
    assert live.count(REQUESTS) == live.count(RESPONSES) == live.count(DURATION) == total
    assert live.count(RESPONSES, rcode="NOERROR", stage="registry") == total - 11
    assert live.count(RESPONSES, rcode="NXDOMAIN", stage="forward") == 5
    assert live.count(RESPONSES, rcode="FORMERR", stage="sanity") == 6
    assert live.count("pydns_dns_request_duration_seconds_bucket", le="+Inf") == total


def test_counts_outlive_a_reload(live: Live) -> None:
    """A change of a file makes new tables of ready replies; the hits of the old ones are not lost."""
    for _ in range(10):
        live.udp("db.")
    changed = live.registry / "networks.toml"
    changed.write_text(changed.read_text().replace("172.18.0.2", "172.18.0.22"))
    asked = 10

    def is_new() -> bool:
        nonlocal asked
        asked += 1
        return live.addresses("db.") == {"172.18.0.22"}

    until(is_new)
    assert live.count(REQUESTS) == live.count(RESPONSES) == live.count(DURATION) == asked


def test_silence_is_counted_as_dropped(live: Live) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for octets in (b"x", b"\0" * 11, b"\0\0\x80" + b"\0" * 20):
            sock.sendto(octets, live.at)
    until(lambda: live.count("pydns_dns_dropped_total") == 3)
    assert live.count(REQUESTS) == 0


def test_upstreams_are_counted_by_address(serve: Serve) -> None:
    with Upstream(ADDRESS) as good, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        dead = f"127.0.0.1:{nobody.getsockname()[1]}"
        nobody.close()
        live = serve(upstreams=[dead, str(good)])
        for number in range(5):
            assert answers(live.udp(f"name-{number}.example.")) == ["192.0.2.1"]
        assert live.count("pydns_forward_requests_total", to=dead) < 5, "it is down from the first on, but for probes"
        assert live.count("pydns_forward_failures_total", to=dead, reason="connection_refused") >= 1
        assert live.count("pydns_forward_requests_total", to=str(good)) >= 5, "one more for each that was slow"
        assert live.count("pydns_forward_request_duration_seconds_count", to=str(good)) == 5
        assert live.count("pydns_forward_failures_total", to=str(good)) == 0
        assert live.count("pydns_forward_in_flight") == 0


def test_promtool_has_nothing_to_say(live: Live) -> None:
    mixed_traffic(live)
    page = live.page("/metrics").text
    checked = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_the_page_and_its_documentation_name_the_same_metrics(live: Live) -> None:
    """What is for sidecars only is documented as such."""
    mixed_traffic(live)
    rows = re.findall(r"^\| `(pydns_\w+)` \|(.*)$", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)
    documented = {name for name, row in rows if "(sidecar)" not in row}
    shown = set(re.findall(r"^# TYPE (pydns_\w+) ", live.page("/metrics").text, re.MULTILINE))
    assert shown == documented


def test_the_documented_labels_are_the_ones_shown(live: Live) -> None:
    mixed_traffic(live)
    rows = re.findall(r"^\| `(pydns_\w+)` \|([^|]*)\|", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)
    documented = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    for name, labels in live.samples():
        if name.startswith("pydns_"):
            family = re.sub(r"_(bucket|count|sum)$", "", name)
            assert {label for label, _ in labels} - {"le"} == documented[family], name


def test_no_label_grows_with_names_types_or_clients(live: Live) -> None:
    mixed_traffic(live)
    live.udp("db.", "TYPE65300")
    live.udp("absent.example.", "TYPE65300")
    before = set(live.samples())
    chance = random.Random(7)
    for number in range(500):
        name = f"{chance.randbytes(6).hex()}.{chance.choice(['db', 'mynet', 'web', 'example', 'docker.internal'])}."
        source = f"127.{chance.randrange(1, 250)}.{chance.randrange(250)}.{chance.randrange(1, 250)}"
        rtype = f"TYPE{chance.randrange(300, 65000)}"
        over_udp(live.at, ask(name, rtype, id=number), source=source)
        for _ in range(2):  # the second one is a ready reply
            over_udp(live.at, ask("db.", rtype, id=number), source=source)
    after = set(live.samples())
    fresh = {sample for sample in after - before if not sample[0].startswith("process_")}
    allowed = {RESPONSES}  # an rcode at a stage that had not shown it yet
    assert {name for name, _ in fresh} <= allowed
    assert len(fresh) < 6


def test_health_readiness_and_unknown_pages(live: Live) -> None:
    assert (live.page("/healthz").status, live.page("/healthz").json) == (200, {"status": "ok", "faults": []})
    assert (live.page("/readyz").status, live.page("/readyz").json["status"]) == (200, "ready")
    missing = live.page("/nothing/here")
    assert missing.status == 404
    assert "/metrics" in missing.json["error"]
    assert {entry["name"] for entry in live.page("/networks").json["networks"]} == {"mynet"}
    assert live.page("/explain?name=db&type=A&from=172.18.0.3").json["stage"] == "registry"
    assert live.page("/explain?name=db&type=NONSENSE").status == 400


@pytest.mark.parametrize(
    "noise", [b"", b"\r\n\r\n", b"\xff" * 3000, b"GET /metrics HTTP/1.1\r\n", b"GET " + b"x" * 70000]
)
def test_nonsense_at_the_http_port_leaves_no_trace(live: Live, noise: bytes) -> None:
    """No traceback in the log, and the next request is answered."""
    host, _, port = live.http.removeprefix("http://").rpartition(":")
    for _ in range(3):
        with Stream(At(host, int(port))) as stream:
            stream.sock.sendall(noise)
            stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert live.page("/healthz").status == 200
    assert answers(live.udp("db.")) == ["172.18.0.2"]
    assert is_clean(live.stderr), live.stderr


def test_metrics_on_ipv6_say_where_they_are(serve: Serve) -> None:
    live = serve(settings={"metrics": {"listen": "[::1]:0"}})
    assert live.http.startswith("http://[::1]:")
    assert live.page("/readyz").status == 200


def test_metrics_can_be_off(serve: Serve) -> None:
    live = serve(settings={"metrics": {"listen": "off"}})
    assert "http" not in live.stderr
    assert answers(live.udp("db.")) == ["172.18.0.2"]
