"""What one look-up does next: which upstream, over what, until when. A state machine without I/O or clock.

The forwarder reports what happened, with the time; each report returns one of `Send`, `Wait` and `Finish`. The
*schedule* is the list of upstreams, gone through ``attempts`` times. The *try's time* is ``min(timeout, budget / length
of the schedule)``, at least 0.4 s. A *try* is open until it fails or the look-up ends, so a reply that comes after its
time still wins. The *newest* try is the one whose time runs.

| what happens                               | what is done                                                        |
|--------------------------------------------|---------------------------------------------------------------------|
| start                                      | the first of the schedule is asked (`rotate`: the next in turn)     |
| NOERROR or NXDOMAIN                        | that reply ends the look-up, whichever try it is of                 |
| the same with TC=1, over UDP               | a client on UDP: it is kept, and the server is asked over TCP       |
| the same again, or a client on TCP         | a failure                                                           |
| FORMERR, NOTIMP, BADVERS; the OPT was ours | the server is asked without it (RFC 6891 6.2.2)                     |
| any other rcode                            | a failure; the reply is kept, a SERVFAIL before any other           |
| no TCP connection, client on TCP           | the server is asked over UDP                                        |
| ICMP error, malformed reply, TCP fails     | a failure                                                           |
| the newest try fails                       | the next of the schedule is asked at once                           |
| an older try fails                         | nothing, unless nobody else is waited for                           |
| the newest try's time is over              | the next of the schedule is asked                                   |
| the next failed in this look-up            | it is passed over. When the schedule is through, a server that gave |
|                                            | no usable bytes is asked again, for 0.4 s; one that said an rcode   |
|                                            | is not                                                              |
| the next was asked over TCP, in vain       | it is asked over UDP                                                |
| nobody is left, a truncated reply is kept  | that reply ends the look-up                                         |
| nobody is left, a server is silent so far  | all that remains of the budget is waited                            |
| nobody is left, every server has failed    | the look-up ends with the reply that was kept, else with an EDE     |
| the budget is over                         | the same                                                            |

Who is asked first, how long a try's time is and when the next one starts is settled in `_order`, `_try_time` and
`Lookup.woke` alone: memory of round-trip times, hedging and the order `fastest` go there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from resolver.forward.failures import FINAL, NO_CONNECTION, Failure, extended_error, failure_of_rcode
from resolver.forward.resolvconf import DEFAULT_ATTEMPTS, DEFAULT_TIMEOUT_S, ResolvConf
from resolver.forward.upstreams import Upstream
from resolver.wire.constants import BADVERS, FORMERR, NOERROR, NOTIMP, NXDOMAIN, SERVFAIL

BUDGET_S = 4.4
"""Every look-up ends within this: a stub resolver gives up after 5 s, and our answer has a way to go."""
MIN_TRY_S = 0.4


@dataclass(frozen=True, slots=True)
class ForwardOptions:
    """What resolv.conf's options say of forwarding (resolv.conf(5))."""

    timeout_s: float = DEFAULT_TIMEOUT_S
    attempts: int = DEFAULT_ATTEMPTS
    rotate: bool = False
    edns0: bool = False
    """True: a query that came without OPT goes upstream with one of ours."""

    @classmethod
    def of(cls, conf: ResolvConf) -> ForwardOptions:
        """The options of one resolv.conf."""
        return cls(conf.timeout_s, conf.attempts, conf.rotate, conf.edns0)


DEFAULT_OPTIONS = ForwardOptions()


