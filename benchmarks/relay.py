"""A UDP relay that holds replies back: the distance to an upstream where the kernel has no netem.

    python -m benchmarks.relay DELAY_MS TO_ADDRESS AT_ADDRESS...

Queries to port 53 of every AT_ADDRESS go on at once to port 53 of TO_ADDRESS, under an id of the relay's own; the
reply leaves DELAY_MS after the query came. It says `ready` on standard output when it listens.
"""

from __future__ import annotations

import contextlib
import heapq
import selectors
import socket
import sys
import time


def _bound(address: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, port))
    sock.setblocking(False)
    return sock


def relay(delay_s: float, to: str, at: list[str]) -> None:
    """Relay until the process is ended."""
    onward = _bound("", 0)
    onward.connect((to, 53))
    selector = selectors.DefaultSelector()
    selector.register(onward, selectors.EVENT_READ)
    for address in at:
        selector.register(_bound(address, 53), selectors.EVENT_READ)
    print("ready", flush=True)
    waiting: dict[int, tuple[socket.socket, tuple[str, int], bytes, float]] = {}
    held: list[tuple[float, int, socket.socket, tuple[str, int], bytes]] = []
    serial = 0
    while True:
        for key, _ in selector.select(max(held[0][0] - time.monotonic(), 0) if held else None):
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            with contextlib.suppress(OSError):
                message, client = sock.recvfrom(65535)
                if sock is onward:
                    back = waiting.pop(int.from_bytes(message[:2], "big"), None)
                    if back is not None:
                        listener, client, query_id, came = back
                        serial += 1
                        heapq.heappush(held, (came + delay_s, serial, listener, client, query_id + message[2:]))
                else:
                    serial += 1
                    waiting[serial & 0xFFFF] = (sock, client, message[:2], time.monotonic())
                    onward.send((serial & 0xFFFF).to_bytes(2, "big") + message[2:])
        while held and held[0][0] <= time.monotonic():
            _, _, listener, client, message = heapq.heappop(held)
            with contextlib.suppress(OSError):  # what an nft rule drops on its way out is an error here
                listener.sendto(message, client)


if __name__ == "__main__":
    relay(float(sys.argv[1]) / 1e3, sys.argv[2], sys.argv[3:])
