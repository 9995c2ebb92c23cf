"""Results as Markdown: what make bench prints, and what docs/benchmarks.md has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from benchmarks.figures import SATURATED, SHARES
from benchmarks.peers.names import LIMIT, PYDNS, PYTHON
from benchmarks.results import Results, Row, is_valid, ratio, rows, saturated, values
from benchmarks.workloads import WORKLOADS

OURS = (PYDNS, PYTHON)
_NOT_VERSIONS = ("cpu", "cores", "load", "kernel", "python", "date", "commit")


def markdown(results: Results) -> str:
    """Every table that there are figures for."""
    return "\n\n".join(part for part in _parts(results) if part)


def _parts(results: Results) -> Iterator[str]:
    yield machine(results)
    for size in values(results, "size", part="names"):
        yield from _held(results, size)
    yield starts(results)
    for size in values(results, "size", part="changes"):
        yield changes(results, size)
    yield dnat(results)
    yield forward(results)
    yield weights(results)
    yield left_out(results)


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table of Markdown; empty without lines."""
    body = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *body]) if body else ""


def machine(results: Results) -> str:
    """On what it was measured."""
    told = results["machine"]
    options = results["options"]
    versions = ", ".join(f"{key} {value}" for key, value in told.items() if key not in _NOT_VERSIONS)
    return (
        f"{told['cores']} cores, {told['cpu']}, kernel {told['kernel']}, Python {told['python']}, "
        f"load {told['load']} at the start; {told['date']}, commit {told['commit'][:12]}{told['commit'][40:]}; "
        f"{versions}. {options['rounds']} rounds of {options['seconds']:g} s, medians."
    )


def _held(results: Results, size: int) -> Iterator[str]:
    by_workload = {
        name: saturated(results, part="names", size=size, workload=name)
        for name in values(results, "workload", part="names", size=size)
    }
    servers = values(results, "server", part="names", size=size)
    head = ["", *(WORKLOADS[name].title if name in WORKLOADS else name for name in by_workload)]
    yield f"**{size:,} names: CPU µs for each answered query, and queries/s at saturation**"
    yield table(head, ([s, *(_speed(each.get(s)) for each in by_workload.values())] for s in servers))
    for ours in (name for name in OURS if name in servers and len(servers) > 1):
        yield f"**{size:,} names: CPU of {ours}, as a multiple of theirs**"
        others = [server for server in servers if server != ours]
        cells = {o: [_times(ratio(each.get(ours), each.get(o))) for each in by_workload.values()] for o in others}
        yield table(head, ([_named(other), *line] for other, line in cells.items()))
    if rated := [row for row in rows(results, part="names", size=size) if row["rate"] != SATURATED]:
        yield f"**{size:,} names: hot ones at fixed rates: CPU µs; {', '.join(SHARES)} in µs; lost**"
        rates = list(dict.fromkeys(row["rate"] for row in rated))
        found = {(row["server"], row["rate"]): row for row in rated}
        yield table(
            ["", *(f"{r:,}/s" for r in rates)], ([s, *(_waits(found.get((s, r))) for r in rates)] for s in servers)
        )


def starts(results: Results) -> str:
    """Exec to first answer, and memory."""
    sizes = list(dict.fromkeys(start["size"] for start in results["starts"]))
    found = {(start["server"], start["size"]): start for start in results["starts"]}
    head = ["first answer after, RSS", *(f"{size:,} names" for size in sizes)]
    servers = dict.fromkeys(start["server"] for start in results["starts"])
    return table(head, ([server, *(_start(found.get((server, size))) for size in sizes)] for server in servers))


