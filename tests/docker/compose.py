"""Runs a compose file of deploy/ without compose, which Debian's docker does not have: each service by `docker run`.

Only the keys that those files use, in the meaning of the compose specification; any other is an error, so that nothing
in them goes untested. Names, labels and networks are those that compose gives.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.docker.daemon import DOCKER, Daemon, DaemonError
from tests.docker.image import BASE

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy" / "compose"
IMAGE = "pydns-test/pydns"
BUILT_WITHIN_S = 280.0
"""A whole Debian is fetched where it is not at hand; else it takes some ten seconds."""

_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
_LISTED: dict[str, Callable[[str], list[str]]] = {
    "cap_add": lambda value: ["--cap-add", value],
    "cap_drop": lambda value: ["--cap-drop", value],
    "group_add": lambda value: ["--group-add", value],
    "ports": lambda value: ["--publish", value],
    "security_opt": lambda value: ["--security-opt", value],
}
_PLAIN: dict[str, Callable[[str], list[str]]] = {
    "pid": lambda value: ["--pid", value],
    "restart": lambda value: ["--restart", value],
    "user": lambda value: ["--user", value],
}
_ELSEWHERE = {"build", "command", "container_name", "depends_on", "image", "network_mode", "read_only", "volumes"}


class ComposeError(Exception):
    """The file has something that is not understood here, or wants a variable that has no value."""


def build(daemon: Daemon, tag: str = IMAGE, *, buildkit: bool = False) -> str:
    """Build the image in the daemon, which has no network, with whatever that takes made ready; returns the tag."""
    environment = {
        **os.environ,
        "DOCKER": DOCKER,
        "DOCKER_HOST": daemon.url,
        "DOCKER_CONFIG": str(daemon.folder / "client"),
        "DOCKER_BUILDKIT": str(int(buildkit)),
    }
    command = [str(ROOT / "tools" / "image.sh"), "build", tag]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=BUILT_WITHIN_S, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise DaemonError(f"{tag} was not built within {BUILT_WITHIN_S:g} s; so far: {exc.stdout!r}") from exc
    if done.returncode != 0:
        raise DaemonError(f"{tag} was not built:\n{done.stdout}\n{done.stderr}")
    return tag


def says(daemon: Daemon, container: str) -> str:
    """Everything that a container has written so far."""
    command = [DOCKER, "--host", daemon.url, "logs", container]
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30, check=True
    ).stdout


def variables(daemon: Daemon, image: str = IMAGE) -> dict[str, str]:
    """What the files want to know, for this daemon."""
    return {
        "PYDNS_IMAGE": image,
        "APP_IMAGE": BASE,
        "DOCKER_SOCKET": str(daemon.socket_path),
        "DOCKER_GID": str(daemon.socket_path.stat().st_gid),
    }


def load(path: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """The services of a file, with the variables filled in (``${NAME}``, ``${NAME:-default}``, ``${NAME:?}``)."""

    def value(found: re.Match[str]) -> str:
        name, kind, rest = found.groups()
        if environment.get(name):
            return environment[name]
        if kind == "-":
            return str(rest)
        raise ComposeError(f"{path}: {name} has no value")

    def filled(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: filled(each) for key, each in node.items()}
        if isinstance(node, list):
            return [filled(each) for each in node]
        return _VARIABLE.sub(value, node) if isinstance(node, str) else node

    document = yaml.safe_load(path.read_text())
    if set(document) != {"services"}:
        raise ComposeError(f"{path}: {sorted(document)} in place of services alone")
    services: dict[str, Any] = filled(document["services"])
    return services


class Project:
    """The services of a file as containers: `docker compose -p NAME -f FILE up`.

    At the end the daemon is emptied, of what a test has laid beside them too.
    """

    def __init__(self, daemon: Daemon, path: Path, environment: Mapping[str, str], name: str) -> None:
        self._daemon = daemon
        self._path = path
        self.name = name
        self.services = load(path, environment)
        self._has_network = any("network_mode" not in service for service in self.services.values())

    @property
    def network(self) -> str:
        """The network that compose makes for services that name none."""
        return f"{self.name}_default"

    def container(self, service: str) -> str:
        """What the container of a service is called."""
        return str(self.services[service].get("container_name", f"{self.name}-{service}-1"))

    def __enter__(self) -> Self:
        if self._has_network:
            self._daemon.docker("network", "create", self.network)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._daemon.clear()

    def up(self, *services: str) -> None:
        """Start these services, or all in the order of the file."""
        for service in services or self.services:
            self._daemon.docker("run", "--detach", *self.arguments(service))

    def arguments(self, service: str) -> list[str]:
        """What `docker run` is to be told for a service, from the name on."""
        spec = self.services[service]
        if unknown := set(spec) - _ELSEWHERE - set(_LISTED) - set(_PLAIN):
            raise ComposeError(
                f"{self._path}: {service} has {', '.join(sorted(unknown))}, which is not understood here"
            )
        said = ["--name", self.container(service)]
        said += [
            "--label",
            f"com.docker.compose.project={self.name}",
            "--label",
            f"com.docker.compose.service={service}",
        ]
        said += self._network(service, spec.get("network_mode"))
        for key, options in _PLAIN.items():
            said += options(str(spec[key])) if key in spec else []
        for key, options in _LISTED.items():
            said += [word for value in spec.get(key, ()) for word in options(str(value))]
        for volume in spec.get("volumes", ()):
            source, rest = volume.split(":", 1)
            absolute = (self._path.parent / source).resolve() if source.startswith(".") else source
            said += ["--volume", f"{absolute}:{rest}"]
        if spec.get("read_only"):
            said.append("--read-only")
        command = spec.get("command", [])
        return [*said, spec["image"], *(shlex.split(command) if isinstance(command, str) else map(str, command))]

    def _network(self, service: str, mode: str | None) -> list[str]:
        if mode is None:
            return ["--network", self.network, "--network-alias", service]
        if mode.startswith("service:"):
            return ["--network", f"container:{self.container(mode.removeprefix('service:'))}"]
        return ["--network", mode]
