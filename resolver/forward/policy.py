"""What one look-up does next: which upstream, over what, until when. A state machine without I/O or clock.

The forwarder reports what happened, with the time; each report returns one of `Send`, `Wait` and `Finish`. The
*schedule* is the list of upstreams, those that are up first (`memory`), gone through ``attempts`` times. A try's
*patience* is 1.2 times what its upstream is expected to take (0.4 s when nothing is known of it), doubled with each
further time through the list, at most ``timeout``. A *try* is open until it fails or the look-up ends, so a reply that
comes after its time still wins. The *newest* try is the one whose time runs.

| what happens                               | what is done                                                        |
|--------------------------------------------|---------------------------------------------------------------------|
| start                                      | the first of the schedule is asked; order `fastest`: the one that   |
|                                            | takes the least time, `rotate`: the next in turn                    |
| option `use-vc`                            | as for a client on TCP                                              |
| NOERROR or NXDOMAIN                        | that reply ends the look-up, whichever try it is of                 |
| the same, but there is nothing, from a     | `sequential`: it is kept until the earlier ones have failed, or     |
| later server while earlier ones are asked  | have been silent for 0.4 s: they may know more                      |
| the same, and an earlier one is silent     | it is *provisional*: good for 2 s, and that one is asked on         |
| the same, and an earlier one is down       | it is good until that one is probed, 2 s to 30 s                    |
| the same with TC=1, over UDP               | a client on UDP: it is kept, and the server is asked over TCP       |
| the same, and TCP was in vain of late; a   | the next server is asked                                            |
| client on TCP: and is in this look-up      |                                                                     |
| a referral: the server is lame             | a failure; the reply is not kept                                    |
| FORMERR, NOTIMP, BADVERS; the OPT was ours | the server is asked without it (RFC 6891 6.2.2)                     |
| any other rcode                            | a failure; the reply is kept, a SERVFAIL before any other           |
| no TCP connection, client on TCP           | the server is asked over UDP                                        |
| client on TCP, which was in vain of late   | over UDP first, then over TCP                                       |
| ICMP error, malformed reply, TCP fails     | a failure                                                           |
| the newest try fails                       | the next of the schedule is asked at once                           |
| an older try fails                         | nothing, unless nobody else is waited for                           |
| the newest try's patience is over          | the next of the schedule is asked: before 0.4 s that is a hedge,    |
|                                            | and when too many look-ups were hedged of late, 0.4 s are waited    |
| after hedges the newest try is answered in | they cost nothing: a packet was lost. When an earlier one is        |
| time, and no earlier one was               | answered after all, or the newest late, everything is slow          |
| the next failed in this look-up            | it is passed over. When the schedule is through, a server that gave |
|                                            | no usable bytes is asked again, for 0.4 s, with pauses (`schedule`) |
|                                            | for a second in all; one that said an rcode is not                  |
| the next was asked over TCP, in vain       | it is asked over UDP                                                |
| the next is no datagram server, and silent | it is passed over: what travels on a stream is not lost. It is      |
|                                            | never asked over UDP, and what it says with TC=1 is taken as it is  |
| nobody is left, a truncated reply is kept  | that reply ends the look-up                                         |
| nobody is left, a server is silent so far, | all that remains of the budget is waited; not for one that is down  |
| client on TCP: over TCP                    | when another one has said an rcode                                  |
| nobody is left, every server has failed    | the look-up ends with the reply that was kept, else with an EDE     |
| the budget is over                         | the same                                                            |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from resolver.forward.failures import FINAL, NO_CONNECTION, Failure, extended_error, failure_of_rcode
from resolver.forward.memory import FIRST_PATIENCE_S, TICK_S, Memory
from resolver.forward.resolvconf import DEFAULT_TIMEOUT_S, ResolvConf
from resolver.forward.schedule import Schedule, turned
from resolver.forward.steps import Finish, Send, Step, Try, Wait
from resolver.forward.upstreams import Upstream
from resolver.wire.constants import BADVERS, FORMERR, NOERROR, NOTIMP, NXDOMAIN, SERVFAIL

BUDGET_S = 4.4
"""Every look-up ends within this: a stub resolver gives up after 5 s, and our answer has a way to go."""
ROUNDS = 8
"""How often the list is gone through unless resolv.conf says ``attempts``: loss is made up for by asking again.

