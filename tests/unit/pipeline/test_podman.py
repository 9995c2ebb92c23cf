"""The stages in the place of aardvark-dns: the search domain, reverse names, who may ask outside, and the askers."""

from __future__ import annotations

import ipaddress

import pytest

from resolver.aardvark import AskerState, askers_of
from resolver.pipeline.chain import Chain
from resolver.pipeline.podman import chain_for_podman
from resolver.registry.model import Contribution
from resolver.registry.store import Store
from resolver.server.state import Pin
from resolver.sources.aardvark_file import read
from resolver.views import View, Views, ViewSettings
from resolver.wire.name import fold, from_text, reverse_name, to_text
from resolver.zones.model import ZoneSet
from tests.unit.asking import Told, addresses, ask

SETTINGS = ViewSettings(ttl=0, negative_ttl=0, joins_networks=True, qualifies_names=False)
DB = ipaddress.ip_address("10.89.0.3")
CHAIN = chain_for_podman(fold(from_text("dns.podman")))

FILES = {
    "blue": "10.89.0.1 127.0.0.91\n0a 10.89.0.2 fd00::2 web,www\n0b 10.89.0.3  db,*.app 127.0.0.92\n",
    "test": "10.90.0.1\n0a 10.90.0.2  web\n0c 10.90.0.4  only\n",
    "vault%int": "10.91.0.1\n0d 10.91.0.2  secret\n0b 10.91.0.3  db\n",
}


def views_of(files: dict[str, str]) -> Views:
    store = Store()
    contributions = []
    for name, text in files.items():
        outcome = read(text, name, name)
        assert outcome.file is not None
        contributions.append(Contribution(name, (outcome.file.network,)))
    store.replace(contributions)
    return Views(store.snapshot, ZoneSet(), SETTINGS)


VIEWS = views_of(FILES)


def state(*networks: str, chain: Chain = CHAIN) -> AskerState:
    return AskerState(
        views=VIEWS,
        chain=chain,
        upstreams=(),
        own_upstreams=lambda servers: (),
        networks=networks,
        askers=askers_of(VIEWS.snapshot),
    )


def view(host: str, *networks: str) -> View:
    return state(*(networks or ("blue",))).view_of(host)


def asked(host: str, name: str, rtype: str = "A", *, chain: Chain = CHAIN) -> Told:
    return ask(view(host), name, rtype, chain=chain)


def test_an_asker_is_a_container_by_any_of_its_addresses() -> None:
    assert askers_of(VIEWS.snapshot) == {
        "10.89.0.2": Pin(("blue", "test"), "web"),
        "fd00::2": Pin(("blue", "test"), "web"),
        "10.90.0.2": Pin(("blue", "test"), "web"),
        "10.89.0.3": Pin(("blue", "vault"), "db"),
        "10.91.0.3": Pin(("blue", "vault"), "db"),
        "10.90.0.4": Pin(("test",), "only"),
        "10.91.0.2": Pin(("vault",), "secret"),
    }


def test_an_address_of_two_containers_is_on_the_networks_of_both() -> None:
    """One of them is stale, and nobody can say which."""
    views = views_of({"a": "10.1.0.1\n0a 10.0.0.2  web\n", "b": "10.2.0.1\n0b 10.0.0.2  db\n"})
    assert askers_of(views.snapshot)["10.0.0.2"].networks == ("a", "b")


def test_it_matters_who_asks_and_not_where() -> None:
    assert view("10.89.0.2", "vault") is view("10.90.0.2", "blue")
    assert view("fd00::2%eth0") is view("10.89.0.2")
    assert view("10.89.0.99", "blue") is not view("10.89.0.99", "vault")
    assert view("10.89.0.99", "blue").is_host


def test_names_are_those_of_all_networks_of_the_asker() -> None:
    assert addresses(asked("10.89.0.2", "web")) == {"10.89.0.2", "10.90.0.2"}
    assert addresses(asked("10.90.0.4", "web")) == {"10.90.0.2"}
    assert asked("10.90.0.4", "db").stage == "forward"


@pytest.mark.parametrize("name", ["web", "WEB", "web.dns.podman", "Web.DNS.podman", "0a", "www.dns.podman"])
def test_the_search_domain_makes_no_difference(name: str) -> None:
    told = asked("10.89.0.3", name)
    assert told.answer == [f"{name}. 0 A 10.89.0.2"]
    assert told.stage == "registry"


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("nothere.dns.podman", ("NXDOMAIN", "dns.podman.", "registry")),
        ("a.b.dns.podman", ("NXDOMAIN", "dns.podman.", "registry")),
        ("only.dns.podman", ("NXDOMAIN", "dns.podman.", "registry")),
        ("dns.podman", ("NOERROR", "dns.podman.", "registry")),
        ("DNS.Podman", ("NOERROR", "dns.podman.", "registry")),
    ],
)
def test_below_the_search_domain_nothing_is_forwarded(name: str, verdict: tuple[str, str, str]) -> None:
    assert asked("10.89.0.3", name).verdict == verdict


