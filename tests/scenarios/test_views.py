"""Who sees what, by the address that a query comes from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.scenarios.conftest import Serve
from tests.scenarios.live import Live, Stream, answers, ask, over_udp, until

REGISTRY = """
[networks.red]
subnets = ["127.1.0.0/16"]
gateways = ["127.1.0.1"]
[networks.red.endpoints.app]
addresses = ["127.1.0.5"]
links = { secret = "vault" }
[networks.red.endpoints.secret]
addresses = ["127.1.0.9"]
[networks.red.endpoints.shared]
addresses = ["127.1.0.7"]

[networks.blue]
subnets = ["127.2.0.0/16"]
gateways = ["127.2.0.1"]
internal = true
[networks.blue.endpoints.data]
addresses = ["127.2.0.5"]
[networks.blue.endpoints.shared]
addresses = ["127.2.0.7"]
"""
RED, BLUE, HOST = "127.1.0.5", "127.2.0.5", "127.0.0.1"


@pytest.fixture(scope="module", params=["127.0.0.1", "0.0.0.0"])
def live(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Live]:
    with Live(tmp_path_factory.mktemp("views"), registry=REGISTRY, listen=(f"{request.param}:0",)) as live:
        yield live


@pytest.mark.parametrize("over_tcp", [False, True], ids=["UDP", "TCP"])
def test_a_client_sees_the_names_of_its_own_networks_only(live: Live, over_tcp: bool) -> None:
    """Asked in turn from each address, so that no view's ready reply reaches another's client."""

    def seen(name: str, source: str, rtype: str = "A") -> list[str]:
        if not over_tcp:
            return answers(over_udp(live.at, ask(name, rtype), source=source))
        with Stream(live.at, source=source) as stream:
            return answers(stream.ask(name, rtype))

    for _ in range(3):
        assert seen("app.", RED) == ["127.1.0.5"]
        assert seen("app.", BLUE) == []
        assert seen("app.", HOST) == ["127.1.0.5"]
        assert seen("data.", RED) == []
        assert seen("data.blue.", RED) == []
        assert seen("data.", BLUE) == ["127.2.0.5"]
        assert seen("data.blue.", HOST) == ["127.2.0.5"]
        assert seen("shared.", RED) == ["127.1.0.7"]
        assert seen("shared.", BLUE) == ["127.2.0.7"]
        assert seen("5.0.2.127.in-addr.arpa.", RED, "PTR") == []
        assert seen("5.0.2.127.in-addr.arpa.", BLUE, "PTR") == ["data.blue."]
        assert seen("host.docker.internal.", RED) == ["127.1.0.1"]
        assert seen("host.docker.internal.", BLUE) == ["127.2.0.1"]


def test_a_link_is_known_to_its_owner_alone(live: Live) -> None:
    assert answers(live.udp("vault.", source=RED)) == ["127.1.0.9"]
    assert answers(live.udp("vault.", source="127.1.0.7")) == []
    assert answers(live.udp("vault.", source=HOST)) == []


def test_nothing_leaves_from_an_internal_network(live: Live) -> None:
    reply = live.udp("example.org.", source=BLUE, use_edns=0)
    assert reply.rcode().name == "SERVFAIL"
    assert [int(option.code) for option in reply.extended_errors()] == [18]


def test_a_pinned_network_is_everybodys_view(serve: Serve) -> None:
    live = serve(registry=REGISTRY, arguments=("--network", "blue"))
    for source in (RED, BLUE, HOST):
        assert answers(live.udp("data.", source=source)) == ["127.2.0.5"]
        assert answers(live.udp("app.", source=source)) == []


def test_a_view_follows_the_subnets_as_they_change(serve: Serve) -> None:
    live = serve(registry=REGISTRY)
    assert answers(live.udp("data.", source="127.3.0.9")) == ["127.2.0.5"]  # on no network: the host's view
    path = live.registry / "networks.toml"
    path.write_text(REGISTRY.replace('subnets = ["127.1.0.0/16"]', 'subnets = ["127.1.0.0/16", "127.3.0.0/16"]'))
    until(lambda: answers(live.udp("data.", source="127.3.0.9")) == [])
    assert answers(live.udp("app.", source="127.3.0.9")) == ["127.1.0.5"]


def test_a_pinned_network_that_is_gone_leaves_its_clients_cut_off(serve: Serve) -> None:
    """Nothing of theirs is forwarded while their network is not in the registry; it is said, and heals (ADR 0009)."""
    live = serve(registry=REGISTRY, arguments=("--network", "blue"))
    path = live.registry / "networks.toml"
    path.write_text(REGISTRY.replace("networks.blue", "networks.green"))
    until(lambda: answers(live.udp("data.")) == [])
    reply = live.udp("data.blue.", use_edns=0)
    assert reply.rcode().name == "SERVFAIL"
    assert [int(option.code) for option in reply.extended_errors()] == [18]
    until(lambda: "network blue is gone from the registry" in live.stderr)

    path.write_text(REGISTRY)
    until(lambda: answers(live.udp("data.")) == ["127.2.0.5"])
