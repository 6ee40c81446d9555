"""Numbers, acknowledgements, resumption: what both ends of a channel do alike.

Numbers count from 1 in each direction over the whole life of a channel, across its connections.
What is sent is kept until the other side has acknowledged it; over a new connection everything
after the last number that the other side has got is sent again. What arrives a second time is
dropped.
"""

from __future__ import annotations

import asyncio
import json
from typing import Protocol

import msgspec

from ramure.run.protocol import Ack, Numbered

ACK_COUNT = 32
"""After so many messages an acknowledgement is sent at once …"""

ACK_DELAY = 0.03
"""… and after so many seconds in any case."""


class Link(Protocol):
    """One connection, as numbering sees it."""

    @property
    def writable(self) -> bool:
        """False while the other side does not read; what is sent waits in the backlog then."""

    def write(self, frame: bytes) -> None:
        """Send one message."""


class OutOfStepError(Exception):
    """The other side's numbers cannot be true."""


class BacklogError(Exception):
    """Too much has been sent that the other side has not acknowledged."""


class TooLargeError(Exception):
    """A message is larger than one may be."""


class Numbering:
    """Both directions of one channel.

    Attributes:
        max_message: bytes that one message may have.
        sent: number of the last message sent.
        acknowledged: number of the last that the other side acknowledged.
        got: number of the last message that arrived.
        backlog_bytes: size of what is not acknowledged.
        mute: for tests: acknowledge nothing.
    """

    def __init__(self, *, max_message: int, max_messages: int, max_bytes: int) -> None:
        self.max_message = max_message
        self.mute = False
        self.sent = self.acknowledged = self.got = self.backlog_bytes = 0
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._kept: dict[int, bytes] = {}
        self._link: Link | None = None
        self._written = 0
        self._unacknowledged = 0
        self._timer: asyncio.TimerHandle | None = None

    # --- sending

    def send(self, message: Numbered) -> int:
        """Number a message, keep it, and write it where there is a connection.

        Raises:
            BacklogError: too many wait already.
            TooLargeError: this one has more than ``max_message`` bytes.
            TypeError, ValueError, RecursionError: it cannot be put as JSON.
        """
        message.n = self.sent + 1
        frame = encode(message)
        size = len(frame)
        if size > self.max_message:
            raise TooLargeError(f"it has {size} bytes, and one may have {self.max_message}")
        if len(self._kept) >= self._max_messages or self.backlog_bytes + size > self._max_bytes:
            raise BacklogError(
                f"{len(self._kept)} messages of {self.backlog_bytes} bytes are not acknowledged"
            )
        self.sent += 1
        self._kept[self.sent] = frame
        self.backlog_bytes += size
        self.pump()
        return self.sent

    def pump(self) -> None:
        """Write what has not been written to this connection, as far as it takes it."""
        link = self._link
        while link is not None and self._written < self.sent and link.writable:
            self._written += 1
            link.write(self._kept[self._written])
            link = self._link  # writing may find that the connection is gone

    def kept(self) -> list[bytes]:
        """What is not acknowledged yet, oldest first."""
        return list(self._kept.values())

    def acknowledge(self, n: int) -> None:
        """The other side has got everything up to and with ``n``.

        Raises:
            OutOfStepError: nothing of that number was ever sent.
        """
        if n > self.sent:
            raise OutOfStepError(f"{n} is acknowledged, but only {self.sent} were sent")
        while self.acknowledged < n:
            self.acknowledged += 1
            self.backlog_bytes -= len(self._kept.pop(self.acknowledged))
        self._written = max(self._written, n)

    # --- receiving

    def arrived(self, n: int) -> bool:
        """Take note of a number; False where that message has been here before.

        Raises:
            OutOfStepError: it is no number, or messages before it are missing.
        """
        if not 0 < n <= self.got + 1:
            raise OutOfStepError(f"message {n} came where {self.got + 1} was due")
        new = n > self.got
        self.got = max(self.got, n)
        self._owe()
        return new

    def _owe(self) -> None:
        self._unacknowledged += 1
        if self._unacknowledged >= ACK_COUNT:
            self.write_ack()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(ACK_DELAY, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.write_ack()

    def write_ack(self) -> None:
        """Acknowledge what has arrived, where that is due and can be written."""
        link = self._link
        if self._unacknowledged and link is not None and link.writable and not self.mute:
            self._unacknowledged = 0
            link.write(encode(Ack(self.got)))

    # --- connections

    def check(self, got: int) -> None:
        """Raise ``OutOfStepError`` where the other side cannot have got this and nothing more."""
        if not self.acknowledged <= got <= self.sent:
            raise OutOfStepError(
                f"it says it has got {got}, "
                f"but {self.sent} were sent and {self.acknowledged} acknowledged"
            )

    def resume(self, link: Link, got: int) -> None:
        """Go on over a new connection; the other side has got everything up to ``got``."""
        self.check(got)
        self.acknowledge(got)
        self._link, self._written = link, got
        self._unacknowledged = 0  # the new connection's first message told the other side
        self.pump()

    def suspend(self) -> None:
        """There is no connection for now."""
        self._link = None

    def close(self) -> None:
        """Forget what was to be sent."""
        self.suspend()
        self._kept.clear()
        self.backlog_bytes = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


_encoder = msgspec.json.Encoder()


def encode(message: msgspec.Struct) -> bytes:
    """A message as JSON. Text that is not Unicode (lone surrogates) is replaced, not refused.

    Raises:
        TypeError, ValueError, RecursionError: it holds what JSON cannot.
    """
    try:
        return _encoder.encode(message)
    except UnicodeEncodeError:
        plain = msgspec.to_builtins(message, str_keys=True)
        return json.dumps(plain, ensure_ascii=False).encode("utf-8", "replace")
