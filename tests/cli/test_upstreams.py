"""`pydns upstreams` and `pydns cache`, of a running server."""

from __future__ import annotations

import json
import re
import socket

import pytest

from tests.cli.program import complaint, pydns
from tests.scenarios.conftest import Serve
from tests.scenarios.live import Live, answers
from tests.scenarios.upstream import ADDRESS, Upstream


@pytest.fixture
def closed() -> str:
    """An address at which nobody listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{sock.getsockname()[1]}"


def metrics_of(live: Live) -> str:
    """Where the server's operators' pages are, as a flag takes it."""
    return live.http.removeprefix("http://")


def test_who_is_up_and_who_is_down(serve: Serve, closed: str) -> None:
    with Upstream(ADDRESS) as good:
        live = serve(upstreams=[closed, str(good)])
        for number in range(3):
            assert answers(live.udp(f"n{number}.example.")) == ["192.0.2.1"]
        done = pydns("upstreams", "--metrics", metrics_of(live))
        told = json.loads(pydns("upstreams", "--json", "--metrics", metrics_of(live)).stdout)

    first, second = done.stdout.splitlines()
    assert first.startswith(closed)
    assert " down " in first
    assert re.search(r"connection_refused  down for \d s \(connection_refused\)  probed in", first)
    assert second.startswith(str(good))
    assert " up " in second
    assert "3 asked" in second
    assert ["down", "up"] == [upstream["state"] for upstream in told["upstreams"]]


def test_what_is_kept_is_shown_and_forgotten(serve: Serve) -> None:
    with Upstream(ADDRESS) as good:
        live = serve(upstreams=[str(good)])
        for name in ("www.example.", "www.example.", "other.test."):
            assert answers(live.udp(name)) == ["192.0.2.1"]
        at = ("--metrics", metrics_of(live))
        everything = pydns("cache", "dump", *at).stdout
        one = pydns("cache", "dump", "Example", *at).stdout
        flushed = pydns("cache", "flush", "example.", *at).stdout
        left = json.loads(pydns("cache", "dump", "--json", *at).stdout)

    assert "other.test. A  NOERROR  " in everything
    assert "of 4096 KiB, 33% of 3 questions found" in everything
    assert "www.example. A  NOERROR  " in one
    assert " s left  1 hit\n" in one
    assert "other.test." not in one
    assert "1 answer forgotten\n" == flushed
    assert ["other.test."] == [entry["name"] for entry in left["entries"]]


def test_answers_to_one_question_that_differ_are_told_apart(serve: Serve) -> None:
    with Upstream(ADDRESS) as good:
        live = serve(upstreams=[str(good)])
        live.udp("www.example.")
        live.udp("www.example.", use_edns=0)
        live.udp("www.example.", use_edns=0, want_dnssec=True)
        live.udp("alone.example.")
        lines = pydns("cache", "dump", "--metrics", metrics_of(live)).stdout.splitlines()

    assert [f"({how}; of {good})" for how in ("without EDNS", "plain", "DO")] == [
        line.partition("0 hits  ")[2] for line in lines[:3]
    ]
    assert lines[3].endswith("0 hits")


def test_the_cache_is_emptied_by_post_alone(serve: Serve) -> None:
    live = serve()

    assert 405 == live.page("/cache/flush").status


def test_a_name_that_is_none(serve: Serve) -> None:
    live = serve()

    assert "empty label" in complaint("cache", "dump", "a..b", "--metrics", metrics_of(live))


@pytest.mark.parametrize("arguments", [("upstreams",), ("cache", "dump"), ("cache", "flush")])
def test_without_a_server(arguments: tuple[str, ...], closed: str) -> None:
    assert f"no pydns answers at {closed}" in complaint(*arguments, "--metrics", closed)
    assert "metrics.listen is off" in complaint(*arguments, "--metrics", "off")
