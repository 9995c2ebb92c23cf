"""The policy of one look-up, told as a script of what happens and what is done; the clock is a number."""

from __future__ import annotations

import copy
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.forward.failures import Failure, extended_error
from resolver.forward.memory import PROBE_MOST_S, Memory
from resolver.forward.policy import BUDGET_S, OVERTAKING_TTL, STANDING_IN_TTL, ForwardOptions, Lookup
from resolver.forward.schedule import PERSISTENT_S, RESTART_S
from resolver.forward.steps import Finish, Send, Try, Wait
from resolver.forward.upstreams import Transport, Upstream
from resolver.wire.constants import FORMERR, NOERROR, NOTIMP, NXDOMAIN, REFUSED, SERVFAIL

A, B, C = (Upstream(f"192.0.2.{n}") for n in (1, 2, 3))
T, U = (Upstream(f"192.0.2.{n}", 853, transport=Transport.TLS) for n in (1, 2))
ONCE = ForwardOptions(attempts=1)
TWICE = ForwardOptions(attempts=2)


class Script:
    """Drives a look-up and remembers its last step; ``now`` is moved by hand."""

    def __init__(
        self,
        *upstreams: Upstream,
        options: ForwardOptions = TWICE,
        over_tcp: bool = False,
        turn: int = 0,
        memory: Memory | None = None,
    ) -> None:
        self.now = 1000.0
        self.memory = memory or Memory()
        self.lookup = Lookup(upstreams, options, over_tcp, self.now, self.memory, turn)
        self.tries: list[Try] = []
        self.ended: list[Try] = []
        self.step = self._note(self.lookup.start(self.now))

    def _note(self, step: Send | Wait | Finish) -> Send | Wait | Finish:
        self.step = step
        if isinstance(step, Send):
            self.tries.append(step.attempt)
        return step

    @property
    def newest(self) -> Try:
        return self.tries[-1]

    @property
    def asked(self) -> list[tuple[Upstream, str]]:
        return [(attempt.upstream, "tcp" if attempt.over_tcp else "udp") for attempt in self.tries]

    @property
    def wake_in(self) -> float:
        assert not isinstance(self.step, Finish)
        return round(self.step.wake_at - self.now, 3)

    def sleep(self) -> Script:
        assert not isinstance(self.step, Finish)
        self.now = self.step.wake_at
        self._note(self.lookup.woke(self.now))
        return self

    def fail(self, failure: Failure, attempt: Try | None = None) -> Script:
        attempt = attempt or self.newest
        self.ended.append(attempt)
        self._note(self.lookup.failed(attempt, failure, self.now))
        return self

    def reply(self, rcode: int, *, text: bytes = b"", tc: bool = False, attempt: Try | None = None) -> Script:
        attempt = attempt or self.newest
        self.ended.append(attempt)
        text = text or f"{attempt.upstream} {rcode}".encode()
        self._note(self.lookup.replied(attempt, text, rcode, tc, self.now))
        return self


# Who is asked, and for how long


def knowing(rtt_s: float, *upstreams: Upstream) -> Memory:
    """A memory in which each of these takes that long, without variation."""
    memory = Memory()
    for upstream in upstreams:
        for _ in range(100):
            memory.replied(upstream, rtt_s, None, 999.0)
    return memory


def down(*upstreams: Upstream) -> Memory:
    memory = Memory()
    for upstream in upstreams:
        memory.failed(upstream, Failure.CONNECTION_REFUSED, 1000.0)
    return memory


def test_an_unknown_server_is_waited_for_400_ms_and_twice_as_long_in_each_round() -> None:
    script = Script(A, B, options=ForwardOptions())

    waits = [script.wake_in]
    while isinstance(script.sleep().step, Send):
        waits.append(script.wake_in)

    assert [0.4, 0.4, 0.8, 0.8, 1.6, 0.4] == [round(wait, 3) for wait in waits]
    assert [A, B, A, B, A, B] == [upstream for upstream, _ in script.asked]
    assert Finish(None, None, (22, "192.0.2.1:53 timed out, 192.0.2.2:53 timed out")) == script.step
    assert BUDGET_S == pytest.approx(script.now - 1000.0)


