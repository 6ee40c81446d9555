"""A command's streams over the SDK's: a long-lived reader for each output, a writer for the input.

The SDK loses what is written while a drain runs, and ends a stream whose reading is cancelled. So
neither is ever done by whoever uses these streams, but by ``pump``, which runs in a task of the
command's own.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable
from contextlib import suppress
from typing import Protocol

import anyio
from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    EndOfStream,
    WouldBlock,
    create_memory_object_stream,
)
from anyio.abc import ByteReceiveStream, ByteSendStream

BATCH = 1 << 20
"""Bytes of one drain. The SDK takes 16 MiB at most, and holds several copies of them."""

Retry = Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]
"""Does something until it succeeds; raises where that makes no sense any more."""


class Output(ByteReceiveStream):
    """An output of a command. A slow reader holds the command back.

    Attributes:
        seen: bytes that have come.
        ended: set once no more will come.
    """

    def __init__(self) -> None:
        self._inlet, self._outlet = create_memory_object_stream[bytes](1)
        self._rest = b""
        self._broken = False
        self.seen = 0
        self.ended = anyio.Event()

    async def pump(self, source: AsyncIterable[bytes], retry: Retry) -> None:
        """Carry everything from the SDK's stream; what nobody wants any more is thrown away.

        Iterating the SDK's stream again goes on where it stopped.
        """

        async def carry() -> None:
            async for data in source:
                self.seen += len(data)
                with suppress(BrokenResourceError):
                    await self._inlet.send(data)

        try:
            await retry(carry)
        except Exception:
            self._broken = True
            raise
        finally:
            self._inlet.close()
            self.ended.set()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """See ``ByteReceiveStream``."""
        if not self._rest:
            try:
                self._rest = await self._outlet.receive()
            except EndOfStream:
                if self._broken:
                    raise BrokenResourceError from None
                raise
        else:
            await anyio.lowlevel.checkpoint()
        data, self._rest = self._rest[:max_bytes], self._rest[max_bytes:]
        return data

    def push_back(self, data: bytes) -> None:
        """What has been received after all has not been."""
        self._rest = data + self._rest

    async def aclose(self) -> None:
        """See ``ByteReceiveStream``."""
        self._outlet.close()
        self._rest = b""


class Writer(Protocol):
    """An input, as the SDK has it."""

    def write(self, data: bytes) -> None: ...  # noqa: D102 part of the SDK's

    def write_eof(self) -> None: ...  # noqa: D102 part of the SDK's


class Input(ByteSendStream):
    """A command's input. ``send`` returns when the writer has taken it, one batch ahead at most."""

    def __init__(self) -> None:
        self._inlet, self._outlet = create_memory_object_stream[bytes](0)

    async def pump(
        self, target: Writer, drain: Callable[[], Awaitable[None]], retry: Retry
    ) -> None:
        """Carry everything to the SDK's stream, and its end. Ends early where nobody reads."""
        try:
            async for data in self._outlet:
                target.write(data)
                self._add_waiting(target, BATCH - len(data))
                await retry(drain)
            target.write_eof()
            await retry(drain)
        finally:
            self._outlet.close()

    def _add_waiting(self, target: Writer, room: int) -> None:
        with suppress(WouldBlock, EndOfStream):
            while room > 0:
                data = self._outlet.receive_nowait()
                target.write(data)
                room -= len(data)

    async def send(self, item: bytes) -> None:
        """See ``ByteSendStream``."""
        for start in range(0, len(item), BATCH):
            try:
                await self._inlet.send(item[start : start + BATCH])
            except ClosedResourceError:
                raise
            except BrokenResourceError:
                raise BrokenResourceError("the command reads no more") from None

    async def aclose(self) -> None:
        """The command reads its end."""
        self._inlet.close()


class Ended(ByteReceiveStream):
    """The errors of a command in a terminal: none of their own."""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """See ``ByteReceiveStream``."""
        await anyio.lowlevel.checkpoint()
        raise EndOfStream

    async def aclose(self) -> None:
        """See ``ByteReceiveStream``."""
