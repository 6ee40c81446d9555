"""What travels on a relay's stream: length of the payload, kind, lane, channel, payload.

``node/frames.mjs`` is the other side's; ``docs/reference/relay.md`` says what the kinds mean.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Any, NamedTuple

import msgspec

HEADER = struct.Struct(">IBBI")
MAX_PAYLOAD = 8 << 20


class Kind(IntEnum):
    """Those below ``OPEN`` are about the link itself and are not numbered."""

    HELLO = 0
    ACK = 1
    PING = 2
    PONG = 3
    BYE = 4
    OPEN = 16
    MESSAGE = 17
    DATA = 18
    END = 19
    STOP = 20
    CREDIT = 21
    CLOSE = 22


class Frame(NamedTuple):
    """One frame."""

    kind: int
    lane: int
    channel: int
    payload: bytes


class BadFrame(Exception):
    """What arrives is no frame of ours."""


def encode(kind: Kind, channel: int = 0, lane: int = 0, payload: bytes | memoryview = b"") -> bytes:
    """A frame as bytes."""
    return b"".join((HEADER.pack(len(payload), kind, lane, channel), payload))


def encode_json(kind: Kind, channel: int, value: Any) -> bytes:
    """A frame with a payload of JSON."""
    return encode(kind, channel, 0, msgspec.json.encode(value))


def count(value: int) -> bytes:
    """A count of bytes or frames as a payload; 48 bits are more than there will ever be."""
    return value.to_bytes(6, "big")


def read_count(payload: bytes) -> int:
    """The count that is a payload."""
    return int.from_bytes(payload, "big")


class Decoder:
    """Splits what arrives into frames."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Give the frames that ``data`` completes.

        Raises:
            BadFrame: one is larger than any may be.
        """
        data = self._rest + data if self._rest else data
        start, end = 0, len(data)
        while end - start >= HEADER.size:
            size, kind, lane, channel = HEADER.unpack_from(data, start)
            if size > MAX_PAYLOAD:
                raise BadFrame(f"a frame of {size} bytes")
            body = start + HEADER.size
            if end - body < size:
                break
            start = body + size
            yield Frame(kind, lane, channel, data[body:start])
        self._rest = data[start:]
