"""What becomes of a daemon's networks and containers in the registry, and what stays the same object."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from resolver.registry.model import Endpoint, Network
from resolver.registry.store import Store
from resolver.sources.docker.inventory import Inventory
from resolver.sources.docker.settings import DaemonSettings
from resolver.views import Views, ViewSettings
from resolver.wire.name import fold, from_text
from resolver.zones.model import ZoneSet
from tests.unit.sources.docker.recordings import Json, container, docker, network, place, podman, whole_id


def inventory(networks: list[Json], containers: list[Json], **settings: Any) -> Inventory:
    made = Inventory(DaemonSettings("docker", "unix:///none", **settings))
    for raw in networks:
        made.put_network(raw)
    for raw in containers:
        made.put_container(raw)
    made.publish()
    return made


def nets(made: Inventory) -> dict[str, Network]:
    return {net.name: net for net in made.contribution.networks}


def names(net: Network) -> dict[str, tuple[str, ...]]:
    return {endpoint.name: endpoint.dns_names() for endpoint in net.endpoints}


def addresses(made: Inventory, name: str, networks: list[str], endpoint: str | None = None) -> set[str]:
    """What an asker on these networks is told."""
    store = Store()
    store.replace([made.contribution])
    view = Views(store.snapshot, ZoneSet(), ViewSettings()).pinned(networks, endpoint)
    match = view.find(fold(from_text(name))) or view.find_extra(fold(from_text(name)))
    return {str(address) for address in match.addresses} if match is not None else set()


def test_the_recorded_daemon_has_dockers_names_in_dockers_order() -> None:
    recorded = docker()
    made = inventory(recorded["networks"], list(recorded["containers"].values()))
    found = nets(made)
    assert set(found) == {"mynet", "other", "intnet", "v6net"}
    assert names(found["mynet"]) == {
        "db2": ("db2", "database", "3ede21178e3a"),
        "web": ("web", "8817f9e7ebf6", "fq.corp.test"),
    }
    assert names(found["other"]) == {"db2": ("db2", "oa", "3ede21178e3a")}
    assert found["intnet"].internal
    assert found["v6net"].is_dual_stack
    assert found["v6net"].gateways == (ip_address("172.21.0.1"), ip_address("fd00:dead:beef::1"))
    assert made.faults == ()
    assert (
        addresses(made, "dblink", ["mynet"], "web") == set()
    )  # its target was renamed, which breaks it in Docker, too
    assert addresses(made, "hg", ["mynet"], "web") == {"172.17.0.1"}  # as a container on the bridge has it
    assert addresses(made, "x.y", ["mynet"], "web") == {"10.1.2.3"}


def test_the_default_bridge_has_names_when_it_is_asked_for() -> None:
    recorded = docker()
    made = inventory(recorded["networks"], list(recorded["containers"].values()), serve_default_bridge=True)
    assert names(nets(made)["bridge"]) == {
        "bridgelink": ("bridgelink", "0fe2fcf72c20", "bl"),
        "onbridge": ("onbridge", "7a79527ab41f"),
    }
    assert addresses(made, "obl", ["bridge"], "bridgelink") == {"172.17.0.2"}
    facts = {found.name: found for found in made.facts.values()}
    assert facts["onbridge"].networks == ("bridge",)
    assert not facts["onbridge"].has_own_resolver


def test_podman_calls_its_networks_by_name() -> None:
    recorded = podman()
    made = Inventory(DaemonSettings("podman", "unix:///none", serve_default_bridge=True))
    made.is_podman = True
    for raw in recorded["networks"]:
        made.put_network(raw)
    for raw in recorded["containers"].values():
        made.put_container(raw)
    made.publish()
    assert names(nets(made)["mynet"])["db"][:2] == ("db", "database")
    assert set(names(nets(made)["podman"])) == {"dflt"}
    facts = {found.name: found for found in made.facts.values()}
    assert (facts["dflt"].networks, facts["db"].networks) == (("podman",), ("mynet", "other"))
    assert not any(found.has_own_resolver for found in facts.values())


def test_what_host_gateway_stands_for() -> None:
    asker = container(
        "asker", {"mynet": place("mynet", "172.30.0.2")}, host_config={"ExtraHosts": ["gate:host-gateway"]}
    )
    bridge = network("bridge", "172.17.0.0/16", "172.17.0.1")
    configured = (ip_address("10.9.9.9"), ip_address("fd00::9"))
    for networks, settings, expected in (
        ([network("mynet"), bridge], {}, {"172.17.0.1"}),
        ([network("mynet")], {}, {"172.30.0.1"}),  # nobody knows: the gateway of the asker's own network
        ([network("mynet"), bridge], {"host_gateway": configured}, {"10.9.9.9", "fd00::9"}),
    ):
        made = inventory(networks, [asker], **settings)
        assert addresses(made, "gate", ["mynet"], "asker") == expected


def test_compose_scopes_and_its_service_names() -> None:
    def of(project: str, number: int, *aliases: str, one_off: str = "False") -> Json:
        labels = {
            "com.docker.compose.project": project,
            "com.docker.compose.service": "web",
            "com.docker.compose.oneoff": one_off,
        }
        at = {"shared": place("shared", f"172.30.0.{number}", *aliases)}
        return container(f"{project}-web-{number}", at, labels=labels)

    shared = network("shared", Labels={"com.docker.compose.project": "a"})
    made = inventory([shared], [of("a", 2), of("b", 3, "web"), of("a", 4, one_off="True")])
    assert addresses(made, "web", ["shared"], "a-web-2") == {"172.30.0.2"}
    assert addresses(made, "web", ["shared"], "b-web-3") == {"172.30.0.3"}
    assert addresses(made, "web", ["shared"]) == {"172.30.0.2", "172.30.0.3"}


def test_health_counts_when_it_is_asked_for() -> None:
    def pool(*healths: str, **settings: Any) -> set[str]:
        containers = [
            container(f"p{index}", {"mynet": place("mynet", f"172.30.0.{index + 2}", "pool")}, health=health)
            for index, health in enumerate(healths)
        ]
        return addresses(inventory([network("mynet")], containers, **settings), "pool", ["mynet"])

    both = {"172.30.0.2", "172.30.0.3"}
    assert pool("unhealthy", "healthy") == both
    assert pool("unhealthy", "healthy", healthy_only=True) == {"172.30.0.3"}
    assert pool("starting", "", healthy_only=True) == {"172.30.0.3"}
    assert pool("unhealthy", "starting", healthy_only=True) == both


@pytest.mark.parametrize(("setting", "label", "ready"), [(False, "true", False), (True, "false", True)])
def test_a_label_overrules_the_setting_for_health(setting: bool, label: str, ready: bool) -> None:
    raw = container(
        "db",
        {"mynet": place("mynet", "172.30.0.2")},
        labels={"pydns.healthy_only": label},
        health="unhealthy",
    )
    made = inventory([network("mynet")], [raw], healthy_only=setting)
    assert nets(made)["mynet"].endpoints[0].is_ready is ready


def test_labels_on_containers_and_networks() -> None:
    labels = {"pydns.names": "shop,only@front,*.apps", "pydns.ttl": "5"}
    at = {"front": place("front", "172.30.0.2"), "back": place("back", "172.31.0.2")}
    hidden = container("hidden", {"front": place("front", "172.30.0.3")}, labels={"pydns.ignore": "true"})
    made = inventory(
        [network("front", Labels={"pydns.ttl": "60"}), network("back"), network("gone", Labels={"pydns.ignore": "1"})],
        [container("web", at, labels=labels), hidden],
    )
    found = nets(made)
    assert set(found) == {"front", "back"}
    assert found["front"].endpoints[0].aliases == ("shop", "only", "*.apps")
    assert found["back"].endpoints[0].aliases == ("shop", "*.apps")
    assert (found["front"].ttl, found["front"].endpoints[0].ttl) == (60, 5)
    assert set(names(found["front"])) == {"web"}
    assert made.facts[whole_id("hidden")].is_ignored
    assert made.facts[whole_id("hidden")].has_own_resolver


def test_networks_of_one_name_are_kept_apart() -> None:
    older = network("twin", "172.30.0.0/16", "172.30.0.1", Id="b" * 64, Created="2026-01-01T00:00:00Z")
    newer = network("twin", "172.31.0.0/16", "172.31.0.1", Id="a" * 64, Created="2026-02-01T00:00:00Z")
    made = inventory(
        [newer, older],
        [
            container("one", {"twin": place("twin", "172.30.0.2", NetworkID="b" * 64)}),
            container("two", {"twin": place("twin", "172.31.0.2", NetworkID="a" * 64)}),
        ],
    )
    assert {name: set(names(net)) for name, net in nets(made).items()} == {
        "twin": {"one"},
        "twin-aaaaaaaaaaaa": {"two"},
    }
    (fault,) = made.faults
    assert "there is an older network 'twin'; this one is served as twin-aaaaaaaaaaaa" in str(fault)
    assert made.facts[whole_id("two")].networks == ("twin-aaaaaaaaaaaa",)


def test_a_network_whose_name_is_no_dns_name_is_served_under_another() -> None:
    made = inventory(
        [network("my net", Id="c" * 64)], [container("web", {"my net": place("", "172.30.0.2", NetworkID="c" * 64)})]
    )
    assert names(nets(made)["network-cccccccccccc"])["web"][0] == "web"
    assert "'my net' has a space" in str(made.faults[0])


def test_containers_whose_names_differ_in_letter_case_only_both_answer() -> None:
    made = inventory(
        [network("mynet")],
        [
            container("web", {"mynet": place("mynet", "172.30.0.2")}),
            container("WEB", {"mynet": place("mynet", "172.30.0.3")}),
        ],
    )
    assert addresses(made, "web", ["mynet"]) == {"172.30.0.2", "172.30.0.3"}


def test_a_link_may_name_its_target_by_its_short_id() -> None:
    target = whole_id("db")[:12]
    made = inventory(
        [network("mynet")],
        [
            container("db", {"mynet": place("mynet", "172.30.0.2")}),
            container("web", {"mynet": place("mynet", "172.30.0.3", Links=[f"{target}:sql"])}),
        ],
    )
    assert addresses(made, "sql", ["mynet"], "web") == {"172.30.0.2"}


def test_gateway_priority() -> None:
    def asker(name: str, alpha: int, beta: int) -> Json:
        at = {
            "alpha": place("alpha", f"172.30.0.{len(name)}", GwPriority=alpha),
            "beta": place("beta", f"172.31.0.{len(name)}", GwPriority=beta),
        }
        return container(name, at)

    networks = [network("alpha"), network("beta", "172.31.0.0/16", "172.31.0.1")]
    made = nets(inventory(networks, [asker("aa", 0, 5), asker("aaa", 5, 0)]))

    assert {"aa": 0, "aaa": 5} == {endpoint.name: endpoint.priority for endpoint in made["alpha"].endpoints}
    assert {"aa": 5, "aaa": 0} == {endpoint.name: endpoint.priority for endpoint in made["beta"].endpoints}


def test_services_and_tasks_of_a_swarm() -> None:
    recorded = docker()
    overlay = recorded["overlay"]
    overlay["Services"]["rr"] = {"VIP": "<nil>", "Tasks": [{"Name": "rr.1.x", "EndpointIP": "10.0.1.7"}]}
    overlay["Services"][""] = {"VIP": "<nil>", "Tasks": [{"Name": "far", "EndpointIP": "10.0.1.8"}]}
    made = inventory([overlay], [recorded["containers"]["task"]])
    for name, expected in {
        "svc": {"10.0.1.2"},
        "tasks.svc": {"10.0.1.3", "10.0.1.4"},
        "svc.1.k73m874ctk7eef2f0s9gm7qh6": {"10.0.1.3"},
        "svc.2.1vv9pn4fesk3c9h29rhirrf6t": {"10.0.1.4"},
        "275d991a941a": {"10.0.1.4"},
        "rr": {"10.0.1.7"},
        "tasks.rr": {"10.0.1.7"},
        "far": {"10.0.1.8"},
        "ov-endpoint": set(),
        "svc.ov": {"10.0.1.2"},
    }.items():
        assert addresses(made, name, ["ov"]) == expected, name
    listed = {key: value for key, value in overlay.items() if key != "Services"}
    made.put_network(listed)  # the list of networks does not say services
    made.publish()
    assert addresses(made, "svc", ["ov"]) == {"10.0.1.2"}


def test_what_has_not_changed_stays_the_same_object() -> None:
    networks = [network("alpha"), network("beta", "172.31.0.0/16", "172.31.0.1")]
    one = container("one", {"alpha": place("alpha", "172.30.0.2")})
    two = container("two", {"beta": place("beta", "172.31.0.2")})
    made = inventory(networks, [one, two])
    before, whole = nets(made), made.contribution
    for raw in (one, two):
        made.put_container(raw)
    for raw in networks:
        made.put_network(raw)
    assert not made.publish()
    assert made.contribution is whole

    made.put_container(container("three", {"alpha": place("alpha", "172.30.0.3")}))
    assert made.publish()
    after = nets(made)
    assert after["beta"] is before["beta"]

    def of(net: Network, name: str) -> Endpoint:
        return next(endpoint for endpoint in net.endpoints if endpoint.name == name)

    assert of(after["alpha"], "one") is of(before["alpha"], "one")
    made.drop_container(whole_id("three"))
    made.publish()
    assert nets(made)["alpha"] == before["alpha"]


def test_a_fault_is_counted_once_and_goes_when_it_is_mended() -> None:
    bad = container("web", {"mynet": place("mynet", "172.30.0.2", "a b")})
    made = Inventory(DaemonSettings("docker", "unix:///none"))
    made.put_network(network("mynet"))
    assert [made.put_container(bad) for _ in range(3)] == [1, 0, 0]
    assert len(made.faults) == 1
    assert made.put_container(container("web", {"mynet": place("mynet", "172.30.0.2")})) == 0
    assert not list(made.faults)
    made.put_container(bad)
    made.drop_container(whole_id("web"))
    assert not list(made.faults)


def test_a_network_that_comes_after_its_container() -> None:
    made = inventory([], [container("web", {"mynet": place("mynet", "172.30.0.2")})])
    assert made.contribution.networks == ()
    assert list(made.networks_to_ask(whole_id("web"))) == [whole_id("net mynet")]
    made.put_network(network("mynet"))
    made.publish()
    assert set(names(nets(made)["mynet"])) == {"web"}
    assert made.facts[whole_id("web")].networks == ("mynet",)
    made.drop_network(whole_id("net mynet"))
    made.publish()
    assert made.facts[whole_id("web")].networks == ()


def test_tasks_of_other_nodes_that_have_one_name_are_all_there() -> None:
    overlay = network("ov", "10.0.1.0/24", "10.0.1.1", Scope="swarm")
    far = [{"Name": "web", "EndpointIP": f"10.0.1.{number}"} for number in (7, 8, 9)]
    overlay["Services"] = {"": {"VIP": "<nil>", "Tasks": far}, "WEB": {"VIP": "10.0.1.6", "Tasks": []}}
    odd = network("odd", Id="d" * 64)
    made = inventory([overlay, odd], [container("web", {"ov": place("ov", "10.0.1.5")})])
    assert addresses(made, "web", ["ov"]) == {f"10.0.1.{number}" for number in (5, 6, 7, 8, 9)}
    assert set(names(nets(made)["ov"])) == {"web", "ip-10-0-1-6", "ip-10-0-1-7", "ip-10-0-1-8", "ip-10-0-1-9"}


def test_a_name_in_place_of_another_that_is_taken_as_well() -> None:
    twin = whole_id("web")[:12] + "f" * 52
    second = {**container("WEB", {"mynet": place("mynet", "172.30.0.3")}), "Id": twin}
    third = container(whole_id("web")[:12], {"mynet": place("mynet", "172.30.0.4")})
    first = container("web", {"mynet": place("mynet", "172.30.0.2")})
    made = inventory([network("mynet")], [first, second, third])
    assert len(nets(made)["mynet"].endpoints) == 3
    assert addresses(made, "web", ["mynet"]) == {"172.30.0.2", "172.30.0.3"}


def test_nothing_is_kept_of_networks_that_are_gone() -> None:
    made = inventory([network("mynet")], [container("web", {"mynet": place("mynet", "172.30.0.2")})])
    assert len(made._endpoints) == 1
    made.drop_network(whole_id("net mynet"))
    made.publish()
    made.drop_container(whole_id("web"))
    made.publish()
    assert made._endpoints == {}


def test_faults_go_with_what_they_are_about() -> None:
    bad_id = {**container("bad", {}), "Id": "Z" * 64}
    no_id = network("noid", Id="")
    junk: list[object] = [{"Id": ""}, {"Id": "", "x": []}, {"Id": 5}, None]
    made = Inventory(DaemonSettings("docker", "unix:///none"))
    counted = [sum(made.put_container(raw) for raw in (bad_id, *junk)) + made.put_network(no_id) for _ in range(3)]
    assert counted == [6, 0, 0]
    assert len(list(made.faults)) == 6
    made.keep_faults_of([no_id], [bad_id, *junk[:2]], ())
    assert len(list(made.faults)) == 4
    made.keep_faults_of([], [], ["Z" * 64])
    assert ["ZZZ" in str(fault) for fault in made.faults] == [True]
    made.keep_faults_of([], [], ())
    assert not list(made.faults)
