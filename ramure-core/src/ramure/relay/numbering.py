"""Nothing lost, nothing doubled, nothing reordered: the state of both directions of a link.

Frames count from 1 in each direction over the whole life of a link. They carry no numbers: each
connection starts with a hello that says how many have arrived, and the other side goes on with the
next one. What is sent is kept until it is acknowledged. No input or output here.
"""

from __future__ import annotations

from collections import deque

from ramure.relay.frames import Kind, count, encode

KEPT = 8 << 20
"""Bytes kept for the other side; beyond, byte streams wait. What is small is sent all the same."""

ACK_BYTES = 1 << 20
"""After so many bytes an acknowledgement is due at once."""

BATCH = 256 << 10
"""Bytes that are written at a time, about."""


class OutOfStep(Exception):
    """The other side's counts cannot be true."""


class Numbering:
    """Both directions of one link.

    Attributes:
        sent: frames sent since the beginning.
        acknowledged: those of them that the other side has acknowledged.
        got: frames that have arrived.
        owed: what has arrived since the last acknowledgement, in bytes and at least 1 a frame.
    """

    def __init__(self) -> None:
        self.sent = self.acknowledged = self.got = self.owed = 0
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self._written = 0
        self._connected = False

    @property
    def full(self) -> bool:
        """So much waits for its acknowledgement that streams must."""
        return self._kept_bytes >= KEPT

    def send(self, frame: bytes) -> None:
        """Keep a frame until it is written and acknowledged."""
        self.sent += 1
        self._kept.append(frame)
        self._kept_bytes += len(frame)

    @property
    def pending(self) -> bool:
        """There is something that could be written now."""
        return self._connected and self._written < self.sent

    def batch(self) -> bytes:
        """The next bytes for this connection; an acknowledgement goes with them."""
        parts = [self.ack()] if self.owed else []
        size = 0
        while self.pending and size < BATCH:
            frame = self._kept[self._written - self.acknowledged]
            self._written += 1
            size += len(frame)
            parts.append(frame)
        return b"".join(parts)

    def ack(self) -> bytes:
        """An acknowledgement of all that has arrived."""
        self.owed = 0
        return encode(Kind.ACK, payload=count(self.got))

    def arrived(self, size: int) -> None:
        """A frame has come."""
        self.got += 1
        self.owed += size + 1

    def acknowledge(self, n: int) -> None:
        """The other side has got the first ``n`` frames.

        Raises:
            OutOfStep: so many were never sent.
        """
        if n > self.sent:
            raise OutOfStep(f"{n} frames are acknowledged, but {self.sent} were sent")
        while self.acknowledged < n:
            self.acknowledged += 1
            self._kept_bytes -= len(self._kept.popleft())
        self._written = max(self._written, n)

    def resume(self, n: int) -> None:
        """Go on over a new connection, on the other side of which ``n`` frames have arrived.

        Raises:
            OutOfStep: this cannot be.
        """
        if not self.acknowledged <= n:
            raise OutOfStep(f"{n} frames have arrived, but {self.acknowledged} had been before")
        self.acknowledge(n)
        self._written = n
        self._connected = True
        self.owed = 0  # our own hello has said it

    def suspend(self) -> None:
        """There is no connection for now."""
        self._connected = False
