"""The gateways of networks: what the daemon says of a network, and what it says of those who are on it.

Docker before 26 does not name every network's gateways, but names those of a container. Who has been heard of once
counts, so that nothing changes when the last container has left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from resolver.registry.model import IPNetwork
from resolver.sources.docker.networks import Kind, Net
from resolver.wire.name import IPAddress


def _hosts(subnet: IPNetwork) -> Iterator[IPAddress]:
    yield from subnet.hosts()


class Gateways:
    """What is known of them."""

    def __init__(self) -> None:
        self._heard: dict[str, dict[int, IPAddress]] = {}
        """By network id and address family."""

    def hear(self, network_id: str, gateways: Iterable[IPAddress]) -> bool:
        """A container on the network has these; True when that is news."""
        heard = self._heard.setdefault(network_id, {})
        before = len(heard)
        for gateway in gateways:
            heard.setdefault(gateway.version, gateway)
        return len(heard) > before

    def forget(self, network_id: str) -> None:
        """The network is gone, or is another one."""
        self._heard.pop(network_id, None)

    def of(self, net: Net) -> tuple[IPAddress, ...]:
        """A network's own, one of a family at least."""
        given = self.of_host(net) if net.kind is Kind.DEFAULT else net.gateways
        versions = {gateway.version for gateway in given}
        heard = self._heard.get(net.id, {})
        return (*given, *(heard[version] for version in sorted(heard) if version not in versions))

    def of_host(self, default_bridge: Net) -> tuple[IPAddress, ...]:
        """The host's addresses on the default bridge.

        Where nobody names one, it is the first of the subnet's, which Docker gives to docker0; of one family only, as
        the daemons that name none have it.
        """
        if default_bridge.gateways:
            return default_bridge.gateways
        heard = self._heard.get(default_bridge.id, {})
        for version in (4, 6):
            if version in heard:
                return (heard[version],)
            for subnet in default_bridge.subnets:
                if subnet.version == version:
                    return (next(_hosts(subnet)),)
        return ()
