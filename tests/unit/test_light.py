"""asyncio and prometheus-client without OpenSSL: what they do with it later is as if it had always been there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.forward.authority import Authority

_BEGIN = """
import sys
from resolver.light import LATER, without_openssl

def loaded():
    return [name for name in (*LATER, "_ssl", "_hashlib") if name in sys.modules]

with without_openssl():
    import asyncio
assert loaded() == [], loaded()
"""

_SOCKETS = """
async def talk(context=None, trust=None):
    async def greet(reader, writer):
        writer.write(await reader.readline())
        writer.close()
    async with await asyncio.start_server(greet, "127.0.0.1", 0, ssl=context) as server:
        at = server.sockets[0].getsockname()
        name = "dns.example" if trust else None
        reader, writer = await asyncio.open_connection(*at, ssl=trust, server_hostname=name)
        writer.write(b"hello\\n")
        assert await reader.readline() == b"hello\\n"
        protocol = writer.get_extra_info("ssl_object")
        writer.close()
        return protocol and protocol.version()
"""

_TLS = """
import ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(*sys.argv[2:])
trust = ssl.create_default_context(cafile=sys.argv[1])
"""


def run(program: str, *arguments: object) -> str:
    """What a Python of its own prints."""
    words = [sys.executable, "-c", _BEGIN + program, *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """An authority's certificate, and the certificate and key of dns.example."""
    authority = Authority(tmp_path_factory.mktemp("light") / "authority")
    return (authority.file, *authority.issue())


def test_plain_connections_never_load_it() -> None:
    assert run(_SOCKETS + "print(asyncio.run(talk()), loaded())") == "None []"


@pytest.mark.parametrize("before", ["", "asyncio.run(talk())\n"], ids=["at once", "after plain connections"])
def test_tls_works_when_it_is_wanted(certified: tuple[Path, Path, Path], before: str) -> None:
    program = _SOCKETS + before + _TLS + "print(asyncio.run(talk(context, trust)))"

    assert run(program, *certified) == "TLSv1.3"


def test_asyncio_knows_a_socket_that_speaks_tls(certified: tuple[Path, Path, Path]) -> None:
    """As it does without us: it has to refuse one."""
    program = _TLS + (
        "import socket\n"
        "ours, theirs = socket.socketpair()\n"
        "wrapped = trust.wrap_socket(ours, server_hostname='dns.example', do_handshake_on_connect=False)\n"
        "wrapped.setblocking(False)\n"
        "async def read():\n"
        "    try:\n"
        "        await asyncio.get_running_loop().sock_recv(wrapped, 1)\n"
        "    except TypeError as error:\n"
        "        print(error)\n"
        "asyncio.run(read())"
    )

    assert run(program, *certified) == "Socket cannot be of type SSLSocket"


def test_a_stand_in_has_what_the_module_has() -> None:
    program = (
        "inside = asyncio.base_events.ssl\n"
        "import ssl, asyncio.sslproto\n"
        "assert ssl is sys.modules['ssl'] and type(ssl).__name__ == 'module'\n"
        "assert inside.SSLContext is ssl.SSLContext and inside.SSLSocket is ssl.SSLSocket\n"
        "assert asyncio.base_events.sslproto.SSLProtocol is asyncio.sslproto.SSLProtocol\n"
        "try:\n    inside.nothing\n"
        "except AttributeError as error:\n    print(error)"
    )

    assert run(program) == "module 'ssl' has no attribute 'nothing'"


def test_what_is_taken_from_it_meanwhile_brings_it_along() -> None:
    program = (
        "with without_openssl('TLSVersion'):\n"
        "    import ssl\n"
        "    noted = ssl.TLSVersion\n"
        "    assert loaded() == list(LATER), loaded()\n"
        "    class Mine(ssl.SSLError): pass\n"
        "import ssl as real\n"
        "assert issubclass(Mine, real.SSLError) and type(real).__name__ == 'module'\n"
        "print(noted.TLSv1_3 is real.TLSVersion.TLSv1_3, noted(772) is real.TLSVersion.TLSv1_3)"
    )

    assert run(program) == "True True"


def test_another_thread_gets_the_real_one_meanwhile() -> None:
    program = (
        "import threading\n"
        "got = []\n"
        "def other():\n"
        "    import ssl\n"
        "    got.append(ssl.SSLContext)\n"
        "with without_openssl('SSLContext'):\n"
        "    thread = threading.Thread(target=other)\n"
        "    thread.start()\n"
        "    thread.join()\n"
        "import ssl\n"
        "print(got == [ssl.SSLContext])"
    )

    assert run(program) == "True"


def test_where_it_is_there_already_nothing_is_done() -> None:
    program = (
        "import ssl, hashlib, asyncio.sslproto\n"
        "with without_openssl('SSLContext'):\n"
        "    assert sys.modules['ssl'] is ssl and type(ssl.SSLContext) is type\n"
        "    import hashlib as again\n"
        "print(again is hashlib)"
    )

    assert run(program) == "True"


def test_prometheus_client_can_still_speak_tls(certified: tuple[Path, Path, Path]) -> None:
    """We do not have it do so; what it has noted down is nevertheless what it should be."""
    program = (
        "from resolver.ops.http import metrics_application\n"
        "def registry():\n"
        "    from prometheus_client import CollectorRegistry\n"
        "    return CollectorRegistry()\n"
        "metrics_application(registry)()\n"
        "assert loaded() == [], loaded()\n"
        "import prometheus_client, urllib.request\n"
        "certificate, key = sys.argv[2:]\n"
        "server, thread = prometheus_client.start_http_server(0, '127.0.0.1', certfile=certificate, keyfile=key)\n"
        "import ssl\n"
        "trust = ssl.create_default_context(cafile=sys.argv[1])\n"
        "trust.check_hostname = False\n"
        "url = f'https://127.0.0.1:{server.server_port}/metrics'\n"
        "with urllib.request.urlopen(url, timeout=10, context=trust) as page:\n"
        "    print(page.status, b'python_info' in page.read())\n"
        "server.shutdown()\n"
        "thread.join()"
    )

    assert run(program, *certified) == "200 True"


def test_dnspython_can_still_sign() -> None:
    program = (
        "import resolver.zones.reader\n"
        "assert loaded() == [], loaded()\n"
        "import dns.message, dns.tsig\n"
        "for algorithm in dns.tsig.HMACTSig._hashes:\n"
        "    key = dns.tsig.Key('key.', 'c2VjcmV0', algorithm)\n"
        "    query = dns.message.make_query('a.test', 'A')\n"
        "    query.use_tsig(key)\n"
        "    assert dns.message.from_wire(query.to_wire(), keyring=key).had_tsig\n"
        "print(len(dns.tsig.HMACTSig._hashes))"
    )

    assert run(program) == "9"
