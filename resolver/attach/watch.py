"""Hears from the kernel that somebody changed firewall rules in a namespace, at no cost while nobody does.

nf_tables announces every change, by ``nft`` and ``iptables-nft`` alike; legacy iptables announces nothing, so there
the rules are looked at by the clock.
"""

from __future__ import annotations

import logging
import socket

log = logging.getLogger(__name__)

_NETLINK_NETFILTER = 12
_GROUP_NFTABLES = 1 << (7 - 1)  # NFNLGRP_NFTABLES, as the bit mask that bind takes


def open_changes() -> socket.socket | None:
    """A non-blocking socket that is readable after a change of rules in the calling thread's namespace.

    None when the kernel does not offer it; the rules are then looked at by the clock only.
    """
    try:
        changes = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER
        )
    except OSError as error:
        log.warning("changes of firewall rules are not announced by this kernel: %s", error.strerror)
        return None
    try:
        changes.bind((0, _GROUP_NFTABLES))
    except OSError as error:
        changes.close()
        log.warning("changes of firewall rules cannot be listened to: %s", error.strerror)
        return None
    return changes


def drain(changes: socket.socket) -> bool:
    """Read all that is waiting, so that the socket is quiet until the next change; True when there was something."""
    heard = False
    while True:
        try:
            changes.recv(65536)
        except BlockingIOError:
            return heard
        except OSError:  # ENOBUFS: more changes than the kernel could keep for us
            pass
        heard = True
