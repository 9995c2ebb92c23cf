"""Keys of [forward] about what passes: client subnets, private addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

from resolver.config.load import load
from resolver.config.schema import Settings
from resolver.errors import ConfigError
from resolver.wire.name import fold, from_text


def settings_of(folder: Path, text: str) -> Settings:
    (folder / "pydns.toml").write_text(f"[forward]\n{text}\n")
    return load(folder / "pydns.toml")


def test_nothing_of_it_is_on_by_default(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "")

    assert (False, False, frozenset()) == (
        settings.passes_client_subnet,
        settings.rebinding_guard,
        settings.rebinding_allowed,
    )


def test_what_is_written_is_taken(tmp_path: Path) -> None:
    text = (
        'client_subnet = "pass"\nrebinding_guard = true\nrebinding_allowed = ["Plex.Direct.", ".corp.example", "*.lan"]'
    )
    settings = settings_of(tmp_path, text)

    assert (True, True) == (settings.passes_client_subnet, settings.rebinding_guard)
    names = ("plex.direct", "corp.example", "lan")
    assert frozenset(fold(from_text(name)) for name in names) == settings.rebinding_allowed


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            'client_subnet = "drop"',
            "pydns.toml:2: forward.client_subnet: 'drop' cannot be used (write one of: 'strip', 'pass')",
        ),
        ('rebinding_guard = "yes"', "pydns.toml:2: forward.rebinding_guard: "),
        (
            'rebinding_allowed = ["plex..direct"]',
            "pydns.toml:2: forward.rebinding_allowed: ",
        ),
        (
            'rebinding_allowed = ["."]',
            "pydns.toml:2: forward.rebinding_allowed: '.' is every name there is"
            " (to let all pass set rebinding_guard = false; else name a domain, like plex.direct)",
        ),
        ('rebinding_allowed = ["*"]', "pydns.toml:2: forward.rebinding_allowed: '*' is every name there is (to let"),
        ('rebinding_allowed = [""]', "pydns.toml:2: forward.rebinding_allowed: '' names nothing (name a domain, like"),
        (
            'rebinding_allowed = ["~corp"]',
            "pydns.toml:2: forward.rebinding_allowed: '~corp' has a ~, which is systemd-resolved's"
            " (write corp: names below it count as well, like plex.direct)",
        ),
        (
            'rebinding_allowed = ["a.*.example"]',
            "pydns.toml:2: forward.rebinding_allowed: 'a.*.example' has a *",
        ),
        ('rebinding_allowed = "plex.direct"', "pydns.toml:2: forward.rebinding_allowed: "),
    ],
)
def test_what_is_wrong_has_its_line_its_key_and_its_fix(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_of(tmp_path, text)

    (found,) = caught.value.faults
    assert str(found).replace(f"{tmp_path}/", "").startswith(fault)
    assert found.fix


def test_every_wrong_domain_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_of(tmp_path, 'rebinding_allowed = [".", "fine.example", "a..b"]')

    assert 2 == len(caught.value.faults)
