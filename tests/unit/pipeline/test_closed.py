"""Below a network's name nothing exists but its names, as long as nothing else has a say there."""

from __future__ import annotations

import pytest

from resolver.pipeline.chain import Chain
from resolver.pipeline.closed import closed_below
from resolver.pipeline.stages import ForwardPolicy, InternalNames
from resolver.views import View
from resolver.wire.name import fold, from_text
from tests.unit.asking import CHAIN, ask, views_of, zone_of

NET = """
[networks.mynet]
subnets = ["172.18.0.0/16"]
[networks.mynet.endpoints.db]
addresses = ["172.18.0.2"]
aliases = ["database", "api.corp.example"]
{more}
[networks.other]
subnets = ["172.19.0.0/16"]
"""
MYNET = fold(from_text("mynet"))


def view_of(more: str = "", *, hosts: str = "", zone: str = "", text: str = "") -> View:
    zones = [zone_of(zone, "")] if zone else []
    return views_of(NET.format(more=more) + text, hosts_text=hosts, zones=zones).pinned(("mynet",), "db")


def test_a_plain_network_is_closed() -> None:
    view = view_of(hosts="192.0.2.1 printer.mynet")

    closed = closed_below(CHAIN, view, MYNET)

    assert closed is not None
    assert {from_text("db"), from_text("database")} <= closed.below.keys()
    assert any(from_text("printer.mynet") in names for names in closed.whole)
    assert any(from_text("api.corp.example") in names for names in closed.whole)
    for name in ("x.mynet", "x.y.mynet"):
        assert "NXDOMAIN" == ask(view, name).rcode


def test_the_answer_says_below_what_it_is_the_same() -> None:
    view = view_of()

    assert MYNET == ask(view, "x.y.mynet").decision.outcome.below  # type: ignore[union-attr]
    assert ask(view, "mynet").decision.outcome.below is None  # type: ignore[union-attr]
    assert ask(view, "absent").decision.outcome.below is None  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "view",
    [
        view_of(more='[networks.mynet.endpoints.web]\naddresses = ["172.18.0.3"]\naliases = ["*.app"]'),
        view_of(more='[networks.mynet.endpoints.db.links]\nweb = "redis"'),
        view_of(more='[networks.mynet.endpoints.db.extra_hosts]\n"x.mynet" = "192.0.2.1"'),
        view_of(hosts="192.0.2.1 *.wild"),
        view_of(zone="lab.mynet"),
        view_of(text='[networks."deep.mynet"]\nsubnets = ["172.20.0.0/16"]'),
    ],
    ids=["wildcard", "link", "hosts of its own", "wildcard in hosts", "zone", "network"],
)
def test_it_is_not_closed_when_something_else_has_a_say(view: View) -> None:
    assert closed_below(CHAIN, view, MYNET) is None


def test_nor_is_a_network_above_an_internal_zone() -> None:
    text = '[networks.internal]\nsubnets = ["172.18.0.0/16"]'
    view = views_of(text).pinned(("internal",), None)

    assert closed_below(CHAIN, view, fold(from_text("internal"))) is None
    assert closed_below(Chain.of(InternalNames(()), ForwardPolicy()), view, fold(from_text("internal"))) is not None


def test_nor_one_that_the_asker_is_not_on() -> None:
    assert closed_below(CHAIN, view_of(), fold(from_text("other"))) is None
