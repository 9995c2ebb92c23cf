"""A stub resolver's view: names asked at a fixed rate, each once, and how long each answer took.

    python -m benchmarks.stub RATE SECONDS PREFIX ADDRESS:PORT...

Every server is asked for `PREFIX-<number>.bench.example`, RATE times a second each, the servers taking turns within a
tick. A query has a socket of its own, as with a stub, is not repeated, and is waited for during WAIT_S seconds. The
output is JSON: for each server one pair for each query, seconds (null without an answer) and rcode.
"""

from __future__ import annotations

import json
import selectors
import socket
import struct
import sys
import time

from benchmarks.servers import query

WAIT_S = 5.0
"""What stubs wait (resolv.conf(5): timeout:5)."""
DOMAIN = "bench.example"
NO_ADDRESS = -1
"""In the place of the rcode: NOERROR, but without an answer."""

Seen = tuple[float | None, int | None]


def _verdict(message: bytes) -> int:
    _, flags, _, answers, _, _ = struct.unpack_from("!6H", message)
    rcode = int(flags & 15)
    return NO_ADDRESS if rcode == 0 and not answers else rcode


class Stub:
    """Asks several servers and takes note."""

    def __init__(self, servers: list[tuple[str, int]]) -> None:
        self._servers = servers
        self.seen: list[dict[int, Seen]] = [{} for _ in servers]
        self._selector = selectors.DefaultSelector()

    def run(self, rate: float, seconds: float, prefix: str) -> None:
        """Ask for ``seconds``, then wait for the last answers."""
        began = time.monotonic()
        total = int(rate * seconds) * len(self._servers)
        gap_s = 1 / rate / len(self._servers)
        for serial in range(total):
            self._wait_until(began + serial * gap_s)
            self._ask(serial % len(self._servers), serial // len(self._servers), prefix)
        self._wait_until(time.monotonic() + WAIT_S)

    def _ask(self, server: int, number: int, prefix: str) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.connect(self._servers[server])
        self.seen[server][number] = (None, None)
        self._selector.register(sock, selectors.EVENT_READ, (server, number, time.monotonic()))
        sock.send(query(f"{prefix}-{number}.{DOMAIN}", number & 0xFFFF))

    def _wait_until(self, deadline: float) -> None:
        while (left := deadline - time.monotonic()) > 0:
            if left > 1 and not self._selector.get_map():
                return
            for key, _ in self._selector.select(left):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                server, number, sent = key.data
                took = time.monotonic() - sent
                try:
                    message = sock.recv(65535)
                except OSError:  # an ICMP error: a stub that is told so does not wait
                    self._end(sock)
                    continue
                if len(message) >= 12 and message[:2] == (number & 0xFFFF).to_bytes(2, "big"):
                    if took <= WAIT_S:
                        self.seen[server][number] = (took, _verdict(message))
                    self._end(sock)

    def _end(self, sock: socket.socket) -> None:
        self._selector.unregister(sock)
        sock.close()


def main() -> None:
    """Ask as the command line says, and print what was seen."""
    rate, seconds, prefix, *servers = sys.argv[1:]
    stub = Stub([(address, int(port)) for address, _, port in (server.rpartition(":") for server in servers)])
    stub.run(float(rate), float(seconds), prefix)
    json.dump([list(seen.values()) for seen in stub.seen], sys.stdout)


if __name__ == "__main__":
    main()
