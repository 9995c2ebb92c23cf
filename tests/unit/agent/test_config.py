"""[agent] of the configuration: what it says, and every fault with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from resolver.config.agent import AgentSettings, NamespaceRule
from resolver.config.load import Override, examine, load


def settings_of(folder: Path, text: str, *overrides: Override) -> AgentSettings:
    (folder / "pydns.toml").write_text(text)
    return load(folder / "pydns.toml", overrides).agent


def test_without_a_section_it_stays_out_of_the_way(tmp_path: Path) -> None:
    assert settings_of(tmp_path, "") == AgentSettings(
        takes_over=False, manages_resolv_conf=True, firewall="auto", namespaces=()
    )


def test_everything_said(tmp_path: Path) -> None:
    text = """
        [agent]
        takeover = true
        resolv_conf = false
        firewall = "nftables"
        [[agent.namespaces]]
        netns = "web"
        [[agent.namespaces]]
        netns = "ci-*"
        networks = ["mynet"]
        [[agent.namespaces]]
        netns = "/run/docker/netns/abc"
        endpoint = "db"
    """
    assert settings_of(tmp_path, text) == AgentSettings(
        takes_over=True,
        manages_resolv_conf=False,
        firewall="nftables",
        namespaces=(
            NamespaceRule("web"),
            NamespaceRule("ci-*", ("mynet",)),
            NamespaceRule("/run/docker/netns/abc", (), "db"),
        ),
    )


@pytest.mark.parametrize(
    ("netns", "is_pattern", "is_path"),
    [("web", False, False), ("ci-*", True, False), ("w[ab]", True, False), ("w?", True, False), ("/a/*", False, True)],
)
def test_names_patterns_and_paths(netns: str, is_pattern: bool, is_path: bool) -> None:
    rule = NamespaceRule(netns)
    assert (rule.is_pattern, rule.is_path) == (is_pattern, is_path)


@pytest.mark.parametrize(
    ("entry", "line", "message"),
    [
        ('networks = ["n"]', 1, "'netns' is missing"),
        ('netns = ""', 2, "'' is no namespace"),
        ('netns = "a/b"', 2, "'a/b' is not an absolute path"),
        ('netns = "/a/b"', 1, "nobody says which networks /a/b is on"),
        ('netns = "w"\nnetwork = ["n"]', 3, "unknown key 'network'"),
        ('netns = "w"\nnetworks = "n"', 3, "'n' cannot be used: it is text"),
        ('netns = "w"\n[[agent.namespaces]]\nnetns = "w"', 4, "'w' is there twice"),
    ],
)
def test_an_entry_that_makes_no_sense_is_one_fault_and_left_out(
    tmp_path: Path, entry: str, line: int, message: str
) -> None:
    file = tmp_path / "pydns.toml"
    file.write_text(f'[[agent.namespaces]]\n{entry}\n[[agent.namespaces]]\nnetns = "good"\n')
    settings, faults = examine(file)

    assert [(fault.line, fault.message) for fault in faults] == [(line, message)]
    assert settings.agent.namespaces[-1] == NamespaceRule("good")


def test_a_flag_replaces_the_list(tmp_path: Path) -> None:
    override = Override(("agent", "namespaces"), [{"netns": "b"}], "--netns")
    found = settings_of(tmp_path, '[[agent.namespaces]]\nnetns = "a"\n', override)
    assert found.namespaces == (NamespaceRule("b"),)
