"""What the registry holds, as plain values for ``pydns networks`` and /networks."""

from __future__ import annotations

from typing import Any

from resolver.registry.model import Endpoint, Port, Snapshot


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
