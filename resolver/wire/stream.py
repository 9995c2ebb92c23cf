"""Messages on a stream: two octets of length in front of each (RFC 1035 4.2.2)."""

from __future__ import annotations

from collections.abc import Iterator

from resolver.wire.constants import MAX_MESSAGE_SIZE


class FrameReader:
    """Takes a stream in chunks of any size and gives the messages in it."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def is_partial(self) -> bool:
        """True when a message has begun and not ended."""
        return bool(self._buffer)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Each message that is complete with this chunk."""
        buffer = self._buffer
        buffer += chunk
        position = 0
        while len(buffer) - position >= 2:
            end = position + 2 + int.from_bytes(buffer[position : position + 2], "big")
            if len(buffer) < end:
                break
            yield bytes(buffer[position + 2 : end])
            position = end
        del buffer[:position]


def frame(message: bytes) -> bytes:
    """A message with its length in front; one that is over 65,535 octets cannot be (ValueError)."""
    if len(message) > MAX_MESSAGE_SIZE:
        raise ValueError(f"a message of {len(message)} octets does not fit a stream")
    return len(message).to_bytes(2, "big") + message
