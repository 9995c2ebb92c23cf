"""The stages of a resolver that stands in for aardvark-dns: what is not as in `stages`, and their order.

Podman gives its containers ``search dns.podman`` and knows a container by bare names only, all of them equal.
"""

from __future__ import annotations

from msgspec import Struct

from resolver.pipeline.chain import Chain
from resolver.pipeline.outcome import Question, Reply
from resolver.pipeline.stages import NO_SUCH_TYPE, ForwardPolicy, RegistryNames, negative
from resolver.views import View
from resolver.wire.constants import ANY, EDE_PROHIBITED, NOERROR, NXDOMAIN, PTR
from resolver.wire.name import WireName, from_text, is_below, reverse_prefix
from resolver.wire.reply import Answer
from resolver.wire.rrset import RRset


def chain_for_podman(search_domain: WireName | None, *, forwards: bool = True) -> Chain:
    """The order of the stages; ``search_domain`` is folded, ``forwards`` False keeps every query here."""
    names = RegistryNames()
    stages = (
        names if search_domain is None else SearchDomain(search_domain, names),
        BareReverseNames(),
        StayHere(forwards),
        ForwardPolicy(forward_single_labels=True),
    )
    return Chain(stages)


class SearchDomain(Struct, frozen=True):
    """Names below the search domain mean what they mean without it, and are never forwarded."""

    domain: WireName
    names: RegistryNames
    name: str = "registry"

    def resolve(self, question: Question, view: View) -> Reply | None:
        """An answer for every name that the view knows, and for every other one at or below the domain."""
        if not is_below(question.key, self.domain):
            return self.names.resolve(question, view)
        relative = WireName(question.key[: -len(self.domain)] + b"\0")
        known = self.names.resolve(Question(question.qname, relative, question.qtype), view)
        if known is not None:
            return known
        is_domain = question.key == self.domain
        why = (
            "this is the search domain" if is_domain else "nobody here has this name, and it ends in the search domain"
        )
        rcode = NOERROR if is_domain else NXDOMAIN
        return Reply(negative(rcode, self.domain, view), why=f"{why}: such names are never forwarded")


class BareReverseNames(Struct, frozen=True):
    """Addresses on the asker's networks, with every name of the container; who is on none of them is not told."""

    name: str = "reverse"

    def resolve(self, question: Question, view: View) -> Reply | None:
        """An answer for the reverse name of a known address; None for the rest of the world."""
        covered = reverse_prefix(question.key)
        if covered is None or view.is_host:
            return None
        prefix, is_exact = covered
        if not is_exact or prefix.prefixlen < prefix.max_prefixlen:
            return None
        for table in view.tables:
            endpoint = table.by_address.get(prefix.network_address)
            if endpoint is None:
                continue
            origins = (endpoint.origin,)
            if question.qtype not in (PTR, ANY):
                return Reply(negative(NOERROR, question.qname, view), keep=True, origins=origins, why=NO_SUCH_TYPE)
            names = (endpoint.name, *(alias for alias in endpoint.aliases if not alias.startswith("*.")))
            targets = tuple(bytes(from_text(name)) for name in names)
            pointers = RRset(question.qname, PTR, view.ttl_of(table, endpoint), targets)
            return Reply(Answer(NOERROR, (pointers,)), keep=True, origins=origins)
        return None


class StayHere(Struct, frozen=True):
    """What may not leave: everything of those who are on internal networks only."""

    forwards: bool = True
    """False: nothing may, whoever asks."""
    name: str = "forward"

    def resolve(self, question: Question, view: View) -> Reply | None:
        """NXDOMAIN, as the name means nothing there; None for what may be forwarded."""
        if self.forwards and not (view.is_internal and not view.servers):
            return None
        text = "this client is only on internal networks" if self.forwards else "nothing is forwarded"
        return Reply(Answer(NXDOMAIN, ede=(EDE_PROHIBITED, text)))
