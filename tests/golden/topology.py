"""Docker's networks and containers as registry values, from the very commands that made them.

`World` holds what runs; its methods are docker's commands. What a container is called follows Docker's rules: name,
aliases, short id, and the hostname when one was given. Addresses and ids are those of the recorded run, so that its
messages can be sent as they are; what the record has no address for gets one that is free.

The default bridge is in no registry: containers on it have no names (`serve_default_bridge` is off by default).
"""

from __future__ import annotations

import argparse
import ipaddress
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field

from resolver.registry.model import Contribution, Endpoint, IPNetwork, Network
from resolver.registry.store import Store
from resolver.sources.base import parse_name
from resolver.views import Views, ViewSettings
from resolver.wire.name import IPAddress
from resolver.zones.model import ZoneSet
from tests.golden import recorded

DEFAULT_BRIDGE = "bridge"
_WITHOUT_NAMES = (DEFAULT_BRIDGE, "host", "none")
_PLACEHOLDER = re.compile(r"\{([^{}\s]+?)(\.rev)?(\.UPPER)?\}")


def _flags() -> argparse.ArgumentParser:
    """Those flags of `docker run` that have to do with names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-d", action="store_true")
    for flag in ("--name", "--network", "--hostname", "--domainname", "--expose", "--ip6"):
        parser.add_argument(flag)
    for flag in ("--network-alias", "--link", "--add-host", "--dns", "--dns-search", "--dns-opt"):
        parser.add_argument(flag, action="append", default=[])
    parser.add_argument("image")
    return parser


_RUN = _flags()


@dataclass
class Container:
    """One that runs."""

    name: str
    key: str
    """What the record calls it; a rename does not change it."""
    id: str
    hostname: str | None = None
    links: tuple[tuple[str, str], ...] = ()
    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    extra_hosts: tuple[tuple[str, IPAddress | None], ...] = ()
    aliases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By each network that it is on."""


