"""One container of the API: recorded ones, newer ones, and ones that make no sense."""

from __future__ import annotations

import copy
from ipaddress import ip_address
from typing import Any

import pytest

from resolver.registry.model import Port
from resolver.sources.docker.containers import Container, fingerprint_of_listed, read_container
from tests.unit.sources.docker.recordings import Json, container, docker, listed, place, podman


def read(raw: object) -> tuple[Container, list[str]]:
    found, faults = read_container(raw, "docker")
    assert found is not None
    return found, [str(fault) for fault in faults]


def test_recorded_ones() -> None:
    recorded = docker()["containers"]
    db, faults = read(recorded["db2"])
    assert (db.name, db.pid, db.hostname, faults) == ("db2", 13250, "3ede21178e3a", [])
    assert db.ports == (Port(5432, "tcp"),)
    assert [(place.name, place.aliases) for place in db.places] == [("mynet", ("database",)), ("other", ("oa",))]
    assert db.places[0].addresses == (ip_address("172.18.0.2"),)
    assert db.places[0].gateways == (ip_address("172.18.0.1"),)

    web, faults = read(recorded["web"])
    assert (web.hostname, web.servers, faults) == ("fq.corp.test", ("10.9.9.9",), [])
    assert web.extra_hosts == (("x.y", ip_address("10.1.2.3")), ("hg", None), ("v6", ip_address("fe80::5")))
    assert web.places[0].links == (("dblink", "db"),)
    assert web.places[0].aliases == ("fq.corp.test",)

    six, _ = read(recorded["six"])
    assert six.places[0].addresses == (ip_address("172.21.0.2"), ip_address("fd00:dead:beef::2"))
    assert six.health == "healthy"

    linker, _ = read(recorded["bridgelink"])
    assert (linker.links, linker.hostname) == ((("obl", "onbridge"),), "bl")
    host, faults = read(recorded["hostc"])
    assert (host.hostname, host.places[0].addresses, faults) == (None, (), [])
    task, faults = read(recorded["task"])
    assert (task.name, faults) == ("svc.2.1vv9pn4fesk3c9h29rhirrf6t", [])


def test_podmans() -> None:
    recorded = podman()["containers"]
    db, faults = read(recorded["db"])
    assert (db.name, faults, db.fingerprint) == ("db", [], None)
    assert [(place.network, place.aliases) for place in db.places] == [("mynet", ("database",)), ("other", ("oa",))]
    assert read(recorded["web"])[0].extra_hosts == (("x.y", ip_address("10.1.2.3")),)


def test_a_newer_daemon_says_dns_names_and_a_priority() -> None:
    names = ["web", "www", "776562000000", "web.corp.test"]
    attached = place("mynet", "172.18.0.2", "www", DNSNames=names, GwPriority=7)
    web, faults = read(container("web", {"mynet": attached}))
    assert web.places[0].aliases == ("www", "web", "web.corp.test")
    assert (web.places[0].priority, faults) == (7, [])


@pytest.mark.parametrize("state", [{"Running": False}, {"Running": "true"}, {"Running": None}])
def test_one_that_does_not_run_is_none(state: dict[str, object]) -> None:
    raw = container("web", {"mynet": place("mynet", "172.18.0.2")}, state=state)
    assert read_container(raw, "docker") == (None, ())


@pytest.mark.parametrize("container_id", ["", "abc", 7, None, "../../networks/xx", "G" * 64])
def test_an_id_that_is_none(container_id: object) -> None:
    found, faults = read_container({"Id": container_id, "Name": "/web", "State": {"Running": True}}, "docker")
    assert found is None
    assert "is no container's id" in str(faults[0])


def web(**networks: Json) -> Json:
    return container("web", networks or {"mynet": place("mynet", "172.18.0.2")})


def change(raw: Json, path: str, value: object) -> Json:
    changed = copy.deepcopy(raw)
    *keys, last = path.split("/")
    inner: Any = changed
    for key in keys:
        inner = inner[key]
    inner[last] = value
    return changed


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("Name", "/" + "x" * 64, "Name: label '" + "x" * 64 + "' has 64 octets"),
        ("Name", "/a b", "Name: 'a b' has a space"),
        ("Config/Hostname", "a..b", "Config.Hostname: 'a..b' has an empty label"),
        ("NetworkSettings/Networks/mynet/Aliases", ["a b"], "'a b' has a space"),
        ("NetworkSettings/Networks/mynet/Aliases", [""], "a name may not be empty"),
        ("NetworkSettings/Networks/mynet/Aliases", [7], "alias 7 is no text"),
        ("NetworkSettings/Networks/mynet/IPAddress", "172.18.0", "'172.18.0' is not an IPv4 or IPv6 address"),
        ("NetworkSettings/Networks/mynet/IPAddress", "fd00::2", "IPAddress fd00::2 is no IPv4 address"),
        ("NetworkSettings/Networks/mynet/GlobalIPv6Address", "10.0.0.1", "10.0.0.1 is no IPv6 address"),
        ("NetworkSettings/Networks/mynet/IPAddress", "", "it has no address there"),
        ("NetworkSettings/Networks/mynet/Links", ["db:a b"], "'a b' has a space"),
        ("HostConfig/ExtraHosts", ["name"], "'' is not an IPv4 or IPv6 address"),
        ("HostConfig/ExtraHosts", ["a b:10.0.0.1"], "HostConfig.ExtraHosts: 'a b' has a space"),
        ("HostConfig/ExtraHosts", [7], "is not an IPv4"),
        ("HostConfig/Dns", ["resolver.test"], "HostConfig.Dns: "),
        ("HostConfig/Dns", [7], "HostConfig.Dns: "),
        ("Config/ExposedPorts", {"http/tcp": {}}, "'http/tcp' is not a port"),
        ("Config/ExposedPorts", {"80/quic": {}}, "'80/quic' is not a port"),
        ("Config/ExposedPorts", {"70000/tcp": {}}, "'70000/tcp' is not a port"),
        ("Config/Labels", {"pydns.names": "a@elsewhere"}, "it is not on network 'elsewhere'"),
    ],
)
def test_what_makes_no_sense_is_left_out_with_one_line(path: str, value: object, said: str) -> None:
    found, faults = read_container(change(web(), path, value), "docker")
    assert found is not None
    (fault,) = faults
    assert fault.is_warning
    assert str(fault).startswith("docker: warning: container ")
    assert said in str(fault)


