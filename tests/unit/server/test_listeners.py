"""Addresses to listen at, and what becomes of them when the configuration changes."""

from __future__ import annotations

import asyncio
import socket

import pytest

from resolver.errors import StartError
from resolver.forward.forwarder import Forwarder
from resolver.pipeline.chain import Chain
from resolver.pipeline.stages import ForwardPolicy, InternalNames
from resolver.registry.model import Snapshot
from resolver.server.listeners import Address, Listeners, parse_address
from resolver.server.responder import Responder
from resolver.server.state import State
from resolver.server.tcp import TcpLimits
from resolver.views import Views, ViewSettings
from resolver.zones.model import ZoneSet


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:5353", Address("127.0.0.1", 5353)),
        ("127.0.0.1", Address("127.0.0.1", 53)),
        ("[::1]:5353", Address("::1", 5353)),
        ("[::1]", Address("::1", 53)),
        ("::1", Address("::1", 53)),
        ("0.0.0.0:0", Address("0.0.0.0", 0)),
    ],
)
def test_an_address_is_read_with_or_without_its_port(text: str, address: Address) -> None:
    """Without a port it is :53 (design.md 8)."""
    assert address == parse_address(text)


@pytest.mark.parametrize(
    "text", ["", "localhost:53", "127.0.0.1:", "127.0.0.1:65536", "[::1", "[::1]53", "127.0.0.1:x"]
)
def test_what_is_no_address_is_refused_with_its_value(text: str) -> None:
    """The message says what it is not."""
    with pytest.raises(ValueError, match="is not a"):
        parse_address(text)


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("127.0.0.1:53", "0.0.0.0:53", True),
        ("[::1]:53", "[::]:53", True),
        ("127.0.0.1:53", "127.0.0.1:53", True),
        ("127.0.0.1:53", "127.0.0.2:53", False),
        ("127.0.0.1:53", "0.0.0.0:54", False),
        ("[::1]:53", "0.0.0.0:53", False),
    ],
)
def test_a_wildcard_overlaps_every_address_of_its_family_and_port(one: str, other: str, overlap: bool) -> None:
    """IPv6 sockets here are for IPv6 only (RFC 3493 5.3)."""
    assert overlap == parse_address(one).overlaps(parse_address(other))


def test_a_wildcard_in_place_of_its_own_address_is_told_apart_from_another_program() -> None:
    """The message says that it is pydns itself, and the former listener answers on."""

    async def run() -> tuple[str, tuple[Address, ...]]:
        state = State(
            views=Views(Snapshot(), ZoneSet(), ViewSettings()),
            chain=Chain.of(InternalNames(), ForwardPolicy()),
            upstreams=(),
            own_upstreams=lambda servers: (),
        )
        forwarder = Forwarder()
        listeners = Listeners(Responder(state, forwarder), TcpLimits())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port: int = free.getsockname()[1]
        await listeners.reconcile([Address("127.0.0.1", port)])
        try:
            with pytest.raises(StartError) as raised:
                await listeners.reconcile([Address("0.0.0.0", port)])
            return str(raised.value), listeners.addresses
        finally:
            listeners.stop()
            listeners.close()
            forwarder.close()
            await asyncio.sleep(0)

    message, addresses = asyncio.run(run())

    assert "where pydns itself listens" in message
    assert ["127.0.0.1"] == [address.host for address in addresses]