@pytest.mark.parametrize(("rtt_s", "expected"), [(0.1, 0.12), (0.001, 0.03), (0.3, 0.36), (2.0, 1.0)])
def test_a_known_server_is_waited_for_1_2_times_what_it_takes(rtt_s: float, expected: float) -> None:
    """At least 30 ms, at most the time-out of resolv.conf."""
    script = Script(A, B, options=ForwardOptions(timeout_s=1.0), memory=knowing(rtt_s, A, B))

    assert expected == script.wake_in


def test_attempts_says_how_often_the_list_is_gone_through_and_the_last_try_gets_what_remains() -> None:
    script = Script(A, B, options=ForwardOptions(attempts=1))

    script.sleep()

    assert [(A, "udp"), (B, "udp")] == script.asked
    assert round(BUDGET_S - 0.4, 3) == script.wake_in


def test_a_lost_packet_is_made_up_for_by_asking_again_soon() -> None:
    script = Script(A, options=ForwardOptions(), memory=knowing(0.05, A))

    waits = [script.wake_in, *(script.sleep().wake_in for _ in range(6))]

    assert [0.06, 0.12, 0.24, 0.48, 0.96, 1.92, 0.62] == waits
    assert [A] * 7 == [upstream for upstream, _ in script.asked]


def test_in_the_long_run_one_look_up_in_ten_is_hedged() -> None:
    """When all are slow of a sudden, twice the load would make them slower."""
    memory = knowing(0.01, A, B)
    hedged = [len(Script(A, B, memory=memory).sleep().tries) == 2 for _ in range(100)]

    assert [True] * 10 == hedged[:10]
    assert 18 <= sum(hedged) <= 21
    assert memory.hedged == sum(hedged)


def hedges_left(memory: Memory) -> int:
    memory = copy.deepcopy(memory)
    return sum(memory.may_hedge() for _ in range(20))


def hedged(memory: Memory, *, after_s: float, answers: int) -> bool:
    """Whether a look-up was hedged, when that try of it (0: the first) answers so long after the last one was sent."""
    script = Script(A, B, memory=memory).sleep()
    script.now += after_s
    if len(script.tries) > answers:
        script.reply(NOERROR, attempt=script.tries[answers])
    return len(script.tries) == 2


def test_what_makes_up_for_a_lost_packet_is_always_hedged() -> None:
    memory = knowing(0.01, A, B)

    assert all(hedged(memory, after_s=0.01, answers=1) for _ in range(100))
    assert (100, 10) == (memory.hedged, hedges_left(memory))


@pytest.mark.parametrize(("after_s", "answers"), [(0.02, 0), (0.2, 0), (0.2, 1)])
def test_a_hedge_against_slowness_is_not_made_good(after_s: float, answers: int) -> None:
    """The first try answers after all, or the second is no faster: more questions would make it worse."""
    memory = knowing(0.01, A, B)

    assert hedged(memory, after_s=after_s, answers=answers)
    assert 9 == hedges_left(memory)


def test_hedges_against_slowness_are_bounded() -> None:
    memory = knowing(0.01, A, B)

    assert 10 <= sum(hedged(memory, after_s=0.02, answers=0) for _ in range(100)) <= 21


def test_every_hedge_of_a_look_up_is_made_good() -> None:
    memory = knowing(0.01, A, B)

    for _ in range(50):
        script = Script(A, B, memory=memory).sleep().sleep()
        assert [A, B, A] == [upstream for upstream, _ in script.asked]
        script.now += 0.01
        script.reply(NOERROR)

    assert (100, 10) == (memory.hedged, hedges_left(memory))


def test_a_late_refusal_before_the_hedge_is_answered_shows_slowness() -> None:
    memory = knowing(0.01, A, B)
    for _ in range(100):
        script = Script(A, B, memory=memory).sleep()
        if len(script.tries) == 2:
            script.reply(SERVFAIL, attempt=script.tries[0]).reply(NOERROR)

    assert memory.hedged <= 21


