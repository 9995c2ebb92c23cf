"""A few namespaces without wires and an agent over them, for tests; gone at the end, by exact name.

The agent's host is this machine, but nothing leaves it: the registry answers, and the upstreams are on loopback.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.netns.world import Process, Sidecar, wait_until

PYDNS = os.environ.get("PYDNS_PROGRAM", str(Path(sys.executable).with_name("pydns")))
_HTTP = re.compile(r"metrics at (http://\S+)/metrics")


class Agent(Sidecar):
    """A running `pydns agent`."""

    def get(self, path: str) -> str:
        """What its HTTP listener says at a path."""
        found = _HTTP.search(self.stderr_text())
        assert found, self.stderr_text()
        with urllib.request.urlopen(found[1] + path, timeout=10) as response:
            text: str = response.read().decode()
        return text

    def states(self) -> dict[str, str]:
        """How far each namespace has come, by its label."""
        return {row["namespace"]: row["state"] for row in json.loads(self.get("/agent"))}

    def reason(self, label: str) -> str:
        """Why a namespace has come no further."""
        (row,) = [row for row in json.loads(self.get("/agent")) if row["namespace"] == label]
        reason: str = row["reason"]
        return reason

    def metric(self, name: str) -> float:
        """One reading without labels."""
        found = re.search(rf"^{name} (\S+)$", self.get("/metrics"), re.MULTILINE)
        assert found, name
        return float(found[1])


class Fleet:
    """Namespaces by short names, a registry, agents."""

    def __init__(self) -> None:
        self.prefix = f"pyf{os.getpid()}x{secrets.token_hex(2)}-"
        self.tmp = Path(tempfile.gettempdir()) / self.prefix.rstrip("-")
        self._serial = itertools.count()
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.tmp.mkdir()
        self._undo.callback(shutil.rmtree, self.tmp, ignore_errors=True)
        self.registry = self.tmp / "networks.toml"
        self.resolv_conf = self.tmp / "resolv.conf"
        self.resolv_conf.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        self.register({})
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def full(self, name: str) -> str:
        """The name in /run/netns."""
        return self.prefix + name

    def add(self, *names: str) -> None:
        """Make namespaces."""
        for name in names:
            self._undo.callback(shutil.rmtree, Path("/etc/netns") / self.full(name), ignore_errors=True)
            self._undo.callback(self._delete, name)
            subprocess.run(["ip", "netns", "add", self.full(name)], check=True)

    def delete(self, name: str) -> None:
        """Take a namespace away now."""
        subprocess.run(["ip", "netns", "delete", self.full(name)], check=True)

    def _delete(self, name: str) -> None:
        if Path("/run/netns", self.full(name)).exists():
            self.delete(name)

    def register(self, networks: Mapping[str, Sequence[str]]) -> None:
        """Write the registry: by network, the containers on it; the third number of an address is the network's."""
        lines: list[str] = []
        for number, (network, members) in enumerate(networks.items(), 1):
            lines.append(f'[networks.{network}]\nsubnets = ["10.77.{number}.0/24"]\n')
            for index, member in enumerate(members, 1):
                lines.append(f'[networks.{network}.endpoints."{self.full(member)}"]')
                lines.append(f'addresses = ["10.77.{number}.{index}"]\naliases = ["{member}"]\n')
        fresh = self.registry.with_suffix(".new")
        fresh.write_text("\n".join(lines) or "[networks]\n")
        fresh.replace(self.registry)

    def config(self, text: str = "") -> Path:
        """A configuration with this registry, and ``text`` after it."""
        path = self.tmp / f"pydns-{next(self._serial)}.toml"
        path.write_text(
            f'[registry]\nfiles = ["{self.registry}"]\n[forward]\nresolv_conf = "{self.resolv_conf}"\n'
            f'[metrics]\nlisten = "127.0.0.1:0"\n{text}'
        )
        return path

    def launch(self, *flags: str, config: Path | None = None, path: str | None = None) -> Agent:
        """Start an agent and do not wait for it; without a configuration it takes every namespace of the fleet."""
        if config is None:
            config = self.config()
            flags = ("--netns", f"{self.prefix}*", *flags)
        environment = [f"PATH={path}:{os.environ['PATH']}"] if path is not None else []
        environment.append(f"RUNTIME_DIRECTORY={self.tmp / 'run'}")
        command = ["env", *environment, "setpriv", "--pdeathsig", "TERM", PYDNS, "agent", "-c", str(config), *flags]
        agent = Agent(command, self.tmp / f"agent-{next(self._serial)}")
        self._undo.callback(agent.end)
        return agent

    def agent(self, *flags: str, config: Path | None = None) -> Agent:
        """Start an agent and wait until it is ready."""
        agent = self.launch(*flags, config=config)
        agent.wait_ready()
        return agent

    def inside(self, name: str, *command: str, check: bool = True) -> str:
        """What a program prints in a namespace's network."""
        done = subprocess.run(
            ["nsenter", f"--net=/run/netns/{self.full(name)}", *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0 or not check, (command, done.stderr)
        return done.stdout

    def start_inside(self, name: str, *command: str) -> Process:
        """Start a program in a namespace's network; it ends with the fleet at the latest."""
        argv = ["nsenter", f"--net=/run/netns/{self.full(name)}", "setpriv", "--pdeathsig", "TERM", *command]
        process = Process(argv, self.tmp / f"process-{next(self._serial)}")
        self._undo.callback(process.end)
        return process

    def ask(self, name: str, question: str) -> list[str]:
        """The addresses that a program in the namespace gets for a name; none, too, when nobody answers."""
        command = ("dig", "+short", "+tries=1", "+time=2", "@127.0.0.11", question)
        return [line for line in self.inside(name, *command, check=False).splitlines() if line[:1].isdigit()]

    def wait_for(self, name: str, question: str, *addresses: str, within_s: float = 10.0) -> float:
        """The seconds until that is the answer."""
        what = f"{question} is {addresses} in {name}"
        return wait_until(lambda: self.ask(name, question) == list(addresses), within_s, what)

    def rules(self, name: str) -> str:
        """Every rule of the namespace."""
        return self.inside(name, "nft", "-s", "list", "ruleset") + self.inside(
            name, "iptables-legacy", "-t", "nat", "-S"
        )

    def resolv_conf_of(self, name: str) -> Path:
        """The file that `ip netns exec` shows in the namespace as /etc/resolv.conf."""
        return Path("/etc/netns") / self.full(name) / "resolv.conf"


def rows_of(agent: Agent) -> list[dict[str, Any]]:
    """Everything that the agent tells of its namespaces."""
    rows: list[dict[str, Any]] = json.loads(agent.get("/agent"))
    return rows
