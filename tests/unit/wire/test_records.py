"""The bounded walk over records (RFC 1035 4.1.3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.errors import WireError
from resolver.wire.name import from_labels
from resolver.wire.records import name_at, skip_name, walk

FIXED = b"\0\x01\0\x01\0\0\x02\x58\0\x04"


def test_a_record_is_where_it_lies() -> None:
    (record,) = walk(b"??\x02db\0" + FIXED + b"\xc0\0\x02\x01", 2, 1)

    assert (2, 1, 1, 600, 16, 20) == record


def test_a_pointer_backwards_ends_a_name() -> None:
    """RFC 1035 4.1.4."""
    assert 5 == skip_name(b"\0a\x01b\0"[:3] + b"\xc0\0", 3)


@pytest.mark.parametrize("pointer", [b"\xc0\x02", b"\xc0\x03", b"\xff\xff"])
def test_a_pointer_to_itself_or_forwards_is_an_error(pointer: bytes) -> None:
    """So that nobody who follows it can go in circles."""
    with pytest.raises(WireError, match="does not point backwards"):
        skip_name(b"\0\0" + pointer + b"\0", 2)


@pytest.mark.parametrize("size", [0x40, 0x80, 0xBF])
def test_a_reserved_label_type_is_an_error(size: int) -> None:
    with pytest.raises(WireError, match="reserved"):
        skip_name(bytes([size]) + bytes(200), 0)


@pytest.mark.parametrize("wire", [b"", b"\x01", b"\x01a", b"\x3f" + bytes(9), b"\xc0"])
def test_a_name_that_leaves_the_message_is_an_error(wire: bytes) -> None:
    with pytest.raises(WireError, match="leaves the message"):
        skip_name(wire, 0)


def test_a_name_of_255_octets_is_the_longest() -> None:
    """RFC 1035 2.3.4."""
    labels = [b"a" * 63] * 3

    assert 255 == skip_name(from_labels([*labels, b"a" * 61]), 0)
    with pytest.raises(WireError, match="longer than 255"):
        skip_name(from_labels([*labels, b"a" * 62]), 0)


@pytest.mark.parametrize(("tail", "reason"), [(FIXED[:-1], "cut short"), (FIXED + b"\0\0\0", "leave the message")])
def test_a_record_that_does_not_end_in_the_message_is_an_error(tail: bytes, reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        list(walk(b"\0" + tail, 0, 1))


@given(st.binary(max_size=60), st.integers(0, 70), st.integers(0, 65535))
def test_any_bytes_are_walked_or_refused(wire: bytes, position: int, count: int) -> None:
    try:
        records = list(walk(wire, position, count))
    except WireError:
        return

    assert len(records) == count
    assert all(position <= record.offset < record.rdata_offset <= record.end <= len(wire) for record in records)


def test_a_name_is_read_without_its_compression_and_in_lower_case() -> None:
    wire = bytes(12) + b"\3Www\7Example\0" + b"\4mail\xc0\x10" + b"\xc0\x19"

    assert [b"\3www\7example\0", b"\4mail\7example\0", b"\4mail\7example\0"] == [
        name_at(wire, position) for position in (12, 25, 32)
    ]


def test_a_name_has_no_more_pointers_than_labels() -> None:
    """Else each record of a message might lead through all its pointers: seconds for one message."""
    pointers = b"".join((0xC000 | at).to_bytes(2, "big") for at in (0, *range(1, 257, 2)))
    wire = b"\0" + pointers

    assert b"\0" == name_at(wire, 1 + 2 * 126)
    with pytest.raises(WireError, match="more compression pointers"):
        name_at(wire, 1 + 2 * 127)


@given(wire=st.binary(min_size=1, max_size=80), position=st.integers(0, 79))
def test_whatever_the_bytes_a_name_ends_or_is_none(wire: bytes, position: int) -> None:
    try:
        name = name_at(wire, position)
    except (WireError, IndexError):
        return
    assert len(name) <= 255
    assert name.endswith(b"\0")