def test_without_a_hedge_the_next_server_is_asked_after_400_ms() -> None:
    memory = knowing(0.01, A, B)
    for _ in range(40):
        Script(A, B, memory=memory).sleep()
    script = Script(A, B, memory=memory).sleep()
    if isinstance(script.step, Send):
        script = Script(A, B, memory=memory).sleep()

    assert Wait(1000.0 + 0.4) == script.step
    assert [A, B] == [upstream for upstream, _ in script.sleep().asked]


def test_a_server_that_is_down_is_asked_last() -> None:
    assert [B, C, A] == [upstream for upstream, _ in Script(A, B, C, memory=down(A)).sleep().sleep().asked]
    assert [A, B] == [upstream for upstream, _ in Script(A, B, memory=down(A, B)).sleep().asked]


def test_the_fastest_is_asked_first_and_who_is_unknown_before_it() -> None:
    memory = knowing(0.2, A)
    memory.replied(B, 0.1, None, 999.0)
    fastest = ForwardOptions(order="fastest")

    assert B == Script(A, B, options=fastest, memory=memory).newest.upstream
    assert C == Script(A, B, C, options=fastest, memory=memory).newest.upstream
    assert A == Script(A, B, memory=memory).newest.upstream


def test_silence_of_a_server_that_is_down_is_not_waited_for_when_another_has_spoken() -> None:
    """It is asked, and gets the time of one try."""
    script = Script(A, B, C, options=ONCE, memory=down(A)).reply(SERVFAIL).reply(SERVFAIL)

    assert [B, C, A] == [upstream for upstream, _ in script.asked]
    assert Finish(b"192.0.2.2:53 2", B, None) == script.sleep().step
    assert 0.4 == pytest.approx(script.now - 1000.0)


def test_rotate_begins_one_further_with_each_look_up() -> None:
    options = ForwardOptions(order="rotate")

    firsts = [Script(A, B, C, options=options, turn=turn).newest.upstream for turn in range(4)]

    assert [A, B, C, A] == firsts
    assert [A, A] == [Script(A, B, C, turn=turn).newest.upstream for turn in range(2)]


def test_a_rotated_list_is_still_gone_through_whole() -> None:
    script = Script(A, B, C, options=ForwardOptions(attempts=1, order="rotate"), turn=2)

    script.sleep().sleep()

    assert [C, A, B] == [upstream for upstream, _ in script.asked]


def test_without_upstreams_the_look_up_ends_at_once() -> None:
    assert Finish(None, None, (22, "no upstream is configured")) == Script().step


# Good replies


@pytest.mark.parametrize("rcode", [NOERROR, NXDOMAIN])
def test_noerror_and_nxdomain_end_the_look_up(rcode: int) -> None:
    """NXDOMAIN is final with AA=0, too; Docker 20.10 went on then."""
    assert Finish(b"yes", A, None) == Script(A, B).reply(rcode, text=b"yes").step


def test_a_reply_after_its_time_still_wins() -> None:
    script = Script(A)
    first = script.newest

    script.sleep()
    script.now += 0.8

    assert Finish(b"slow", A, None) == script.reply(NOERROR, text=b"slow", attempt=first).step


def test_a_reply_from_a_server_that_was_given_up_wins_over_the_newest() -> None:
    script = Script(A, B).sleep()

    assert Finish(b"late", A, None) == script.reply(NOERROR, text=b"late", attempt=script.tries[0]).step


# Failures


@pytest.mark.parametrize("failure", [f for f in Failure if f not in (Failure.TIMEOUT, Failure.TRUNCATED)])
def test_every_failure_goes_on_to_the_next_server_at_once(failure: Failure) -> None:
    script = Script(A, B).fail(failure)

    assert [(A, "udp"), (B, "udp")] == script.asked
    assert 1000.0 == script.now


@pytest.mark.parametrize("rcode", [FORMERR, SERVFAIL, NOTIMP, REFUSED, 9, 16, 23])
def test_every_other_rcode_goes_on_to_the_next_server_at_once(rcode: int) -> None:
    script = Script(A, B).reply(rcode)

    assert [(A, "udp"), (B, "udp")] == script.asked


def test_a_server_that_failed_is_passed_over_while_another_may_answer() -> None:
    script = Script(A, B).fail(Failure.CONNECTION_REFUSED).sleep()

    assert [A, B, B] == [upstream for upstream, _ in script.asked]


