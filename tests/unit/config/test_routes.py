"""[[forward.routes]] and lists of upstreams: what other programs write otherwise, and what can never count."""

from __future__ import annotations

from pathlib import Path

import pytest

from resolver.config.load import examine, load
from resolver.config.schema import Settings
from resolver.errors import ConfigError
from resolver.forward.routes import Target
from resolver.forward.upstreams import SYSTEM, Upstream
from resolver.wire.name import ROOT


def settings_of(folder: Path, text: str) -> Settings:
    (folder / "pydns.toml").write_text(f"[forward]\n{text}\n")
    return load(folder / "pydns.toml")


def route(suffix: str, upstreams: str = '"10.0.0.1"') -> str:
    return f'[[forward.routes]]\nsuffix = "{suffix}"\nupstreams = [{upstreams}]'


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (route("/corp.example/"), """routes.0.suffix: '/corp.example/' has a slash (write suffix = "corp.example")"""),
        (route("/a.example/b.example/"), "'/a.example/b.example/' has a slash (write a route for each)"),
        (
            route("*.corp.example"),
            """'*.corp.example' has a * (write suffix = "corp.example": it covers the name itself""",
        ),
        (route("corp.example", '"dns"'), """(write it like 10.1.1.53, or "system", "never", "refuse" or "default")"""),
        (
            'upstreams = ["10.0.0.1#5353"]',
            "'#'; here that is written 10.0.0.1:5353",
        ),
        ('upstreams = ["10.0.0.1@53"]', "'10.0.0.1@53' has its port behind '@'; here that is written 10.0.0.1:53"),
        ('upstreams = ["fd00::1#5353"]', "here that is written [fd00::1]:5353"),
        ('upstreams = ["ns1"]', "(write it like 10.0.0.53, tls://10.0.0.53#NAME or system)"),
        (
            'upstreams = ["fe80::1"]',
            "link-local address, which is another server on each link (name the link, like fe80::1%eth0)",
        ),
        ('bootstrap = ["[fe80::1]:5353"]', "(name the link, like [fe80::1%eth0]:5353)"),
        ('order = "random"', "'random' cannot be used (write one of: 'sequential', 'fastest', 'rotate')"),
    ],
)
def test_what_is_wrong_says_how_it_is_written_here(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_of(tmp_path, text)

    (found,) = caught.value.faults
    assert fault in str(found)


def test_words_have_no_letter_case_and_the_root_has_a_tilde_as_resolved_has_it(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, 'upstreams = ["System"]\n' + route("~.", '"NEVER"'))

    assert (SYSTEM,) == settings.upstreams
    assert ((ROOT,), Target.NEVER) == (settings.routes[0].suffixes, settings.routes[0].target)


def test_who_is_named_twice_is_asked_once(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, 'upstreams = ["10.0.0.1", "10.0.0.2", "udp://10.0.0.1:53"]')

    assert (Upstream("10.0.0.1"), Upstream("10.0.0.2")) == settings.upstreams


@pytest.mark.parametrize("suffix", ["docker.internal", "db.Docker.Internal"])
def test_a_route_for_what_is_answered_here_is_warned_of(tmp_path: Path, suffix: str) -> None:
    settings = settings_of(tmp_path, route(suffix))

    (warning,) = settings.warnings
    assert warning.is_warning
    assert f"the route for {suffix} never counts: docker.internal is answered here" in str(warning)
    assert [warning] == examine(tmp_path / "pydns.toml")[1]
