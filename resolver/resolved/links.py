"""The kernel's word that a link has changed or is gone: rtnetlink(7), in the network namespace of the calling thread.

resolved hears the same, and says nothing of it. Of links that are nobody's, those of containers above all, nothing is
passed on.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable, Collection

log = logging.getLogger(__name__)

_GROUPS = 0x1 | 0x10 | 0x100
"""RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR (linux/rtnetlink.h)."""
_HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr."""
_INDEX = struct.Struct("=4xi")
"""struct ifinfomsg and struct ifaddrmsg both have the interface's index behind their first four octets."""
_SIZE = 1 << 16
_AT_A_TIME = 64


class LinkWatch:
    """Calls back on the running loop when one of a few links has changed."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """Listen; where the kernel does not let us, nothing is ever heard."""
        self.wanted: Collection[int] = ()
        """The indices of the links that count."""
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._kernel: socket.socket | None = None
        kernel = None
        try:
            kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
            kernel.bind((0, _GROUPS))
        except OSError as error:
            log.debug("the kernel does not tell of links: %s", error)
            if kernel is not None:
                kernel.close()
            return
        self._kernel = kernel
        self._loop.add_reader(kernel.fileno(), self._on_ready)

    def close(self) -> None:
        """Hear no more; idempotent."""
        if self._kernel is not None:
            self._loop.remove_reader(self._kernel.fileno())
            self._kernel.close()
            self._kernel = None

    def _on_ready(self) -> None:
        assert self._kernel is not None
        has_changed = False
        for _ in range(_AT_A_TIME):
            try:
                has_changed |= not indices(self._kernel.recv(_SIZE)).isdisjoint(self.wanted)
            except BlockingIOError:
                break
            except OSError:  # ENOBUFS: some were lost, and nobody knows which
                has_changed = True
                break
        if has_changed:
            self._changed()


def indices(batch: bytes) -> set[int]:
    """The links that a batch of messages is about; what is cut short is passed over."""
    found = set()
    start = 0
    while start + _HEADER.size + _INDEX.size <= len(batch):
        length = _HEADER.unpack_from(batch, start)[0]
        if length < _HEADER.size + _INDEX.size:
            break
        found.add(_INDEX.unpack_from(batch, start + _HEADER.size)[0])
        start += (length + 3) & ~3
    return found
