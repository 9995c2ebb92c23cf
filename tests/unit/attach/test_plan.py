"""The words of the redirect, and reading them back: no kernel, no command."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.attach import plan
from resolver.attach.plan import Redirect

REDIRECT = Redirect(40000, 40001)

NFT = """\
add table ip pydns
delete table ip pydns
table ip pydns {
\tchain output {
\t\ttype nat hook output priority -101; policy accept;
\t\tip daddr 127.0.0.11 udp dport 53 counter dnat to 127.0.0.11:40000
\t\tip daddr 127.0.0.11 tcp dport 53 counter dnat to 127.0.0.11:40001
\t}
\tchain postrouting {
\t\ttype nat hook postrouting priority 99; policy accept;
\t\tip saddr 127.0.0.11 udp sport 40000 counter snat to 127.0.0.11:53
\t\tip saddr 127.0.0.11 tcp sport 40001 counter snat to 127.0.0.11:53
\t}
}
"""

IPTABLES = """\
*nat
:PYDNS_OUTPUT - [0:0]
:PYDNS_POSTROUTING - [0:0]
-I OUTPUT 1 -d 127.0.0.11/32 -j PYDNS_OUTPUT
-I POSTROUTING 1 -d 127.0.0.11/32 -j PYDNS_POSTROUTING
-A PYDNS_OUTPUT -d 127.0.0.11/32 -p udp -m udp --dport 53 -j DNAT --to-destination 127.0.0.11:40000
-A PYDNS_OUTPUT -d 127.0.0.11/32 -p tcp -m tcp --dport 53 -j DNAT --to-destination 127.0.0.11:40001
-A PYDNS_POSTROUTING -s 127.0.0.11/32 -p udp -m udp --sport 40000 -j SNAT --to-source :53
-A PYDNS_POSTROUTING -s 127.0.0.11/32 -p tcp -m tcp --sport 40001 -j SNAT --to-source :53
COMMIT
"""

DOCKERS = [
    "-P OUTPUT ACCEPT",
    "-N DOCKER_OUTPUT",
    "-A OUTPUT -d 127.0.0.11/32 -j DOCKER_OUTPUT",
    "-A DOCKER_OUTPUT -d 127.0.0.11/32 -p udp -m udp --dport 53 -j DNAT --to-destination 127.0.0.11:50000",
    "-A DOCKER_OUTPUT -d 127.0.0.11/32 -p tcp -m tcp --dport 53 -j DNAT --to-destination 127.0.0.11:50001",
]
OURS = [
    "-N PYDNS_OUTPUT",
    "-N PYDNS_POSTROUTING",
    "-A OUTPUT -d 127.0.0.11/32 -j PYDNS_OUTPUT",
    "-A POSTROUTING -d 127.0.0.11/32 -j PYDNS_POSTROUTING",
    *IPTABLES.splitlines()[5:9],
]


def test_the_nft_transaction() -> None:
    assert plan.nft_install(REDIRECT) == NFT


def test_the_nft_removal_names_nothing_but_our_table() -> None:
    assert plan.nft_remove() == "add table ip pydns\ndelete table ip pydns\n"


def test_the_iptables_commit_in_an_empty_table() -> None:
    assert plan.iptables_install(REDIRECT, ["-P OUTPUT ACCEPT"]) == IPTABLES


def test_jumps_that_are_there_are_deleted_in_the_same_commit() -> None:
    text = plan.iptables_install(REDIRECT, [*OURS, OURS[2], "-A INPUT -g PYDNS_OUTPUT", *DOCKERS])

    assert [line for line in text.splitlines() if line.startswith("-D")] == [
        "-D OUTPUT -d 127.0.0.11/32 -j PYDNS_OUTPUT",
        "-D POSTROUTING -d 127.0.0.11/32 -j PYDNS_POSTROUTING",
        "-D OUTPUT -d 127.0.0.11/32 -j PYDNS_OUTPUT",
        "-D INPUT -g PYDNS_OUTPUT",
    ]


def test_the_iptables_removal() -> None:
    assert plan.iptables_remove([*DOCKERS, *OURS]).splitlines() == [
        "*nat",
        "-D OUTPUT -d 127.0.0.11/32 -j PYDNS_OUTPUT",
        "-D POSTROUTING -d 127.0.0.11/32 -j PYDNS_POSTROUTING",
        "-F PYDNS_OUTPUT",
        "-F PYDNS_POSTROUTING",
        "-X PYDNS_OUTPUT",
        "-X PYDNS_POSTROUTING",
        "COMMIT",
    ]


def test_nothing_of_ours_is_nothing_to_remove() -> None:
    assert plan.iptables_remove(DOCKERS) == ""


@given(st.integers(1, 65535), st.integers(1, 65535))
def test_ports_are_read_back_from_what_was_written(udp: int, tcp: int) -> None:
    redirect = Redirect(udp, tcp)

    assert plan.nft_redirect(plan.nft_install(redirect)) == redirect
    assert plan.iptables_redirect(plan.iptables_install(redirect, []).splitlines()) == redirect


def test_ports_are_read_with_counters_too() -> None:
    listing = NFT.replace("counter", "counter packets 12 bytes 3456")

    assert plan.nft_redirect(listing) == REDIRECT


@pytest.mark.parametrize(
    "text", ["", NFT.replace("40001", "0"), NFT.replace("40001", "70000"), NFT.replace("tcp", "x")]
)
def test_half_a_redirect_is_none(text: str) -> None:
    assert plan.nft_redirect(text) is None


def test_dockers_ports_are_not_ours() -> None:
    assert plan.iptables_redirect(DOCKERS) is None


def test_the_state_is_our_lines_alone() -> None:
    others = ["-A OUTPUT -d 10.0.0.1/32 -j RETURN", "-A OUTPUT -j KUBE-SERVICES", ""]

    assert plan.iptables_state([*others, *OURS, *DOCKERS]) == tuple(OURS)


def test_the_state_shows_a_rule_for_our_address_that_comes_first() -> None:
    listing = ["-A OUTPUT -d 127.0.0.11/32 -j DOCKER_OUTPUT", *OURS]

    assert plan.iptables_state(listing) == tuple(listing)


def listed(redirect: Redirect) -> str:
    """As nft prints it: a priority in words, counters left out."""
    text = plan.nft_install(redirect, replace=False)
    return text.replace("priority 99", "priority srcnat - 1").replace(" counter", " counter packets")


@given(st.integers(1, 65535), st.integers(1, 65535), st.integers(1, 65535), st.integers(1, 65535))
def test_a_listing_for_some_ports_tells_the_one_for_others(udp: int, tcp: int, other_udp: int, other_tcp: int) -> None:
    """Or it tells nothing: what is learned from one namespace must never be wrong for the next."""
    form = plan.nft_form(listed(Redirect(udp, tcp)), Redirect(udp, tcp))
    if form is None:
        assert udp == tcp or {udp, tcp} & {1, 53, 101, 127, 11}
    else:
        assert plan.nft_filled(form, Redirect(other_udp, other_tcp)) == listed(Redirect(other_udp, other_tcp))


def test_a_listing_of_something_else_tells_nothing() -> None:
    assert plan.nft_form("", REDIRECT) is None
    assert plan.nft_form(listed(REDIRECT), Redirect(40000, 40002)) is None
