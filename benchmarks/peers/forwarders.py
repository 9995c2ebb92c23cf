"""Forwarders, each started so that it asks the same upstreams, with the cache that it has by default."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.netns import Namespace
from benchmarks.peers.names import in_lane
from benchmarks.servers import Server, udp_to
from benchmarks.stub import DOMAIN

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
remote-control:
    control-enable: no
forward-zone:
    name: "."
"""
_DNSDIST = """\
setLocal("127.0.0.1:{port}")
setSecurityPollSuffix("")
setRingBuffersSize(1)
pc = newPacketCache(100000)
getPool(""):setCache(pc)
"""

Make = Callable[[Path, int, Sequence[str]], list[str]]
"""From a folder of its own, a port on 127.0.0.1 and the upstreams' addresses to the command."""


def pydns_with(program: str, lane: str = "") -> Make:
    """The `Make` of one pydns program; ``lane`` is PYDNS_LANE."""

    def pydns(folder: Path, port: int, upstreams: Sequence[str]) -> list[str]:
        (folder / "networks.toml").write_text("")
        resolv_conf = _resolv_conf(folder, upstreams)
        command = [
            *in_lane(lane),
            program,
            "serve",
            "--listen",
            f"127.0.0.1:{port}",
            "--registry",
            str(folder / "networks.toml"),
        ]
        return [*command, "--resolv-conf", resolv_conf, "--metrics", "off"]

    return pydns


def dnsmasq(folder: Path, port: int, upstreams: Sequence[str]) -> list[str]:
    """As dnsmasq comes, but for its limit of 150 look-ups."""
    command = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=", f"--port={port}"]
    command += ["--listen-address=127.0.0.1", "--bind-interfaces", "--no-hosts", "--dns-forward-max=1000"]
    return [*command, f"--resolv-file={_resolv_conf(folder, upstreams)}"]


def dnsmasq_all(folder: Path, port: int, upstreams: Sequence[str]) -> list[str]:
    """The same, asking every upstream every time."""
    return [*dnsmasq(folder, port, upstreams), "--all-servers"]


def unbound(folder: Path, port: int, upstreams: Sequence[str]) -> list[str]:
    """One thread, no validation."""
    config = _UNBOUND.format(port=port, folder=folder)
    config += "".join(f"    forward-addr: {upstream}\n" for upstream in upstreams)
    (folder / "unbound.conf").write_text(config)
    return ["unbound", "-d", "-c", str(folder / "unbound.conf")]


def dnsdist(folder: Path, port: int, upstreams: Sequence[str]) -> list[str]:
    """A balancer rather than a forwarder: it sends each query on as it is, and repeats none."""
    config = _DNSDIST.format(port=port)
    check = f'checkName="check.{DOMAIN}."'
    config += "".join(f'newServer{{address="{upstream}:53", {check}}}\n' for upstream in upstreams)
    (folder / "dnsdist.conf").write_text(config)
    return ["dnsdist", "--supervised", "--disable-syslog", "-C", str(folder / "dnsdist.conf")]


MAKES: dict[str, Make] = {
    "dnsmasq": dnsmasq,
    "dnsmasq --all-servers": dnsmasq_all,
    "unbound": unbound,
    "dnsdist": dnsdist,
}


def forwarder(
    name: str, make: Make, folder: Path, port: int, upstreams: Sequence[str], home: Namespace, core: int | None
) -> Server:
    """A server ready to be started in a namespace, whose ports are its own."""
    own = folder / f"{name.replace(' ', '')}-{port}"
    own.mkdir()
    return Server(
        name,
        make(own, port, upstreams),
        port,
        lambda: home.inside(udp_to("127.0.0.1", port)),
        own / "log",
        core,
        home.enter,
        asks=f"ready.{DOMAIN}",
    )


def is_here(name: str) -> bool:
    """Whether the program of one of `MAKES` is installed."""
    return shutil.which(name.split()[0]) is not None


def _resolv_conf(folder: Path, upstreams: Sequence[str]) -> str:
    path = folder / "resolv.conf"
    path.write_text("".join(f"nameserver {upstream}\n" for upstream in upstreams))
    return str(path)
