"""A host whose name service is the test's own: mount and network namespaces with files of its own in /etc, and dnsmasq.

The machine's own files are neither changed nor asked: what is bound over them is seen inside only, and there is no way
out. Nothing has a name in /run/netns; when the one process that keeps the namespaces ends, they are gone.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tests.netns.world import DigReply, Process, parse_dig, wait_until

SERVER = "127.0.0.2"
RESOLV_CONF = f"nameserver {SERVER}\nsearch search.example\noptions timeout:1 attempts:1\n"
HOSTS = """\
192.0.2.7 only4.hosts.example
2001:db8::8 only6.hosts.example
192.0.2.9 under_score.hosts.example
192.0.2.10 override.example
192.0.2.11 printer.local
192.0.2.12 no..name
"""
NSSWITCH = "hosts: files dns\n"
RECORDS = (
    "--host-record=real.example,192.0.2.1",
    "--address=/foo.example.search.example/192.0.2.99",
    "--address=/foo.hosts.example.search.example/192.0.2.98",
    "--host-record=override.example,192.0.2.100,2001:db8::100",
    "--mx-host=real.example,mail.example,10",
    "--txt-record=a+b.example,no host name",
)
_UNSHARE = ("unshare", "-m", "-n", "--propagation", "private")
_SETUP = """
ip link set lo up
for file in resolv.conf hosts nsswitch.conf; do mount --bind "$0/$file" "/etc/$file"; done
touch "$0/ready"
exec sleep infinity
"""


class Host:
    """A host with a name service; what is started on it ends with it."""

    def __init__(self, folder: Path, resolv_conf: str = RESOLV_CONF) -> None:
        self.etc = folder / "etc"
        self.folder = folder
        self.etc.mkdir()
        for name, text in (("resolv.conf", resolv_conf), ("hosts", HOSTS), ("nsswitch.conf", NSSWITCH)):
            (self.etc / name).write_text(text)
        self._undo = ExitStack()
        self._serial = 0
        self._keeper: Process
        self.dnsmasq: Process

    def __enter__(self) -> Self:
        try:
            self._keeper = self._start(
                ["unshare", "-m", "-n", "--propagation", "private"], ["sh", "-ec", _SETUP, self.etc]
            )
            wait_until(lambda: (self.etc / "ready").exists(), 10, "the namespaces")
            self.dnsmasq = self.server(SERVER, *RECORDS)
        except BaseException:
            self._undo.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    @property
    def prefix(self) -> list[str]:
        """What stands before a command that is to run on this host."""
        return ["nsenter", "-t", str(self._keeper.pid), "-m", "-n"]

    def server(self, address: str, *records: str) -> Process:
        """A dnsmasq that knows these records, and nothing else; it serves when this returns."""
        command = ["dnsmasq", "--keep-in-foreground", "--log-queries", "--log-facility=-", "--bind-interfaces"]
        alone = ["--conf-file=/dev/null", "--pid-file=", "--user=root", "--no-hosts", "--no-resolv", "--local=/#/"]
        found = self._start(self.prefix, [*command, *alone, f"--listen-address={address}", *records])
        wait_until(lambda: self.dig("+tries=1", "+time=1", f"@{address}", "is.there.example").status, 10, "dnsmasq")
        return found

    def asked(self, server: Process | None = None) -> list[tuple[str, str]]:
        """The types and names that a server was asked for; pydns's own search for loops, below test., aside."""
        found = []
        for line in (server or self.dnsmasq).stderr_text().splitlines():
            _, query, rest = line.partition("query[")
            if query:
                rtype, _, name = rest.partition("] ")
                found.append((rtype, name.split(" ")[0]))
        return [(rtype, name) for rtype, name in found if not name.endswith(".test")]

    def silence(self) -> None:
        """Stop dnsmasq, so that what it is sent is lost in its sockets: no answer, and no ICMP error."""
        self.dnsmasq.signal(signal.SIGSTOP)
        self._undo.callback(self.dnsmasq.signal, signal.SIGCONT)

    def run(self, *argv: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program on this host to its end."""
        return subprocess.run([*self.prefix, *argv], capture_output=True, text=True, timeout=60, check=check)

    def dig(self, *arguments: str) -> DigReply:
        """What dig says on this host, in parts."""
        return parse_dig(self.run("dig", *arguments, check=False).stdout)

    def start(self, *argv: str) -> Process:
        """Start a program on this host."""
        return self._start(self.prefix, argv)

    def _start(self, prefix: Sequence[str], argv: Sequence[str | Path]) -> Process:
        self._serial += 1
        process = Process(
            [*prefix, "setpriv", "--pdeathsig", "KILL", *map(str, argv)], self.folder / f"process-{self._serial}"
        )
        self._undo.callback(process.end)
        return process
