"""The kernel's answers to small questions, and messages that make no sense."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from resolver.attach import nfnetlink
from resolver.attach.inside import ThreadPool
from resolver.attach.netns import identity, locate
from tests.netns.test_attach_redirect import Lab

pytestmark = pytest.mark.root


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


def test_tables_and_generation_follow_what_nft_does(lab: Lab) -> None:
    assert lab.inside(nfnetlink.tables) == frozenset()
    before = lab.inside(nfnetlink.generation)
    assert before is not None
    lab.run("nft", "add", "table", "ip", "one")
    lab.run("nft", "add", "table", "ip6", "six")

    assert lab.inside(nfnetlink.tables) == frozenset({"one"})
    assert lab.inside(nfnetlink.generation) == before + 2
    lab.run("nft", "list", "ruleset")
    lab.run("nft", "-c", "delete", "table", "ip", "one")
    assert lab.inside(nfnetlink.generation) == before + 2


def test_chains_are_those_of_one_table(lab: Lab) -> None:
    assert lab.inside(nfnetlink.chains, "one") == frozenset()
    for command in ("table ip one", "chain ip one first", "chain ip one second", "table ip two", "chain ip two third"):
        lab.run("nft", "add", *command.split())
    lab.run("nft", "add", "table", "ip6", "one")
    lab.run("nft", "add", "chain", "ip6", "one", "fourth")

    assert lab.inside(nfnetlink.chains, "one") == frozenset({"first", "second"})


def test_a_generation_belongs_to_one_namespace(lab: Lab) -> None:
    with Lab() as other:
        before = other.inside(nfnetlink.generation)
        lab.run("nft", "add", "table", "ip", "one")
        assert other.inside(nfnetlink.generation) == before


def test_without_the_privilege_nothing_is_told_and_nothing_is_raised() -> None:
    code = (
        "import os; from resolver.attach import nfnetlink\n"
        "os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)\n"
        "print(nfnetlink.tables())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("None", "frozenset()")


def test_attributes_end_at_the_first_that_makes_no_sense() -> None:
    good = b"\x08\x00\x01\x00abcd"
    assert [(kind, good[start:end]) for kind, start, end in nfnetlink.attributes(good, 0, 8)] == [(1, b"abcd")]
    for length in range(8):
        assert list(nfnetlink.attributes(good[:length], 0, length)) == []
    assert list(nfnetlink.attributes(b"\x03\x00\x01\x00", 0, 4)) == []


def test_a_shared_thread_goes_back_after_each_job(lab: Lab) -> None:
    pool = ThreadPool()
    with Lab() as other:
        ways = [pool.enter(locate(one.name)) for one in (lab, other)]
        seen = [way.rules.call(identity) for way in ways for _ in range(20)]
        assert seen == [lab.inside(identity)] * 20 + [other.inside(identity)] * 20
        for way in ways:
            way.close()
    assert pool._rules.submit(identity).result() == identity()
    pool.close()
