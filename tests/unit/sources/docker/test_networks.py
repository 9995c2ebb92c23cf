"""One network of the API, and a swarm's services."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from resolver.sources.docker.networks import Kind, Net, Service, Task, read_network
from tests.unit.sources.docker.recordings import docker, network, podman


def read(raw: object) -> tuple[Net, list[str]]:
    found, faults = read_network(raw, "docker")
    assert found is not None
    return found, [str(fault) for fault in faults]


def test_recorded_ones() -> None:
    found = {net.name: net for net, faults in map(read, docker()["networks"]) if not faults}
    assert {name: net.kind for name, net in found.items()} == {
        "bridge": Kind.DEFAULT,
        "host": Kind.NONE,
        "none": Kind.NONE,
        "mynet": Kind.USER,
        "other": Kind.USER,
        "intnet": Kind.USER,
        "v6net": Kind.USER,
    }
    assert found["intnet"].is_internal
    assert not found["mynet"].is_internal
    assert found["v6net"].subnets == (ip_network("172.21.0.0/16"), ip_network("fd00:dead:beef::/64"))
    assert found["mynet"].gateways == (ip_address("172.18.0.1"),)
    assert {net.name: net.kind for net in (read(raw)[0] for raw in podman()["networks"])}["bridge"] is Kind.DEFAULT


def test_swarms() -> None:
    recorded = docker()
    kinds = {net.name: (net.kind, net.scope) for net in (read(raw)[0] for raw in recorded["swarm_networks"])}
    assert kinds["ingress"][0] is Kind.NONE
    assert kinds["ov"] == (Kind.USER, "swarm")
    overlay, faults = read(recorded["overlay"])
    tasks = (
        Task("svc.1.k73m874ctk7eef2f0s9gm7qh6", ip_address("10.0.1.3")),
        Task("svc.2.1vv9pn4fesk3c9h29rhirrf6t", ip_address("10.0.1.4")),
    )
    assert overlay.services == (Service("svc", ip_address("10.0.1.2"), tasks),)
    assert faults == []


def test_round_robin_services_and_containers_of_other_nodes() -> None:
    services = {
        "rr": {"VIP": "<nil>", "Tasks": [{"Name": "rr.1.x", "EndpointIP": "10.0.1.7"}]},
        "": {
            "VIP": "<nil>",
            "Tasks": [{"Name": "ov-endpoint", "EndpointIP": "10.0.1.5"}, {"Name": "far", "EndpointIP": "10.0.1.8"}],
        },
        "empty": {"VIP": "", "Tasks": None},
    }
    found, faults = read(network("ov", Scope="swarm", Services=services))
    assert found.services == (
        Service("rr", None, (Task("rr.1.x", ip_address("10.0.1.7")),)),
        Service("", None, (Task("far", ip_address("10.0.1.8")),)),
    )
    assert faults == []


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"IPAM": {"Config": [{"Subnet": "172.30.0.0/99"}]}}, "'172.30.0.0/99' is not a subnet"),
        ({"IPAM": {"Config": [{"Gateway": "here"}]}}, "'here' is not an IPv4 or IPv6 address"),
        ({"Labels": {"pydns.ttl": "x"}}, "'x' is no TTL"),
        ({"Services": {"a b": {"VIP": "10.0.0.1"}}}, "'a b' has a space"),
        ({"Services": {"a": {"VIP": "nowhere"}}}, "'nowhere' is not an IPv4 or IPv6 address"),
        ({"Services": {"a": {"Tasks": [{"Name": "", "EndpointIP": "10.0.0.1"}]}}}, "a name may not be empty"),
    ],
)
def test_what_makes_no_sense_is_left_out_with_one_line(keys: dict[str, object], said: str) -> None:
    _, faults = read(network("mynet") | keys)
    (fault,) = faults
    assert fault.startswith("docker: warning: network mynet.")
    assert said in fault


@pytest.mark.parametrize("raw", [None, 7, [], {}, {"Name": "x"}, {"Id": "x"}, {"Name": 1, "Id": 2}])
def test_what_is_no_network(raw: object) -> None:
    found, faults = read_network(raw, "docker")
    assert found is None
    assert "it has no Name or no Id" in str(faults[0])


def test_labels_of_a_network() -> None:
    found, _ = read(network("mynet", Labels={"pydns.ttl": "5", "pydns.ignore": "true"}))
    assert (found.marks.ttl, found.marks.is_ignored) == (5, True)
