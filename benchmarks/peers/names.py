"""Servers that hold a list of names, each started on the same list: what pydns is compared with when it answers itself.

The names are single labels, `n1` to `n<count>`, each with one address: what every server here can have. For
those that know zones only, it is the root zone.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import BenchError
from benchmarks.servers import Server, udp_to

START_WITHIN_S = 120.0
"""A million names take their time."""
AARDVARK = "/usr/lib/podman/aardvark-dns"
_ECHO = Path(__file__).with_name("echo.c")
_TTL = 600

_KNOT = """\
server:
    rundir: "{folder}"
    listen: 127.0.0.1@{port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: "{folder}"
zone:
  - domain: .
    file: "{zone}"
    zonefile-sync: -1
    journal-content: none
"""
_NSD = """\
server:
    ip-address: 127.0.0.1@{port}
    username: ""
    server-count: 1
    database: ""
    pidfile: ""
    zonelistfile: "{folder}/zone.list"
    xfrdfile: ""
    xfrdir: "{folder}"
    rrl-ratelimit: 0
remote-control:
    control-enable: no
zone:
    name: "."
    zonefile: "{zone}"
"""
_UNBOUND = """\
server:
    interface: 127.0.0.1@{port}
    do-daemonize: no
    chroot: ""
    username: ""
    directory: "{folder}"
    pidfile: ""
    use-syslog: no
    module-config: "iterator"
    num-threads: 1
    do-ip6: no
    access-control: 127.0.0.0/8 allow
    local-zone: "." static
    include: "{data}"
remote-control:
    control-enable: no
"""
_DNSDIST = """\
setLocal("127.0.0.1:{port}")
setSecurityPollSuffix("")
newServer{{address="127.0.0.1:{backend}", checkName="n1."}}
pc = newPacketCache({entries})
getPool(""):setCache(pc)
"""


@dataclass(frozen=True, slots=True)
class Registry:
    """The same names in every form that is wanted, written once."""

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
            f". {_TTL} SOA ns. hostmaster. 1 3600 600 86400 60\n. {_TTL} NS ns.\nns. {_TTL} A 127.0.0.1\n"
            + "".join(f"{name}. {_TTL} A {address}\n" for name, address in pairs)
        )
        self.local_data.write_text("".join(f'local-data: "{name}. {_TTL} A {address}"\n' for name, address in pairs))
        self.toml.write_text(
            '[networks.mynet]\nsubnets = ["10.0.0.0/8"]\n'
            + "".join(f'[networks.mynet.endpoints.{name}]\naddresses = ["{address}"]\n' for name, address in pairs)
        )

    @property
    def queries(self) -> Path:
        """For dnsperf: every name once."""
        return self.folder / "queries"

    @property
    def hosts(self) -> Path:
        """As hosts(5)."""
        return self.folder / "hosts"

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


Make = Callable[[Path, int, Registry], list[str]]
"""From a folder of its own, a port on 127.0.0.1 and the names to the command."""


def echo(folder: Path, port: int, _: Registry) -> list[str]:
    """The limit: no server at all, compiled here."""
    program = folder / "echo"
    done = subprocess.run(["gcc", "-O2", "-o", program, _ECHO], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"gcc could not compile {_ECHO.name}:\n{done.stderr}")
    return [str(program), str(port)]


def pydns_with(program: str) -> Make:
    """The `Make` of one pydns program."""

    def pydns(_: Path, port: int, registry: Registry) -> list[str]:
        command = [program, "serve", "--listen", f"127.0.0.1:{port}", "--registry", str(registry.toml)]
        return [*command, "--upstream", "127.0.0.1:1", "--metrics", "off"]

    return pydns


def dnsmasq(_: Path, port: int, registry: Registry) -> list[str]:
    """The names as an additional hosts file."""
    command = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=", f"--port={port}"]
    command += ["--listen-address=127.0.0.1", "--bind-interfaces", "--no-resolv", "--no-hosts", f"--local-ttl={_TTL}"]
    return [*command, f"--addn-hosts={registry.hosts}"]


def unbound(folder: Path, port: int, registry: Registry) -> list[str]:
    """One thread, the names as local data."""
    config = folder / "unbound.conf"
    config.write_text(_UNBOUND.format(port=port, folder=folder, data=registry.local_data))
    return ["unbound", "-d", "-c", str(config)]


def knotd(folder: Path, port: int, registry: Registry) -> list[str]:
    """One worker for UDP."""
    config = folder / "knot.conf"
    config.write_text(_KNOT.format(port=port, folder=folder, zone=registry.zone))
    return ["knotd", "--config", str(config)]


def nsd(folder: Path, port: int, registry: Registry) -> list[str]:
    """One server process."""
    config = folder / "nsd.conf"
    config.write_text(_NSD.format(port=port, folder=folder, zone=registry.zone))
    return ["nsd", "-d", "-c", str(config)]


def dnsdist_before(backend: int) -> Make:
    """dnsdist with a packet cache that holds every name, before a server on ``backend``."""

    def dnsdist(folder: Path, port: int, registry: Registry) -> list[str]:
        config = folder / "dnsdist.conf"
        config.write_text(_DNSDIST.format(port=port, backend=backend, entries=max(2 * registry.count, 10_000)))
        return ["dnsdist", "--supervised", "--disable-syslog", "-C", str(config)]

    return dnsdist


def aardvark(folder: Path, port: int, registry: Registry) -> list[str]:
    """The folder of a network as netavark writes it; the program forks and leaves."""
    names = folder / "names"
    names.mkdir()
    lines = ["127.0.0.1"]
    lines += [f"{number:064x} {address}  {name}" for number, (name, address) in enumerate(registry.addresses())]
    (names / "mynet").write_text("\n".join(lines) + "\n")
    return [AARDVARK, "--config", str(names), "--port", str(port), "run"]


LIMIT, PYDNS, BACKEND, BALANCER = "C echo", "pydns", "knotd", "dnsdist"
_PID_FILES = {"aardvark-dns": "names/aardvark.pid"}


def peers(pydns: str, backend_port: int) -> dict[str, Make]:
    """Whoever is installed, the limit and pydns first; dnsdist stands before the knotd on ``backend_port``."""
    programs: dict[str, tuple[str, Make]] = {
        LIMIT: ("gcc", echo),
        PYDNS: (pydns, pydns_with(pydns)),
        BACKEND: ("knotd", knotd),
        "unbound": ("unbound", unbound),
        "dnsmasq": ("dnsmasq", dnsmasq),
        "nsd": ("nsd", nsd),
        BALANCER: ("dnsdist", dnsdist_before(backend_port)),
        "aardvark-dns": (AARDVARK, aardvark),
    }
    return {name: make for name, (program, make) in programs.items() if shutil.which(program) is not None}


def holder(name: str, make: Make, port: int, registry: Registry, core: int | None) -> Server:
    """A server ready to be started on 127.0.0.1."""
    own = registry.folder / f"{name.replace(' ', '')}-{port}"
    own.mkdir()
    return Server(
        name,
        make(own, port, registry),
        port,
        udp_to("127.0.0.1", port),
        own / "log",
        core,
        start_within_s=START_WITHIN_S,
        pid_file=own / _PID_FILES[name] if name in _PID_FILES else None,
    )
