"""What is told of containers one by one makes the same contribution as when all of it is told at once."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from resolver.registry.model import Endpoint
from resolver.sources.docker.inventory import Inventory
from resolver.sources.docker.settings import DaemonSettings
from tests.unit.sources.docker.recordings import Json, container, network, place, whole_id

NETWORKS = [network("front", "172.30.0.0/16", "172.30.0.1"), network("back", "172.31.0.0/16", "172.31.0.1")]
NAMES = ("web", "WEB", "db", "cache", "app")


def told(*raws: Json) -> Inventory:
    made = Inventory(DaemonSettings("docker", "unix:///none"))
    for raw in NETWORKS:
        made.put_network(raw)
    for raw in raws:
        made.put_container(raw)
    made.publish()
    return made


def of_front(made: Inventory) -> dict[str, Endpoint]:
    (front,) = (net for net in made.contribution.networks if net.name == "front")
    return {endpoint.name: endpoint for endpoint in front.endpoints}


def one(who: int, name: str, nets: set[int], host: int, links: bool) -> Json:
    keys: dict[str, Any] = {"Links": ["one:other"]} if links else {}
    places = {
        f"{NETWORKS[net]['Name']}": place(NETWORKS[net]["Name"], f"172.{30 + net}.0.{host}", "pool", **keys)
        for net in nets
    }
    raw = container(name, places)
    raw["Id"] = whole_id(f"container {who}")
    return raw


STEPS = st.tuples(
    st.integers(0, 4),
    st.sampled_from(NAMES),
    st.sets(st.integers(0, 1), max_size=2),
    st.integers(2, 9),
    st.integers(0, 9).map(lambda number: number == 9),
    st.sampled_from(("put", "put", "drop", "unhealthy")),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=12))
def test_news_one_by_one_make_what_all_at_once_makes(steps: list[tuple[int, str, set[int], int, bool, str]]) -> None:
    kept = told()
    raws: dict[int, Json] = {}
    for who, name, nets, host, links, what in steps:
        if what == "put":
            raws[who] = one(who, name, nets, host, links)
            kept.put_container(raws[who])
        elif what == "drop":
            raws.pop(who, None)
            kept.drop_container(whole_id(f"container {who}"))
        elif who in raws:
            kept.set_health(whole_id(f"container {who}"), "unhealthy")
            kept.put_container(raws[who])
        kept.publish()
        assert told(*raws.values()).contribution == kept.contribution
        assert told(*raws.values()).facts == kept.facts


def test_who_is_not_concerned_stays_the_same_object() -> None:
    made = told(*(one(who, name, {0}, 2 + who, False) for who, name in enumerate(("web", "db", "cache"))))
    before = of_front(made)

    made.put_container(one(1, "db", {0}, 9, False))

    assert made.publish()
    after = of_front(made)
    assert ["cache", "db", "web"] == list(after)
    assert [True, False, True] == [after[name] is before[name] for name in after]
    assert ["172.30.0.9"] == list(map(str, after["db"].addresses))
