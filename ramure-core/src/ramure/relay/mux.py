"""Channels on one link: processes, doors, connections. ``node/mux.mjs`` is the other side's.

A channel has lanes: byte streams in one direction each, with a window of credit of their own, so
that a slow reader holds back its own writer and nobody else.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from anyio import BrokenResourceError, ClosedResourceError, EndOfStream
from anyio.abc import ByteReceiveStream, ByteSendStream
from anyio.lowlevel import checkpoint

from ramure.errors import LinkBroken, MachineError
from ramure.relay.frames import (
    MAX_PAYLOAD,
    BadFrame,
    Frame,
    Kind,
    count,
    encode,
    encode_json,
    read_count,
)

WINDOW = 1 << 20
"""Bytes of one lane that may be on their way."""

CHUNK = 64 << 10
"""Bytes of one frame of data, at most, so that lanes take turns."""


MAX_CHANNELS = 4096
"""Channels that the machine may have opened at a time."""


class Told(msgspec.Struct, frozen=True):
    """What the daemon may tell about a channel.

    Attributes:
        started: a command's process id.
        failed: why not: the name of an ``errno``; ``reason`` has the words, and ``place`` the
            folder where that, and not the program, is what fails.
        exit: a command's exit code, or -N for signal N; ``expired``: its deadline killed it.
        killed: all that was asked to be killed is dead.
        listening: a door's path.
    """

    started: int | None = None
    failed: str | None = None
    reason: str = ""
    place: str = ""
    exit: int | None = None
    expired: bool = False
    killed: bool = False
    listening: str = ""


class Opened(msgspec.Struct, frozen=True):
    """What the daemon opens: a connection that came through a door."""

    door: int


_told = msgspec.json.Decoder(Told)
_opened = msgspec.json.Decoder(Opened)


class Carrier(Protocol):
    """A link, as channels see it.

    Attributes:
        connected: there is a connection right now.
    """

    connected: bool

    @property
    def error(self) -> MachineError | None:
        """A new error for each who asks, once the link is broken for good."""

    @property
    def full(self) -> bool:
        """Streams have to wait."""

    def send(self, frame: bytes) -> None:
        """Send a frame, now or when there is a connection."""

    def bind(self, receive: Callable[[Frame], None], changed: Callable[[], None]) -> None:
        """Say who takes frames, and who is told that the connection was lost or has room again."""


class Changing:
    """Something that others wait for. Waking is for all who wait now."""

    def __init__(self) -> None:
        self._event: asyncio.Event | None = None

    def wake(self) -> None:
        """Something has changed."""
        if self._event is not None:
            self._event.set()
            self._event = None

    async def wait(self) -> None:
        """Wait until something changes."""
        if self._event is None:
            self._event = asyncio.Event()
        await self._event.wait()


class Incoming(ByteReceiveStream):
    """What the machine sends. Gives credit for what has been received."""

    def __init__(self, channel: Channel, lane: int) -> None:
        self._channel, self._lane = channel, lane
        self._chunks: deque[bytes] = deque()
        self._size = self._taken = 0
        self._ended = self._closed = False
        self._change = Changing()

    async def receive(self, max_bytes: int = CHUNK) -> bytes:
        """Receive what is there, at least one byte.

        Raises:
            EndOfStream: nothing more will come.
            LinkBroken, MachineGone: the relay is out of reach for good.
        """
        await checkpoint()
        while not self._chunks:
            self._check()
            await self._change.wait()
        if self._closed:
            raise ClosedResourceError
        data = self._chunks.popleft()
        if len(data) > max_bytes:
            self._chunks.appendleft(data[max_bytes:])
            data = data[:max_bytes]
        self._size -= len(data)
        self._credit(len(data))
        return data

    def _check(self) -> None:
        if self._closed:
            raise ClosedResourceError
        if self._ended:
            raise EndOfStream
        if error := self._channel.error:
            raise error

    def _credit(self, size: int) -> None:
        self._taken += size
        if self._taken >= WINDOW // 2 and not self._ended:
            self._channel.send(Kind.CREDIT, self._lane, count(self._taken))
            self._taken = 0

    def feed(self, data: bytes) -> None:
        """More has come.

        Raises:
            BadFrame: more than there was credit for.
        """
        self._size += len(data)
        if self._closed:
            return
        if self._size > WINDOW:
            raise BadFrame("more data than there was credit for")
        self._chunks.append(data)
        self._change.wake()

    def end(self) -> None:
        """Nothing more will come."""
        self._ended = True
        self._change.wake()

    def wake(self) -> None:
        """Look at the channel again."""
        self._change.wake()

    async def aclose(self) -> None:
        """Read no more; the machine's side then breaks."""
        if not self._closed:
            self._closed = True
            self._chunks.clear()
            self._change.wake()
            if not self._ended:
                self._channel.send(Kind.STOP, self._lane)


class Outgoing(ByteSendStream):
    """What goes to the machine: as much as it has given credit for and the link has room for."""

    def __init__(self, channel: Channel, lane: int) -> None:
        self._channel, self._lane = channel, lane
        self._credit = WINDOW
        self._closed = self._stopped = False
        self._change = Changing()

    async def send(self, item: bytes) -> None:
        """Send all of ``item``.

        Raises:
            BrokenResourceError: nobody reads it any more.
            LinkBroken, MachineGone: the relay is out of reach for good.
        """
        await checkpoint()
        left = memoryview(item)
        while left:
            self._check()
            size = min(len(left), self._credit, CHUNK)
            if not size or self._channel.link.full:
                await self._change.wait()
                continue
            self._credit -= size
            self._channel.send(Kind.DATA, self._lane, left[:size])
            left = left[size:]

    def _check(self) -> None:
        if self._closed:
            raise ClosedResourceError
        if self._stopped:
            raise BrokenResourceError
        if error := self._channel.error:
            raise error

    def grant(self, size: int) -> None:
        """The machine has taken so much."""
        self._credit += size
        self._change.wake()

    def stop(self) -> None:
        """Nobody reads it any more."""
        self._stopped = True
        self._change.wake()

    def wake(self) -> None:
        """Look at the channel and at the link again."""
        self._change.wake()

    async def aclose(self) -> None:
        """Send nothing more: the end of the other side's input."""
        if not self._closed:
            self._closed = True
            self._change.wake()
            if not self._stopped:
                self._channel.send(Kind.END, self._lane)


