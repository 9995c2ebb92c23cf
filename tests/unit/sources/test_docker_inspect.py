"""JSON of ``docker network inspect``, fed as it is."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from resolver.registry.model import Network
from resolver.sources.docker_inspect import read

ID = "492ba8a9277d96876f0a605d9434723aed774978a40023e778a97815216754f0"
MYNET: dict[str, Any] = {
    "Name": "mynet",
    "Id": "7d86d31b1478e7cca9ebed7e73aa0fdeec46c5ca29497431d3007d2d9e15ed99",
    "Created": "2024-01-01T00:00:00.000000000Z",
    "Scope": "local",
    "Driver": "bridge",
    "EnableIPv6": True,
    "IPAM": {
        "Driver": "default",
        "Options": {},
        "Config": [
            {"Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1"},
            {"Subnet": "fd00:18::/64", "Gateway": "fd00:18::1/64"},
        ],
    },
    "Internal": False,
    "Attachable": False,
    "Ingress": False,
    "ConfigFrom": {"Network": ""},
    "ConfigOnly": False,
    "Containers": {
        ID: {
            "Name": "db",
            "EndpointID": "ab",
            "MacAddress": "02:42:ac:12:00:02",
            "IPv4Address": "172.18.0.2/16",
            "IPv6Address": "fd00:18::2/64",
        }
    },
    "Options": {},
    "Labels": {},
}


def told(document: object) -> tuple[list[Network] | None, list[str]]:
    loaded = read(document if isinstance(document, str) else json.dumps(document), "net.json")
    networks = None if loaded.contribution is None else list(loaded.contribution.networks)
    return networks, [str(fault) for fault in loaded.faults]


def changed(**keys: object) -> dict[str, Any]:
    return {**copy.deepcopy(MYNET), **keys}


def with_container(**keys: object) -> dict[str, Any]:
    return changed(
        Containers={"0123456789ab": {"Name": "web", "IPv4Address": "172.18.0.3/16", **keys}, **MYNET["Containers"]}
    )


@pytest.mark.parametrize("document", [[MYNET], MYNET])
def test_a_list_or_one_object_is_taken(document: object) -> None:
    networks, faults = told(document)

    assert networks is not None
    (network,) = networks
    (db,) = network.endpoints
    assert ("mynet", ["172.18.0.0/16", "fd00:18::/64"]) == (network.name, list(map(str, network.subnets)))
    assert ["172.18.0.1", "fd00:18::1"] == list(map(str, network.gateways))
    assert ("db", ["172.18.0.2", "fd00:18::2"]) == (db.name, list(map(str, db.addresses)))
    assert (("db", "492ba8a9277d"), [], False) == (db.dns_names(), faults, network.internal)


def test_an_internal_network_is_internal() -> None:
    networks, _ = told(changed(Internal=True))

    assert networks is not None
    assert networks[0].internal


@pytest.mark.parametrize("keys", [{"Containers": {}}, {"Containers": None}, {"IPAM": None}, {"IPAM": {"Config": None}}])
def test_what_docker_leaves_empty_is_empty(keys: dict[str, object]) -> None:
    """The networks host and none have neither."""
    networks, faults = told(changed(**keys))

    assert (1, []) == (len(networks or ()), faults)


@pytest.mark.parametrize(
    ("keys", "warning"),
    [
        ({"Name": ""}, "a name may not be empty; left out"),
        ({"Name": None}, "a name may not be empty; left out"),
        ({"Name": "a b"}, "'a b' has a space, a backslash or a control character; left out"),
        ({"IPv4Address": ""}, "'web' has no address (not running, or in host mode); left out"),
        ({"IPv4Address": "x/16"}, "'x' is not an IPv4 or IPv6 address; left out"),
        ({"IPv4Address": "10.0.0.1/8"}, "10.0.0.1 of 'web' is outside the network's subnets; left out"),
    ],
)
def test_a_container_that_makes_no_sense_is_left_out_with_a_warning(keys: dict[str, object], warning: str) -> None:
    networks, faults = told(with_container(**keys))

    assert networks is not None
    assert ["db"] == [endpoint.name for endpoint in networks[0].endpoints]
    assert [f"net.json: warning: mynet.Containers.0123456789ab: {warning}"] == faults


def test_an_endpoint_that_is_no_container_has_no_short_id() -> None:
    """Swarm lists its own, such as lb-mynet and ep-….."""
    networks, _ = told(changed(Containers={"lb-mynet": {"Name": "mynet-endpoint", "IPv4Address": "172.18.0.9/16"}}))

    assert networks is not None
    assert ("mynet-endpoint",) == networks[0].endpoints[0].dns_names()


@pytest.mark.parametrize("name", ["my net", "", ".", "netz-ü", "n" * 64, "*"])
def test_a_network_that_cannot_be_a_dns_name_is_left_out_with_a_warning(name: str) -> None:
    """Docker lets networks be called almost anything."""
    networks, faults = told([changed(Name=name), MYNET])

    assert networks is not None
    assert ["mynet"] == [network.name for network in networks]
    assert 1 == len(faults)
    assert faults[0].startswith("net.json: warning: ")


def test_a_second_network_of_one_name_is_left_out_with_a_warning() -> None:
    """Docker tells them apart by id; joined they would see each other's names."""
    networks, faults = told([MYNET, changed(Id="x", Containers={})])

    assert networks is not None
    assert [1] == [len(network.endpoints) for network in networks]
    assert ["net.json: warning: mynet: this name is in the file already; left out"] == faults


def test_a_subnet_that_is_none_is_left_out_with_a_warning() -> None:
    networks, faults = told(changed(IPAM={"Config": [{"Subnet": "x", "Gateway": "y"}, {"Subnet": "172.18.0.0/16"}]}))

    assert networks is not None
    assert [] == list(networks[0].gateways)
    assert [
        "net.json: warning: mynet.IPAM.Config: 'x' is not a subnet; left out",
        "net.json: warning: mynet.IPAM.Config: 'y' is not an IPv4 or IPv6 address; left out",
        "net.json: warning: mynet.Containers.492ba8a9277d: "
        "fd00:18::2 of 'db' is outside the network's subnets; left out",
    ] == faults


@pytest.mark.parametrize("item", [5, "x", None, {}, {"Name": 5}, {"Name": "/db", "NetworkSettings": {}}])
def test_what_is_no_network_refuses_the_file(item: object) -> None:
    """Most of all the output of `docker inspect CONTAINER`."""
    networks, faults = told([MYNET, item])

    assert networks is None
    assert [
        "net.json: [1]: this is not a network as docker network inspect prints it"
        " (feed it the output of: docker network inspect NETWORK…)"
    ] == faults


def test_what_is_not_json_has_its_line() -> None:
    networks, faults = told('[\n  {"Name": "mynet",\n}]')

    assert networks is None
    assert 1 == len(faults)
    assert faults[0].startswith("net.json:3: not JSON: ")


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000])
def test_what_the_parser_chokes_on_is_a_fault(text: str) -> None:
    networks, faults = told(text)

    assert (None, 1) == (networks, len(faults))


@pytest.mark.parametrize("extra", ['"Driver": "host"', '"Driver": "null"', '"ConfigOnly": true'])
def test_networks_that_hold_nobody_are_passed_over(extra: str) -> None:
    """docker lists host and none too; as names of ours they would hide public ones."""
    loaded = read(f'[{{"Name": "host", {extra}}}, {{"Name": "mynet"}}]', "n.json")

    assert loaded.contribution is not None
    assert ["mynet"] == [network.name for network in loaded.contribution.networks]
    assert () == loaded.faults
