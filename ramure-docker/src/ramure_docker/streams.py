"""The streams of a command: the engine's one connection, taken apart and put together.

Nobody reads ahead in a task of its own: one of those who want to receive reads for all until it has
got something, and keeps for the others what is theirs, up to a bound.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from contextlib import suppress

import anyio
from anyio import BrokenResourceError, ClosedResourceError, EndOfStream
from anyio.abc import ByteReceiveStream, ByteSendStream
from anyio.streams.buffered import BufferedByteStream

from ramure.relay.mux import Changing
from ramure_docker.dial import BROKEN

HEADER = 8
"""Bytes before each piece: the lane (0 and 1: standard output, 2: errors), 0, 0, 0, its size."""

CHUNK = 262_144
LONELY = 1.0
"""Seconds that a writer waits before it looks by itself whether the command has ended."""

KEPT = 1_048_576
"""Bytes of a lane that are kept for its reader while another one reads."""


class Streams:
    """One command's connection.

    Attributes:
        stdin, stdout, stderr: its lanes.
        lost: why the connection ended before its time; None where it has not.
    """

    def __init__(self, connection: BufferedByteStream, *, raw: bool) -> None:
        """``raw``: a terminal's output comes as it is, in no pieces."""
        self._connection = connection
        self._raw = raw
        self._reading = False
        self._room = Changing()
        self._kept: float = KEPT
        self._receiving = anyio.CancelScope()
        self.sending = anyio.CancelScope()
        self._lane: Lane | None = None
        self._head = b""
        self._left = 0
        self._over = False
        self.news = Changing()
        self.lost: BaseException | None = None
        self.stdin = Input(self, connection)
        self.stdout, self.stderr = Lane(self), Lane(self)

    @property
    def over(self) -> bool:
        """Nothing more will come."""
        return self._over

    async def finished(self) -> None:
        """Read until the end. What nobody takes holds it up, beyond the bound."""
        while not self._over:
            await self.read_for(None)

    async def everything(self) -> bytes:
        """All of the output until its end.

        Raises:
            BrokenResourceError: the connection broke before.
        """
        said = b""
        with suppress(EndOfStream):
            while True:
                said += await self.stdout.receive()
        return said

    async def read_for(self, lane: Lane | None) -> None:
        """Receive until ``lane`` has got something, or wait while somebody does it for all.

        Returns where that one reads no more, too: the next one takes its place.
        """
        if self._reading:
            await (self if lane is None else lane).news.wait()
            return
        self._reading = True
        try:
            while not self._over and (lane is None or lane.waits):
                if any(other.held > self._kept for other in self._lanes if other is not lane):
                    await self._room.wait()
                else:
                    await self._receive()
        finally:
            self._reading = False
            for waiting in (self, *self._lanes):
                waiting.news.wake()

    @property
    def _lanes(self) -> tuple[Lane, Lane]:
        return self.stdout, self.stderr

    async def _receive(self) -> None:
        data = b""
        try:
            with anyio.CancelScope() as self._receiving:
                data = await self._connection.receive(CHUNK)
        except EndOfStream:
            self._end()
        except (BrokenResourceError, ClosedResourceError, OSError) as error:
            self.break_off(error)
        else:
            self._take(data)

    def _take(self, data: bytes) -> None:
        if self._raw:
            self.stdout.put(data)
            return
        view = memoryview(data)
        while view:
            if self._left:
                piece, view = view[: self._left], view[self._left :]
                self._left -= len(piece)
                if self._lane is not None:
                    self._lane.put(bytes(piece))
                continue
            wanted = HEADER - len(self._head)
            self._head, view = self._head + bytes(view[:wanted]), view[wanted:]
            if len(self._head) == HEADER:
                self._lane = self.stderr if self._head[0] == 2 else self.stdout
                self._left = int.from_bytes(self._head[4:], "big")
                self._head = b""

    def keep_all(self) -> None:
        """The command has been killed: what is left of its output must not wait for a reader."""
        self._kept = math.inf
        self._room.wake()

    def made_room(self) -> None:
        """A reader has taken something."""
        self._room.wake()

    def break_off(self, error: BaseException) -> None:
        """All is over for this reason; whoever waits learns it at once."""
        if not self._over:
            self.lost = error
            self._end()
            self._room.wake()
            self._receiving.cancel()

    def _end(self) -> None:
        # The engine reads nothing for a command that has ended, and says so only by this.
        self._over = True
        self.sending.cancel()

    async def aclose(self) -> None:
        """Let go of the connection."""
        self.break_off(ClosedResourceError())
        await anyio.aclose_forcefully(self._connection)


