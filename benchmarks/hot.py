"""What a hot answer costs beside dnsmasq, what a server weighs, and how soon it answers.

    python -m benchmarks.hot [--rounds 5] [--seconds 4] [--json FILE]

Both servers hold the same names and run at once, each on a port of its own; dnsperf drives one at a time to saturation,
in turns, so a drift of the machine's speed meets both. Where there are two cores the servers have one and dnsperf the
other. CPU is user and system time of the server's whole session from /proc; every figure is a median. Nothing is
asserted: this program tells.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.netns import Namespace

NAMES = 100
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
ANSWER_WITHIN_S = 0.1
START_WITHIN_S = 20.0
ADDRESS = "172.18.1.{}"
Probe = Callable[[], socket.socket]


class BenchError(Exception):
    """The benchmark cannot be carried out here."""


@dataclass(frozen=True, slots=True)
class Round:
    """One run of dnsperf against one server."""

    queries: int
    lost: int
    qps: float
    cpu_us: float


@dataclass(slots=True)
class Server:
    """A server under test, in a session of its own so that its helpers are counted too."""

    name: str
    command: Sequence[str]
    probe: Probe
    log: Path
    core: int | None = None
    rounds: list[Round] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start the program and return the seconds from exec to its first answer."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        with self.log.open("wb") as log:
            began = time.perf_counter()
            self.process = subprocess.Popen(
                [*_pinned(self.core), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.log.parent,
                env=environment,
                start_new_session=True,
            )
            while not _answered(self.probe):
                if self.process.poll() is not None or time.perf_counter() - began > START_WITHIN_S:
                    self.stop()
                    raise BenchError(f"{self.name} gave no answer:\n{self.log.read_text(errors='replace')[-2000:]}")
                time.sleep(0.001)
            return time.perf_counter() - began

    def stop(self) -> None:
        """End the program: SIGTERM first, SIGKILL after two seconds."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(2)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    def pids(self) -> Iterator[int]:
        """The processes of the server's session (field 6 of stat; the command before it may hold spaces)."""
        assert self.process is not None
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if int(_stat(int(entry.name))[3]) == self.process.pid:
                        yield int(entry.name)

    def cpu_s(self) -> float:
        """User and system time so far, all threads and ended children of all processes."""
        return sum(sum(map(int, _stat(pid)[11:15])) for pid in self.pids()) * TICK_S

    def memory_kb(self) -> dict[str, int]:
        """VmRSS and Pss in KB."""
        total = {"rss": 0, "pss": 0}
        for pid in self.pids():
            for kind, file, key in (("rss", "status", "VmRSS"), ("pss", "smaps_rollup", "Pss")):
                found = re.search(rf"^{key}:\s+(\d+) kB", Path(f"/proc/{pid}/{file}").read_text(), re.MULTILINE)
                total[kind] += int(found.group(1)) if found else 0
        return total


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _pinned(core: int | None) -> list[str]:
    return [] if core is None else ["taskset", "--cpu-list", str(core)]


def _query(name: str) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!6H", 0x5A5A, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 1, 1)


def _answered(probe: Probe) -> bool:
    """Send one query and say whether it is answered with an address.

    From a new socket each time: the kernel remembers where it led a socket's first packet, also one that came before
    the redirect.
    """
    with contextlib.closing(probe()) as sock, contextlib.suppress(OSError):
        sock.settimeout(ANSWER_WITHIN_S)
        sock.send(_query("n1"))
        _, flags, _, answers, _, _ = struct.unpack_from("!6H", sock.recv(512))
        return bool(flags & 0x800F == 0x8000 and answers > 0)
    return False


def _free_port() -> int:
    with socket.socket() as tcp:
        tcp.bind(("127.0.0.1", 0))
        return int(tcp.getsockname()[1])


def _udp_to(address: str, port: int) -> Probe:
    def probe() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.connect((address, port))
        return sock

    return probe


def _write_names(folder: Path) -> None:
    numbers = range(1, NAMES + 1)
    registry = ['[networks.mynet]\nsubnets = ["172.18.0.0/16"]\ngateways = ["172.18.0.1"]\n']
    registry += [f'[networks.mynet.endpoints.n{n}]\naddresses = ["{ADDRESS.format(n)}"]\n' for n in numbers]
    (folder / "networks.toml").write_text("\n".join(registry))
    (folder / "hosts").write_text("".join(f"{ADDRESS.format(n)} n{n}\n" for n in numbers))
    (folder / "queries").write_text("".join(f"n{n} A\n" for n in numbers))


