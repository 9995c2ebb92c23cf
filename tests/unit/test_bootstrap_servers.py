"""Who is asked where a named upstream is: what was configured, else the host's servers, else the container's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from resolver.assembly import askers_upstreams, bootstrap_faults, bootstrap_servers, named_upstreams, needs_resolv_conf
from resolver.config.load import load
from resolver.config.schema import Settings
from resolver.forward.upstreams import Upstream
from resolver.server.listeners import Address

HOST, FORMER, OWN = Upstream("192.0.2.1"), Upstream("192.0.2.2", in_namespace=True), Upstream("192.0.2.3", 53)
LISTEN = [Address("192.0.2.3", 53)]


def settings_of(folder: Path, text: str) -> Settings:
    (folder / "pydns.toml").write_text(text)
    return load(folder / "pydns.toml")


@pytest.mark.parametrize(
    ("configured", "host", "former", "expected"),
    [
        (["10.0.0.53"], (HOST,), (FORMER,), (Upstream("10.0.0.53"),)),
        ([], (HOST,), (FORMER,), (HOST,)),
        ([], (HOST, OWN), (), (HOST,)),
        ([], (OWN,), (FORMER,), (FORMER,)),
        ([], (), (), ()),
        (["192.0.2.3"], (HOST,), (FORMER,), ()),
    ],
)
def test_the_first_that_are_known_are_asked(
    tmp_path: Path,
    configured: list[str],
    host: tuple[Upstream, ...],
    former: tuple[Upstream, ...],
    expected: tuple[Upstream, ...],
) -> None:
    settings = settings_of(tmp_path, f"[forward]\nbootstrap = {configured}\n".replace("'", '"'))
    assert bootstrap_servers(settings, host, LISTEN, former) == expected


def test_named_upstreams_are_those_of_routes_too(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path,
        '[forward]\nupstreams = ["tls://a.example", "10.0.0.53"]\n'
        '[[forward.routes]]\nsuffix = "b"\nupstreams = ["tls://b.example", "tls://a.example"]\n',
    )
    assert [upstream.name for upstream in named_upstreams(settings)] == ["a.example", "b.example"]
    (fault,) = bootstrap_faults(settings, ())
    assert fault.is_warning
    assert "tls://a.example, tls://b.example" in fault.message
    assert bootstrap_faults(settings, (HOST,)) == ()


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        ('upstreams = ["10.0.0.53"]', False),
        ('upstreams = ["tls://a.example"]', True),
        ('upstreams = ["tls://a.example"]\nbootstrap = ["10.0.0.53"]', False),
        ("upstreams = []", True),
    ],
)
def test_resolv_conf_is_needed_where_its_servers_are(tmp_path: Path, text: str, needed: bool) -> None:
    settings = settings_of(tmp_path, f"[forward]\n{text}\n")
    assert needs_resolv_conf(settings) is needed


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        (Address("192.0.2.3", 53), ["127.0.0.1", "::1"]),
        (Address("0.0.0.0", 53), ["192.0.2.3", "::1"]),
        (Address("::", 53), ["192.0.2.3"]),  # `drop_own` holds it to have the other family's loopback, too
        (Address("0.0.0.0", 5353), ["192.0.2.3", "127.0.0.1", "::1"]),
    ],
)
def test_an_askers_own_servers_are_never_ourselves(listen: Address, expected: list[str]) -> None:
    servers = ("192.0.2.3", "127.0.0.1", "::1")

    assert expected == [upstream.address for upstream in askers_upstreams([listen])(servers)]
    inside = askers_upstreams([listen], in_namespace=True)(servers)
    assert servers == tuple(upstream.address for upstream in inside)
