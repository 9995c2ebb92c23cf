"""Both lanes, the compiled one and that in Python, answer alike; each test is one of a running server."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Sequence

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from tests.scenarios.conftest import Serve
from tests.scenarios.live import PYDNS, At, answers, ask, over_udp, until

LANES = {"compiled": (), "python": ("env", "PYDNS_LANE=python")}
MANY = "".join(
    f'[networks.mynet.endpoints.one{number}]\naddresses = ["172.18.1.{number}"]\naliases = ["many", "{alias}"]\n'
    for number in range(1, 61)
    for alias in (["three"] if number <= 3 else ["some"])
)
REGISTRY = f'[networks.mynet]\nsubnets = ["172.18.0.0/16"]\n{MANY}'


@pytest.fixture(params=LANES)
def prefix(request: pytest.FixtureRequest) -> Sequence[str]:
    lane: Sequence[str] = LANES[request.param]
    return lane


def test_it_is_said_which_one_it_is(prefix: Sequence[str]) -> None:
    said = subprocess.run([*prefix, *PYDNS, "--version"], capture_output=True, text=True, check=True).stdout

    assert ("compiled" if not prefix else "in Python") in said


def test_each_order_comes_as_often_as_another(serve: Serve, prefix: Sequence[str]) -> None:
    live = serve(registry=REGISTRY, prefix=prefix)

    first = Counter(answers(live.udp("three.", "A"))[0] for _ in range(30))

    assert {f"172.18.1.{number}": 10 for number in (1, 2, 3)} == first


def test_every_way_to_ask_gets_the_answer_that_fits(serve: Serve, prefix: Sequence[str]) -> None:
    live = serve(registry=REGISTRY, prefix=prefix)
    cookies = [dns.edns.GenericOption(dns.edns.OptionType.COOKIE, bytes([number] * 8)) for number in range(3)]
    for _ in range(2):
        small = live.udp("many.", "A")
        assert small.flags & dns.flags.TC
        assert len(answers(small)) < 60
        for size in (1232, 4096):
            large = live.udp("many.", "A", use_edns=0, payload=size, want_dnssec=size > 1232)
            assert not large.flags & dns.flags.TC
            assert 60 == len(answers(large))
            assert bool(large.ednsflags) == (size > 1232)
        for cookie in cookies:
            reply = live.udp("oNe7.", "A", use_edns=0, options=[cookie])
            assert ["172.18.1.7"] == answers(reply)
            assert "oNe7." == reply.question[0].name.to_text()
            assert not reply.options


def test_a_reply_leaves_from_the_address_that_was_asked(serve: Serve, prefix: Sequence[str]) -> None:
    live = serve(registry=REGISTRY, listen=("0.0.0.0:0", "[::]:0"), prefix=prefix)
    four, six = live.listening
    for _ in range(3):
        for at in (At("127.0.0.1", four.port), At("127.1.2.3", four.port), At("::1", six.port)):
            assert ["172.18.1.9"] == answers(over_udp(at, ask("one9.")))


def test_another_client_has_another_view(serve: Serve, prefix: Sequence[str]) -> None:
    other = '[networks.lo]\nsubnets = ["127.0.0.0/30"]\n[networks.lo.endpoints.me]\naddresses = ["127.0.0.2"]\n'
    live = serve(registry=REGISTRY + other, prefix=prefix)
    for _ in range(3):
        assert ["127.0.0.2"] == answers(live.udp("me.", source="127.0.0.2"))
        assert [] == answers(live.udp("one1.", source="127.0.0.2"))
        assert ["172.18.1.1"] == answers(live.udp("one1.", source="127.0.0.99"))


def test_a_change_is_served_at_once(serve: Serve, prefix: Sequence[str]) -> None:
    live = serve(registry=REGISTRY, prefix=prefix)
    assert [["172.18.1.1"]] * 2 == [answers(live.udp("one1.")) for _ in range(2)]

    (live.registry / "networks.toml").write_text(REGISTRY.replace('"172.18.1.1"', '"172.18.9.9"'))
    until(lambda: ["172.18.9.9"] == answers(live.udp("one1.")))
    assert [["172.18.9.9"]] * 2 == [answers(live.udp("one1.")) for _ in range(2)]


def test_no_query_is_lost_to_the_counters(serve: Serve, prefix: Sequence[str]) -> None:
    live = serve(registry=REGISTRY, prefix=prefix)
    for number in range(1, 11):
        for _ in range(5):
            assert answers(live.udp(f"one{number}."))

    assert 50 == live.count("pydns_dns_requests_total", proto="udp", type="A")
    assert 50 == live.count("pydns_dns_responses_total", rcode="NOERROR")
    assert 50 == live.count("pydns_dns_request_duration_seconds_count")


def test_what_does_not_exist_below_a_network_exists_as_soon_as_it_does(serve: Serve, prefix: Sequence[str]) -> None:
    live = serve(registry=REGISTRY, prefix=prefix)
    for number in range(20):
        reply = live.udp(f"x{number}.y.mynet.", "AAAA" if number % 2 else "A")
        assert dns.rcode.NXDOMAIN == reply.rcode()
        assert "mynet." == reply.authority[0].name.to_text()
    assert ["172.18.1.1"] == answers(live.udp("one1.mynet."))

    more = '[networks.mynet.endpoints.new]\naddresses = ["172.18.9.9"]\naliases = ["x1.y"]\n'
    (live.registry / "networks.toml").write_text(REGISTRY + more)
    until(lambda: ["172.18.9.9"] == answers(live.udp("x1.y.mynet.")))
    assert 20 <= live.count("pydns_dns_responses_total", rcode="NXDOMAIN")
