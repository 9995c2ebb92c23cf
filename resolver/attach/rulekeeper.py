"""Looks after what an attachment has laid, on an event loop; its blocking work stays in the namespace's lanes."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable

from resolver.attach.attachment import Attachment
from resolver.errors import AttachError

log = logging.getLogger(__name__)

SETTLE_S = 0.1
"""How long to wait after a change of rules before they are looked at; whoever changes them may not be done."""
SETTLE_MOST_S = 0.8
"""It is doubled up to this for as long as repairs fail or somebody undoes them."""


class RuleKeeper:
    """Looks at the redirect rules when the kernel tells of a change, and now and then, and has them repaired."""

    def __init__(
        self,
        attachment: Attachment,
        loop: asyncio.AbstractEventLoop,
        looked: Callable[[], None] = lambda: None,
        pause_s: Callable[[], float] | None = None,
    ) -> None:
        """``looked`` is called after each look; ``pause_s`` says how long until one without anything heard."""
        self._attachment = attachment
        self._loop = loop
        self._after_look = looked
        self._pause_s = pause_s or (lambda: attachment.poll_interval_s)
        self._timer: asyncio.TimerHandle | None = None
        self._is_checking = False
        self._is_stale = False
        """Something changed while a check was under way, perhaps behind its back."""
        self._settle_s = SETTLE_S
        self._complaint = ""
        self._is_stopped = False

    def start(self) -> None:
        """Begin to look after the rules."""
        if self._attachment.changes is not None:
            self._loop.add_reader(self._attachment.changes.fileno(), self._changed)
        self._look_in(self._pause_s())

    def stop(self) -> None:
        """Look no more, so that the rules can be removed."""
        self._is_stopped = True
        if self._attachment.changes is not None:
            self._loop.remove_reader(self._attachment.changes.fileno())
        if self._timer is not None:
            self._timer.cancel()

    def _changed(self) -> None:
        if not self._attachment.drain():
            return
        if self._is_checking:
            self._is_stale = True
        elif self._timer is None or self._timer.when() > self._loop.time() + self._settle_s:
            # A look that is due sooner stays: changes without end must not put it off for ever.
            self._look_in(self._settle_s)

    def _look_in(self, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(delay_s, self._look)

    def _look(self) -> None:
        self._is_checking, self._is_stale = True, False
        checked = asyncio.wrap_future(self._attachment.start_check(), loop=self._loop)
        checked.add_done_callback(self._looked)

    def _looked(self, checked: asyncio.Future[bool]) -> None:
        self._is_checking = False
        if self._is_stopped or checked.cancelled():
            return
        error = checked.exception()
        complaint = "" if error is None else str(error)
        if complaint and complaint != self._complaint:
            log.error(
                "the redirect rules of %s could not be looked after, which is tried on: %s",
                self._attachment.label,
                complaint,
            )
        self._complaint = complaint
        if error is None and not checked.result():
            self._settle_s = SETTLE_S
            self._look_in(SETTLE_S if self._is_stale else self._pause_s())
        else:
            self._settle_s = min(2 * self._settle_s, SETTLE_MOST_S)
            self._look_in(self._settle_s)
        self._after_look()


def open_inside(
    attachment: Attachment, family: int, kind: int, done: Callable[[socket.socket | OSError], None]
) -> None:
    """A socket for an upstream inside the namespace, handed over on the running loop."""
    try:
        opened = asyncio.wrap_future(attachment.open_socket(family, kind))
    except AttachError as error:  # it has been let go of
        done(OSError(errno.ENETDOWN, str(error)))
        return

    def finish(future: asyncio.Future[socket.socket]) -> None:
        error = future.exception()
        done(future.result() if error is None else error if isinstance(error, OSError) else OSError(str(error)))

    opened.add_done_callback(finish)
