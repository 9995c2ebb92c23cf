"""Docker's resolver and pydns in the same containers, asked the same questions: every answer beside its twin.

`python -m tests.docker.report` prints the same as a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import dns.flags
import dns.message
import pytest

from tests.docker.beside import Beside, Outcome, is_from_upstream, outcome
from tests.docker.comparison import BETTER, SAME, WRONG, Compared, compare, side_by_side
from tests.docker.daemon import Daemon
from tests.docker.questions import ASKERS, Question, questions
from tests.docker.topology import NETWORKS, Topology
from tests.docker.upstream import FOR_DOCKER, FOR_PYDNS, MARKS

pytestmark = pytest.mark.root

QUESTIONS = list(questions())


@pytest.fixture(scope="module")
def topology(daemon: Daemon) -> Topology:
    return Topology(daemon)


@pytest.fixture(scope="module")
def pairs(daemon: Daemon, topology: Topology) -> Iterator[dict[str, Beside]]:
    with side_by_side(daemon, topology) as started:
        yield started


@pytest.fixture(scope="module")
def results(topology: Topology, pairs: dict[str, Beside]) -> dict[Question, Compared]:
    return {compared.question: compared for compared in compare(topology, pairs)}


def test_no_question_is_asked_twice() -> None:
    asked = [(question.asker, question.name, question.rtype) for question in QUESTIONS]
    assert len(asked) == len(set(asked)) > 250


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda asked: f"{asked.asker}-{asked.name}-{asked.rtype}")
def test_an_answer_is_dockers_or_the_listed_better_one(results: dict[Question, Compared], question: Question) -> None:
    assert results[question].verdict != WRONG, results[question]


def test_most_answers_are_dockers(results: dict[Question, Compared]) -> None:
    assert sum(found.verdict == SAME for found in results.values()) > len(results) / 2


def test_only_docker_tells_the_world_what_containers_are_called(
    daemon: Daemon, results: dict[Question, Compared]
) -> None:
    ours = {found.name.lower() for found in results.values() if found.verdict == BETTER}
    # what is known to one container, or cut off from the world for it, may be a stranger's name to another
    ours -= {
        found.name.lower() for found in results.values() if found.verdict == SAME and is_from_upstream(found.pydns)
    }
    assert len(ours & daemon.upstream.names(FOR_DOCKER)) > 40
    assert ours & daemon.upstream.names(FOR_PYDNS) == set()
    assert {"away.example", "x.y", "web.corp"} <= daemon.upstream.names(FOR_PYDNS)


@pytest.mark.parametrize("asker", ["web", "db", "both", "v6b"])
def test_whatever_name_docker_knows_pydns_knows_alike(topology: Topology, pairs: dict[str, Beside], asker: str) -> None:
    """Every name of every container, bare and with every network's name: whoever may know it and whoever may not."""
    bare = set(topology.names())
    names = [*bare, *(f"{name}.{network}" for name in bare for network in NETWORKS), *topology.reverse_names()]

    def ask(name: str) -> tuple[str, Outcome, Outcome]:
        rtype = "PTR" if name.endswith(".arpa") else "A"
        return name, pairs[asker].docker.look_up(name, rtype), pairs[asker].pydns.look_up(name, rtype)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, names))
    known = [each for each in found if not is_from_upstream(each[1])]
    leaked = [each for each in found if each not in known]
    assert len(known) > 15
    assert len(leaked) > 100
    assert [each for each in known if not each[1].same_as(each[2])] == []
    # What Docker sends away is answered here (no such name, or one in another letter case), or sent away just as well.
    for name, docker, pydns in leaked:
        assert pydns.has_soa or pydns.same_as(docker) or all(" 600 " in record for record in pydns.answers), name
        if pydns.same_as(docker):
            assert "." in name.strip("."), name
            assert not name.lower().endswith(tuple(f".{network}" for network in NETWORKS)), name


