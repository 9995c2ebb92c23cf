"""The tables of the documents against the code, and links that lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import click
import dns.edns
import msgspec
import pytest

from resolver.cli.main import COMMANDS, cli
from resolver.cli.options import KEYS
from resolver.config.schema import ConfigSpec
from resolver.sources.registry_toml import EndpointSpec, NetworkSpec
from resolver.wire import constants
from tests.docs.pages import PAGES, anchors, links, rows
from tests.scenarios.live import ROOT

CONFIGURATION = ROOT / "docs" / "configuration.md"
REGISTRY = ROOT / "docs" / "registry.md"
TROUBLES = ROOT / "docs" / "troubleshooting.md"
CODE = re.compile(r"`([^`]+)`")


def defaults() -> dict[str, Any]:
    """Every key of the configuration and its default; [podman] has the keys of [docker] again."""
    return {
        f"{table.name}.{key}": getattr(section, key)
        for table in msgspec.structs.fields(ConfigSpec)
        for section in [section_of(table.type)]
        for key in (["host"] if table.name == "podman" else section.__struct_fields__)
    }


def section_of(kind: Any) -> msgspec.Struct:
    """A section with its defaults, from ``Spec`` or ``Spec | None``."""
    (spec,) = (part for part in (get_args(kind) or (kind,)) if part is not type(None))
    section = spec()
    assert isinstance(section, msgspec.Struct)
    return section


def in_words(value: Any) -> str:
    """A default as the table writes it, without its code marks."""
    match value:
        case []:
            return "none"
        case list():
            return ", ".join(value)
        case dict():
            (one,) = set(value.values())
            return f'{", ".join(value)}: "{one}"'
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
    return str(value)


def test_the_configuration_page_lists_every_key() -> None:
    assert [row[0].strip("`") for row in rows(CONFIGURATION, "key")] == list(defaults())


@pytest.mark.parametrize(("key", "default"), [(key, value) for key, value in defaults().items() if value is not None])
def test_the_configuration_page_has_the_default(key: str, default: Any) -> None:
    (row,) = [row for row in rows(CONFIGURATION, "key") if row[0] == f"`{key}`"]
    assert row[2].replace("`", "").strip('"') == in_words(default).strip('"')


def options_of(name: str) -> dict[str, click.Option]:
    """The options of a command by their longest flag."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return {
        max(option.opts, key=len): option
        for option in command.params
        if isinstance(option, click.Option) and option.opts
    }


def test_the_flags_and_variables_of_the_configuration_page_exist() -> None:
    options = options_of("serve")
    keys = {f"--{name.replace('_', '-')}": ".".join(key) for name, key in KEYS.items()} | {
        "--network": "server.networks"
    }
    listed = {}
    for key, given, _, _ in rows(CONFIGURATION, "key"):
        if not given:
            continue
        flag, variable = CODE.findall(given)
        flag = flag.removeprefix("serve ")
        assert options[flag].envvar == variable
        listed[flag] = key.strip("`")
    assert listed == keys


def test_every_environment_variable_is_on_the_configuration_page() -> None:
    page = set(re.findall(r"PYDNS_[A-Z_]+", CONFIGURATION.read_text()))
    used = {
        str(option.envvar)
        for command in ("serve", "sidecar", "agent")
        for option in options_of(command).values()
        if option.envvar
    }
    assert page == used


@pytest.mark.parametrize("name", ["explain", "networks", "check"])
def test_no_command_has_a_variable_of_its_own(name: str) -> None:
    variables = {option.envvar for option in options_of(name).values() if option.envvar}
    assert variables <= {option.envvar for option in options_of("serve").values()}


@pytest.mark.parametrize(
    ("heading", "spec", "besides"),
    [("key of a network", NetworkSpec, {"endpoints"}), ("key of an endpoint", EndpointSpec, set())],
)
def test_the_registry_page_lists_every_key(heading: str, spec: type[msgspec.Struct], besides: set[str]) -> None:
    listed = {CODE.findall(row[0])[0] for row in rows(REGISTRY, heading) if row[0].startswith("`")}
    assert listed == set(spec.__struct_fields__) - besides


def test_the_troubles_page_lists_every_extended_error_by_its_name() -> None:
    listed = set()
    for code, *_ in rows(TROUBLES, "EDE"):
        found = re.fullmatch(r"(\d+) \((.+)\)", code)
        assert found, code
        listed.add((int(found[1]), found[2].upper().replace(" ", "_")))
    said = {value for name, value in vars(constants).items() if name.startswith("EDE_")}
    assert listed == {(code, dns.edns.EDECode(code).name) for code in said}


def test_no_extended_error_is_said_by_number() -> None:
    """Else the table would not know of it."""
    source = "\n".join(path.read_text() for path in (ROOT / "resolver").rglob("*.py"))
    assert re.findall(r"\bede=\(\d+", source) == []
    names = [name for name in vars(constants) if name.startswith("EDE_")]
    assert [name for name in names if len(re.findall(rf"\b{name}\b", source)) < 2] == [], "defined, and never said"


def test_the_readme_lists_every_command() -> None:
    listed = [CODE.findall(row[0])[0].split()[1] for row in rows(ROOT / "README.md", "command")]
    assert listed == list(COMMANDS)


def test_the_readme_leads_to_every_page() -> None:
    led_to = {(ROOT / link).resolve() for link in links(ROOT / "README.md") if "://" not in link}
    assert {page for page in PAGES if page.parent == ROOT / "docs"} <= led_to


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link
