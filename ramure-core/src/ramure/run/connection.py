"""One connection from a bridge: unproven at first, then a channel's."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

import msgspec

from ramure.run.channel import Channel, Limits
from ramure.run.lines import LineReader, Overlong
from ramure.run.numbering import encode
from ramure.run.protocol import Hello, Refused

LAST_WORD = 2.0
"""Seconds in which the other side may take what was still to be said."""

BUFFERED = 256 * 1024
"""Bytes that one connection buffers on the way out; the rest waits in the channel's backlog."""

_hello = msgspec.json.Decoder(Hello)


class Gate(Protocol):
    """Who decides about connections."""

    limits: Limits

    def entered(self, connection: Connection) -> None:
        """A connection was made."""

    def admit(self, connection: Connection, hello: Hello) -> Channel | Refused:
        """The channel that this one proved itself for and is now attached to; or why not."""

    def left(self, connection: Connection) -> None:
        """A connection is gone."""


class Connection(asyncio.Protocol):
    """What the two kinds of framing have in common. Needs no task of its own.

    Attributes:
        writable: False while the other side does not read.
    """

    transport: asyncio.Transport

    def __init__(self, gate: Gate) -> None:
        self.writable = False
        self._gate = gate
        self._channel: Channel | None = None
        self._closing = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def proved(self) -> bool:
        """True once the bridge has proved who it is."""
        return self._channel is not None

    # --- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the bridge to prove itself, but not for long."""
        # uvloop's are none of asyncio's class.
        self.transport = cast("asyncio.Transport", transport)
        self.writable = True
        self.transport.set_write_buffer_limits(high=BUFFERED)
        self._gate.entered(self)
        timeout = self._gate.limits.hello_timeout
        refusal = Refused(code="limit", reason=f"no hello within {timeout:g} s", retry=True)
        self._later(timeout, self.close, refusal)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self.writable = False
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        if self._channel is not None:
            self._channel.detach(self)
        self._gate.left(self)

    def pause_writing(self) -> None:
        """The other side does not read."""
        self.writable = False

    def resume_writing(self) -> None:
        """The other side reads again."""
        self.writable = not self._closing
        if self._channel is not None and self.writable:
            self._channel.resume(self)

    # --- messages

    def write(self, frame: bytes) -> None:
        """Send one message."""
        raise NotImplementedError

    def _receive(self, frame: bytes | Overlong) -> None:
        if self._closing:
            return
        if self._channel is not None:
            self._channel.receive(self, frame)
        else:
            self._prove(frame)

    def _prove(self, frame: bytes | Overlong) -> None:
        try:
            hello = _hello.decode(b"" if isinstance(frame, Overlong) else frame)
        except (ValueError, RecursionError) as error:
            self.close(Refused(code="malformed", reason=f"this is not a hello: {error}"))
            return
        admitted = self._gate.admit(self, hello)
        if isinstance(admitted, Refused):
            self.close(admitted)

    def belongs_to(self, channel: Channel) -> None:
        """The bridge has proved itself: what comes from now on is this channel's."""
        self._channel = channel
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- end

    def close(self, refusal: Refused | None = None) -> None:
        """End the connection, perhaps with a last word. Idempotent; bounded."""
        if self._closing:
            return
        if refusal is not None:
            self.write(encode(refusal))
        self._closing = True
        self.writable = False
        self._hang_up()
        self._later(LAST_WORD, self.transport.abort)

    def _hang_up(self) -> None:
        self.transport.close()

    def _later(self, delay: float, work: object, *args: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(delay, work, *args)  # type: ignore[arg-type]


class LineConnection(Connection):
    """One message a line, over a unix socket."""

    def __init__(self, gate: Gate) -> None:
        super().__init__(gate)
        self._reader = LineReader(gate.limits.max_hello)

    def belongs_to(self, channel: Channel) -> None:
        """As above; and longer lines may come."""
        super().belongs_to(channel)
        self._reader.limit = channel.limits.max_message

    def data_received(self, data: bytes) -> None:
        """Split what arrives into messages."""
        for line in self._reader.feed(data):
            self._receive(line)
        if self._reader.overlong and not self.proved:
            self.close(Refused(code="malformed", reason="this is not a hello"))

    def write(self, frame: bytes) -> None:
        """Send one message."""
        if not self._closing:
            self.transport.write(frame + b"\n")
