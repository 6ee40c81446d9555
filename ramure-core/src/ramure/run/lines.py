"""Lines out of a stream of bytes, with bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

KEPT = 4096
"""Bytes that are kept of each end of a line that is too long."""


@dataclass(frozen=True, slots=True)
class Overlong:
    """A line beyond the limit: its two ends and its size in bytes."""

    head: bytes
    tail: bytes
    size: int

    @classmethod
    def of(cls, line: bytes) -> Overlong:
        """A line that is here as a whole all the same."""
        return cls(line[:KEPT], line[-KEPT:], len(line))


class LineReader:
    """Splits what arrives into lines of at most ``limit`` bytes; the limit may change meanwhile."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._pieces: list[bytes] = []
        self._size = 0
        self._overlong: Overlong | None = None

    def feed(self, data: bytes) -> Iterator[bytes | Overlong]:
        """Give the lines that ``data`` completes, without their ends; empty ones are left out."""
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            piece = data[start:end]
            start = end + 1
            if self._size or len(piece) > self.limit:
                self._keep(piece)
                yield self._take()
            elif piece:
                yield piece
        if start < len(data):
            self._keep(data[start:] if start else data)

    @property
    def overlong(self) -> bool:
        """True while a line that is already too long goes on."""
        return self._overlong is not None

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._overlong is not None:
            tail = (self._overlong.tail + piece[-KEPT:])[-KEPT:]
            self._overlong = Overlong(self._overlong.head, tail, self._size)
            return
        self._pieces.append(piece)
        if self._size > self.limit:
            self._overlong = Overlong.of(b"".join(self._pieces))
            self._pieces.clear()

    def _take(self) -> bytes | Overlong:
        line = self._overlong or b"".join(self._pieces)
        self._overlong, self._size = None, 0
        self._pieces.clear()
        return line
