"""SIGHUP reads everything anew, SIGTERM and SIGINT end a server that owes nobody an answer."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dns.message
import pytest

from tests.scenarios.conftest import Serve
from tests.scenarios.live import (
    REGISTRY,
    At,
    Live,
    Stream,
    answers,
    ask,
    is_clean,
    over_udp,
    reason,
    replace,
    udp_bytes,
    until,
)
from tests.scenarios.upstream import SILENCE, Say, Upstream

ENDED_WITHIN_S = 2.0
NEW_SERVER = "nameserver 127.0.0.99\noptions timeout:1 attempts:1\n"
ENDINGS = [signal.SIGTERM, signal.SIGINT]
LATE = Say(("{name} 60 IN A 192.0.2.1",), after_s=0.7)


def ended(live: Live, number: signal.Signals) -> None:
    """Send a signal: exit 0 within 2 s, nothing ugly in the log."""
    assert live.stopped_within(number) < ENDED_WITHIN_S
    assert live.process.returncode == 0
    assert is_clean(live.stderr), live.stderr


@pytest.mark.parametrize("number", ENDINGS)
def test_an_idle_server_ends_at_once(serve: Serve, number: signal.Signals) -> None:
    live = serve(listen=("127.0.0.1:0", "[::1]:0"))
    with live.tcp() as stream:
        assert answers(stream.ask("db.")) == ["172.18.0.2"]
        ended(live, number)
        assert stream.receive_bytes() == b""


@pytest.mark.parametrize("number", ENDINGS)
def test_queries_in_flight_are_answered_before_the_end(serve: Serve, number: signal.Signals) -> None:
    """UDP and TCP; the upstream takes 0.7 s, the signal comes while it thinks."""
    with Upstream(LATE) as upstream:
        live = serve(upstreams=[str(upstream)])
        with live.tcp() as stream, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            sock.connect(live.at)
            sock.send(ask("udp.example.").to_wire())
            stream.send(ask("tcp.example."))
            until(lambda: len(upstream.distinct()) == 2)
            ended(live, number)
            assert answers(dns.message.from_wire(sock.recv(4096))) == ["192.0.2.1"]
            assert answers(stream.receive()) == ["192.0.2.1"]


@pytest.mark.parametrize("number", ENDINGS)
def test_a_silent_upstream_does_not_hold_up_the_end(serve: Serve, number: signal.Signals) -> None:
    """What could not be answered in time gets SERVFAIL that says why."""
    with Upstream(SILENCE) as upstream:
        live = serve(upstreams=[str(upstream)])
        with live.tcp() as stream, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            sock.connect(live.at)
            sock.send(ask("udp.example.", use_edns=0).to_wire())
            stream.send(ask("tcp.example.", use_edns=0))
            until(lambda: len(upstream.distinct()) == 2)
            ended(live, number)
            for reply in (dns.message.from_wire(sock.recv(4096)), stream.receive()):
                assert reply.rcode().name == "SERVFAIL"
                assert "stopping" in reason(reply)


def test_the_end_comes_in_time_with_a_scrape_and_many_files_under_way(serve: Serve) -> None:
    """Everything that has threads or timers is busy."""
    files = {f"n{n}.toml": f'[networks.n{n}.endpoints.e]\naddresses = ["10.1.0.{n}"]\n' for n in range(80)}
    with Upstream(SILENCE) as upstream:
        live = serve(registry=files, upstreams=[str(upstream)])
        until(lambda: live.page("/readyz").status == 200)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, Stream(at_of(live.http)) as half_a_request:
            half_a_request.sock.sendall(b"GET /metrics HTT")
            sock.sendto(ask("far.example.").to_wire(), live.at)
            until(lambda: upstream.asked)
            (live.registry / "n1.toml").write_text("")
            ended(live, signal.SIGTERM)


def test_the_end_does_not_wait_for_a_large_registry_that_is_being_read(serve: Serve) -> None:
    """40,000 endpoints take seconds to read; the signal comes while they are."""
    live = serve()
    lines = [
        f'[networks.big.endpoints.c{n}]\naddresses = ["10.{n >> 16}.{n >> 8 & 255}.{n & 255}"]\n' for n in range(40000)
    ]
    replace(live.registry / "big.toml", "".join(lines))
    busy = cpu_seconds(live)
    until(lambda: cpu_seconds(live) > busy + 0.3)
    ended(live, signal.SIGTERM)


def cpu_seconds(live: Live) -> float:
    """Processor time that the server has used."""
    fields = Path(f"/proc/{live.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def at_of(url: str) -> At:
    """Host and port of a URL."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    return At(host, int(port))


def test_impatience_changes_nothing(serve: Serve) -> None:
    """The signals once more while it is ending."""
    with Upstream(LATE) as upstream:
        live = serve(upstreams=[str(upstream)])
        with live.tcp() as stream:
            stream.send(ask("tcp.example."))
            until(lambda: upstream.asked)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                live.send(number)
            ended(live, signal.SIGTERM)
            assert answers(stream.receive()) == ["192.0.2.1"]


