"""What holds the project together: make's targets, the locks, the size of modules, versions, units, shell scripts."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import resolver

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
LONGEST_MODULE = 400


def locked(name: str) -> Mapping[str, tuple[str, list[str]]]:
    """The version and hashes of every package in requirements/<name>.txt, by its canonical name."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text().replace("\\\n", " ")
    packages: dict[str, tuple[str, list[str]]] = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            found = re.match(r"([\w.-]+)==([\w.]+)\s", line)
            assert found, f"requirements/{name}.txt: not a pinned package: {line[:80]}"
            packages[canonicalize_name(found[1])] = (found[2], re.findall(r"--hash=sha256:[0-9a-f]{64}\b", line))
    return packages


def wanted(name: str) -> Iterator[Requirement]:
    """What pyproject.toml asks for in that lock."""
    groups = {"run": ["build"], "dev": ["build", "dev"]}[name]
    for text in PROJECT["project"]["dependencies"] + [
        each for group in groups for each in PROJECT["dependency-groups"][group]
    ]:
        yield Requirement(text)


def test_help_names_every_target_that_is_documented() -> None:
    shown = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = set(re.findall(r"^  ([a-z-]+) ", shown, re.MULTILINE))
    assert listed == set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))
    assert listed >= {"help", "run", "demo", "test", "check", "lock", "bench", "clean"}


def test_bare_make_is_help() -> None:
    assert ".DEFAULT_GOAL := help" in MAKEFILE


@pytest.mark.parametrize(
    "document", ["README.md", "CHANGELOG.md", *(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/**/*.md"))]
)
def test_documents_name_only_targets_that_exist(document: str) -> None:
    text = (ROOT / document).read_text()
    named = re.findall(r"`(?:sudo )?make ([a-z][a-z-]*)", text) + re.findall(
        r"^(?:[$#] )?(?:sudo )?make ([a-z][a-z-]*)", text, re.MULTILINE
    )
    assert set(named) <= TARGETS


def test_readme_begins_with_make_run() -> None:
    commands = re.search(r"```(?:sh|shell|bash|console)?\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert commands, "README.md shows no commands"
    assert "make run" in commands[1]


@pytest.mark.parametrize("name", ["run", "dev"])
def test_lock_covers_what_pyproject_asks_for(name: str) -> None:
    packages = locked(name)
    for requirement in wanted(name):
        pinned = packages.get(canonicalize_name(requirement.name))
        assert pinned, f"requirements/{name}.txt lacks {requirement.name}: make lock"
        assert requirement.specifier.contains(pinned[0]), (
            f"requirements/{name}.txt has {requirement.name} {pinned[0]}: make lock"
        )


@pytest.mark.parametrize("name", ["run", "dev"])
def test_lock_has_hashes_for_everything(name: str) -> None:
    assert [package for package, (_, hashes) in locked(name).items() if not hashes] == []


def test_there_are_no_other_locks_and_dev_agrees_with_run() -> None:
    assert {path.name for path in (ROOT / "requirements").iterdir()} == {"run.txt", "dev.txt"}
    run, dev = locked("run"), locked("dev")
    assert {package: dev.get(package, ("absent",))[0] for package in run} == {
        package: version for package, (version, _) in run.items()
    }


def test_no_module_is_too_long() -> None:
    lengths = {str(path.relative_to(ROOT)): path.read_text().count("\n") for path in ROOT.glob("resolver/**/*.py")}
    assert {path: lines for path, lines in lengths.items() if lines > LONGEST_MODULE} == {}


def test_version_is_the_same_everywhere() -> None:
    version = PROJECT["project"]["version"]
    assert resolver.__version__ == version
    assert re.search(rf"^## \[?{re.escape(version)}\]?(?:\s|$)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE), (
        f"CHANGELOG.md has no entry '## {version}'"
    )


def test_dockerfile_builds_from_what_dockerignore_lets_in() -> None:
    let_in = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    optional = "wheel[s]"  # a pattern may match nothing: a wheelhouse is there where there is no network
    sources = [source for line in copied for source in line.split()]
    assert sorted(sources) == sorted([*(path for path in let_in if path != "wheels"), optional])
    for source in sources:
        assert source == optional or (ROOT / source).exists(), source


def capabilities_of(unit: str) -> set[str]:
    bounding = re.search(r"^CapabilityBoundingSet=(.*)$", (ROOT / "deploy" / unit).read_text(), re.MULTILINE)
    assert bounding
    return {name.removeprefix("CAP_") for name in bounding[1].split()}


def test_capabilities_of_the_units_agree_with_each_other_and_the_container() -> None:
    """A unit has some more than the container: other users' files, ports below 1024, legacy iptables."""
    agent = yaml.safe_load((ROOT / "deploy" / "compose" / "agent.yaml").read_text())

    assert capabilities_of("pydns-sidecar@.service") == capabilities_of("pydns-agent.service")
    assert capabilities_of("pydns-agent.service") > set(agent["services"]["dns"]["cap_add"])


def test_ci_runs_check_and_test_and_can_be_run() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert {"check", "test"} <= set(re.findall(r"make --no-print-directory ([a-z]+)", script.read_text()))
