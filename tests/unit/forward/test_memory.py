"""What is remembered of upstreams: the state table of `resolver.forward.memory`, row by row; the clock is a number."""

from __future__ import annotations

import pytest

from resolver.forward.failures import Failure
from resolver.forward.memory import FOLDS_CASE_S, PROBE_MOST_S, TCP_AGAIN_S, Memory
from resolver.forward.upstreams import Upstream

A, B = Upstream("192.0.2.1"), Upstream("192.0.2.2")


def replied(memory: Memory, rtt_s: float = 0.1, failure: Failure | None = None, times: int = 1) -> Memory:
    for _ in range(times):
        memory.replied(A, rtt_s, failure, 10.0)
    return memory


def test_the_time_of_replies_is_smoothed() -> None:
    """RFC 6298 2.2 and 2.3."""
    memory = replied(Memory(), 0.1)
    assert (0.1, 0.05) == (memory.of(A).rtt_s, memory.of(A).variation_s)

    replied(memory, 0.2)
    assert (0.1125, 0.0625) == pytest.approx((memory.of(A).rtt_s, memory.of(A).variation_s))
    assert pytest.approx(1.2 * (0.1125 + 2 * 0.0625)) == memory.patience_s(A)
    assert 0.4 == memory.patience_s(B)


def test_a_server_that_refuses_ten_times_in_a_row_is_down() -> None:
    """Fewer may be the doing of one client, who asks what no server likes."""
    memory = replied(Memory(), failure=Failure.REFUSED, times=9)
    replied(memory)
    replied(memory, failure=Failure.REFUSED, times=9)
    assert not memory.is_down(A)

    replied(memory, failure=Failure.REFUSED)
    assert memory.is_down(A)
    assert Failure.REFUSED is memory.of(A).last_failure


@pytest.mark.parametrize("failure", [Failure.SERVFAIL, Failure.TRUNCATED, Failure.OTHER_RCODE])
def test_a_server_that_fails_for_a_question_is_there(failure: Failure) -> None:
    assert not replied(Memory(), failure=failure, times=100).is_down(A)


def test_one_slow_name_does_not_make_a_fast_server_slow() -> None:
    memory = replied(Memory(), 0.0005, times=100)
    replied(memory, 3.5)

    assert memory.patience_s(A) < 0.1


def test_who_answers_others_meanwhile_is_not_down() -> None:
    memory = Memory()
    memory.replied(A, 0.001, None, 10.0)
    memory.silent(A, 0.5, overtaken=False, now=10.4)
    assert not memory.is_down(A)

    memory.silent(A, 0.5, overtaken=False, now=10.6)
    assert memory.is_down(A)


def test_only_so_many_upstreams_are_remembered() -> None:
    memory = Memory()
    for number in range(5000):
        memory.of(Upstream(f"10.0.{number // 256}.{number % 256}"))

    assert 4096 == len(memory.health)
    assert Upstream("10.0.19.135") in memory.health


@pytest.mark.parametrize(
    ("failure", "times"),
    [
        (Failure.CONNECTION_REFUSED, 1),
        (Failure.UNREACHABLE, 1),
        (Failure.MALFORMED, 3),
        (Failure.DISCONNECTED, 3),
    ],
)
def test_a_failure_counts_by_its_kind(failure: Failure, times: int) -> None:
    memory = Memory()
    for _ in range(times):
        assert not memory.is_down(A)
        memory.failed(A, failure, 10.0)

    assert memory.is_down(A)


def test_that_we_have_no_socket_is_no_fault_of_a_server() -> None:
    memory = Memory()
    for _ in range(10):
        memory.failed(A, Failure.NO_SOCKET, 10.0)

    assert not memory.is_down(A)


@pytest.mark.parametrize(
    ("rtt_s", "silence_s", "is_down"),
    [
        (None, 0.39, False),
        (None, 0.4, True),
        (0.1, 0.39, False),
        (0.1, 0.41, True),
        (0.5, 1.0, False),
        (0.5, 1.5, True),
    ],
)
def test_silence_counts_when_it_is_longer_than_expected(rtt_s: float | None, silence_s: float, is_down: bool) -> None:
    memory = Memory() if rtt_s is None else replied(Memory(), rtt_s)
    memory.silent(A, silence_s, overtaken=False, now=20.0)

    assert is_down == memory.is_down(A)


def test_who_is_overtaken_thrice_and_silent_to_the_end_is_down() -> None:
    memory = replied(Memory(), 0.001, times=50)
    downs = []
    for now in (20.0, 21.0, 22.0):
        memory.silent(A, 0.4, overtaken=True, now=now)
        downs.append(memory.is_down(A))

    assert [False, False, True] == downs
    assert Failure.TIMEOUT is memory.of(A).last_failure