class Lane(ByteReceiveStream):
    """An output of a command."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._pieces: deque[bytes] = deque()
        self._closed = False
        self.news = Changing()
        self.held = 0

    @property
    def waits(self) -> bool:
        """Its reader has nothing to take yet."""
        return not (self.held or self._closed)

    def put(self, data: bytes) -> None:
        """Keep it for the reader; nobody wants it any more where the lane is closed."""
        if data and not self._closed:
            self._pieces.append(data)
            self.held += len(data)
            self.news.wake()

    def push_back(self, data: bytes) -> None:
        """Keep it for the reader, before all else."""
        if data:
            self._pieces.appendleft(data)
            self.held += len(data)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """See ``ByteReceiveStream``."""
        await anyio.lowlevel.checkpoint_if_cancelled()
        while True:
            if self._closed:
                raise ClosedResourceError
            if self._pieces:
                return self._next(max_bytes)
            if self._streams.over:
                if self._streams.lost is not None:
                    raise BrokenResourceError from self._streams.lost
                raise EndOfStream
            await self._streams.read_for(self)

    def _next(self, max_bytes: int) -> bytes:
        data = self._pieces.popleft()
        if self._pieces and len(data) < max_bytes:  # the engine's pieces are small
            data = b"".join((data, *self._taken(max_bytes - len(data))))
        if len(data) > max_bytes:
            self._pieces.appendleft(data[max_bytes:])
            data = data[:max_bytes]
        self.held -= len(data)
        self._streams.made_room()
        return data

    def _taken(self, size: int) -> Iterator[bytes]:
        """Pieces that have about so many bytes together, if there are so many."""
        while self._pieces and size > 0:
            size -= len(self._pieces[0])
            yield self._pieces.popleft()

    async def aclose(self) -> None:
        """Stop listening: what still comes is thrown away."""
        self._closed = True
        self._pieces.clear()
        self.held = 0
        self.news.wake()
        self._streams.made_room()


class Input(ByteSendStream):
    """A command's standard input."""

    def __init__(self, streams: Streams, connection: BufferedByteStream) -> None:
        self._streams, self._connection = streams, connection
        self._closed = False

    async def send(self, item: bytes) -> None:
        """See ``ByteSendStream``."""
        if self._closed:
            raise ClosedResourceError
        if self._streams.over:
            raise BrokenResourceError
        try:
            with anyio.CancelScope() as self._streams.sending:
                await self._send(item)
        except OSError as error:
            raise BrokenResourceError from error
        if self._streams.sending.cancelled_caught:
            raise BrokenResourceError  # the command has ended

    async def _send(self, item: bytes) -> None:
        with anyio.move_on_after(LONELY) as patience:
            await self._connection.send(item)
        if patience.cancelled_caught:  # perhaps nobody reads what would tell of the end
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._streams.finished)
                await self._connection.send(b"")  # wait on: the item is on its way
                tasks.cancel_scope.cancel()

    async def aclose(self) -> None:
        """The command reads its end."""
        if not self._closed:
            self._closed = True
            try:
                await self._connection.send_eof()
            except BROKEN:
                return


class Ended(ByteReceiveStream):
    """The errors of a command in a terminal: none of their own."""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """See ``ByteReceiveStream``."""
        await anyio.lowlevel.checkpoint()
        raise EndOfStream

    async def aclose(self) -> None:
        """See ``ByteReceiveStream``."""