def test_hangups_in_a_row_kill_nothing(serve: Serve) -> None:
    """Not the first one either, right behind the ready line."""
    live = serve()
    for _ in range(5):
        live.send(signal.SIGHUP)
    assert answers(live.udp("db.")) == ["172.18.0.2"]
    ended(live, signal.SIGTERM)


def test_a_hangup_takes_over_ttl_upstream_and_files(serve: Serve) -> None:
    with Upstream(Say(("{name} 60 IN A 192.0.2.1",))) as first, Upstream(Say(("{name} 60 IN A 192.0.2.2",))) as second:
        live = serve(upstreams=[str(first)])
        assert live.udp("db.").answer[0].ttl == 600
        assert answers(live.udp("one.example.")) == ["192.0.2.1"]
        more = live.folder / "more.toml"
        more.write_text('[networks.extra.endpoints.new]\naddresses = ["10.9.9.9"]\n')
        live.tables["answers"] = {"ttl": 77, "negative_ttl": 5}
        live.tables["forward"]["upstreams"] = [str(second)]
        live.tables["registry"]["files"] = [str(live.registry), str(more)]
        live.write_config()
        live.send(signal.SIGHUP)
        until(lambda: live.addresses("new.") == {"10.9.9.9"})
        assert live.udp("db.").answer[0].ttl == 77
        assert answers(live.udp("two.example.")) == ["192.0.2.2"]
        assert live.udp("db.", "TXT").authority[0].ttl == 5
        assert live.count("pydns_reload_successes_total", input="config") == 2


Change = Callable[[Path, Path], None]


def rewrite(resolv_conf: Path, _: Path) -> None:
    resolv_conf.write_text(NEW_SERVER)


def rename_over(resolv_conf: Path, folder: Path) -> None:
    (folder / "new").write_text(NEW_SERVER)
    (folder / "new").rename(resolv_conf)


def swap_the_link(resolv_conf: Path, folder: Path) -> None:
    (folder / "other").mkdir()
    (folder / "other/stub.conf").write_text(NEW_SERVER)
    (folder / "link").symlink_to(folder / "other/stub.conf")
    (folder / "link").rename(resolv_conf)


def rewrite_behind_the_link(resolv_conf: Path, _: Path) -> None:
    resolv_conf.resolve().write_text(NEW_SERVER)


def rename_behind_the_link(resolv_conf: Path, folder: Path) -> None:
    rename_over(resolv_conf.resolve(), folder)


def remove_and_make_anew(resolv_conf: Path, _: Path) -> None:
    resolv_conf.unlink()
    time.sleep(0.3)  # what happens while it is missing is what is to be seen
    resolv_conf.write_text(NEW_SERVER)


@pytest.mark.parametrize(
    ("is_link", "change"),
    [
        (False, rewrite),
        (False, rename_over),
        (False, swap_the_link),
        (False, remove_and_make_anew),
        (True, rewrite_behind_the_link),
        (True, rename_behind_the_link),
        (True, swap_the_link),
        (True, rename_over),
    ],
)
def test_resolv_conf_is_followed(serve: Serve, tmp_path: Path, is_link: bool, change: Change) -> None:
    """Its servers are at port 53, which is not ours to take: it is seen in what would be asked."""
    work = tmp_path / "work"
    work.mkdir()
    live = serve()

    def asked() -> str:
        return live.page("/explain?name=a.example&type=A").text

    if is_link:
        (work / "run").mkdir()
        (work / "run/resolv.conf").write_text("nameserver 127.0.0.98\n")
        (work / "link").symlink_to(work / "run/resolv.conf")
        (work / "link").rename(live.resolv_conf)
    else:
        live.resolv_conf.write_text("nameserver 127.0.0.98\n")
    until(lambda: "127.0.0.98:53" in asked())
    change(live.resolv_conf, work)
    until(lambda: "127.0.0.99:53" in asked())
    assert "127.0.0.98" not in asked()


def test_an_empty_resolv_conf_takes_no_server_away(serve: Serve) -> None:
    live = serve()
    live.resolv_conf.write_text("nameserver 127.0.0.98\n")
    until(lambda: "127.0.0.98:53" in live.page("/explain?name=a.example&type=A").text)

    live.resolv_conf.write_text("# between two networks\n")
    until(lambda: live.count("pydns_reload_failures_total", input="resolv_conf") == 1)
    assert "127.0.0.98:53" in live.page("/explain?name=a.example&type=A").text
    assert "names no server any more (write nameserver ADDRESS; 127.0.0.98 are asked on)" in live.stderr


