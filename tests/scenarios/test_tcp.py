"""What a TCP client can ask of a server, and what it cannot do to it (RFC 7766)."""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import pytest

from tests.scenarios.conftest import Serve
from tests.scenarios.live import REGISTRY, Live, Stream, answers, ask, framed, is_clean, over_udp, pool, until
from tests.scenarios.upstream import SILENCE, Asked, Say, Upstream

HUGE = pool("crowd", 1500)
SLOW_S = 0.6


def by_name(asked: Asked) -> Say:
    """slow… takes its time, slower… more, silent… for ever."""
    address = ("{name} 60 IN A 192.0.2.9",)
    if asked.name.startswith("silent"):
        return SILENCE
    if asked.name.startswith("slower"):
        return Say(address, after_s=2.3)
    return Say(address, after_s=SLOW_S if asked.name.startswith("slow") else 0)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream(by_name) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Live]:
    with Live(tmp_path_factory.mktemp("tcp"), registry=REGISTRY + HUGE, upstreams=[str(upstream)]) as live:
        yield live
        assert live.process.poll() is None
        assert is_clean(live.stderr), live.stderr


def test_queries_in_one_segment_are_all_answered(live: Live) -> None:
    with live.tcp() as stream:
        queries = [ask("db."), ask("web."), ask("absent."), ask("db.", "AAAA")]
        stream.send(*queries)
        replies = {reply.id: reply for reply in (stream.receive() for _ in queries)}
    assert answers(replies[queries[0].id]) == ["172.18.0.2"]
    assert answers(replies[queries[1].id]) == ["172.18.0.3"]
    assert replies[queries[2].id].rcode().name == "NXDOMAIN"
    assert answers(replies[queries[3].id]) == ["fd00:18::2"]


def test_a_connection_serves_many_queries_one_after_the_other(live: Live) -> None:
    with live.tcp() as stream:
        for number in range(50):
            assert answers(stream.ask("db." if number % 2 else f"name-{number}.web.")) != []


def test_a_query_may_come_octet_by_octet(live: Live) -> None:
    with live.tcp() as stream:
        stream.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in framed(ask("db.").to_wire()) + framed(ask("web.").to_wire()):
            stream.sock.sendall(bytes((octet,)))
            time.sleep(0.002)  # a segment each
        assert [answers(stream.receive()) for _ in range(2)] == [["172.18.0.2"], ["172.18.0.3"]]


def test_a_slow_look_up_does_not_hold_up_the_query_behind_it(live: Live) -> None:
    slow, fast = ask("slow-one.example."), ask("db.")
    with live.tcp() as stream:
        stream.send(slow, fast)
        assert [stream.receive().id, stream.receive().id] == [fast.id, slow.id]


def test_a_client_that_ends_its_side_still_gets_its_answers(live: Live) -> None:
    """shutdown(SHUT_WR) right behind the queries, as `dig +tcp` of old and netcat do; then the server closes."""
    queries = [ask("slow-two.example."), ask("db."), ask("crowd.")]
    with live.tcp() as stream:
        stream.send(*queries)
        stream.sock.shutdown(socket.SHUT_WR)
        assert {stream.receive().id for _ in queries} == {query.id for query in queries}
        assert stream.receive_bytes() == b""


def test_a_client_that_ends_without_a_query_is_let_go_at_once(live: Live) -> None:
    with live.tcp() as stream:
        stream.sock.shutdown(socket.SHUT_WR)
        assert stream.closed_after() < 2


def test_a_message_that_drips_in_is_given_two_seconds(live: Live) -> None:
    """A slow loris: an octet every 0.3 s keeps nothing open; other clients notice nothing."""
    with live.tcp(within_s=0.3) as stream, live.tcp() as other:
        began = time.monotonic()
        ended = False
        for octet in framed(ask("db.").to_wire()):
            try:
                stream.sock.sendall(bytes((octet,)))
                ended = stream.sock.recv(1) == b""
            except TimeoutError:
                pass
            except ConnectionError:
                ended = True
            if ended:
                break
            assert answers(other.ask("db.")) == ["172.18.0.2"]
        assert ended
        assert 1.5 < time.monotonic() - began < 4


def test_an_idle_connection_is_closed_after_the_configured_time(serve: Serve) -> None:
    live = serve(settings={"server": {"tcp_idle_s": 0.5}})
    with live.tcp() as quiet, live.tcp() as busy:
        assert answers(quiet.ask("db.")) == ["172.18.0.2"]
        began = time.monotonic()
        while time.monotonic() - began < 1.2:
            assert answers(busy.ask("db.")) == ["172.18.0.2"]
            time.sleep(0.1)
        assert quiet.closed_after() < 0.1
        assert 0.3 < busy.closed_after() < 2


