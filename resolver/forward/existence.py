"""NXDOMAIN of DNS for a type that the host's name service cannot be asked, where that service knows the name.

A name of the hosts file or a directory has addresses, but DNS has never heard of it: what it says of MX or HTTPS is
that there is no such name, and a cache behind us may take that for the addresses as well (RFC 8020 2). So the name
service is asked whether there is such a host, for its addresses, and if there is the answer is NODATA.

| the servers say                                       | the name service says      | the client gets            |
|-------------------------------------------------------|----------------------------|----------------------------|
| anything but NXDOMAIN; NXDOMAIN at the end of aliases | (is not asked)             | that                       |
| NXDOMAIN                                              | addresses, or NODATA       | NODATA, which nobody keeps |
| NXDOMAIN                                              | anything else, or too late | NXDOMAIN                   |
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from resolver.forward.policy import BUDGET_S, DEFAULT_OPTIONS, ForwardOptions
from resolver.forward.upstreams import SYSTEM, Upstream
from resolver.wire.constants import CLASS_IN, MAX_MESSAGE_SIZE, NOERROR, NXDOMAIN, RCODE_MASK, A
from resolver.wire.query import Query, scan
from resolver.wire.reply import Answer, compose

if TYPE_CHECKING:
    from resolver.forward.forwarder import Forwarder
    from resolver.forward.outcomes import Done, Outcome
    from resolver.forward.transports import SocketFactory

_HEADER = b"\0\0\1\0\0\1\0\0\0\0\0\0"  # RD, one question
_IS_A = A.to_bytes(2, "big") + CLASS_IN.to_bytes(2, "big")


class Existence:
    """Look-ups of which the name service has a word in the end."""

    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder
        self._loop = asyncio.get_running_loop()

    def resolve(
        self,
        query: Query,
        upstreams: Sequence[Upstream],
        over_tcp: bool,
        done: Done,
        options: ForwardOptions,
        in_namespace: SocketFactory,
        client: Hashable | None,
    ) -> None:
        """As `Forwarder.resolve`, within the same time; the last of ``upstreams`` is the name service."""
        until = self._loop.time() + BUDGET_S
        heard = partial(self._heard, query, until, done, client)
        self._forwarder.resolve(query, upstreams[:-1], over_tcp, heard, options, in_namespace, client)

    def _heard(self, query: Query, until: float, done: Done, client: Hashable | None, outcome: Outcome) -> None:
        if outcome.overtaken:
            outcome = outcome._replace(overtaken=(*outcome.overtaken, SYSTEM))
        reply = outcome.reply
        if reply is None or reply[3] & RCODE_MASK != NXDOMAIN or reply[6:8] != b"\0\0":
            done(outcome)
            return
        addresses = scan(_HEADER + query.qname + _IS_A)
        assert isinstance(addresses, Query)
        doubt = _Doubt(query, outcome, done)
        self._forwarder.resolve(addresses, (SYSTEM,), False, doubt.settle, DEFAULT_OPTIONS, client=client)
        doubt.wait(self._loop, until)


class _Doubt:
    """A denial that waits for the word of the name service."""

    __slots__ = ("_denial", "_done", "_query", "_timer")

    def __init__(self, query: Query, denial: Outcome, done: Done) -> None:
        self._query = query
        self._denial = denial
        self._done: Done | None = done
        self._timer: asyncio.TimerHandle | None = None

    def wait(self, loop: asyncio.AbstractEventLoop, until: float) -> None:
        """Unless it is settled already, for so long."""
        if self._done is not None:
            self._timer = loop.call_at(until, self._end, self._denial)

    def settle(self, outcome: Outcome) -> None:
        """The name service has spoken, or nothing will come of it."""
        is_there = outcome.reply is not None and outcome.reply[3] & RCODE_MASK == NOERROR
        self._end(self._no_data() if is_there else self._denial)

    def _no_data(self) -> Outcome:
        reply = compose(self._query, Answer(NOERROR), MAX_MESSAGE_SIZE)
        return self._denial._replace(reply=reply, facts=None, upstream=SYSTEM)

    def _end(self, outcome: Outcome) -> None:
        if self._timer is not None:
            self._timer.cancel()
        done, self._done = self._done, None
        if done is not None:
            done(outcome)
