"""Upstreams that have a name, and those that need a library."""

from __future__ import annotations

import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from resolver.config.load import load
from resolver.config.schema import Settings
from resolver.errors import ConfigError
from resolver.forward.upstreams import Upstream

DOH = "https://dns.example/dns-query"


def settings_of(folder: Path, text: str) -> Settings:
    (folder / "pydns.toml").write_text(f"[forward]\n{text}\n")
    return load(folder / "pydns.toml")


@pytest.fixture
def without_h2(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine where h2 is not installed."""
    find = importlib.util.find_spec

    def find_spec(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "h2" else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)


def test_there_is_no_bootstrap_server_by_default(tmp_path: Path) -> None:
    assert settings_of(tmp_path, "").bootstrap == ()


def test_bootstrap_servers_have_addresses(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, 'bootstrap = ["10.0.0.53", "[fd00::53]:5353"]')
    assert settings.bootstrap == (Upstream("10.0.0.53"), Upstream("fd00::53", 5353))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('bootstrap = ["dns.example"]', "pydns.toml:2: forward.bootstrap: 'dns.example' is no address"),
        ('bootstrap = ["tls://10.0.0.53"]', "pydns.toml:2: forward.bootstrap: 'tls://10.0.0.53' is no address"),
        ('bootstrap = ["system"]', "pydns.toml:2: forward.bootstrap: 'system' is no address"),
        ('bootstrap = "10.0.0.53"', "pydns.toml:2: forward.bootstrap: "),
        ('bootstrap = ["10.0.0.53:0"]', "pydns.toml:2: forward.bootstrap: '10.0.0.53:0' has port '0'"),
    ],
)
def test_what_is_no_bootstrap_server_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_of(tmp_path, text)
    assert fault in str(caught.value)


def test_with_the_library_doh_is_an_upstream(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, f'upstreams = ["{DOH}"]')
    assert [str(upstream) for upstream in settings.upstreams] == [DOH]


@pytest.mark.usefixtures("without_h2")
@pytest.mark.parametrize(
    ("text", "key"),
    [
        (f'upstreams = ["10.0.0.53", "{DOH}"]', "2: forward.upstreams"),
        (f'[[forward.routes]]\nsuffix = "a"\nupstreams = ["{DOH}"]', "4: forward.routes.0.upstreams"),
    ],
)
def test_without_the_library_doh_is_refused_with_what_to_install(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_of(tmp_path, text)
    assert f"pydns.toml:{key}: {DOH!r} needs the library h2, which is not installed" in str(caught.value)
    assert "(pip install 'pydns[doh]', or write tls://" in str(caught.value)


@pytest.mark.usefixtures("without_h2")
def test_without_the_library_all_others_are_upstreams(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, 'upstreams = ["10.0.0.53", "tls://dns.example", "tcp://10.0.0.53"]')
    assert len(settings.upstreams) == 3
