"""The lanes of the shared threads: in order within a namespace, beside each other between two."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from resolver.attach.inside import RULE_THREADS, ThreadPool
from resolver.attach.netns import Target, identity
from resolver.errors import AttachError

pytestmark = pytest.mark.root

OWN = Target(Path("/proc/self/ns/net"), "our own")


@pytest.fixture
def pool() -> Iterator[ThreadPool]:
    made = ThreadPool()
    yield made
    made.close()


def test_jobs_of_a_namespace_run_one_after_the_other(pool: ThreadPool) -> None:
    lanes = pool.enter(OWN)
    order: list[int] = []
    jobs = [lanes.rules.submit(order.append, number) for number in range(100)]
    for job in jobs:
        job.result(5)
    assert order == list(range(100))
    lanes.close()


def test_a_lane_that_hangs_holds_up_neither_the_other_lane_nor_another_namespace(pool: ThreadPool) -> None:
    hung, other = pool.enter(OWN), pool.enter(OWN)
    go_on = threading.Event()
    waiting = hung.rules.submit(go_on.wait, 10)

    assert hung.sockets.submit(identity).result(5) == identity()
    assert other.rules.submit(identity).result(5) == identity()
    go_on.set()
    assert waiting.result(5)
    hung.close()
    other.close()


def test_sockets_do_not_wait_when_every_thread_for_rules_hangs(pool: ThreadPool) -> None:
    lanes = [pool.enter(OWN) for _ in range(RULE_THREADS + 1)]
    go_on = threading.Event()
    waiting = [each.rules.submit(go_on.wait, 10) for each in lanes]

    assert lanes[-1].sockets.submit(identity).result(5) == identity()
    go_on.set()
    assert all(each.result(5) for each in waiting)
    for each in lanes:
        each.close()


def test_what_a_job_raises_comes_back_and_the_lane_goes_on(pool: ThreadPool) -> None:
    lanes = pool.enter(OWN)
    with pytest.raises(ZeroDivisionError):
        lanes.rules.call(lambda: 1 // 0)
    assert lanes.rules.call(identity) == identity()
    lanes.close()
    lanes.close()
    with pytest.raises(AttachError, match="the namespace has been left"):
        lanes.rules.call(identity)


def test_what_is_no_namespace_is_refused(pool: ThreadPool, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(AttachError, match=f"{file} is not a network namespace"):
        pool.enter(Target(file, "file"))
    with pytest.raises(AttachError, match="the network namespace of gone cannot be opened: No such file"):
        pool.enter(Target(tmp_path / "gone", "gone"))
