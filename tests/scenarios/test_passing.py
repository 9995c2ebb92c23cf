"""What an upstream said is given out again by the lane itself: the right reply, to whom and as long as it is right."""

from __future__ import annotations

import subprocess
import time
from typing import Any

import dns.edns
import dns.flags
import dns.rdatatype

from tests.scenarios.conftest import Serve
from tests.scenarios.live import PYDNS, Live, answers, until
from tests.scenarios.upstream import Asked, Say, Upstream

NAME = "www.example.org"
REGISTRY = """
[networks.one]
subnets = ["127.0.0.2/32"]
[networks.two]
subnets = ["127.0.0.3/32"]
dns = ["{two}"]
"""
HITS = "pydns_cache_hits_total"


def numbered(asked: Asked) -> Say:
    """192.0.2.1 the first time that it is asked; it is told how the answer was asked for."""
    flags = asked.message.flags & dns.flags.CD
    return Say((f"{{name}} 300 IN A 192.0.2.{1 + (flags > 0)}",))


def ask_often(live: Live, times: int = 5, **options: Any) -> list[list[str]]:
    return [answers(live.udp(NAME, **options)) for _ in range(times)]


def test_it_is_asked_for_once_and_every_answer_is_counted(serve: Serve) -> None:
    with Upstream(numbered) as upstream:
        live = serve(upstreams=[str(upstream)])

        assert [["192.0.2.1"]] * 5 == ask_often(live)
        assert ["192.0.2.1"] == answers(live.udp(NAME.upper()))

        assert [NAME] == upstream.distinct()
        assert 5 == live.count(HITS)
        assert 5 == live.count("pydns_dns_responses_total", stage="cache")
        assert 6 == live.count("pydns_dns_requests_total", type="A")
        assert "5 hits" in shown(live)


def shown(live: Live) -> str:
    ran = subprocess.run(
        [*PYDNS, "cache", "dump", NAME, "--metrics", live.http.removeprefix("http://")],
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout


def test_ttls_are_counted_down_and_its_time_ends(serve: Serve) -> None:
    with Upstream(Say(("{name} 3 IN A 192.0.2.1",))) as upstream:
        live = serve(upstreams=[str(upstream)], settings={"cache": {"prefetch": False}})
        began = time.monotonic()
        ttls = []
        while len(upstream.asked) == 1 or not upstream.asked:
            ttls.append(live.udp(NAME).answer[0].ttl)
            assert time.monotonic() - began < 20
            time.sleep(0.05)

        assert 2.9 < time.monotonic() - began
        assert ttls[:-1] == sorted(ttls[:-1], reverse=True)
        assert {3, 2, 1} <= set(ttls)


def test_who_asks_otherwise_is_not_given_it(serve: Serve) -> None:
    with Upstream(numbered) as upstream:
        live = serve(upstreams=[str(upstream)])
        ask_often(live)

        checking_disabled = live.udp(NAME, flags=dns.flags.RD | dns.flags.CD)
        odd = dns.edns.GenericOption(dns.edns.OptionType.NSID, b"")
        for _ in range(3):
            assert not live.udp(NAME, use_edns=0, options=[odd]).flags & dns.flags.TC

        assert ["192.0.2.2"] == answers(checking_disabled)
        assert 5 == len(upstream.asked), (
            "once plain, once with CD, and each time with the option that is its own matter"
        )


def test_a_view_with_other_upstreams_has_other_replies(serve: Serve) -> None:
    with Upstream(numbered) as upstream, Upstream(Say(("{name} 300 IN A 192.0.2.99",))) as other:
        live = serve(registry=REGISTRY.format(two=other), upstreams=[str(upstream)])
        for _ in range(4):
            assert ["192.0.2.1"] == answers(live.udp(NAME, source="127.0.0.2"))
            assert ["192.0.2.99"] == answers(live.udp(NAME, source="127.0.0.3"))
            assert ["192.0.2.1"] == answers(live.udp(NAME))


def test_what_is_flushed_is_given_out_no_more(serve: Serve) -> None:
    with Upstream(Say(("{name} 300 IN A 192.0.2.1",))) as upstream:
        live = serve(upstreams=[str(upstream)])
        ask_often(live)
        upstream.rule = lambda asked: Say(("{name} 300 IN A 192.0.2.7",))
        assert [["192.0.2.1"]] * 5 == ask_often(live)

        subprocess.run([*PYDNS, "cache", "flush", "--metrics", live.http.removeprefix("http://")], check=True)

        assert [["192.0.2.7"]] * 5 == ask_often(live)
        with live.tcp() as stream:
            assert [["192.0.2.7"]] * 3 == [answers(stream.ask(NAME)) for _ in range(3)]


def test_other_upstreams_and_a_new_container_count_at_once(serve: Serve) -> None:
    with Upstream(numbered) as upstream, Upstream(Say(("{name} 300 IN A 192.0.2.99",))) as other:
        live = serve(upstreams=[str(upstream)])
        ask_often(live)

        live.tables["forward"]["upstreams"] = [str(other)]
        live.write_config()
        live.hang_up()
        until(lambda: ["192.0.2.99"] == answers(live.udp(NAME)))
        assert [["192.0.2.99"]] * 5 == ask_often(live)

        more = f'[networks.new]\n[networks.new.endpoints.www]\naddresses = ["172.18.0.9"]\naliases = ["{NAME}"]\n'
        (live.registry / "more.toml").write_text(more)
        until(lambda: ["172.18.0.9"] == answers(live.udp(NAME)))
        assert [["172.18.0.9"]] * 5 == ask_often(live)


def test_a_client_subnet_that_is_passed_on_is_always_asked_about(serve: Serve) -> None:
    subnet = dns.edns.ECSOption("192.0.2.0", 24)
    with Upstream(numbered) as upstream:
        live = serve(upstreams=[str(upstream)], settings={"forward": {"client_subnet": "pass"}})
        ask_often(live)
        before = len(upstream.asked)
        for _ in range(3):
            live.udp(NAME, use_edns=0, options=[subnet])

        assert before + 3 == len(upstream.asked)


def test_a_popular_name_is_fetched_before_its_time_is_over(serve: Serve) -> None:
    """The cache hears nothing of those whom the lane answers, and fetches it all the same."""
    with Upstream(Say(("{name} 4 IN A 192.0.2.1",))) as upstream:
        live = serve(upstreams=[str(upstream)])

        def is_fetched_anew() -> bool:
            assert live.udp(NAME).answer[0].ttl >= 0
            return len(upstream.asked) > 1

        until(is_fetched_anew, 10, every_s=0.02)
        assert 1 == live.count("pydns_cache_prefetch_total")
