"""What is answered without the chain, out of the registry's own dictionaries, is to the octet what the chain says."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable
from typing import Any

import dns.message
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resolver.pipeline.chain import Chain
from resolver.pipeline.outcome import Reply
from resolver.pipeline.plain import MOST_STEPS, plain_in
from resolver.pipeline.podman import chain_for_podman
from resolver.registry.model import Contribution, Endpoint, Host, Network
from resolver.registry.store import Store
from resolver.views import View, Views, ViewSettings
from resolver.wire.constants import CD, RD
from resolver.wire.known import Label
from resolver.wire.lane import LaneTable
from resolver.wire.name import fold, from_text
from resolver.wire.query import Query, scan
from resolver.wire.ready import PlainTable
from resolver.wire.reply import pack
from resolver.zones.model import ZoneSet
from tests.unit.asking import CHAIN, header, opt, query, question, views_of
from tests.unit.pipeline.worlds import HOSTS, WORLD

PODMAN = chain_for_podman(fold(from_text("dns.podman")))
FOR_PODMAN = ViewSettings(ttl=0, negative_ttl=0, joins_networks=True, qualifies_names=False)
LANES: tuple[Callable[[], Table], ...] = (lambda: LaneTable(0), PlainTable)
COOKIE = b"\0\x0a\0\x08cookies!"
LONG = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 57])


Table = LaneTable | PlainTable


def table_of(chain: Chain, view: View, made: Callable[[], Table] = lambda: LaneTable(0)) -> Table:
    table = made()
    if (known := plain_in(chain, view)) is not None:
        table.know(known)
    return table


def by_chain(chain: Chain, view: View, asked: Query) -> list[bytes]:
    """Each order of the chain's reply; nothing when somebody else is to be asked."""
    outcome = chain.resolve(asked, view).outcome
    if not isinstance(outcome, Reply):
        return []
    packed = pack(asked, outcome.answer, asked.udp_limit(), 16)
    return [asked.wire[:2] + variant for variant in packed.variants]


def told(chain: Chain, view: View, name: str, rtype: str = "A", **keys: Any) -> bytes | None:
    """What is said without the chain, by either lane, which is what it says."""
    asked = query(name, rtype, **keys)
    reply, of_python = (table_of(chain, view, made).look_up(asked.wire) for made in LANES)
    assert reply is None or [reply] == by_chain(chain, view, asked)
    assert of_python == reply or (of_python is None and asked.edns is not None and asked.edns.has_options)
    return reply


def read_out(reply: bytes) -> str:
    return dns.message.from_wire(reply).to_text().lower()


in_both = pytest.mark.parametrize("made", LANES, ids=["compiled", "python"])


def world() -> Views:
    return views_of(WORLD, hosts_text=HOSTS)


def test_who_has_links_asks_the_chain() -> None:
    assert plain_in(CHAIN, world().pinned(("mynet",), "web")) is None


@pytest.mark.parametrize("rtype", ["A", "AAAA", "HTTPS"])
@pytest.mark.parametrize("name", ["vault", "safe", "Db", "vault.backend", "db.backend"])
def test_one_address_of_each_kind_is_plain(name: str, rtype: str) -> None:
    view = world().pinned(("backend",), None)

    assert told(CHAIN, view, name, rtype) is not None
    assert told(CHAIN, view, name, rtype, edns=opt(4096, do=True, rdata=COOKIE), flags=RD | CD) is not None
    assert told(CHAIN, view, name, rtype, edns=opt(rdata=b"\0\1\0\0"), flags=0) is not None


@pytest.mark.parametrize(
    ("name", "rtype"),
    [
        ("vault", "TXT"),
        ("vault", "ANY"),
        ("nobody", "A"),
        ("printer", "A"),  # has two addresses
        ("host.docker.internal", "A"),
        ("_80._tcp.vault", "A"),
        ("9.0.19.172.in-addr.arpa", "A"),
        ("0.19.172.in-addr.arpa", "PTR"),
        ("77.0.19.172.in-addr.arpa", "PTR"),
        ("09.0.19.172.in-addr.arpa", "PTR"),
        ("x.9.0.19.172.in-addr.arpa", "PTR"),
        ("x.lab", "A"),
        ("vault.corp.net", "A"),
        ("vault.BackEnd", "AAAA"),  # its SOA would be written otherwise
        ("backend", "A"),
        (".", "A"),
    ],
)
def test_all_else_is_the_chains(name: str, rtype: str) -> None:
    assert told(CHAIN, world().pinned(("backend",), None), name, rtype) is None


