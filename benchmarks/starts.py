"""How soon pydns answers after its start, and what it weighs: a server, and a sidecar in a namespace of its own."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.netns import Namespace
from benchmarks.peers.files import Registry
from benchmarks.peers.names import in_lane, lanes
from benchmarks.servers import Server, free_port, udp_to

NAMES = 100


@dataclass(frozen=True, slots=True)
class Weight:
    """One way to start pydns."""

    kind: str
    first_answers_ms: tuple[float, ...]
    """From exec to the first answer, of every start that counts."""
    kb: dict[str, int]
    """``rss`` and ``pss`` after the first answer."""
    scraped_kb: dict[str, int]
    """The same after a scrape of /metrics."""

    def as_json(self) -> dict[str, object]:
        """For the file of results."""
        return {
            "kind": self.kind,
            "first_answer_ms": round(median(self.first_answers_ms), 1),
            "each_ms": [round(each, 1) for each in self.first_answers_ms],
            "rss_mb": round(self.kb["rss"] / 1024, 1),
            "pss_mb": round(self.kb["pss"] / 1024, 1),
            "scraped_rss_mb": round(self.scraped_kb["rss"] / 1024, 1),
        }


def weigh(kind: str, make: Callable[[], tuple[Server, str]], starts: int) -> Weight:
    """Start so often what ``make`` returns with the URL of its metrics; the last one is weighed."""
    times_ms: list[float] = []
    first: dict[str, int] = {}
    scraped: dict[str, int] = {}
    for number in range(starts + 1):  # one more, uncounted, that leaves byte code and a warm page cache
        server, metrics = make()
        try:
            seconds = server.start()
            if number:
                times_ms.append(seconds * 1e3)
            if number == starts:
                first = server.memory_kb()
                with urllib.request.urlopen(metrics, timeout=5) as page:
                    page.read()
                scraped = server.memory_kb()
        finally:
            server.stop()
    return Weight(kind, tuple(times_ms), first, scraped)


def measure(pydns: str, folder: Path, starts: int, is_root: bool) -> list[Weight]:
    """All ways; the sidecar's takes root."""
    registry = Registry(folder, NAMES)
    registry.write()
    lane = in_lane(next(iter(lanes(pydns).values())))

    def standalone() -> tuple[Server, str]:
        port, metrics = free_port(), free_port()
        command = [*lane, pydns, "serve", "--listen", f"127.0.0.1:{port}", "--registry", str(registry.toml)]
        command += ["--upstream", "127.0.0.1:1", "--metrics", f"127.0.0.1:{metrics}"]
        server = Server("pydns", command, port, udp_to("127.0.0.1", port), folder / "pydns.log")
        return server, f"http://127.0.0.1:{metrics}/metrics"

    def sidecar(namespace: Namespace) -> tuple[Server, str]:
        metrics = f"127.0.0.1:{free_port()}"
        command = [*lane, pydns, "sidecar", "--netns", namespace.name, "--network", "mynet", "--no-resolv-conf"]
        command += ["--upstream", "127.0.0.1:1", "--registry", str(registry.toml), "--metrics", metrics]

        def probe() -> socket.socket:
            return namespace.inside(udp_to("127.0.0.11", 53))

        return Server("sidecar", command, 53, probe, folder / "sidecar.log"), f"http://{metrics}/metrics"

    found = [weigh("pydns serve", standalone, starts)]
    if is_root:
        with Namespace() as namespace:
            found.append(weigh("pydns sidecar", lambda: sidecar(namespace), starts))
    return found