def test_who_is_overtaken_and_answers_late_is_waited_for_longer() -> None:
    """A name that is cold takes longer than one that is in its cache."""
    memory = replied(Memory(), 0.001, times=50)
    for now in (20.0, 21.0):
        memory.silent(A, 0.4, overtaken=True, now=now)
    memory.silent(A, 0.1, overtaken=True, now=22.0)
    assert not memory.is_down(A), "so short a silence is none"

    assert 0.03 == memory.patience_s(A)
    memory.replied(A, 0.1, None, 23.0)
    assert memory.patience_s(A) > 0.06
    memory.silent(A, 0.4, overtaken=True, now=24.0)
    assert 1 == memory.of(A).strikes, "the reply has cleared those before"


@pytest.mark.parametrize("failure", [Failure.TIMEOUT, Failure.CONNECTION_REFUSED, Failure.UNREACHABLE])
def test_what_becomes_of_tcp_is_kept_apart(failure: Failure) -> None:
    memory = replied(Memory(), 0.001)
    for _ in range(5):
        memory.failed(A, failure, 20.0, over_tcp=True)
        memory.silent(A, 2.0, overtaken=False, now=20.0, over_tcp=True)

    assert (False, 0) == (memory.is_down(A), memory.of(A).strikes)
    assert (True, False) == (memory.is_tcp_down(A, 49.0), memory.is_tcp_down(A, 20.0 + TCP_AGAIN_S))
    memory.replied(A, 0.001, None, 21.0)
    assert memory.is_tcp_down(A, 22.0), "that came over UDP"
    memory.replied(A, 0.001, None, 22.0, over_tcp=True)
    assert not memory.is_tcp_down(A, 23.0)


def test_too_short_a_silence_over_tcp_is_none() -> None:
    memory = Memory()
    memory.silent(A, 0.3, overtaken=True, now=20.0, over_tcp=True)

    assert not memory.is_tcp_down(A, 20.0)


def test_a_connection_that_is_being_made_is_no_silence_of_the_server() -> None:
    memory = replied(Memory(), 0.01)
    memory.opened(A, 40.0)
    memory.silent(A, 0.5, overtaken=False, now=40.5)
    memory.opened(A, 41.0)
    memory.silent(A, 0.4, overtaken=True, now=41.0)
    assert (False, 0) == (memory.is_down(A), memory.of(A).strikes)

    memory.silent(A, 0.5, overtaken=False, now=41.5)
    assert memory.is_down(A), "1.5 s are enough, however many connections are tried"


def test_on_a_connection_that_has_brought_something_silence_counts() -> None:
    memory = Memory()
    memory.opened(A, 9.5)
    memory.replied(A, 0.01, None, 10.0)
    memory.silent(A, 0.5, overtaken=False, now=10.6)

    assert memory.is_down(A)


def test_a_server_that_sends_referrals_is_lame() -> None:
    memory = Memory()
    for _ in range(10):
        assert not memory.is_down(A)
        memory.failed(A, Failure.LAME, 10.0)

    assert memory.is_down(A)
    memory.replied(A, 0.01, Failure.LAME, 11.0)
    assert memory.is_down(A), "what a probe brings does not make it better"


def test_a_server_that_is_down_is_probed_later_each_time_until_it_answers() -> None:
    memory = Memory()
    memory.failed(A, Failure.UNREACHABLE, 10.0)
    now, pauses = 10.0, []
    for _ in range(9):
        before = now
        while not memory.due((A, B), now):
            now += 0.25
        pauses.append(now - before)
        memory.failed(A, Failure.UNREACHABLE, now)

    assert [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, PROBE_MOST_S, PROBE_MOST_S, PROBE_MOST_S] == pauses

    memory.replied(A, 0.01, None, now)
    assert [] == memory.due((A, B), now + 1000.0)
    memory.failed(A, Failure.UNREACHABLE, now)
    assert [A] == memory.due((A, B), now + 0.5), "from the start again"


def test_only_the_upstreams_of_the_look_up_are_probed() -> None:
    memory = Memory()
    memory.failed(A, Failure.UNREACHABLE, 10.0)

    assert [] == memory.due((B,), 100.0)


def test_where_the_fastest_is_asked_the_others_are_measured_now_and_then() -> None:
    memory = Memory()
    for upstream in (A, B):
        memory.replied(upstream, 0.1, None, 10.0)

    assert [] == memory.due((A, B), 39.0, fastest=True)
    assert [A, B] == memory.due((A, B), 41.0, fastest=True)
    assert [] == memory.due((A, B), 42.0, fastest=True)
    assert [] == memory.due((A, B), 80.0)


def test_who_folds_the_letter_case_is_remembered_for_an_hour() -> None:
    """Nobody knows whether it was the server or a forger: but somebody was there."""
    memory = Memory()
    assert memory.repeats_case(A, 1000.0)

    memory.repeated_case(A, 1000.0, did=False)
    memory.silent(A, 0.5, overtaken=False, now=1000.1)
    assert (False, False) == (memory.repeats_case(A, 1001.0), memory.is_down(A))
    assert memory.repeats_case(A, 1000.0 + FOLDS_CASE_S)

    memory.repeated_case(A, 1002.0, did=True)
    assert memory.repeats_case(A, 1003.0), "the right one came after a forged one"