def test_a_server_that_was_out_of_reach_is_asked_again_when_nobody_else_is_left() -> None:
    script = Script(A, B).fail(Failure.CONNECTION_REFUSED).fail(Failure.MALFORMED)

    assert Wait(1000.0 + 0.05) == script.step, "it may be starting"
    assert [A, B, A] == [upstream for upstream, _ in script.sleep().asked]
    script.fail(Failure.CONNECTION_REFUSED)
    assert [A, B, A, B] == [upstream for upstream, _ in script.asked], "that one has had its pause"
    assert (
        Finish(None, None, (23, "192.0.2.1:53 refused, 192.0.2.2:53 unreachable"))
        == script.fail(Failure.UNREACHABLE).step
    )


def test_the_pauses_grow_and_a_second_is_all_that_a_restart_is_waited_for() -> None:
    script = Script(A, options=ForwardOptions())
    while not isinstance(script.step, Finish):
        if isinstance(script.step, Wait):
            script.sleep()
        script.fail(Failure.CONNECTION_REFUSED)

    assert [0.0, 0.05, 0.15, 0.35, 0.75, RESTART_S] == pytest.approx([one.sent_at - 1000.0 for one in script.tries])
    assert (23, "192.0.2.1:53 refused") == script.step.ede


def test_a_server_that_is_there_again_answers_the_query() -> None:
    script = Script(A, options=ForwardOptions()).fail(Failure.DISCONNECTED).sleep().fail(Failure.DISCONNECTED).sleep()

    assert Finish(b"yes", A, None) == script.reply(NOERROR, text=b"yes").step


def test_a_reply_to_an_older_try_ends_a_pause() -> None:
    script = Script(T, A, memory=knowing(0.05, T)).sleep().fail(Failure.CONNECTION_REFUSED)

    assert 0.05 == script.wake_in
    assert Finish(b"late", T, None) == script.reply(NOERROR, text=b"late", attempt=script.tries[0]).step


def test_what_is_down_for_long_is_not_waited_for() -> None:
    memory = Memory()
    memory.failed(A, Failure.CONNECTION_REFUSED, 1000.0 - PERSISTENT_S)

    assert isinstance(Script(A, memory=memory).fail(Failure.CONNECTION_REFUSED).step, Finish)


def test_silence_of_a_server_that_failed_before_is_not_waited_out() -> None:
    """Kernels limit the rate of ICMP errors: the second may never come."""
    script = Script(A).fail(Failure.UNREACHABLE).sleep()

    assert 0.4 == script.wake_in
    assert Finish(None, None, (23, "192.0.2.1:53 unreachable")) == script.sleep().step


def test_a_lame_server_is_passed_over_and_its_referral_is_nobodys_answer() -> None:
    script = Script(A, B).fail(Failure.LAME).reply(NOERROR, text=b"yes")
    alone = Script(A).fail(Failure.LAME)

    assert Finish(b"yes", B, None) == script.step
    assert Finish(None, None, (23, "192.0.2.1:53 is lame: it sent a referral")) == alone.step


def test_an_older_try_of_a_server_that_has_failed_since_is_not_waited_for() -> None:
    script = Script(A).sleep().fail(Failure.UNREACHABLE)

    assert Finish(None, None, (23, "192.0.2.1:53 unreachable")) == script.step


def test_a_server_that_said_an_rcode_is_not_asked_again() -> None:
    """It would say the same, and a stub resolver asks again anyway: its load would be doubled twice."""
    assert Finish(b"192.0.2.1:53 2", A, None) == Script(A).reply(SERVFAIL).step


def test_a_failure_of_an_older_try_leaves_the_newest_its_time() -> None:
    script = Script(A, B).sleep()
    assert isinstance(script.step, Send)
    wake_at = script.step.wake_at
    script.now += 0.5

    assert Wait(wake_at) == script.fail(Failure.MALFORMED, script.tries[0]).step


def test_an_older_try_is_waited_for_to_the_end_of_the_budget_when_nobody_is_left_to_ask() -> None:
    script = Script(A, B, options=ONCE).sleep().reply(REFUSED)

    assert Wait(1000.0 + BUDGET_S) == script.step
    assert Finish(b"at last", A, None) == script.reply(NOERROR, text=b"at last", attempt=script.tries[0]).step


