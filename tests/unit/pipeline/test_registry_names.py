"""Names of the view's endpoints (design.md 2.3)."""

from __future__ import annotations

import pytest

from resolver.views import ViewSettings
from tests.unit.asking import addresses, ask, views_of
from tests.unit.pipeline.worlds import WORLD, backend, both, mynet, world

DB4, DB6, WEB = "172.18.0.2", "fd00:18::2", "172.18.0.3"


@pytest.mark.parametrize("name", ["db", "database", "492ba8a9277d", "db-1", "DB", "DataBase", "492BA8A9277D"])
@pytest.mark.parametrize("suffix", ["", ".mynet", ".MyNet"])
def test_every_name_bare_and_with_its_network_in_any_letter_case(name: str, suffix: str) -> None:
    """Container name, alias, short id, hostname; Docker wants the network's exact case, which breaks 0x20 clients."""
    told = ask(mynet(), name + suffix)

    assert [f"{name}{suffix}. 600 A {DB4}"] == told.answer
    assert {DB6} == addresses(ask(mynet(), name + suffix, "AAAA"))
    assert "registry" == told.stage


def test_answers_are_not_authoritative() -> None:
    """AA=0 for registry names, as Docker (design.md 2, flags)."""
    assert "QR RD RA" == ask(mynet(), "db").flags
    assert "QR RD RA" == ask(mynet(), "db", "MX").flags


def test_a_shared_alias_answers_with_every_address() -> None:
    assert {DB4, WEB} == addresses(ask(mynet(), "app"))
    assert {DB6} == addresses(ask(mynet(), "app", "AAAA"))


def test_a_dotted_alias_is_a_name() -> None:
    """A container may be called like a host of the world, for its neighbours."""
    assert {WEB} == addresses(ask(mynet(), "my.site.example.org"))
    assert "forward" == ask(backend("rich"), "my.site.example.org").stage


@pytest.mark.parametrize("name", ["x.db", "y.x.db", "*.db", "x.db.mynet", "X.DB.MYNET"])
def test_a_wildcard_alias_answers_for_every_name_below(name: str) -> None:
    """RFC 4592; more cases in ../registry/test_table.py."""
    assert {DB4} == addresses(ask(mynet(), name))


@pytest.mark.parametrize("rtype", ["TXT", "MX", "HTTPS", "SVCB", "SRV", "CNAME", "NS", "SOA", "CAA", "DS", 65280, 0])
@pytest.mark.parametrize("name", ["db", "x.db", "app", "printer"])
def test_any_other_type_is_nodata_with_soa_and_never_forwarded(rtype: int | str, name: str) -> None:
    """Docker forwards all but A, AAAA, MX: moby#20448."""
    assert ("NOERROR", f"{name}.", "registry") == ask(mynet(), name, rtype).verdict


def test_the_other_family_is_nodata() -> None:
    assert ("NOERROR", "web.", "registry") == ask(mynet(), "web", "AAAA").verdict


def test_nodata_of_a_qualified_name_has_the_networks_soa() -> None:
    told = ask(mynet(), "Db.MyNet", "TXT")

    assert ["mynet. 10 SOA mynet. hostmaster.invalid. 1 3600 600 86400 10"] == told.authority


def test_any_is_one_small_rrset() -> None:
    """RFC 8482 4.1."""
    assert [f"db. 600 A {DB4}"] == ask(mynet(), "db", "ANY").answer
    assert ["six. 600 AAAA fd00::1"] == ask(
        views_of('[networks.n.endpoints.six]\naddresses = ["fd00::1"]\n').host, "six", "ANY"
    ).answer


@pytest.mark.parametrize("name", ["vault", "safe", "vault.backend", "db.backend", "ledger", "ledger.corp.net"])
def test_a_network_that_the_asker_is_not_on_is_not_seen(name: str) -> None:
    assert "registry" != ask(mynet(), name).stage


def test_the_first_network_that_knows_the_name_answers_alone() -> None:
    """No merge (moby: 'Multi-network')."""
    assert {DB4} == addresses(ask(both(), "db"))
    assert {"172.19.0.2"} == addresses(ask(both(), "db.backend"))
    assert {"172.19.0.9"} == addresses(ask(both(), "vault"))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("priority = 1\ninternal = true", ""),
        ("", "internal = true"),
        ('subnets = ["10.0.0.0/8", "fd00::/8"]', 'subnets = ["10.0.0.0/8"]'),
        ("", ""),
    ],
)
@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_networks_are_asked_in_dockers_order(first: str, second: str, names: tuple[str, str]) -> None:
    """Priority, not internal, dual-stack, name."""
    if not first and not second:
        names = ("a", "b")
    views = views_of(
        "".join(
            f'[networks.{name}]\n{keys}\n[networks.{name}.endpoints.x]\naddresses = ["10.0.0.{number}"]\n'
            for number, (name, keys) in enumerate(zip(names, (first, second), strict=True), start=1)
        )
    )

    assert {"10.0.0.1"} == addresses(ask(views.pinned(names, None), "x"))


def test_the_first_network_answers_even_with_another_family() -> None:
    """A name that is known there is not looked for elsewhere."""
    views = views_of(
        '[networks.a.endpoints.x]\naddresses = ["fd00::1"]\n[networks.b.endpoints.x]\naddresses = ["10.0.0.1"]\n'
    )

    assert ("NOERROR", "x.", "registry") == ask(views.host, "x", "A").verdict


