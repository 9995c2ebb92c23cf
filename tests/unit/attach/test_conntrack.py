"""Which flows are forgotten: those to 127.0.0.11:53 that do not end at our ports."""

import pytest

from resolver.attach.conntrack import led, stray
from resolver.attach.plan import Redirect

# ctnetlink's own words, IPv4: UDP 127.0.0.1:48423 -> 127.0.0.11:53, answered from port 56583
LISTED = bytes.fromhex(
    "a40000000001220001000000a16b0000020000003400018014000180080001007f000001080002007f00000b1c00028005000100110000000600"
    "0200bd27000006000300003500003400028014000180080001007f00000b080002007f0000011c000280050001001100000006000200dd070000"
    "06000300bd27000008000300000001ae080008000000000008000c00b4ccc95308000b00000000010800070000000033"
)
OURS = Redirect(0xDD07, 0xBEEF)
ELSEWHERE = Redirect(4711, 4712)
TCP = LISTED.replace(b"\x05\x00\x01\x00\x11", b"\x05\x00\x01\x00\x06")
ASSURED = (b"\x00\x00\x01\xae", b"\x00\x00\x01\xaa")  # with and without IPS_ASSURED


@pytest.mark.parametrize(
    ("message", "redirect", "is_stray"),
    [
        (LISTED, OURS, False),
        (LISTED, ELSEWHERE, True),
        (LISTED.replace(b"\x03\x00\x00\x35", b"\x03\x00\x00\x36"), ELSEWHERE, False),
        (LISTED.replace(b"\x7f\x00\x00\x0b", b"\x7f\x00\x00\x0c"), ELSEWHERE, False),
        (TCP, Redirect(1, 0xDD07), False),
        (TCP, ELSEWHERE, False),
        (TCP.replace(*ASSURED), ELSEWHERE, True),
        (LISTED.replace(b"\x05\x00\x01\x00\x11", b"\x05\x00\x01\x00\x84"), ELSEWHERE, False),
    ],
    ids=["ours", "elsewhere", "port", "address", "tcp-ours", "tcp-established", "tcp-dead", "sctp"],
)
def test_which_flows_are_forgotten(message: bytes, redirect: Redirect, is_stray: bool) -> None:
    key = stray(message, redirect)
    assert (key is not None) is is_stray
    assert key is None or (key == message[20:72])


def test_a_cut_message_is_no_flow() -> None:
    for length in range(len(LISTED)):
        stray(LISTED[:length], ELSEWHERE)


@pytest.mark.parametrize(
    ("message", "redirect", "is_led"),
    [(LISTED, OURS, True), (LISTED, ELSEWHERE, False), (TCP, Redirect(1, 0xDD07), True), (TCP, OURS, False)],
    ids=["ours", "elsewhere", "tcp-ours", "tcp-elsewhere"],
)
def test_which_flows_lead_to_us(message: bytes, redirect: Redirect, is_led: bool) -> None:
    assert (led(message, redirect) == message[20:72]) is is_led
