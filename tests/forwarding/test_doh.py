"""dig → pydns → unbound over HTTPS: a server that has a name, found by dnsmasq, and believed by its certificate."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import dns.rcode
import pytest

from tests.forwarding import doh, programs
from tests.forwarding.client import at_once, codes, status
from tests.scenarios.live import PYDNS, ROOT, At, Live, answers, is_clean, reason, until

Serve = Callable[..., Live]
URL = f"https://{doh.NAME}:{doh.PORT}/dns-query"
NETWORK_ERROR = 23


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> doh.Authority:
    return doh.Authority(tmp_path_factory.mktemp("authority"))


@contextlib.contextmanager
def secure(folder: Path, at: At, authority: doh.Authority, name: str = doh.NAME) -> Iterator[At]:
    """An unbound whose certificate is for ``name``."""
    folder.mkdir(exist_ok=True)
    command = doh.unbound(folder, at, authority.sign(f"DNS:{name}"))
    with programs.started(command, folder, at, "lab.test"):
        yield at


@contextlib.contextmanager
def bootstrap(folder: Path, at: At, server: At) -> Iterator[At]:
    """A dnsmasq that knows where the unbound is."""
    folder.mkdir(exist_ok=True)
    command = programs.dnsmasq(at, f"--host-record={doh.NAME},{server.host}", "--local-ttl=60")
    with programs.started(command, folder, at, doh.NAME, "A"):
        yield at


def forward(authority: doh.Authority, *servers: At, url: str = URL, **more: object) -> dict[str, dict[str, object]]:
    """The settings with a DoH upstream."""
    named = [f"{server.host}:{server.port}" for server in servers]
    return {"forward": {"upstreams": [url], "tls_ca": str(authority.file), "bootstrap": named, **more}}


@pytest.fixture(scope="module")
def resolver(tmp_path_factory: pytest.TempPathFactory, authority: doh.Authority) -> Iterator[At]:
    with secure(tmp_path_factory.mktemp("unbound"), programs.lonely(), authority) as at:
        yield at


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory, resolver: At) -> Iterator[At]:
    with bootstrap(tmp_path_factory.mktemp("dnsmasq"), programs.lonely(), resolver) as at:
        yield at


def test_a_named_server_is_found_believed_and_asked(
    serve: Serve, resolver: At, names: At, authority: doh.Authority
) -> None:
    live = serve(settings=forward(authority, names))
    dig = subprocess.run(
        ["dig", f"@{live.at.host}", "-p", str(live.at.port), "www.lab.test", "+short", "+time=5"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert dig.stdout == "192.0.2.80\n"
    assert live.udp("nothing.lab.test").rcode() == dns.rcode.NXDOMAIN
    found = at_once(live.addresses, [f"n{number}.many.lab.test" for number in range(100)], 32)
    assert found == [{"192.0.2.81"}] * 100
    shown = subprocess.run(
        [*PYDNS, "upstreams", "--metrics", live.http.removeprefix("http://")],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    (line,) = [line for line in shown.stdout.splitlines() if line.startswith(URL)]
    assert f"  up        at {resolver.host}  " in line
    (told,) = [one for one in live.page("/upstreams").json["upstreams"] if one["address"] == URL]
    assert (told["asked_at"], told["failures"]) == (resolver.host, {})
    assert f"{doh.NAME} is at {resolver.host}" in live.stderr
    assert is_clean(live.stderr)
    assert live.stopped_within() < 5
    assert is_clean(live.stderr)


def test_a_certificate_of_another_name_is_not_believed_until_it_is_mended(
    serve: Serve, authority: doh.Authority, tmp_path: Path
) -> None:
    at, asked = programs.lonely(), programs.lonely()
    with bootstrap(tmp_path / "dnsmasq", asked, at):
        live = serve(settings=forward(authority, asked))
        with secure(tmp_path / "wrong", at, authority, "other.lab.test"):
            reply = live.udp("www.lab.test", use_edns=0)
            assert (status(reply), codes(reply)) == ("SERVFAIL", [NETWORK_ERROR])
            assert f"{URL} has a bad certificate" in reason(reply)
            assert doh.NAME in reason(reply)
            until(lambda: f"{URL} is not asked: its certificate is not good" in live.stderr)
        with secure(tmp_path / "right", at, authority):
            assert until(lambda: live.addresses("www.lab.test"), 20) == {"192.0.2.80"}
        assert is_clean(live.stderr)


def test_a_path_that_is_not_there_is_said_to_be_the_reason(
    serve: Serve, resolver: At, names: At, authority: doh.Authority
) -> None:
    live = serve(settings=forward(authority, names, url=f"https://{doh.NAME}:{doh.PORT}/elsewhere"))
    reply = live.udp("www.lab.test", use_edns=0)
    assert (status(reply), codes(reply)) == ("SERVFAIL", [NETWORK_ERROR])
    assert "answered with an HTTP error (status 404)" in reason(reply)


def test_a_server_is_asked_at_its_address_when_that_is_written(
    serve: Serve, resolver: At, authority: doh.Authority
) -> None:
    url = f"https://{resolver.host}:{doh.PORT}/dns-query#{doh.NAME}"
    live = serve(settings=forward(authority, url=url))
    assert live.addresses("www.lab.test") == {"192.0.2.80"}
    refused = serve(settings=forward(authority, url=f"https://{resolver.host}:{doh.PORT}/dns-query"))
    assert "has a bad certificate" in reason(refused.udp("www.lab.test", use_edns=0))


@pytest.mark.root
def test_without_a_bootstrap_server_that_of_resolv_conf_is_asked_as_soon_as_it_is_there(
    serve: Serve, resolver: At, authority: doh.Authority, tmp_path: Path
) -> None:
    names = At(programs.lonely().host, 53)  # resolv.conf knows no other port
    live = serve(settings=forward(authority))
    assert f"nobody can be asked for the address of {URL}" in live.stderr
    reply = live.udp("www.lab.test", use_edns=0)
    assert f"{URL} has no address: its name could not be looked up" in reason(reply)
    assert live.page("/healthz").json["faults"]
    with bootstrap(tmp_path / "dnsmasq", names, resolver):
        live.resolv_conf.write_text(f"nameserver {names.host}\n")
        assert until(lambda: live.addresses("www.lab.test"), 20) == {"192.0.2.80"}
    assert live.page("/healthz").json["faults"] == []


def test_a_named_server_serves_a_route_too(serve: Serve, resolver: At, names: At, authority: doh.Authority) -> None:
    settings = forward(authority, names, upstreams=["127.0.0.1:1"])
    settings["[forward.routes]"] = {"suffix": "lab.test", "upstreams": [URL]}
    live = serve(settings=settings)
    assert answers(live.udp("www.lab.test")) == ["192.0.2.80"]


def test_nothing_of_it_is_loaded_unless_somebody_is_asked_over_https(
    serve: Serve, resolver: At, authority: doh.Authority
) -> None:
    traced = ("env", "PYTHONPROFILEIMPORTTIME=1")
    plain = serve(prefix=traced, upstreams=[f"{resolver.host}:{resolver.port}"])
    assert plain.addresses("www.lab.test") == {"192.0.2.80"}
    assert _loaded(plain).isdisjoint({"h2", "hpack", "dns.query", "httpx2", "httpcore2"})
    url = f"https://{resolver.host}:{doh.PORT}/dns-query#{doh.NAME}"
    live = serve(prefix=traced, settings=forward(authority, url=url))
    assert live.addresses("www.lab.test") == {"192.0.2.80"}
    assert "h2" in _loaded(live)
    assert _loaded(live).isdisjoint({"dns.query", "httpx2", "httpcore2"})


def _loaded(live: Live) -> set[str]:
    """The modules that a process with PYTHONPROFILEIMPORTTIME has imported so far."""
    lines = [line for line in live.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


def test_check_says_what_is_wrong_with_them(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("# nobody\n")
    config = tmp_path / "pydns.toml"
    config.write_text(
        '[forward]\nresolv_conf = "resolv.conf"\nupstreams = ["tls://dns.lab.test"]\nbootstrap = ["dns.lab.test"]\n'
    )
    done = subprocess.run([*PYDNS, "check", "-c", str(config)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode != 0
    told = done.stdout + done.stderr
    assert f"{config}:4: forward.bootstrap: 'dns.lab.test' is no address" in told
    config.write_text(
        f"[forward]\nresolv_conf = {json.dumps('resolv.conf')}\n" + 'upstreams = ["tls://dns.lab.test"]\n'
    )
    done = subprocess.run([*PYDNS, "check", "-c", str(config)], capture_output=True, text=True, cwd=ROOT)
    told = done.stdout + done.stderr
    assert "warning: nobody can be asked for the address of tls://dns.lab.test" in told
    assert 'bootstrap = ["10.0.0.53"]' in told
