"""Pipes and terminals of this computer as byte streams, read and written when asked to.

Nothing is buffered here: a slow reader holds the writer back, and no byte is lost in between.
"""

from __future__ import annotations

import errno
import os
from typing import IO

import anyio
from anyio import BrokenResourceError, ClosedResourceError, EndOfStream
from anyio.abc import ByteReceiveStream, ByteSendStream
from anyio.lowlevel import checkpoint


class _Descriptor:
    def __init__(self, file: IO[bytes]) -> None:
        os.set_blocking(file.fileno(), False)
        self._file = file

    def fileno(self) -> int:
        """The descriptor's number; what is closed has none."""
        if self._file.closed:
            raise ClosedResourceError
        return self._file.fileno()

    async def aclose(self) -> None:
        """Close the descriptor. Idempotent."""
        if not self._file.closed:
            anyio.notify_closing(self._file)  # whoever waits for it gets a ClosedResourceError
            self._file.close()


class ReceiveDescriptor(_Descriptor, ByteReceiveStream):
    """The reading end of a pipe, or a terminal."""

    async def receive(self, max_bytes: int = 1 << 16) -> bytes:
        """Receive what is there, at least one byte.

        Raises:
            EndOfStream: nobody holds the other end any more.
        """
        await checkpoint()
        while True:
            try:
                data = os.read(self.fileno(), max_bytes)
            except BlockingIOError:
                await anyio.wait_readable(self._file)
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
                await anyio.wait_writable(self._file)
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
