"""Connections of the reference bridge: lines over a unix socket, frames over a WebSocket."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast
from urllib.parse import urlsplit

from ramure.run.lines import LineReader, Overlong

MAX_LINE = 256 * 1024 * 1024
"""Far above what a run sends in one message."""


class Owner(Protocol):
    """Whose connection it is."""

    def opened(self, wire: Wire) -> None:
        """Messages may be sent now."""

    def received(self, wire: Wire, frame: bytes) -> None:
        """A message came."""

    def readable(self, wire: Wire) -> None:
        """The run reads again."""

    def closed(self, wire: Wire) -> None:
        """The connection is gone."""


class Wire(asyncio.Protocol):
    """One connection to the run.

    Attributes:
        writable: False while the run does not read.
    """

    transport: asyncio.Transport

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.writable = True

    def write(self, frame: bytes) -> None:
        """Send one message."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what asyncio has connected."""
        # uvloop's are none of asyncio's class.
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the owner that the connection is gone."""
        self.writable = False
        self.owner.closed(self)

    def pause_writing(self) -> None:
        """The run does not read."""
        self.writable = False

    def resume_writing(self) -> None:
        """The run reads again."""
        self.writable = True
        self.owner.readable(self)


class LineWire(Wire):
    """One message a line."""

    def __init__(self, owner: Owner) -> None:
        super().__init__(owner)
        self._reader = LineReader(MAX_LINE)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what asyncio has connected."""
        super().connection_made(transport)
        self.owner.opened(self)

    def data_received(self, data: bytes) -> None:
        """Split what arrives into messages."""
        for line in self._reader.feed(data):
            if isinstance(line, Overlong):
                self.transport.abort()
                return
            self.owner.received(self, line)

    def write(self, frame: bytes) -> None:
        """Send one message."""
        self.transport.write(frame + b"\n")


class FrameWire(Wire):
    """One message a frame."""

    def __init__(self, owner: Owner, url: str) -> None:
        from websockets.client import ClientProtocol
        from websockets.uri import parse_uri

        from ramure.run.websocket import SILENT

        super().__init__(owner)
        self._socket = ClientProtocol(parse_uri(url), max_size=MAX_LINE, logger=SILENT)
        self._pieces: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for a WebSocket."""
        super().connection_made(transport)
        self._socket.send_request(self._socket.connect())
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Take frames out of what arrives."""
        from websockets.frames import Frame, Opcode
        from websockets.http11 import Response

        self._socket.receive_data(data)
        for event in self._socket.events_received():
            if isinstance(event, Response) and self._socket.handshake_exc is None:
                self.owner.opened(self)
            elif isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.CONT):
                self._pieces.append(bytes(event.data))
                if event.fin:
                    message = b"".join(self._pieces)
                    self._pieces.clear()
                    self.owner.received(self, message)
        self._flush()
        if self._socket.close_expected():
            self.transport.close()

    def write(self, frame: bytes) -> None:
        """Send one message."""
        from websockets.protocol import State

        if self._socket.state is State.OPEN:
            self._socket.send_text(frame)
            self._flush()

    def _flush(self) -> None:
        for data in self._socket.data_to_send():
            if data:
                self.transport.write(data)
            else:
                self.transport.close()


async def dial(address: str, owner: Owner) -> None:
    """Connect; what happens from then on, the owner is told.

    Raises:
        OSError: nobody is there.
        ValueError: not an address.
    """
    loop = asyncio.get_running_loop()
    if address.startswith("unix:"):
        await loop.create_unix_connection(lambda: LineWire(owner), address.removeprefix("unix:"))
        return
    url = urlsplit(address)
    if url.scheme not in ("ws", "wss") or not url.hostname:
        raise ValueError(f"cannot dial {address!r}: neither unix: nor ws: nor wss:")
    secure = url.scheme == "wss"
    port = url.port or (443 if secure else 80)
    await loop.create_connection(
        lambda: FrameWire(owner, address), url.hostname, port, ssl=secure or None
    )
