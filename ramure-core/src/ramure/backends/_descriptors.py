"""Pipes and terminals of this computer as byte streams, read and written when asked to.

Nothing is buffered here: a slow reader holds the writer back, and no byte is lost in between.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable
from typing import IO

import anyio
from anyio import BrokenResourceError, ClosedResourceError, EndOfStream
from anyio.abc import ByteReceiveStream, ByteSendStream
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled


class _Descriptor:
    def __init__(self, file: IO[bytes]) -> None:
        os.set_blocking(file.fileno(), False)
        self._file = file
        self._waiting = 0

    def fileno(self) -> int:
        """The descriptor's number; what is closed has none."""
        if self._file.closed:
            raise ClosedResourceError
        return self._file.fileno()

    async def _until(self, ready: Callable[[IO[bytes]], Awaitable[None]]) -> None:
        self._waiting += 1
        try:
            await ready(self._file)
        finally:
            self._waiting -= 1

    async def aclose(self) -> None:
        """Close the descriptor. Idempotent."""
        if not self._file.closed:
            if self._waiting:
                anyio.notify_closing(self._file)  # whoever waits gets a ClosedResourceError
            self._file.close()


class ReceiveDescriptor(_Descriptor, ByteReceiveStream):
    """The reading end of a pipe, or a terminal."""

    _at_once = False  # the last read did not wait

    async def receive(self, max_bytes: int = 1 << 16) -> bytes:
        """Receive what is there, at least one byte.

        Raises:
            EndOfStream: nobody holds the other end any more.
        """
        # Whoever had to wait has let others run; before a second read at once, they may, too.
        await (checkpoint() if self._at_once else checkpoint_if_cancelled())
        self._at_once = True
        while True:
            try:
                data = os.read(self.fileno(), max_bytes)
            except BlockingIOError:
                self._at_once = False
                await self._until(anyio.wait_readable)
            except OSError as error:
                if error.errno != errno.EIO:  # how Linux reports the end of a terminal
                    raise BrokenResourceError from error
                raise EndOfStream from None
            else:
                if not data:
                    raise EndOfStream
                return data


class SendDescriptor(_Descriptor, ByteSendStream):
    """The writing end of a pipe, or a terminal."""

    async def send(self, item: bytes) -> None:
        """Send all of ``item``.

        Raises:
            BrokenResourceError: nobody reads any more.
        """
        await checkpoint()
        left = memoryview(item)
        while left:
            try:
                left = left[os.write(self.fileno(), left) :]
            except BlockingIOError:
                await self._until(anyio.wait_writable)
            except OSError as error:
                raise BrokenResourceError from error


class Ended(ByteReceiveStream):
    """A stream that is at its end from the start."""

    async def receive(self, max_bytes: int = 1 << 16) -> bytes:
        """Raise ``EndOfStream``."""
        await checkpoint()
        raise EndOfStream

    async def aclose(self) -> None:
        """Do nothing."""