def test_when_the_last_silent_server_fails_the_look_up_ends() -> None:
    script = Script(A, B, options=ONCE).sleep().reply(REFUSED)

    assert Finish(b"192.0.2.2:53 5", B, None) == script.fail(Failure.UNREACHABLE, script.tries[0]).step


# What is said in the end


@pytest.mark.parametrize(
    ("rcodes", "told"),
    [
        ([REFUSED, SERVFAIL, NOTIMP], b"192.0.2.2:53 2"),
        ([SERVFAIL, SERVFAIL, REFUSED], b"192.0.2.1:53 2"),
        ([FORMERR, REFUSED, NOTIMP], b"192.0.2.1:53 1"),
    ],
)
def test_an_upstreams_servfail_is_relayed_before_any_other_error(rcodes: list[int], told: bytes) -> None:
    """Its extended error says more than ours could (RFC 8914)."""
    script = Script(A, B, C, options=ONCE)
    for rcode in rcodes:
        script.reply(rcode)

    assert isinstance(script.step, Finish)
    assert told == script.step.reply


def test_an_error_reply_is_relayed_before_an_error_of_ours() -> None:
    script = Script(A, B, options=ONCE).reply(REFUSED).sleep()

    assert Finish(b"192.0.2.1:53 5", A, None) == script.step


def test_ede_22_when_a_server_was_silent_and_23_when_all_failed_at_once() -> None:
    """RFC 8914 4.23, 4.24."""
    silent = Script(A, B, options=ONCE).fail(Failure.CONNECTION_REFUSED).sleep()
    refused = Script(A, B, options=ONCE).fail(Failure.CONNECTION_REFUSED).fail(Failure.UNREACHABLE)

    assert Finish(None, None, (22, "192.0.2.1:53 refused, 192.0.2.2:53 timed out")) == silent.step
    assert Finish(None, None, (23, "192.0.2.1:53 refused, 192.0.2.2:53 unreachable")) == refused.step


def test_the_text_of_many_upstreams_is_cut_to_what_a_small_reply_has_room_for() -> None:
    failures = {Upstream(f"2001:db8:0:{n}:ffff:ffff:ffff:53"): Failure.TIMEOUT for n in range(1000, 1020)}

    code, text = extended_error(failures)

    assert 22 == code
    assert text.endswith(" timed out and 17 more")
    assert len(text) < 180


# TCP


def test_a_truncated_reply_is_asked_for_again_over_tcp_at_the_same_server() -> None:
    script = Script(A, B).reply(NOERROR, tc=True)

    assert [(A, "udp"), (A, "tcp")] == script.asked
    assert Finish(b"whole", A, None) == script.reply(NOERROR, text=b"whole").step


def test_when_its_tcp_fails_the_next_server_is_asked() -> None:
    script = Script(A, B).reply(NOERROR, tc=True).fail(Failure.CONNECTION_REFUSED)

    assert [(A, "udp"), (A, "tcp"), (B, "udp")] == script.asked
    assert Finish(b"192.0.2.2:53 0", B, None) == script.reply(NOERROR).step


def test_a_truncated_reply_is_the_last_resort_of_a_client_on_udp() -> None:
    script = Script(A, B).reply(NOERROR, text=b"part", tc=True).fail(Failure.CONNECTION_REFUSED).reply(SERVFAIL)

    assert Finish(b"part", A, None) == script.step


def test_silence_over_tcp_costs_one_try_when_a_truncated_reply_is_at_hand() -> None:
    script = Script(A, options=ForwardOptions(timeout_s=1.0)).reply(NOERROR, text=b"part", tc=True)

    assert 0.4 == script.wake_in
    assert Finish(b"part", A, None) == script.sleep().step


def test_a_query_that_came_by_tcp_goes_upstream_by_tcp() -> None:
    script = Script(A, B, over_tcp=True)

    assert [(A, "tcp"), (B, "tcp")] == script.sleep().asked
    assert Finish(b"big", B, None) == script.reply(NOERROR, text=b"big", tc=True).step


