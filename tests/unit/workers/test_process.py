"""Copies of a process: what they have open, when they are refused, and in which words they end."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from resolver.workers import process
from resolver.workers.process import NotNow, fork, how_it_ended


@pytest.fixture(autouse=True)
def _thawed() -> Iterator[None]:
    """What is here is not left frozen for the tests that follow."""
    yield
    gc.unfreeze()


def status_of(pid: int) -> int:
    return os.waitpid(pid, 0)[1]


def test_a_copy_has_open_what_it_keeps_and_ends_with_its_own_word() -> None:
    mine, theirs = os.pipe()
    other, _ = os.pipe()

    def live() -> int:
        open_now = {int(name) for name in os.listdir("/proc/self/fd")}
        os.write(theirs, b"kept" if theirs in open_now and other not in open_now else b"lost")
        return 7

    async def run() -> int:
        return fork(live, [theirs])

    pid = asyncio.run(run())
    assert os.waitstatus_to_exitcode(status_of(pid)) == 7
    assert os.read(mine, 10) == b"kept"
    for end in (mine, theirs, other, _):
        os.close(end)


def test_a_copy_has_a_loop_of_its_own_within_the_running_one() -> None:
    def live() -> int:
        async def main() -> int:
            await asyncio.sleep(0)
            return 5

        return asyncio.run(main())

    async def run() -> int:
        pid = fork(live, [])
        await asyncio.sleep(0)  # ours goes on
        return pid

    assert os.waitstatus_to_exitcode(status_of(asyncio.run(run()))) == 5


def test_a_copy_that_fails_ends_with_a_status_of_its_own() -> None:
    def live() -> int:
        raise SystemError

    async def run() -> int:
        return fork(live, [])

    assert os.waitstatus_to_exitcode(status_of(asyncio.run(run()))) == process.CRASHED


def test_signals_wait_until_the_copy_has_handlers() -> None:
    def live() -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        got: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, _: got.append(number))
        process.heed_signals()
        return 3 if got == [signal.SIGTERM] else 4

    async def run() -> int:
        return fork(live, [])

    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert os.waitstatus_to_exitcode(status_of(asyncio.run(run()))) == 3
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_no_copy_is_made_while_another_thread_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module's own code holds up its import until the test lets it go on."""
    (tmp_path / "held_up_module.py").write_text(
        "import held_up_gate\nheld_up_gate.entered.set()\nheld_up_gate.gate.wait(20)\n"
    )
    gate = ModuleType("held_up_gate")
    gate.__spec__ = ModuleSpec("held_up_gate", None)
    gate.entered, gate.gate = threading.Event(), threading.Event()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "held_up_gate", gate)
    monkeypatch.syspath_prepend(tmp_path)
    thread = threading.Thread(target=lambda: __import__("held_up_module"))
    thread.start()
    try:
        assert gate.entered.wait(20)

        async def run() -> int:
            return fork(lambda: 0, [])

        with pytest.raises(NotNow):
            asyncio.run(run())
    finally:
        gate.gate.set()
        thread.join(20)
        sys.modules.pop("held_up_module", None)
    assert os.waitstatus_to_exitcode(status_of(asyncio.run(run()))) == 0


def test_ends_are_told_in_words() -> None:
    assert how_it_ended(0) == "ended with 0"
    assert how_it_ended(signal.SIGKILL) == "was ended by SIGKILL"
    assert how_it_ended(40) == "was ended by signal 40"
