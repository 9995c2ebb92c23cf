"""The examples of the documents are run: what they show is what happens."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from resolver.config.load import load
from resolver.errors import ConfigError, Fault
from resolver.sources import files, registry_toml
from resolver.sources.docker.settings import TLS_FILES
from resolver.sources.zonefiles import load_zones
from tests.cli.program import PYDNS, SHIPPED, environment
from tests.docs.pages import PAGES, Block, blocks, shown
from tests.scenarios.live import ROOT, Live
from tests.unit.forward.authority import Authority

README = ROOT / "README.md"
TROUBLES = ROOT / "docs" / "troubleshooting.md"
TOML = blocks("toml")
ZONES = blocks("dns")
EXAMPLE = ROOT / "deploy" / "pydns.toml"
KEY = re.compile(r"^(\w+)( *= )", re.MULTILINE)
TABLE = re.compile(r"^\[(\w+)", re.MULTILINE)


@cache
def certificate() -> str:
    """For the examples that name a file with certificates."""
    with TemporaryDirectory() as folder:
        return Authority(Path(folder) / "ca").pem


def faults_of(text: str, folder: Path) -> tuple[Fault, ...]:
    """What the reader that the block is meant for says of it."""
    if "[networks." in text:
        return registry_toml.read(text, "block.toml").faults
    for name in ("networks.toml", "docker", "zones"):
        if not (folder / name).exists():
            (folder / name).mkdir()
    if not (folder / "ca.pem").exists():
        (folder / "ca.pem").write_text(certificate())
    config = folder / "block.toml"
    config.write_text(text)
    try:
        load(config)
    except ConfigError as error:
        return error.faults
    return ()


def test_there_are_examples() -> None:
    assert {block.page.name for block in TOML} >= {"configuration.md", "registry.md"}
    assert {block.page.name for block in ZONES} == {"zones.md"}


@pytest.mark.parametrize("block", TOML, ids=str)
def test_a_toml_example_is_accepted(block: Block, tmp_path: Path) -> None:
    assert faults_of(block.text, tmp_path) == ()


@pytest.mark.parametrize("block", TOML, ids=str)
def test_a_misspelt_key_of_a_toml_example_is_refused_with_its_line(block: Block, tmp_path: Path) -> None:
    misspelt = [(found[1], found.start(1)) for found in KEY.finditer(block.text)]
    assert misspelt
    for key, start in misspelt:
        text = f"{block.text[:start]}{key}x{block.text[start + len(key) :]}"
        line = text.count("\n", 0, start) + 1
        assert (line, f"unknown key '{key}x'") in [(fault.line, fault.message) for fault in faults_of(text, tmp_path)]


@pytest.mark.parametrize("block", TOML, ids=str)
def test_a_misspelt_table_of_a_toml_example_is_refused(block: Block, tmp_path: Path) -> None:
    for found in TABLE.finditer(block.text):
        text = f"{block.text[: found.end(1)]}x{block.text[found.end(1) :]}"
        assert f"unknown key '{found[1]}x'" in [fault.message for fault in faults_of(text, tmp_path)]


@pytest.mark.parametrize("block", ZONES, ids=str)
def test_a_zone_example_is_accepted_without_a_warning(block: Block, tmp_path: Path) -> None:
    (tmp_path / "example.zone").write_text(block.text)
    loaded = load_zones([tmp_path])
    assert (1, ()) == (len(loaded.zones), loaded.faults)


def test_the_example_configuration_says_the_defaults() -> None:
    """With its commented keys left out it says what nobody says."""
    example, default = load(EXAMPLE), load(None)
    for field in (
        "listen",
        "networks",
        "tcp_idle_s",
        "tcp_connections",
        "ttl",
        "negative_ttl",
        "forward_single_labels",
    ):
        assert getattr(example, field) == getattr(default, field)
    for field in ("internal_zones", "internal_names", "resolv_conf", "upstreams", "max_in_flight", "metrics"):
        assert getattr(example, field) == getattr(default, field)
    assert example.registry_files == default.registry_files
    assert example.zone_paths == default.zone_paths


def test_the_example_configuration_with_every_key_and_a_misspelt_one(tmp_path: Path) -> None:
    whole = re.sub(r"^# (\w+ = |\[+\w)", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE)
    shutil.copy(SHIPPED / "networks.toml", tmp_path)
    certificates = tmp_path / "certificates"
    certificates.mkdir()
    for name in TLS_FILES:
        (certificates / name).touch()
    whole = whole.replace("/etc/pydns/docker", str(certificates))
    assert faults_of(whole, tmp_path) == ()
    for found in KEY.finditer(whole):
        text = f"{whole[: found.end(1)]}x{whole[found.end(1) :]}"
        assert [f"unknown key '{found[1]}x'"] == [fault.message for fault in faults_of(text, tmp_path)]


def test_every_registry_format_of_the_documents_has_a_reader() -> None:
    page = (ROOT / "docs" / "registry.md").read_text()
    assert all(f"`*{suffix}`" in page for suffix in files.READERS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """What `make run` starts, at ports of the kernel's choice and with nobody to forward to."""
    live = Live(tmp_path_factory.mktemp("readme"))
    at = ("--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--metrics", "127.0.0.1:0")
    live.command = [PYDNS, "serve", *at, "--resolv-conf", str(live.resolv_conf)]
    with live:
        yield live


