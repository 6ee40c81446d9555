"""Bridges over WebSocket, one message a frame; framed by ``websockets`` without its own I/O."""

from __future__ import annotations

import asyncio
import logging

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from ramure.run.channel import Channel
from ramure.run.connection import Connection, Gate
from ramure.run.lines import Overlong
from ramure.run.protocol import Refused

HEADERS = 16 * 1024
"""Bytes that the opening handshake may have beside the first message."""

ROOM = 4
"""Up to so many times the limit a message is read all the same, so that a call can be answered."""

SILENT = logging.Logger("ramure.websocket", logging.CRITICAL + 1)  # noqa: LOG001 nobody can turn it on
"""The library logs every frame at its debug level; the first one holds the token."""


class WebSocketConnection(Connection):
    """One message a frame. Without compression; asks for signs of life."""

    def __init__(self, gate: Gate) -> None:
        super().__init__(gate)
        self._socket = ServerProtocol(max_size=ROOM * gate.limits.max_message, logger=SILENT)
        self._pieces: list[bytes] = []
        self._early = 0
        self._heard = 0.0
        self._pulse: asyncio.TimerHandle | None = None

    # --- in

    def data_received(self, data: bytes) -> None:
        """Take frames out of what arrives."""
        self._heard = asyncio.get_running_loop().time()
        if not self.proved:
            self._early += len(data)
            if self._early > self._gate.limits.max_hello + HEADERS:
                self.close(Refused(code="malformed", reason="this is not a hello"))
                return
        self._socket.receive_data(data)
        for event in self._socket.events_received():
            if isinstance(event, Request):
                self._socket.send_response(self._socket.accept(event))
                self._flush()
            elif isinstance(event, Frame):
                self._frame(event)
        if self._socket.parser_exc is not None:
            self._receive(Overlong(b"", b"", 0))
        self._flush()

    def _frame(self, frame: Frame) -> None:
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return  # the library answers those
        self._pieces.append(bytes(frame.data))
        if frame.fin:
            message = b"".join(self._pieces)
            self._pieces.clear()
            self._receive(message)

    def eof_received(self) -> None:
        """The other side has nothing more to say."""
        self._socket.receive_eof()
        self._flush()

    # --- out

    def write(self, frame: bytes) -> None:
        """Send one message."""
        if not self._closing and self._socket.state is State.OPEN:
            self._socket.send_text(frame)
            self._flush()

    def _flush(self) -> None:
        for data in self._socket.data_to_send():
            if data:
                self.transport.write(data)
            else:
                self.transport.close()

    def _hang_up(self) -> None:
        if self._socket.state is State.OPEN:
            self._socket.send_close(1000)
            self._flush()  # the transport is closed when the other side has answered
        else:
            self.transport.close()

    # --- signs of life

    def belongs_to(self, channel: Channel) -> None:
        """As above; and signs of life are asked for from now on."""
        super().belongs_to(channel)
        self._wait_for_pulse()

    def _wait_for_pulse(self) -> None:
        loop = asyncio.get_running_loop()
        self._pulse = loop.call_later(self._gate.limits.ping_after, self._check_pulse)

    def _check_pulse(self) -> None:
        silence = asyncio.get_running_loop().time() - self._heard
        if silence >= self._gate.limits.silent_after:
            self.transport.abort()
            return
        if self.writable and self._socket.state is State.OPEN:
            self._socket.send_ping(b"")
            self._flush()
        self._wait_for_pulse()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, and with it the need to ask."""
        if self._pulse is not None:
            self._pulse.cancel()
        super().connection_lost(exc)