def test_a_qualified_name_is_looked_up_whole_first() -> None:
    """Docker: try whole, then ``a.b.c`` in network ``d``, ``a.b`` in ``c.d``."""
    views = views_of("""\
[networks.d.endpoints.one]
addresses = ["10.0.0.1"]
aliases = ["a.b.c.d"]
[networks.d.endpoints.two]
addresses = ["10.0.0.2"]
aliases = ["a.b.c", "e.f.c"]
[networks."c.d".endpoints.three]
addresses = ["10.0.0.3"]
aliases = ["a.b", "e.f", "g.h"]
""")

    assert {"10.0.0.1"} == addresses(ask(views.host, "a.b.c.d"))
    assert {"10.0.0.2"} == addresses(ask(views.host, "e.f.c.d"))
    assert {"10.0.0.3"} == addresses(ask(views.host, "g.h.c.d"))


def test_a_network_may_have_a_dotted_name() -> None:
    view = world().pinned(("corp.net",), None)

    assert {"10.20.16.5"} == addresses(ask(view, "Ledger.Corp.Net"))


@pytest.mark.parametrize("name", ["sql", "store", "SQL", "sql.mynet", "Sql.MyNet"])
def test_a_link_is_private_to_the_asker(name: str) -> None:
    assert {DB4} == addresses(ask(mynet("web"), name))
    assert "registry" != ask(mynet(), name).stage
    assert "registry" != ask(mynet("db"), name).stage


def test_a_link_to_nobody_is_unknown_until_somebody_comes() -> None:
    """Docker resolves the link's target at each look-up."""
    more = '[networks.mynet.endpoints.gone]\naddresses = ["172.18.0.77"]\n'

    assert "registry" != ask(mynet("web"), "nobody").stage
    assert {"172.18.0.77"} == addresses(ask(views_of(WORLD, more).pinned(("mynet",), "web"), "nobody"))


def test_a_link_hides_a_neighbour_of_that_name_from_the_asker_alone() -> None:
    more = '[networks.mynet.endpoints.sql]\naddresses = ["172.18.0.77"]\n'
    views = views_of(WORLD, more)

    assert {DB4} == addresses(ask(views.pinned(("mynet",), "web"), "sql"))
    assert {"172.18.0.77"} == addresses(ask(views.pinned(("mynet",), None), "sql"))


def test_the_ttl_is_the_endpoints_else_the_networks_else_everybodys() -> None:
    views = views_of(WORLD, settings=ViewSettings(ttl=30))

    assert ["vault. 5 A 172.19.0.9"] == ask(views.host, "vault").answer
    assert ["db.backend. 60 A 172.19.0.2"] == ask(views.host, "db.backend").answer
    assert ["db. 30 A 172.18.0.2"] == ask(views.host, "db").answer


def test_a_ttl_of_0_is_a_ttl() -> None:
    views = views_of('[networks.n]\nttl = 9\n[networks.n.endpoints.x]\naddresses = ["10.0.0.1"]\nttl = 0\n')

    assert ["x. 0 A 10.0.0.1"] == ask(views.host, "x").answer


def test_a_shared_alias_has_the_smallest_ttl() -> None:
    """RFC 2181 5.2: one TTL for an RRset."""
    views = views_of(
        '[networks.n.endpoints.x]\naddresses = ["10.0.0.1"]\naliases = ["app"]\nttl = 9\n'
        '[networks.n.endpoints.y]\naddresses = ["10.0.0.2"]\naliases = ["app"]\nttl = 7\n'
    )

    assert ["app. 7 A 10.0.0.1", "app. 7 A 10.0.0.2"] == ask(views.host, "app").answer


def test_names_of_hosts_files_are_everybodys() -> None:
    for view in (mynet(), backend(), world().host):
        assert {"192.0.2.80", "192.0.2.81"} == addresses(ask(view, "Printer"))
        assert {"2001:db8::80"} == addresses(ask(view, "printer", "AAAA"))
        assert {"192.0.2.80"} == addresses(ask(view, "x.lab"))


def test_a_network_comes_before_a_hosts_file() -> None:
    views = views_of(WORLD, hosts_text="192.0.2.1 db db.mynet\n")

    assert {DB4} == addresses(ask(views.pinned(("mynet",), None), "db"))
    assert {DB4} == addresses(ask(views.pinned(("mynet",), None), "db.mynet"))
    assert {"192.0.2.1"} == addresses(ask(views.pinned(("corp.net",), None), "db"))


def test_the_host_sees_every_network() -> None:
    host = world().host

    assert [{DB4}, {"172.19.0.9"}, {"10.20.16.5"}] == [addresses(ask(host, name)) for name in ("db", "vault", "ledger")]


@pytest.mark.parametrize("name", ["db", "db.mynet", "x.db", "printer"])
def test_answers_may_be_kept_ready(name: str) -> None:
    """There are only so many known names."""
    outcome = ask(mynet(), name).decision.outcome

    assert getattr(outcome, "keep", False)


def test_it_is_told_where_a_record_was_written() -> None:
    outcome = ask(mynet(), "app").decision.outcome

    assert ["0.toml:5", "0.toml:12"] == [str(origin) for origin in getattr(outcome, "origins", ())]
