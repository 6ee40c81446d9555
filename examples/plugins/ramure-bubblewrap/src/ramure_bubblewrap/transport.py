"""The way from a sandbox to the run: a socket in the one folder that both sides see."""

from __future__ import annotations

import asyncio
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from ramure.errors import MachineError
from ramure.machine import Machine
from ramure.transport import Route, Target, Transport
from ramure_bubblewrap.machine import BubblewrapMachine

PIECE = 1 << 16


class Door(Route):
    """Listens in a sandbox's folder; every connection leads to the run's socket."""

    def __init__(self, machine: BubblewrapMachine, target: Target) -> None:
        name = f"run-{secrets.token_hex(4)}"
        self.address = f"unix:{machine.state_dir}/{name}"
        self._socket = machine.door / name
        self._target = target.socket
        self._server: asyncio.Server | None = None
        self._visits: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen, for the owner alone."""
        # By its folder's number, since the path may be longer than a socket's may be.
        folder = os.open(self._socket.parent, os.O_PATH)
        try:
            path = Path(f"/proc/self/fd/{folder}", self._socket.name)
            self._server = await asyncio.start_unix_server(self._visit, path)
        finally:
            os.close(folder)
        self._socket.chmod(0o600)

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = asyncio.current_task()
        assert visit is not None
        self._visits.add(visit)
        try:
            with suppress(OSError):  # the run has ended, or the agent: the other is told by the end
                there = await asyncio.open_unix_connection(self._target)
                await _join((reader, writer), there)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._visits.discard(visit)
            writer.close()

    async def aclose(self) -> None:
        """See ``Route.aclose``."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._socket.unlink(missing_ok=True)
            for visit in self._visits:
                visit.cancel()


class BubblewrapTransport(Transport):
    """Makes doors."""

    name: ClassVar[str] = "bubblewrap"

    async def open(self, machine: Machine, target: Target) -> Door:
        """See ``Transport.open``."""
        if not isinstance(machine, BubblewrapMachine):
            raise MachineError("only sandboxes of bubblewrap are reached so", machine=machine.name)
        door = Door(machine, target)
        await door.open()
        return door


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _join(here: Ends, there: Ends) -> None:
    """Carry bytes both ways until one side has ended."""
    ways = [
        asyncio.ensure_future(_carry(here[0], there[1])),
        asyncio.ensure_future(_carry(there[0], here[1])),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        there[1].close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()