class World:
    """What exists at one moment of the recording."""

    def __init__(self) -> None:
        self.networks: dict[str, Network] = {}
        self.containers: dict[str, Container] = {}
        self.sharing: dict[str, str] = {}
        """Containers that live in another one's namespace."""
        self.stopped: dict[str, Container] = {}
        self.complaints: list[str] = []
        """What pydns says of aliases that no question can hold."""
        self._values = recorded.actual()
        self._given: dict[str, str] = {}
        """Addresses that the record does not tell."""
        commands = recorded.topology()
        for made, command in commands.items():
            if not command.startswith("("):  # those of group "order" come later
                self.run(command, made)

    def run(self, command: str, made: str = "") -> None:
        """Do what a docker command does to names."""
        words = shlex.split(command)
        match words[:3]:
            case ["docker", "network", "create"]:
                self.create_network(words[-1], internal="--internal" in words, ipv6="--ipv6" in words)
            case ["docker", "network", "connect"]:
                aliases = tuple(words[at + 1] for at, word in enumerate(words) if word == "--alias")
                self.connect(words[-2], words[-1], aliases)
            case ["docker", "network", "disconnect"]:
                self.disconnect(words[-2], words[-1])
            case ["docker", "run", _]:
                self._run(words[2:])
            case ["docker", "create", _]:
                pass  # never started: it has no address, so it has no name
            case _:
                raise AssertionError(f"{made}: {command} is no command that this world knows")

    def _run(self, words: list[str]) -> None:
        asked = _RUN.parse_args(words)
        network = asked.network or DEFAULT_BRIDGE
        if network.startswith("container:"):
            self.sharing[asked.name] = network.partition(":")[2]
            return
        self.add(
            asked.name,
            network,
            tuple(asked.network_alias),
            hostname=asked.hostname,
            links=tuple(_link(text) for text in asked.link),
            servers=tuple(asked.dns),
            search=tuple(asked.dns_search),
            options=tuple(asked.dns_opt),
            extra_hosts=tuple(_extra_host(text) for text in asked.add_host),
        )

    def create_network(self, name: str, *, internal: bool = False, ipv6: bool = False) -> None:
        """`docker network create`."""
        subnets: list[IPNetwork] = [ipaddress.ip_network(self._values[f"{name}.subnet4"])]
        if ipv6:
            subnets.append(ipaddress.ip_network(self._values[f"{name}.subnet6"]))
        gateways = (ipaddress.ip_address(self._values[f"{name}.gw4"]),)
        self.networks[name] = Network(name, tuple(subnets), gateways, internal)

    def remove_networks(self, *names: str) -> None:
        """`docker network rm`."""
        for name in names:
            del self.networks[name]

    def add(
        self,
        name: str,
        network: str,
        aliases: tuple[str, ...] = (),
        *,
        hostname: str | None = None,
        links: tuple[tuple[str, str], ...] = (),
        servers: tuple[str, ...] = (),
        search: tuple[str, ...] = (),
        options: tuple[str, ...] = (),
        extra_hosts: tuple[tuple[str, IPAddress | None], ...] = (),
    ) -> None:
        """`docker run`."""
        made_up = f"{sum(name.encode()) * 0x9E3779B97F4A7C15 % (1 << 256):064x}"
        self.containers[name] = Container(
            name,
            name,
            self._values.get(f"{name}.id", made_up),
            hostname,
            links,
            servers,
            search,
            options,
            extra_hosts,
            {network: aliases},
        )

    def remove(self, *names: str) -> None:
        """`docker rm -f`."""
        for name in names:
            del self.containers[name]

    def stop(self, name: str) -> None:
        """`docker stop` and `docker kill`: it has no address any more."""
        self.stopped[name] = self.containers.pop(name)

    def start(self, name: str) -> None:
        """`docker start`: its name, aliases and networks are what they were."""
        self.containers[name] = self.stopped.pop(name)

    def rename(self, name: str, new: str) -> None:
        """`docker rename`: everything but the name stays."""
        container = self.containers.pop(name)
        container.name = new
        self.containers[new] = container

    def connect(self, network: str, name: str, aliases: tuple[str, ...] = ()) -> None:
        """`docker network connect`."""
        self.containers[name].aliases[network] = aliases

    def disconnect(self, network: str, name: str) -> None:
        """`docker network disconnect`: the aliases that it had there are gone for good."""
        del self.containers[name].aliases[network]

    def asker(self, client: str) -> Container:
        """Whose resolver a client asks."""
        return self.containers[self.sharing.get(client, client)]

    def networks_of(self, container: Container) -> tuple[str, ...]:
        """The networks that a container has names on."""
        return tuple(network for network in container.aliases if network not in _WITHOUT_NAMES)

    def views(self) -> Views:
        """What pydns makes of it."""
        networks = []
        for network in self.networks.values():
            endpoints = tuple(
                self._endpoint(container, network)
                for container in self.containers.values()
                if network.name in container.aliases
            )
            networks.append(
                Network(network.name, network.subnets, network.gateways, network.internal, endpoints=endpoints)
            )
        store = Store()
        store.replace([Contribution("docker", tuple(networks))])
        assert not any("refused" in str(fault) for fault in store.warnings), store.warnings
        return Views(store.snapshot, ZoneSet(), ViewSettings())

    def _endpoint(self, container: Container, network: Network) -> Endpoint:
        return Endpoint(
            name=container.name,
            addresses=tuple(self._addresses(container, network)),
            id=container.id,
            aliases=tuple(
                alias
                for text in container.aliases[network.name]
                if (alias := parse_name(text, self._leave_out, wildcard=True)) is not None
            ),
            hostname=container.hostname,
            links=container.links,
            servers=container.servers,
            extra_hosts=container.extra_hosts,
        )

    def _leave_out(self, message: str, fix: str) -> None:
        self.complaints.append(f"{message}; {fix}")

    def _addresses(self, container: Container, network: Network) -> Iterable[IPAddress]:
        for subnet in network.subnets:
            key = f"{container.key}.{network.name}.ip{subnet.version}"
            text = self._values.get(key) or self._given.get(key)
            if text is None:
                taken = {*self._values.values(), *self._given.values()}
                size = min(subnet.num_addresses, 1 << 16)
                free = (str(subnet[at]) for at in range(size - 600, size - 300))
                text = self._given[key] = next(address for address in free if address not in taken)
            yield ipaddress.ip_address(text)

    def value(self, placeholder: str) -> str:
        """What ``db.mynet.ip4`` or ``db.id12`` stands for now; a container goes by its present name."""
        name, _, rest = placeholder.partition(".")
        for container in self.containers.values():
            if placeholder.startswith(f"{container.name}.") and container.name != container.key:
                name, rest = container.key, placeholder.removeprefix(f"{container.name}.")
        known = self._values.get(f"{name}.{rest}") or self._given.get(f"{name}.{rest}")
        assert known is not None, f"nothing tells what {{{placeholder}}} stood for"
        return known

    def expand(self, text: str) -> str:
        """``text`` with its placeholders replaced."""

        def replaced(found: re.Match[str]) -> str:
            key, reverse, upper = found.groups()
            if reverse is None:
                return self.value(key + (upper or ""))
            name = ipaddress.ip_address(self.value(key)).reverse_pointer + "."
            return name.upper() if upper else name

        return _PLACEHOLDER.sub(replaced, text)


def _link(text: str) -> tuple[str, str]:
    """`--link CONTAINER:ALIAS` as the registry has it, alias first."""
    target, _, alias = text.partition(":")
    return alias or target, target


def _extra_host(text: str) -> tuple[str, IPAddress | None]:
    name, _, address = text.partition(":")
    return name, None if address == "host-gateway" else ipaddress.ip_address(address)