@in_both
def test_another_class_or_opcode_or_version_is_the_chains(made: Callable[[], Table]) -> None:
    table = table_of(CHAIN, world().pinned(("backend",), None), made)
    whole = header() + question("vault")
    assert table.look_up(whole) is not None
    for odd in (
        header() + question("vault", "A", 3),
        header(0x2900) + question("vault"),
        header(questions=2) + 2 * question("vault"),
        header(additionals=1) + question("vault") + opt(version=1),
        whole + b"\0",
    ):
        assert table.look_up(odd) is None


def test_hosts_come_last_and_a_wildcard_is_nobody_elses() -> None:
    lines = "192.0.2.1 vault\n192.0.2.2 alone ALONE\n192.0.2.3 six\n2001:db8::3 six\n192.0.2.4 x.mynet"
    views = views_of(WORLD, hosts_text=lines)
    backend, wild = views.pinned(("backend",), None), views.pinned(("mynet",), None)

    assert told(CHAIN, backend, "vault")
    assert told(CHAIN, backend, "alone")
    assert told(CHAIN, backend, "six", "AAAA")
    assert told(CHAIN, wild, "db")
    for name in ("db.mynet", "alone", "x.mynet"):  # *.db of the network comes before, and might as well be *.mynet
        assert told(CHAIN, wild, name) is None


def test_an_askers_own_hosts_are_before_it() -> None:
    text = WORLD.replace('dns       = ["10.9.9.9"]', 'extra_hosts = { vault = "192.0.2.1" }')
    view = views_of(text).pinned(("backend",), "rich")

    assert view.extra_hosts
    assert told(CHAIN, view, "vault") is None
    assert told(CHAIN, view, "db")


@pytest.mark.parametrize("name", ["9.0.19.172.in-addr.arpa", "80.2.0.192.IN-addr.arpa", "0." * 31 + "1.ip6.arpa"])
def test_who_has_an_address_is_plain(name: str) -> None:
    views = views_of(WORLD, hosts_text="192.0.2.80 printer\n1000:: far")
    view = views.pinned(("backend",), None)

    for edns in (None, opt(do=True, rdata=COOKIE)):
        assert told(CHAIN, view, name, "PTR", edns=edns) is not None
    named = told(CHAIN, views_of(WORLD, hosts_text=f"192.0.2.1 {name}").pinned(("backend",), None), name, "PTR")
    assert named is not None
    assert b"\0\0" == named[6:8], "a name of ours has what it has, and no PTR"
    podmans = views_of(WORLD, settings=FOR_PODMAN).pinned(("backend",), None)
    assert told(PODMAN, podmans, name, "PTR") is None  # who has every name of the container


def test_podman_knows_a_name_below_its_domain_too() -> None:
    text = '[networks.{}.endpoints.{}]\naddresses = ["10.{}.0.2"]\n'
    views = views_of(*(text.format(*it) for it in (("one", "both", 1), ("two", "both", 2), ("one", "mine", 3))),
                     hosts_text="192.0.2.9 line mine.dns.podman", settings=FOR_PODMAN)  # fmt: skip
    view = views.pinned(("one", "two"), None)

    for name in ("mine", "mine.dns.podman", "Mine.DNS.podman", "line", "line.dns.podman"):
        assert told(PODMAN, view, name), name
        assert told(PODMAN, view, name, "AAAA"), name
    for name in ("both", "both.dns.podman", "dns.podman", "mine.one", "nobody.dns.podman"):
        assert told(PODMAN, view, name) is None, name


@in_both
def test_what_changes_in_a_dictionary_is_seen_at_once(made: Callable[[], Table]) -> None:
    view = world().pinned(("backend",), None)
    table, asked = table_of(CHAIN, view, made), query("vault")
    before = table.look_up(asked.wire)
    (network,) = view.tables
    (vault,) = network.names[asked.key]
    other = Endpoint("vault", (ipaddress.ip_address("172.19.9.9"),), ttl=7)

    for sharing in ((other,), (vault, other), (vault,), ()):
        network.names[asked.key] = sharing
        table.drop(asked.key)  # as `View.forget` does, for what was kept
        after = table.look_up(asked.wire)
        assert after is None if len(sharing) != 1 else [after] == by_chain(CHAIN, view, asked)
        assert (after == before) == (sharing == (vault,))


@in_both
def test_each_answer_is_counted_and_what_is_asked_often_kept(made: Callable[[], Table]) -> None:
    table = table_of(CHAIN, world().pinned(("backend",), None), made)
    assert len(table) == 0
    for name, rtype, times in (("vault", "A", 30), ("db", "A", 20), ("vault", "AAAA", 10)):
        for _ in range(times):
            assert table.look_up(query(name, rtype).wire)

    hits = Counter[Label]()
    for label, many in table.take_hits():
        hits[label] += many
    assert {(1, 0, "registry"): 50, (28, 0, "registry"): 10} == hits
    assert [] == list(table.take_hits())
    assert len(table) == 3


