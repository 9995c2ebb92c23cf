"""`pydns aardvark` beside Debian's aardvark-dns 1.4: the same folder in the same world, answer by answer.

Every difference is listed here by its question, with what each of them says and why ours is another; docs/podman.md has
them in words. What differs in every answer is in the last test.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.netns.aardvark import REAL, DropIn, Folder, network_file, subreaper
from tests.netns.world import CONTAINERS, DigReply, World

pytestmark = pytest.mark.root

MYNET, MYNET6, BACKEND, VAULT = "172.18.0.1", "fd00:18::1", "172.19.0.1", "172.20.0.1"
SHORT_ID = CONTAINERS["db"].id[:12]
REAL_PORT, OUR_PORT = 5301, 5302
POOL = tuple(f"172.18.9.{number}" for number in range(1, 61))


class Asked(NamedTuple):
    """A question: who asks, where, and dig's words."""

    asker: str
    server: str
    words: str

    def __str__(self) -> str:
        return f"{self.asker} @{self.server} {self.words}"


class Said(NamedTuple):
    """What counts of an answer."""

    status: str
    rdata: tuple[str, ...]


SAME = [
    *(
        Asked(asker, server, f"{name} {rtype}")
        for asker, server in (("web", MYNET), ("web", MYNET6), ("cache", BACKEND), ("host", MYNET))
        for name in ("db", "database", SHORT_ID, "db.dns.podman", f"{SHORT_ID}.dns.podman")
        for rtype in ("A", "AAAA")
    ),
    *(Asked("db", BACKEND, f"{name} {rtype}") for name in ("db", "DATABASE", SHORT_ID) for rtype in ("A", "AAAA")),
    *(Asked("db", server, name) for server in (MYNET, MYNET6, BACKEND) for name in ("web", "cache", "shared")),
    *(Asked(asker, server, "shared") for asker, server in (("web", MYNET), ("cache", BACKEND))),
    *(Asked("cache", BACKEND, f"cache {rtype}") for rtype in ("AAAA", "MX", "TXT", "SRV", "HTTPS")),
    Asked("web", MYNET, "pool"),
    Asked("web", MYNET, "cache.dns.podman"),
    Asked("web", MYNET, "nothere.dns.podman"),
    Asked("web", MYNET, "-x 172.18.0.2"),
    Asked("web", MYNET, "-x fd00:18::2"),
    Asked("db", MYNET, "-x 172.19.0.3"),
    Asked("web", MYNET, "-x 172.19.0.3"),
    Asked("web", MYNET, "-x 172.18.0.200"),
    Asked("host", MYNET, "-x 172.18.0.2"),
    Asked("host", VAULT, "secret"),
    Asked("secret", VAULT, "secret"),
    Asked("web", MYNET, "www.example.test"),
    Asked("web", MYNET, "www.example.test AAAA"),
    Asked("web", MYNET, "www.example.test TXT"),
    Asked("web", MYNET, "nothere.example.test"),
    Asked("web", MYNET, "db.mynet"),
]

SILENCE = Said("", ())
REFUSED = Said("REFUSED", ())
NXDOMAIN = Said("NXDOMAIN", ())
DB = Said("NOERROR", ("172.18.0.2",))

DIFFERENT = {
    Asked("web", MYNET, "Db.Dns.Podman"): (REFUSED, DB, "letter case makes no other name (RFC 4343)"),
    Asked("host", MYNET, "DATABASE"): (NXDOMAIN, DB, "nor for somebody who is no container"),
    Asked("db", BACKEND, "db.dns.podman"): (
        Said("NOERROR", ("172.19.0.2",)),
        Said("NOERROR", ("172.18.0.2", "172.19.0.2")),
        "with the search domain a name means what it means without it: all networks of the asker",
    ),
    Asked("web", MYNET, "dns.podman"): (REFUSED, Said("NOERROR", ()), "the search domain itself is not forwarded"),
    Asked("web", MYNET, "nothere"): (NXDOMAIN, REFUSED, "a bare name is forwarded, as by aardvark-dns 2.0"),
    Asked("web", MYNET, "+tcp db"): (SILENCE, DB, "1.4 does not listen for TCP; 2.0 does"),
    Asked("cache", BACKEND, "db ANY"): (
        SILENCE,
        Said("NOERROR", ("172.19.0.2",)),
        "no query goes unanswered (RFC 8482)",
    ),
    Asked("secret", VAULT, "www.example.test"): (
        Said("NOERROR", ("192.0.2.80",)),
        NXDOMAIN,
        "%int means internal, as for aardvark-dns 2.0",
    ),
    Asked("web", MYNET, "big.example.test TXT"): (SILENCE, None, "a long answer comes by TCP; 1.4 loses it"),
    Asked("web", MYNET, "-c CH version.bind TXT"): (
        Said("NOTIMP", ()),
        REFUSED,
        "only class IN is served; what the upstream says of itself is not our answer",
    ),
    Asked("web", MYNET, "+opcode=4 db"): (DB, Said("NOTIMP", ()), "a NOTIFY is not a query (RFC 1035 4.1.1)"),
    Asked("web", MYNET, "+edns=1 +noednsneg db"): (
        DB,
        Said("BADVERS", ()),
        "only version 0 is spoken (RFC 6891 6.1.3)",
    ),
}