def test_a_connection_that_waits_for_us_is_not_idle(serve: Serve, upstream: Upstream) -> None:
    """The upstream takes longer than the idle time; it is we who owe an answer."""
    live = serve(settings={"server": {"tcp_idle_s": 0.2}}, upstreams=[str(upstream)])
    with live.tcp() as stream:
        assert answers(stream.ask("slow-three.example.")) == ["192.0.2.9"]


def test_a_pipeline_longer_than_the_limit_is_answered_to_its_end(live: Live, upstream: Upstream) -> None:
    """More queries than may wait at once, at an upstream slower than a message may take: none is lost."""
    queries = [ask(f"slower-{number}.example.", id=number) for number in range(200)]
    octets = b"".join(framed(query.to_wire()) for query in queries)
    with live.tcp(within_s=20) as stream:
        cut = len(octets) * 3 // 4 + 7  # over the limit, and within a message
        stream.sock.sendall(octets[:cut])
        until(lambda: upstream.times_asked("slower-90.example"))
        stream.sock.sendall(octets[cut:])
        assert {stream.receive().id for _ in queries} == set(range(200))


def test_one_connection_cannot_take_every_look_up(serve: Serve, upstream: Upstream) -> None:
    """A pipeline of a thousand look-ups leaves room for the other clients."""
    live = serve(upstreams=[str(upstream)], settings={"forward": {"max_in_flight": 400}})
    with live.tcp() as greedy:
        greedy.send(*[ask(f"silent-{number}.example.") for number in range(1500)])
        until(lambda: any(name.startswith("silent") for name in upstream.names()))
        assert answers(live.udp("quick.example.")) == ["192.0.2.9"]
        assert live.count("pydns_forward_in_flight") <= 200


def test_a_client_that_never_reads_is_bounded_and_ended(serve: Serve) -> None:
    """Thousands of queries for an answer of 24 KB: neither memory nor the other clients pay for it."""
    live = serve(registry=REGISTRY + HUGE, settings={"server": {"tcp_idle_s": 1.5}})
    with live.tcp() as warm:
        warm.ask("crowd.")
    before_mb = live.memory_mb()
    most_mb = before_mb
    query = framed(ask("crowd.").to_wire())
    with live.tcp(receive_buffer=4096) as stream:
        ended = threading.Event()

        def pour() -> None:
            try:
                stream.sock.settimeout(30)
                for _ in range(20):
                    stream.sock.sendall(query * 10_000)
            except OSError:
                pass
            ended.set()

        with ThreadPoolExecutor(1) as threads:
            threads.submit(pour)
            waits_s: list[float] = []
            deadline = time.monotonic() + 10
            while not ended.is_set():
                began = time.monotonic()
                assert answers(over_udp(live.at, ask("db."))) == ["172.18.0.2"]
                waits_s.append(time.monotonic() - began)
                most_mb = max(most_mb, live.memory_mb())
                assert time.monotonic() < deadline, "the connection was not ended"
                time.sleep(0.005)
    assert most_mb - before_mb < 24, f"{before_mb:.0f} MB before, {most_mb:.0f} MB at most"
    assert median(waits_s) < 0.2
    assert max(waits_s) < 3, "nobody is held up for as long as the client pours, whatever else the machine does"


