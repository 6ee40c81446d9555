"""Connections to a server that can be delayed, cut and refused."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Line:
    """Listens on a loopback port and passes everything on to a server."""

    def __init__(self) -> None:
        self.refusing = False
        self._connections: set[asyncio.Transport] = set()

    async def open(self, factory) -> int:
        """``factory`` makes the server's protocol for each connection."""
        self._factory = factory
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Gate(self), "127.0.0.1", 0)
        return self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """All connections break."""
        for transport in list(self._connections):
            transport.abort()


class Gate(asyncio.Protocol):
    """Hands a connection on to the server's protocol, unless it is to be refused."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._inner: asyncio.Protocol | None = None

    def connection_made(self, transport) -> None:
        if self._line.refusing:
            transport.abort()
            return
        self._transport = transport
        self._line._connections.add(transport)
        self._inner = self._line._factory()
        self._inner.connection_made(transport)

    def connection_lost(self, exc) -> None:
        if self._inner is not None:
            self._line._connections.discard(self._transport)
            self._inner.connection_lost(exc)

    def data_received(self, data) -> None:
        if self._inner is not None:
            with suppress(ConnectionError):
                self._inner.data_received(data)

    def eof_received(self):
        return self._inner.eof_received() if self._inner is not None else None

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()