def test_a_view_of_very_many_networks_is_left_to_python() -> None:
    text = '[networks.net{}]\nsubnets = ["10.{}.0.0/16"]\n'
    assert plain_in(CHAIN, views_of(*(text.format(number, number) for number in range(MOST_STEPS))).host) is None


LABELS = st.sampled_from(("db", "Web", "api", "x", "neta", "net.b", "corp", "docker", "internal", "_tcp"))
NAMES = st.lists(LABELS, min_size=1, max_size=3).map(".".join)
ADDRESSES = st.integers(1, 3).flatmap(
    lambda last: st.sampled_from((f"10.0.0.{last}", f"10.1.0.{last}", f"fd00::{last}", f"fe80::{last}"))
).map(ipaddress.ip_address)  # fmt: skip


WAYS = (
    (ViewSettings(), CHAIN),
    (ViewSettings(joins_networks=True), CHAIN),
    (FOR_PODMAN, PODMAN),
    (FOR_PODMAN, chain_for_podman(None)),
    (ViewSettings(), chain_for_podman(fold(from_text("neta")))),
)


REVERSE_NAMES = ADDRESSES.map(lambda address: address.reverse_pointer)


@st.composite
def an_endpoint(draw: st.DrawFn) -> Endpoint:
    return Endpoint(
        draw(NAMES),
        tuple(draw(st.lists(ADDRESSES, max_size=2))),
        aliases=tuple(draw(st.lists(st.one_of(NAMES, NAMES.map("*.{}".format)), max_size=2))),
        ttl=draw(st.sampled_from((None, 0, 5, 2**31 - 1))),
        extra_hosts=tuple((name, None) for name in draw(st.lists(NAMES, max_size=1))),
        links=tuple((name, "db") for name in draw(st.lists(NAMES, max_size=draw(st.sampled_from((0, 0, 1)))))),
        scope=draw(st.sampled_from((None, "one"))),
        is_ready=draw(st.booleans()),
    )


@st.composite
def some_views(draw: st.DrawFn) -> tuple[Views, Chain]:
    networks = tuple(
        Network(
            name,
            (ipaddress.ip_network(subnet),),
            ttl=draw(st.sampled_from((None, 60))),
            priority=draw(st.integers(0, 1)),
            endpoints=tuple(draw(st.lists(an_endpoint(), max_size=4))),
        )
        for name, subnet in (("neta", "10.0.0.0/24"), ("Net.b", "10.1.0.0/24"), ("b", "fd00::/64"))
    )
    names = st.lists(st.one_of(NAMES, NAMES.map("*.{}".format)), min_size=1, max_size=2).map(tuple)
    hosts = draw(st.lists(st.builds(Host, ADDRESSES, names), max_size=3))
    store = Store()
    store.replace([Contribution("drawn", networks, tuple(hosts))])
    made = draw(st.sampled_from(WAYS))
    return Views(store.snapshot, ZoneSet(()), made[0]), made[1]


@st.composite
def a_query(draw: st.DrawFn) -> bytes:
    name = draw(st.one_of(NAMES, REVERSE_NAMES, st.just(LONG), NAMES.map("{}.dns.podman".format)))
    edns = draw(st.sampled_from((None, opt(), opt(4096, do=True), opt(512, rdata=COOKIE), opt(rdata=b"\0\1"))))
    name = draw(st.sampled_from((name, name.lower(), name.upper())))
    flags = draw(st.sampled_from((RD, 0, RD | 0x20, RD | CD)))
    rtype = draw(st.sampled_from(("A", "AAAA", "HTTPS", "TXT", "PTR", "ANY")))
    return header(flags, additionals=int(edns is not None)) + question(name, rtype) + (edns or b"")


@settings(max_examples=60, deadline=None)
@given(drawn=some_views(), wires=st.lists(a_query(), min_size=20, max_size=40))
def test_nothing_is_said_that_the_chain_does_not_say(drawn: tuple[Views, Chain], wires: list[bytes]) -> None:
    views, chain = drawn
    networks = tuple(views.tables)
    seen = [views.host, views.stranger, views.pinned(networks[:1], None), views.pinned(networks, "db")]
    for view in (*seen, *map(views.of_client, ("10.0.0.1", "10.1.0.2", "fd00::3"))):
        for table in (table_of(chain, view, made) for made in LANES):
            for wire in wires:
                asked = scan(wire)
                kept = table.look_up(wire)
                if not isinstance(asked, Query):  # its options are cut short
                    assert kept is None
                    continue
                table.drop(asked.key)
                reply = table.look_up(wire)
                assert (kept is None) == (reply is None)
                if reply is not None and kept is not None:
                    assert [reply] == by_chain(chain, view, asked)
                    assert read_out(reply) == read_out(kept)  # its SOA has the name as whoever came first wrote it
