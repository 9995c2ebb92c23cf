"""What of a look-up may be shared between clients: which questions are the same, and a reply as everybody may have it.

Pure functions. The OPT record is between two neighbours (RFC 6891 6.1.1): of the upstream's options only the extended
errors are anything to others than the client whose query brought them.
"""

from __future__ import annotations

import struct
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from resolver.forward.replies import layout_of, without_hop_options
from resolver.forward.upstreams import Upstream
from resolver.wire.constants import AD, CD, HEADER_SIZE, OPTION_EDE, RD
from resolver.wire.query import Query

if TYPE_CHECKING:
    from resolver.forward.transports import SocketFactory

_FIXED_SIZE = 11  # of an OPT record before its options: root, type, size, flags, length
_RD_OCTET = RD >> 8
_AD_CD_OCTET = AD | CD
_EDNS, _DO = 2, 4  # beside these three in one octet
_OCTETS = tuple(bytes((octet,)) for octet in range(256))
_NUMBER = struct.Struct("!H")
_OPTION = struct.Struct("!HH")
_PLAIN_COUNTS = (b"\0\1\0\0\0\0\0\0", b"\0\1\0\0\0\0\0\1")


class _Whom:
    """Whom a question is asked of, as a part of keys: there is one for each, so that it is hashed at no cost."""

    __slots__ = ("__weakref__", "given", "upstreams", "where")

    def __init__(self, upstreams: Sequence[Upstream], where: SocketFactory | None) -> None:
        self.given = upstreams
        self.upstreams = tuple(upstreams)
        self.where = where
        """The namespace that some of them are in."""


_whom: WeakValueDictionary[tuple[tuple[Upstream, ...], SocketFactory | None], _Whom] = WeakValueDictionary()
_last = _Whom((), None)


def key_of(query: Query, upstreams: Sequence[Upstream], in_namespace: SocketFactory) -> Hashable | None:
    """What is the same for all queries that one look-up can answer; None for one that has to be asked for itself.

    RD, CD, AD, DO and the presence of EDNS go into the reply, and so do the upstreams; those inside a namespace are
    others in each. A query with options that may change the answer (client subnet, NSID), with a TSIG or with anything
    unknown is nobody else's.
    """
    edns = query.edns
    if query.wire[4:HEADER_SIZE] != _PLAIN_COUNTS[edns is not None]:
        return None
    if edns is not None and edns.has_options and not _are_hop_options(query):
        return None
    wire, end = query.wire, query.question_end
    asks = wire[2] & _RD_OCTET | wire[3] & _AD_CD_OCTET
    if edns is not None:
        asks |= _EDNS | (_DO if edns.do else 0)
    return query.key + wire[end - 4 : end] + _OCTETS[asks], _asked_of(upstreams, in_namespace)


def asked_with(key: Hashable) -> tuple[tuple[str, ...], tuple[Upstream, ...]]:
    """What tells a question of `key_of` from others for the same name and type, in words, and who was asked."""
    if not isinstance(key, tuple):
        return (), ()
    question, whom = key
    if not isinstance(whom, _Whom):  # as it is for look-ups whose answers are looked at
        words, upstreams = asked_with(question)
        return (*words, str(whom)), upstreams
    asks = question[-1]
    said = {
        "without RD": not asks & _RD_OCTET,
        "CD": asks & CD,
        "AD": asks & AD,
        "without EDNS": not asks & _EDNS,
        "DO": asks & _DO,
    }
    words = tuple(word for word, holds in said.items() if holds)
    return (*words, *(("in a namespace",) if whom.where is not None else ())), whom.upstreams


def _asked_of(upstreams: Sequence[Upstream], in_namespace: SocketFactory) -> _Whom:
    """The one object for these, as long as anybody has it; nearly always they are those of the last question."""
    global _last
    if _last.given is upstreams and (_last.where is None or _last.where == in_namespace):
        return _last
    where = in_namespace if any(upstream.in_namespace for upstream in upstreams) else None
    key = (tuple(upstreams), where)
    found = _whom.get(key)
    if found is None:
        found = _whom[key] = _Whom(upstreams, where)
    _last = found
    return found


def _are_hop_options(query: Query) -> bool:
    assert query.edns is not None
    position = query.edns.offset + _FIXED_SIZE
    end = position + _NUMBER.unpack_from(query.wire, position - 2)[0]
    return not without_hop_options(query.wire[position:end])


def shareable(query: Query, reply: bytes) -> bytes | None:
    """A reply that `replies.verify` accepted, with nothing in it that is meant for one client; None if that cannot be.

    Octets behind the last record are cut off.
    """
    opt, records_behind, end = layout_of(reply, query.question_end)
    if opt is None or opt.rdata_offset == opt.end:
        return reply[:end]
    if records_behind:  # they may be compressed against what stands before: it cannot change its size
        return None
    options = _extended_errors(reply[opt.rdata_offset : opt.end])
    return reply[: opt.rdata_offset - 2] + _NUMBER.pack(len(options)) + options


def _extended_errors(options: bytes) -> bytes:
    kept = []
    position = 0
    while position < len(options):
        code, size = _OPTION.unpack_from(options, position)
        end = position + _OPTION.size + size
        if code == OPTION_EDE:
            kept.append(options[position:end])
        position = end
    return b"".join(kept)
