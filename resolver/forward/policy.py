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
| NOERROR or NXDOMAIN                        | that reply ends the look-up, whichever try it is of                 |
| the same, but there is nothing, from a     | `sequential`: it is kept until the earlier ones have failed, or     |
| later server while earlier ones are asked  | have been silent for 0.4 s: they may know more                      |
| the same with TC=1, over UDP               | a client on UDP: it is kept, and the server is asked over TCP       |
| the same again, or a client on TCP         | a failure                                                           |
| FORMERR, NOTIMP, BADVERS; the OPT was ours | the server is asked without it (RFC 6891 6.2.2)                     |
| any other rcode                            | a failure; the reply is kept, a SERVFAIL before any other           |
| no TCP connection, client on TCP           | the server is asked over UDP                                        |
| ICMP error, malformed reply, TCP fails     | a failure                                                           |
| the newest try fails                       | the next of the schedule is asked at once                           |
| an older try fails                         | nothing, unless nobody else is waited for                           |
| the newest try's patience is over          | the next of the schedule is asked: before 0.4 s that is a hedge,    |
|                                            | and when too many look-ups were hedged of late, 0.4 s are waited    |
| the next failed in this look-up            | it is passed over. When the schedule is through, a server that gave |
|                                            | no usable bytes is asked again, for 0.4 s; one that said an rcode   |
|                                            | is not                                                              |
| the next was asked over TCP, in vain       | it is asked over UDP                                                |
| the next is no datagram server, and silent | it is passed over: what travels on a stream is not lost. It is      |
|                                            | never asked over UDP, and what it says with TC=1 is taken as it is  |
| nobody is left, a truncated reply is kept  | that reply ends the look-up                                         |
| nobody is left, a server is silent so far  | all that remains of the budget is waited; not for one that is down  |
|                                            | when another one has said an rcode                                  |
| nobody is left, every server has failed    | the look-up ends with the reply that was kept, else with an EDE     |
| the budget is over                         | the same                                                            |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from resolver.forward.failures import FINAL, NO_CONNECTION, Failure, extended_error, failure_of_rcode
from resolver.forward.memory import FIRST_PATIENCE_S, Memory
from resolver.forward.resolvconf import DEFAULT_TIMEOUT_S, ResolvConf
from resolver.forward.upstreams import Upstream
from resolver.wire.constants import BADVERS, FORMERR, NOERROR, NOTIMP, NXDOMAIN, SERVFAIL

BUDGET_S = 4.4
"""Every look-up ends within this: a stub resolver gives up after 5 s, and our answer has a way to go."""
ROUNDS = 8
"""How often the list is gone through unless resolv.conf says ``attempts``: loss is made up for by asking again.

Each time waits twice as long as the last, so a fast server is asked until the budget is over, and an outage of a second
or two is outlived."""

Order = Literal["sequential", "fastest", "rotate"]


@dataclass(frozen=True, slots=True)
class ForwardOptions:
    """How upstreams are asked: what the configuration, else resolv.conf's options say (resolv.conf(5))."""

    timeout_s: float = DEFAULT_TIMEOUT_S
    attempts: int = ROUNDS
    order: Order = "sequential"
    edns0: bool = False
    """True: a query that came without OPT goes upstream with one of ours."""
    is_guarded: bool = False
    """True: a reply with private addresses is not passed on (`rebinding`)."""

    @classmethod
    def of(cls, conf: ResolvConf, order: Order | None = None) -> ForwardOptions:
        """The options of one resolv.conf; ``order`` when somebody has said one."""
        attempts = ROUNDS if conf.option("attempts") is None else conf.attempts
        return cls(conf.timeout_s, attempts, order or ("rotate" if conf.rotate else "sequential"), conf.edns0)


DEFAULT_OPTIONS = ForwardOptions()

_TICK_S = 0.001  # a timer may be early by the clock's resolution


class Try:
    """One query to one upstream."""

    __slots__ = ("edns0", "is_late", "over_tcp", "sent_at", "upstream")

    def __init__(self, upstream: Upstream, over_tcp: bool, edns0: bool, sent_at: float) -> None:
        self.upstream = upstream
        self.sent_at = sent_at
        self.over_tcp = over_tcp
        """A datagram server is asked by TCP."""
        self.edns0 = edns0
        """An OPT of ours is to be added if the client sent none."""
        self.is_late = False
        """Its time is over."""


class Send(NamedTuple):
    """Make this try; if nothing happens, `Lookup.woke` is to be called at ``wake_at``."""

    attempt: Try
    wake_at: float


class Wait(NamedTuple):
    """Nothing is to be done before ``wake_at``."""

    wake_at: float


class Finish(NamedTuple):
    """The look-up is over: relay ``reply`` of ``upstream``, or, without one, say SERVFAIL with ``ede``."""

    reply: bytes | None
    upstream: Upstream | None
    ede: tuple[int, str] | None


Step = Send | Wait | Finish


