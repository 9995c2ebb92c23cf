"""What the host's own name service can be asked, how its blocking calls answer, and that as a DNS reply.

getaddrinfo(3) and getnameinfo(3) go by nsswitch.conf(5): hosts file, mDNS, VPN and directory services, DNS. They know
the addresses of a host name and the name of an address, nothing else, and they tell no TTL.

A host name is asked for once, for the addresses of both families together, as the host's own programs ask: then a line
of the hosts file stands in the place of DNS as a whole, and A and AAAA cost one call.

| what the call says                            | what is replied                                        |
|-----------------------------------------------|--------------------------------------------------------|
| addresses, a name                             | them, with a TTL of 10 s                               |
| addresses of the other family only            | NODATA                                                 |
| EAI_NODATA, EAI_ADDRFAMILY                    | NODATA                                                 |
| EAI_NONAME                                    | NXDOMAIN                                               |
| a name that is none of DNS                    | NXDOMAIN                                               |
| EAI_AGAIN, EAI_FAIL, EAI_SYSTEM, another one  | SERVFAIL                                               |
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from msgspec import Struct, field

from resolver.forward.upstreams import SYSTEM, Transport, Upstream
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
from resolver.wire.name import WireName, from_text, is_below, labels_of, reverse_prefix
from resolver.wire.query import Query
from resolver.wire.reply import Answer, compose
from resolver.wire.rrset import RRset

TTL = 10
"""Seconds. Nobody says how long such an answer is good: long enough for the connections of one page or one build,
short enough that a changed hosts file or a VPN that comes up is noticed before somebody wonders."""

_TYPES = {socket.AF_INET: A, socket.AF_INET6: AAAA}
_LOCAL = b"\5local\0"
_LABEL = re.compile(rb"[a-z0-9_-]+")
_NODATA = frozenset((socket.EAI_NODATA, socket.EAI_ADDRFAMILY))
_MAX_TEXT = 100

_SEARCH = "LOCALDOMAIN"
_OPTIONS = "RES_OPTIONS"
_BOUNDS = ("ndots:15", "timeout:1", "attempts:2")


class Ask(Struct, frozen=True):
    """A question as the name service takes it."""

    name: str
    """A host name in lower case without its final dot; or an address."""
    is_address: bool = False
    """The name of that address is wanted; else the addresses of the name."""


_NOTHING: Mapping[int, tuple[bytes, ...]] = MappingProxyType({})


class Found(Struct, frozen=True):
    """What the name service said."""

    rcode: int
    rdatas: Mapping[int, tuple[bytes, ...]] = field(default_factory=lambda: _NOTHING)
    """By type: A and AAAA, or PTR."""
    ede: tuple[int, str] | None = None


class Calls(Struct, frozen=True):
    """The two blocking calls; as those of `socket`."""

    getaddrinfo: Callable[..., Sequence[tuple[Any, ...]]] = socket.getaddrinfo
    getnameinfo: Callable[[tuple[str, int], int], tuple[str, str]] = socket.getnameinfo


NO_SUCH_NAME = Found(NXDOMAIN)


def ask_of(key: WireName, qtype: int) -> Ask | None:
    """What to ask for a folded name and a type; None for what the name service cannot be asked.

    That is every type but A, AAAA and PTR, names with other octets than letters, digits, hyphens and underscores, and
    PTR of anything but one address.
    """
    if qtype in (A, AAAA):
        return ask_for(key)
    if qtype != PTR:
        return None
    prefix = reverse_prefix(key)
    if prefix is None or not prefix[1] or prefix[0].num_addresses != 1:
        return None
    return Ask(str(prefix[0].network_address), is_address=True)


def ask_for(key: WireName) -> Ask | None:
    """What to ask for a folded name whatever the type: whether there is such a host; None when it can be none."""
    labels = list(labels_of(key))
    if not labels or not all(map(_LABEL.fullmatch, labels)):
        return None
    return Ask(b".".join(labels).decode("ascii"))


def is_multicast(key: WireName) -> bool:
    """Whether a folded name is one of multicast DNS, which no server is to be asked for (RFC 6762 3, 22.1)."""
    return is_below(key, _LOCAL)


def without_system(
    upstreams: tuple[Upstream, ...], key: WireName, qtype: int, servers: tuple[Upstream, ...]
) -> tuple[Upstream, ...]:
    """Who is asked of ``upstreams``: for what the name service cannot be asked, the others.

    When there are none, ``servers`` are asked: those of the host's resolv.conf, of which its own programs would ask the
    same. The name service then stands behind them, for whether such a name exists (`names_last`). With no server
    either it stays alone, and its reply says why that is of no use; for names of multicast DNS it is alone always.
    """
    if SYSTEM not in upstreams or ask_of(key, qtype) is not None:
        return upstreams
    if is_multicast(key):
        return (SYSTEM,)
    others = tuple(upstream for upstream in upstreams if upstream != SYSTEM) or servers
    if not others:
        return upstreams
    return others if ask_for(key) is None else (*others, SYSTEM)


def names_last(upstreams: Sequence[Upstream], query: Query) -> bool:
    """Whether the last of them is the name service, and to be asked only whether there is such a name at all."""
    return (
        len(upstreams) > 1
        and upstreams[-1].transport is Transport.SYSTEM
        and query.qtype not in (A, AAAA)
        and ask_of(query.key, query.qtype) is None
    )


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
        return _name_of(ask.name, calls) if ask.is_address else _addresses_of(ask.name, calls)
    except socket.gaierror as error:
        if error.errno == socket.EAI_NONAME:
            return NO_SUCH_NAME
        if error.errno in _NODATA:
            return Found(NOERROR)
        return _failed(error)
    except (OSError, ValueError) as error:
        return _failed(error)


def _addresses_of(name: str, calls: Calls) -> Found:
    if is_address_like(name):
        return NO_SUCH_NAME
    # As bytes: for text Python would apply its own IDNA. No flags: neither AI_ADDRCONFIG nor AI_V4MAPPED.
    entries = calls.getaddrinfo(name.encode("ascii"), None, socket.AF_UNSPEC, socket.SOCK_STREAM)
    found: dict[int, dict[bytes, None]] = {A: {}, AAAA: {}}  # each address once, in the order of the name service
    for family, _, _, _, address in entries:
        rtype = _TYPES.get(family)
        if rtype is not None and "%" not in address[0]:  # a scope is an interface of the host's
            found[rtype][socket.inet_pton(family, address[0])] = None
    return Found(NOERROR, {rtype: tuple(rdatas) for rtype, rdatas in found.items()})


def _name_of(address: str, calls: Calls) -> Found:
    try:
        name, _ = calls.getnameinfo((address, 0), socket.NI_NAMEREQD)
        return Found(NOERROR, {PTR: (bytes(from_text(name)),)})
    except ValueError:  # not text, or a line of the hosts file with a name that DNS cannot have
        return NO_SUCH_NAME


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
    rdatas = found.rdatas.get(query.qtype)
    records = (RRset(query.qname, query.qtype, TTL, rdatas),) if rdatas else ()
    return compose(query, Answer(found.rcode, records, ede=found.ede), MAX_MESSAGE_SIZE)


def cannot_ask(query: Query) -> Found:
    """What is said to a question that the name service does not take, when nobody else is there to be asked."""
    what = type_name(query.qtype) if query.qclass == CLASS_IN else "another class than IN"
    if query.qclass == CLASS_IN and query.qtype in (A, AAAA, PTR):
        what = "such a name"
    return Found(SERVFAIL, ede=(EDE_NOT_SUPPORTED, f"the host's name service cannot be asked for {what}"))


def take_names_as_they_are() -> None:
    """Have the C library append no domain of resolv.conf's search list to any name, and give up in time.

    For this whole process; to be called before the first look-up: glibc reads the environment together with
    resolv.conf, and what it says counts more than the options there. A trailing dot would do the same for DNS alone,
    for with it no name is found in the hosts file. An empty LOCALDOMAIN makes the root the only domain of the list;
    ndots (15 is the most) has it tried first rather than once more after the name itself. Each server is asked twice,
    for 1 s each time: a silent one takes a thread for 2 s, three of them (the most that count) for 6 s.
    """
    os.environ[_SEARCH] = ""
    others = [option for option in os.environ.get(_OPTIONS, "").split() if option not in _BOUNDS]
    os.environ[_OPTIONS] = " ".join((*others, *_BOUNDS))
