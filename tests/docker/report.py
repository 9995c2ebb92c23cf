"""``python -m tests.docker.report``: Docker's resolver and pydns side by side, as Markdown tables (root)."""

from __future__ import annotations

import sys

from tests.docker import comparison, lifecycle
from tests.docker.daemon import Daemon
from tests.docker.topology import Topology


def main() -> int:
    """Start a daemon, ask everything, print what came of it; 1 when an answer is not as it should be."""
    with Daemon() as daemon:
        print(f"Docker {daemon.get('/version')['Version']} and pydns, side by side.\n")
        topology = Topology(daemon)
        with comparison.side_by_side(daemon, topology) as pairs:
            results = comparison.compare(topology, pairs)
        print(comparison.table(results))
        daemon.clear()
        with lifecycle.watched(daemon) as watcher:
            steps = list(watcher.steps())
        print(lifecycle.table(steps))
    is_wrong = any(found.verdict == comparison.WRONG for found in results) or any(step.disagreed for step in steps)
    return int(is_wrong)


if __name__ == "__main__":
    sys.exit(main())
