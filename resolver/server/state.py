"""What answers are made from: one value, swapped by assignment when the registry or the configuration changes."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

from msgspec import Struct, field
from msgspec.structs import replace

from resolver.forward.forwarder import no_namespace
from resolver.forward.inside import inside
from resolver.forward.policy import ForwardOptions
from resolver.forward.system_names import without_system
from resolver.forward.transports import SocketFactory
from resolver.forward.upstreams import Upstream
from resolver.pipeline.chain import Chain
from resolver.pipeline.outcome import Decision, Forward
from resolver.pipeline.stages import kept_inside
from resolver.server.neighbours import Neighbours, is_link_local
from resolver.views import View, Views
from resolver.wire.name import WireName, lineage_of
from resolver.wire.query import Query


class Pin(Struct, frozen=True):
    """The one view that every client of a server has, whatever its address."""

    networks: tuple[str, ...]
    endpoint: str | None = None


class State(Struct, frozen=True):
    """What answers are made from."""

    views: Views
    chain: Chain
    upstreams: tuple[Upstream, ...]
    """Everybody's upstreams."""
    own_upstreams: Callable[[tuple[str, ...]], tuple[Upstream, ...]]
    """From an asker's own servers, as the registry has them, to upstreams; without ourselves."""
    options: ForwardOptions = field(default_factory=ForwardOptions)
    """How upstreams are asked."""
    pin: Pin | None = None
    in_namespace: SocketFactory = no_namespace
    """Makes the sockets for upstreams that are asked from inside the asker's namespace."""
    host_servers: tuple[Upstream, ...] | None = None
    """Whom the host's own programs ask, for what its name service cannot be; None when that is nobody's upstream."""

    passes_client_subnet: bool = False
    """True: where a client says it is (RFC 7871) upstreams are told."""
    neighbours: Neighbours = field(default_factory=Neighbours)
    """Who tells on which of our links a client with a link-local address is."""
    rebinding_allowed: frozenset[WireName] = frozenset()
    """Folded suffixes below which the rebinding guard, when it is on, lets private addresses pass."""

    def decide(self, query: Query, view: View) -> Decision:
        """What becomes of a query: what the chain says, unless there is nobody who might be asked."""
        decision = self.chain.resolve(query, view)
        outcome = decision.outcome
        if not isinstance(outcome, Forward):
            return decision
        if outcome.otherwise is not None and not self.own_upstreams(outcome.servers):
            outcome = outcome.otherwise._replace(chased=outcome.chased)
            decision = Decision(outcome, decision.stage)
        if outcome.within is not None and not self.upstreams_for(outcome):
            return Decision(kept_inside(outcome, view), decision.stage)
        return decision

    def upstreams_for(self, forward: Forward) -> tuple[Upstream, ...]:
        """Who is asked: the route's upstreams, the asker's own, or everybody's.

        For an asker on internal networks only those within; of everybody's then those that its namespace had before us.
        """
        if forward.within is not None:
            own = forward.upstreams or (self.own_upstreams(forward.servers) if forward.servers else ())
            return inside(own or tuple(one for one in self.upstreams if one.in_namespace), forward.within)
        found = forward.upstreams or (self.own_upstreams(forward.servers) if forward.servers else self.upstreams)
        if self.host_servers is None:
            return found
        return without_system(found, forward.question.key, forward.question.qtype, self.host_servers)

    def options_for(self, forward: Forward) -> ForwardOptions:
        """How they are asked.

        Whoever writes a route wants the private addresses behind it; a resolver on an internal network has no others.
        """
        options = self.options
        if options.is_guarded and (
            forward.upstreams
            or forward.within is not None
            or not self.rebinding_allowed.isdisjoint(lineage_of(forward.question.key))
        ):
            return replace(options, is_guarded=False)
        return options

    def view_of(self, host: str) -> View:
        """The view of a client by its address."""
        if self.pin is not None:
            return self.views.pinned(self.pin.networks, self.pin.endpoint)
        if is_link_local(host):
            ours = self.neighbours.on_link(host)
            if ours is not None:
                return self.views.on_link(ip_address(host.partition("%")[0]), ours)
        return self.views.of_client(host)
