"""Two network namespaces and a wire between them: pydns in the near one, upstreams in the far one, nft in the way.

    <prefix>-near   10.53.0.1, fd53::1, fe80::1 on eth0
    <prefix>-far    10.53.0.N, fd53::N, fe80::N on eth0, of N = 11, 12

Neither has another way out.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import dns.exception
import dns.query

from tests.forwarding.client import by_udp
from tests.forwarding.programs import READY_WITHIN_S, dnsmasq
from tests.netns.world import Process, in_namespace, wait_until
from tests.scenarios.live import ROOT, At, Live

NEAR, FIRST, SECOND = "10.53.0.1", "10.53.0.11", "10.53.0.12"
OF_FIRST, OF_SECOND = "192.0.2.11", "192.0.2.12"
"""What the two servers say of every name."""
DEVICE = "eth0"

T = TypeVar("T")


class Lab:
    """Both namespaces; everything in them goes with them."""

    def __init__(self) -> None:
        prefix = f"pyl{os.getpid()}x{secrets.token_hex(2)}"
        self.near, self.far = f"{prefix}-near", f"{prefix}-far"
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> Self:
        try:
            for namespace in (self.near, self.far):
                self._undo.callback(subprocess.run, ["ip", "netns", "delete", namespace], capture_output=True)
                _run("ip", "netns", "add", namespace)
            _run("ip", "-n", self.near, "link", "add", DEVICE, "type", "veth", "peer", DEVICE, "netns", self.far)
            for namespace, numbers in ((self.near, (1,)), (self.far, (11, 12))):
                lines = ["link set lo up", f"link set {DEVICE} addrgenmode none", f"link set {DEVICE} up"]
                for number in numbers:
                    lines.append(f"address add 10.53.0.{number}/24 dev {DEVICE}")
                    lines += [f"address add {net}::{number:x}/64 dev {DEVICE} nodad" for net in ("fd53", "fe80")]
                _run("ip", "-n", namespace, "-batch", "-", given="\n".join(lines) + "\n")
        except BaseException:
            self._undo.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._undo.close()

    def start(self, folder: Path, at: At, *options: str) -> Process:
        """A dnsmasq in the far namespace, which says of every name what ``options`` have."""
        command = [f"--net=/run/netns/{self.far}", "setpriv", "--pdeathsig", "TERM"]
        process = Process(
            ["nsenter", *command, *dnsmasq(at, "--user=root", "--group=root", *options)], folder / at.host
        )
        self._undo.callback(process.end)

        def answers() -> bool:
            assert process.poll() is None, process.stderr_text()
            with contextlib.suppress(dns.exception.Timeout, OSError):
                return bool(in_namespace(self.far, lambda: by_udp(at, "fence.example.", within_s=0.3)).answer)
            return False

        wait_until(answers, READY_WITHIN_S, f"dnsmasq answers at {at.host}")
        return process

    def both(self, folder: Path) -> None:
        """Both servers; the first one at its IPv6 addresses too."""
        every = "--address=/#/{}", "--local-ttl=60"
        for at, said in ((FIRST, OF_FIRST), (SECOND, OF_SECOND)):
            more = [f"--listen-address={net}::b" for net in ("fd53", "fe80")] if at == FIRST else []
            self.start(folder, At(at, 53), *more, *(option.format(said) for option in every))

    def serve(self, folder: Path, **options: object) -> Live:
        """A pydns in the near namespace, started and ready."""
        live = Live(folder, prefix=("nsenter", f"--net=/run/netns/{self.near}"), **options)  # type: ignore[arg-type]
        self._undo.enter_context(live)
        return live

    def inside(self, work: Callable[[], T]) -> T:
        """Do something in the near namespace."""
        return in_namespace(self.near, work)

    @contextlib.contextmanager
    def rule(self, *rules: str) -> Iterator[None]:
        """Rules of nft for what comes into the far namespace, while the block runs."""
        chain = "\n".join(rules)
        text = f"table inet lab {{ chain input {{ type filter hook input priority 0;\n{chain}\n}}\n}}\n"
        self.nft(text)
        try:
            yield
        finally:
            self.nft("delete table inet lab\n")

    def nft(self, text: str) -> str:
        """What nft prints when it has done as it is told, in the far namespace."""
        return _run("nsenter", f"--net=/run/netns/{self.far}", "nft", "-f", "-", given=text)

    def dropped(self) -> int:
        """How many packets the rules with a counter have met."""
        listed = _run("nsenter", f"--net=/run/netns/{self.far}", "nft", "list", "table", "inet", "lab")
        words = listed.split()
        return sum(int(words[place + 1]) for place, word in enumerate(words) if word == "packets")

    def pydns(self, live: Live, *arguments: str) -> str:
        """What a command of pydns prints about the server in the near namespace."""
        command = ["nsenter", f"--net=/run/netns/{self.near}", sys.executable, "-m", "resolver.cli.main", *arguments]
        address = live.http.removeprefix("http://")
        done = subprocess.run(
            [*command, "--metrics", address], cwd=ROOT, capture_output=True, text=True, check=False, timeout=30
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def _run(*argv: str, given: str | None = None) -> str:
    done = subprocess.run(argv, input=given, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"
    return done.stdout
