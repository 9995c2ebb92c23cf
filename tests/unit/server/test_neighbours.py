"""Clients by their link: what the kernel says of this machine's own interfaces."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from resolver.server import neighbours as module
from resolver.server.neighbours import Neighbours, host_of, is_link_local


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("fe80::1%eth0", True),
        ("fe80::1", True),
        ("febf::1%7", True),
        ("169.254.1.1", True),
        ("fe8::1", False),
        ("fec0::1", False),
        ("fd00::1", False),
        ("169.253.1.1", False),
        ("127.0.0.1", False),
    ],
)
def test_which_addresses_are_link_local(host: str, expected: bool) -> None:
    assert expected is is_link_local(host)


def test_a_clients_interface_is_part_of_its_address() -> None:
    name = socket.if_indextoname(1)

    assert f"fe80::1%{name}" == host_of(("fe80::1", 53, 0, 1)) == host_of((f"fe80::1%{name}", 53, 0, 1))
    assert "fe80::1%99999999" == host_of(("fe80::1", 53, 0, 99999999))
    assert "fd00::1" == host_of(("fd00::1", 53, 0, 0))
    assert "127.0.0.1" == host_of(("127.0.0.1", 53))


def test_somebody_else_on_a_link_is_told_by_our_addresses_there() -> None:
    loopback = ipaddress.ip_address("127.0.0.1")
    links = Neighbours()

    assert loopback in (links.on_link("fe80::dead%lo") or ())
    assert loopback in (links.on_link("fe80::dead%1") or ())
    assert () == links.on_link("fe80::dead%99999999") == links.on_link("fe80::dead") == links.on_link("169.254.77.77")
    assert links.on_link("127.0.0.1") is None


def test_when_the_kernel_does_not_say_nobody_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> None:
        raise PermissionError

    monkeypatch.setattr(module, "_read", refused)

    assert () == Neighbours().on_link("fe80::dead%lo")
