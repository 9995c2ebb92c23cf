"""What ought to be attached, from facts to targets."""

from __future__ import annotations

from msgspec.structs import replace

from resolver.agent.targets import Key, Targets, targets_of
from resolver.config.agent import NamespaceRule
from resolver.server.state import Pin
from resolver.sources.docker.facts import ContainerFacts

WEB = ContainerFacts(
    id="a" * 64,
    name="web",
    pid=4711,
    networks=("mynet",),
    network_mode="mynet",
    shares_with=None,
    has_own_resolver=False,
    servers=("10.0.0.53",),
    is_ignored=False,
)
WEB_KEY: Key = ("container", "a" * 64, 4711)
REGISTRY = {"web": ("mynet", "backend"), "db": ("backend",)}


def networks_of(name: str) -> tuple[str, ...]:
    return REGISTRY.get(name, ())


def of_containers(*facts: ContainerFacts, takes_over: bool = False, held: frozenset[Key] = frozenset()) -> Targets:
    return targets_of(facts, (), {}, networks_of, takes_over=takes_over, held=held)


def of_rules(*rules: NamespaceRule, held: frozenset[Key] = frozenset(), **found: tuple[int, int]) -> Targets:
    return targets_of((), rules, found, networks_of, held=held)


def test_a_container_is_pinned_to_its_networks_as_itself() -> None:
    (wanted,) = of_containers(WEB).wanted.values()

    assert (wanted.key, wanted.pid, wanted.label) == (WEB_KEY, 4711, "container web")
    assert wanted.pin == Pin(("mynet",), "web")
    assert wanted.servers == ("10.0.0.53",)


def test_containers_with_nothing_to_serve_or_none_of_ours_are_no_targets() -> None:
    for facts in (
        replace(WEB, is_ignored=True),
        replace(WEB, pid=0),
        replace(WEB, network_mode="host", networks=("host",)),
        replace(WEB, network_mode="none", networks=()),
    ):
        assert of_containers(facts, takes_over=True) == Targets()


def test_a_shared_namespace_is_attached_once_as_its_owners() -> None:
    guest = replace(WEB, id="b" * 64, name="guest", pid=4712, network_mode=f"container:{WEB.id}", shares_with=WEB.id)

    assert list(of_containers(guest, WEB).wanted) == [WEB_KEY]
    assert list(of_containers(guest).wanted) == [("container", guest.id, 4712)]


def test_a_container_that_docker_serves_is_left_to_it_unless_taken_over() -> None:
    served = replace(WEB, has_own_resolver=True)
    targets = of_containers(served)

    assert targets.wanted == {}
    assert list(targets.left) == ["container web"]
    assert list(of_containers(served, takes_over=True).wanted) == [WEB_KEY]
    assert of_containers(served, held=frozenset({WEB_KEY})).wanted == {}


def test_a_container_that_lost_its_last_network_stays_and_sees_nothing() -> None:
    alone = replace(WEB, networks=())

    assert of_containers(alone).wanted == {}
    assert of_containers(alone, held=frozenset({WEB_KEY})).wanted[WEB_KEY].pin == Pin((), "web")


def test_a_restarted_container_is_another_target() -> None:
    again = replace(WEB, pid=5000)
    assert set(of_containers(again, held=frozenset({WEB_KEY})).wanted) == {("container", WEB.id, 5000)}


def test_a_pattern_takes_those_that_the_registry_knows() -> None:
    targets = of_rules(NamespaceRule("*"), web=(1, 10), db=(1, 11), other=(1, 12))

    assert {wanted.label: wanted.pin for wanted in targets.wanted.values()} == {
        "db": Pin(("backend",), "db"),
        "web": Pin(("mynet", "backend"), "web"),
    }
    assert targets.left == {"other": "the registry has no container 'other'"}


def test_a_pattern_does_not_take_a_path() -> None:
    targets = targets_of((), [NamespaceRule("*", ("mynet",))], {"/run/x": (1, 1)}, networks_of)
    assert targets == Targets()


def test_a_rule_with_networks_wins_over_the_registry() -> None:
    targets = of_rules(NamespaceRule("web", ("vault",)), NamespaceRule("new*", ("vault",)), web=(1, 10), new1=(1, 11))

    assert [wanted.pin for wanted in targets.wanted.values()] == [Pin(("vault",), "web"), Pin(("vault",), None)]


def test_a_rule_with_an_endpoint_follows_its_networks() -> None:
    (wanted,) = of_rules(NamespaceRule("box", endpoint="db"), box=(1, 10)).wanted.values()
    assert (wanted.spec, wanted.pin) == ("box", Pin(("backend",), "db"))


def test_the_first_of_two_rules_for_a_namespace_counts() -> None:
    targets = of_rules(NamespaceRule("web", ("vault",)), NamespaceRule("*"), web=(1, 10))
    assert [wanted.pin for wanted in targets.wanted.values()] == [Pin(("vault",), "web")]


def test_a_name_that_is_not_there_is_waited_for() -> None:
    assert of_rules(NamespaceRule("web")).left == {"web": "there is no such namespace, so far"}
    assert of_rules(NamespaceRule("w*")) == Targets()


def test_a_namespace_made_anew_is_another_target() -> None:
    (first,) = of_rules(NamespaceRule("web"), web=(1, 10)).wanted
    (second,) = of_rules(NamespaceRule("web"), web=(1, 11), held=frozenset({first})).wanted
    assert first != second


def test_a_namespace_whose_container_left_the_registry_stays_and_sees_nothing() -> None:
    held: frozenset[Key] = frozenset({("netns", "gone", 1, 10)})
    (wanted,) = of_rules(NamespaceRule("gone"), held=held, gone=(1, 10)).wanted.values()
    assert wanted.pin == Pin((), None)
