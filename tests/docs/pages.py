"""The documents as values: their fenced blocks, tables and links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.scenarios.live import ROOT

PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md", "deploy/*.md")
    for path in ROOT.glob(pattern)
    if path.is_file()
)

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


class Block(NamedTuple):
    """One fenced block."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


class Shown(NamedTuple):
    """A command of a console block, and what is shown below it."""

    command: str
    output: str


def blocks(language: str, *pages: Path) -> list[Block]:
    """Every block of a language."""
    return [block for page in pages or PAGES for block in _blocks(page) if block.language == language]


def _blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in _FENCE.finditer(text):
        yield Block(page, text.count("\n", 0, found.start()) + 1, found[2], found[3])


def shown(block: Block) -> list[Shown]:
    """The commands of a console block."""
    commands: list[Shown] = []
    for line in block.text.splitlines(keepends=True):
        if line.startswith("$ "):
            commands.append(Shown(line[2:].strip(), ""))
        else:
            commands[-1] = Shown(commands[-1].command, commands[-1].output + line)
    return commands


def rows(page: Path, first_heading: str) -> list[list[str]]:
    """The rows of the table whose first column has this heading, cells without their outer spaces."""
    found: list[list[str]] = []
    is_inside = False
    for line in page.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith(f"| {first_heading} |"):
            is_inside = True
        elif not line.startswith("|"):
            is_inside = False
        elif is_inside and set(line) - set("|-"):
            found.append(cells)
    assert found, f"{page} has no table that begins with {first_heading!r}"
    return found


def links(page: Path) -> list[str]:
    """What a page links to, blocks of code left out."""
    return _LINK.findall(_FENCE.sub("", page.read_text()))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = _HEADING.findall(_FENCE.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
