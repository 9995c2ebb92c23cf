"""The way to a daemon: versions, TLS, what is wrong when there is no way, and a library that is not there."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from resolver.errors import StartError
from resolver.sources.docker.client import Away, Client, DaemonError, Refused, Version
from resolver.sources.docker.settings import DaemonSettings
from tests.unit.sources.docker import certificates
from tests.unit.sources.docker.fake_daemon import FakeDaemon
from tests.unit.sources.docker.recordings import docker, podman


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


@pytest.mark.parametrize(
    ("newest", "oldest", "path"),
    [
        ("1.41", "1.12", "/v1.41"),
        ("1.99", "1.44", "/v1.52"),
        ("1.99", "1.60", "/v1.60"),
        ("2.0", "", "/v1.52"),
        ("", "", ""),
        ("newest", "1.12", ""),
    ],
)
def test_the_version_that_is_asked_for(newest: str, oldest: str, path: str) -> None:
    assert Version({"ApiVersion": newest, "MinAPIVersion": oldest}, "").path == path


def test_what_a_daemon_is() -> None:
    date = "Sat, 21 Nov 2026 13:56:45 GMT"
    assert not Version(docker()["version"], date).is_podman
    assert Version(podman()["version"], date).is_podman
    assert Version({}, date).clock == 1795269405
    assert Version({}, "yesterday").clock == 0


def test_over_tls_both_sides_show_who_they_are(tmp_path: Path) -> None:
    folder = certificates.make(tmp_path / "tls")

    async def test() -> None:
        async with FakeDaemon(tls=certificates.of_daemon(folder)) as daemon:
            client = Client(DaemonSettings("docker", daemon.host, tls=folder))
            await client.connect()
            assert await client.get("/networks") == []
            await client.close()

    run(test)


def test_a_certificate_of_another_host_is_not_believed(tmp_path: Path) -> None:
    folder = certificates.make(tmp_path / "tls", "DNS:elsewhere.test")

    async def test() -> None:
        async with FakeDaemon(tls=certificates.of_daemon(folder)) as daemon:
            client = Client(DaemonSettings("docker", daemon.host, tls=folder))
            with pytest.raises(Away) as caught:
                await client.connect()
            assert str(caught.value) == "TLS: IP address mismatch, certificate is not valid for '127.0.0.1'"
            assert caught.value.fix == "ca.pem has to be of its authority, and host a name in its certificate"
            await client.close()

    run(test)


def test_an_authority_that_is_not_ours_is_not_believed(tmp_path: Path) -> None:
    theirs, ours = certificates.make(tmp_path / "theirs"), certificates.make(tmp_path / "ours")

    async def test() -> None:
        async with FakeDaemon(tls=certificates.of_daemon(theirs)) as daemon:
            client = Client(DaemonSettings("docker", daemon.host, tls=ours))
            with pytest.raises(Away) as caught:
                await client.connect()
            assert str(caught.value) == "TLS: self-signed certificate in certificate chain"
            assert "ca.pem has to be of its authority" in caught.value.fix
            await client.close()

    run(test)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_certificate_of_ours_that_the_daemon_does_not_accept(tmp_path: Path, version: ssl.TLSVersion) -> None:
    theirs, ours = certificates.make(tmp_path / "theirs"), certificates.make(tmp_path / "ours")
    (ours / "ca.pem").write_bytes((theirs / "ca.pem").read_bytes())
    context = certificates.of_daemon(theirs)
    context.minimum_version = context.maximum_version = version

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """By hand, because asyncio keeps the alert to itself that a daemon sends."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        spoken = context.wrap_bio(incoming, outgoing, server_side=True)
        while octets := await reader.read(65536):
            incoming.write(octets)
            with suppress(ssl.SSLError):
                spoken.do_handshake()
            writer.write(outgoing.read())
        writer.close()

    async def test() -> None:
        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            client = Client(DaemonSettings("docker", f"tcp://127.0.0.1:{port}", tls=ours))
            with pytest.raises(Away) as caught:
                await client.connect()
            assert str(caught.value) == "TLS: it does not accept our certificate"
            assert caught.value.fix == "cert.pem has to be signed by the authority that it goes by"
            await client.close()

    run(test)


