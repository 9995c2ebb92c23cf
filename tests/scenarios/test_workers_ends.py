"""How workers end, and who follows them: crashes, signals, reloads, and addresses that somebody has."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.scenarios.conftest import Serve
from tests.scenarios.crew import end, everywhere, from_many_ports, is_there, no_more, settled, since, workers_of
from tests.scenarios.live import ANSWER_WITHIN_S, At, Live, answers, is_clean, over_udp, rewrite, until
from tests.scenarios.live import ask as question
from tests.scenarios.upstream import Say, Upstream

TWO = {"server": {"workers": 2}}
ENDED_WITHIN_S = 2.0
LATE = Say(("{name} 60 IN A 192.0.2.1",), after_s=0.7)


def test_one_that_dies_is_followed_by_another_and_its_queries_wait(serve: Serve) -> None:
    live = serve(settings=TWO)
    assert from_many_ports(live.at, "db.", 50) == [["172.18.0.2"]] * 50
    assert live.count("pydns_dns_requests_total") == 50
    first, second = workers_of(live)
    end(first)
    assert from_many_ports(live.at, "db.", 50) == [["172.18.0.2"]] * 50
    settled(live, 2)
    now = workers_of(live)
    assert second in now
    assert first not in now
    assert len(now) == 2
    assert live.count("pydns_worker_restarts_total") == 1
    assert live.count("pydns_dns_requests_total") == 100, "what it had counted was on the page before"
    assert live.stderr.count("was ended by SIGKILL") == 1
    assert live.page("/readyz").status == 200
    assert is_clean(live.stderr), live.stderr


def test_one_that_follows_knows_what_was_changed_before(serve: Serve) -> None:
    live = serve(settings=TWO)
    rewrite(live.registry / "more.hosts", "192.0.2.9 added.\n")
    everywhere(live, "added.", ["192.0.2.9"])
    for pid in workers_of(live):
        end(pid)
    until(lambda: live.count("pydns_worker_restarts_total") == 2)
    settled(live, 2)
    everywhere(live, "added.", ["192.0.2.9"])
    rewrite(live.registry / "more.hosts", "192.0.2.10 added.\n")
    everywhere(live, "added.", ["192.0.2.10"])
    assert is_clean(live.stderr), live.stderr


def test_one_that_dies_again_and_again_is_started_ever_later(serve: Serve) -> None:
    live = serve(settings=TWO)
    for deaths in range(1, 5):
        pid = max(workers_of(live))
        end(pid)
        until(lambda deaths=deaths: live.count("pydns_worker_restarts_total") == deaths)  # type: ignore[misc]
        settled(live, 2)
    pauses = [
        float(line.rpartition(" in ")[2].removesuffix(" s")) for line in live.stderr.splitlines() if "again" in line
    ]
    assert pauses == sorted(pauses)
    assert pauses[-1] > pauses[0]
    assert live.addresses("db.") == {"172.18.0.2"}


def test_a_worker_that_is_told_to_end_answers_first_and_is_replaced(serve: Serve) -> None:
    with Upstream(LATE) as upstream:
        live = serve(settings=TWO, upstreams=[str(upstream)])
        replies: list[list[str]] = []
        asking = [
            threading.Thread(
                target=lambda number=number: replies.append(
                    answers(over_udp(live.at, question(f"name-{number}.example.")))
                )
            )
            for number in range(8)
        ]
        for thread in asking:
            thread.start()
        until(lambda: len(upstream.distinct()) == 8)
        for pid in workers_of(live):
            os.kill(pid, signal.SIGTERM)
        for thread in asking:
            thread.join(ANSWER_WITHIN_S)
        assert replies == [["192.0.2.1"]] * 8
        until(lambda: live.count("pydns_worker_restarts_total") == 2)
        settled(live, 2)
        assert live.addresses("db.") == {"172.18.0.2"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_end_answers_what_is_in_flight_and_leaves_nothing(serve: Serve, number: signal.Signals) -> None:
    with Upstream(LATE) as upstream:
        live = serve(settings=TWO, upstreams=[str(upstream)])
        pids = workers_of(live)
        replies: list[list[str]] = []
        thread = threading.Thread(target=lambda: replies.append(answers(over_udp(live.at, question("late.example.")))))
        thread.start()
        until(lambda: bool(upstream.asked))
        assert live.stopped_within(number) < ENDED_WITHIN_S
        assert live.process.returncode == 0
        thread.join(ANSWER_WITHIN_S)
        assert replies == [["192.0.2.1"]]
        assert not any(map(is_there, pids))
        assert is_clean(live.stderr), live.stderr
        assert "started again" not in live.stderr


def test_a_signal_to_the_whole_group_is_the_end_of_all(serve: Serve) -> None:
    """As a terminal's Ctrl-C, and as systemd does."""
    live = serve(settings=TWO, prefix=("setsid",))
    pids = workers_of(live)
    os.killpg(os.getpgid(live.process.pid), signal.SIGINT)
    live.process.wait(10)
    assert live.process.returncode == 0
    assert not any(map(is_there, pids))
    assert "started again" not in live.stderr