Each time waits twice as long as the last, so a fast server is asked until the budget is over, and an outage of a second
or two is outlived."""

Order = Literal["sequential", "fastest", "rotate"]


class ForwardOptions(Struct, frozen=True):
    """How upstreams are asked: what the configuration, else resolv.conf's options say (resolv.conf(5))."""

    timeout_s: float = DEFAULT_TIMEOUT_S
    attempts: int = ROUNDS
    order: Order = "sequential"
    edns0: bool = False
    """True: a query that came without OPT goes upstream with one of ours."""
    is_guarded: bool = False
    """True: a reply with private addresses is not passed on (`rebinding`)."""
    over_tcp: bool = False
    """True: datagram servers are asked over TCP whatever the client came by (``use-vc``)."""
    no_aaaa: bool = False
    """True: there is no AAAA, and nobody is asked for it (``no-aaaa``)."""

    @classmethod
    def of(cls, conf: ResolvConf, order: Order | None = None) -> ForwardOptions:
        """The options of one resolv.conf; ``order`` when somebody has said one."""
        attempts = ROUNDS if conf.option("attempts") is None else conf.attempts
        return cls(
            conf.timeout_s,
            attempts,
            order or ("rotate" if conf.rotate else "sequential"),
            conf.edns0,
            over_tcp=conf.use_vc,
            no_aaaa=conf.no_aaaa,
        )


DEFAULT_OPTIONS = ForwardOptions()

OVERTAKING_TTL = 2
"""Seconds for which the word that there is nothing is good while an earlier server has not been heard."""
STANDING_IN_TTL = 30
"""At most the same while an earlier server is down: `memory.PROBE_MOST_S`, for then it may be up again."""


