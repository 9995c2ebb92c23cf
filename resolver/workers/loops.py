"""Loops found together: a worker's probe may come back to another one, because the kernel deals queries out.

Every worker's probes begin with the same random digits. Whoever gets one that is not its own says so to all others,
and whose it is goes by that as if it had come to itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from resolver.forward.forwarder import no_namespace
from resolver.forward.loops import Loops
from resolver.forward.upstreams import Upstream
from resolver.wire.name import WireName

if TYPE_CHECKING:
    from resolver.forward.forwarder import Forwarder
    from resolver.forward.loops import _Probe
    from resolver.forward.outcomes import Outcome
    from resolver.forward.transports import SocketFactory

MARK_OCTETS = 8
HEARSAY_S = 1.0
"""How long after a probe's end another worker may still say that it has come back."""

Tell = Callable[[WireName, tuple[Upstream, ...]], None]


class _Awaited(dict[WireName, "_Probe"]):
    """Own probes; it has in it, so to speak, those of the other workers as well."""

    def __init__(self, mark: bytes) -> None:
        super().__init__()
        self._mark = mark

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or (isinstance(key, bytes) and key.startswith(self._mark, 1))


class SharedLoops(Loops):
    """The loops of one worker."""

    def __init__(self, forwarder: Forwarder, mark: bytes, tell: Tell) -> None:
        """``tell`` hands to the other workers whose probe it was not that came here, and who was asked for it."""
        super().__init__(forwarder)
        self.mark = mark
        self.awaited = _Awaited(mark)
        self._tell = tell

    def came_back(self, key: WireName, to: Iterable[Upstream], in_namespace: SocketFactory) -> bool:
        """As `Loops.came_back`; another worker's probe is its matter."""
        to = tuple(to)
        if self.awaited.get(key) is None:
            self._tell(key, to)
            return False
        return super().came_back(key, to, in_namespace)

    def heard(self, key: WireName, to: tuple[Upstream, ...]) -> None:
        """A probe has come to another worker."""
        if self.awaited.get(key) is not None:
            super().came_back(key, to, no_namespace)

    def _ended(self, probe: _Probe, outcome: Outcome) -> None:
        asyncio.get_running_loop().call_later(HEARSAY_S, super()._ended, probe, outcome)