class Channel:
    """One thing that has a side here and a side on the machine.

    Attributes:
        id: its number.
        link: what carries it.
        told: called with each message about it.
        changed: called when the link is lost, and when the channel or the link is over.
        over: the other side has closed it.
    """

    def __init__(self, mux: Mux, number: int) -> None:
        self.id = number
        self.link = mux.link
        self.over = False
        self.told: Callable[[Told], None] = lambda _: None
        self.changed: Callable[[], None] = lambda: None
        self._mux = mux
        self._incoming: dict[int, Incoming] = {}
        self._outgoing: dict[int, Outgoing] = {}

    @property
    def error(self) -> MachineError | None:
        """Why nothing more will come, once the link is broken for good."""
        return self.link.error

    def incoming(self, lane: int) -> Incoming:
        """What comes on a lane."""
        if lane not in self._incoming:
            self._incoming[lane] = Incoming(self, lane)
        return self._incoming[lane]

    def outgoing(self, lane: int) -> Outgoing:
        """What goes on a lane."""
        if lane not in self._outgoing:
            self._outgoing[lane] = Outgoing(self, lane)
        return self._outgoing[lane]

    def send(self, kind: Kind, lane: int = 0, payload: bytes | memoryview = b"") -> None:
        """Send a frame; nothing once the channel is over."""
        if self._mux.has(self):
            self.link.send(encode(kind, self.id, lane, payload))

    def message(self, **fields: Any) -> None:
        """Tell the other side something."""
        if self._mux.has(self):
            self.link.send(encode_json(Kind.MESSAGE, self.id, fields))

    def close(self) -> None:
        """Tell the other side that this is over, and forget it. Idempotent."""
        self.send(Kind.CLOSE)
        self._mux.forget(self)

    def receive(self, frame: Frame) -> None:
        """Take a frame from the other side."""
        incoming, outgoing = self._incoming.get(frame.lane), self._outgoing.get(frame.lane)
        match frame.kind:
            case Kind.DATA if incoming:
                incoming.feed(frame.payload)
            case Kind.END if incoming:
                incoming.end()
            case Kind.CREDIT if outgoing:
                outgoing.grant(read_count(frame.payload))
            case Kind.STOP if outgoing:
                outgoing.stop()
            case Kind.MESSAGE:
                self.told(_told.decode(frame.payload))
            case Kind.CLOSE:
                self._closed()

    def _closed(self) -> None:
        self.over = True
        self._mux.forget(self)
        for incoming in self._incoming.values():
            incoming.end()
        for outgoing in self._outgoing.values():
            outgoing.stop()
        self.changed()

    def wake(self) -> None:
        """The link has changed: everybody who waits looks again."""
        for incoming in self._incoming.values():
            incoming.wake()
        for outgoing in self._outgoing.values():
            outgoing.wake()
        self.changed()


class Mux:
    """All channels of one link."""

    def __init__(self, link: Carrier, opened: Callable[[Channel, Opened], None]) -> None:
        self.link = link
        self._opened = opened
        self._channels: dict[int, Channel] = {}
        self._next = 1  # the machine's own are even
        link.bind(self.receive, self.wake)

    def open(self, **what: Any) -> Channel:
        """Open a channel; ``what`` says what it is to be.

        Raises:
            OSError: with ``errno.E2BIG``: ``what`` is larger than any machine would take.
            LinkBroken, MachineGone: the machine is out of reach for good.
        """
        if error := self.link.error:
            if isinstance(error, LinkBroken):
                error.outcome_unknown = False  # it was never asked for
            raise error
        frame = encode_json(Kind.OPEN, self._next, what)
        if len(frame) > MAX_PAYLOAD:
            raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
        channel = self._add(self._next)
        self._next += 2
        self.link.send(frame)
        return channel

    def _add(self, number: int) -> Channel:
        channel = self._channels[number] = Channel(self, number)
        return channel

    def has(self, channel: Channel) -> bool:
        """Whether it is not over yet."""
        return self._channels.get(channel.id) is channel

    def forget(self, channel: Channel) -> None:
        """It is over."""
        self._channels.pop(channel.id, None)

    def receive(self, frame: Frame) -> None:
        """Take a frame. Those of channels that are over crossed our own CLOSE."""
        if frame.kind == Kind.OPEN:
            self._accept(frame)
        elif channel := self._channels.get(frame.channel):
            channel.receive(frame)

    def _accept(self, frame: Frame) -> None:
        what = _opened.decode(frame.payload)
        if frame.channel % 2 or frame.channel in self._channels:
            raise BadFrame(f"channel {frame.channel} cannot be opened")
        channel = self._add(frame.channel)
        if len(self._channels) > MAX_CHANNELS:
            channel.close()
        else:
            self._opened(channel, what)

    def wake(self) -> None:
        """The link has changed."""
        for channel in list(self._channels.values()):
            channel.wake()