@pytest.mark.parametrize("name", ["/" + "x" * 64, "/a b", "/", "", None])
def test_a_name_that_is_none_leaves_the_short_id(name: object) -> None:
    assert read(change(web(), "Name", name))[0].name == "776562000000"


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("a:10.0.0.1", ("a", "10.0.0.1")),
        ("a=10.0.0.1", ("a", "10.0.0.1")),
        ("a:fd00::1", ("a", "fd00::1")),
        ("a:[fd00::1]", ("a", "fd00::1")),
        ("a=fd00::1", ("a", "fd00::1")),
        ("a:host-gateway", ("a", None)),
    ],
)
def test_added_hosts(line: str, meant: tuple[str, str | None]) -> None:
    found, faults = read(change(web(), "HostConfig/ExtraHosts", [line]))
    assert found.extra_hosts == ((meant[0], meant[1] and ip_address(meant[1])),)
    assert faults == []


def test_two_names_of_one_added_host() -> None:
    found, _ = read(change(web(), "HostConfig/ExtraHosts", ["a;b:10.0.0.1"]))
    assert [name for name, _ in found.extra_hosts] == ["a", "b"]


@pytest.mark.parametrize(
    ("link", "meant"),
    [("db:sql", ("sql", "db")), ("db", ("db", "db")), ("/db:/web/sql", ("sql", "db"))],
)
def test_links(link: str, meant: tuple[str, str]) -> None:
    found, _ = read(change(web(), "NetworkSettings/Networks/mynet/Links", [link]))
    assert found.places[0].links == (meant,)


def test_the_list_and_the_inspect_of_an_unchanged_container_agree() -> None:
    recorded = docker()
    inspected = {raw["Id"]: raw for raw in recorded["containers"].values()}
    agreeing = {}
    for entry in recorded["list"]:
        found, _ = read(inspected[entry["Id"]])
        agreeing[found.name] = found.fingerprint is not None and found.fingerprint == fingerprint_of_listed(entry)
    # One that shares a namespace has no endpoint of its own by which a restart would show.
    assert agreeing == dict.fromkeys(agreeing, True) | {"share": False}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("Name", "/renamed"),
        ("State/Status", "paused"),
        ("State/Health", {"Status": "unhealthy"}),
        ("Config/Labels", {"pydns.ttl": "1"}),
        ("NetworkSettings/Networks/mynet/EndpointID", "other"),
        ("NetworkSettings/Networks/mynet/IPAddress", "172.18.0.9"),
        ("NetworkSettings/Networks/more", place("more", "172.19.0.2")),
    ],
)
def test_a_change_shows_in_the_fingerprint(path: str, value: object) -> None:
    before = read(web())[0].fingerprint
    assert before is not None
    assert before == fingerprint_of_listed(listed(web()))
    assert before != fingerprint_of_listed(listed(change(web(), path, value)))


def test_a_container_that_is_restarting_is_not_blamed_for_having_no_address() -> None:
    raw = container("web", {"mynet": place("mynet", "")}, state={"Restarting": True})
    assert read(raw)[1] == []


def test_one_that_shares_a_namespace_is_on_no_network_of_its_own() -> None:
    """Podman repeats the networks of the other one."""
    raw = container("web", {"mynet": place("mynet", "172.18.0.2")}, host_config={"NetworkMode": "container:abc"})
    assert read(raw)[0].places == ()


def test_a_star_alone_is_no_name() -> None:
    labels = {"pydns.names": "*,*.apps"}
    web, faults = read(container("web", {"mynet": place("mynet", "172.18.0.2", "*")}, labels=labels))
    assert web.marks.names == (("*.apps", None),)
    assert [fault.partition(": warning: container ")[2] for fault in faults] == [
        f"web.{key}: '*' alone would be every name there is; left out (write *.name for everything below name)"
        for key in ("pydns.names", "NetworkSettings.Networks.mynet")
    ]


@pytest.mark.parametrize(
    ("key", "address"),
    [
        *(("IPAddress", "127.0.0.1"), ("IPAddress", "224.0.0.1"), ("IPAddress", "255.255.255.255")),
        *(("IPAddress", "0.0.0.0"), ("GlobalIPv6Address", "::1"), ("GlobalIPv6Address", "ff02::1")),
        ("GlobalIPv6Address", "::"),
    ],
)
def test_an_address_that_nobody_can_have_on_a_network_is_left_out(key: str, address: str) -> None:
    good = {"IPAddress": "172.18.0.2", "GlobalIPv6Address": "fd00::2"}
    web, faults = read(container("web", {"mynet": place("mynet", **{**good, key: address})}))
    assert [str(found) for found in web.places[0].addresses] == [good[other] for other in good if other != key]
    (fault,) = faults
    assert f"Networks.mynet: {address} is not an address that one can have on a network; left out" in fault
