"""What a server holds and remembers, as plain values for the pages of operators and the commands that ask them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from resolver.forward.forwarder import Forwarder
from resolver.forward.lookups import Lookups
from resolver.forward.memory import Health
from resolver.forward.routes import Route
from resolver.forward.shared import asked_with
from resolver.forward.stats import UpstreamStats
from resolver.forward.upstreams import Upstream
from resolver.registry.model import Endpoint, Port, Snapshot
from resolver.wire.constants import rcode_name, type_name
from resolver.wire.name import WireName, is_below, to_text


def networks_of(snapshot: Snapshot) -> dict[str, Any]:
    """Every network with its endpoints, and the lines of hosts files; in the order in which networks are asked."""
    return {
        "networks": [
            {
                "name": network.name,
                "subnets": [str(subnet) for subnet in network.subnets],
                "gateways": [str(gateway) for gateway in network.gateways],
                "internal": network.internal,
                "written_in": str(network.origin),
                "endpoints": [_endpoint(endpoint) for endpoint in network.endpoints],
            }
            for network in snapshot.networks.values()
        ],
        "hosts": [
            {"address": str(host.address), "names": list(host.names), "written_in": str(host.origin)}
            for host in snapshot.hosts
        ],
    }


def upstreams_of(
    forwarder: Forwarder, configured: Sequence[Upstream], now: float, routes: Iterable[Route] = ()
) -> dict[str, Any]:
    """Every upstream that is configured or was asked of late, as the forwarder remembers it; and the routes."""
    asked = (upstream for upstream, stats in forwarder.stats.items() if not forwarder.is_former(upstream, stats))
    known = dict.fromkeys((*configured, *asked))
    return {
        "upstreams": [_upstream(upstream, forwarder, upstream in configured, now) for upstream in known],
        "routes": [
            {"route": route.shown, "target": route.target.value, "upstreams": [str(each) for each in route.upstreams]}
            for route in routes
        ],
    }


def _upstream(upstream: Upstream, forwarder: Forwarder, is_configured: bool, now: float) -> dict[str, Any]:
    memory = forwarder.memory_of(upstream)
    health = memory.health.get(upstream)
    stats = forwarder.stats.get(upstream)
    told: dict[str, Any] = {
        "address": str(upstream),
        "in_namespace": upstream.in_namespace,
        "for_everybody": is_configured,
        "state": _state(health, stats),
        "rtt_ms": None if health is None or health.rtt_s is None else round(health.rtt_s * 1000, 3),
        "patience_ms": round(memory.patience_s(upstream) * 1000, 3),
        "requests": 0 if stats is None else stats.requests,
        "not_asked": 0 if stats is None else stats.not_asked,
        "failures": {} if stats is None else {str(failure): count for failure, count in stats.failures.items()},
        "last_failure": None if health is None or health.last_failure is None else str(health.last_failure),
    }
    if (at := forwarder.bootstrap.address_in_use(upstream)) is not None:
        told["asked_at"] = at
    if health is not None and health.down_since is not None:
        told["down_for_s"] = round(now - health.down_since, 1)
        told["probe_in_s"] = round(max(health.probe_at - now, 0.0), 1)
    return told


def _state(health: Health | None, stats: UpstreamStats | None) -> str:
    if stats is not None and stats.looping:
        return "looping"
    if health is None:
        return "unknown"
    return "down" if health.is_down else "up"


def cache_of(lookups: Lookups, below: WireName | None, now: float) -> dict[str, Any]:
    """What the cache holds at time ``now``, everything or what is at or below a folded name."""
    cache = lookups.cache
    return {
        "octets": cache.size,
        "octets_at_most": cache.settings.size,
        "hits": cache.hits,
        "misses": cache.misses,
        "shared": lookups.shared,
        "entries": [
            {
                "name": to_text(entry.name),
                "type": type_name(entry.qtype),
                "rcode": rcode_name(entry.rcode),
                "left_s": round(entry.left_s(now)),
                "hits": entry.hits,
                "asked_with": list(words),
                "upstreams": [str(upstream) for upstream in upstreams],
            }
            for key, entry in cache.items()
            for words, upstreams in (asked_with(key),)
            if below is None or is_below(entry.name, below)
        ],
    }


def _endpoint(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "names": [*endpoint.dns_names(), *endpoint.wildcards()],
        "addresses": [str(address) for address in endpoint.addresses],
        "ports": [_port(port) for port in endpoint.ports],
        "links": dict(endpoint.links),
        "extra_hosts": [
            f"{name}={address if address is not None else 'host-gateway'}" for name, address in endpoint.extra_hosts
        ],
        "scope": endpoint.scope,
        "ready": endpoint.is_ready,
        "written_in": str(endpoint.origin),
    }


def _port(port: Port) -> str:
    name = f" ({port.name})" if port.name else ""
    return f"{port.number}/{port.protocol}{name}"
