"""A system bus that is not there, hangs, hangs up or talks nonsense: one sentence each, and nothing that stays open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from resolver.resolved import bus as bus_module
from resolver.resolved.bus import Bus, NoAnswer
from resolver.resolved.follower import Resolved, read_once

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()  # until the other side gives up
    writer.close()


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.close()


async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1024)
    writer.write(b"REJECTED KERBEROS_V4\r\n")
    await hang(reader, writer)


async def talk_nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1024)
    writer.write(b"OK 0123456789abcdef0123456789abcdef\r\n")
    await reader.read(1024)
    writer.write(b"AGREE_UNIX_FD\r\n" + b"l\x02\x00\x01" + b"\xff\x00\x00\x00" * 64)
    await hang(reader, writer)


@asynccontextmanager
async def serving(path: Path, serve: Serve) -> AsyncIterator[None]:
    """A bus that does so; every connection is closed at the end."""
    connections: set[asyncio.Task[None]] = set()

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        with suppress(OSError):
            await serve(reader, writer)
            await writer.wait_closed()

    server = await asyncio.start_unix_server(serve_one, path)
    try:
        yield
    finally:
        server.close()
        await asyncio.gather(*connections)


@pytest.fixture
def socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "bus"
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={path}")
    monkeypatch.setattr(bus_module, "ANSWER_S", 0.5)
    return path


@pytest.mark.parametrize(
    ("serve", "said"),
    [
        (hang, "no answer within 0.5 s"),
        (hang_up, "the system bus cannot be used: "),
        (refuse, "the system bus cannot be used"),
        (talk_nonsense, "the system bus cannot be used"),
    ],
)
def test_a_bad_bus_is_one_sentence(socket: Path, serve: Serve, said: str) -> None:
    async def main() -> str:
        async with serving(socket, serve):
            with pytest.raises(NoAnswer) as raised:
                await Bus.open()
        return str(raised.value)

    found = asyncio.run(main())
    assert said in found
    assert "\n" not in found


@pytest.mark.parametrize("address", ["unix:path=/nowhere/bus", "tcp:host=127.0.0.1,port=1", "nonsense", "unix:path"])
def test_an_address_that_leads_nowhere(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, address: str
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)

    assert read_once() is None
    (record,) = caplog.records
    assert "systemd-resolved: warning: cannot be read: the system bus cannot be reached: " in record.message
    assert record.exc_info is None


def test_a_bus_that_hangs_holds_up_no_start(socket: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with serving(socket, hang):
            resolved, loop = Resolved(), asyncio.get_running_loop()
            began = loop.time()
            await resolved.start(lambda: None, wanted=True)
            assert loop.time() - began < 2
            assert resolved.imported is None
            deadline = loop.time() + 10
            while not resolved.faults and loop.time() < deadline:  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.01)
            assert "the servers of resolv.conf are asked" in str(resolved.faults[0])
            assert (0, 1) == (resolved.reloads.successes, resolved.reloads.failures)
            resolved.want(False)
            assert () == resolved.faults
            await resolved.stop()

    asyncio.run(main())
    assert all(record.exc_info is None for record in caplog.records)
