"""Gateways that the daemon does not name of a network: those of its containers, or the first of its addresses."""

from __future__ import annotations

from tests.unit.sources.docker.recordings import container, network, place, whole_id
from tests.unit.sources.docker.test_inventory import addresses, inventory, nets


def test_host_gateway_stays_the_same_when_nobody_names_the_bridges_gateway() -> None:
    """Docker before 26 names none until a container has run there."""
    asker = container(
        "asker", {"mynet": place("mynet", "172.30.0.2")}, host_config={"ExtraHosts": ["gate:host-gateway"]}
    )
    config = [{"Subnet": "172.17.0.0/16"}, {"Subnet": "fd00:17::/64"}]
    bridge = network("bridge", IPAM={"Config": config})
    made = inventory([network("mynet"), bridge], [asker])
    on_bridge = container("first", {"bridge": place("bridge", "172.17.0.2", Gateway="172.17.0.1")})
    seen = [addresses(made, "gate", ["mynet"], "asker")]
    for change in (lambda: made.put_container(on_bridge), lambda: made.drop_container(whole_id("first"))):
        change()
        made.publish()
        seen.append(addresses(made, "gate", ["mynet"], "asker"))
    assert seen == [{"172.17.0.1"}] * 3


def test_a_gateway_that_a_container_has_named_stays_when_it_leaves() -> None:
    asker = container(
        "asker", {"mynet": place("mynet", "172.30.0.2")}, host_config={"ExtraHosts": ["gate:host-gateway"]}
    )
    bridge = network("bridge", IPAM={"Config": [{"Subnet": "172.17.0.0/16"}]})
    made = inventory([network("mynet"), bridge], [asker], serve_default_bridge=True)
    other = container("first", {"bridge": place("bridge", "172.17.0.2", Gateway="172.17.0.254", IPv6Gateway="fd00::1")})
    made.put_container(other)
    made.publish()
    assert addresses(made, "gate", ["mynet"], "asker") == {"172.17.0.254"}
    assert [str(found) for found in nets(made)["bridge"].gateways] == ["172.17.0.254", "fd00::1"]
    made.drop_container(whole_id("first"))
    made.publish()
    assert addresses(made, "gate", ["mynet"], "asker") == {"172.17.0.254"}
    made.put_network(network("bridge", IPAM={"Config": [{"Subnet": "172.20.0.0/16"}]}))  # another docker0
    made.publish()
    assert addresses(made, "gate", ["mynet"], "asker") == {"172.20.0.1"}
