"""What is remembered of upstreams from one look-up to the next: how long each takes, and who is down.

No I/O and no clock: times are seconds of any one monotonic clock. The memory of one upstream is in one of two states:

| state | what happens                                                | what it becomes                                |
|-------|-------------------------------------------------------------|------------------------------------------------|
| up    | a reply, whatever it says but REFUSED                       | up; its time is smoothed in, its strikes are 0 |
| up    | REFUSED or a referral ten times in a row: it is lame        | down                                           |
| up    | a malformed reply, a closed connection                      | a strike                                       |
| up    | overtaken: another upstream has answered meanwhile; it is   | a strike                                       |
|       | listened to on, and silent until 0.4 s after it was asked   |                                                |
| up    | the third strike in a row                                   | down                                           |
| up    | silent for 0.4 s and longer than expected, or for 1.5 s,    | down                                           |
|       | and nothing else was heard of it meanwhile; not while a     |                                                |
|       | connection to it is being made, for 1.5 s; refused or       |                                                |
|       | unreachable by ICMP; no TLS, or a certificate that does not |                                                |
|       | verify; its name has no address                             |                                                |
| down  | any time                                                    | asked after all that are up; probed beside a   |
|       |                                                             | live look-up 0.5 s, 1 s, 2 s … 30 s later      |
| down  | a reply that is neither REFUSED nor a referral              | up, at once                                    |
| any   | a datagram server over TCP: silent for 0.4 s, refused or    | the same; for 30 s, or until something comes   |
|       | unreachable by ICMP, a closed connection                    | over it, TCP is what is tried last             |

A *probe* is a copy of a live question that nobody waits for. When every upstream is down all are asked in their order.
"""

from __future__ import annotations

from collections.abc import Sequence

from resolver.forward.failures import NO_CONNECTION, Failure
from resolver.forward.upstreams import Upstream

FIRST_PATIENCE_S = 0.4
"""How long the first try of an upstream is waited for when nothing is known of it, before the next one is asked."""
MIN_PATIENCE_S = 0.03
"""However fast an upstream is: a scheduler's hiccup must not double its load."""
LONG_S = 1.5
"""Silence that is a time-out whatever was expected."""
FACTOR = 1.2
"""How much longer than expected a try is waited for."""
STRIKES = 3
REFUSALS = 10
"""REFUSED or a referral so often in a row is a lame server, and not one that does not like a client's questions."""
OUTLIER = 4.0
"""A time is taken for at most so many times what is usual, and a tenth of a second: one slow name says little."""
MAX_UPSTREAMS = 4096
"""Of so many at most anything is remembered."""
PROBE_FIRST_S = 0.5
PROBE_MOST_S = 30.0
FOLDS_CASE_S = 3600.0
"""For so long a server that was seen to fold the letter case is taken for one that does."""
STALE_S = 30.0
"""A time that was measured so long ago is measured again before it decides who is fastest."""
TCP_AGAIN_S = 30.0
"""After so long TCP that was in vain is tried again as if it had not been."""
HEDGES = 10.0
"""How many look-ups in a row may ask a second upstream early."""
HEDGES_PER_LOOKUP = 0.1
"""What each look-up adds to that: in the long run one in ten is hedged, or an overload would be made worse. Those that
turn out to have made up for a lost packet do not count."""

TICK_S = 0.001
"""A timer may be early by the clock's resolution."""

_GAIN, _VARIATION_GAIN = 1 / 8, 1 / 4  # RFC 6298 2.3
_DOWN_AT_ONCE = frozenset(
    (Failure.CONNECTION_REFUSED, Failure.UNREACHABLE, Failure.NO_TLS, Failure.BAD_CERTIFICATE, Failure.NO_ADDRESS)
)
_LAME = frozenset((Failure.REFUSED, Failure.LAME))
_NO_TCP = NO_CONNECTION | {Failure.TIMEOUT}
_NOT_ITS_FAULT = frozenset((Failure.NO_SOCKET, Failure.BUSY))