def test_a_hangup_adds_and_removes_listeners_and_keeps_connections(serve: Serve) -> None:
    """A connection on a listener that stays is not so much as touched."""
    live = serve(listen=("127.0.0.1:0", "127.0.0.2:0"))
    kept, leaving = live.listening
    with Stream(kept) as stream:
        assert answers(stream.ask("db.")) == ["172.18.0.2"]
        with socket.create_server(("127.0.0.3", 0)) as free:
            added = At("127.0.0.3", free.getsockname()[1])
        live.tables["server"]["listen"] = ["127.0.0.1:0", f"{added.host}:{added.port}"]
        live.write_config()
        live.send(signal.SIGHUP)
        until(lambda: answered(added))
        until(lambda: not answered(leaving))
        with pytest.raises(ConnectionRefusedError):
            Stream(leaving)
        assert answers(stream.ask("db.")) == ["172.18.0.2"]
        assert answers(over_udp(kept, ask("db."))) == ["172.18.0.2"]


def answered(at: At) -> bool:
    """Whether a listener answers."""
    try:
        return answers(over_udp(at, ask("db."), within_s=1)) == ["172.18.0.2"]
    except OSError:
        return False


def test_a_look_up_under_way_survives_the_removal_of_its_listener(serve: Serve) -> None:
    """Whoever has asked is answered, from the address that was asked."""
    with Upstream(LATE) as upstream:
        live = serve(listen=("127.0.0.1:0", "127.0.0.2:0"), upstreams=[str(upstream)])
        with ThreadPoolExecutor(1) as threads:
            asked = threads.submit(over_udp, live.listening[1], ask("far.example."), within_s=5)
            until(lambda: upstream.asked)
            live.tables["server"]["listen"] = ["127.0.0.1:0"]
            live.write_config()
            live.hang_up()
            assert answers(asked.result()) == ["192.0.2.1"]


def test_a_bad_configuration_leaves_the_last_good_one(serve: Serve) -> None:
    """Named with file, line, key and fix; shown by health and metrics; healed by a good one."""
    live = serve()
    good = live.config.read_text()
    live.config.write_text(good + "[answers]\nttl = -3\n")
    live.hang_up()
    line = good.count("\n") + 2
    until(lambda: f"{live.config}:{line}: answers.ttl:" in live.stderr)
    assert answers(live.udp("db.")) == ["172.18.0.2"]
    assert live.udp("db.").answer[0].ttl == 600
    health = live.page("/healthz").json
    assert health["status"] == "degraded"
    assert "answers.ttl" in health["faults"][0]
    assert live.count("pydns_reload_failures_total", input="config") == 1
    assert live.count("pydns_faults") == 1
    live.config.write_text(good + "[answers]\nttl = 5\n")
    live.send(signal.SIGHUP)
    until(lambda: live.udp("db.").answer[0].ttl == 5)
    until(lambda: live.page("/healthz").json == {"status": "ok", "faults": []})


def test_a_listener_that_cannot_be_had_leaves_the_others(serve: Serve) -> None:
    live = serve()
    live.tables["server"]["listen"] = ["127.0.0.1:0", "192.0.2.77:53"]
    live.write_config()
    live.hang_up()
    until(lambda: "192.0.2.77" in live.stderr)
    assert answers(live.udp("db.")) == ["172.18.0.2"]
    assert is_clean(live.stderr), live.stderr


def test_a_hangup_changes_the_pinned_network_and_tcp_limits(serve: Serve) -> None:
    """Everything in the file counts, `server.networks` and `server.tcp_idle_s` too."""
    other = '[networks.other.endpoints.only]\naddresses = ["10.3.3.3"]\n'
    live = serve(registry=REGISTRY + other, settings={"server": {"networks": ["mynet"]}})
    assert live.addresses("only.") == set()
    live.tables["server"].update(networks=["other"], tcp_idle_s=0.3)
    live.write_config()
    live.send(signal.SIGHUP)
    until(lambda: live.addresses("only.") == {"10.3.3.3"})
    assert live.addresses("db.") == set()
    with live.tcp() as stream:
        assert stream.closed_after() < 2
    live.tables["server"]["networks"] = ["nonet"]
    live.write_config()
    live.hang_up()
    until(lambda: "'nonet'" in live.stderr)
    assert live.addresses("only.") == {"10.3.3.3"}


def test_no_query_fails_while_it_is_hung_up_on_again_and_again(serve: Serve) -> None:
    live = serve()
    stop = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(ask_until, live, stop)
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            live.send(signal.SIGHUP)
            time.sleep(0.01)
        stop.set()
        assert asked.result() > 100
    assert is_clean(live.stderr), live.stderr


def ask_until(live: Live, stop: threading.Event) -> int:
    """Ask without a pause; how often. Any lost or wrong answer is a failure."""
    times = 0
    query = ask("db.")
    while not stop.is_set():
        assert answers(dns.message.from_wire(udp_bytes(live.at, query, within_s=2))) == ["172.18.0.2"]
        times += 1
    return times