class Try:
    """One query to one upstream."""

    __slots__ = ("edns0", "is_late", "over_tcp", "upstream")

    def __init__(self, upstream: Upstream, over_tcp: bool, edns0: bool) -> None:
        self.upstream = upstream
        self.over_tcp = over_tcp
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
        "_client_tcp",
        "_deadline",
        "_edns0",
        "_kept",
        "_kept_rcode",
        "_newest",
        "_order",
        "_passed",
        "_slots",
        "_tried",
        "_truncated",
        "_try_s",
        "_wake_at",
    )

    def __init__(
        self, upstreams: Sequence[Upstream], options: ForwardOptions, over_tcp: bool, now: float, turn: int = 0
    ) -> None:
        self._client_tcp = over_tcp
        self._edns0 = options.edns0
        self._order = _order(upstreams, options, turn)
        self._slots = len(upstreams) * options.attempts
        self._try_s = _try_time(self._slots, options)
        self._deadline = self._wake_at = now + BUDGET_S
        self._passed = 0  # slots of the schedule that are used up
        self._again: list[Upstream] = []  # passed over; asked when the schedule is through
        self._tried: dict[Upstream, Failure | None] = {}  # in the order of their first try; None: silent so far
        self._newest: Try | None = None
        self._truncated: Finish | None = None
        self._kept: Finish | None = None
        self._kept_rcode = NOERROR

    def start(self, now: float) -> Step:
        """The first step."""
        return self._advance(now)

    def woke(self, now: float) -> Step:
        """The time named by the last step has come."""
        if self._newest is not None:
            self._newest.is_late = True
        return self.give_up() if now >= self._deadline else self._advance(now)

    def replied(self, attempt: Try, reply: bytes, rcode: int, truncated: bool, now: float) -> Step:
        """A reply to a try came, and is one to our question; ``rcode`` has its extended bits."""
        upstream = attempt.upstream
        if rcode in (NOERROR, NXDOMAIN):
            if attempt.over_tcp or not truncated:
                return Finish(reply, upstream, None)
            return self._was_truncated(attempt, Finish(reply, upstream, None), now)
        if attempt.edns0 and rcode in (FORMERR, NOTIMP, BADVERS):
            return self._send(upstream, attempt.over_tcp, False, now)
        if self._kept is None or (rcode == SERVFAIL and self._kept_rcode != SERVFAIL):
            self._kept, self._kept_rcode = Finish(reply, upstream, None), rcode
        return self.failed(attempt, failure_of_rcode(rcode), now)

    def failed(self, attempt: Try, failure: Failure, now: float) -> Step:
        """A try came to nothing."""
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
        return Finish(None, None, extended_error(failures))

    def _was_truncated(self, attempt: Try, finish: Finish, now: float) -> Step:
        if not self._client_tcp and self._tried.get(attempt.upstream) is not Failure.TRUNCATED:
            self._truncated = self._truncated or finish
            # Whatever becomes of TCP, to ask this server again over UDP would bring the same.
            self._tried[attempt.upstream] = Failure.TRUNCATED
            return self._send(attempt.upstream, True, attempt.edns0, now)
        return self.failed(attempt, Failure.TRUNCATED, now)

    def _advance(self, now: float) -> Step:
        upstream = self._next()
        if upstream is not None:
            # TCP that did not come to a reply before is not waited for a second time.
            over_tcp = self._client_tcp and upstream not in self._tried
            return self._send(upstream, over_tcp, self._edns0, now)
        if self._truncated is not None or not self._is_anyone_silent():
            return self.give_up()
        self._newest = None
        self._wake_at = self._deadline
        return Wait(self._deadline)

    def _send(self, upstream: Upstream, over_tcp: bool, edns0: bool, now: float) -> Send:
        self._tried.setdefault(upstream, None)
        failure = self._tried[upstream]
        self._newest = attempt = Try(upstream, over_tcp, edns0)
        if failure is not None and failure not in FINAL:
            # A kernel limits the rate of its ICMP errors: silence now is the same failure, and not worth the budget.
            self._wake_at = min(now + MIN_TRY_S, self._deadline)
        elif self._passed < self._slots or self._again or self._truncated is not None:
            self._wake_at = min(now + self._try_s, self._deadline)
        else:
            self._wake_at = self._deadline
        return Send(attempt, self._wake_at)

    def _is_anyone_silent(self) -> bool:
        """Whether a server was asked that neither answered nor failed: a try of it is open."""
        return None in self._tried.values()

    def _next(self) -> Upstream | None:
        """The next upstream of the schedule, after it one of those that were passed over; None when all is used up."""
        while self._passed < self._slots:
            upstream = self._order[self._passed % len(self._order)]
            self._passed += 1
            failure = self._tried.get(upstream)
            if failure is None:
                return upstream
            if failure not in FINAL:
                self._again.append(upstream)
        return self._again.pop(0) if self._again else None


def _order(upstreams: Sequence[Upstream], options: ForwardOptions, turn: int) -> Sequence[Upstream]:
    """The upstreams in the order in which this look-up asks them; ``turn`` counts look-ups."""
    if not options.rotate or not upstreams:
        return upstreams
    first = turn % len(upstreams)
    return (*upstreams[first:], *upstreams[:first])


def _try_time(slots: int, options: ForwardOptions) -> float:
    """Seconds for which the newest try is waited before the next one starts."""
    return max(MIN_TRY_S, min(options.timeout_s, BUDGET_S / max(slots, 1)))