class Lookup:
    """The state of one look-up; times are seconds of any one monotonic clock."""

    __slots__ = (
        "_again",
        "_asked_at",
        "_client_tcp",
        "_deadline",
        "_doubted",
        "_edns0",
        "_held",
        "_is_sequential",
        "_kept",
        "_kept_rcode",
        "_memory",
        "_newest",
        "_order",
        "_passed",
        "_reasons",
        "_slots",
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
    ) -> None:
        self._client_tcp = over_tcp
        self._edns0 = options.edns0
        self._memory = memory
        self._is_sequential = options.order == "sequential"
        self._asked_at: dict[Upstream, float] = {}
        self._held: Finish | None = None  # that there is nothing, by the word of a later server
        self._order = memory.ordered(_turned(upstreams, options, turn), fastest=options.order == "fastest")
        self._doubted = [upstream for upstream in self._order if memory.is_down(upstream)]
        self._slots = len(upstreams) * options.attempts
        self._timeout_s = options.timeout_s
        self._deadline = self._wake_at = now + BUDGET_S
        self._passed = 0  # slots of the schedule that are used up
        self._again: list[Upstream] = []  # passed over; asked when the schedule is through
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

    def woke(self, now: float) -> Step:
        """The time named by the last step has come."""
        if self._held is not None:
            return self._held
        newest = self._newest
        if newest is not None:
            silence_s = now - newest.sent_at
            self._memory.silent(newest.upstream, silence_s, overtaken=False, now=now)
            is_hedge = silence_s < FIRST_PATIENCE_S - _TICK_S and not newest.is_late and len(self._order) > 1
            newest.is_late = True
            if is_hedge and now < self._deadline and not self._memory.may_hedge():
                self._wake_at = min(newest.sent_at + FIRST_PATIENCE_S, self._deadline)
                return Wait(self._wake_at)
        return self.give_up() if now >= self._deadline else self._advance(now)

    def replied(self, attempt: Try, reply: bytes, rcode: int, truncated: bool, now: float) -> Step:
        """A reply to a try came, and is one to our question; ``rcode`` has its extended bits."""
        upstream = attempt.upstream
        is_good = rcode in (NOERROR, NXDOMAIN)
        if not (attempt.edns0 and rcode in (FORMERR, NOTIMP, BADVERS)):
            failure = None if is_good else failure_of_rcode(rcode)
            self._memory.replied(upstream, now - attempt.sent_at, failure, now)
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
        self._memory.failed(attempt.upstream, failure, now)
        return self._go_on(attempt, failure, now)

    def _settle(self, finish: Finish, upstream: Upstream, is_negative: bool, now: float) -> Step:
        """The end, unless there is nothing by the word of a later server, and an earlier one may still know more."""
        if is_negative and self._is_sequential:
            until = self._earlier_until(upstream)
            if until > now:
                self._held = finish
                self._newest = None
                self._wake_at = min(until, self._deadline)
                return Wait(self._wake_at)
        return finish

    def _earlier_until(self, upstream: Upstream) -> float:
        """Until when servers before this one, which have been asked and are silent, are waited for."""
        earlier = self._order[: self._order.index(upstream)]
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
            return Wait(self._wake_at) if self._earlier_until(self._held.upstream) > now else self._held
        is_newest = attempt is self._newest
        if is_newest and self._client_tcp and attempt.over_tcp and failure in NO_CONNECTION:
            return self._send(attempt.upstream, False, attempt.edns0, now)
        if self._tried.get(attempt.upstream) is not Failure.TRUNCATED:
            self._tried[attempt.upstream] = failure
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
        if not self._client_tcp and self._tried.get(attempt.upstream) is not Failure.TRUNCATED:
            self._truncated = self._truncated or finish
            # Whatever becomes of TCP, to ask this server again over UDP would bring the same.
            self._tried[attempt.upstream] = Failure.TRUNCATED
            return self._send(attempt.upstream, True, attempt.edns0, now)
        return self._go_on(attempt, Failure.TRUNCATED, now)

    def _advance(self, now: float) -> Step:
        upstream = self._next()
        if upstream is not None:
            # TCP that did not come to a reply before is not waited for a second time.
            over_tcp = self._client_tcp and upstream not in self._tried and upstream.is_datagram
            return self._send(upstream, over_tcp, self._edns0, now)
        if self._truncated is not None or not self._is_anyone_silent():
            return self.give_up()
        self._newest = None
        self._wake_at = self._deadline
        return Wait(self._deadline)

    def _send(self, upstream: Upstream, over_tcp: bool, edns0: bool, now: float) -> Send:
        self._tried.setdefault(upstream, None)
        self._asked_at.setdefault(upstream, now)
        failure = self._tried[upstream]
        self._newest = attempt = Try(upstream, over_tcp, edns0, now)
        if failure is not None and failure not in FINAL:
            # A kernel limits the rate of its ICMP errors: silence now is the same failure, and not worth the budget.
            self._wake_at = min(now + FIRST_PATIENCE_S, self._deadline)
        elif (
            self._passed < self._slots
            or self._again
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
        rounds = max(self._passed - 1, 0) // len(self._order)
        return min(patience_s * float(1 << rounds), self._timeout_s)

    def _is_anyone_silent(self) -> bool:
        """Whether a server was asked that neither answered nor failed: a try of it is open, and worth its time."""
        return any(
            failure is None and (self._kept is None or upstream not in self._doubted)
            for upstream, failure in self._tried.items()
        )

    def _next(self) -> Upstream | None:
        """The next upstream of the schedule, after it one of those that were passed over; None when all is used up."""
        while self._passed < self._slots:
            upstream = self._order[self._passed % len(self._order)]
            self._passed += 1
            failure = self._tried.get(upstream)
            if failure is None:
                if upstream.is_datagram or upstream not in self._tried:
                    return upstream
            elif failure not in FINAL:
                self._again.append(upstream)
        return self._again.pop(0) if self._again else None


def _turned(upstreams: Sequence[Upstream], options: ForwardOptions, turn: int) -> Sequence[Upstream]:
    """The upstreams beginning with the one whose turn it is; ``turn`` counts look-ups."""
    if options.order != "rotate" or not upstreams:
        return upstreams
    first = turn % len(upstreams)
    return (*upstreams[first:], *upstreams[:first])
