"""Real name servers as upstreams: unbound, knotd, dnsmasq and named, each on a loopback address of its own.

An address out of 127.0.0.0/8 that was drawn by lot needs no port that is free. What a program says is in its folder;
`Program` ends it.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import dns.exception
import dns.message
import dns.query

from tests.netns.world import Process, wait_until
from tests.scenarios.live import At
from tests.unit.zones.test_against_knot import free_port

PORT = 5309
READY_WITHIN_S = 20.0
_ONLY_HERE = ("setpriv", "--pdeathsig", "TERM")  # also when the tests are killed


def lonely() -> At:
    """An address of loopback that nobody else has, most likely."""
    first, second, third = (1 + secrets.randbelow(250) for _ in range(3))
    return At(f"127.{first}.{second}.{third}", PORT)


def shared() -> At:
    """A free port of 127.0.0.1: named listens on no other address of loopback."""
    return At("127.0.0.1", free_port())


@contextlib.contextmanager
def started(argv: Sequence[str], folder: Path, at: At, fence: str, rtype: str = "SOA") -> Iterator[At]:
    """Run a server until the block ends; it is there when it has answered for the name ``fence``."""
    assert shutil.which(argv[0]), f"{argv[0]} is not installed: sudo tools/debian.sh test"
    process = Process([*_ONLY_HERE, *argv], folder / argv[0])
    query = dns.message.make_query(fence, rtype)

    def answers() -> bool:
        assert process.poll() is None, f"{argv[0]} has ended: {process.stderr_text()}{_logs(folder)}"
        with contextlib.suppress(dns.exception.Timeout, OSError):
            return bool(dns.query.udp(query, at.host, 0.3, at.port).answer)
        return False

    try:
        wait_until(answers, READY_WITHIN_S, f"{argv[0]} answers at {at.host}")
        yield at
    finally:
        process.end()


def knotd(folder: Path, at: At, zones: Mapping[str, Path], signed: Mapping[str, str]) -> list[str]:
    """The command of an authority for zone files; ``signed`` has the policy, nsec or nsec3, of those that it signs."""
    config = folder / "knot.conf"
    (folder / "knot").mkdir()
    lines = [
        f'server:\n  listen: {at.host}@{at.port}\n  rundir: "{folder}"\n  udp-workers: 1\n  tcp-workers: 1',
        f'log:\n  - target: "{folder}/knot.log"\n    any: info\ndatabase:\n  storage: "{folder}/knot"',
        "policy:\n  - id: nsec\n    single-type-signing: on\n    algorithm: ecdsap256sha256",
        "  - id: nsec3\n    single-type-signing: on\n    algorithm: ecdsap256sha256\n    nsec3: on\nzone:",
    ]
    for origin, path in zones.items():
        lines.append(f'  - domain: {origin}\n    file: "{path}"\n    zonefile-sync: -1\n    journal-content: none')
        if origin in signed:
            lines.append(f"    dnssec-signing: on\n    dnssec-policy: {signed[origin]}")
    config.write_text("\n".join(lines) + "\n")
    return ["knotd", "-c", str(config)]


def named(folder: Path, at: At, zones: Mapping[str, Path]) -> list[str]:
    """The command of another authority."""
    config = folder / "named.conf"
    lines = [
        f'options {{ directory "{folder}"; listen-on port {at.port} {{ {at.host}; }}; listen-on-v6 {{ none; }};',
        "pid-file none; session-keyfile none; recursion no; dnssec-validation no; notify no; minimal-responses yes;",
        "check-names primary ignore; };",
        "controls { };",
    ]
    lines += [f'zone "{origin}" {{ type primary; file "{path}"; }};' for origin, path in zones.items()]
    config.write_text("\n".join(lines) + "\n")
    return ["named", "-g", "-n", "1", "-c", str(config)]


def unbound(
    folder: Path, at: At, authorities: Mapping[str, At], anchors: Path | None = None, everything: At | None = None
) -> list[str]:
    """The command of a resolver; with trust anchors it validates, and with ``everything`` it asks that server only."""
    config = folder / "unbound.conf"
    lines = [
        f"server:\n  interface: {at.host}@{at.port}\n  access-control: 127.0.0.0/8 allow\n  do-daemonize: no",
        f'  chroot: ""\n  username: ""\n  pidfile: ""\n  directory: "{folder}"\n  use-syslog: no\n  logfile: ""',
        "  num-threads: 1\n  do-not-query-localhost: no\n  do-ip6: no\n  ede: yes\n  minimal-responses: yes",
        "  val-log-level: 2\n  domain-insecure: lab.test\n  local-zone: test. nodefault",
        f'  module-config: "{"validator iterator" if anchors else "iterator"}"',
    ]
    if anchors:
        lines.append(f'  trust-anchor-file: "{anchors}"')
    for origin, authority in authorities.items():
        lines.append(f"stub-zone:\n  name: {origin}\n  stub-addr: {authority.host}@{authority.port}")
    if everything:
        lines.append(f'forward-zone:\n  name: "."\n  forward-addr: {everything.host}@{everything.port}')
    config.write_text("\n".join(lines) + "\nremote-control:\n  control-enable: no\n")
    return ["unbound", "-d", "-c", str(config)]


def dnsmasq(at: At, *options: str) -> list[str]:
    """The command of a forwarder, or of a server of a few names; see dnsmasq(8)."""
    return [
        *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--no-resolv", "--no-hosts"),
        *("--no-poll", "--bind-interfaces", f"--listen-address={at.host}", f"--port={at.port}", "--log-facility=-"),
        *options,
    ]


def _logs(folder: Path) -> str:
    return "".join(path.read_text(errors="replace") for path in folder.glob("*.log"))