class Lookup:
    """The state of one look-up; times are seconds of any one monotonic clock."""

    __slots__ = (
        "_asked_at",
        "_client_tcp",
        "_deadline",
        "_doubted",
        "_edns0",
        "_hedged",
        "_held",
        "_is_sequential",
        "_kept",
        "_kept_rcode",
        "_listed",
        "_memory",
        "_newest",
        "_paused",
        "_reasons",
        "_schedule",
        "_tcp_asked",
        "_tcp_open",
        "_timeout_s",
        "_tried",
        "_truncated",
        "_wake_at",
    )

    def __init__(
        self,
        upstreams: Sequence[Upstream],
        options: ForwardOptions,
        over_tcp: bool,
        now: float,
        memory: Memory,
        turn: int = 0,
        *,
        is_ordered: bool = False,
    ) -> None:
        """``is_ordered`` says that the upstreams are in the order in which they are asked, and were all up."""
        self._client_tcp = over_tcp or options.over_tcp
        self._edns0 = options.edns0
        self._memory = memory
        self._is_sequential = options.order == "sequential"
        self._asked_at: dict[Upstream, float] = {}
        self._hedged = 0  # hedges that this look-up owes to the budget
        self._held: Finish | None = None  # that there is nothing, by the word of a later server
        self._listed = turned(upstreams, turn) if options.order == "rotate" and not is_ordered else upstreams
        order = upstreams if is_ordered else memory.ordered(self._listed, fastest=options.order == "fastest")
        self._doubted = [] if is_ordered else [upstream for upstream in order if memory.is_down(upstream)]
        self._schedule = Schedule(order, options.attempts, memory, now)
        self._paused: Upstream | None = None  # who is asked when the pause is over
        self._timeout_s = options.timeout_s
        self._deadline = self._wake_at = now + BUDGET_S
        self._tcp_asked: tuple[Upstream, ...] = ()  # datagram servers that were asked over TCP
        self._tcp_open: tuple[Upstream, ...] = ()  # those of them that may answer there yet
        self._tried: dict[Upstream, Failure | None] = {}  # in the order of their first try; None: silent so far
        self._reasons: dict[Upstream, str] = {}
        self._newest: Try | None = None
        self._truncated: Finish | None = None
        self._kept: Finish | None = None
        self._kept_rcode = NOERROR

    def start(self, now: float) -> Step:
        """The first step."""
        self._memory.began()
        return self._advance(now)

    def go_on(self, sent_at: float) -> Step:
        """The first step, which was taken then: the first upstream has been asked by a datagram (`usual`)."""
        return self._advance(sent_at)

    def woke(self, now: float) -> Step:
        """The time named by the last step has come."""
        if self._held is not None:
            return self._nothing(self._held, now)
        if self._paused is not None and now < self._deadline:
            return self._send(self._paused, False, self._edns0, now)
        newest = self._newest
        if newest is not None:
            silence_s = now - newest.sent_at
            self._memory.silent(newest.upstream, silence_s, overtaken=False, now=now, over_tcp=newest.over_tcp)
            is_hedge = silence_s < FIRST_PATIENCE_S - TICK_S and not newest.is_late and len(self._schedule.order) > 1
            newest.is_late = True
            if is_hedge and now < self._deadline:
                if not self._memory.may_hedge():
                    self._wake_at = min(newest.sent_at + FIRST_PATIENCE_S, self._deadline)
                    return Wait(self._wake_at)
                self._hedged += 1
        return self.give_up() if now >= self._deadline else self._advance(now)

    def replied(self, attempt: Try, reply: bytes, rcode: int, truncated: bool, now: float) -> Step:
        """A reply to a try came, and is one to our question; ``rcode`` has its extended bits."""
        upstream = attempt.upstream
        if self._hedged:
            self._settle_hedges(attempt, now)
        is_good = rcode in (NOERROR, NXDOMAIN)
        if not (attempt.edns0 and rcode in (FORMERR, NOTIMP, BADVERS)):
            failure = None if is_good else failure_of_rcode(rcode)
            self._memory.replied(upstream, now - attempt.sent_at, failure, now, over_tcp=attempt.over_tcp)
        if is_good:
            if attempt.over_tcp or not truncated or not upstream.is_datagram:
                is_negative = rcode == NXDOMAIN or reply[6:8] == b"\0\0"  # no answer record
                return self._settle(Finish(reply, upstream, None), upstream, is_negative, now)
            return self._was_truncated(attempt, Finish(reply, upstream, None), now)
        if attempt.edns0 and rcode in (FORMERR, NOTIMP, BADVERS):
            return self._send(upstream, attempt.over_tcp, False, now)
        if self._kept is None or (rcode == SERVFAIL and self._kept_rcode != SERVFAIL):
            self._kept, self._kept_rcode = Finish(reply, upstream, None), rcode
        return self._go_on(attempt, failure_of_rcode(rcode), now)

    def failed(self, attempt: Try, failure: Failure, now: float, reason: str = "") -> Step:
        """A try came to nothing; ``reason`` says more, in a few words."""
        if reason:
            self._reasons[attempt.upstream] = reason
        self._memory.failed(attempt.upstream, failure, now, over_tcp=attempt.over_tcp)
        return self._go_on(attempt, failure, now)

    def _settle_hedges(self, attempt: Try, now: float) -> None:
        """A reply tells what the hedges before it were for: loss, which they cure, or overload, which they feed."""
        if not attempt.is_late and now - attempt.sent_at <= self._memory.patience_s(attempt.upstream):
            self._memory.give_back_hedges(self._hedged)
        self._hedged = 0

    def _settle(self, finish: Finish, upstream: Upstream, is_negative: bool, now: float) -> Step:
        """The end, unless there is nothing by the word of a later server, and an earlier one may still know more."""
        if not is_negative or not self._is_sequential:
            return finish
        until = self._earlier_until(upstream)
        if until > now:
            self._held = finish
            self._newest = None
            self._wake_at = min(until, self._deadline)
            return Wait(self._wake_at)
        return self._nothing(finish, now)

    def _nothing(self, finish: Finish, now: float) -> Finish:
        """The end by a server's word that there is nothing, which is good for less while one before it is unheard."""
        assert finish.upstream is not None
        earlier = self._listed[: self._listed.index(finish.upstream)]
        overtaken = tuple(
            one for one in earlier if one in self._tried and self._tried[one] is None and one not in self._doubted
        )
        if overtaken:
            return finish._replace(ttl_at_most=OVERTAKING_TTL, overtaken=overtaken)
        probed_in_s = [self._memory.probed_in_s(one, now) for one in earlier if self._memory.is_down(one)]
        if not probed_in_s:
            return finish
        return finish._replace(ttl_at_most=min(max(OVERTAKING_TTL, int(min(probed_in_s))), STANDING_IN_TTL))

    def _earlier_until(self, upstream: Upstream) -> float:
        """Until when servers before this one, which have been asked and are silent, are waited for."""
        earlier = self._schedule.order[: self._schedule.order.index(upstream)]
        return max(
            (
                self._asked_at[one] + FIRST_PATIENCE_S
                for one in earlier
                if one in self._tried and self._tried[one] is None and one not in self._doubted
            ),
            default=0.0,
        )

    def _go_on(self, attempt: Try, failure: Failure, now: float) -> Step:
        if self._held is not None and self._held.upstream is not None:
            self._tried[attempt.upstream] = failure
            is_awaited = self._earlier_until(self._held.upstream) > now
            return Wait(self._wake_at) if is_awaited else self._nothing(self._held, now)
        is_newest = attempt is self._newest
        if attempt.over_tcp:
            self._tcp_open = tuple(one for one in self._tcp_open if one != attempt.upstream)
        if self._tried.get(attempt.upstream) is not Failure.TRUNCATED:
            if is_newest and self._client_tcp and attempt.over_tcp and failure in NO_CONNECTION:
                return self._send(attempt.upstream, False, attempt.edns0, now)
            self._tried[attempt.upstream] = failure
        if self._paused is not None:
            return Wait(self._wake_at)
        if is_newest or (self._newest is None and not self._is_anyone_silent()):
            return self._advance(now)
        return Wait(self._wake_at)

    def give_up(self) -> Finish:
        """The end without a good reply: the best of the bad ones, else what to say in its place."""
        kept = self._truncated or self._kept
        if kept is not None:
            return kept
        failures = {upstream: failure or Failure.TIMEOUT for upstream, failure in self._tried.items()}
        return Finish(None, None, extended_error(failures, self._reasons))

    def _was_truncated(self, attempt: Try, finish: Finish, now: float) -> Step:
        upstream = attempt.upstream
        if not self._client_tcp:
            self._truncated = self._truncated or finish
        else:
            self._reasons[upstream] = "and nothing over TCP"
        if upstream in self._tcp_asked or (not self._client_tcp and self._memory.is_tcp_down(upstream, now)):
            return self._go_on(attempt, Failure.TRUNCATED, now)
        # Whatever becomes of TCP, to ask this server again over UDP would bring the same.
        self._tried[upstream] = Failure.TRUNCATED
        return self._send(upstream, True, attempt.edns0, now)

    def _advance(self, now: float) -> Step:
        found = self._schedule.next(self._tried, now)
        if found is not None:
            upstream, at = found
            if at <= now:
                return self._send(upstream, self._is_for_tcp(upstream, now), self._edns0, now)
            if self._truncated is None:
                self._paused, self._newest = upstream, None
                self._wake_at = min(at, self._deadline)
                return Wait(self._wake_at)
        if self._truncated is not None or not (self._is_anyone_silent() or (self._client_tcp and self._tcp_open)):
            return self.give_up()
        self._newest = None
        self._wake_at = self._deadline
        return Wait(self._deadline)

    def _is_for_tcp(self, upstream: Upstream, now: float) -> bool:
        """Whether a server is asked over TCP for a client on TCP: once, and where that is in vain of late, second."""
        if not self._client_tcp or not upstream.is_datagram or upstream in self._tcp_asked:
            return False
        return upstream in self._tried or not self._memory.is_tcp_down(upstream, now)

    def _send(self, upstream: Upstream, over_tcp: bool, edns0: bool, now: float) -> Send:
        self._tried.setdefault(upstream, None)
        self._asked_at.setdefault(upstream, now)
        self._schedule.sent(upstream, now)
        self._paused = None
        if over_tcp:
            self._tcp_asked += (upstream,)
            self._tcp_open += (upstream,)
        failure = self._tried[upstream]
        self._newest = attempt = Try(upstream, over_tcp, edns0, now)
        if failure is not None and failure not in FINAL:
            # A kernel limits the rate of its ICMP errors: silence now is the same failure, and not worth the budget.
            self._wake_at = min(now + FIRST_PATIENCE_S, self._deadline)
        elif (
            self._schedule.has_more
            or self._truncated is not None
            or (self._kept is not None and upstream in self._doubted)
        ):
            self._wake_at = min(now + self._patience_s(attempt), self._deadline)
        else:
            self._wake_at = self._deadline
        return Send(attempt, self._wake_at)

    def _patience_s(self, attempt: Try) -> float:
        """Seconds for which the newest try is waited for before the next one starts."""
        patience_s = self._memory.patience_s(attempt.upstream)
        if attempt.over_tcp:  # what is known is how long it takes over UDP, and the connection comes on top
            patience_s = max(FIRST_PATIENCE_S, 2 * patience_s)
        return min(patience_s * float(1 << self._schedule.round), self._timeout_s)

    def _is_anyone_silent(self) -> bool:
        """Whether a server was asked that neither answered nor failed: a try of it is open, and worth its time."""
        return any(
            failure is None and (self._kept is None or upstream not in self._doubted)
            for upstream, failure in self._tried.items()
        )