@pytest.mark.parametrize("failure", [Failure.CONNECTION_REFUSED, Failure.UNREACHABLE, Failure.DISCONNECTED])
def test_without_a_tcp_connection_the_same_server_is_asked_over_udp(failure: Failure) -> None:
    script = Script(A, B, over_tcp=True).fail(failure)

    assert [(A, "tcp"), (A, "udp")] == script.asked
    assert Finish(b"192.0.2.1:53 0", A, None) == script.reply(NOERROR).step


def test_a_server_that_is_silent_over_tcp_is_asked_over_udp_the_next_time() -> None:
    """A firewall that drops TCP is no reason to fail."""
    script = Script(A, B, over_tcp=True).sleep().sleep()

    assert [(A, "tcp"), (B, "tcp"), (A, "udp")] == script.asked


def test_a_client_on_tcp_never_gets_a_truncated_reply() -> None:
    script = Script(A, over_tcp=True).fail(Failure.CONNECTION_REFUSED).reply(NOERROR, tc=True)

    assert Finish(None, None, (23, "192.0.2.1:53 sent a truncated reply (and nothing over TCP)")) == script.step


def tcp_down(upstream: Upstream) -> Memory:
    """A memory of one that is fast, but nothing came of it over TCP just now."""
    memory = knowing(0.001, upstream)
    memory.silent(upstream, 0.4, overtaken=False, now=1000.0, over_tcp=True)
    return memory


def test_tcp_that_is_dropped_says_nothing_of_udp() -> None:
    script = Script(A, B, over_tcp=True).sleep().sleep()

    assert not script.memory.is_down(A)
    assert script.memory.is_tcp_down(A, script.now)
    script.reply(NOERROR)
    truncated = Script(A, B, memory=knowing(0.001, A)).reply(NOERROR, tc=True)
    for _ in range(10):
        truncated = Script(A, B, memory=truncated.memory).reply(NOERROR, tc=True).sleep()
    assert not truncated.memory.is_down(A)


def test_while_tcp_is_in_vain_a_client_on_tcp_is_asked_for_over_udp_first() -> None:
    script = Script(A, over_tcp=True, memory=tcp_down(A))

    assert [(A, "udp"), (A, "tcp")] == script.sleep().asked, "both may be filtered"
    assert Finish(b"big", A, None) == script.reply(NOERROR, text=b"big").step
    assert not script.memory.is_tcp_down(A, script.now)


def test_while_tcp_is_in_vain_what_is_truncated_costs_a_client_on_udp_no_time() -> None:
    script = Script(A, B, memory=tcp_down(A)).reply(NOERROR, text=b"part", tc=True)

    assert [(A, "udp"), (B, "udp")] == script.asked
    assert Finish(b"part", A, None) == script.fail(Failure.MALFORMED).step


@pytest.mark.parametrize("is_known", [False, True])
def test_a_client_on_tcp_waits_for_an_open_try_over_tcp(is_known: bool) -> None:
    """UDP has brought a truncated reply, which is no use to it."""
    script = Script(A, options=ONCE, over_tcp=True, memory=tcp_down(A) if is_known else None)
    if not is_known:
        script.now += 0.1
        script.lookup._send(A, False, False, script.now)
    udp = script.newest if is_known else Try(A, False, False, script.now)
    script.reply(NOERROR, text=b"part", tc=True, attempt=udp)

    assert 1000.0 + BUDGET_S == getattr(script.step, "wake_at", None)
    over_tcp = next(attempt for attempt in script.tries if attempt.over_tcp)
    assert Finish(b"whole", A, None) == script.reply(NOERROR, text=b"whole", attempt=over_tcp).step


# EDNS of our own


@pytest.mark.parametrize("rcode", [FORMERR, NOTIMP, 16])
def test_a_server_that_does_not_take_our_opt_is_asked_without_it(rcode: int) -> None:
    """RFC 6891 6.2.2."""
    script = Script(A, B, options=ForwardOptions(edns0=True))

    script.reply(rcode).reply(rcode)

    assert [(A, True), (A, False), (B, True)] == [(attempt.upstream, attempt.edns0) for attempt in script.tries]


# Whatever happens


