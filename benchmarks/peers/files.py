"""The same names in every form that some server wants, written once.

The names are single labels, `n1` to `n<count>`, each with one address and the PTR record that leads back: what every
server here can have. For those that know zones only, it is the root zone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TTL = 600


@dataclass(frozen=True, slots=True)
class Registry:
    """The names, and the files that hold them."""

    folder: Path
    count: int

    def addresses(self) -> Iterator[tuple[str, str]]:
        """Each name and its address."""
        for number in range(1, self.count + 1):
            yield f"n{number}", f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"

    def write(self) -> None:
        """All the files."""
        pairs = list(self.addresses())
        self.queries.write_text("".join(f"{name} A\n" for name, _ in pairs))
        self.hosts.write_text("".join(f"{address} {name}\n" for name, address in pairs))
        self.zone.write_text(
            f". {TTL} SOA ns. hostmaster. 1 3600 600 86400 60\n. {TTL} NS ns.\nns. {TTL} A 127.0.0.1\n"
            + "".join(f"{n}. {TTL} A {a}\n{reverse(a)}. {TTL} PTR {n}.\n" for n, a in pairs)
        )
        self.local_data.write_text(
            "".join(
                f'local-data: "{name}. {TTL} A {address}"\nlocal-data: "{reverse(address)}. {TTL} PTR {name}."\n'
                for name, address in pairs
            )
        )
        self.toml.write_text(
            '[networks.mynet]\nsubnets = ["10.0.0.0/8"]\n'
            + "".join(f'[networks.mynet.endpoints.{name}]\naddresses = ["{address}"]\n' for name, address in pairs)
        )
        self.network.write_text('[networks.mynet]\nsubnets = ["10.0.0.0/8"]\n')
        containers = {
            hashlib.sha256(name.encode()).hexdigest(): {"Name": name, "IPv4Address": f"{address}/8"}
            for name, address in pairs  # ids as Docker has them: the short ones are names as well
        }
        network = {"Name": "mynet", "Id": f"{0:064x}", "IPAM": {"Config": [{"Subnet": "10.0.0.0/8"}]}}
        self.inspected.write_text(json.dumps([network | {"Containers": containers}]))

    @property
    def queries(self) -> Path:
        """For dnsperf: every name once."""
        return self.folder / "queries"

    @property
    def hosts(self) -> Path:
        """As hosts(5)."""
        return self.folder / "hosts"

    @property
    def network(self) -> Path:
        """For pydns, what a hosts file does not say: the network below whose name the others are looked for in vain."""
        return self.folder / "network.toml"

    @property
    def zone(self) -> Path:
        """As a zone file (RFC 1035 5)."""
        return self.folder / "zone"

    @property
    def local_data(self) -> Path:
        """As unbound.conf(5) has it."""
        return self.folder / "local-data"

    @property
    def toml(self) -> Path:
        """As a registry file of pydns."""
        return self.folder / "networks.toml"

    @property
    def inspected(self) -> Path:
        """As `docker network inspect` prints it."""
        return self.folder / "mynet.json"


def reverse(address: str) -> str:
    """The name under in-addr.arpa of an IPv4 address (RFC 1035 3.5)."""
    return ".".join(reversed(address.split("."))) + ".in-addr.arpa"