class Health:
    """The memory of one upstream."""

    __slots__ = (
        "_pause_s",
        "down_since",
        "folds_case_until",
        "last_failure",
        "opening_since",
        "probe_at",
        "refusals",
        "replied_at",
        "rtt_s",
        "sampled_at",
        "strikes",
        "tcp_down_until",
        "variation_s",
    )

    def __init__(self) -> None:
        self.rtt_s: float | None = None
        """Smoothed time from query to reply, in seconds; None before the first reply."""
        self.variation_s = 0.0
        self.strikes = 0
        self.refusals = 0
        """How often in a row it has said REFUSED, or sent a referral."""
        self.replied_at = float("-inf")
        """When anything was heard of it last."""
        self.down_since: float | None = None
        self.probe_at = 0.0
        self.sampled_at = 0.0
        self.folds_case_until = float("-inf")
        """Until then questions go to it as the client spelt them: it does not repeat their letter case."""
        self.last_failure: Failure | None = None
        self.tcp_down_until = float("-inf")
        """Until then TCP is what is tried last of a datagram server."""
        self.opening_since: float | None = None
        """Since when a connection to it has been there that has brought nothing yet."""
        self._pause_s = PROBE_FIRST_S

    @property
    def is_down(self) -> bool:
        """True when it is asked last."""
        return self.down_since is not None

    @property
    def expected_s(self) -> float | None:
        """The time within which nearly every reply comes; None before the first one."""
        return None if self.rtt_s is None else self.rtt_s + 2 * self.variation_s

    @property
    def patience_s(self) -> float:
        """As `Memory.patience_s`."""
        if self.rtt_s is None:
            return FIRST_PATIENCE_S
        patience_s = FACTOR * (self.rtt_s + 2 * self.variation_s)
        return patience_s if patience_s > MIN_PATIENCE_S else MIN_PATIENCE_S

    def sample(self, rtt_s: float, now: float) -> None:
        """Something came of it: smooth its time in (RFC 6298 2)."""
        self.sampled_at = self.replied_at = now
        self.opening_since = None
        smoothed_s = self.rtt_s
        if smoothed_s is None:
            self.rtt_s, self.variation_s = rtt_s, rtt_s / 2
            return
        off_s = rtt_s - smoothed_s
        if rtt_s > OUTLIER * smoothed_s + 0.1:
            off_s = (OUTLIER - 1) * smoothed_s + 0.1
        self.variation_s += _VARIATION_GAIN * (abs(off_s) - self.variation_s)
        self.rtt_s = smoothed_s + _GAIN * off_s

    def rise(self) -> None:
        """It has answered."""
        self.strikes = self.refusals = 0
        self.down_since = None
        self._pause_s = PROBE_FIRST_S

    def fall(self, now: float) -> None:
        """It is down from now on, or still."""
        if self.down_since is None:
            self.down_since = now
            self.probe_at = now + self._pause_s

    def probed(self, now: float) -> None:
        """A probe leaves now: the next one later, and later each time."""
        self._pause_s = min(2 * self._pause_s, PROBE_MOST_S)
        self.probe_at = now + self._pause_s


