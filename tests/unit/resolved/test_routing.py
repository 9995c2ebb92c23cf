"""What resolved has been told, as upstreams and routes: its rules without it."""

from __future__ import annotations

import ipaddress

import pytest

from resolver.forward.upstreams import parse_upstream
from resolver.resolved.routing import GLOBAL, Domain, Facts, Imported, Link, Server, imported
from resolver.wire.name import fold, from_text

LAN, VPN, LAB = 2, 5, 9
LINKS = {
    LAN: Link("lan", True, True, "no"),
    VPN: Link("vpn", True, False, "opportunistic"),
    LAB: Link("lab", True, False, "no"),
}


def server(link: int, address: str, port: int = 0, name: str = "") -> Server:
    return Server(link, ipaddress.ip_address(address).packed, port, name)


SERVERS = (server(LAB, "10.1.3.53"), server(VPN, "10.1.2.53"), server(LAN, "10.1.1.53"))


def told(found: Imported, suffix: str) -> list[str]:
    """Whom the names of a suffix lead to."""
    (route,) = (route for route in found.routes if fold(from_text(suffix)) in route.suffixes)
    return [str(upstream) for upstream in route.upstreams]


def default(found: Imported) -> list[str]:
    return [str(upstream) for upstream in found.upstreams]


def test_links_answer_for_their_domains_and_default_routes_for_the_rest() -> None:
    found = imported(Facts(SERVERS, (Domain(VPN, "Corp.Example"), Domain(VPN, "10.in-addr.arpa")), LINKS))

    assert ["10.1.1.53:53"] == default(found)
    assert (["10.1.2.53:53"], ["10.1.2.53:53"]) == (told(found, "corp.example"), told(found, "10.in-addr.arpa"))
    assert ["Corp.Example (systemd-resolved, vpn)", "10.in-addr.arpa (systemd-resolved, vpn)"] == [
        route.shown for route in found.routes
    ]


def test_links_with_the_same_domain_share_it_in_a_settled_order() -> None:
    domains = (Domain(LAB, "corp.example"), Domain(VPN, "corp.example."))
    found = imported(Facts(SERVERS, domains, LINKS))

    assert ["10.1.2.53:53", "10.1.3.53:53"] == told(found, "corp.example")
    assert found.upstreams == imported(Facts(SERVERS[::-1], domains, LINKS)).upstreams


def test_the_domain_of_no_label_is_before_default_routes() -> None:
    found = imported(Facts(SERVERS, (Domain(VPN, "."), Domain(LAB, "lab.example")), LINKS))

    assert ["10.1.2.53:53"] == default(found)
    assert ["10.1.3.53:53"] == told(found, "lab.example")


def test_global_servers_are_asked_beside_default_routes() -> None:
    servers = (*SERVERS, server(GLOBAL, "10.0.0.53"))
    found = imported(Facts(servers, (Domain(GLOBAL, "everywhere.example"),), LINKS))

    assert ["10.0.0.53:53", "10.1.1.53:53"] == default(found)
    assert ["10.0.0.53:53"] == told(found, "everywhere.example")


@pytest.mark.parametrize("link", [Link("vpn", False, True, "no"), None])
def test_a_link_that_is_down_has_no_say(link: Link | None) -> None:
    links = {LAN: LINKS[LAN]} | ({VPN: link} if link is not None else {})
    found = imported(Facts(SERVERS[1:], (Domain(VPN, "corp.example"), Domain(VPN, ".")), links))

    assert (["10.1.1.53:53"], ()) == (default(found), found.routes)


def test_a_domain_without_a_server_leads_nowhere_else() -> None:
    found = imported(Facts((SERVERS[2],), (Domain(VPN, "corp.example"), Domain(GLOBAL, "g.example")), LINKS))

    assert () == found.routes


def test_ports_scopes_and_certificates() -> None:
    links = {VPN: Link("vpn", True, True, "yes"), LAN: LINKS[LAN]}
    servers = (
        server(VPN, "10.1.2.53", 0, "dns.example"),
        server(VPN, "fe80::53", 8853),
        server(LAN, "10.1.1.53", 5353, "dns.example"),
        server(LAN, "fe80::53"),
        server(GLOBAL, "2001:db8::53", 0, "dns.example"),
    )
    found = imported(Facts(servers, (), links, "yes"))

    assert [
        "tls://[2001:db8::53]#dns.example",
        "10.1.1.53:5353",
        "[fe80::53%lan]:53",
        "tls://10.1.2.53#dns.example",
        "tls://[fe80::53%vpn]:8853",
    ] == default(found)
    assert found.upstreams == tuple(map(parse_upstream, default(found)))


def test_what_cannot_be_asked_from_here_is_passed_over() -> None:
    links = {LAN: Link("", True, True, "no")}
    servers = (
        server(GLOBAL, "127.0.0.53"),
        server(GLOBAL, "127.0.0.54", 53),
        server(GLOBAL, "fe80::1"),
        server(LAN, "fe80::1"),
        Server(LAN, b"\x0a\x00"),
    )
    found = imported(Facts(servers, (Domain(LAN, "a..b"), Domain(LAN, "x" * 64)), links))

    assert found.is_empty
    assert not imported(Facts((*servers, SERVERS[2]), (Domain(LAN, "a..b"),), links)).routes