def test_no_worker_outlives_a_feeder_that_is_killed(serve: Serve) -> None:
    live = serve(settings={"server": {"workers": 3}})
    pids = workers_of(live)
    at = live.at
    live.kill()
    no_more(pids)
    with socket.socket(at.family, socket.SOCK_DGRAM) as sock:
        sock.bind(at)


def test_one_that_hangs_is_seen_and_does_not_hold_up_the_end(serve: Serve) -> None:
    live = serve(settings=TWO)
    stuck = workers_of(live)[0]
    os.kill(stuck, signal.SIGSTOP)
    try:
        page = live.page("/healthz")
        assert (page.status, page.json["status"]) == (503, "stuck")
        assert live.count("pydns_registry_entries", kind="endpoints") == 2, "what was read is shown all the same"
        live.tables["server"]["listen"] = ["127.0.0.1:0", f"127.0.0.1:{free_port()}"]
        live.write_config()
        live.hang_up()
        rewrite(live.registry / "more.hosts", "192.0.2.9 added.\n")
        until(lambda: live.count("pydns_registry_entries", kind="hosts") == 1)
        until(lambda: answer_in_time(live.at, "added.") == ["192.0.2.9"])
        assert live.stopped_within(signal.SIGTERM) < 2 * ENDED_WITHIN_S
        assert live.process.returncode == 0
        assert not is_there(stuck)
    finally:
        end(stuck)


