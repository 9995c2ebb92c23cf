"""Completion in a real bash; for the others that the script is one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cli.program import PYDNS, environment, pydns

SCRIPT = """
source <(pydns completion bash)
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
compopt() { echo "option $2"; }
_pydns_completion pydns "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def completed(*words: str, cwd: Path | None = None) -> list[str]:
    """What bash offers for the last word."""
    path = f"{Path(PYDNS).parent}:/usr/bin:/bin"
    done = subprocess.run(
        ["bash", "-c", SCRIPT, "bash", "pydns", *words],
        cwd=cwd,
        env=environment(PATH=path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["se"], ["serve"]),
        (["s"], ["serve", "sidecar"]),
        (
            [""],
            [
                "serve",
                "sidecar",
                "aardvark",
                "agent",
                "check",
                "explain",
                "networks",
                "upstreams",
                "cache",
                "completion",
            ],
        ),
        (["serve", "--li"], ["--listen"]),
        (["explain", "--e"], ["--endpoint"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["serve", "--network", "m"], ["mynet"]),
        (["explain", "w"], ["web", "web-1", "www"]),
        (["explain", "db", "aa"], ["AAAA"]),
        (["explain", "db", "--endpoint", ""], ["db", "web"]),
        (["sidecar", "--firewall", "ipt"], ["iptables", "iptables-nft", "iptables-legacy"]),
    ],
)
def test_bash(words: list[str], offered: list[str]) -> None:
    assert completed(*words) == offered


def test_names_of_the_registry_that_is_named(folder: Path) -> None:
    assert completed("serve", "--registry", "two.toml", "--network", "", cwd=folder) == ["back", "front"]


def test_a_registry_that_is_wrong_offers_nothing(folder: Path) -> None:
    (folder / "bad.toml").write_text("[")
    assert completed("serve", "--registry", "bad.toml", "--network", "", cwd=folder) == [""]
    assert completed("serve", "--registry", "nowhere", "--network", "", cwd=folder) == [""]


@pytest.mark.parametrize("option", ["-c", "--registry", "--zones", "--resolv-conf"])
def test_files_are_left_to_the_shell(option: str) -> None:
    assert completed("serve", option, "net")[0] == "option default"


@pytest.mark.parametrize(
    ("shell", "mark"), [("zsh", "#compdef pydns"), ("fish", "complete --no-files --command pydns")]
)
def test_other_shells_have_a_script(shell: str, mark: str) -> None:
    done = pydns("completion", shell)
    assert (0, "") == (done.returncode, done.stderr)
    assert mark in done.stdout
