"""What the pipeline decides about a query: a reply, or that somebody else is to be asked."""

from __future__ import annotations

from typing import NamedTuple

from resolver.forward.upstreams import Upstream
from resolver.registry.model import IPNetwork, Origin
from resolver.wire.name import WireName
from resolver.wire.reply import Answer
from resolver.wire.rrset import RRset


class Question(NamedTuple):
    """What a stage looks at; after a CNAME it is another name than the client's."""

    qname: WireName
    """Letter case as asked: the owner of the records in the answer."""
    key: WireName
    """The name folded."""
    qtype: int


class Reply(NamedTuple):
    """The stage's own answer."""

    answer: Answer
    keep: bool = False
    """True when the reply may become a ready one: its name is known, so there are only so many of them."""
    origins: tuple[Origin, ...] = ()
    """Where the records were written."""
    cname_target: WireName | None = None
    """The answer ends in a CNAME to this name, which is to be looked up next (RFC 1034 4.3.2 3a)."""
    is_led_to: bool = False
    """True when a CNAME led to another name, and the records are that one's."""
    why: str = ""
    """The rule that made the reply, for a person; empty where the records say it all."""
    below: WireName | None = None
    """The network's name below which there is no such name: the reply is the same for every other one there."""


class Forward(NamedTuple):
    """An upstream is to be asked."""

    question: Question
    servers: tuple[str, ...] = ()
    """The asker's own upstreams; empty for everybody's."""
    upstreams: tuple[Upstream, ...] = ()
    """Those of a route, before all others."""
    within: tuple[IPNetwork, ...] | None = None
    """For an asker that is only on internal networks their subnets: nobody outside them may be asked."""
    why: str = ""
    """The route, for a person."""
    otherwise: Forward | None = None
    """What becomes of it when all of the asker's own upstreams are ourselves: who has none of his own."""
    chased: tuple[RRset, ...] = ()
    """CNAME records of ours that led to the question, to be put in front of the upstream's answer."""


class Decision(NamedTuple):
    """The outcome for a query, and who made it."""

    outcome: Reply | Forward
    stage: str