@given(
    data=st.data(),
    servers=st.lists(st.sampled_from((Transport.UDP, Transport.UDP, Transport.TLS)), max_size=4),
    options=st.builds(
        ForwardOptions,
        timeout_s=st.floats(1.0, 30.0),
        attempts=st.integers(1, 5),
        order=st.sampled_from(("sequential", "fastest", "rotate")),
        edns0=st.booleans(),
    ),
    over_tcp=st.booleans(),
)
def test_every_look_up_ends_within_the_budget(
    data: st.DataObject, servers: list[Transport], options: ForwardOptions, over_tcp: bool
) -> None:
    """Any order of events comes to one end, at the deadline at the latest, with bounded tries."""
    upstreams = tuple(Upstream(f"192.0.2.{n}", transport=transport) for n, transport in enumerate(servers, 1))
    script = Script(*upstreams, options=options, over_tcp=over_tcp, turn=7)
    for count in itertools.count():
        if isinstance(script.step, Finish):
            break
        assert script.step.wake_at <= 1000.0 + BUDGET_S
        assert count < 200
        open_tries = [attempt for attempt in script.tries if attempt not in script.ended]
        happening = data.draw(st.sampled_from(("sleep", "fail", "reply")))
        if happening == "sleep" or not open_tries:
            script.sleep()
            continue
        script.now += data.draw(st.floats(0, max(script.step.wake_at - script.now, 0)))
        attempt = data.draw(st.sampled_from(open_tries))
        if happening == "fail":
            failures = (Failure.CONNECTION_REFUSED, Failure.UNREACHABLE, Failure.MALFORMED, Failure.DISCONNECTED)
            script.fail(data.draw(st.sampled_from(failures)), attempt)
        else:
            script.reply(data.draw(st.sampled_from((NOERROR, FORMERR, SERVFAIL, REFUSED))), tc=True, attempt=attempt)

    assert isinstance(script.step, Finish)
    assert (script.step.reply is None) == (script.step.ede is not None)
    assert len(script.tries) <= 3 * len(servers) * options.attempts
    assert all(attempt.upstream.is_datagram for attempt in script.tries if attempt.over_tcp)


# That there is nothing, by the word of a later server


NOTHING = b"\0\0\x81\x80\0\1\0\0\0\1\0\0"


def test_in_sequential_order_nothing_by_the_second_waits_for_the_first() -> None:
    """The first may be the one that knows the internal names; it is only a little late."""
    script = Script(A, B, memory=knowing(0.001, A, B)).sleep().reply(NXDOMAIN)

    assert Wait(1000.0 + 0.4) == script.step
    assert Finish(b"yes", A, None) == script.reply(NOERROR, text=b"yes", attempt=script.tries[0]).step


@pytest.mark.parametrize(("rcode", "text"), [(NXDOMAIN, b"no"), (NOERROR, NOTHING)])
def test_it_is_given_when_the_first_stays_silent_or_fails(rcode: int, text: bytes) -> None:
    silent = Script(A, B, memory=knowing(0.001, A, B)).sleep().reply(rcode, text=text).sleep()
    failed = Script(A, B, memory=knowing(0.001, A, B)).sleep().reply(rcode, text=text)
    failed.fail(Failure.MALFORMED, failed.tries[0])

    assert Finish(text, B, None, OVERTAKING_TTL, (A,)) == silent.step
    assert Finish(text, B, None) == failed.step
    assert 0.4 == pytest.approx(silent.now - 1000.0)


def test_it_is_good_for_a_while_only_when_a_server_before_is_silent_or_down() -> None:
    beside_c = (
        Script(A, B, C, memory=knowing(0.001, A, B, C)).sleep().fail(Failure.MALFORMED).reply(NXDOMAIN, text=b"no")
    )
    refused = Script(A, B).fail(Failure.CONNECTION_REFUSED).reply(NXDOMAIN, text=b"no")
    said_servfail = Script(A, B).reply(SERVFAIL).reply(NXDOMAIN, text=b"no")
    positive = Script(A, B, memory=down(A)).reply(NOERROR, text=b"yes")
    by_turns = Script(A, B, options=ForwardOptions(order="rotate"), memory=down(A)).reply(NXDOMAIN, text=b"no")

    assert Finish(b"no", C, None, OVERTAKING_TTL, (A,)) == beside_c.sleep().step
    assert Finish(b"no", B, None, OVERTAKING_TTL) == refused.step
    assert Finish(b"no", B, None) == said_servfail.step
    assert Finish(b"yes", B, None) == positive.step
    assert Finish(b"no", B, None) == by_turns.step
    assert STANDING_IN_TTL == PROBE_MOST_S


