"""docs/benchmarks.md and its plot, of the JSON that a run of the benchmark has written.

    python -m benchmarks.report FILE [FILE...] [--docs DIR] [--print]

Of several files the later ones add to the first: a run with a million names to one of all parts. What stands between
the marks in the page is replaced; the rest of it is left as it is.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.chart import Bar, Panel, svg
from benchmarks.peers.names import LIMIT, PYDNS, PYTHON
from benchmarks.results import Results, is_valid, saturated, values
from benchmarks.tables import markdown
from benchmarks.workloads import WORKLOADS

PAGE, PLOT = "benchmarks.md", "benchmarks.svg"
BEGIN = "<!-- from here on: python -m benchmarks.report -->"
END = "<!-- up to here -->"
PLOTTED_SIZE = 10_000
"""The size whose workloads are plotted, or else the largest there is."""
PLOTTED_CHANGES = 100
KEYS = frozenset(("rows", "starts", "left_out", "machine", "options"))


def merged(files: Sequence[Results]) -> dict[str, Any]:
    """The first, with what the others have in addition; a row that both have is the later one's."""
    whole = dict(files[0])
    for other in files[1:]:
        whole["rows"] = list({_key(row): row for row in (*whole["rows"], *other["rows"])}.values())
        starts = {(start["size"], start["server"]): start for start in (*whole["starts"], *other["starts"])}
        whole["starts"] = list(starts.values())
        whole["left_out"] = whole["left_out"] | other["left_out"]
        whole["pydns"] = other.get("pydns") or whole.get("pydns", [])
    return whole


def _key(row: Results) -> tuple[object, ...]:
    return tuple(row[key] for key in ("part", "workload", "size", "server", "rate", "changes"))


def panels(results: Results) -> Iterator[Panel]:
    """A panel for each workload, the cheapest answer first."""
    sizes = values(results, "size", part="names")
    if sizes:
        size = PLOTTED_SIZE if PLOTTED_SIZE in sizes else max(sizes)
        for name in values(results, "workload", part="names", size=size):
            rows = saturated(results, part="names", size=size, workload=name)
            yield _panel(WORKLOADS[name].title if name in WORKLOADS else name, rows)
        rows = saturated(results, part="changes", size=size, changes=PLOTTED_CHANGES)
        yield _panel(f"hot names, {PLOTTED_CHANGES} changes a second", rows)
    yield _panel("127.0.0.11 through DNAT", saturated(results, part="dnat"))
    for kind in ("hits", "misses"):
        yield _panel(f"forwarded {kind}", saturated(results, part="forward", workload=kind))


def _panel(title: str, rows: dict[str, Results]) -> Panel:
    kinds = {PYDNS: "ours", PYTHON: "ours", LIMIT: "base"}
    bars = [Bar(name, row["cpu_us"], kinds.get(name, "bar")) for name, row in rows.items() if is_valid(row)]
    return Panel(title, sorted(bars, key=lambda bar: bar.value))


def plot(results: Results) -> str:
    """The SVG."""
    told = results["machine"]
    note = f"{told['cpu']}, kernel {told['kernel']}, {told['date']}, commit {told['commit'][:12]}; less is better"
    return svg("CPU µs for each answered query", note, [panel for panel in panels(results) if panel.bars])


def placed(page: str, text: str) -> str:
    """The page with the text between its marks; ValueError when it has not both, in order."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"it wants the lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def main() -> int:
    """Write both; 0, or 2 with a word when a file is not what it should be."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="what --json of the benchmark has written")
    docs = Path(__file__).resolve().parents[1] / "docs"
    parser.add_argument("--docs", type=Path, default=docs, help="the folder of both (docs/)")
    parser.add_argument("--print", action="store_true", help="print the tables and write nothing")
    options = parser.parse_args()
    path = Path()
    try:
        found = []
        for path in options.files:
            results = json.loads(path.read_text())
            if not isinstance(results, dict) or not set(results) >= KEYS:
                raise ValueError("no results of `python -m benchmarks --json`")
            found.append(results)
        results = merged(found)
        text = markdown(results)
        if options.print:
            print(text)
            return 0
        path = options.docs / PAGE
        page = placed(path.read_text(), text)
        path.write_text(page)
        (options.docs / PLOT).write_text(plot(results))
    except (OSError, ValueError) as error:
        print(f"benchmarks.report: {path}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
