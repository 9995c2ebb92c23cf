"""What operators are shown of upstreams."""

from __future__ import annotations

import asyncio

from resolver.forward.forwarder import FORMER_S, Forwarder
from resolver.forward.upstreams import Upstream
from resolver.listing import upstreams_of

NAMED, LATELY, LONG_AGO, ROUTED = (Upstream(f"192.0.2.{n}") for n in (1, 2, 3, 4))


def test_who_is_named_by_nobody_and_was_not_asked_for_a_while_is_not_shown() -> None:
    async def main() -> None:
        forwarder = Forwarder()
        now = asyncio.get_running_loop().time()
        forwarder.named = frozenset((NAMED, ROUTED))
        for upstream, ago_s in ((NAMED, 9e9), (LATELY, 1.0), (LONG_AGO, FORMER_S + 1)):
            forwarder.stats_of(upstream).ask(now - ago_s)

        listed = [told["address"] for told in upstreams_of(forwarder, (NAMED,), now)["upstreams"]]

        assert [str(NAMED), str(LATELY)] == listed, "routes are shown with their upstreams"
        counts = forwarder.counts()
        assert {str(NAMED): 1, str(LATELY): 1, str(ROUTED): 0} == {to: stats.requests for to, stats in counts.items()}
        forwarder.close()

    asyncio.run(main())
