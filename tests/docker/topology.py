"""The networks and containers that Docker and pydns are asked about side by side.

Between them they have everything that gives a container a name: networks of every kind, aliases that are shared, dotted
or in upper case, links, hostnames, entries for /etc/hosts, networks that were connected later.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tests.docker.daemon import Daemon
from tests.docker.image import BASE

NETWORKS: dict[str, tuple[str, ...]] = {
    "mynet": (),
    "othernet": (),
    "intnet": ("--internal",),
    "v6net": ("--ipv6", "--subnet", "fd00:dead:beef::/64"),
    "my.net": (),
}
"""By name, with the flags of `docker network create`."""


@dataclass(frozen=True, slots=True)
class Container:
    """One container: the flags of `docker run`, then the networks that it is connected to, with their flags."""

    name: str
    network: str
    flags: tuple[str, ...] = ()
    connected: tuple[tuple[str, ...], ...] = ()

    @property
    def networks(self) -> tuple[str, ...]:
        """Every network that it is on."""
        return (self.network, *(words[-1] for words in self.connected))


def _aliases(*names: str) -> tuple[str, ...]:
    return tuple(word for name in names for word in ("--network-alias", name))


CONTAINERS = {
    container.name: container
    for container in (
        Container("web", "mynet", (*_aliases("www", "app"), "--hostname", "web-1.corp.test", "--expose", "80")),
        Container("db", "mynet", connected=(("--alias", "dbother", "othernet"),)),
        Container("pool1", "mynet", _aliases("pool")),
        Container("pool2", "mynet", _aliases("pool"), connected=(("--alias", "pool", "othernet"),)),
        Container("pool3", "othernet", _aliases("pool")),
        Container("linker", "mynet", ("--link", "db:Database", "--link", "pool1:first")),
        Container("hosty", "mynet", ("--hostname", "custom-host")),
        Container("othercli", "othernet"),
        Container("secret", "intnet"),
        Container("intcli", "intnet"),
        Container("both", "intnet", connected=(("mynet",),)),
        Container("v6a", "v6net", _aliases("six")),
        Container("v6b", "v6net", _aliases("six"), connected=(("mynet",),)),
        Container("dotty", "my.net", _aliases("x.y")),
        Container("svc.one", "mynet", _aliases("api.internal.corp", "MixedCase", "under_score")),
        Container("UPPER", "mynet"),
        Container("adder", "mynet", ("--add-host", "extra.test:192.0.2.250", "--add-host", "printer:192.0.2.251")),
        Container("bweb", "bridge"),
        Container("gone", "mynet", _aliases("went")),
    )
}
STOPPED = "gone"
"""This one is stopped again."""

_PLACEHOLDER = re.compile(r"\{([^{}]+)\.(ip4|ip6|gateway|id12|rev4|rev6|REV4|REV6|gateway-rev|unused-rev)\}")


class Topology:
    """Everything above, running in a daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        for name, flags in NETWORKS.items():
            daemon.docker("network", "create", *flags, name)
        with ThreadPoolExecutor(4) as pool:  # a link needs its target first
            list(pool.map(self._run, (each for each in CONTAINERS.values() if "--link" not in each.flags)))
            list(pool.map(self._run, (each for each in CONTAINERS.values() if "--link" in each.flags)))
        daemon.docker("stop", STOPPED)
        self._containers = {name: daemon.get(f"/containers/{name}/json") for name in CONTAINERS}
        self._networks = {name: daemon.get(f"/networks/{name}") for name in (*NETWORKS, "bridge")}

    def _run(self, container: Container) -> None:
        self.daemon.docker(
            *("run", "--detach", "--name", container.name, "--network", container.network), *container.flags, BASE
        )
        for words in container.connected:
            self.daemon.docker("network", "connect", *words, container.name)

    def fill(self, text: str) -> str:
        """A text with its placeholders replaced.

        ``{db.mynet.ip4}`` and ``ip6`` are a container's addresses on a network, ``rev4`` and ``rev6`` their reverse
        names (``REV4`` and ``REV6`` in upper case), ``{db.id12}`` its short id; ``{mynet.gateway}`` is a network's
        gateway, ``gateway-rev`` its reverse name and ``unused-rev`` that of an address in the subnet that nobody has.
        """
        return _PLACEHOLDER.sub(lambda found: self._value(found[1], found[2]), text)

    def endpoint(self, container: str, network: str) -> dict[str, Any]:
        """What docker inspect says of a container's place on a network."""
        found: dict[str, Any] = self._containers[container]["NetworkSettings"]["Networks"][network]
        return found

    def names(self) -> Iterator[str]:
        """Every name that a container has by itself, whoever may know it."""
        for name, container in self._containers.items():
            yield from (name, container["Id"][:12], container["Config"]["Hostname"])
            for endpoint in container["NetworkSettings"]["Networks"].values():
                yield from endpoint["Aliases"] or ()
                yield from (link.partition(":")[2] for link in endpoint["Links"] or ())

    def reverse_names(self) -> Iterator[str]:
        """The reverse name of every address of a running container."""
        for name, container in CONTAINERS.items():
            for network in container.networks if name != STOPPED else ():
                yield self._value(f"{name}.{network}", "rev4")
                if self.endpoint(name, network)["GlobalIPv6Address"]:
                    yield self._value(f"{name}.{network}", "rev6")

    def _value(self, of: str, what: str) -> str:
        if what == "id12":
            return str(self._containers[of]["Id"][:12])
        if what.isupper():
            return self._value(of, what.lower()).upper()
        if what in ("gateway", "gateway-rev", "unused-rev"):
            config = self._networks[of]["IPAM"]["Config"][0]
            if what == "unused-rev":
                return reverse(str(ipaddress.ip_network(config["Subnet"]).network_address + 250))
            return reverse(config["Gateway"]) if what == "gateway-rev" else str(config["Gateway"])
        name = next(name for name in CONTAINERS if of.startswith(f"{name}.") and of[len(name) + 1 :] in self._networks)
        endpoint = self.endpoint(name, of[len(name) + 1 :])
        address = endpoint["GlobalIPv6Address" if what.endswith("6") else "IPAddress"]
        return reverse(address) if what.startswith("rev") else str(address)


def reverse(address: str) -> str:
    """The reverse name of an address, without the final dot."""
    return ipaddress.ip_address(address).reverse_pointer