def changes(results: Results, size: int) -> str:
    """What changes cost, and how soon they are seen."""
    found = list(rows(results, part="changes", size=size))
    still = saturated(results, part="names", size=size, workload="hot")
    head = ["", "CPU µs", "× without", "queries/s", "made a second", "seen after, ms", "p99 µs at a fixed rate"]
    rated = {(row["server"], row["changes"]): row for row in found if row["rate"] != SATURATED}
    lines = [
        [
            f"{row['server']}, {row['changes']:,}/s",
            *_change(row, still.get(row["server"])),
            _one(rated.get((row["server"], row["changes"])), "p99_us"),
        ]
        for row in found
        if row["rate"] == SATURATED
    ]
    return f"**{size:,} names, hot ones asked while one among them changes**\n\n{table(head, lines)}"


def dnat(results: Results) -> str:
    """As a container asks."""
    found = saturated(results, part="dnat")
    rated = {row["server"]: row for row in rows(results, part="dnat") if row["rate"] != SATURATED}
    rates = values(results, "rate", part="dnat")
    head = ["127.0.0.11 through DNAT", "CPU µs, queries/s", *(f"× {name}" for name in found)]
    head += [f"{rate:,}/s: CPU µs; {', '.join(SHARES)} µs; lost" for rate in rates if rate != SATURATED]
    return table(
        head,
        (
            [name, _speed(row), *(_times(ratio(row, other)) for other in found.values())]
            + ([_waits(rated.get(name))] if rated else [])
            for name, row in found.items()
        ),
    )


def forward(results: Results) -> str:
    """Forwarded names."""
    kinds = {kind: saturated(results, part="forward", workload=kind) for kind in ("hits", "misses")}
    servers = values(results, "server", part="forward")
    head = ["forwarded", *(f"{kind}: CPU µs, queries/s" for kind in kinds)]
    head += [f"{kind}: × {ours}" for ours in OURS if ours in servers for kind in kinds]
    return table(
        head,
        (
            [server, *(_speed(each.get(server)) for each in kinds.values())]
            + [_times(ratio(each.get(server), each.get(o))) for o in OURS if o in servers for each in kinds.values()]
            for server in servers
        ),
    )


def weights(results: Results) -> str:
    """What pydns takes."""
    return table(
        ["", "exec to first answer", "RSS after it", "RSS after a scrape of /metrics"],
        (
            [w["kind"], f"{w['first_answer_ms']:.0f} ms", f"{w['rss_mb']:.1f} MiB", f"{w['scraped_rss_mb']:.1f} MiB"]
            for w in results.get("pydns", ())
        ),
    )


def left_out(results: Results) -> str:
    """Who was not measured."""
    told = "\n".join(f"- {what}: {' '.join(why.split())}" for what, why in results["left_out"].items())
    return f"Left out:\n\n{told}" if told else ""


def _named(server: str) -> str:
    return f"the limit ({server})" if server == LIMIT else server


def _speed(row: Row | None) -> str:
    if row is None:
        return "–"
    return f"{row['cpu_us']:.2f}, {row['qps']:,}" if is_valid(row) else f"invalid: {row['faults'][0]}"


def _waits(row: Row | None) -> str:
    if row is None or not is_valid(row):
        return "–" if row is None else f"invalid: {row['faults'][0]}"
    waits = ", ".join(f"{row[f'{share}_us']:,}" for share in SHARES)
    return f"{row['cpu_us']:.1f}; {waits}; {row['lost']}"


def _times(found: float | None) -> str:
    return "–" if found is None else f"{found:.2f}"


def _one(row: Row | None, key: str) -> str:
    return f"{row[key]:,}" if row is not None and key in row else "–"


def _start(start: Row | None) -> str:
    return "–" if start is None else f"{start['first_answer_s']:.2f} s, {start['rss_mb']:,.0f} MiB"


def _change(row: Row, still: Row | None) -> list[str]:
    if not is_valid(row):
        return [f"invalid: {row['faults'][0]}", "–", "–", "–", "–"]
    seen = f"{row['seen_ms']:.0f}" if "seen_ms" in row else "–"
    return [f"{row['cpu_us']:.2f}", _times(ratio(row, still)), f"{row['qps']:,}", f"{row['changes_made']:.0f}", seen]