def test_several_may_ask_for_metrics_while_one_hangs(serve: Serve) -> None:
    """As two Prometheus servers do; each waits for the stuck one no longer than a single one would."""
    live = serve(settings=TWO)
    everywhere(live, "db.", ["172.18.0.2"])
    stuck = workers_of(live)[0]
    os.kill(stuck, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(4) as threads:
            pages = list(threads.map(lambda _: live.page("/metrics"), range(4)))
        assert [page.status for page in pages] == [200] * 4
        assert is_clean(live.stderr), live.stderr
    finally:
        end(stuck)


def test_a_reload_reaches_all(serve: Serve) -> None:
    live = serve(settings=TWO, listen=("127.0.0.1:0",))
    pids = workers_of(live)
    first = live.at
    port = free_port()
    live.tables["server"]["listen"] = ["127.0.0.1:0", f"127.0.0.1:{port}"]
    live.tables["answers"] = {"ttl": 77}
    live.write_config()
    live.hang_up()
    second = At("127.0.0.1", port)
    assert from_many_ports(second, "db.", 40) == [["172.18.0.2"]] * 40

    def are_all_told() -> bool:
        return all(over_udp(first, question("db.")).answer[0].ttl == 77 for _ in range(40))

    until(are_all_told)
    with socket.create_connection(second, 5):
        pass

    live.tables["server"]["listen"] = [f"127.0.0.1:{port}"]
    live.write_config()
    live.hang_up()
    until(lambda: is_refused(first))
    assert from_many_ports(second, "db.", 40) == [["172.18.0.2"]] * 40

    rewrite(live.config, live.config.read_text().replace("ttl = 77", "ttl = -1"))
    live.hang_up()
    assert live.stderr.count("the configuration stays as it was") == 1
    assert over_udp(second, question("db.")).answer[0].ttl == 77
    assert workers_of(live) == pids
    end(pids[0])
    until(lambda: live.count("pydns_worker_restarts_total") == 1)
    settled(live, 2)
    assert {over_udp(second, question("db.")).answer[0].ttl for _ in range(40)} == {77}
    assert is_clean(live.stderr), live.stderr


def answer_in_time(at: At, name: str) -> list[str]:
    """What the worker says that is asked; nothing when it is stuck."""
    try:
        return answers(over_udp(at, question(name), within_s=0.2))
    except TimeoutError:
        return []


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def is_refused(at: At) -> bool:
    """Whether nobody has the address any more: a connected socket is told so."""
    with socket.socket(at.family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.2)
        sock.connect(at)
        try:
            sock.send(question("db.").to_wire())
            sock.recv(512)
        except ConnectionRefusedError:
            return True
        except TimeoutError:
            return False
        return False


def refusal(serve_command: list[str], port: int, **more: str) -> str:
    command = [*serve_command, "--listen", f"127.0.0.1:{port}", "--workers", "2", "--metrics", "off"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2, ended.stderr
    assert is_clean(ended.stderr), ended.stderr
    return ended.stderr


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
@pytest.mark.parametrize("is_shared", [False, True])
def test_an_address_that_somebody_has_is_refused(serve: Serve, kind: socket.SocketKind, is_shared: bool) -> None:
    """Also by a program of the same user that would share it."""
    command = serve().command
    with socket.socket(socket.AF_INET, kind) as taken:
        if is_shared:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        protocol = "UDP" if kind == socket.SOCK_DGRAM else "TCP"
        port = taken.getsockname()[1]
        said = refusal(command, port)
        assert f"pydns: {protocol} 127.0.0.1:{port} is taken by another program" in said


@pytest.mark.parametrize("workers", [1, 2])
def test_two_servers_do_not_share_an_address(serve: Serve, workers: int) -> None:
    live = serve(settings={"server": {"workers": workers}})
    assert "is taken by another program" in refusal(live.command, live.at.port)
    other: Callable[[], subprocess.CompletedProcess[str]] = lambda: subprocess.run(  # noqa: E731
        [*live.command, "--listen", f"127.0.0.1:{live.at.port}", "--workers", "1", "--metrics", "off"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert other().returncode == 2
    assert live.addresses("db.") == {"172.18.0.2"}


def test_a_wrong_registry_name_at_the_start_is_one_line(serve: Serve) -> None:
    command = serve().command
    began = time.monotonic()
    ended = subprocess.run(
        [*command, "--network", "nowhere", "--workers", "2", "--metrics", "off"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 2
    assert [line for line in ended.stderr.splitlines() if "nowhere" in line] == [ended.stderr.splitlines()[-1]]
    assert since(began) < 20


def test_closed_standard_descriptors_are_nobodys(tmp_path: Path) -> None:
    """A worker keeps the first three: they must not be what its feeder happens to have opened there."""
    prefix = ("sh", "-c", 'exec "$@" <&-', "sh")
    with Live(tmp_path, arguments=["--workers", "2"], prefix=prefix) as live:
        for pid in (live.process.pid, *workers_of(live)):
            assert Path(f"/proc/{pid}/fd/0").readlink() == Path("/dev/null")
        assert from_many_ports(live.at, "db.", 10) == [["172.18.0.2"]] * 10
        assert live.stopped_within() < 2.5
