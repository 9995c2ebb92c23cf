"""resolv.conf says another server all the time, and no question is lost."""

from __future__ import annotations

import itertools
import secrets
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path

import dns.message
import pytest

from tests.forwarding.client import by_udp
from tests.forwarding.lab import FIRST, OF_FIRST, OF_SECOND, SECOND, Lab
from tests.scenarios.live import At, Live, answers, is_clean, replace, rewrite, until

pytestmark = pytest.mark.root

RATE = 200
WITHIN_S = 5.0
"""A second is promised; a loaded machine may add to it."""
_numbers = itertools.count()


class Stream:
    """Questions at a steady rate, from one socket; what came back is in `heard`."""

    def __init__(self, at: At) -> None:
        self.sent: set[str] = set()
        self.heard: dict[str, str] = {}
        """Whose answer each name has had."""
        self._sock = socket.socket(at.family, socket.SOCK_DGRAM)
        self._sock.connect(at)

    def run(self, for_s: float) -> None:
        """Ask at `RATE` for so long, and read what comes meanwhile."""
        due = time.monotonic()
        until_s = due + for_s
        while (now := time.monotonic()) < until_s:
            if now >= due:
                name = f"s{next(_numbers)}.example."
                self._sock.send(dns.message.make_query(name, "A", id=secrets.randbelow(65536)).to_wire())
                self.sent.add(name)
                due += 1 / RATE
            self.read(max(0.0, min(due, until_s) - time.monotonic()))

    def read(self, within_s: float) -> bool:
        """Take one reply, if there is one in time; whether there was."""
        if not select.select([self._sock], [], [], within_s)[0]:
            return False
        reply = dns.message.from_wire(self._sock.recv(4096))
        self.heard[reply.question[0].name.to_text()] = "".join(answers(reply)) or str(reply)
        return True

    def finish(self) -> None:
        """Wait for what is still under way."""
        deadline = time.monotonic() + 10
        while len(self.heard) < len(self.sent) and time.monotonic() < deadline:
            self.read(0.1)
        self._sock.close()


def link_anew(path: Path, text: str) -> None:
    """What resolvconf and systemd do: another file, and a symbolic link to it."""
    target = path.with_name(f"resolv.{secrets.token_hex(4)}")
    target.write_text(text)
    link = target.with_suffix(".link")
    link.symlink_to(target.name)
    link.rename(path)


def test_no_question_is_lost_while_resolv_conf_changes(lab: Lab, tmp_path: Path) -> None:
    """200 a second, while the file names one server, then the other, by every way in which files are changed."""
    live = lab.serve(tmp_path)
    live.resolv_conf.write_text(f"nameserver {FIRST}\n")
    until(lambda: lab.inside(lambda: who_answers(live)) == OF_FIRST)
    stream = lab.inside(lambda: Stream(live.at))
    ways: tuple[Callable[[Path, str], object], ...] = (replace, rewrite, link_anew, link_anew, replace)
    for number, way in enumerate(ways):
        server, who = ((SECOND, OF_SECOND), (FIRST, OF_FIRST))[number % 2]
        way(live.resolv_conf, f"nameserver {server}\n")
        stream.run(0.3)
        until(lambda who=who: lab.inside(lambda: who_answers(live)) == who, WITHIN_S)  # type: ignore[misc]
    live.resolv_conf.unlink()  # nobody is named: those that were go on being asked
    stream.run(0.5)
    stream.finish()

    assert stream.sent == set(stream.heard)
    assert set(stream.heard.values()) == {OF_FIRST, OF_SECOND}
    assert is_clean(live.stderr), live.stderr
    live.kill()


def who_answers(live: Live) -> str:
    """Whose answer a fresh question has."""
    return "".join(answers(by_udp(live.at, f"n{next(_numbers)}.example.")))
