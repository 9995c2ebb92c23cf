"""Answers of real daemons (recorded/README.md), and new ones in their shape."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

Json = dict[str, Any]

FOLDER = Path(__file__).with_name("recorded")


@cache
def _file(name: str) -> str:
    return (FOLDER / name).read_text()


def docker() -> Json:
    """What Docker 20.10 said; the caller's own copy."""
    return dict(json.loads(_file("docker-20.10.json")))


def podman() -> Json:
    """What Podman 4.3 said; the caller's own copy."""
    return dict(json.loads(_file("podman-4.3.json")))


@cache
def _templates() -> tuple[Json, Json]:
    recorded = docker()
    container = recorded["containers"]["db2"]
    network = next(network for network in recorded["networks"] if network["Name"] == "mynet")
    return container, network


def whole_id(name: str) -> str:
    """64 hex digits that differ from name to name."""
    return name.encode().hex().ljust(64, "0")[-64:]


def network(name: str, subnet: str = "172.30.0.0/16", gateway: str = "172.30.0.1", **keys: object) -> Json:
    """A network as GET /networks has it; keys replace the recorded ones."""
    made = copy.deepcopy(_templates()[1])
    made.update({"Name": name, "Id": whole_id(f"net {name}"), "Containers": {}})
    made["IPAM"]["Config"] = [{"Subnet": subnet, "Gateway": gateway}]
    made.update(keys)
    return made


def place(network: str, address: str = "", *aliases: str, **keys: object) -> Json:
    """One value of NetworkSettings.Networks."""
    made = copy.deepcopy(_templates()[0]["NetworkSettings"]["Networks"]["mynet"])
    made.update(
        {
            "NetworkID": whole_id(f"net {network}"),
            "EndpointID": whole_id(f"{network} {address}"),
            "IPAddress": address,
            "Gateway": "",
            "Aliases": list(aliases) or None,
        }
    )
    made.update(keys)
    return dict(made)


def container(
    name: str,
    networks: Mapping[str, Json] | None = None,
    *,
    labels: Mapping[str, str] | None = None,
    host_config: Mapping[str, object] | None = None,
    config: Mapping[str, object] | None = None,
    state: Mapping[str, object] | None = None,
    health: str = "",
) -> Json:
    """A running container as GET /containers/{id}/json has it."""
    made = copy.deepcopy(_templates()[0])
    container_id = whole_id(name)
    made.update({"Id": container_id, "Name": f"/{name}"})
    made["State"].update(state or {})
    if health:
        made["State"]["Health"] = {"Status": health, "FailingStreak": 0, "Log": []}
    made["Config"].update({"Hostname": container_id[:12], "Labels": dict(labels or {}), "ExposedPorts": None})
    made["Config"].update(config or {})
    made["HostConfig"].update({"NetworkMode": next(iter(networks or {}), "none")})
    made["HostConfig"].update(host_config or {})
    made["NetworkSettings"].update({"Networks": dict(networks or {}), "Ports": {}})
    for attached in made["NetworkSettings"]["Networks"].values():
        attached["Aliases"] = [*(attached["Aliases"] or ()), container_id[:12]]
    return made


def listed(inspected: Mapping[str, Any]) -> Json:
    """The entry that GET /containers/json has of an inspected container."""
    health = inspected["State"].get("Health", {}).get("Status", "")
    words = {"healthy": " (healthy)", "unhealthy": " (unhealthy)", "starting": " (health: starting)"}
    networks = copy.deepcopy(inspected["NetworkSettings"]["Networks"])
    for attached in networks.values():
        attached["Aliases"] = None
    return {
        "Id": inspected["Id"],
        "Names": [inspected["Name"]],
        "Image": inspected["Config"]["Image"],
        "ImageID": inspected["Image"],
        "Command": "sleep infinity",
        "Created": 1795269508,
        "Ports": [],
        "Labels": inspected["Config"]["Labels"],
        "State": inspected["State"]["Status"],
        "Status": f"Up 2 seconds{words.get(health, '')}",
        "HostConfig": {"NetworkMode": inspected["HostConfig"]["NetworkMode"]},
        "NetworkSettings": {"Networks": networks},
        "Mounts": [],
    }


def event(what: str, action: str, actor: str, attributes: Mapping[str, str] | None = None, **keys: object) -> Json:
    """One line of GET /events."""
    return {
        "Type": what,
        "Action": action,
        "Actor": {"ID": actor, "Attributes": dict(attributes or {})},
        "scope": "local",
        "time": 1795269508,
        "timeNano": 1795269508362499112,
        **keys,
    }


def of_container(action: str, name: str, **attributes: str) -> Json:
    """An event of a container."""
    container_id = whole_id(name)
    return event("container", action, container_id, {"name": name, **attributes}, status=action, id=container_id)


def of_network(action: str, name: str, container: str = "") -> Json:
    """An event of a network."""
    attributes = {"name": name, "type": "bridge"} | ({"container": whole_id(container)} if container else {})
    return event("network", action, whole_id(f"net {name}"), attributes)


def many(count: int, per_network: int = 100) -> tuple[list[Json], list[Json]]:
    """Networks and containers on them."""
    networks, containers = [], []
    for number in range(count):
        index, host = divmod(number, per_network)
        name = f"bulk{index}"
        if host == 0:
            networks.append(network(name, f"10.{index}.0.0/16", f"10.{index}.0.1"))
        address = f"10.{index}.{host // 250 + 1}.{host % 250 + 1}"
        containers.append(
            container(
                f"c{number}",
                {name: place(name, address, f"alias{number}")},
                labels={"com.docker.compose.project": name, "com.docker.compose.service": f"s{number % 7}"},
            )
        )
    return networks, containers


def without(names: Sequence[str], raw: Mapping[str, Any]) -> Json:
    """An object without some of its keys."""
    return {key: value for key, value in raw.items() if key not in names}
