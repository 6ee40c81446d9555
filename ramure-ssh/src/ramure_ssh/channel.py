"""One session over a connection, as byte streams."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable

import anyio
import asyncssh
from anyio import BrokenResourceError, ClosedResourceError, EndOfStream
from anyio.abc import ByteReceiveStream, ByteSendStream
from anyio.lowlevel import checkpoint

HELD = 1 << 20
"""Bytes that are kept of what nobody reads before the host has to wait."""


class Lane(ByteReceiveStream):
    """What comes in one direction. ``taken`` is called when something was taken out."""

    def __init__(self, session: ChannelSession) -> None:
        self._session = session
        self._chunks: deque[bytes] = deque()
        self._news = anyio.Event()
        self._over: type[Exception] | None = None
        self.size = 0

    def feed(self, data: bytes) -> None:
        """Take in what has arrived."""
        if self._over is ClosedResourceError:
            return
        self._chunks.append(data)
        self.size += len(data)
        self._news.set()

    def end(self, how: type[Exception]) -> None:
        """Nothing more will arrive. Only the first time counts."""
        self._over = self._over or how
        self._news.set()

    def unread(self, data: bytes) -> None:
        """Put back what was read too far."""
        if data:
            self._chunks.appendleft(data)
            self.size += len(data)
            self._news.set()

    async def receive(self, max_bytes: int = 1 << 16) -> bytes:
        """Receive what is there, at least one byte.

        Raises:
            EndOfStream: all has been read.
            BrokenResourceError: the way to the host broke.
        """
        if self._chunks:
            await checkpoint()
        while not self._chunks:
            if self._over is not None:
                raise self._over
            self._news = anyio.Event()
            await self._news.wait()
        data = self._take(max_bytes)
        self.size -= len(data)
        self._session.taken()
        return data

    def _take(self, most: int) -> bytes:
        """All that is there, up to ``most``: packets are small, and whoever reads may be far."""
        parts = [self._chunks.popleft()]
        size = len(parts[0])
        while self._chunks and size < most:
            parts.append(self._chunks.popleft())
            size += len(parts[-1])
        if size > most:
            last = parts.pop()
            keep = len(last) - (size - most)
            parts.append(last[:keep])
            self._chunks.appendleft(last[keep:])
        return b"".join(parts) if len(parts) > 1 else parts[0]

    async def aclose(self) -> None:
        """Read no more; what still comes is thrown away."""
        self._over = ClosedResourceError
        self._chunks.clear()
        self.size = 0
        self._news.set()
        self._session.taken()


class Inlet(ByteSendStream):
    """What the host reads."""

    def __init__(self, session: ChannelSession) -> None:
        self._session = session
        self._closed = False

    async def send(self, item: bytes) -> None:
        """Send all of ``item``.

        Raises:
            BrokenResourceError: the host reads no more.
        """
        await self._session.writable()
        if self._closed:
            raise ClosedResourceError
        self._session.write(item)

    async def aclose(self) -> None:
        """Tell the host that this was all."""
        if not self._closed:
            self._closed = True
            self._session.write_eof()


class ChannelSession(asyncssh.SSHClientSession[bytes]):
    """What asyncssh tells of one session.

    Attributes:
        code: the exit code, or -N for signal N; None where it is not known.
        ended: set once the command has ended, or will never be heard of again.
        closed: set once the session is over.
    """

    def __init__(self, on_close: Callable[[], None]) -> None:
        """Make one; ``on_close`` is called once, when it is over."""
        self._on_close = on_close
        self.stdin = Inlet(self)
        self.stdout, self.stderr = Lane(self), Lane(self)
        self.code: int | None = None
        self.ended, self.closed = anyio.Event(), anyio.Event()
        self._writable = anyio.Event()
        self._writable.set()
        self._paused = False
        self._chan: asyncssh.SSHClientChannel[bytes] | None = None

    # --- what the streams ask for

    async def writable(self) -> None:
        """Wait until more may be written."""
        await checkpoint()
        await self._writable.wait()

    def write(self, data: bytes) -> None:
        """Write; in order, at once."""
        if self.closed.is_set() or self._chan is None:
            raise BrokenResourceError
        try:
            self._chan.write(data)
        except OSError as error:
            raise BrokenResourceError from error

    def write_eof(self) -> None:
        """Write no more."""
        if not self.closed.is_set() and self._chan is not None:
            self._chan.write_eof()

    def taken(self) -> None:
        """Let the host go on where it had to wait."""
        if self._paused and self.stdout.size < HELD // 2 and self.stderr.size < HELD // 2:
            assert self._chan is not None
            # This gives us all that asyncssh holds, for which it lets the host send as much again:
            # a pause in the midst of it would have ever more pile up there.
            self._chan.resume_reading()
            self._paused = False
            self._pause_where_full()

    def _pause_where_full(self) -> None:
        if not self._paused and max(self.stdout.size, self.stderr.size) > HELD:
            assert self._chan is not None
            self._paused = True
            self._chan.pause_reading()

    def resize(self, columns: int, rows: int) -> None:
        """Tell the terminal's new size."""
        if not self.closed.is_set() and self._chan is not None:
            self._chan.change_terminal_size(columns, rows)

    def close(self) -> None:
        """End the session; nothing more is heard of it."""
        self.stdout.end(EndOfStream)
        self.stderr.end(EndOfStream)
        if self._chan is not None:
            self._chan.abort()

    def forget(self) -> None:
        """There will be no such session, or nobody wants it."""
        self.close()
        if self._chan is None:
            self.connection_lost(None)

    # --- what asyncssh says

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        """The session is open."""
        self._chan = chan
        chan.set_write_buffer_limits(1 << 18)

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Something has arrived."""
        lane = self.stderr if datatype == asyncssh.EXTENDED_DATA_STDERR else self.stdout
        lane.feed(data)
        self._pause_where_full()

    def eof_received(self) -> bool:
        """Nothing more will arrive."""
        self.stdout.end(EndOfStream)
        self.stderr.end(EndOfStream)
        return True  # the other direction stays open

    def pause_writing(self) -> None:
        """The host takes no more for now."""
        self._writable = anyio.Event()

    def resume_writing(self) -> None:
        """The host takes more."""
        self._writable.set()

    def exit_status_received(self, status: int) -> None:
        """The command has ended by itself."""
        self._ended(status)

    def exit_signal_received(
        self,
        signal: str,
        core_dumped: bool,
        msg: str,
        lang: str,
    ) -> None:
        """A signal has ended the command."""
        self._ended(-_number(signal))

    def _ended(self, code: int) -> None:
        self.code = code
        self.ended.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """The session is over, or the connection is."""
        how = EndOfStream if self.code is not None else BrokenResourceError
        self.stdout.end(how)
        self.stderr.end(how)
        self._writable.set()
        self.ended.set()
        if not self.closed.is_set():
            self.closed.set()
            self._on_close()


def _number(name: str) -> int:
    try:
        return signal.Signals[f"SIG{name.partition('@')[0].removeprefix('SIG')}"]
    except KeyError:
        return signal.SIGKILL
