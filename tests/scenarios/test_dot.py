"""`pydns serve` with unbound as its upstream over TLS and TCP: one connection, proof of who it is, restarts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.rcode
import pytest

from tests.forwarding.programs import lonely, started
from tests.scenarios.conftest import Serve
from tests.scenarios.live import At, Live, answers, reason, until
from tests.unit.forward.authority import Authority

NAMES = 60
TLS_PORT = 8853


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "ca")


@contextmanager
def unbound(folder: Path, at: At, authority: Authority) -> Iterator[At]:
    """An unbound with a few names of its own, over UDP, TCP and TLS; it asks nobody."""
    folder.mkdir(parents=True)
    certificate, key = authority.issue("dns.example", at.host)
    config = folder / "unbound.conf"
    names = "".join(f'  local-data: "n{number}.dot.example. A 192.0.2.{number}"\n' for number in range(NAMES))
    config.write_text(
        f"server:\n  interface: {at.host}@{at.port}\n  interface: {at.host}@{TLS_PORT}\n"
        f'  tls-port: {TLS_PORT}\n  tls-service-pem: "{certificate}"\n  tls-service-key: "{key}"\n'
        f'  access-control: 127.0.0.0/8 allow\n  do-daemonize: no\n  chroot: ""\n  username: ""\n  pidfile: ""\n'
        f'  directory: "{folder}"\n  use-syslog: no\n  logfile: ""\n  num-threads: 1\n  module-config: "iterator"\n'
        f"  do-ip6: no\n  local-zone: . refuse\n  local-zone: dot.example. static\n{names}"
        "remote-control:\n  control-enable: no\n"
    )
    with started(["unbound", "-d", "-c", str(config)], folder, at, "n1.dot.example", "A"):
        yield at


def look_up(live: Live, *numbers: int) -> None:
    for number in numbers:
        assert [f"192.0.2.{number}"] == answers(live.udp(f"n{number}.dot.example."))


@pytest.mark.parametrize("kind", ["tls by name", "tls by address", "tcp"])
def test_names_come_over_one_connection_that_outlives_a_restart(
    serve: Serve, tmp_path: Path, authority: Authority, kind: str
) -> None:
    at = lonely()
    upstream = {
        "tls by name": f"tls://{at.host}:{TLS_PORT}#dns.example",
        "tls by address": f"tls://{at.host}:{TLS_PORT}",
        "tcp": f"tcp://{at.host}:{at.port}",
    }[kind]
    with unbound(tmp_path / "first", at, authority):
        live = serve(upstreams=[upstream], settings={"forward": {"tls_ca": str(authority.file)}})
        look_up(live, *range(20))
        with live.tcp() as stream:
            assert ["192.0.2.20"] == answers(stream.ask("n20.dot.example."))
        assert live.udp("n1.dot.example.", "AAAA").rcode() == dns.rcode.NOERROR
        assert live.udp("none.dot.example.").rcode() == dns.rcode.NXDOMAIN
        assert live.count("pydns_forward_connections_total", to=upstream) == 1
        assert live.count("pydns_forward_connection_reuses_total", to=upstream) >= 22
    with unbound(tmp_path / "second", at, authority):
        look_up(live, *range(21, NAMES))
        assert live.count("pydns_forward_connections_total", to=upstream) == 2
    assert live.count("pydns_forward_failures_total", to=upstream) == 0


def test_a_server_that_does_not_prove_who_it_is_is_not_asked(
    serve: Serve, tmp_path: Path, authority: Authority
) -> None:
    """The reason is in the reply and, once, in the log; with the right authorities it is asked, without a restart."""
    at = lonely()
    upstream = f"tls://{at.host}:{TLS_PORT}#dns.example"
    live = serve(upstreams=[upstream])
    with unbound(tmp_path / "unbound", at, authority):
        for number in range(3):
            reply = live.udp(f"n{number}.dot.example.", use_edns=0)
            assert reply.rcode() == dns.rcode.SERVFAIL
            assert f"{upstream} has a bad certificate (" in reason(reply)
        told = f"{upstream} is not asked: its certificate is not good for dns.example: "
        assert live.stderr.count(told) == 1
        assert live.count("pydns_forward_failures_total", to=upstream, reason="bad_certificate") >= 3

        text = live.config.read_text()
        assert "[forward]" in text
        live.config.write_text(text.replace("[forward]", f'[forward]\ntls_ca = "{authority.file}"', 1))
        live.hang_up()
        until(lambda: answers(live.udp("n5.dot.example.")) == ["192.0.2.5"])
        look_up(live, 6, 7)
        assert f"{upstream} is asked again" in live.stderr
