"""TLS whose input can end before its output: the end of a command's input is one of those.

Python's own streams cannot say that they have nothing more to send and go on listening, which TLS
has a word for (``close_notify``, RFC 8446, 6.1) and the engine understands.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Self, TypeVar

import anyio
from anyio import BrokenResourceError, ClosedResourceError, EndOfStream
from anyio.abc import ByteStream

T = TypeVar("T")

PIECE = 65_536


class TlsStream(ByteStream):
    """A client's side. One task may send while another one receives."""

    def __init__(self, below: ByteStream, context: ssl.SSLContext, host: str) -> None:
        self._below = below
        self._read, self._written = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._read, self._written, server_hostname=host)
        self._early = bytearray()
        self._ended = False

    @classmethod
    async def over(cls, below: ByteStream, context: ssl.SSLContext, host: str) -> Self:
        """A stream over another one, once both sides know each other.

        Raises:
            OSError: they do not, or not each other's certificate.
        """
        stream = cls(below, context, host)
        try:
            await stream._until(stream._tls.do_handshake)
        except EndOfStream:
            await anyio.aclose_forcefully(below)
            raise ConnectionResetError("the engine ended the connection at once") from None
        except BaseException:
            await anyio.aclose_forcefully(below)
            raise
        return stream

    async def _until(self, step: Callable[[], T]) -> T:
        """Do what may first have to hear something of the other side."""
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                await self._flush()
                self._read.write(await self._below.receive(PIECE))
                continue
            await self._flush()
            return done

    async def _flush(self) -> None:
        if self._written.pending:
            await self._below.send(self._written.read())

    async def receive(self, max_bytes: int = PIECE) -> bytes:
        """See ``ByteStream``."""
        await anyio.lowlevel.checkpoint_if_cancelled()
        if self._early:
            data = bytes(self._early[:max_bytes])
            del self._early[:max_bytes]
            return data
        try:
            data = await self._until(lambda: self._tls.read(max_bytes))
        except ssl.SSLZeroReturnError:
            raise EndOfStream from None
        except ssl.SSLError as error:
            raise BrokenResourceError from error
        if not data:
            raise EndOfStream
        return data

    async def send(self, item: bytes) -> None:
        """See ``ByteStream``. As of sockets: cancelled, it has sent all the same."""
        if self._ended:
            raise ClosedResourceError
        try:
            if item:
                self._tls.write(item)  # all of it: nothing below is ever full
        except ssl.SSLError as error:
            raise BrokenResourceError from error
        await self._below.send(self._written.read())

    async def send_eof(self) -> None:
        """See ``ByteStream``."""
        if not self._ended:
            self._ended = True
            # What has come already is taken first: to say goodbye would throw it away.
            with suppress(ssl.SSLError):
                while data := self._tls.read(PIECE):
                    self._early += data
            with suppress(ssl.SSLError):
                self._tls.unwrap()  # says it, and then wants to hear the same: that comes later
            await self._flush()

    async def aclose(self) -> None:
        """See ``ByteStream``; nothing is said."""
        await self._below.aclose()
