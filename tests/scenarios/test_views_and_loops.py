"""Own servers of containers that ask us, which is no loop, and loops of one route, which are: by the view that asks."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import dns.rcode
import pytest

from tests.scenarios.conftest import Serve
from tests.scenarios.live import At, Live, answers, ask, is_clean, over_udp, reason, until
from tests.scenarios.test_loops import DETECTING, dnsmasq, text
from tests.scenarios.upstream import Upstream

# Own servers have no port but 53.
pytestmark = pytest.mark.root

C1, FILTER, OURS = 11, 53, 1


class Net:
    """A /24 of loopback that nobody else has, most likely."""

    def __init__(self) -> None:
        second, third = (1 + secrets.randbelow(250) for _ in range(2))
        self.prefix = f"127.{second}.{third}"

    def at(self, number: int) -> At:
        return At(f"{self.prefix}.{number}", 53)

    def registry(self, servers: str = "", *, name: str = "app", more: str = "") -> str:
        """One network with a container, and its own servers."""
        return (
            f'[networks.{name}]\nsubnets = ["{self.prefix}.0/24"]\n{more}'
            f'[networks.{name}.endpoints.db]\naddresses = ["{self.prefix}.200"]\n'
            f'[networks.{name}.endpoints.c1]\naddresses = ["{self.prefix}.{C1}"]\n{servers}\n'
        )


@pytest.fixture
def net() -> Net:
    return Net()


@pytest.fixture
def world() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


def probes(upstream: Upstream) -> list[str]:
    return [asked.name for asked in upstream.asked if asked.rtype == "TXT"]


def from_c1(live: Live, net: Net, name: str) -> list[str]:
    return answers(live.udp(name, source=net.at(C1).host))


def test_a_container_whose_own_server_is_ourselves_is_served_as_others_are(
    serve: Serve, world: Upstream, net: Net
) -> None:
    ours = net.at(OURS)
    registry = net.registry(f'dns = ["{ours.host}"]')
    with Upstream() as routed:
        settings = {**DETECTING, "[forward.routes]": {"suffix": "corp.example", "upstreams": [str(routed)]}}
        live = serve(listen=[text(ours)], upstreams=[str(world)], registry=registry, settings=settings)

        def ask_it(name: str) -> list[str]:
            return answers(over_udp(ours, ask(name), source=net.at(C1).host))

        for number in range(5):
            assert ask_it(f"name-{number}.example.") == ["192.0.2.1"]
        assert ask_it("db.") == [f"{net.prefix}.200"]
        assert ask_it("www.corp.example.") == ["192.0.2.1"]
        assert "www.corp.example" in routed.names()
        assert "leads back" not in live.stderr
        assert is_clean(live.stderr)


def test_an_internal_container_whose_own_server_is_ourselves_hears_so_at_once(
    serve: Serve, world: Upstream, net: Net
) -> None:
    ours = net.at(OURS)
    registry = net.registry(f'dns = ["{ours.host}"]', more="internal = true\n")
    live = serve(listen=[text(ours)], upstreams=[str(world)], registry=registry, settings=DETECTING)
    began = time.monotonic()
    reply = live.udp("www.example.", source=net.at(C1).host, use_edns=0)

    assert time.monotonic() - began < 1
    assert reply.rcode() == dns.rcode.SERVFAIL
    assert reason(reply) == "this client is only on internal networks"
    assert "www.example" not in world.names()


def test_a_filter_that_asks_us_in_its_own_view_is_no_loop(
    serve: Serve, world: Upstream, net: Net, tmp_path: Path
) -> None:
    ours, theirs = net.at(OURS), net.at(FILTER)
    registry = net.registry(f'dns = ["{theirs.host}"]')
    with dnsmasq(tmp_path / "dnsmasq", theirs, f"{ours.host}#53@{theirs.host}"):
        live = serve(listen=[text(ours)], upstreams=[str(world)], registry=registry, settings=DETECTING)
        for number in range(5):
            assert from_c1(live, net, f"name-{number}.example.") == ["192.0.2.1"]
        until(lambda: live.count("pydns_dns_responses_total", stage="loop") >= 1)
        for number in range(5, 10):
            assert from_c1(live, net, f"name-{number}.example.") == ["192.0.2.1"]
            assert from_c1(live, net, "fence.example.") == ["192.0.2.99"]  # it is the filter that is asked

        assert live.count("pydns_forward_looping", to=text(theirs)) == 0
        assert "leads back" not in live.stderr


@pytest.mark.parametrize("covered", ["network", "zone"])
def test_where_test_is_a_name_of_ours_a_server_that_asks_us_for_it_is_no_loop(
    serve: Serve, world: Upstream, net: Net, tmp_path: Path, covered: str
) -> None:
    ours, theirs = net.at(OURS), net.at(FILTER)
    zones = {"test.zone": "@ 60 IN SOA ns.test. root.test. 1 60 60 60 60\n@ 60 IN NS ns.test.\nns 60 IN A 192.0.2.3\n"}
    servers = (f"/test/{ours.host}#53@{theirs.host}", str(world))
    with dnsmasq(tmp_path / "dnsmasq", theirs, *servers):
        live = serve(
            listen=[text(ours)],
            upstreams=[text(theirs)],
            registry=net.registry(name="test" if covered == "network" else "app"),
            zones=zones if covered == "zone" else {},
            settings=DETECTING,
        )
        until(lambda: probes(world))
        assert [answers(live.udp(f"name-{number}.example.")) for number in range(5)] == [["192.0.2.1"]] * 5
        assert all(name.endswith(".example.") or name.endswith(".example") for name in probes(world))
        assert "leads back" not in live.stderr


def test_a_loop_of_one_route_is_found_and_its_names_fail_at_once(
    serve: Serve, world: Upstream, net: Net, tmp_path: Path
) -> None:
    ours, theirs = net.at(OURS), net.at(FILTER)
    with dnsmasq(tmp_path / "dnsmasq", theirs, f"/corp.example/{ours.host}#53", str(world)):
        settings = {**DETECTING, "[forward.routes]": {"suffix": "corp.example", "upstreams": [text(theirs)]}}
        live = serve(listen=[text(ours)], upstreams=[str(world)], settings=settings)
        until(lambda: "leads back" in live.stderr)

        began = time.monotonic()
        for number in range(5):
            reply = live.udp(f"name-{number}.corp.example.", use_edns=0)
            assert reply.rcode() == dns.rcode.SERVFAIL
            assert "every upstream leads back to pydns" in reason(reply)
            assert answers(live.udp(f"name-{number}.example.")) == ["192.0.2.1"]
        assert time.monotonic() - began < 3
        assert f"upstream {text(theirs)} leads back to pydns for names below corp.example." in live.stderr
        assert live.count("pydns_forward_looping", to=text(theirs)) == 1
        assert not any("corp" in name for name in world.names())


def test_nobody_is_probed_who_is_not_in_use(serve: Serve, net: Net, world: Upstream) -> None:
    """The host's servers, where the configuration names others by their addresses."""
    with Upstream(host=net.at(7).host, port=53) as hosts, Upstream() as routed:
        settings = {**DETECTING, "[forward.routes]": {"suffix": "corp.example", "upstreams": [str(routed)]}}
        live = serve(listen=[text(net.at(OURS))], upstreams=[str(world)], settings=settings)
        live.resolv_conf.write_text(f"nameserver {net.at(7).host}\n")
        live.hang_up()
        assert answers(live.udp("www.example.")) == ["192.0.2.1"]
        until(lambda: probes(world) and probes(routed))

        assert all(".test" in name for name in probes(world))
        assert all(".corp.example" in name for name in probes(routed))
        assert not hosts.asked