def _serve(pydns: str, folder: Path, core: int | None, extra: Sequence[str] = ()) -> tuple[Server, int]:
    """A standalone pydns and the port of its metrics."""
    port, metrics = _free_port(), _free_port()
    command = [pydns, "serve", "--listen", f"127.0.0.1:{port}", "--registry", str(folder / "networks.toml")]
    command += ["--metrics", f"127.0.0.1:{metrics}", *extra]
    return Server(f"pydns:{port}", command, _udp_to("127.0.0.1", port), folder / "pydns.log", core), metrics


def _dnsmasq(folder: Path, core: int | None) -> Server:
    port = _free_port()
    command = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=", f"--port={port}"]
    command += ["--listen-address=127.0.0.1", "--bind-interfaces", "--no-resolv", "--no-hosts", "--local-ttl=600"]
    command += [f"--addn-hosts={folder / 'hosts'}"]
    return Server(f"dnsmasq:{port}", command, _udp_to("127.0.0.1", port), folder / "dnsmasq.log", core)


def _drive(server: Server, queries: Path, seconds: int, core: int | None) -> Round:
    """Saturate `server` for `seconds` and return what it cost."""
    port = server.name.rpartition(":")[2]
    command = [*_pinned(core), "dnsperf", "-s", "127.0.0.1", "-p", port, "-d", str(queries), "-l", str(seconds)]
    before = server.cpu_s()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    spent = server.cpu_s() - before

    def figure(pattern: str) -> float:
        found = re.search(pattern, done.stdout)
        if found is None:
            raise BenchError(f"dnsperf printed no {pattern!r}:\n{done.stdout}{done.stderr}")
        return float(found.group(1))

    completed = int(figure(r"Queries completed:\s+(\d+)"))
    if not completed or figure(r"NOERROR \d+ \(([\d.]+)%\)") < 100:
        raise BenchError(f"{server.name} did not answer every name:\n{done.stdout}")
    lost = int(figure(r"Queries lost:\s+(\d+)"))
    return Round(completed, lost, figure(r"Queries per second:\s+([\d.]+)"), spent / completed * 1e6)


def hot(pydns: str, folder: Path, rounds: int, seconds: int) -> dict[str, object]:
    """CPU of a hot answer, pydns and dnsmasq in turns."""
    cores = sorted(os.sched_getaffinity(0))
    server_core, client_core = (cores[0], cores[1]) if len(cores) > 1 else (None, None)
    servers = [_serve(pydns, folder, server_core)[0], _dnsmasq(folder, server_core)]
    try:
        for server in servers:
            server.start()
        for number in range(rounds):
            for server in servers[:: 1 if number % 2 == 0 else -1]:
                server.rounds.append(_drive(server, folder / "queries", seconds, client_core))
    finally:
        for server in servers:
            server.stop()
    result: dict[str, object] = {"rounds": rounds, "seconds": seconds, "pinned": server_core is not None}
    print(f"hot answers over UDP, {rounds} rounds of {seconds} s, {NAMES} names")
    print(f"  {'':9} {'µs CPU/query':>13} {'queries/s':>10} {'lost':>6}")
    for server in servers:
        name = server.name.partition(":")[0]
        cpu, qps = median(r.cpu_us for r in server.rounds), median(r.qps for r in server.rounds)
        lost = sum(r.lost for r in server.rounds)
        print(f"  {name:9} {cpu:13.2f} {qps:10,.0f} {lost:6}")
        each = [round(r.cpu_us, 3) for r in server.rounds]
        result[name] = {"cpu_us": round(cpu, 3), "qps": round(qps), "lost": lost, "cpu_us_by_round": each}
    ratio = median(ours.cpu_us / theirs.cpu_us for ours, theirs in zip(*(s.rounds for s in servers), strict=True))
    print(f"  pydns costs {ratio:.2f} × dnsmasq (median of the rounds' ratios)")
    return result | {"ratio": round(ratio, 3)}