class Memory:
    """The memory of every upstream of a forwarder."""

    def __init__(self) -> None:
        self.health: dict[Upstream, Health] = {}
        self.forgotten = 0
        """Upstreams that had to make room for others."""
        self.hedged = 0
        """Look-ups in which a second upstream was asked before the first one's time was really over."""
        self._hedges = HEDGES
        self.has_down = False
        """Whether anybody may be down."""

    def of(self, upstream: Upstream) -> Health:
        """What is remembered of an upstream, to begin with nothing."""
        found = self.health.get(upstream)
        if found is None:
            if len(self.health) >= MAX_UPSTREAMS:
                del self.health[next(iter(self.health))]
                self.forgotten += 1
            found = self.health[upstream] = Health()
        return found

    def is_down(self, upstream: Upstream) -> bool:
        """True when it is asked last."""
        found = self.health.get(upstream)
        return found is not None and found.is_down

    def is_down_since(self, upstream: Upstream, since: float) -> bool:
        """True when it has been down since then, or for longer."""
        found = self.health.get(upstream)
        return found is not None and found.down_since is not None and found.down_since <= since

    def probed_in_s(self, upstream: Upstream, now: float) -> float:
        """Seconds after which an upstream that is down is probed."""
        return self.of(upstream).probe_at - now

    def is_tcp_down(self, upstream: Upstream, now: float) -> bool:
        """Whether TCP to a datagram server was in vain of late."""
        found = self.health.get(upstream)
        return found is not None and now < found.tcp_down_until

    def opened(self, upstream: Upstream, now: float) -> None:
        """A connection to it is being made: until it has brought something, silence is not yet the server's."""
        found = self.of(upstream)
        if found.opening_since is None:
            found.opening_since = now

    def ordered(self, upstreams: Sequence[Upstream], *, fastest: bool) -> Sequence[Upstream]:
        """The upstreams as they are to be asked: those that are up first, in the given order or by their time."""
        if fastest:
            upstreams = sorted(upstreams, key=lambda upstream: self.of(upstream).rtt_s or 0.0)
        if not self.has_down:
            return upstreams
        down = [upstream for upstream in upstreams if self.is_down(upstream)]
        if not down:
            return upstreams
        return (*(upstream for upstream in upstreams if upstream not in down), *down)

    def patience_s(self, upstream: Upstream) -> float:
        """How long a try of it is waited for before the next upstream is asked, in seconds."""
        found = self.health.get(upstream)
        return FIRST_PATIENCE_S if found is None else found.patience_s

    def began(self) -> None:
        """A look-up begins."""
        if self._hedges < HEDGES:
            self._hedges = min(HEDGES, self._hedges + HEDGES_PER_LOOKUP)

    def may_hedge(self) -> bool:
        """Whether a second upstream may be asked although the first one is hardly late; counts it if so."""
        if self._hedges < 1:
            return False
        self._hedges -= 1
        self.hedged += 1
        return True

    def give_back_hedges(self, count: int) -> None:
        """So many hedges were for lost packets: what is lost is no load."""
        self._hedges = min(HEDGES, self._hedges + count)

    def replied(
        self, upstream: Upstream, rtt_s: float, failure: Failure | None, now: float, *, over_tcp: bool = False
    ) -> None:
        """A reply came; ``failure`` is what its rcode amounts to, None for NOERROR and NXDOMAIN.

        ``over_tcp`` says here as below that a datagram server was asked by TCP.
        """
        found = self.of(upstream)
        if over_tcp:
            found.tcp_down_until = float("-inf")
        if failure is None or failure not in _LAME:
            self.answered(found, rtt_s, now)
            return
        found.sample(rtt_s, now)
        self._refused(found, failure, now)

    def answered(self, found: Health, rtt_s: float, now: float) -> None:
        """A reply came of one that is remembered so, and is one to go by."""
        found.sample(rtt_s, now)
        if found.strikes or found.refusals or found.down_since is not None:
            was_down = found.is_down
            found.rise()
            if was_down:
                self.has_down = any(health.is_down for health in self.health.values())

    def failed(self, upstream: Upstream, failure: Failure, now: float, *, over_tcp: bool = False) -> None:
        """A try came to nothing, without a reply that could be used."""
        if failure in _NOT_ITS_FAULT:
            return
        found = self.of(upstream)
        if failure in _LAME:
            found.replied_at = now
            self._refused(found, failure, now)
        elif over_tcp:
            if failure in _NO_TCP:
                found.tcp_down_until = now + TCP_AGAIN_S
        elif failure in _DOWN_AT_ONCE:
            found.last_failure = failure
            self._fall(found, now)
        else:
            self._strike(found, failure, now)

    def silent(
        self, upstream: Upstream, silence_s: float, *, overtaken: bool, now: float, over_tcp: bool = False
    ) -> None:
        """A try has had no reply for so long; ``overtaken`` when another upstream has answered meanwhile."""
        found = self.of(upstream)
        is_long = silence_s >= FIRST_PATIENCE_S - TICK_S
        if over_tcp:
            if is_long:
                found.tcp_down_until = now + TCP_AGAIN_S
            return
        expected = found.expected_s or 0.0
        if found.replied_at > now - silence_s:
            return  # it answers others: this name is slow, or this packet was lost
        if found.opening_since is not None and now - found.opening_since < LONG_S - TICK_S:
            return
        if silence_s >= LONG_S or (is_long and silence_s > FACTOR * expected and not overtaken):
            found.last_failure = Failure.TIMEOUT
            self._fall(found, now)
        elif overtaken and is_long:
            self._strike(found, Failure.TIMEOUT, now)

    def repeats_case(self, upstream: Upstream, now: float) -> bool:
        """Whether its replies are expected to repeat the letter case of our question."""
        found = self.health.get(upstream)
        return found is None or found.folds_case_until <= now

    def repeated_case(self, upstream: Upstream, now: float, *, did: bool) -> None:
        """A reply did so, or did not: then it is not believed, but somebody is there."""
        found = self.of(upstream)
        if did:
            found.folds_case_until = float("-inf")
        else:
            found.folds_case_until = now + FOLDS_CASE_S
            found.replied_at = now

    def due(self, upstreams: Sequence[Upstream], now: float, *, fastest: bool = False) -> list[Upstream]:
        """Those to which a copy of the present question is to go as a probe; they count as probed."""
        if not self.has_down and not fastest:
            return []
        found = []
        for upstream in upstreams:
            known = self.health.get(upstream)
            if known is None:
                continue
            if known.is_down:
                if known.probe_at <= now:
                    known.probed(now)
                    found.append(upstream)
            elif fastest and known.rtt_s is not None and known.sampled_at + STALE_S <= now:
                known.sampled_at = now
                found.append(upstream)
        return found

    def _refused(self, found: Health, failure: Failure, now: float) -> None:
        found.refusals += 1
        found.last_failure = failure
        if found.refusals >= REFUSALS:
            self._fall(found, now)

    def _strike(self, found: Health, failure: Failure, now: float) -> None:
        found.strikes += 1
        found.last_failure = failure
        if found.strikes >= STRIKES:
            self._fall(found, now)

    def _fall(self, found: Health, now: float) -> None:
        found.fall(now)
        self.has_down = True
