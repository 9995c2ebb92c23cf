"""Makes the kernel forget flows to 127.0.0.11:53 that lead elsewhere than to our ports.

The kernel looks at the redirect rules for the first packet of a flow only, then goes by what it remembers of the flow
(conntrack). A flow from before the rules, from a moment without them, or to the ports of an earlier run would go on
leading to where nobody listens, for as long as its client asks. And each is a client's port: a busy client that opens
a new socket for each query meets one nearly every time. TCP connections that were established are left to end by
themselves: their servers may be there, and once over they do not stand in the way of new ones.

ctnetlink by hand, two messages of it; a kernel without it only makes clients wait for such flows to expire.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from resolver.attach.nfnetlink import ATTRIBUTE_HEADER, HEADER, REQUEST, attributes, connect, listed, request
from resolver.attach.plan import Redirect

log = logging.getLogger(__name__)

_GET, _DELETE = 0x101, 0x102  # NFNL_SUBSYS_CTNETLINK with IPCTNL_MSG_CT_GET and IPCTNL_MSG_CT_DELETE
_TUPLE_ORIG, _TUPLE_REPLY, _STATUS = 1, 2, 3
_IS_ASSURED = 1 << 2  # IPS_ASSURED: of TCP, an established connection
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_IP_DST = 2
_PROTO_NUM, _PROTO_SRC_PORT, _PROTO_DST_PORT = 1, 2, 3
_DNS_PORT = b"\0\x35"
_COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")


class _Flow(Struct, frozen=True):
    """What counts of a flow; addresses and ports as they travel."""

    protocol: int
    is_assured: bool
    destination: bytes
    destination_port: bytes
    server_port: bytes
    """The port that the replies come from: where the flow really leads."""
    key: bytes
    """The attribute by which the kernel finds the flow again."""


def forget_strays(redirect: Redirect) -> int:
    """Drop the flows that miss ``redirect``, in the calling thread's namespace; how many those were.

    Needs CAP_NET_ADMIN. A kernel that does not offer it is logged, not raised.
    """
    return _forget(lambda message: stray(message, redirect))


def forget_ours(redirect: Redirect) -> int:
    """Drop the flows that lead to the ports of ``redirect``, where nobody answers any more; how many those were.

    For when the rules are gone and somebody else answers: his clients would not reach him before they expire.
    """
    return _forget(lambda message: led(message, redirect))


def _forget(key_of: Callable[[bytes], bytes | None]) -> int:
    if _is_empty():
        return 0
    try:
        with connect() as kernel:
            keys = [key for message in listed(kernel, _GET) if (key := key_of(message)) is not None]
            for key in keys:
                kernel.send(request(_DELETE, REQUEST, key))  # unacknowledged: a flow that is gone is no error
    except OSError as error:
        log.debug("flows from before the redirect expire by themselves: %s", error)
        return 0
    if keys:
        log.debug("dropped %d flows that led past the redirect", len(keys))
    return len(keys)


def _is_empty() -> bool:
    """True when this thread's namespace has no flow at all: a listing looks through those of the whole machine."""
    try:
        return int(_COUNT.read_text()) == 0
    except (OSError, ValueError):
        return False


def stray(message: bytes, redirect: Redirect) -> bytes | None:
    """The key of the flow in one message of the listing, if it is one that is to be forgotten."""
    flow = _flow_to(message, redirect)
    if flow is None or flow.server_port == _port_of(redirect, flow):
        return None
    # An established connection may have its server still; once over it does not stand in the way of new ones.
    return None if flow.protocol == socket.IPPROTO_TCP and flow.is_assured else flow.key


def led(message: bytes, redirect: Redirect) -> bytes | None:
    """The key of the flow in one message of the listing, if it leads to one of the redirect's ports."""
    flow = _flow_to(message, redirect)
    return flow.key if flow is not None and flow.server_port == _port_of(redirect, flow) else None


def _flow_to(message: bytes, redirect: Redirect) -> _Flow | None:
    """The flow over UDP or TCP to port 53 of the redirect's address."""
    address = socket.inet_aton(redirect.address)
    if address not in message:
        return None
    flow = _flow(message)
    if flow is None or (flow.destination, flow.destination_port) != (address, _DNS_PORT):
        return None
    return flow if flow.protocol in (socket.IPPROTO_UDP, socket.IPPROTO_TCP) else None


def _port_of(redirect: Redirect, flow: _Flow) -> bytes:
    return struct.pack("!H", redirect.udp_port if flow.protocol == socket.IPPROTO_UDP else redirect.tcp_port)


def _flow(message: bytes) -> _Flow | None:
    found = {kind: (start, end) for kind, start, end in attributes(message, HEADER.size, len(message))}
    if _TUPLE_ORIG not in found or _TUPLE_REPLY not in found:
        return None
    start, end = found[_TUPLE_ORIG]
    status = message[slice(*found[_STATUS])] if _STATUS in found else b""
    there, back = _tuple(message, start, end), _tuple(message, *found[_TUPLE_REPLY])
    return _Flow(
        protocol=int.from_bytes(there.get((_TUPLE_PROTO, _PROTO_NUM), b""), "big"),
        is_assured=bool(int.from_bytes(status, "big") & _IS_ASSURED),
        destination=there.get((_TUPLE_IP, _IP_DST), b""),
        destination_port=there.get((_TUPLE_PROTO, _PROTO_DST_PORT), b""),
        server_port=back.get((_TUPLE_PROTO, _PROTO_SRC_PORT), b""),
        key=message[start - ATTRIBUTE_HEADER : end],
    )


def _tuple(message: bytes, start: int, end: int) -> dict[tuple[int, int], bytes]:
    return {
        (outer, inner): message[value:value_end]
        for outer, part, part_end in attributes(message, start, end)
        if outer in (_TUPLE_IP, _TUPLE_PROTO)
        for inner, value, value_end in attributes(message, part, part_end)
    }