def test_a_name_that_only_ends_like_the_search_domain_is_forwarded() -> None:
    for name in ("xdns.podman", "podman", "dns.podman.example"):
        assert asked("10.89.0.3", name).forwarded.servers == ("127.0.0.92",)


def test_without_a_search_domain_it_is_a_name_like_others() -> None:
    assert asked("10.89.0.3", "web.dns.podman", chain=chain_for_podman(None)).stage == "forward"


@pytest.mark.parametrize("rtype", ["AAAA", "MX", "TXT", "HTTPS"])
def test_a_known_name_is_not_forwarded_for_another_type(rtype: str) -> None:
    for name in ("db", "db.dns.podman"):
        told = asked("10.89.0.3", name, rtype)
        assert told.verdict == ("NOERROR", f"{name}.", "registry")


def test_a_wildcard_holds_with_the_search_domain_too() -> None:
    assert addresses(asked("10.89.0.2", "x.app.dns.podman")) == {"10.89.0.3"}


def test_a_networks_name_is_no_part_of_dns() -> None:
    """`test` is a network here, and a top-level domain elsewhere."""
    for name in ("web.blue", "www.example.test", "test"):
        assert asked("10.89.0.2", name).stage == "forward"
        assert asked("10.89.0.2", name).forwarded.question.key == fold(from_text(name))


def reverse_of(host: str, address: str, rtype: str = "PTR") -> Told:
    return ask(view(host), to_text(reverse_name(ipaddress.ip_address(address))), rtype, chain=CHAIN)


def test_a_reverse_name_has_every_name_of_the_container() -> None:
    for address in ("10.89.0.2", "fd00::2"):
        told = reverse_of("10.89.0.3", address)
        assert sorted(line.split()[-1] for line in told.answer) == ["web.", "www."]
        assert {line.split()[1] for line in told.answer} == {"0"}
    assert reverse_of("10.89.0.2", "10.89.0.3").answer == [f"{to_text(reverse_name(DB))} 0 PTR db."]
    assert reverse_of("10.89.0.3", "10.89.0.2", "A").rcode == "NOERROR"
    assert reverse_of("10.89.0.3", "10.89.0.2", "A").answer == []


def test_a_reverse_name_is_for_those_who_are_on_the_network() -> None:
    assert reverse_of("10.90.0.4", "10.89.0.3").stage == "forward"
    assert reverse_of("10.89.0.99", "10.89.0.3").stage == "forward"  # nobody's container
    assert reverse_of("10.89.0.3", "10.89.0.200").stage == "forward"
    assert ask(view("10.89.0.3"), "0.89.10.in-addr.arpa", "PTR", chain=CHAIN).stage == "forward"
    assert ask(view("10.89.0.3"), "x.2.0.89.10.in-addr.arpa", "PTR", chain=CHAIN).stage == "forward"


def test_who_is_only_on_internal_networks_stays_there() -> None:
    told = asked("10.91.0.2", "www.example.org")
    assert (told.rcode, told.authority, told.ede) == (
        "NXDOMAIN",
        [],
        (18, "this client is only on internal networks"),
    )
    assert addresses(asked("10.91.0.2", "secret")) == {"10.91.0.2"}
    assert asked("10.91.0.3", "www.example.org").forwarded.servers == ("127.0.0.92",)


def test_a_stranger_may_ask_outside_wherever_it_asks() -> None:
    stranger = view("10.91.0.99", "vault")
    assert ask(stranger, "www.example.org", chain=CHAIN).forwarded.servers == ()
    assert addresses(ask(stranger, "secret", chain=CHAIN)) == {"10.91.0.2"}


def test_servers_are_the_containers_else_its_networks() -> None:
    assert asked("10.89.0.3", "www.example.org").forwarded.servers == ("127.0.0.92",)
    assert asked("10.89.0.2", "www.example.org").forwarded.servers == ("127.0.0.91",)
    assert asked("10.90.0.4", "www.example.org").forwarded.servers == ()


def test_nothing_is_forwarded_where_that_is_off() -> None:
    told = asked("10.89.0.2", "www.example.org", chain=chain_for_podman(None, forwards=False))
    assert (told.rcode, told.ede) == ("NXDOMAIN", (18, "nothing is forwarded"))


def test_a_bare_name_is_forwarded() -> None:
    """As by aardvark-dns 2.0: a server of the local network may know its printers so."""
    assert asked("10.89.0.2", "printer").stage == "forward"
