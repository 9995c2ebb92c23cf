"""An agent that is restarted, seen by programs that never stop asking: they miss it for as long as it is away."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator

import dns.message
import dns.rcode
import pytest

from tests.netns.fleet import Agent, Fleet
from tests.netns.world import in_namespace, wait_until

pytestmark = pytest.mark.root

NAMES = ("web", "db", "cache", "mail")
SLACK_S = 2.0
"""On a machine that does much else; a flow that led to a dead port would last for half a minute."""


class Client:
    """Asks for ``web`` all the time, from one socket or from a new one each time; notes when it was answered."""

    def __init__(self, fleet: Fleet, name: str, *, keeps_socket: bool) -> None:
        self.answered: list[float] = []
        self._keeps_socket = keeps_socket
        self._stop = threading.Event()
        self._thread = threading.Thread(target=in_namespace, args=(fleet.full(name), self._run), daemon=True)
        self._thread.start()

    def _run(self) -> None:
        sock = self._socket()
        while not self._stop.is_set():
            if not self._keeps_socket:
                sock.close()
                sock = self._socket()
            query = dns.message.make_query("web", "A")
            with contextlib.suppress(OSError):  # nobody listens, or nobody answers in time
                sock.send(query.to_wire())
                reply = dns.message.from_wire(sock.recv(4096))
                if reply.id == query.id and reply.rcode() == dns.rcode.NOERROR and reply.answer:
                    self.answered.append(time.monotonic())
            time.sleep(0.01)
        sock.close()

    @staticmethod
    def _socket() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(0.2)
        sock.connect(("127.0.0.11", 53))
        return sock

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(5)

    def is_answered_again(self) -> bool:
        """True when an answer has come since this call began."""
        known = len(self.answered)
        wait_until(lambda: len(self.answered) > known, 5, "an answer")
        return True

    @property
    def longest_gap_s(self) -> float:
        """The longest time without an answer."""
        return max(later - earlier for earlier, later in zip(self.answered, self.answered[1:], strict=False))


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with Fleet() as made:
        made.add(*NAMES)
        made.register({"front": NAMES})
        yield made


@pytest.fixture
def agent(fleet: Fleet) -> Agent:
    return fleet.agent()


@pytest.fixture
def clients(fleet: Fleet, agent: Agent) -> Iterator[list[Client]]:
    assert agent.poll() is None
    made = [Client(fleet, name, keeps_socket=keeps) for name in NAMES for keeps in (True, False)]
    yield made
    for client in made:
        client.stop()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_is_noticed_for_no_longer_than_it_takes(
    fleet: Fleet, agent: Agent, clients: list[Client], how: signal.Signals
) -> None:
    assert all(client.is_answered_again() for client in clients)
    began = time.monotonic()
    agent.signal(how)
    agent.wait(10)
    again = fleet.agent()
    took = time.monotonic() - began
    assert again.metric("pydns_agent_attached") == len(NAMES)
    assert all(client.is_answered_again() for client in clients)

    assert max(client.longest_gap_s for client in clients) < took + SLACK_S
