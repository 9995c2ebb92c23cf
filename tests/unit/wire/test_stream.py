"""Messages on a stream (RFC 1035 4.2.2)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.wire.stream import FrameReader, frame


@given(st.lists(st.binary(max_size=40), max_size=6), st.lists(st.integers(0, 60), max_size=20))
def test_messages_come_back_however_the_stream_is_cut(messages: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(map(frame, messages))
    places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    reader = FrameReader()
    received = [message for start, end in pairwise(places) for message in reader.feed(stream[start:end])]

    assert messages == received
    assert not reader.is_partial


@given(st.binary(max_size=40), st.integers(1, 41))
def test_a_message_is_partial_until_its_last_octet(message: bytes, missing: int) -> None:
    stream = frame(message)
    reader = FrameReader()
    assert list(reader.feed(stream[: max(1, len(stream) - missing)])) == []

    assert reader.is_partial


def test_the_largest_message_is_framed_and_no_larger_one() -> None:
    assert b"\xff\xff" == frame(bytes(65535))[:2]
    with pytest.raises(ValueError, match="65536 octets"):
        frame(bytes(65536))