def weigh(kind: str, make: Callable[[], tuple[Server, str]], starts: int) -> dict[str, object]:
    """Exec to first answer, and the memory of the last start before and after a scrape."""
    times_ms: list[float] = []
    first: dict[str, int] = {}
    scraped: dict[str, int] = {}
    for number in range(starts + 1):  # one more, uncounted, that leaves byte code and a warm page cache
        server, metrics = make()
        try:
            seconds = server.start()
            if number:
                times_ms.append(seconds * 1e3)
            if number == starts:
                first = server.memory_kb()
                with urllib.request.urlopen(metrics, timeout=5) as page:
                    page.read()
                scraped = server.memory_kb()
        finally:
            server.stop()
    print(f"{kind}: exec to first answer {median(times_ms):.0f} ms (median of {starts}, {min(times_ms):.0f}", end="")
    print(f"–{max(times_ms):.0f}); MB after it: RSS {first['rss'] / 1024:.1f}, Pss {first['pss'] / 1024:.1f}", end="")
    print(f"; after a scrape: RSS {scraped['rss'] / 1024:.1f}, Pss {scraped['pss'] / 1024:.1f}")
    times = {"median_ms": round(median(times_ms), 1), "each_ms": [round(each, 1) for each in times_ms]}
    return {"first_answer": times, "kb_after_first_answer": first, "kb_after_scrape": scraped}


def _sidecar(pydns: str, folder: Path, namespace: Namespace) -> tuple[Server, str]:
    metrics = f"127.0.0.1:{_free_port()}"
    command = [pydns, "sidecar", "--netns", namespace.name, "--network", "mynet", "--no-resolv-conf"]
    command += ["--registry", str(folder / "networks.toml"), "--metrics", metrics]

    def probe() -> socket.socket:
        return namespace.inside(_udp_to("127.0.0.11", 53))

    return Server("sidecar", command, probe, folder / "sidecar.log"), f"http://{metrics}/metrics"


def _standalone(pydns: str, folder: Path) -> tuple[Server, str]:
    server, metrics = _serve(pydns, folder, None)
    return server, f"http://127.0.0.1:{metrics}/metrics"


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def _machine() -> dict[str, object]:
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    commit = _git("rev-parse", "HEAD") + ("" if _git("status", "--porcelain") in ("", "unknown") else " + changes")
    dnsmasq = subprocess.run(["dnsmasq", "--version"], capture_output=True, text=True, check=False).stdout
    return {
        "cpu": cpu.group(1) if cpu else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "dnsmasq": (dnsmasq.split() + ["unknown"] * 3)[2],
        "commit": commit,
    }


def main() -> int:
    """Measure, print, and write the JSON if asked for it; 0 when everything could be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each server (5)")
    parser.add_argument("--seconds", type=int, default=4, help="length of one turn (4)")
    parser.add_argument("--starts", type=int, default=7, help="starts that are timed (7)")
    parser.add_argument("--pydns", default=str(Path(sys.executable).with_name("pydns")), help="the program to measure")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args()
    missing = [tool for tool in ("dnsperf", "dnsmasq", "taskset", options.pydns) if shutil.which(tool) is None]
    if missing:
        print(f"benchmarks.hot: not here: {', '.join(missing)} (make bench installs what it needs)", file=sys.stderr)
        return 2
    pydns = str(Path(options.pydns).absolute())
    results: dict[str, object] = {"machine": _machine()}
    print(", ".join(f"{key} {value}" for key, value in _machine().items()))
    try:
        with tempfile.TemporaryDirectory(prefix="pydns-bench-") as name:
            folder = Path(name)
            folder.chmod(0o755)
            _write_names(folder)
            results["hot"] = hot(pydns, folder, options.rounds, options.seconds)
            results["serve"] = weigh("serve", lambda: _standalone(pydns, folder), options.starts)
            if os.geteuid() == 0:
                with Namespace() as namespace:
                    make = lambda: _sidecar(pydns, folder, namespace)  # noqa: E731
                    results["sidecar"] = weigh("sidecar", make, options.starts)
            else:
                print("sidecar: not measured, it needs root")
    except BenchError as error:
        print(f"benchmarks.hot: {error}", file=sys.stderr)
        return 1
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
