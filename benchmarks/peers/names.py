"""Servers that hold a list of names, each started on the same list: what pydns is compared with when it answers itself.

Whoever can be told of a change while it runs is started so that it can: `CHURN` is the name that benchmarks/changers.py
changes.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from benchmarks.errors import BenchError
from benchmarks.peers.files import TTL, Registry
from benchmarks.servers import START_WITHIN_S, Server, free_port, udp_to

CHURN = "churn"
CONTROL_PORT = "control-port"
"""The file that says where an unbound takes orders."""
AARDVARK = "/usr/lib/podman/aardvark-dns"
_ECHO = Path(__file__).with_name("echo.c")

_KNOT = """\
server:
    rundir: "{folder}"
    listen: 127.0.0.1@{port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: "{folder}"
acl:
  - id: here
    address: 127.0.0.1
    action: update
zone:
  - domain: .
    file: "{zone}"
    zonefile-sync: -1
    journal-content: none
    acl: here
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
    incoming-num-tcp: 100
    local-zone: "." static
    local-zone: "10.in-addr.arpa." static
    include: "{data}"
remote-control:
    control-enable: yes
    control-interface: 127.0.0.1
    control-port: {control}
    control-use-cert: no
"""
_DNSDIST = """\
setLocal("127.0.0.1:{port}")
setSecurityPollSuffix("")
newServer{{address="127.0.0.1:{backend}", checkName="n1."}}
pc = newPacketCache({entries})
getPool(""):setCache(pc)
"""
_COREDNS = """\
.:{port} {{
    bind 127.0.0.1
    file {zone} .
}}
"""
_CHURN_FOLDER = """\
[registry]
files = [{files}]
aardvark = "{names}"
"""


Make = Callable[[Path, int, Registry], list[str]]
"""From a folder of its own, a port on 127.0.0.1 and the names to the command."""


def echo(folder: Path, port: int, _: Registry) -> list[str]:
    """The limit: no server at all, compiled here."""
    program = folder / "echo"
    done = subprocess.run(["gcc", "-O2", "-o", program, _ECHO], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"gcc could not compile {_ECHO.name}:\n{done.stderr}")
    return [str(program), str(port)]


def pydns_with(program: str, lane: str = "", kind: str = "toml") -> Make:
    """The `Make` of one pydns program; ``lane`` is PYDNS_LANE, ``kind`` its registry: toml, json or hosts."""

    def pydns(folder: Path, port: int, registry: Registry) -> list[str]:
        names = folder / "names"
        names.mkdir()
        (names / CHURN).write_text(churn_file("172.20.0.0"))
        config = folder / "pydns.toml"
        forms = {"toml": (registry.toml,), "json": (registry.inspected,), "hosts": (registry.hosts, registry.network)}
        files = ", ".join(f'"{file}"' for file in forms[kind])
        config.write_text(_CHURN_FOLDER.format(files=files, names=names))
        command = [*in_lane(lane), program, "serve", "--config", str(config), "--listen", f"127.0.0.1:{port}"]
        return [*command, "--upstream", "127.0.0.1:1", "--metrics", "off"]

    return pydns


def churn_file(address: str) -> str:
    """The network of `CHURN` as netavark writes it; who asks is not on it, and so sees it with all the others."""
    return f"172.21.0.1\n{1:064x} {address}  {CHURN}\n"


def in_lane(lane: str) -> list[str]:
    """The words before a pydns that make it take one fast lane; the compiled one is that which it takes by itself."""
    return ["env", f"PYDNS_LANE={lane}"] if lane else ["env", "--unset=PYDNS_LANE"]


def dnsmasq(folder: Path, port: int, registry: Registry) -> list[str]:
    """The names as an additional hosts file; what it has not is nowhere."""
    (folder / "hosts.d").mkdir()
    command = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=", f"--port={port}"]
    command += ["--listen-address=127.0.0.1", "--bind-interfaces", "--no-resolv", "--no-hosts", "--domain-needed"]
    command += [f"--local-ttl={TTL}", *(f"--local=/{domain}/" for domain in ("mynet", "10.in-addr.arpa"))]
    return [*command, f"--addn-hosts={registry.hosts}", f"--hostsdir={folder / 'hosts.d'}"]


def unbound(folder: Path, port: int, registry: Registry) -> list[str]:
    """One thread, the names as local data."""
    config = folder / "unbound.conf"
    control = free_port()
    (folder / CONTROL_PORT).write_text(str(control))
    config.write_text(_UNBOUND.format(port=port, folder=folder, data=registry.local_data, control=control))
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
    return ["env", "AARDVARK_NO_PROXY=1", AARDVARK, "--config", str(names), "--port", str(port), "run"]


def coredns(folder: Path, port: int, registry: Registry) -> list[str]:
    """The names as a zone, on one core."""
    config = folder / "Corefile"
    config.write_text(_COREDNS.format(port=port, zone=registry.zone))
    return ["env", "GOMAXPROCS=1", "coredns", "-conf", str(config)]


LIMIT, PYDNS, PYTHON, BACKEND, BALANCER = "C echo", "pydns", "pydns in Python", "knotd", "dnsdist"
AARDVARK_NAME = "aardvark-dns"
_PID_FILES = {AARDVARK_NAME: "names/aardvark.pid"}


def lanes(program: str) -> dict[str, str]:
    """Which fast lanes a pydns has: their names here, with PYDNS_LANE."""
    done = subprocess.run([*in_lane(""), program, "--version"], capture_output=True, text=True, check=False)
    return ({PYDNS: ""} if "compiled" in done.stdout else {}) | {PYTHON: "python"}


def peers(pydns: str, backend_port: int, kind: str = "toml") -> dict[str, Make]:
    """Whoever is installed, the limit and pydns first; dnsdist stands before the knotd on ``backend_port``."""
    programs: dict[str, tuple[str, Make]] = {
        LIMIT: ("gcc", echo),
        **{name: (pydns, pydns_with(pydns, lane, kind)) for name, lane in lanes(pydns).items()},
        BACKEND: ("knotd", knotd),
        "unbound": ("unbound", unbound),
        "dnsmasq": ("dnsmasq", dnsmasq),
        "nsd": ("nsd", nsd),
        BALANCER: ("dnsdist", dnsdist_before(backend_port)),
        AARDVARK_NAME: (AARDVARK, aardvark),
        "coredns": ("coredns", coredns),
    }
    return {name: make for name, (program, make) in programs.items() if shutil.which(program) is not None}


def holder(
    name: str, make: Make, port: int, registry: Registry, core: int | None, start_within_s: float = START_WITHIN_S
) -> Server:
    """A server ready to be started on 127.0.0.1; its folder is its log's."""
    own = registry.folder / f"{name.replace(' ', '')}-{port}"
    own.mkdir()
    return Server(
        name,
        make(own, port, registry),
        port,
        udp_to("127.0.0.1", port),
        own / "log",
        core,
        start_within_s=start_within_s,
        pid_file=own / _PID_FILES[name] if name in _PID_FILES else None,
    )
