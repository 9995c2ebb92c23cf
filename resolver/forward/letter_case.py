"""A question in random letter case, which a forger has to guess (draft-vixie-dnsext-dns0x20). Pure but for chance.

Servers repeat the question as it was put; the case means nothing to them (RFC 4343). What comes back is put right
again, so that nobody sees a name that he has not written.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from resolver.wire.constants import HEADER_SIZE

_TYPE_AND_CLASS_SIZE = 4
# The bit that makes a letter large or small, where there is one; the size of a label is at most 63, below every letter.
_LETTERS = bytes(0x20 if chr(octet).isalpha() and octet < 128 else 0 for octet in range(256))
_MIN_SUFFIX_SIZE = 6
"""A shorter ending of a name might be found by chance in a signature or a key, too."""


class Spelling(NamedTuple):
    """One name, in two spellings of the same size."""

    meant: bytes
    sent: bytes


def spell(query: bytes, question_end: int) -> tuple[bytes, Spelling]:
    """``query``, whose question ends at ``question_end``, with its name in random case, and that name."""
    end = question_end - _TYPE_AND_CLASS_SIZE
    meant = query[HEADER_SIZE:end]
    letters = int.from_bytes(meant.translate(_LETTERS), "big")
    chance = int.from_bytes(os.urandom(len(meant)), "big")
    sent = (int.from_bytes(meant, "big") ^ (letters & chance)).to_bytes(len(meant), "big")
    return query[:HEADER_SIZE] + sent + query[end:], Spelling(meant, sent)


def restore(reply: bytes, spelling: Spelling) -> bytes | None:
    """``reply`` with the name as it was meant, wherever it was copied from the question.

    None when the question is not repeated as it was sent. The reply is one that `replies.verify` accepted.
    """
    meant, sent = spelling
    end = HEADER_SIZE + len(sent)
    if reply[HEADER_SIZE:end] != sent:
        return None
    if meant == sent:
        return reply
    body = reply[end:]
    position = 0
    while (size := sent[position]) and len(sent) - position >= _MIN_SUFFIX_SIZE:
        # In whatever letters: a server may have the name in its cache as somebody else has spelt it.
        ending = meant[position:]
        body = re.sub(re.escape(ending), ending.replace(b"\\", rb"\\"), body, flags=re.IGNORECASE)
        position += 1 + size
    return reply[:HEADER_SIZE] + meant + body
