"""What the kernel says of links, heard in a namespace of the test's own."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Coroutine, Sequence
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.resolved.links import LinkWatch, indices

_CLONE_NEWNET = 0x40000000


def in_namespace(main: Coroutine[Any, Any, None]) -> None:
    """Run it on a thread that has a network namespace to itself, which ends with the thread."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.unshare(_CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "unshare")
            asyncio.run(main)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def ip(*arguments: str, lines: Sequence[str] = ()) -> None:
    subprocess.run(("ip", *arguments), input="\n".join(lines), text=True, check=True, capture_output=True)


def add(name: str) -> int:
    """The index of a new link."""
    ip("link", "add", name, "type", "veth", "peer", f"{name}-peer")
    return socket.if_nametoindex(name)


@pytest.mark.root
@pytest.mark.parametrize(
    "change",
    [
        ("link", "set", "ours", "up"),
        ("address", "add", "10.1.1.1/24", "dev", "ours"),
        ("address", "add", "fd00::1/64", "dev", "ours"),
        ("link", "delete", "ours"),
    ],
    ids=" ".join,
)
def test_a_change_of_a_wanted_link_is_told_and_no_other(change: tuple[str, ...]) -> None:
    async def main() -> None:
        heard = asyncio.Event()
        index = add("ours")
        with closing(LinkWatch(heard.set)) as watch:
            watch.wanted = {index}
            add("other")
            ip("link", "set", "other", "up")
            ip("link", "delete", "other")
            await asyncio.sleep(0)  # the loop looks at its sockets
            await asyncio.sleep(0)
            assert not heard.is_set()

            ip(*change)
            await asyncio.wait_for(heard.wait(), 5)
            watch.close()

    in_namespace(main())


@pytest.mark.root
def test_what_was_lost_may_have_been_of_a_wanted_link() -> None:
    """More is said than the kernel keeps for one who does not listen."""

    async def main() -> None:
        heard = asyncio.Event()
        with closing(LinkWatch(heard.set)):
            add("other")
            ip("-batch", "-", lines=[f"address add 10.{n // 250}.{n % 250}.1/32 dev other" for n in range(3000)])
            await asyncio.wait_for(heard.wait(), 5)

    in_namespace(main())


def test_without_netlink_nothing_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> socket.socket:
        raise PermissionError(1, os.strerror(1))

    async def main() -> None:
        monkeypatch.setattr("resolver.resolved.links.socket.socket", refused)
        watch = LinkWatch(lambda: None)
        monkeypatch.undo()
        watch.close()

    asyncio.run(main())


@given(st.binary(max_size=200))
def test_whatever_the_kernel_says_is_read(batch: bytes) -> None:
    assert len(indices(batch)) <= len(batch) // 24