@pytest.fixture(scope="module")
def both(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DropIn, DropIn]]:
    """aardvark-dns and pydns, each on a folder of the same files, at ports of their own."""
    with subreaper():
        real, ours = (_folder(tmp_path_factory.mktemp(name) / "aardvark-dns") for name in ("real", "ours"))
        with (
            DropIn(world, real, program=[REAL], port=REAL_PORT) as first,
            DropIn(world, ours, port=OUR_PORT) as second,
        ):
            yield first, second


def _folder(path: Path) -> Folder:
    folder = Folder(path)
    folder.write_world()
    pool = "".join(f"{number:012x}{number:052x} {address}  pool\n" for number, address in enumerate(POOL))
    folder.write(
        mynet=network_file("mynet") + f"aa 172.18.0.71  shared,one\n{pool}",
        backend=network_file("backend") + "bb 172.19.0.72  shared,two\n",
    )
    return folder


def said(reply: DigReply) -> Said:
    return Said(reply.status, tuple(reply.rdata))


def ask(world: World, server: DropIn, asked: Asked) -> DigReply:
    return server.answers(world, asked.asker, asked.server, "+time=2", *asked.words.split())


@pytest.mark.parametrize("asked", SAME, ids=str)
def test_the_answer_is_the_same(world: World, both: tuple[DropIn, DropIn], asked: Asked) -> None:
    theirs, ours = (ask(world, server, asked) for server in both)
    assert theirs.status
    assert said(ours) == said(theirs)


@pytest.mark.parametrize("asked", DIFFERENT, ids=str)
def test_the_difference_is_the_one_that_is_meant(world: World, both: tuple[DropIn, DropIn], asked: Asked) -> None:
    real, ours, reason = DIFFERENT[asked]
    theirs, mine = (ask(world, server, asked) for server in both)
    assert said(theirs) == real
    if ours is None:
        assert (mine.status, len(mine.rdata) > len(theirs.rdata)) == ("NOERROR", True), reason
    else:
        assert said(mine) == ours, reason


def test_what_differs_everywhere(world: World, both: tuple[DropIn, DropIn]) -> None:
    """TTL, owner, SOA and AD.

    The TTL is 0, as aardvark-dns 2.0 has it; with 86400 a container made anew is looked for at its old address. The
    owner is the name in the client's letters; 1.4 lowers it, and for a PTR it says the root. Negative answers carry a
    SOA (RFC 2308). AD is not copied from the query: nothing was validated (RFC 6840 5.8).
    """
    real, ours = both
    for words, theirs, mine in (
        ("DB", "db. 86400 IN A 172.18.0.2", "DB. 0 IN A 172.18.0.2"),
        ("-x 172.18.0.3", ". 86400 IN PTR web.", "3.0.18.172.in-addr.arpa. 0 IN PTR web."),
    ):
        asked = Asked("web", MYNET, words)
        their_reply, my_reply = ask(world, real, asked), ask(world, ours, asked)
        assert theirs in their_reply.answer
        assert mine in my_reply.answer
        assert ("ad" in their_reply.flags, "ad" in my_reply.flags) == (True, False)
    nothing = Asked("cache", BACKEND, "cache AAAA")
    assert [len(ask(world, server, nothing).authority) for server in both] == [0, 1]


def test_an_answer_that_is_too_large_is_cut(world: World, both: tuple[DropIn, DropIn]) -> None:
    """512 octets without EDNS (RFC 1035 4.2.1); 1.4 sends what the client may have no room for."""
    theirs, ours = (ask(world, server, Asked("web", MYNET, "+noedns +ignore pool")) for server in both)
    assert (len(theirs.answer), "tc" in theirs.flags) == (len(POOL), False)
    assert (0 < len(ours.answer) < len(POOL), "tc" in ours.flags) == (True, True)
    assert ask(world, both[1], Asked("web", MYNET, "+tcp pool")).rdata == sorted(POOL)


def test_without_an_upstream_that_answers_one_is_silent(world: World, tmp_path: Path) -> None:
    conf = tmp_path / "resolv.conf"
    conf.write_text("nameserver 127.0.0.77\n")
    with subreaper():
        real, ours = (_folder(tmp_path / name) for name in ("real", "ours"))
        with (
            DropIn(world, real, program=[REAL], port=5311, resolv_conf=conf) as first,
            DropIn(world, ours, port=5312, resolv_conf=conf) as second,
        ):
            asked = Asked("web", MYNET, "www.example.test")
            assert said(ask(world, first, asked)) == SILENCE
            mine = ask(world, second, asked)
    assert (mine.status, mine.ede) == ("SERVFAIL", "23 (Network Error): (127.0.0.77:53 refused)")
