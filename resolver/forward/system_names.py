"""What the host's own name service can be asked, how its blocking calls answer, and that as a DNS reply.

getaddrinfo(3) and getnameinfo(3) go by nsswitch.conf(5): hosts file, mDNS, VPN and directory services, DNS. They know
the addresses of a host name and the name of an address, nothing else, and they tell no TTL.

| what the call says                            | what is replied                                              |
|-----------------------------------------------|--------------------------------------------------------------|
| addresses, a name                             | them, with a TTL of 10 s                                     |
| EAI_NONAME for an address                     | NXDOMAIN                                                     |
| EAI_NONAME for a host name                    | NXDOMAIN; NODATA if the name has addresses of the other kind |
| EAI_NODATA, EAI_ADDRFAMILY                    | NODATA                                                       |
| EAI_AGAIN, EAI_FAIL, EAI_SYSTEM, another one  | SERVFAIL                                                     |
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from resolver.forward.upstreams import SYSTEM, Upstream
from resolver.wire.constants import (
    AAAA,
    CLASS_IN,
    EDE_NETWORK_ERROR,
    EDE_NOT_SUPPORTED,
    EDE_OTHER,
    MAX_MESSAGE_SIZE,
    NOERROR,
    NXDOMAIN,
    PTR,
    SERVFAIL,
    A,
    type_name,
)
from resolver.wire.name import WireName, from_text, labels_of, reverse_prefix
from resolver.wire.query import Query
from resolver.wire.reply import Answer, compose
from resolver.wire.rrset import RRset

TTL = 10
"""Seconds. Nobody says how long such an answer is good: long enough for the connections of one page or one build,
short enough that a changed hosts file or a VPN that comes up is noticed before somebody wonders."""

_FAMILIES = {A: socket.AF_INET, AAAA: socket.AF_INET6}
_OTHER = {socket.AF_INET: socket.AF_INET6, socket.AF_INET6: socket.AF_INET}
_LABEL = re.compile(rb"[a-z0-9_-]+")
_NODATA = frozenset((socket.EAI_NODATA, socket.EAI_ADDRFAMILY))
_MAX_TEXT = 100

_SEARCH = "LOCALDOMAIN"
_OPTIONS = "RES_OPTIONS"
_NDOTS = "ndots:15"


@dataclass(frozen=True, slots=True)
class Ask:
    """A question as the name service takes it."""

    name: str
    """A host name in lower case without its final dot; an address when ``family`` is None."""
    family: socket.AddressFamily | None
    """Of the addresses that are wanted; None when the name of an address is."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the name service said."""

    rcode: int
    rdatas: tuple[bytes, ...] = ()
    ede: tuple[int, str] | None = None


@dataclass(frozen=True, slots=True)
class Calls:
    """The two blocking calls; as those of `socket`."""

    getaddrinfo: Callable[..., Sequence[tuple[Any, ...]]] = socket.getaddrinfo
    getnameinfo: Callable[[tuple[str, int], int], tuple[str, str]] = socket.getnameinfo


NO_SUCH_NAME = Found(NXDOMAIN)


def ask_of(key: WireName, qtype: int) -> Ask | None:
    """What to ask for a folded name and a type; None for what the name service cannot be asked.

    That is every type but A, AAAA and PTR, names with other octets than letters, digits, hyphens and underscores, and
    PTR of anything but one address.
    """
    family = _FAMILIES.get(qtype)
    if family is not None:
        labels = list(labels_of(key))
        if not labels or not all(map(_LABEL.fullmatch, labels)):
            return None
        return Ask(b".".join(labels).decode("ascii"), family)
    if qtype != PTR:
        return None
    prefix = reverse_prefix(key)
    if prefix is None or not prefix[1] or prefix[0].num_addresses != 1:
        return None
    return Ask(str(prefix[0].network_address), None)


def without_system(
    upstreams: tuple[Upstream, ...], key: WireName, qtype: int, servers: tuple[Upstream, ...]
) -> tuple[Upstream, ...]:
    """Who is asked of ``upstreams``: for what the name service cannot be asked, the others.

    When there are none, ``servers`` are asked: those of the host's resolv.conf, of which its own programs would ask the
    same. With no server either, the name service stays, whose reply then says why.
    """
    if SYSTEM not in upstreams or ask_of(key, qtype) is not None:
        return upstreams
    return tuple(upstream for upstream in upstreams if upstream != SYSTEM) or servers or upstreams


