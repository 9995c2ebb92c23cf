"""Kept connections whose packets are dropped from one moment on, as by a NAT that has forgotten them; in a namespace.

Link-local upstreams over streams, too: there is a link here that has such addresses.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from resolver.forward.forwarder import Forwarder
from resolver.forward.transports import SocketDone
from resolver.forward.upstreams import Transport, Upstream
from tests.netns.world import in_namespace
from tests.unit.forward.authority import Authority
from tests.unit.forward.streaming import Peer, answer_all
from tests.unit.forward.test_transports import Asker

pytestmark = pytest.mark.root


class Namespace:
    """A network namespace with loopback and a link between two devices; it is removed by its name."""

    def __init__(self) -> None:
        self.name = f"pydns-kept-{secrets.token_hex(4)}"
        self._run("ip", "netns", "add", self.name)
        self.run("ip", "link", "set", "lo", "up")

    def run(self, *command: str) -> str:
        return self._run("ip", "netns", "exec", self.name, *command)

    def remove(self) -> None:
        self._run("ip", "netns", "del", self.name)

    def sockets(self, family: socket.AddressFamily, kind: socket.SocketKind, done: SocketDone) -> None:
        """A `SocketFactory` of this namespace."""
        made = in_namespace(self.name, lambda: socket.socket(family, kind | socket.SOCK_NONBLOCK, 0))
        done(made)

    def listening(self, address: tuple[str, int] | tuple[str, int, int, int]) -> socket.socket:
        def listen() -> socket.socket:
            sock = socket.socket(socket.AF_INET6 if len(address) == 4 else socket.AF_INET, socket.SOCK_STREAM)
            sock.bind(address)
            sock.listen()
            return sock

        return in_namespace(self.name, listen)

    @staticmethod
    def _run(*command: str) -> str:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    made = Namespace()
    try:
        yield made
    finally:
        made.remove()


@pytest.mark.parametrize("transport", [Transport.TCP, Transport.TLS])
def test_a_connection_that_nobody_acknowledges_any_more_is_replaced(
    namespace: Namespace, tmp_path: Path, transport: Transport
) -> None:
    """The look-up that meets it is answered, within its time and by a new connection; later ones do not notice."""
    authority = Authority(tmp_path / "ca")
    tls = authority.server_context() if transport is Transport.TLS else None
    peers: list[Peer] = []

    async def main() -> None:
        sock = namespace.listening(("127.0.0.1", 0))
        upstream = Upstream("127.0.0.1", sock.getsockname()[1], in_namespace=True, transport=transport)
        tasks: set[asyncio.Task[None]] = set()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            peers.append(Peer(len(peers), reader, writer))
            try:
                await answer_all(peers[-1])
            except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
                writer.transport.abort()

        listener = await asyncio.start_server(handle, sock=sock, ssl=tls)
        forwarder = Forwarder()
        forwarder.exchanges.trust(authority.pem)
        asker = Asker(forwarder)
        try:
            for number in range(3):
                assert (await asker.ask_inside(f"n{number}.example.", upstream, namespace.sockets)).reply is not None
            assert 1 == len(peers)
            port = peers[0].port
            namespace.run("nft", "add table inet t; add chain inet t c { type filter hook input priority 0; }")
            for direction in ("sport", "dport"):
                namespace.run("nft", f"add rule inet t c tcp {direction} {port} drop")

            began = time.monotonic()
            assert (await asker.ask_inside("dead.example.", upstream, namespace.sockets)).reply is not None
            assert time.monotonic() - began < 3
            assert 2 == len(peers)
            began = time.monotonic()
            assert (await asker.ask_inside("later.example.", upstream, namespace.sockets)).reply is not None
            assert time.monotonic() - began < 1
            assert 2 == len(peers)
            assert not forwarder.memory_of(upstream).is_down(upstream)
        finally:
            forwarder.close()
            listener.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await listener.wait_closed()

    asyncio.run(main())


@pytest.mark.parametrize("by_number", [False, True])
def test_a_link_local_upstream_is_reached_over_a_stream(namespace: Namespace, by_number: bool) -> None:
    namespace.run("ip", "link", "add", "left", "type", "veth", "peer", "name", "right")
    for device, last in (("left", 1), ("right", 2)):
        namespace.run("ip", "link", "set", device, "addrgenmode", "none")
        namespace.run("ip", "link", "set", device, "up")
        namespace.run("ip", "address", "add", f"fe80::{last}/64", "dev", device, "nodad")
    left, right = in_namespace(namespace.name, lambda: tuple(map(socket.if_nametoindex, ("left", "right"))))

    async def main() -> None:
        sock = namespace.listening(("fe80::2", 0, 0, right))
        scope = str(left) if by_number else "left"
        upstream = Upstream(f"fe80::2%{scope}", sock.getsockname()[1], in_namespace=True, transport=Transport.TCP)

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peer = Peer(0, reader, writer)
            await peer.answer(await peer.query())
            peer.close()

        listener = await asyncio.start_server(handle, sock=sock)
        forwarder = Forwarder()
        try:
            outcome = await Asker(forwarder).ask_inside("www.example.", upstream, namespace.sockets)
            assert outcome.reply is not None
        finally:
            forwarder.close()
            listener.close()
            await listener.wait_closed()

    asyncio.run(main())
