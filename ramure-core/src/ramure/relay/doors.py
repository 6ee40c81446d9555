"""Doors: sockets on the machine whose every connection is carried to a socket here."""

from __future__ import annotations

import asyncio

import anyio
from anyio import BrokenResourceError, ClosedResourceError

from ramure.errors import MachineError
from ramure.relay.mux import Channel, Mux, Told

BROKEN = (BrokenResourceError, ClosedResourceError, MachineError, OSError)

BLOCK = 64 * 1024
"""Bytes that are read at a time."""


class Door:
    """A listening socket on the machine.

    Attributes:
        target: path of the socket here that its connections lead to.
        path: where it is on the machine; known once it is ``opened``.
    """

    def __init__(self, mux: Mux, target: str) -> None:
        self.target = target
        self.path = ""
        self._failed = ""
        self._answered = anyio.Event()
        self._channel = mux.open(kind="door")
        self._channel.told = self._told
        self._channel.changed = self._changed

    @property
    def id(self) -> int:
        """The number of its channel, by which its connections name it."""
        return self._channel.id

    def _told(self, told: Told) -> None:
        self.path, self._failed = told.listening, told.reason
        self._answered.set()

    def _changed(self) -> None:
        if self._channel.error:
            self._answered.set()

    async def opened(self, machine: str) -> str:
        """Wait until it listens; give the path on the machine.

        Raises:
            MachineError: it cannot.
        """
        await self._answered.wait()
        if self.path:
            return self.path
        raise self._channel.error or MachineError(
            f"the relay cannot listen there: {self._failed}", machine=machine
        )

    def close(self) -> None:
        """Close it, and all connections that came through it. Idempotent."""
        self._channel.close()


async def carry(channel: Channel, target: str) -> None:
    """Carry one connection to the socket ``target``, both ways, until both have ended.

    The channel's lanes have been asked for before, so that nothing that came meanwhile is lost.
    asyncio's own streams: anyio's for Unix sockets upset the loop where data comes to a reader that
    has just been cancelled.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(target)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_inward, channel, writer)
                tasks.start_soon(_outward, channel, reader)
        finally:
            writer.close()
    except OSError:
        return  # the run is gone, which whoever connected learns by the close
    finally:
        channel.close()


async def _inward(channel: Channel, writer: asyncio.StreamWriter) -> None:
    try:
        async for data in channel.incoming(0):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except BROKEN:
        channel.close()
        writer.transport.abort()


async def _outward(channel: Channel, reader: asyncio.StreamReader) -> None:
    try:
        while data := await reader.read(BLOCK):
            await channel.outgoing(0).send(data)
        await channel.outgoing(0).aclose()
    except BROKEN:
        channel.close()
        await channel.incoming(0).aclose()
