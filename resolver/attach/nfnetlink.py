"""Asks the kernel's netfilter by netlink: microseconds, where a command costs milliseconds.

The layouts are those of linux/netfilter/nfnetlink.h and nf_tables.h. Only questions that are asked often and take a
few octets: which tables there are, whether any rule has changed, and, for ``conntrack``, the listing of flows. Rules
are written by the commands that people know. Every function acts in the network namespace of the calling thread.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

NETLINK_NETFILTER = 12
HEADER = struct.Struct("=IHHIIBBH")
"""struct nlmsghdr, then struct nfgenmsg."""
REQUEST, DUMP = 0x1, 0x300
"""NLM_F_REQUEST, NLM_F_DUMP."""

_MESSAGE = struct.Struct("=IH")
_ERROR = struct.Struct("=i")
_ATTRIBUTE = struct.Struct("=HH")
_TYPE_MASK = 0x3FFF
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_WAIT_S = 2.0

# NFNL_SUBSYS_NFTABLES with NFT_MSG_GETTABLE, NFT_MSG_GETCHAIN, NFT_MSG_GETGEN
_GET_TABLE, _GET_CHAIN, _GET_GENERATION = 0xA01, 0xA04, 0xA10
_TABLE_NAME, _CHAIN_TABLE, _CHAIN_NAME, _GENERATION_ID = 1, 1, 3, 1


def connect() -> socket.socket:
    """A socket to the netfilter of the calling thread's namespace; raises OSError when the kernel has none."""
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
    try:
        kernel.settimeout(_WAIT_S)
        kernel.bind((0, 0))
    except BaseException:
        kernel.close()
        raise
    return kernel


def request(kind: int, flags: int, attributes: bytes = b"") -> bytes:
    """One message about IPv4; ``kind`` is the subsystem's number times 256 plus the message's."""
    return HEADER.pack(HEADER.size + len(attributes), kind, flags, 1, 0, socket.AF_INET, 0, 0) + attributes


def listed(kernel: socket.socket, kind: int) -> Iterator[bytes]:
    """Each message of the answer to a dump; raises OSError when the kernel refuses."""
    kernel.send(request(kind, REQUEST | DUMP))
    while True:
        for message_kind, message in _messages(kernel.recv(1 << 18)):
            if message_kind == _NLMSG_DONE:
                return
            yield message


def attributes(message: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Type, start and end of the value of each attribute in a stretch of a message."""
    while start + _ATTRIBUTE.size <= end:
        length, kind = _ATTRIBUTE.unpack_from(message, start)
        if not _ATTRIBUTE.size <= length <= end - start:
            return
        yield kind & _TYPE_MASK, start + _ATTRIBUTE.size, start + length
        start += (length + 3) & ~3


ATTRIBUTE_HEADER = _ATTRIBUTE.size
"""Octets of type and length before an attribute's value."""


def tables() -> frozenset[str] | None:
    """The names of nf_tables' IPv4 tables (``nat`` is iptables-nft's); None when the kernel does not tell."""
    try:
        with connect() as kernel:
            return frozenset(
                message[start:end].rstrip(b"\0").decode(errors="replace")
                for message in listed(kernel, _GET_TABLE)
                for kind, start, end in attributes(message, HEADER.size, len(message))
                if kind == _TABLE_NAME
            )
    except OSError:
        return None


def chains(table: str) -> frozenset[str] | None:
    """The names of the chains in an IPv4 table; None when the kernel does not tell."""
    found = set()
    try:
        with connect() as kernel:
            for message in listed(kernel, _GET_CHAIN):
                texts = {
                    kind: message[start:end].rstrip(b"\0").decode(errors="replace")
                    for kind, start, end in attributes(message, HEADER.size, len(message))
                    if kind in (_CHAIN_TABLE, _CHAIN_NAME)
                }
                if texts.get(_CHAIN_TABLE) == table:
                    found.add(texts.get(_CHAIN_NAME, ""))
    except OSError:
        return None
    return frozenset(found)


def generation() -> int | None:
    """A number that every change of nf_tables rules in the namespace raises by one; None when the kernel has none."""
    try:
        with connect() as kernel:
            kernel.send(request(_GET_GENERATION, REQUEST))
            for _, message in _messages(kernel.recv(1 << 16)):
                for kind, start, end in attributes(message, HEADER.size, len(message)):
                    if kind == _GENERATION_ID:
                        return int.from_bytes(message[start:end], "big")
    except OSError:
        pass
    return None


def _messages(batch: bytes) -> Iterator[tuple[int, bytes]]:
    start = 0
    while start + _MESSAGE.size <= len(batch):
        length, kind = _MESSAGE.unpack_from(batch, start)
        if kind == _NLMSG_ERROR:
            code = -_ERROR.unpack_from(batch, start + 16)[0]
            raise OSError(code, os.strerror(code))
        if length < 16:
            raise OSError(0, "a netlink message without a length")
        yield kind, batch[start : start + length]
        start += (length + 3) & ~3