def test_of_too_many_connections_the_quietest_goes_and_the_newest_is_served(serve: Serve) -> None:
    """1,100 clients at a server that takes 50, all in one burst; who keeps asking stays."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    live = serve(settings={"server": {"tcp_connections": 50, "tcp_idle_s": 60}})
    streams: list[Stream] = []
    try:
        streams.append(live.tcp())
        for number in range(1, 1101):
            streams.append(live.tcp())
            if number % 10 == 0:
                assert answers(streams[0].ask("db.")) == ["172.18.0.2"]
        assert answers(streams[-1].ask("db.")) == ["172.18.0.2"]
        for stream in streams[1:1050]:
            assert stream.receive_bytes() == b""
        assert answers(streams[0].ask("db.")) == ["172.18.0.2"]
        assert answers(streams[-1].ask("db.")) == ["172.18.0.2"]
        assert connections(live) <= 50
    finally:
        for stream in streams:
            stream.sock.close()


def test_connections_for_which_there_are_no_more_files_wait_their_turn(tmp_path: Path) -> None:
    """It is said in one line, whoever asks on goes on, and others are let in as the quietest make room."""
    with Live(tmp_path, settings={"server": {"tcp_idle_s": 60}}, prefix=("prlimit", "--nofile=64")) as live:
        with ExitStack() as stack:
            for _ in range(120):
                stack.enter_context(live.tcp())
            until(lambda: "TCP connections have to wait" in live.stderr)
            time.sleep(2.5)  # what used to be logged became more each second

            assert answers(over_udp(live.at, ask("db."))) == ["172.18.0.2"]
        with live.tcp() as stream:
            assert answers(stream.ask("db.")) == ["172.18.0.2"]
        assert live.stderr.count("TCP connections have to wait: Too many open files") == 1
        assert is_clean(live.stderr), live.stderr
        assert live.stopped_within() < 2.5


def test_one_client_cannot_push_out_the_connections_of_another(serve: Serve) -> None:
    """Even one that is quieter than all of the many."""
    live = serve(settings={"server": {"tcp_connections": 20, "tcp_idle_s": 60}})
    with ExitStack() as stack:
        quiet = stack.enter_context(live.tcp(source="127.0.0.2"))
        for _ in range(60):
            answered = stack.enter_context(live.tcp(source="127.0.0.3"))
            assert answers(answered.ask("db.")) == ["172.18.0.2"]

        assert answers(quiet.ask("db.")) == ["172.18.0.2"]
        until(lambda: connections(live) <= 20)


def test_a_burst_of_connections_does_not_slip_past_the_limit(serve: Serve) -> None:
    """Accepted in one turn of the loop, they are still counted one by one."""
    live = serve(settings={"server": {"tcp_connections": 20, "tcp_idle_s": 60}})
    sockets = []
    try:
        for _ in range(300):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(live.at)
            sockets.append(sock)
        with live.tcp() as last:
            assert answers(last.ask("db.")) == ["172.18.0.2"]
            until(lambda: connections(live) <= 20)
    finally:
        for sock in sockets:
            sock.close()


def connections(live: Live) -> int:
    """How many TCP connections the server holds."""
    command_port = f"{live.at.port:04X}"
    with open(f"/proc/{live.process.pid}/net/tcp") as table:
        return sum(
            1 for line in table if line.split()[1].endswith(":" + command_port) and line.split()[3] in ("01", "08")
        )


def test_few_descriptors_do_not_stop_a_server(serve: Serve, upstream: Upstream) -> None:
    """The soft limit that a shell or systemd gives is 1,024: it is raised, for 1,024 look-ups want as many sockets."""
    settings = {"forward": {"max_in_flight": 2048}}  # of which one client may have half
    live = serve(upstreams=[str(upstream)], prefix=("prlimit", "--nofile=256:20000"), settings=settings)
    with ThreadPoolExecutor(1) as threads:
        poured = threads.submit(pour_look_ups, live, 900)
        poured.result()
    until(lambda: live.count("pydns_forward_in_flight") >= 800)
    with live.tcp() as stream:
        assert answers(stream.ask("db.")) == ["172.18.0.2"]
    assert live.count("pydns_forward_failures_total", reason="no_socket") == 0
    assert is_clean(live.stderr), live.stderr


def pour_look_ups(live: Live, count: int) -> None:
    """Send look-ups that will not be answered, without waiting."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(live.at)
        for number in range(count):
            sock.send(ask(f"silent-{number}.example.").to_wire())


def test_frames_of_garbage_end_nothing_but_themselves(live: Live) -> None:
    """Empty frames, frames of noise, one that says FORMERR: the query behind them is answered."""
    query = ask("db.")
    with live.tcp() as stream:
        for noise in (b"", b"x", b"\xff" * 11, b"\x80" * 40):
            stream.sock.sendall(framed(noise))
        stream.send(query)
        assert stream.receive().id == query.id
        stream.send(query.to_wire()[:-2])
        assert stream.receive().rcode().name == "FORMERR"
        stream.send(query)
        assert stream.receive().id == query.id


def test_a_frame_that_promises_more_than_comes_is_not_waited_for(live: Live) -> None:
    with live.tcp() as stream:
        stream.sock.sendall(b"\xff\xff" + bytes(1000))
        assert 1 < stream.closed_after() < 4


def test_a_client_that_resets_leaves_no_trace(live: Live) -> None:
    for _ in range(20):
        with live.tcp() as stream:
            stream.send(ask("db."), ask("slow-reset.example."))
            stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    until(lambda: live.count("pydns_forward_in_flight") == 0)
    assert answers(live.udp("db.")) == ["172.18.0.2"]
    assert is_clean(live.stderr), live.stderr