def readme_commands(heading: str) -> list[tuple[str, str]]:
    """The commands of a section of the README and what it shows of them."""
    text = README.read_text()
    lines = text[: text.index(f"\n## {heading}")].count("\n") + 1
    end = text.find("\n## ", text.index(f"\n## {heading}") + 1)
    until = text[:end].count("\n") + 1
    found = [block for block in blocks("console", README) if lines < block.line <= until]
    return [(command, output) for block in found for command, output in shown(block)]


TWO_MINUTES = readme_commands("Two minutes")


def run(command: str, server: Live) -> str:
    """A command of the documents against the server of the test."""
    words = shlex.split(command)
    if words[0] == "dig":
        assert words[1:4] == ["@127.0.0.1", "-p", "5353"]
        words[3] = str(server.at.port)
    else:
        assert words[0].removeprefix(".venv/bin/") == "pydns"
        words[0] = PYDNS
    env = environment(PYDNS_METRICS=server.http.removeprefix("http://"))
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.replace(server.http.removeprefix("http://"), "127.0.0.1:9153")


def test_the_readme_shows_what_make_run_says(server: Live) -> None:
    command, output = TWO_MINUTES[0]
    assert command == "make run"
    said = server.stderr.splitlines()
    metrics = next(line for line in said if "/metrics" in line)
    ready = next(line for line in said if " ready: " in line)
    assert re.sub(r":\d+/", ":9153/", metrics) == output.splitlines()[0]
    assert re.sub(r"(127\.0\.0\.1|\[::1\]):\d+", r"\1:5353", ready) == output.splitlines()[1]


@pytest.mark.parametrize(("command", "output"), TWO_MINUTES[1:], ids=[command for command, _ in TWO_MINUTES[1:]])
def test_a_command_of_the_readme_prints_what_is_shown(server: Live, command: str, output: str) -> None:
    assert run(command, server) == output


def test_the_readme_runs_dig_and_explain() -> None:
    assert {command.split()[0] for command, _ in TWO_MINUTES} == {"make", "dig", ".venv/bin/pydns"}


@pytest.mark.parametrize("block", blocks("console", TROUBLES), ids=str)
def test_a_command_of_the_troubleshooting_page_prints_what_is_shown(server: Live, block: Block) -> None:
    for command, output in shown(block):
        assert re.sub(r"hostmaster\.invalid\. \d+ ", "hostmaster.invalid. 1 ", run(command, server)) == output


def test_no_console_example_is_left_out() -> None:
    pages = {block.page for page in PAGES for block in blocks("console", page)}
    assert pages == {README, TROUBLES}
