"""forward.resolved: its three words, and what comes of any other."""

from __future__ import annotations

from pathlib import Path

import pytest

from resolver.assembly import imports
from resolver.config.load import examine, load
from resolver.hostconf import HostResolvConf


@pytest.mark.parametrize(
    ("forward", "stub", "other"),
    [
        ("", True, False),
        ('resolved = "auto"', True, False),
        ('resolved = "on"', True, True),
        ('resolved = "off"', False, False),
        ('upstreams = ["10.0.0.53"]', False, False),
        ('upstreams = ["10.0.0.53"]\nresolved = "on"', True, True),
    ],
)
def test_when_resolved_is_asked(tmp_path: Path, forward: str, stub: bool, other: bool) -> None:
    (tmp_path / "pydns.toml").write_text(f"[forward]\n{forward}\n")
    settings = load(tmp_path / "pydns.toml")
    conf = HostResolvConf(tmp_path / "resolv.conf")
    for server, wanted in (("127.0.0.53", stub), ("192.0.2.1", other)):
        conf.path.write_text(f"nameserver {server}\n")
        conf.refresh()
        assert wanted == imports(settings, conf)


def test_another_word_is_refused_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "pydns.toml").write_text('[forward]\nresolved = "maybe"\n')
    _, (fault,) = examine(tmp_path / "pydns.toml")

    assert (2, "forward.resolved") == (fault.line, fault.key)
    assert "maybe" in str(fault)