def test_a_positive_answer_of_the_second_is_given_at_once() -> None:
    script = Script(A, B, memory=knowing(0.001, A, B)).sleep().reply(NOERROR, text=b"yes" + bytes(3) + b"\0\1")

    assert isinstance(script.step, Finish)


def test_nothing_by_the_second_counts_where_the_first_was_down_or_the_order_is_another() -> None:
    memory = knowing(0.001, A, B)
    fastest = Script(A, B, memory=memory, options=ForwardOptions(order="fastest")).sleep().reply(NXDOMAIN)

    assert isinstance(fastest.step, Finish)
    memory = down(A)
    ttls = []
    for _ in range(8):
        step = Script(A, B, memory=memory).reply(NXDOMAIN, text=b"no").step
        assert isinstance(step, Finish)
        ttls.append(step.ttl_at_most)
        memory.health[A].probed(1000.0)

    assert [2, 2, 2, 4, 8, 16, STANDING_IN_TTL, STANDING_IN_TTL] == ttls, "until it is probed"


# Upstreams on streams


@pytest.mark.parametrize("over_tcp", [False, True])
def test_a_server_on_a_stream_is_asked_on_its_stream_alone(over_tcp: bool) -> None:
    script = Script(T, over_tcp=over_tcp).fail(Failure.DISCONNECTED).sleep()

    assert [(T, "udp"), (T, "udp")] == script.asked, "not over TCP: its transport is its own"
    script.fail(Failure.DISCONNECTED)
    assert isinstance(script.step, Finish)


@pytest.mark.parametrize("over_tcp", [False, True])
def test_what_a_stream_says_cut_short_is_taken_as_it_is(over_tcp: bool) -> None:
    script = Script(T, A, over_tcp=over_tcp).reply(NOERROR, text=b"cut", tc=True)

    assert Finish(b"cut", T, None) == script.step
    assert 1 == len(script.tries)


def test_a_silent_server_on_a_stream_is_not_asked_again() -> None:
    """What travels on a stream is not lost; a datagram server beside it is asked once more."""
    script = Script(T, A, options=ForwardOptions(attempts=3))
    while not isinstance(script.step, Finish):
        script.sleep()

    assert [T, A, A, A] == [attempt.upstream for attempt in script.tries]
    assert 1000.0 + BUDGET_S == script.now


def test_a_server_on_a_stream_is_waited_for_as_long_as_it_has_been_measured() -> None:
    memory = Memory()
    for _ in range(20):
        memory.replied(T, 0.1, None, 999.0)

    assert 0.4 > Script(T, U, memory=memory).wake_in > 0.1


@pytest.mark.parametrize("failure", [Failure.BAD_CERTIFICATE, Failure.NO_TLS])
def test_a_server_that_cannot_prove_who_it_is_is_down_and_asked_no_more(failure: Failure) -> None:
    script = Script(T, A).fail(failure)

    assert script.memory.is_down(T)
    assert [T, A] == [attempt.upstream for attempt in script.tries]
    script.fail(Failure.CONNECTION_REFUSED).sleep().fail(Failure.CONNECTION_REFUSED)
    assert [T, A, A] == [attempt.upstream for attempt in script.tries]


def test_the_reason_is_in_the_extended_error() -> None:
    script = Script(T)
    script.step = script.lookup.failed(script.newest, Failure.BAD_CERTIFICATE, script.now, "certificate has expired")

    assert Finish(None, None, (23, f"{T} has a bad certificate (certificate has expired)")) == script.step


def test_a_reason_that_is_too_long_is_left_out() -> None:
    failures = {T: Failure.NO_TLS, U: Failure.BAD_CERTIFICATE}

    _, text = extended_error(failures, {T: "no tls", U: "x" * 100})

    assert f"{T} failed the TLS handshake (no tls), {U} has a bad certificate" == text