def test_without_tls_where_the_daemon_speaks_it() -> None:
    """Word by word what a dockerd with --tlsverify answers."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
        writer.close()
        await writer.wait_closed()

    async def test() -> None:
        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            client = Client(DaemonSettings("docker", f"tcp://127.0.0.1:{port}"))
            with pytest.raises(Refused) as caught:
                await client.connect()
            assert str(caught.value) == "it says 400: Client sent an HTTP request to an HTTPS server."
            assert caught.value.fix == "set tls, the folder with our certificates"
            await client.close()

    run(test)


def test_a_page_of_a_proxy_is_not_shown(tmp_path: Path) -> None:
    async def test() -> None:
        async with FakeDaemon(tmp_path / "d.sock") as daemon:
            daemon.answers["/version"] = (502, b"<html><b>sorry</b></html>")
            client = Client(DaemonSettings("docker", daemon.host))
            with pytest.raises(Refused, match=r"^it says 502: Bad Gateway$"):
                await client.connect()
            daemon.answers["/version"] = (500, b'{"message": "two\\nlines \\u001b[31m"}')
            with pytest.raises(Refused, match=r"^it says 500: two lines \\x1b\[31m$"):
                await client.connect()
            await client.close()

    run(test)


def test_tls_spoken_to_one_that_does_not(tmp_path: Path) -> None:
    folder = certificates.make(tmp_path / "tls")

    async def test() -> None:
        async with FakeDaemon() as daemon:
            client = Client(DaemonSettings("docker", daemon.host, tls=folder))
            with pytest.raises(Away) as caught:
                await client.connect()
            assert str(caught.value) == "TLS: it does not speak TLS"
            assert caught.value.fix == "leave tls out, or give the port where it does"
            await client.close()

    run(test)


def test_certificates_that_are_none_end_the_start(tmp_path: Path) -> None:
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (tmp_path / name).write_text("nothing")
    with pytest.raises(StartError, match=r"\[docker\] tls: the certificates in '.*' cannot be used"):
        Client(DaemonSettings("docker", "tcp://127.0.0.1:2376", tls=tmp_path))


def test_nobody_there_and_nobody_allowed(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

        async def test() -> None:
            for host in (f"tcp://127.0.0.1:{port}", f"unix://{tmp_path}/none"):
                client = Client(DaemonSettings("docker", host))
                with pytest.raises(Away) as caught:
                    await client.connect()
                assert "is the daemon running" in caught.value.fix
                await client.close()

        run(test)


def test_errors_are_the_daemons_own_words(tmp_path: Path) -> None:
    async def test() -> None:
        async with FakeDaemon(tmp_path / "d.sock") as daemon:
            client = Client(DaemonSettings("docker", daemon.host))
            await client.connect()
            with pytest.raises(Refused, match="it says 404: No such container: x") as caught:
                await client.get("/containers/x/json")
            assert caught.value.status == 404
            daemon.answers["/networks"] = (200, b"[" * 100_000)
            with pytest.raises(DaemonError, match="/networks is not JSON"):
                await client.get("/networks")
            await client.close()
            with pytest.raises(Away, match="not connected"):
                await client.get("/networks")

    run(test)


def test_an_answer_that_breaks_off(tmp_path: Path) -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"ApiVersion"')
        writer.close()
        await writer.wait_closed()

    async def test() -> None:
        server = await asyncio.start_unix_server(half, tmp_path / "d.sock")
        async with server:
            client = Client(DaemonSettings("docker", f"unix://{tmp_path}/d.sock"))
            with pytest.raises(Away, match="it has closed the connection"):
                await client.connect()
            await client.close()

    run(test)


WITHOUT = """
import sys
sys.modules["aiohttp"] = None
from resolver.errors import StartError
from resolver.sources.docker.client import Client
from resolver.sources.docker.settings import DaemonSettings
try:
    Client(DaemonSettings("podman", "unix:///none"))
except StartError as error:
    print(error)
"""


def test_without_the_library_the_start_says_how_to_get_it() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[podman] needs a library that is not installed (aiohttp")
    assert done.stdout.endswith('pip install "pydns[docker]"\n')


def test_nothing_of_it_is_loaded_without_a_daemon() -> None:
    """A sidecar does not pay for what it does not use."""
    program = "import sys, resolver.app, resolver.cli.serve; print([n for n in sys.modules if n.startswith('aiohttp')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