def flagged(**changes: int) -> Callable[[str], dns.message.Message]:
    def make(name: str) -> dns.message.Message:
        query = dns.message.make_query(name, "A", use_edns=False)
        query.flags = changes["flags"]
        return query

    return make


@pytest.mark.parametrize("name", ["db", "pool", "db.mynet", "away.example"])
@pytest.mark.parametrize("flags", [0, dns.flags.RD | dns.flags.CD, dns.flags.CD, dns.flags.RD | dns.flags.AD])
def test_flags_come_back_alike(pairs: dict[str, Beside], name: str, flags: int) -> None:
    query = flagged(flags=flags)(name)
    docker, pydns = pairs["web"].docker.ask(query), pairs["web"].pydns.ask(query)
    assert docker is not None
    assert pydns is not None
    assert outcome(pydns).same_as(outcome(docker))


@pytest.mark.parametrize("name", ["db", "pool", "v6b", "svc.one.mynet", "away.example"])
@pytest.mark.parametrize("rtype", ["A", "AAAA"])
def test_tcp_answers_alike(pairs: dict[str, Beside], name: str, rtype: str) -> None:
    query = dns.message.make_query(name, rtype, use_edns=False)
    docker, pydns = (each.ask(query, over_tcp=True) for each in (pairs["web"].docker, pairs["web"].pydns))
    assert docker is not None
    assert pydns is not None
    assert outcome(pydns).same_as(outcome(docker))


def test_a_query_with_edns_gets_edns_back_from_pydns_alone(pairs: dict[str, Beside]) -> None:
    query = dns.message.make_query("db", "A", use_edns=0, payload=1232, want_dnssec=True)
    docker, pydns = pairs["web"].docker.ask(query), pairs["web"].pydns.ask(query)
    assert docker is not None
    assert pydns is not None
    assert outcome(pydns).same_as(outcome(docker))
    assert (docker.edns, pydns.edns, pydns.payload) == (-1, 0, 1232)  # RFC 6891 6.1.1: an OPT is answered with one
    assert pydns.ednsflags & dns.flags.DO


def test_who_is_cut_off_is_told_why(pairs: dict[str, Beside]) -> None:
    query = dns.message.make_query("away.example", "A", use_edns=0)
    reply = pairs["intcli"].pydns.ask(query)
    assert reply is not None
    assert outcome(reply).status == "SERVFAIL"
    assert "internal networks" in outcome(reply).reason


def test_both_change_the_order_of_addresses(pairs: dict[str, Beside]) -> None:
    query = dns.message.make_query("pool", "A", use_edns=False)
    for resolver in (pairs["web"].docker, pairs["web"].pydns):
        replies = [resolver.ask(query) for _ in range(40)]
        assert len({tuple(rdata.to_text() for rdata in reply.answer[0]) for reply in replies if reply}) == 2


def test_dig_and_the_containers_own_nslookup_agree_with_what_was_compared(
    daemon: Daemon, topology: Topology, pairs: dict[str, Beside]
) -> None:
    address = topology.fill("{db.mynet.ip4}")
    for asker, resolver in (("web", "127.0.0.11"), ("web", "127.0.0.12"), ("db", "127.0.0.12")):
        assert daemon.inside(asker, "dig", "+short", f"@{resolver}", "db") == address
        assert address in daemon.docker("exec", asker, "nslookup", "db", resolver)
    assert daemon.inside("web", "dig", "+short", "@127.0.0.12", "away.example") == MARKS["A"]


def test_every_asker_is_asked() -> None:
    assert {question.asker for question in QUESTIONS} == set(ASKERS)


def test_pydns_has_nothing_to_complain_of(pairs: dict[str, Beside], results: dict[Question, Compared]) -> None:
    assert results
    for beside in pairs.values():
        (line,) = beside.process.stderr_text().splitlines()
        assert "ready: " in line
        assert f"{len(NETWORKS)} networks" in line