def is_address_like(name: str) -> bool:
    """Whether getaddrinfo would read a name as an IPv4 address: ``1.2.3.4``, but ``1.2`` and ``0x7f.1``, too."""
    try:
        socket.inet_aton(name)
    except OSError:
        return False
    return True


def look_up(ask: Ask, calls: Calls) -> Found:
    """Ask the name service; blocks for as long as it takes. Raises nothing."""
    try:
        if ask.family is None:
            return _name_of(ask.name, calls)
        return _addresses_of(ask.name, ask.family, calls)
    except (OSError, ValueError) as error:  # ValueError: a name that the C library gave is none of DNS, or not text
        return _failed(error)


def _addresses_of(name: str, family: socket.AddressFamily, calls: Calls) -> Found:
    if is_address_like(name):
        return NO_SUCH_NAME
    try:
        return Found(NOERROR, _packed(_getaddrinfo(name, family, calls), family))
    except socket.gaierror as error:
        if error.errno in _NODATA:
            return Found(NOERROR)
        if error.errno != socket.EAI_NONAME:
            raise
    # The hosts file and mDNS say so of a name with addresses of the other kind, too; NXDOMAIN would deny both.
    try:
        _getaddrinfo(name, _OTHER[family], calls)
    except socket.gaierror as error:
        if error.errno == socket.EAI_NONAME:
            return NO_SUCH_NAME
        if error.errno not in _NODATA:
            raise
    return Found(NOERROR)


def _getaddrinfo(name: str, family: socket.AddressFamily, calls: Calls) -> list[str]:
    # As bytes: for text Python would apply its own IDNA.
    entries = calls.getaddrinfo(name.encode("ascii"), None, family, socket.SOCK_STREAM)
    return [entry[4][0] for entry in entries]


def _packed(addresses: list[str], family: socket.AddressFamily) -> tuple[bytes, ...]:
    """The addresses as rdata, in their order; without those with a scope, which is an interface of the host's."""
    return tuple(dict.fromkeys(socket.inet_pton(family, address) for address in addresses if "%" not in address))


def _name_of(address: str, calls: Calls) -> Found:
    try:
        name, _ = calls.getnameinfo((address, 0), socket.NI_NAMEREQD)
    except socket.gaierror as error:
        if error.errno == socket.EAI_NONAME:
            return NO_SUCH_NAME
        if error.errno in _NODATA:
            return Found(NOERROR)
        raise
    return Found(NOERROR, (bytes(from_text(name)),))


def _failed(error: Exception) -> Found:
    code = EDE_OTHER
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
        code = EDE_NETWORK_ERROR
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    shown = reason.encode("ascii", "replace").decode("ascii")[:_MAX_TEXT]
    return Found(SERVFAIL, ede=(code, f"the host's name service: {shown}"))


def reply_of(query: Query, found: Found) -> bytes:
    """The DNS reply to ``query`` that says what was found.

    One without records has no SOA: nobody knows how long there will be nothing, so it is not to be cached (RFC 2308 5).
    """
    records = (RRset(query.qname, query.qtype, TTL, found.rdatas),) if found.rdatas else ()
    return compose(query, Answer(found.rcode, records, ede=found.ede), MAX_MESSAGE_SIZE)


def cannot_ask(query: Query) -> Found:
    """What is said to a question that the name service does not take, when nobody else is there to be asked."""
    what = type_name(query.qtype) if query.qclass == CLASS_IN else "another class than IN"
    if query.qclass == CLASS_IN and query.qtype in (A, AAAA, PTR):
        what = "such a name"
    return Found(SERVFAIL, ede=(EDE_NOT_SUPPORTED, f"the host's name service cannot be asked for {what}"))


def take_names_as_they_are() -> None:
    """Have the C library append no domain of resolv.conf's search list to any name, in this whole process.

    To be called before the first look-up: glibc reads the environment together with resolv.conf. A trailing dot would
    do the same for DNS alone, for with it no name is found in the hosts file. An empty LOCALDOMAIN makes the root the
    only domain of the list; ndots (15 is the most) has it tried first rather than once more after the name itself.
    """
    os.environ[_SEARCH] = ""
    options = os.environ.get(_OPTIONS, "").split()
    if _NDOTS not in options:
        os.environ[_OPTIONS] = " ".join([*options, _NDOTS])
