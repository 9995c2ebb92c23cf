"""pydns beside its peers and beside what the machine allows: everything, in one run.

    python -m benchmarks [--parts names,changes,dnat,forward,starts] [--sizes 10,10000] [--json FILE]

Parts: `names` that a server holds, under each workload, to saturation and (hot names) at fixed rates; `changes`, hot
names while the registry changes; `dnat`, as a container asks, beside Docker's own resolver; `forward`, misses and hits
of forwarded names; `starts`, exec to the first answer and memory. Servers take turns, rounds go forwards and backwards,
figures are medians, and a server whose answers were wrong has none. Who is not installed is left out, and said to be.
The whole is told as Markdown; `python -m benchmarks.report FILE` makes docs/benchmarks.md and its plot of the JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from benchmarks import changes, dnat, docker_churn, forward_cpu, names, starts
from benchmarks.changers import Changer
from benchmarks.errors import BenchError
from benchmarks.figures import Found, Row
from benchmarks.lab import Lab
from benchmarks.machine import cores, machine, missing, pydns_version
from benchmarks.names import Held, Turns
from benchmarks.peers import forwarders
from benchmarks.peers import names as peers
from benchmarks.peers.files import Registry
from benchmarks.servers import Server, free_port
from benchmarks.tables import markdown
from benchmarks.workloads import WORKLOADS

PARTS = ("names", "changes", "dnat", "forward", "starts")
NEED_ROOT = ("dnat", "forward")
TOOLS = ("dnsperf", "taskset", "setpriv")
ROOT_TOOLS = ("ip", "nft", "nsenter", "knotd")
FORWARD_PEERS = ("dnsmasq", "unbound", "dnsdist")
ALL_WORKLOADS_UP_FROM = 1_000
"""A smaller size, unless it is the only one, is asked for hot names at full speed only: more would say the same."""


def _ended(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)  # by way of everything that is to be taken away


def _list(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _numbers(text: str) -> list[int]:
    return [int(word) for word in _list(text)]


def _some_of(known: Sequence[str]) -> Callable[[str], list[str]]:
    def chosen(text: str) -> list[str]:
        words = _list(text)
        if unknown := [word for word in words if word not in known]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
        return words

    return chosen


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        "python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = made.add_argument
    add("--parts", type=_some_of(PARTS), default=list(PARTS), help="what to measure (all)")
    add("--sizes", type=_numbers, default=[10, 10_000], help="how many names (10,10000; a million takes minutes)")
    add("--workloads", type=_some_of(list(WORKLOADS)), help=f"of the names: {','.join(WORKLOADS)} (all)")
    add("--changes", type=_numbers, default=[1, 100, 1000], help="changes a second (1,100,1000)")
    add("--rates", type=_numbers, default=[5_000, 20_000], help="fixed rates, queries a second (5000,20000)")
    add("--rounds", type=int, default=3, help="turns of each server (3)")
    add("--seconds", type=float, default=1.0, help="length of one turn (1)")
    add("--starts", type=int, default=5, help="starts that are timed (5)")
    add("--start-within", type=float, default=120.0, help="seconds in which a server must be up (120)")
    add("--only", type=_list, help="servers, by name (all that are installed)")
    add("--no-docker", action="store_true", help="leave Docker's resolver out")
    add("--registry", choices=("toml", "json", "hosts"), default="toml", help="how pydns gets its names (toml)")
    add("--pydns", default=str(Path(sys.executable).with_name("pydns")), help="the program to measure")
    add("--json", type=Path, metavar="FILE", help="write the figures here too")
    return made


def _names_and_changes(options: argparse.Namespace, pydns: str, folder: Path, turns: Turns, found: Found) -> None:
    backend_port = free_port()
    makes = peers.peers(pydns, backend_port, options.registry)
    if options.only:
        makes = {name: make for name, make in makes.items() if name in options.only}
    for size in options.sizes:
        _say(f"{size:,} names: starting {', '.join(makes)}")
        with contextlib.ExitStack() as stack:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"{size}-", dir=folder)))
            home.chmod(0o755)
            registry = Registry(home, size)
            registry.write()
            held = Held(registry)
            held.start(makes, backend_port, options.start_within, found, stack)
            is_main = size >= ALL_WORKLOADS_UP_FROM or len(options.sizes) == 1
            if "names" in options.parts:
                chosen = options.workloads or (list(WORKLOADS) if is_main else ["hot"])
                _say(f"{size:,} names: {', '.join(chosen)}")
                names.measure(
                    held,
                    [WORKLOADS[name] for name in chosen],
                    turns if is_main else replace(turns, rates=()),
                    found,
                )
            held.weigh(found)
            if "changes" in options.parts and is_main:
                _say(f"{size:,} names: changes")
                more = _by_events(pydns, held, options, found, stack)
                changes.measure(held, options.changes, turns, found, more)


def _by_events(
    pydns: str, held: Held, options: argparse.Namespace, found: Found, stack: contextlib.ExitStack
) -> list[tuple[Server, Changer]]:
    """A pydns that is told of changes by a Docker daemon, where the compiled lane is measured at all."""
    if peers.PYDNS not in held.first_answers_s:
        return []
    try:
        return [stack.enter_context(docker_churn.with_daemon(pydns, held.registry, options.start_within))]
    except BenchError as error:
        found.left_out[f"{docker_churn.NAME}, {held.registry.count:,} names"] = names.shortly(error)
        return []


def _dnat(options: argparse.Namespace, pydns: str, folder: Path, turns: Turns, found: Found) -> None:
    _say("through DNAT")
    with_docker = not options.no_docker and shutil.which("dockerd") is not None
    if not with_docker:
        found.left_out["dockerd behind DNAT"] = "--no-docker" if options.no_docker else "not installed"
    dnat.measure(pydns, folder, turns, with_docker, found)


def _forward(options: argparse.Namespace, pydns: str, folder: Path, turns: Turns, found: Found) -> None:
    makes = {name: forwarders.pydns_with(pydns, lane) for name, lane in peers.lanes(pydns).items()}
    makes |= {name: forwarders.MAKES[name] for name in FORWARD_PEERS if forwarders.is_here(name)}
    if options.only:
        makes = {name: make for name, make in makes.items() if name in options.only}
    _say(f"forwarding: {', '.join(makes)}")
    with Lab(folder, cores()[2], 0.0) as lab:
        results = forward_cpu.measure(lab, makes, turns.rounds, turns.seconds)
    for name, kinds in results.items():
        for kind, figures in kinds.items():
            row = Row("forward", kind, 0, name, runs=figures.runs)
            row.faults = [] if figures.is_valid else figures.faults
            found.rows.append(row)


def _say(text: str) -> None:
    print(f"{time.monotonic() - _BEGAN:5.0f} s  {text}", file=sys.stderr, flush=True)


_BEGAN = time.monotonic()


def main() -> int:
    """Measure, print Markdown, and write the JSON if asked for it; 0 when every pydns gave right answers."""
    options = parser().parse_args()
    is_root = os.geteuid() == 0
    found = Found()
    for part in [part for part in options.parts if part in NEED_ROOT and not is_root]:
        options.parts.remove(part)
        found.left_out[part] = "it needs root"
    needed = (*TOOLS, options.pydns, *(ROOT_TOOLS if {*options.parts} & {*NEED_ROOT} else ()))
    if absent := missing(needed):
        print(f"benchmarks: not installed: {', '.join(absent)} (make bench installs what it needs)", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _ended)
    pydns = str(Path(options.pydns).absolute())
    if peers.PYDNS not in peers.lanes(pydns):
        found.left_out[peers.PYDNS] = "this pydns has no compiled fast lane"
    told = machine([name for name in (*VERSIONED, "dockerd") if shutil.which(name) or name == peers.AARDVARK_NAME])
    told["pydns"] = pydns_version(pydns)
    turns = Turns(options.rounds, options.seconds, options.rates)
    has_failed = False
    weights: list[starts.Weight] = []
    results: dict[str, object] = {
        "machine": told,
        "options": {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()},
    }
    with tempfile.TemporaryDirectory(prefix="pydns-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        work: dict[str, Callable[[], None]] = {
            "names": lambda: _names_and_changes(options, pydns, folder, turns, found),
            "dnat": lambda: _dnat(options, pydns, _sub(folder, "dnat"), turns, found),
            "forward": lambda: _forward(options, pydns, _sub(folder, "forward"), turns, found),
            "starts": lambda: weights.extend(starts.measure(pydns, _sub(folder, "starts"), options.starts, is_root)),
        }
        parts = dict.fromkeys("names" if part == "changes" else part for part in PARTS if part in options.parts)
        for part in parts:
            try:
                work[part]()
            except BenchError as error:
                print(f"benchmarks: {part}: {error}", file=sys.stderr)
                found.left_out[part] = names.shortly(error)
                has_failed = True
    results["pydns"] = [weight.as_json() for weight in weights]
    results |= found.as_json()
    results["took_s"] = round(time.monotonic() - _BEGAN)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    print(markdown(results))
    return int(has_failed or not found.is_valid)


VERSIONED = ("dnsmasq", "unbound", "knotd", "nsd", "dnsdist", peers.AARDVARK_NAME, "coredns")


def _sub(folder: Path, name: str) -> Path:
    made = folder / name
    made.mkdir()
    made.chmod(0o755)
    return made


if __name__ == "__main__":
    sys.exit(main())
