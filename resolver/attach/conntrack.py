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
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from resolver.attach.plan import Redirect

log = logging.getLogger(__name__)

_NETLINK_NETFILTER = 12
_HEADER = struct.Struct("=IHHIIBBH")  # struct nlmsghdr, then struct nfgenmsg
_MESSAGE = struct.Struct("=IH")
_ERROR = struct.Struct("=i")
_ATTRIBUTE = struct.Struct("=HH")
_GET, _DELETE = 0x101, 0x102  # NFNL_SUBSYS_CTNETLINK with IPCTNL_MSG_CT_GET and IPCTNL_MSG_CT_DELETE
_REQUEST, _DUMP = 0x1, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_TUPLE_ORIG, _TUPLE_REPLY, _STATUS = 1, 2, 3
_IS_ASSURED = 1 << 2  # IPS_ASSURED: of TCP, an established connection
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_IP_DST = 2
_PROTO_NUM, _PROTO_SRC_PORT, _PROTO_DST_PORT = 1, 2, 3
_TYPE_MASK = 0x3FFF
_DNS_PORT = b"\0\x35"
_WAIT_S = 2.0


@dataclass(frozen=True, slots=True)
class _Flow:
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
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as kernel:
            kernel.settimeout(_WAIT_S)
            kernel.bind((0, 0))
            strays = [key for message in _listed(kernel) if (key := stray(message, redirect)) is not None]
            for key in strays:
                kernel.send(_request(_DELETE, _REQUEST, key))  # unacknowledged: a flow that is gone is no error
    except OSError as error:
        log.debug("flows from before the redirect expire by themselves: %s", error)
        return 0
    if strays:
        log.debug("dropped %d flows that led past the redirect", len(strays))
    return len(strays)


def stray(message: bytes, redirect: Redirect) -> bytes | None:
    """The key of the flow in one message of the listing, if it is one that is to be forgotten."""
    address = socket.inet_aton(redirect.address)
    if address not in message:
        return None
    flow = _flow(message)
    if flow is None or (flow.destination, flow.destination_port) != (address, _DNS_PORT):
        return None
    if flow.protocol == socket.IPPROTO_UDP:
        is_stray = flow.server_port != _port(redirect.udp_port)
    elif flow.protocol == socket.IPPROTO_TCP:
        is_stray = flow.server_port != _port(redirect.tcp_port) and not flow.is_assured
    else:
        return None
    return flow.key if is_stray else None


def _port(number: int) -> bytes:
    return struct.pack("!H", number)


def _flow(message: bytes) -> _Flow | None:
    found = {kind: (start, end) for kind, start, end in _attributes(message, _HEADER.size, len(message))}
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
        key=message[start - _ATTRIBUTE.size : end],
    )


def _tuple(message: bytes, start: int, end: int) -> dict[tuple[int, int], bytes]:
    return {
        (outer, inner): message[value:value_end]
        for outer, part, part_end in _attributes(message, start, end)
        if outer in (_TUPLE_IP, _TUPLE_PROTO)
        for inner, value, value_end in _attributes(message, part, part_end)
    }


def _attributes(message: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Type, start and end of the value of each attribute in a stretch of a message."""
    while start + _ATTRIBUTE.size <= end:
        length, kind = _ATTRIBUTE.unpack_from(message, start)
        if not _ATTRIBUTE.size <= length <= end - start:
            return
        yield kind & _TYPE_MASK, start + _ATTRIBUTE.size, start + length
        start += (length + 3) & ~3


def _listed(kernel: socket.socket) -> Iterator[bytes]:
    """Each flow over IPv4, as a message."""
    kernel.send(_request(_GET, _REQUEST | _DUMP))
    while True:
        batch = kernel.recv(1 << 18)
        start = 0
        while start + _MESSAGE.size <= len(batch):
            length, kind = _MESSAGE.unpack_from(batch, start)
            if kind == _NLMSG_DONE:
                return
            if kind == _NLMSG_ERROR:
                code = -_ERROR.unpack_from(batch, start + 16)[0]
                raise OSError(code, os.strerror(code))
            if length < _HEADER.size:
                return
            yield batch[start : start + length]
            start += (length + 3) & ~3


def _request(kind: int, flags: int, attributes: bytes = b"") -> bytes:
    return _HEADER.pack(_HEADER.size + len(attributes), kind, flags, 1, 0, socket.AF_INET, 0, 0) + attributes
